"""Codes by stratum: how often a visit has each, and how far sex and age move its odds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import add, iadd
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.evidence import SparseRows, code_evidence, sum_by
from ehrsynth.learning.expectation import Weights, unseen_trials
from ehrsynth.learning.family_counts import ChunkCounts, FamilyCounts
from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.lift import expected_visits, grouped_targets, odds_lift, shrunk_targets
from ehrsynth.learning.parameters import CodeTables

__all__ = [
    "FarPosteriors",
    "StatePosterior",
    "code_lift",
    "count_codes",
    "each",
    "slot_sizes",
    "summed",
    "thinned",
]

T = TypeVar("T")
P = TypeVar("P", bound="Thinned")

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]

_SIZE_STRENGTH = 20.0
_MOST_CELLS = 40_000_000
"""Cells of the counts by stratum that are held at a time; more codes are counted in several passes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StatePosterior:
    """A chunk of patients with what is known of the state of each visit.

    Attributes
    ----------
    timelines : Timelines
    stratum : int64[V]
    gamma : float32[V, Q]
        P(state | everything in the record), times the patient's weight.
    predicted : float32[V, Q]
        P(state | all earlier visits), times the weight: what generation will meet after such a history.
    ratios : float32[K, V, Q]
        See `Emission`.
    weights : Weights
        Of the tables that the posterior was made with.
    """

    timelines: Timelines
    stratum: npt.NDArray[np.int64]
    gamma: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.float32]
    ratios: npt.NDArray[np.float32]
    weights: Weights


def _sizes(chunk: StatePosterior, n_slots: int) -> Doubles:
    size = np.minimum(chunk.timelines.families["condition"].visit_codes, n_slots)
    return sum_by(size, chunk.gamma, n_slots + 1)


@runtime_checkable
class FarPosteriors(Protocol):
    """Chunks with their posteriors that lie elsewhere: functions go there, and what they return comes back."""

    def map(self, function: Callable[[StatePosterior], T]) -> Iterator[T]:
        """Yield the function of each chunk, in order."""

    def total(self, function: Callable[[StatePosterior], T]) -> T:
        """Return the sum of the function over the chunks."""


def each(posteriors: Iterable[StatePosterior] | FarPosteriors, function: Callable[[StatePosterior], T]) -> Iterator[T]:
    """Yield `function` of each chunk, in order, here or where the chunks are."""
    return posteriors.map(function) if isinstance(posteriors, FarPosteriors) else map(function, posteriors)


class Thinned(Protocol):
    """What is found in some visits: how many these are, and how many rows it has."""

    @property
    def visits(self) -> int: ...

    def __len__(self) -> int: ...


def thinned(found: Iterable[P], most: int, n_visits: int) -> list[P]:
    """Return what is `found` in chunks of so many visits in all, of about `most` rows at most.

    Of more rows chunks are left out, in step with the visits that went by.
    """
    kept: list[P] = []
    rows = visits = 0
    for one in found:
        visits += one.visits
        if rows <= most * visits / n_visits:
            rows += len(one)
            kept.append(one)
    return kept


def _all_of(
    posteriors: Iterable[StatePosterior] | FarPosteriors, count: Callable[[StatePosterior], ChunkCounts]
) -> FamilyCounts | ChunkCounts:
    if isinstance(posteriors, FarPosteriors):
        return posteriors.total(count)
    return cast(FamilyCounts | ChunkCounts, reduce(iadd, cast(Any, map(count, posteriors))))


def summed(posteriors: Iterable[StatePosterior] | FarPosteriors, function: Callable[[StatePosterior], T]) -> T:
    """Return the sum of `function` over the chunks."""
    if isinstance(posteriors, FarPosteriors):
        return posteriors.total(function)
    return reduce(cast(Any, add), map(function, posteriors))


def code_layout(codes: tuple[int, int], n_parents: int, n_truncated: int = 0, n_led: int = 0) -> RowLayout:
    """Return a layout that has rows of a range of codes only; `n_truncated` and `n_led` are of all codes."""
    start, stop = codes
    return RowLayout(
        n_codes=stop - start,
        n_parents=n_parents,
        n_gaps=0,
        n_classes=0,
        n_stays=0,
        n_bands=0,
        n_truncated=min(max(n_truncated - start, 0), stop - start),
        n_led=min(max(n_led - start, 0), stop - start),
    )


def code_blocks(n_codes: int, n_strata: int, n_states: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of codes that are counted in one pass."""
    size = max(1, _MOST_CELLS // (8 * n_strata * n_states))
    for start in range(0, n_codes, size):
        yield start, min(start + size, n_codes)


def count_codes(
    chunk: StatePosterior,
    codes: tuple[int, int],
    parent: npt.NDArray[np.int32],
    *,
    n_strata: int = 1,
    n_truncated: int = 0,
    n_led: int = 0,
) -> ChunkCounts:
    """Return the counts of a range of the codes of all families in a chunk, given the states that can be predicted.

    Parameters
    ----------
    chunk : StatePosterior
    codes : (int, int)
        First code, and the one after the last.
    parent : int32[C]
        Of all codes.
    n_strata : int
        R; with 1 all strata are counted together.
    n_truncated : int
        Every visit has one of so many first codes.
    n_led : int
        So many first codes have satellites among them, see `RowLayout`.
    """
    union = chunk.timelines.families[UNION]
    family = union.select_codes(*codes)
    layout = code_layout(codes, union.n_codes, n_truncated, n_led)
    evidence = code_evidence(chunk.timelines, family, layout, parent[codes[0] : codes[1]], union)
    occupancy = chunk.predicted
    stratum = chunk.stratum if n_strata > 1 else np.zeros_like(chunk.stratum)
    n_visits, n_states = occupancy.shape
    # The stratum is one more digit of the row number: one pass counts all strata.
    history = SparseRows(
        evidence.history_visits,
        stratum[evidence.history_visits] * layout.n_history + evidence.history_rows,
        n_visits,
        n_strata * layout.n_history,
    )
    present = SparseRows(
        evidence.visits,
        stratum[evidence.visits] * layout.n_rows + evidence.rows,
        n_visits,
        n_strata * layout.n_rows,
    )
    row, sums = _merged(present.scatter_present(occupancy), history.scatter_present(occupancy), layout)
    visits = sum_by(stratum, occupancy, n_strata)
    unseen = np.zeros((n_strata, 3, layout.n_codes, n_states))
    if layout.n_truncated:
        of_history, of_visits = [], []
        for ratio in chunk.ratios:
            weighted = occupancy * ratio
            of_history.append(history.scatter_present(weighted))
            of_visits.append(sum_by(stratum, weighted, n_strata))
        for r in range(n_strata):
            unseen[r] = unseen_trials(
                _of_stratum(row, sums, r, layout.n_rows),
                visits[r],
                [_of_stratum(*one, r, layout.n_history) for one in of_history],
                [one[r] for one in of_visits],
                chunk.weights,
                first=codes[0],
                count=layout.n_codes,
                at_tables=True,
            )
    cells = stratum[family.visits] * family.n_codes + family.codes
    people = chunk.timelines.patient_of_visit[family.visits]
    patients = distinct_patients(cells, people, n_strata * family.n_codes)
    return ChunkCounts(
        n_rows=layout.n_rows,
        row=row,
        sums=sums,
        unseen=unseen,
        visits=visits,
        patients=patients.reshape(n_strata, -1),
    )


def _merged(present: tuple[Ints, Doubles], history: tuple[Ints, Doubles], layout: RowLayout) -> tuple[Ints, Doubles]:
    """Return the rows of both, which are different ones, under the numbers of `present`."""
    stratum, row = np.divmod(history[0], max(layout.n_history, 1))
    both = np.concatenate((stratum * layout.n_rows + row, present[0]))
    order = np.argsort(both, kind="stable")
    return both[order], np.concatenate((history[1], present[1]))[order]


def _of_stratum(row: Ints, sums: Doubles, r: int, n_rows: int) -> Doubles:
    """Return the sums of all rows of a stratum."""
    start, stop = np.searchsorted(row, (r * n_rows, (r + 1) * n_rows))
    result = np.zeros((n_rows, sums.shape[1]))
    result[row[start:stop] - r * n_rows] = sums[start:stop]
    return result


def slot_sizes(posteriors: Iterable[StatePosterior] | FarPosteriors, n_slots: int) -> Doubles:
    """Return P(number of conditions in a visit | state) float64[Q, N + 1], drawn to that of all visits; none has 0.

    Codes too rare to be learned count: others will take their slots.
    """
    total = summed(posteriors, partial(_sizes, n_slots=n_slots))
    total[0] = 0.0
    margin = total.sum(axis=1) / total.sum()
    counts = total.T + _SIZE_STRENGTH * margin
    result: Doubles = counts / counts.sum(axis=1, keepdims=True)
    return result


def code_lift(
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    tables: CodeTables,
    *,
    n_strata: int,
    groups: npt.NDArray[np.int64],
    n_grouped: int,
    n_truncated: int,
    n_led: int = 0,
    min_patients: int,
) -> Doubles:
    """Return the odds multipliers float64[R, C] of all codes, a block of codes at a time.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
        Over the patients; read once for each block.
    tables : CodeTables
        Of all codes.
    n_strata : int
    groups : int64[A]
        See `shrunk_targets`.
    n_grouped : int
        So many first codes have one multiplier for each group of ages, see `grouped_targets`.
    n_truncated, n_led, min_patients : int
    """
    n_states, n_codes = tables.never.shape
    lifts = []
    for codes in code_blocks(n_codes, n_strata, n_states):
        count = partial(
            count_codes,
            codes=codes,
            parent=tables.parent,
            n_strata=n_strata,
            n_truncated=n_truncated,
            n_led=n_led,
        )
        found: FamilyCounts | ChunkCounts = _all_of(posteriors, count)
        counts = found.whole() if isinstance(found, ChunkCounts) else found
        layout = code_layout(codes, n_codes, n_truncated, n_led)
        lifts.append(
            family_lift(
                counts,
                tables.of(*codes),
                layout,
                groups=groups,
                n_grouped=min(max(n_grouped - codes[0], 0), codes[1] - codes[0]),
                min_patients=min_patients,
            )
        )
    return np.concatenate(lifts, axis=1) if lifts else np.ones((n_strata, 0))


def family_lift(
    counts: FamilyCounts,
    tables: CodeTables,
    layout: RowLayout,
    *,
    groups: npt.NDArray[np.int64],
    n_grouped: int,
    min_patients: int,
) -> Doubles:
    """Return the odds multipliers float64[R, C] of the counted codes."""
    observed, expected = np.zeros((2, len(counts.visits), layout.n_codes))
    for r in range(len(counts.visits)):
        # One stratum at a time: those of all would be as much again as the counts.
        one = counts.of_stratum(r, layout, tables.parent)
        observed[r] = sum((present.sum(axis=0) for present, _ in one.items().values()), np.zeros(layout.n_codes))
        expected[r] = expected_visits(one, tables)
    targets = np.concatenate(
        [
            make(observed[:, some], expected[:, some], counts.patients[:, some], groups, min_patients)
            for make, some in ((grouped_targets, slice(0, n_grouped)), (shrunk_targets, slice(n_grouped, None)))
        ],
        axis=1,
    )
    return np.stack(
        [odds_lift(counts.of_stratum(r, layout, tables.parent), tables, target) for r, target in enumerate(targets)]
    )
