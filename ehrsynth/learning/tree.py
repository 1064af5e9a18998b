"""Which code goes with which: the within-visit forest of all codes, and the condition that a code is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, FamilyTimeline, Timelines
from ehrsynth.probability.association import binary_mutual_information, chow_liu_forest
from ehrsynth.probability.ragged import ranges

__all__ = ["condition_parents", "first_occurrences", "within_visit_forest"]

Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]

_MOST_ALL_PAIRS = 50_000_000
"""Pairs counted in all: bounds time."""

_MOST_PAIRS = 4_000_000
"""Pairs counted at a time: bounds memory."""


def first_occurrences(timelines: Timelines, family: FamilyTimeline) -> Bools:
    """Return whether each entry of `family.codes` is the patient's first of that code, bool[nnz]."""
    keys = timelines.patient_of_visit[family.visits] * max(family.n_codes, 1) + family.codes
    _, first = np.unique(keys, return_index=True)
    result = np.zeros(len(keys), dtype=bool)
    result[first] = True
    return result


def _count_pairs(
    counts: npt.NDArray[np.int64], blocks: Iterator[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct keys of all blocks and how often each comes."""
    keys, times = counts[:0], counts[:0]
    for block in blocks:
        new, number = np.unique(block, return_counts=True)
        joined, inverse = np.unique(np.concatenate([keys, new]), return_inverse=True)
        times = np.bincount(inverse, weights=np.concatenate([times, number]), minlength=len(joined)).astype(np.int64)
        keys = joined
    return keys, times


def _cross(
    left_offsets: Ints, left: Ints, right_offsets: Ints, right: Ints, factor: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield left * factor + right for all pairs of entries of the same visit, in blocks."""
    sizes = np.diff(right_offsets)
    per_entry = np.repeat(sizes, np.diff(left_offsets))
    starts = np.repeat(right_offsets[:-1], np.diff(left_offsets))
    ends = np.cumsum(per_entry)
    position = 0
    while position < len(left):
        limit = (int(ends[position - 1]) if position else 0) + _MOST_PAIRS
        stop = max(int(np.searchsorted(ends, limit, side="right")), position + 1)
        lengths = per_entry[position:stop].astype(np.int64)
        others = right[ranges(starts[position:stop].astype(np.int64), lengths)]
        yield np.repeat(left[position:stop].astype(np.int64), lengths) * factor + others
        position = stop


def _keep(offsets: Ints, kept: Bools) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(kept)))[offsets].astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairCounts:
    """Visits that have a code of one kind and one of another; additive.

    Attributes
    ----------
    n_visits : int
    left, right : float64[C], float64[D]
        Visits with each code.
    keys : int64[m]
        left * D + right of the pairs that come together, ascending.
    both : int64[m]
    """

    n_visits: int
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    keys: npt.NDArray[np.int64]
    both: npt.NDArray[np.int64]

    def __add__(self, other: PairCounts) -> PairCounts:
        keys, inverse = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        both = np.zeros(len(keys), dtype=np.int64)
        np.add.at(both, inverse, np.concatenate([self.both, other.both]))
        return PairCounts(
            n_visits=self.n_visits + other.n_visits,
            left=self.left + other.left,
            right=self.right + other.right,
            keys=keys,
            both=both,
        )


def _new(timelines: Timelines, name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    family = timelines.families[name]
    new = first_occurrences(timelines, family)
    return family.codes[new], _keep(family.offsets, new)


def _squares(timelines: Timelines, name: str) -> float:
    """Return the sum of squares of the numbers of new codes of the visits."""
    return float((np.diff(_new(timelines, name)[1]).astype(np.float64) ** 2).sum())


def _new_pairs(timelines: Timelines, name: str, every: int) -> PairCounts:
    """Count new codes of one visit, of every so manieth visit of all parts."""
    n_codes = timelines.families[name].n_codes
    codes, offsets = _new(timelines, name)
    n_visits = timelines.n_visits
    if every > 1:
        counted = (timelines.first_visit + np.arange(n_visits)) % every == 0
        entries = np.repeat(counted, np.diff(offsets))
        codes, offsets = codes[entries], np.concatenate(([0], np.cumsum(np.diff(offsets)[counted]))).astype(np.int64)
        n_visits = int(counted.sum())
    nothing = np.zeros(0, dtype=np.int64)
    keys, counts = _count_pairs(nothing, _cross(offsets, codes, offsets, codes, max(n_codes, 1)))
    single = np.bincount(codes, minlength=n_codes).astype(np.float64)
    return PairCounts(n_visits=n_visits, left=single, right=single, keys=keys, both=counts)


def within_visit_forest(
    timelines: Cohort,
    family: FamilyTimeline,
    n_first: int,
    *,
    first: npt.NDArray[np.int32] | None = None,
    lead: int = -1,
) -> npt.NDArray[np.int32]:
    """Return the parent of each code, -1 for none: the Chow-Liu forest over codes that are new in a visit.

    Codes that a patient has had come again by recurrence, not by company; so only first occurrences count. An edge is
    kept where it pays for its parameter, see `chow_liu_forest`. The first `n_first` codes (conditions) have a forest of
    their own, from which the other codes hang: what is done in a visit follows from what is found. Their parents are
    those of `first` int32[n_first] where it is given: where visits have slots for conditions, one takes another's
    place, and their number rules their company. The code `lead` (-1: none) is drawn before all others, which hang from
    it as from conditions.
    """
    n_codes = family.n_codes
    # Visits full of codes have more pairs than can be counted: every k-th visit tells as much.
    every = max(1, int(timelines.total(partial(_squares, name=family.table)) // _MOST_ALL_PAIRS))
    pairs = timelines.total(partial(_new_pairs, name=family.table, every=every))
    left, right = pairs.keys // max(n_codes, 1), pairs.keys % max(n_codes, 1)
    once = left < right
    left, right, both = left[once], right[once], pairs.both[once].astype(np.float64)
    n_visits, single = pairs.n_visits, pairs.left
    if first is None:
        mine = right < n_first
        given = chow_liu_forest(float(n_visits), single[:n_first], (left[mine], right[mine], both[mine]))
    else:
        given = first.astype(np.int64)
    if n_first == n_codes:
        return given.astype(np.int32)
    if lead < 0:
        return chow_liu_forest(float(n_visits), single, (left, right, both), given=given).astype(np.int32)
    # Next to the conditions, for the time being.
    order = np.concatenate([np.arange(n_first), [lead], np.setdiff1d(np.arange(n_first, n_codes), [lead])])
    place = np.argsort(order)
    parent = chow_liu_forest(
        float(n_visits), single[order], (place[left], place[right], both), given=np.append(given, -1)
    )
    return np.where(parent >= 0, order[parent], -1)[place].astype(np.int32)


def condition_parents(
    timelines: Cohort, family: FamilyTimeline, conditions: FamilyTimeline, *, least_odds_ratio: float = 1.0
) -> npt.NDArray[np.int32]:
    """Return the condition of the same visit that tells most about each new code of `family`, -1 for none.

    The condition must multiply the odds of the code by at least `least_odds_ratio` (half a visit added to each cell),
    be positively associated and pay for its parameter: n * MI > log(n) / 2.
    """
    n_codes, n_conditions, n = family.n_codes, conditions.n_codes, float(timelines.n_visits)
    parent = np.full(n_codes, -1, dtype=np.int32)
    if not n_codes or not n_conditions:
        return parent
    pairs = timelines.total(partial(_with_conditions, name=family.table))
    both, of_code, of_condition = pairs.both, pairs.left, pairs.right
    code, condition = pairs.keys // n_conditions, pairs.keys % n_conditions
    information = binary_mutual_information(n, of_code[code], of_condition[condition], both.astype(np.float64))
    useful = (both * n > of_code[code] * of_condition[condition]) & (n * information > np.log(max(n, 2.0)) / 2)
    only_code, only_condition = of_code[code] - both, of_condition[condition] - both
    neither = n - of_code[code] - only_condition
    useful &= (both + 0.5) * (neither + 0.5) >= least_odds_ratio * (only_code + 0.5) * (only_condition + 0.5)
    code, condition, information = code[useful], condition[useful], information[useful]
    # Ascending information; among equals the lower condition is written last and stays.
    order = np.lexsort((-condition, np.round(information, 14)))
    parent[code[order]] = condition[order]
    return parent


def _with_conditions(timelines: Timelines, name: str) -> PairCounts:
    """Count new codes of a family beside conditions of the same visit."""
    family, conditions = timelines.families[name], timelines.families["condition"]
    codes, offsets = _new(timelines, name)
    nothing = np.zeros(0, dtype=np.int64)
    keys, both = _count_pairs(nothing, _cross(offsets, codes, conditions.offsets, conditions.codes, conditions.n_codes))
    return PairCounts(
        n_visits=timelines.n_visits,
        left=np.bincount(codes, minlength=family.n_codes).astype(np.float64),
        right=np.bincount(conditions.codes, minlength=conditions.n_codes).astype(np.float64),
        keys=keys,
        both=both,
    )
