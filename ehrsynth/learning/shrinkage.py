"""How many times as often as expected many things come, each judged by itself and by all others: empirical Bayes."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RatioPrior", "likely_counts", "ratio_prior"]

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_LOWEST, _HIGHEST, _POINTS = -4.0, 6.0, 81
_ROUNDS = 150
_SMOOTHING = 0.1
"""Of the mass of a point that goes to each of its neighbours at each round: a prior of a few spikes is chance."""
_EXACT = 20
_BY_COUNT, _BY_EXPECTED = 20.0, 4.0
"""Cells are alike whose logarithms are, by so many steps to the unit: counts above `_EXACT`, and what was expected."""
_AT_ONCE = 50_000
_LEAST = 0.1
"""How often a thing is expected that never came by itself."""
_TOLD = 0.5
"""Of what comes less often by itself, and was seen by few, nothing is learned."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RatioPrior:
    """How ratios of Poisson means to what was expected are distributed.

    Attributes
    ----------
    ratio : float64[81]
    share : float64[81]
        Sums to 1.
    few : int
        Of a cell that is not known it is known only that it was seen less often than so.
    """

    ratio: Doubles
    share: Doubles
    few: int

    def mean(self, seen: Doubles, expected: Doubles, known: Bools) -> Doubles:
        """Return the posterior mean of the ratio of each cell, as for `ratio_prior`."""
        result = np.zeros(len(seen))
        for low in range(0, len(seen), _AT_ONCE):
            part = slice(low, low + _AT_ONCE)
            weight = _likelihood(seen[part], expected[part], known[part], self.ratio, self.few) * self.share
            result[part] = (weight * self.ratio).sum(axis=1) / weight.sum(axis=1)
        return result


def ratio_prior(seen: Doubles, expected: Doubles, known: Bools, few: int) -> RatioPrior:
    """Return the prior under which so many cells were seen as often as they were, smoothed.

    The nonparametric maximum likelihood of a mixture of Poissons (Kiefer and Wolfowitz 1956) by EM on a grid; what it
    is for, ratios of seen to expected pairs, as of DuMouchel (1999, "Bayesian data mining in large frequency tables").

    Parameters
    ----------
    seen, expected : float64[n]
        `expected` above 0.
    known : bool[n]
        Of the others it is known only that they were seen less often than `few`: what `seen` says of them is not read.
    few : int
        At least 1.
    """
    ratio = np.exp(np.linspace(_LOWEST, _HIGHEST, _POINTS))
    many = np.rint(np.log(np.maximum(seen, 1.0)) * _BY_COUNT)
    count = np.where(known, 1 + np.where(seen < _EXACT, np.rint(seen), _EXACT + many), 0.0).astype(np.int64)
    level = np.rint(np.log(expected) * _BY_EXPECTED).astype(np.int64)
    level -= level.min(initial=0)
    key = count * (int(level.max(initial=0)) + 1) + level
    _, first, kind, cells = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    weight = _likelihood(
        np.bincount(kind, seen) / cells,
        np.exp(np.bincount(kind, np.log(expected)) / cells),
        known[first],
        ratio,
        few,
    )
    share = np.full(_POINTS, 1.0 / _POINTS)
    for _ in range(_ROUNDS):
        posterior = weight * share
        posterior *= (cells / posterior.sum(axis=1))[:, None]
        share = posterior.sum(axis=0)
        share = np.convolve(np.pad(share, 1, mode="edge"), [_SMOOTHING, 1.0 - 2.0 * _SMOOTHING, _SMOOTHING], "valid")
        share /= share.sum()
    return RatioPrior(ratio=ratio, share=share, few=few)


def likely_counts(seen: npt.NDArray[np.floating[Any]], made: Any, known: Bools, few: int) -> Doubles:
    """Return how often each thing is likely to come, float64[n].

    Parameters
    ----------
    seen : float[n]
    made : float[n]
        How often it comes by itself.
    known, few
        As for `ratio_prior`.
    """
    result = np.array(made, dtype=np.float64)
    some = known | (result > 0)
    if some.any():
        prior = ratio_prior(seen[some].astype(np.float64), np.maximum(result[some], _LEAST), known[some], few)
        some = known | (result >= _TOLD)
        expected = np.maximum(result[some], _LEAST)
        result[some] = expected * prior.mean(seen[some].astype(np.float64), expected, known[some])
    return result


def _likelihood(seen: Doubles, expected: Doubles, known: Bools, ratio: Doubles, few: int) -> Doubles:
    """Return the likelihood of each ratio up to a factor of each row, float64[n, points]."""
    log = seen[:, None] * np.log(ratio) - expected[:, None] * ratio
    mean = expected[~known, None] * ratio
    terms = [number * np.log(mean) - mean - lgamma(number + 1) for number in range(few)]
    log[~known] = np.logaddexp.reduce(terms, axis=0)
    log -= log.max(axis=1, keepdims=True)
    result: Doubles = np.exp(log)
    return result
