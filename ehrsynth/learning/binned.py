"""Timelines in the model's bins: strata, bands of visit numbers, coarse bins of days and minutes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.encoder import DAYS_PER_YEAR
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.evidence import CodeEvidence, SparseRows, code_evidence
from ehrsynth.learning.layout import RowLayout
from ehrsynth.model import Strata
from ehrsynth.probability.histogram import Histogram

__all__ = ["BinnedVisits", "Bins", "age_days", "bin_visits"]

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """The discretisation of visits, fixed before EM.

    Attributes
    ----------
    strata : Strata
    visit_edges : int64[N]
        First visit number of each band.
    n_slots : int
        Visits have room for so many of these codes; 0: for any number.
    n_open : int
        Visits have no more conditions than this few, and mostly fewer; 0: they may have many.
    elapsed_edges : int64[D]
        First day since the first visit of each band; a band of a visit is one of N * D.
    gap_days, stay_minutes : Histogram or None
        None where the source does not know them: they say nothing then.
    encounter_classes : tuple of str
    n_truncated : int
        Every visit of the source has one of so many first codes (all conditions, or all codes); 0: visits may be empty.
    """

    strata: Strata
    visit_edges: npt.NDArray[np.int64]
    gap_days: Histogram | None
    stay_minutes: Histogram | None
    encounter_classes: tuple[str, ...]
    n_truncated: int = 0
    n_slots: int = 0
    n_open: int = 0
    elapsed_edges: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @property
    def n_gaps(self) -> int:
        """B, 0 if gaps are not known."""
        return 0 if self.gap_days is None else self.gap_days.n_coarse

    @property
    def n_stays(self) -> int:
        """L, 0 if stays are not known."""
        return 0 if self.stay_minutes is None else self.stay_minutes.n_coarse

    def layout(self, n_codes: int, n_led: int = 0) -> RowLayout:
        """Return the rows of evidence of visits with `n_codes` codes, the first `n_led` with satellites among them."""
        return RowLayout(
            n_codes=n_codes,
            n_parents=n_codes,
            n_gaps=self.n_gaps,
            n_classes=len(self.encounter_classes),
            n_stays=self.n_stays,
            n_bands=len(self.visit_edges) * len(self.elapsed_edges),
            n_elapsed=len(self.elapsed_edges),
            n_sexes=len(self.strata.sexes),
            n_truncated=self.n_truncated,
            n_slots=self.n_slots,
            n_led=n_led,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedVisits:
    """One chunk of patients, ready for EM.

    Attributes
    ----------
    offsets : int64[n + 1]
    weight : float64[n]
    visit_weight : float32[V]
        That of the visit's patient.
    stratum : int64[V]
        At the visit.
    had_lead : bool[V]
        Whether the patient had the code that transitions remember in an earlier visit.
    history, present : SparseRows
        History rows, and all other rows, see `RowLayout`.
    truncated_history : SparseRows
        History rows of the codes of which every visit has one.
    size : int64[V]
        How many of these codes each visit has.
    """

    offsets: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    stratum: npt.NDArray[np.int64]
    had_lead: npt.NDArray[np.bool_]
    history: SparseRows
    present: SparseRows
    truncated_history: SparseRows
    size: npt.NDArray[np.int64]

    @cached_property
    def visit_weight(self) -> npt.NDArray[np.float32]:
        """The weight of each visit's patient."""
        return np.repeat(self.weight, np.diff(self.offsets)).astype(np.float32)

    def matrix(self, transition_stratum: Ints) -> npt.NDArray[np.int64]:
        """Return the matrix of the transition that leads to each visit, int64[V]; to a first one, any."""
        n = int(transition_stratum.max()) + 1
        return np.asarray(transition_stratum[self.stratum] + n * self.had_lead, dtype=np.int64)


def bin_visits(
    timelines: Timelines,
    bins: Bins,
    layout: RowLayout,
    parent: npt.NDArray[np.int32],
    had_lead: npt.NDArray[np.bool_] | None = None,
) -> BinnedVisits:
    """Return `timelines` (a chunk) in `bins`; `parent` int32[C] is the within-visit forest of the codes."""
    n = timelines.n_visits
    everything = np.arange(n, dtype=np.int64)
    visits: list[Ints] = []
    rows: list[Ints] = []

    def add(which: Ints, numbers: Ints) -> None:
        visits.append(which)
        rows.append(numbers)

    encounter_class = timelines.encounter_class.index.astype(np.int64)
    add(everything, layout.encounter_class + encounter_class)
    last = timelines.is_last
    if bins.gap_days is not None:
        known = np.flatnonzero(timelines.gap_days >= 0)
        add(known, layout.gap + bins.gap_days.coarse_of(timelines.gap_days[known]))
    if bins.stay_minutes is not None:
        known = np.flatnonzero(timelines.stay_minutes >= 0)
        stay = bins.stay_minutes.coarse_of(timelines.stay_minutes[known])
        add(known, layout.stay + encounter_class[known] * layout.n_stays + stay)
    band = np.searchsorted(bins.visit_edges, timelines.number, side="right") - 1
    band *= len(bins.elapsed_edges)
    band += np.searchsorted(bins.elapsed_edges, timelines.elapsed_days, side="right") - 1
    going = np.flatnonzero(~last)
    add(going, layout.goes_on + band[going])
    # The last kept visit of a patient who has more says nothing about the end of the record.
    ended = timelines.offsets[1:][~timelines.cut] - 1
    add(ended, layout.ends + band[ended])
    codes = empty_evidence()
    size = np.zeros(n, dtype=np.int64)
    family = timelines.families.get(UNION)
    if family is not None:
        codes = code_evidence(timelines, family, layout, parent, family)
        size = np.bincount(family.visits[family.codes < layout.n_truncated], minlength=n).astype(np.int64)
    add(codes.visits, codes.rows)
    history = SparseRows(codes.history_visits, codes.history_rows, n, layout.n_history)
    truncated = history
    if 0 < layout.n_truncated < layout.n_codes:
        of_them = codes.history_rows % layout.n_codes < layout.n_truncated
        truncated = SparseRows(codes.history_visits[of_them], codes.history_rows[of_them], n, layout.n_history)
    return BinnedVisits(
        offsets=timelines.offsets,
        weight=timelines.weight,
        stratum=strata_of(timelines, bins.strata),
        had_lead=np.zeros(n, dtype=bool) if had_lead is None else had_lead,
        history=history,
        truncated_history=truncated,
        size=size,
        present=SparseRows(np.concatenate(visits), np.concatenate(rows), n, layout.n_rows),
    )


def empty_evidence() -> CodeEvidence:
    """Return the evidence of no codes."""
    nothing = np.zeros(0, dtype=np.int64)
    return CodeEvidence(history_visits=nothing, history_rows=nothing, visits=nothing, rows=nothing)


def age_days(timelines: Timelines) -> npt.NDArray[np.int64]:
    """Return the days of life at each visit, int64[V]."""
    days = np.rint(timelines.age_years.astype(np.float64) * DAYS_PER_YEAR)
    return np.maximum(days, 0).astype(np.int64)


def strata_of(timelines: Timelines, strata: Strata) -> npt.NDArray[np.int64]:
    """Return the stratum of each visit, int64[V]."""
    sex = timelines.person["sex"].index[timelines.patient_of_visit]
    return strata.index(sex, timelines.age_years.astype(np.float64)).astype(np.int64)
