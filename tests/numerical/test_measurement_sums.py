"""The sums of correlated measurements: from left to right, to the last digit, however many rows there are at once."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.generation.measurements import _component


@pytest.mark.parametrize("rows", [0, 1, 7, 700])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_rows_are_summed_from_left_to_right(rows: int, density: float) -> None:
    rng = np.random.default_rng(5)
    size, occasions = 60, 90
    lower = np.tril(rng.standard_normal((size, size))) * (rng.random((size, size)) < density)
    z = rng.standard_normal((occasions, size))
    columns = rng.integers(occasions, size=rows)
    for m in range(0, size, 7):
        expected = []
        for column in columns:
            total = lower[m, m] * z[column, m]
            for j in range(m):
                total += lower[m, j] * z[column, j]
            expected.append(total)
        assert _component(lower[m], m, z, columns).tolist() == expected
