"""How well counts fit probabilities, without a statistics library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

LEAST_EXPECTED = 5.0


def fit_score(observed: np.ndarray, probability: np.ndarray) -> float:
    """Return Pearson's chi-square as a standard normal score (Wilson and Hilferty 1931): large means does not fit.

    Cells that expect fewer than 5 are taken together. What is impossible and happened fails at once.
    """
    assert abs(probability.sum() - 1) < 1e-9
    assert observed[probability == 0].sum() == 0
    order = np.argsort(probability)
    expected, seen = probability[order] * observed.sum(), observed[order]
    rare = int(np.searchsorted(expected, LEAST_EXPECTED))
    while rare < len(expected) and 0 < expected[:rare].sum() < LEAST_EXPECTED:
        rare += 1
    expected = np.append(expected[rare:], expected[:rare].sum())
    seen = np.append(seen[rare:], seen[:rare].sum())
    expected, seen = expected[expected > 0], seen[expected > 0]
    k = len(expected) - 1
    if k == 0:
        return 0.0
    chi2 = ((seen - expected) ** 2 / expected).sum()
    return float(((chi2 / k) ** (1 / 3) - (1 - 2 / (9 * k))) / np.sqrt(2 / (9 * k)))


@pytest.fixture(scope="session")
def score() -> Callable[[np.ndarray, np.ndarray], float]:
    """The function `fit_score`; below 3.5 is chance."""
    return fit_score
