"""Working on many short runs at once: expanding, searching and numbering within groups, without loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.native import compiled

__all__ = ["RowIndex", "distinct", "edges_of", "expand", "first_in_each", "number_within", "order_of", "starts"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_FAR = np.int64(1 << 60)


def expand(counts: Int) -> tuple[Int, Int]:
    """Return, for `counts` copies of each item, the item and the number of the copy."""
    counts = np.asarray(counts, dtype=np.int64)
    if compiled() is not None:
        return _expanded(np.zeros(len(counts), dtype=np.int64), counts)
    item = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(item)) - np.repeat(np.cumsum(counts) - counts, counts)
    return item, number


def _expanded(first: Int, counts: Int) -> tuple[Int, Int]:
    """Return, for `counts` numbers from `first` on of each item, the item and the number."""
    native = compiled()
    if native is None:
        item, number = expand(counts)
        return item, first[item] + number
    item, number = np.empty((2, int(counts.sum())), dtype=np.int64)
    native.expanded(np.ascontiguousarray(first), np.ascontiguousarray(counts), item, number)
    return item, number


def distinct(values: npt.NDArray[np.number[Any]]) -> npt.NDArray[Any]:
    """Return the distinct values, ascending; `numpy.unique` imports masked arrays, a fiftieth of a second."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[np.flatnonzero(first)]


def order_of(*keys: Int) -> Int:
    """Return the rows in ascending order of `keys`, the first of which weighs most; equal ones stay as they stand.

    The keys and the number of the row become one number where 63 bits suffice: numpy sorts numbers many times faster
    than it finds their order.
    """
    native = compiled()
    if native is not None and len(keys) == 1:
        order = np.empty(len(keys[0]), dtype=np.int64)
        if native.ordered(*_plain(keys), order):
            return order
    packed, bits = _packed(keys)
    if packed is None:
        return np.lexsort(keys[::-1])
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def edges_of(group: Int, n_groups: int) -> Int:
    """Return where the rows of each group begin in their order, and last where they end, int64[n_groups + 1]."""
    return np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])


def _plain(keys: tuple[Int, ...]) -> list[Int]:
    return [np.ascontiguousarray(key, dtype=np.int64) for key in keys]


def _packed(keys: tuple[Int, ...]) -> tuple[Int | None, int]:
    """Return keys and number of each row as one number, and the bits of the latter; None where they do not fit."""
    bits = max(len(keys[0]), 1).bit_length()
    packed, span = np.zeros(len(keys[0]), dtype=np.int64), 1
    for key in keys:
        low, high = int(key.min(initial=_FAR)), int(key.max(initial=-_FAR))
        span *= max(high - low + 1, 1)
        if span > 1 << (62 - bits):
            return None, bits
        packed *= high - low + 1
        packed += key
        packed -= low
    packed <<= bits
    packed += np.arange(len(packed))
    return packed, bits


def starts(keys: Int) -> npt.NDArray[np.bool_]:
    """Return whether each of the sorted `keys` is the first of its value."""
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    return first


def number_within(keys: Int) -> Int:
    """Return the number of each of the sorted `keys` among its equals, from 0."""
    first = np.flatnonzero(starts(keys))
    return np.arange(len(keys)) - np.repeat(first, np.diff(np.append(first, len(keys))))


def first_in_each(*keys: Int) -> Int:
    """Return the rows that are the first of each distinct combination of `keys`, ascending."""
    native = compiled()
    if native is not None and len(keys) == 2:
        is_first = np.empty(len(keys[0]), dtype=bool)
        if native.firsts(*_plain(keys), is_first):
            return np.flatnonzero(is_first)
    packed, bits = _packed(keys)
    if packed is not None:
        packed.sort()
        found = packed[starts(packed >> bits)]
        found &= (1 << bits) - 1
        found.sort()
        return found
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), dtype=bool)
    new[:1] = True
    for key in keys:
        new |= starts(key[order])
    return np.sort(order[new])


class RowIndex:
    """The rows of a listing by an owner number 0..n-1.

    Parameters
    ----------
    owner : int64[rows]
        Negative owners are left out.
    n : int
    rows : int64[rows], optional
        The rows, where one may belong to several owners; else they are counted.
    """

    def __init__(self, owner: Int, n: int, rows: Int | None = None) -> None:
        order = order_of(owner)
        order = order[np.searchsorted(owner[order], 0) :]
        self.rows = order if rows is None else rows[order]
        self.offsets = np.searchsorted(owner[order], np.arange(n + 1))

    def pairs(self, owners: Int) -> tuple[Int, Int]:
        """Return every (position in `owners`, row of its owner)."""
        first = self.offsets[owners]
        item, place = _expanded(first, self.offsets[owners + 1] - first)
        return item, self.rows[place]
