"""Timelines: the visits of patients as flat arrays with offsets, and the codes of each visit as a sparse incidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ehrsynth.model import Coding

__all__ = ["Cohort", "FamilyTimeline", "Levels", "Timelines", "chunk_bounds"]

T = TypeVar("T")

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """A categorical column: its labels (each of at least the minimum of patients) and the label of each row.

    Attributes
    ----------
    labels : tuple of str
        The empty string is "not recorded".
    index : int32[n]
        Into `labels`.
    left_out : int
        How many distinct labels of the source were merged into another because too few patients have them.
    """

    labels: tuple[str, ...]
    index: npt.NDArray[np.int32]
    left_out: int = 0

    def take(self, rows: slice | Ints) -> Levels:
        """Return the column of some rows (a numpy index)."""
        return replace(self, index=self.index[rows])


OF_ROWS = ("row_code", "row_index", "row_minutes", "row_days")
"""Columns of a family's rows that stay as they are when visits are chosen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyTimeline:
    """The codes of one table by visit.

    Attributes
    ----------
    table : str
    codings : tuple of Coding
        C of them, each of at least the minimum of patients, in descending order of patients.
    offsets : int64[V + 1]
        Visit v has the distinct codes ``codes[offsets[v] : offsets[v + 1]]``, ascending.
    codes : int32[nnz]
    counts : int32[nnz]
        Rows of that code in that visit, at least 1.
    row_visit, row_code : int32[n]
        Visit and code of each kept row of the table.
    row_index : int64[n]
        Its number in the table of the records.
    row_minutes : int64[n]
        Minutes from the start of the visit to the row's time, at least 0; -1 if unknown. Whole days (times 1440) where
        the row has only a date.
    row_days : int64[n]
        Days from the row's start to its end, at least 0; -1 if no end is recorded.
    visit_codes : int32[V]
        Distinct codes of each visit, those included that too few patients have to be kept.
    left_out : int
        Distinct codes left out because too few patients have them.
    unlinked : float
        Share of the table's rows that named no encounter (they went to the encounter last begun at their date).
    set_aside : int
        Rows that named no encounter and could be given to none, for want of a date.
    """

    table: str
    codings: tuple[Coding, ...]
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    row_visit: npt.NDArray[np.int32]
    row_code: npt.NDArray[np.int32]
    row_index: npt.NDArray[np.int64]
    row_minutes: npt.NDArray[np.int64]
    row_days: npt.NDArray[np.int64]
    visit_codes: npt.NDArray[np.int32]
    left_out: int = 0
    unlinked: float = 0.0
    set_aside: int = 0

    @property
    def n_codes(self) -> int:
        """C."""
        return len(self.codings)

    @property
    def visits(self) -> npt.NDArray[np.int32]:
        """The visit of each entry of `codes`, int32[nnz]."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    def slice_visits(self, start: int, stop: int) -> FamilyTimeline:
        """Return the part that belongs to the visits start..stop-1, renumbered from 0."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        first, last = np.searchsorted(self.row_visit, [start, stop])
        return replace(
            self,
            offsets=self.offsets[start : stop + 1] - low,
            codes=self.codes[low:high],
            counts=self.counts[low:high],
            row_visit=self.row_visit[first:last] - np.int32(start),
            visit_codes=self.visit_codes[start:stop],
            **{name: getattr(self, name)[first:last] for name in OF_ROWS},
        )

    def select_codes(self, start: int, stop: int) -> FamilyTimeline:
        """Return the part of the codes start..stop-1, renumbered from 0."""
        entries = (self.codes >= start) & (self.codes < stop)
        rows = (self.row_code >= start) & (self.row_code < stop)
        changes: dict[str, Any] = {name: getattr(self, name)[rows] for name in OF_ROWS}
        changes["row_code"] = changes["row_code"] - np.int32(start)
        kept = np.concatenate(([0], np.cumsum(entries)))
        return replace(
            self,
            codings=self.codings[start:stop],
            offsets=kept[self.offsets].astype(np.int64),
            codes=self.codes[entries] - np.int32(start),
            counts=self.counts[entries],
            row_visit=self.row_visit[rows],
            **changes,
        )


_OF_PATIENTS = ("weight", "age_at_start", "cut", "died", "death_days", "tail_days", "last_day")
_OF_VISITS = ("row", "age_years", "number", "gap_days", "stay_minutes", "start_minute")
_LEVELS_OF_VISITS = ("encounter_class", "disposition", "admit_source", "encounter_type")


@dataclass(frozen=True, kw_only=True, eq=False)
class Timelines:
    """Encoded records of n patients and their V visits in order; patient p has the visits offsets[p] : offsets[p + 1].

    Attributes
    ----------
    offsets : int64[n + 1]
        Every patient has at least one visit.
    weight : float64[n]
        Weight of each patient in all counts, at most 1 for a bounded contribution.
    person : mapping of str to Levels
        Variables of the person network but the age: ``sex``, ``race``... (index of length n).
    age_at_start : float64[n]
        Years at the first visit.
    cut : bool[n]
        The patient has more visits than were kept.
    died : bool[n]
        The patient is known to have died.
    death_days : int64[n]
        Days from the end of the last visit to death, at least 0; -1 if not dead or undated.
    tail_days : int64[n]
        Days from the end of the last visit to the end of the record; -1 if unknown.
    last_day : int64[n]
        Day of the end of the last visit since 1970-01-01 in sources of true dates; -1 in others.
    row : int64[V]
        Number of the visit's row in the table of the encounters.
    age_years : float32[V]
        Age at the visit.
    number : int32[V]
        1 for a patient's first visit.
    gap_days : int64[V]
        Days from the start of this visit to the next one's; -1 for the last and where there are no dates.
    stay_minutes : int64[V]
        -1 if the end is not known.
    start_minute : int64[V]
        Minute of the day, 0..1439; -1 if the source knows only the day.
    encounter_class, disposition, admit_source, encounter_type : Levels
        Of length V. The labels of `encounter_type` are numbers into `encounter_types`.
    encounter_types : tuple of Coding
    precision : tuple of str
        The commonest time precision of each encounter class.
    families : mapping of table name to FamilyTimeline
    basis : str
        Time basis of the source, see `Provenance.time_basis`.
    birth_date_precision : str
        The coarsest that is common.
    left_out : mapping of str to int
        Levels merged or codes left out, by variable or table.
    notes : tuple of str
        What was set aside and why.
    aside : mapping of str to int
        Patients that were set aside, by the reason.
    first_patient, first_visit : int
        How many there are in the parts before this one.
    """

    offsets: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    person: Mapping[str, Levels]
    age_at_start: npt.NDArray[np.float64]
    cut: Bools
    died: Bools
    death_days: npt.NDArray[np.int64]
    tail_days: npt.NDArray[np.int64]
    last_day: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    age_years: npt.NDArray[np.float32]
    number: npt.NDArray[np.int32]
    gap_days: npt.NDArray[np.int64]
    stay_minutes: npt.NDArray[np.int64]
    start_minute: npt.NDArray[np.int64]
    encounter_class: Levels
    disposition: Levels
    admit_source: Levels
    encounter_type: Levels
    encounter_types: tuple[Coding, ...]
    precision: tuple[str, ...]
    families: Mapping[str, FamilyTimeline]
    basis: str
    birth_date_precision: str
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()
    aside: Mapping[str, int] = field(default_factory=dict)
    first_patient: int = 0
    first_visit: int = 0

    @property
    def n_patients(self) -> int:
        """Patients."""
        return len(self.offsets) - 1

    @property
    def n_visits(self) -> int:
        """Visits, V."""
        return int(self.offsets[-1])

    @property
    def vocabulary(self) -> Timelines:
        """These timelines, for their labels and codings; see `Cohort`."""
        return self

    def total(self, function: Callable[[Timelines], T]) -> T:
        """Return the function of these timelines: of all parts there are, the sum; see `Cohort`."""
        return function(self)

    @property
    def patient_of_visit(self) -> npt.NDArray[np.int64]:
        """The patient of each visit, int64[V]."""
        return np.repeat(np.arange(self.n_patients, dtype=np.int64), np.diff(self.offsets))

    @property
    def elapsed_days(self) -> npt.NDArray[np.int64]:
        """Days from the start of the patient's first visit to that of each visit, int64[V]; 0 without dates."""
        until = np.concatenate(([0], np.cumsum(np.maximum(self.gap_days, 0))))[:-1]
        result: npt.NDArray[np.int64] = until - np.repeat(until[self.offsets[:-1]], np.diff(self.offsets))
        return result

    @property
    def is_last(self) -> Bools:
        """Whether a visit is its patient's last kept one, bool[V]."""
        last = np.zeros(self.n_visits, dtype=bool)
        last[self.offsets[1:] - 1] = True
        return last

    def slice_patients(self, start: int, stop: int) -> Timelines:
        """Return the timelines of the patients start..stop-1 (views, not copies, of the long arrays)."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return self.part(
            offsets=self.offsets[start : stop + 1] - low,
            patients=slice(start, stop),
            visits=slice(low, high),
            families={name: family.slice_visits(low, high) for name, family in self.families.items()},
        )

    def part(
        self,
        *,
        offsets: npt.NDArray[np.int64],
        patients: slice | Ints,
        visits: slice | Ints,
        families: Mapping[str, FamilyTimeline],
    ) -> Timelines:
        """Return timelines made of these patients and visits (both as numpy indexes) and of given families."""
        changes: dict[str, Any] = {"offsets": offsets, "families": families}
        changes["person"] = {name: column.take(patients) for name, column in self.person.items()}
        changes.update({name: getattr(self, name)[patients] for name in _OF_PATIENTS})
        changes.update({name: getattr(self, name)[visits] for name in _OF_VISITS})
        changes.update({name: getattr(self, name).take(visits) for name in _LEVELS_OF_VISITS})
        return replace(self, **changes)

    def chunks(self, max_visits: int = 50_000) -> Iterator[Timelines]:
        """Yield the patients in order in chunks of about `max_visits` visits; at least one patient in each."""
        for start, stop in pairwise(chunk_bounds(self.offsets, max_visits)):
            yield self.slice_patients(start, stop)

    def select_patients(self, patients: Ints) -> Timelines:
        """Return the timelines of some patients (ascending numbers, copies)."""
        from ehrsynth.encoding.selection import select_patients  # `selection` builds on this module.

        return select_patients(self, np.asarray(patients, dtype=np.int64))


def chunk_bounds(offsets: npt.NDArray[np.int64], max_visits: int) -> list[int]:
    """Return the first patient of each chunk of about `max_visits` visits, and last the number of patients."""
    bounds = [0]
    while bounds[-1] < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[bounds[-1]] + max_visits, side="right")) - 1
        bounds.append(max(stop, bounds[-1] + 1))
    return bounds


class Cohort(Protocol):
    """Patients that only sums are taken of: `Timelines`, or parts of them on many machines.

    Labels and codings are as in `Timelines`; arrays are to be asked for by `total` only.
    """

    @property
    def n_patients(self) -> int:
        """Patients."""

    @property
    def n_visits(self) -> int:
        """Visits."""

    @property
    def vocabulary(self) -> Timelines:
        """Timelines with the labels and codings; those of nobody where the patients are elsewhere."""

    def total(self, function: Callable[[Timelines], T]) -> T:
        """Return the sum of `function` over the parts, in their order."""
