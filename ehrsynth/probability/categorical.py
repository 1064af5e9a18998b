"""Drawing categories from the rows of a table by inverse transform: fast, exact at the edges, the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.native import compiled

__all__ = ["Cumulative", "cumulative", "sample_rows"]

_BITS = 40
_ONE = 1 << _BITS
_MAX_ROWS = 1 << (63 - _BITS)


@dataclass(frozen=True, kw_only=True)
class Cumulative:
    """A table of distributions made ready for drawing; made by `cumulative`, used by `sample_rows`.

    Attributes
    ----------
    thresholds : int64[rows * categories]
        For row r and category c: r * 2**40 + the cumulative probability up to and with c, in units of 2**-40.
        Sorted as a whole, so that one binary search answers (row, uniform) at once. Integers and not floats: the sum
        of a row number and a uniform rounds in floating point, and can end in the next row or an impossible category.
    rows, categories : int
    """

    thresholds: npt.NDArray[np.int64]
    rows: int
    categories: int


def cumulative(table: npt.ArrayLike) -> Cumulative:
    """Prepare a table of non-negative weights for `sample_rows`.

    Parameters
    ----------
    table : float[categories] or float[..., categories]
        One distribution a row (leading axes are flattened in C order); rows sum to something positive, not only 1.

    Raises
    ------
    ModelError
        A weight is negative or not finite, a row sums to nothing, or there are more than 2**23 rows.
    """
    weights = np.asarray(table, dtype=np.float64)
    weights = weights.reshape(-1, weights.shape[-1])
    rows, categories = weights.shape
    if rows >= _MAX_ROWS:
        raise ModelError(f"A table of {rows} rows is too long to draw from (at most {_MAX_ROWS - 1}).")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ModelError("A table of probabilities holds a negative or not finite number.")
    running = np.cumsum(weights, axis=1)
    total = running[:, -1:]
    if (total <= 0).any():
        bad = int(np.flatnonzero(total[:, 0] <= 0)[0])
        raise ModelError(f"Row {bad} of a table of probabilities is all zero: there is nothing to draw.")
    # A weight of zero adds nothing to the running sum, so its threshold equals the one before and it cannot be drawn;
    # from the last positive weight on, the running sum equals the total and the threshold is exactly one.
    scaled = np.floor(running / total * _ONE).astype(np.int64)
    scaled[running >= total] = _ONE
    scaled += np.arange(rows, dtype=np.int64)[:, None] << _BITS
    return Cumulative(thresholds=scaled.reshape(-1), rows=rows, categories=categories)


def sample_rows(cdf: Cumulative, rows: npt.ArrayLike, u: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Draw one category for each uniform, from the distribution in its row.

    Parameters
    ----------
    cdf : Cumulative
    rows : int or int[n]
        The row of each draw, 0 <= row < cdf.rows.
    u : float64[n]
        Uniforms in [0, 1). Equal (row, u) give equal categories, whatever else is drawn.

    Returns
    -------
    int64[n]
        Categories. One of probability zero is never returned; probabilities are met to 2**-40.
    """
    row = np.asarray(rows, dtype=np.int64)
    native = compiled()
    if native is not None and row.ndim == u.ndim == 1:
        found = np.empty(len(u), dtype=np.int64)
        native.sampled(
            cdf.thresholds, np.array([cdf.categories]), np.ascontiguousarray(row), np.ascontiguousarray(u), found
        )
        return found
    keys = (u * _ONE).astype(np.int64)
    keys += row << _BITS
    found = np.searchsorted(cdf.thresholds, keys, side="right")
    return np.asarray(found - row * cdf.categories)
