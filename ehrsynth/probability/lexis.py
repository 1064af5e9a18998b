"""Time on two clocks at once: days of age, and days before an end (a Lexis diagram)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["exposure", "segments"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_ROWS = 20_000


def segments(low: Int, high: Int, end: Int, edges: Int, backs: Int) -> tuple[Int, Int, Int, Int]:
    """Cut the days `low` to `high` of each person where a cell of age or a band before the end begins.

    Parameters
    ----------
    low, high : int64[n]
        First and last day of age, inclusive; nothing where high < low.
    end : int64[n]
        Day of age that the second clock counts back from.
    edges : int64[F + 1]
        Of the cells of age; days outside have the cell -1 or F.
    backs : int64[P]
        First day before the end of each band, from 0.

    Returns
    -------
    (first, days, cell, band) : int64[n, F + P + 1] each
        First day of age of each piece, how many days it has (0: none), its cell and its band.
    """
    n = len(low)
    stop = np.maximum(high + 1, low)
    cuts = np.concatenate(
        (np.broadcast_to(edges, (n, len(edges))), end[:, None] - backs[None, 1:] + 1, low[:, None]), axis=1
    )
    cuts = np.sort(np.clip(cuts, low[:, None], stop[:, None]), axis=1)
    days = np.diff(cuts, axis=1, append=stop[:, None])
    cell = np.searchsorted(edges, cuts, side="right") - 1
    last = cuts + np.maximum(days - 1, 0)
    band = np.searchsorted(backs, np.maximum(end[:, None] - last, 0), side="right") - 1
    return cuts, days, cell, band


def exposure(low: Int, high: Int, end: Int, group: Int, weight: Float, n_groups: int, edges: Int, backs: Int) -> Float:
    """Return the days of all people in each cell and band by group, float64[n_groups, F, P]; see `segments`."""
    n_cells, n_bands = len(edges) - 1, len(backs)
    total = np.zeros(n_groups * n_cells * n_bands)
    for start in range(0, len(low), _ROWS):
        mine = slice(start, start + _ROWS)
        _, days, cell, band = segments(low[mine], high[mine], end[mine], edges, backs)
        inside = (days > 0) & (cell >= 0) & (cell < n_cells)
        row = np.nonzero(inside)[0] + start
        key = (group[row] * n_cells + cell[inside]) * n_bands + band[inside]
        total += np.bincount(key, days[inside] * weight[row], len(total))
    return total.reshape(n_groups, n_cells, n_bands)
