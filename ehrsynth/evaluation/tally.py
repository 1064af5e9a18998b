"""Counts that add up over patients: what every bootstrapped metric is a function of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.evaluation.cohort import Cohort, Floats, Ints

__all__ = ["Tally", "align", "merged", "pairs", "tally", "tally_chunks", "total"]

CHUNK = 4_000_000
"""Pairs that are enumerated at a time: bounds memory to some 100 MB, whatever the length of the records."""


_MERGED = 500_000
"""Entries of parts that are summed at a time: some 30 MB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Amounts by key and group of patients; sorted by group, then key, each combination once.

    Attributes
    ----------
    sizes : int64[n_groups]
        Entries of each group.
    key : int[m]
    amount : float[m]
    """

    sizes: Ints
    key: npt.NDArray[np.integer[Any]]
    amount: npt.NDArray[np.floating[Any]]


def tally(cohort: Cohort, patient: Ints, key: Ints, amount: Floats | None = None) -> Tally:
    """Return the tally of rows (patient, key, amount).

    Parameters
    ----------
    cohort : Cohort
    patient, key : int64[r]
        Keys are at least 0.
    amount : float64[r], optional
        Default: 1 each.
    """
    return tally_chunks(cohort, [(patient, key, amount)])


def tally_chunks(cohort: Cohort, chunks: Iterable[tuple[Ints, Ints, Floats | None]]) -> Tally:
    """Return the tally of rows that come in parts; each part is summed before the next is made."""
    groups: list[Ints] = [np.zeros(0, dtype=np.int64)]
    keys: list[Ints] = [np.zeros(0, dtype=np.int64)]
    amounts: list[Floats] = [np.zeros(0)]
    for patient, key, amount in chunks:
        group, distinct, total_amount = _reduce(cohort.group[patient], key, amount)
        groups.append(group)
        keys.append(distinct)
        amounts.append(total_amount)
        if sum(map(len, keys)) > 2 * CHUNK:
            merged = _reduce(np.concatenate(groups), np.concatenate(keys), np.concatenate(amounts))
            groups, keys, amounts = [merged[0]], [merged[1]], [merged[2]]
    group, key, amount = _reduce(np.concatenate(groups), np.concatenate(keys), np.concatenate(amounts))
    return Tally(sizes=np.bincount(group, minlength=cohort.n_groups), key=key, amount=amount)


def _reduce(group: Ints, key: Ints, amount: Floats | None) -> tuple[Ints, Ints, Floats]:
    """Return the distinct (group, key), sorted, and the sum of the amounts of each."""
    span = int(key.max()) + 1 if len(key) else 1
    combined = group * span + key
    if amount is None:
        distinct, counts = np.unique(combined, return_counts=True)
        return distinct // span, distinct % span, counts.astype(np.float64)
    distinct, inverse = np.unique(combined, return_inverse=True)
    sums = np.bincount(inverse.reshape(-1), weights=amount, minlength=len(distinct))
    return distinct // span, distinct % span, sums.astype(np.float64)


def merged(parts: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """Return the sums of the tallies of parts of the patients, by name."""
    held: dict[str, list[Tally]] = {}
    for part in parts:
        for name, one in part.items():
            some = held.setdefault(name, [])
            some.append(_small(one))
            if sum(len(each.key) for each in some[1:]) > max(len(some[0].key) // 2, _MERGED):
                some[:] = [_sum(some)]
    return {name: _sum(some) for name, some in held.items()}


def _small(one: Tally) -> Tally:
    """Return a tally in half the bytes, where no digit is lost."""
    key = one.key.astype(np.int32) if len(one.key) and int(one.key.max()) < 1 << 31 else one.key
    amount = one.amount.astype(np.float32)
    exact = bool((amount == one.amount).all())
    return Tally(sizes=one.sizes, key=key, amount=amount if exact else one.amount)


def _sum(tallies: list[Tally]) -> Tally:
    """Return the sum of tallies, some groups at a time."""
    if len(tallies) == 1:
        return tallies[0]
    ends = [np.concatenate(([0], np.cumsum(one.sizes))) for one in tallies]
    entries = np.sum(ends, axis=0)
    inner = np.searchsorted(entries, np.arange(_MERGED, entries[-1], _MERGED))
    bounds = np.unique(np.concatenate(([0], inner, [len(entries) - 1])))
    sizes, made = [], []
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        slices = [slice(end[first], end[last]) for end in ends]
        group = np.concatenate([np.repeat(np.arange(last - first), one.sizes[first:last]) for one in tallies])
        key, amount = (
            np.concatenate([getattr(one, name)[some] for one, some in zip(tallies, slices, strict=True)])
            for name in ("key", "amount")
        )
        groups, key, amount = _reduce(group, key.astype(np.int64), amount.astype(np.float64))
        sizes.append(np.bincount(groups, minlength=last - first))
        made.append(_small(Tally(sizes=sizes[-1], key=key, amount=amount)))
    key, amount = (np.concatenate([getattr(one, name) for one in made]) for name in ("key", "amount"))
    return Tally(sizes=np.concatenate(sizes), key=key, amount=amount)


def align(tallies: list[Tally]) -> tuple[Ints, list[Tally]]:
    """Return (the sorted union of the keys, the tallies with positions in it for keys)."""
    keys = np.unique(np.concatenate([np.unique(one.key) for one in tallies])).astype(np.int64)
    return keys, [
        Tally(sizes=one.sizes, key=np.searchsorted(keys, one.key).astype(np.int32), amount=one.amount)
        for one in tallies
    ]


def total(one: Tally, n_keys: int, weights: Floats | None = None) -> Floats:
    """Return the amount of each key, float64[n_keys]; each group counts `weights` times (default 1)."""
    amount = one.amount if weights is None else one.amount * np.repeat(weights, one.sizes)
    return np.asarray(np.bincount(one.key, weights=amount, minlength=n_keys), dtype=np.float64)


def pairs(start: Ints, count: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs (i, j) with start[i] <= j < start[i] + count[i], in order of i, then j, in parts of about `CHUNK`.

    Parameters
    ----------
    start, count : int64[m]
        The run of partners of each entry.
    """
    ends = np.cumsum(count)
    first = 0
    while first < len(count):
        done = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, done + CHUNK, side="right")), first + 1)
        number = count[first:last]
        left = np.repeat(np.arange(first, last), number)
        within = np.arange(len(left)) - np.repeat(np.cumsum(number) - number, number)
        yield left, start[left] + within
        first = last
