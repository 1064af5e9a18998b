"""Which visit has which rows of evidence, and the two sums over them that EM consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import FamilyTimeline, Timelines
from ehrsynth.learning.layout import RowLayout
from ehrsynth.probability.ragged import ranges

__all__ = ["CodeEvidence", "SparseRows", "code_evidence", "sum_by"]

Ints = npt.NDArray[np.integer[Any]]
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_BLOCK = 8192
"""Entries summed at a time: their weights in all states fit the cache."""


def sum_by(group: Ints, values: npt.NDArray[np.floating[Any]], n_groups: int) -> Doubles:
    """Return the sums of the rows of values[n, Q] by group: float64[n_groups, Q].

    A sort and sums of segments: numpy's ``add.at`` takes ten times as long for rows.
    """
    total = np.zeros((n_groups, values.shape[1]))
    order = np.argsort(group, kind="stable")
    for start in range(0, len(order), _BLOCK):
        at = order[start : start + _BLOCK]
        mine = group[at]
        first = np.flatnonzero(np.concatenate(([True], mine[1:] != mine[:-1])))
        total[mine[first]] += np.add.reduceat(values[at], first, axis=0)
    return total


class SparseRows:
    """Pairs (visit, row), each at most once, in the two orders in which they are read.

    Parameters
    ----------
    visits, rows : int[m]
    n_visits, n_rows : int
    """

    def __init__(self, visits: Ints, rows: Ints, n_visits: int, n_rows: int) -> None:
        self.n_visits, self.n_rows = n_visits, n_rows
        by_row = np.argsort(rows, kind="stable")
        self.row = rows[by_row].astype(np.int32)
        self.visit = visits[by_row].astype(np.int32)
        # The j-th rows of all visits that have so many, for j = 0, 1, ...: each step of a sum is one take of many
        # rows (a sum of segments with numpy's reduceat takes five times as long).
        by_visit = np.argsort(visits, kind="stable")
        counts = np.bincount(visits, minlength=n_visits)
        starts = np.cumsum(counts) - counts
        self._order = np.argsort(-counts, kind="stable").astype(np.int64)
        steps = int(counts.max()) if n_visits else 0
        self._sizes = [int(size) for size in n_visits - np.cumsum(np.bincount(counts, minlength=1))[:-1]]
        sorted_rows = rows[by_visit].astype(np.int32)
        self._steps = [sorted_rows[starts[self._order[: self._sizes[j]]] + j] for j in range(steps)]

    def gather(self, weights: Singles) -> Singles:
        """Return, for each visit, the sum of the weights float32[n_rows, Q] of its rows: float32[n_visits, Q]."""
        total = np.zeros((self.n_visits, weights.shape[1]), dtype=np.float32)
        for size, rows in zip(self._sizes, self._steps, strict=True):
            total[:size] += weights.take(rows, axis=0)
        result = np.empty_like(total)
        result[self._order] = total
        return result

    def scatter(self, gamma: Singles) -> Doubles:
        """Return, for each row, the sum of gamma float32[n_visits, Q] over its visits: float64[n_rows, Q]."""
        total = np.zeros((self.n_rows, gamma.shape[1]))
        for start in range(0, len(self.row), _BLOCK):
            row = self.row[start : start + _BLOCK]
            first = np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
            total[row[first]] += np.add.reduceat(gamma[self.visit[start : start + _BLOCK]], first, axis=0)
        return total

    def scatter_present(self, gamma: Singles) -> tuple[Ints, Doubles]:
        """Return the rows that some visit has, ascending, and their sums as of `scatter`, to the last bit."""
        starts = np.concatenate(([True], self.row[1:] != self.row[:-1]))[: len(self.row)]
        present, place = self.row[starts].astype(np.int64), np.cumsum(starts) - 1
        total = np.zeros((len(present), gamma.shape[1]))
        for start in range(0, len(self.row), _BLOCK):
            row = place[start : start + _BLOCK]
            first = np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
            total[row[first]] += np.add.reduceat(gamma[self.visit[start : start + _BLOCK]], first, axis=0)
        return present, total

    def select(self, visits: npt.NDArray[np.bool_]) -> SparseRows:
        """Return the pairs of the visits that are marked, the numbers kept."""
        keep = visits[self.visit]
        return SparseRows(self.visit[keep], self.row[keep], self.n_visits, self.n_rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeEvidence:
    """Rows of evidence of the codes of one family, see `RowLayout`: history rows, and the others.

    History rows of satellites are among the others: a visit without any code has no leader of theirs.
    """

    history_visits: Ints
    history_rows: Ints
    visits: Ints
    rows: Ints


def code_evidence(
    timelines: Timelines,
    family: FamilyTimeline,
    layout: RowLayout,
    parent: npt.NDArray[np.int32],
    parent_family: FamilyTimeline,
) -> CodeEvidence:
    """Return the rows of evidence of `family` in each visit.

    Parameters
    ----------
    timelines : Timelines
    family : FamilyTimeline
        A family of the timelines.
    layout : RowLayout
    parent : int32[C]
        Parent of each code among the codes of `parent_family`; -1 for none.
    parent_family : FamilyTimeline
        `family` itself, or another of the same timelines.
    """
    n_codes, n_parents = layout.n_codes, layout.n_parents
    visit = family.visits.astype(np.int64)
    code = family.codes.astype(np.int64)
    patient = timelines.patient_of_visit[visit]
    order = np.argsort(patient * max(n_codes, 1) + code, kind="stable")
    visit, code, patient = visit[order], code[order], patient[order]
    again = np.zeros(len(visit), dtype=bool)
    again[1:] = (patient[1:] == patient[:-1]) & (code[1:] == code[:-1])
    since = np.zeros(len(visit), dtype=np.int64)
    since[1:] = visit[1:] - visit[:-1]
    # From the visit after an occurrence to the next occurrence, or to the last visit, the code has history.
    last = timelines.offsets[patient + 1] - 1
    until = last.copy()
    until[:-1][again[1:]] = visit[1:][again[1:]]
    lengths = until - visit
    history_visit = ranges(visit + 1, lengths)
    history_code = np.repeat(code, lengths)
    is_previous = history_visit == np.repeat(visit, lengths) + 1
    history_rows = np.where(is_previous, layout.previous_absent, layout.earlier_absent) + history_code

    # Whether the parent is in the same visit, by search among the sorted (visit, parent code) pairs.
    pairs = parent_family.visits.astype(np.int64) * max(n_parents, 1) + parent_family.codes
    has_parent = _parent_present(visit, code, parent, pairs, n_parents)
    satellite = parent >= 0
    satellite[layout.n_led :] = False
    again &= has_parent | ~satellite[code]
    new = np.where(has_parent, layout.new_with_parent, layout.new)
    old = np.where(since == 1, layout.previous, layout.earlier)
    rows = [np.where(again, old, new) + code]
    visits = [visit]

    has_children = np.zeros(n_parents, dtype=bool)
    has_children[parent[parent >= 0]] = True
    hub = has_children[parent_family.codes] if n_parents else np.zeros(0, dtype=bool)
    rows.append(layout.parent + parent_family.codes[hub].astype(np.int64))
    visits.append(parent_family.visits[hub].astype(np.int64))

    lost = _parent_present(history_visit, history_code, parent, pairs, n_parents)
    rows.append(layout.child_has_history + history_code[lost])
    visits.append(history_visit[lost])
    if satellite.any():
        of_satellite = satellite[history_code]
        beside = of_satellite & lost
        rows.append(history_rows[beside])
        visits.append(history_visit[beside])
        history_visit, history_rows = history_visit[~of_satellite], history_rows[~of_satellite]
    return CodeEvidence(
        history_visits=history_visit,
        history_rows=history_rows,
        visits=np.concatenate(visits),
        rows=np.concatenate(rows),
    )


def _parent_present(
    visit: Ints, code: Ints, parent: npt.NDArray[np.int32], pairs: Ints, n_parents: int
) -> npt.NDArray[np.bool_]:
    result = np.zeros(len(visit), dtype=bool)
    if not len(pairs) or not len(visit):
        return result
    mother = parent[code].astype(np.int64)
    asked = np.flatnonzero(mother >= 0)
    wanted = visit[asked] * n_parents + mother[asked]
    found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    result[asked] = pairs[found] == wanted
    return result
