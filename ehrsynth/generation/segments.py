"""Ragged rows as flat arrays: runs of numbers, firsts of runs, membership."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability import ragged

__all__ = ["contains", "first_of_each", "first_times", "ranges"]

Int = npt.NDArray[np.int64]


def ranges(start: Int, stop: Int) -> Int:
    """Return ``start[0], ..., stop[0] - 1, start[1], ..., stop[1] - 1, ...``; empty where stop <= start."""
    return ragged.ranges(start, np.maximum(stop - start, 0))


def first_of_each(keys: Int) -> npt.NDArray[np.bool_]:
    """Return whether each of `keys`, of which equal ones are adjacent, is the first of its kind."""
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return first


def first_times(keys: Int) -> npt.NDArray[np.bool_]:
    """Return whether each of `keys`, in any order, is the first of its kind."""
    order = np.argsort(keys, kind="stable")
    first = np.empty(len(keys), dtype=bool)
    first[order] = first_of_each(keys[order])
    return first


def contains(within: Int, keys: Int) -> npt.NDArray[np.bool_]:
    """Return whether each of `keys` is among the sorted numbers `within`."""
    if not len(within):
        return np.zeros(len(keys), dtype=bool)
    place: Any = np.minimum(np.searchsorted(within, keys), len(within) - 1)
    return np.asarray(within[place] == keys)
