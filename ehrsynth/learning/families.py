"""Code families given the states: when a visit has a code of a table, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import FamilyTimeline, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.evidence import SparseRows, code_evidence
from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.lift import expected_visits, odds_lift, shrunk_targets
from ehrsynth.learning.maximisation import CodeCounts, Strengths, code_counts, code_tables, margins
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.strength import beta_strength

__all__ = ["FamilyCounts", "StatePosterior", "count_family", "family_lift", "family_tables"]

Doubles = npt.NDArray[np.float64]

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
    ghost_ratio : float32[V, Q] or None
        Zero-truncated conditions: expected visits without a condition for each recorded one.
    """

    timelines: Timelines
    stratum: npt.NDArray[np.int64]
    gamma: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.float32]
    ghost_ratio: npt.NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyCounts:
    """Counts of rows of evidence of some codes of a family, by stratum; additive.

    Attributes
    ----------
    rows : float64[R, n_rows, Q]
    unseen : float64[R, 2 * C, Q]
    visits, unseen_visits : float64[R, Q]
    patients : int64[R, C]
        Distinct patients who have a code in a stratum.
    """

    rows: Doubles
    unseen: Doubles
    visits: Doubles
    unseen_visits: Doubles
    patients: npt.NDArray[np.int64]

    def __add__(self, other: FamilyCounts) -> FamilyCounts:
        return FamilyCounts(
            rows=self.rows + other.rows,
            unseen=self.unseen + other.unseen,
            visits=self.visits + other.visits,
            unseen_visits=self.unseen_visits + other.unseen_visits,
            patients=self.patients + other.patients,
        )

    def of_stratum(self, r: int, layout: RowLayout, parent: npt.NDArray[np.int32]) -> CodeCounts:
        """Return presences and trials in one stratum."""
        return code_counts(self.rows[r], self.visits[r], layout, parent, self.unseen[r], self.unseen_visits[r])


def code_layout(n_codes: int, n_parents: int) -> RowLayout:
    """Return a layout that has rows of codes only."""
    return RowLayout(n_codes=n_codes, n_parents=n_parents, n_gaps=0, n_classes=0, n_stays=0, n_bands=0)


def code_blocks(n_codes: int, n_strata: int, n_states: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of codes that are counted in one pass."""
    size = max(1, _MOST_CELLS // (8 * n_strata * n_states))
    for start in range(0, n_codes, size):
        yield start, min(start + size, n_codes)


def count_family(
    chunk: StatePosterior,
    family: FamilyTimeline,
    parent: npt.NDArray[np.int32],
    parent_family: FamilyTimeline,
    *,
    predicted: bool = False,
    n_strata: int = 1,
) -> FamilyCounts:
    """Return the counts of `family` (all of its codes, or a selection) in a chunk.

    Parameters
    ----------
    chunk : StatePosterior
    family, parent_family : FamilyTimeline
        Of the chunk.
    parent : int32[C]
    predicted : bool
        Whether states are those predicted from earlier visits, instead of those inferred from all.
    n_strata : int
        R; with 1 all strata are counted together.
    """
    layout = code_layout(family.n_codes, parent_family.n_codes)
    evidence = code_evidence(chunk.timelines, family, layout, parent, parent_family)
    occupancy = chunk.predicted if predicted else chunk.gamma
    stratum = chunk.stratum if n_strata > 1 else np.zeros_like(chunk.stratum)
    n_visits, n_states = occupancy.shape
    shape = (n_strata, layout.n_rows, n_states)
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
    rows = present.scatter(occupancy).reshape(shape)
    rows[:, : layout.n_history] = history.scatter(occupancy).reshape(n_strata, layout.n_history, n_states)
    visits, unseen_visits = np.zeros((n_strata, n_states)), np.zeros((n_strata, n_states))
    np.add.at(visits, stratum, occupancy)
    unseen = np.zeros((n_strata, layout.n_history, n_states))
    if family.table == "condition" and chunk.ghost_ratio is not None:
        ghosts = occupancy * chunk.ghost_ratio
        unseen = history.scatter(ghosts).reshape(unseen.shape)
        np.add.at(unseen_visits, stratum, ghosts)
    cells = stratum[family.visits] * family.n_codes + family.codes
    people = chunk.timelines.patient_of_visit[family.visits]
    patients = distinct_patients(cells, people, n_strata * family.n_codes)
    return FamilyCounts(
        rows=rows,
        unseen=unseen,
        visits=visits,
        unseen_visits=unseen_visits,
        patients=patients.reshape(n_strata, -1),
    )


def family_tables(counts: CodeCounts, parent: npt.NDArray[np.int32], strengths: Strengths | None = None) -> CodeTables:
    """Return the tables of codes given the states; strengths of shrinkage by empirical Bayes unless given."""
    if strengths is None:
        found = {
            name: beta_strength(present, trials, margins(present, trials))
            for name, (present, trials) in counts.items().items()
        }
        strengths = Strengths(
            never=found["never"],
            never_with_parent=found["never_with_parent"],
            previous=found["previous"],
            earlier=found["earlier"],
        )
    return code_tables(counts, strengths, parent)


def family_lift(
    counts: FamilyCounts, tables: CodeTables, layout: RowLayout, *, n_sexes: int, min_patients: int
) -> Doubles:
    """Return the odds multipliers float64[R, C] of the counted codes."""
    in_stratum = [counts.of_stratum(r, layout, tables.parent) for r in range(len(counts.visits))]
    observed = np.stack(
        [
            sum((present.sum(axis=0) for present, _ in one.items().values()), np.zeros(layout.n_codes))
            for one in in_stratum
        ]
    )
    expected = np.stack([expected_visits(one, tables) for one in in_stratum])
    targets = shrunk_targets(observed, expected, counts.patients, n_sexes, min_patients)
    return np.stack([odds_lift(one, tables, target) for one, target in zip(in_stratum, targets, strict=True)])
