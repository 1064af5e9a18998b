"""Ragged rows as flat arrays: where each begins, and the places of all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["padded", "ranges", "starts"]

Int = npt.NDArray[np.int64]


def starts(lengths: Int) -> Int:
    """Return where each row begins if rows of so many places follow one another, int64[n]."""
    return np.asarray(np.cumsum(lengths) - lengths, dtype=np.int64)


def ranges(start: Int, length: Int) -> Int:
    """Return the places start[0] .. start[0] + length[0] - 1, then those of start[1], and so on."""
    return np.asarray(np.arange(int(length.sum())) + np.repeat(start - starts(length), length), dtype=np.int64)


def padded(row: Int, value: Int, n_rows: int, width: int) -> Int:
    """Return the values of each row, in their order, at the left of int64[n_rows, width]; -1 where there are fewer.

    `row` ascends; of longer rows the first values are kept.
    """
    place = np.arange(len(row)) - starts(np.bincount(row, minlength=n_rows))[row]
    result = np.full((n_rows, width), -1, dtype=np.int64)
    inside = place < width
    result[row[inside], place[inside]] = value[inside]
    return result
