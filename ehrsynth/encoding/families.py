"""The codes of one table by visit: which codes enough patients have, and to which visit each row belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.encoding.columns import NO_TIME, categories, coding_keys, days, first_known, seconds, targets
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.timeline import FamilyTimeline
from ehrsynth.model import Coding
from ehrsynth.records import Records

__all__ = ["DONE", "FAMILIES", "Source", "VisitIndex", "encode_family", "incidence", "kept_codings"]


DONE = ("immunization", "procedure", "medication_request", "device")
"""Tables of what is given or done."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which columns of a table say when a row was, from when to when it lasted, and whether it counts."""

    times: tuple[str, ...]
    ends: tuple[str, str] | None = None
    void: tuple[tuple[str, str], ...] = ()


FAMILIES = {
    "condition": Source(
        times=("onset_date", "recorded_date"),
        ends=("onset_date", "abatement_date"),
        void=(("verification_status", "entered-in-error"), ("verification_status", "refuted")),
    ),
    "medication_request": Source(
        times=("authored_datetime", "start_date"),
        ends=("start_date", "end_date"),
        void=(("status", "entered-in-error"), ("status", "cancelled")),
    ),
    "procedure": Source(
        times=("start_datetime",),
        ends=("start_datetime", "end_datetime"),
        void=(("status", "entered-in-error"), ("status", "not-done")),
    ),
    "observation": Source(
        times=("effective_datetime",), void=(("status", "entered-in-error"), ("status", "cancelled"))
    ),
    "immunization": Source(times=("occurrence_datetime",), void=(("status", "entered-in-error"),)),
    "device": Source(
        times=("start_datetime",), ends=("start_datetime", "end_datetime"), void=(("status", "entered-in-error"),)
    ),
}
"""The tables that are learned as code families, in the order in which the model keeps them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VisitIndex:
    """The kept visits: how rows of other tables find theirs.

    Attributes
    ----------
    patient_ids, encounter_ids : pyarrow.ChunkedArray
        Keys of the kept patients (in order) and of all encounters of the source.
    visit_of_encounter : int64[encounters]
        Kept visit of each encounter of the source, -1 if it was not kept.
    offsets : int64[n + 1]
        Visits of patients.
    start : int64[V]
        Seconds since 1970-01-01; `NO_TIME` where there are no dates.
    """

    patient_ids: pa.ChunkedArray
    encounter_ids: pa.ChunkedArray
    visit_of_encounter: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]

    @property
    def start_day(self) -> npt.NDArray[np.int64]:
        """Day of the start of each visit since 1970-01-01; `NO_TIME` where there are no dates."""
        return np.where(self.start == NO_TIME, NO_TIME, self.start // 86_400)

    @property
    def n_visits(self) -> int:
        """V."""
        return int(self.offsets[-1])

    def find(
        self, table: pa.Table, row_days: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return (the visit of each row or -1, whether the row named no encounter).

        A row that names no encounter belongs to the one last begun at its date, or to the first if all begin later;
        without a date it belongs to none.
        """
        encounter = targets(table["encounter_id"], self.encounter_ids)
        visit = np.where(encounter >= 0, self.visit_of_encounter[encounter], -1)
        free = pc.is_null(table["encounter_id"]).to_numpy() if table.num_rows else np.zeros(0, dtype=bool)
        if free.any():
            patient = targets(table["patient_id"], self.patient_ids)
            rows = np.flatnonzero(free & (patient >= 0) & (row_days != NO_TIME))
            dated = bool((self.start_day != NO_TIME).all())
            if dated and len(rows):
                visit[rows] = self._last_begun(patient[rows], row_days[rows])
        return visit, free

    def _last_begun(self, patient: npt.NDArray[np.int64], row_days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # Days are spread so that one sorted search answers all patients: visits of a patient ascend in time.
        low = min(int(self.start_day.min()), int(row_days.min()))
        span = max(int(self.start_day.max()), int(row_days.max())) - low + 1
        owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        keys = owner * span + (self.start_day - low)
        found = np.searchsorted(keys, patient * span + (row_days - low), side="right") - 1
        return np.maximum(found, self.offsets[patient])


def kept_codings(
    index: npt.NDArray[np.int64],
    codings: list[tuple[str, str]],
    display_index: npt.NDArray[np.int64],
    displays: list[str],
    patients: npt.NDArray[np.int64],
    min_patients: int,
) -> tuple[npt.NDArray[np.int64], tuple[Coding, ...], int]:
    """Keep the codings of at least `min_patients` patients.

    Returns
    -------
    index : int64[n]
        Into the kept codings, -1 for rows of others.
    codings : tuple of Coding
        In descending order of patients; the display is the one most patients have it with, if at least
        `min_patients` do.
    left_out : int
    """
    n_patients = distinct_patients(index, patients, len(codings))
    order = sorted(range(len(codings)), key=lambda i: (-int(n_patients[i]), codings[i]))
    kept = [i for i in order if n_patients[i] >= min_patients]
    position = np.full(len(codings) + 1, -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    new = position[index]
    texts = [""] * len(kept)
    if displays and len(kept):
        n_displays = len(displays)
        pair = np.where((new >= 0) & (display_index >= 0), new * n_displays + display_index, -1)
        distinct, inverse = np.unique(pair, return_inverse=True)
        inverse = np.where(pair >= 0, inverse.reshape(-1), -1)
        support = distinct_patients(inverse, patients, len(distinct))
        # Ascending support: the last written, the most supported, stays; equal support goes to the first text.
        for k in sorted(range(len(distinct)), key=lambda i: (int(support[i]), -int(distinct[i]))):
            if distinct[k] >= 0 and support[k] >= min_patients:
                texts[distinct[k] // n_displays] = displays[distinct[k] % n_displays]
    named = tuple(
        Coding(system=codings[i][0], code=codings[i][1], display=text) for i, text in zip(kept, texts, strict=True)
    )
    return new, named, int((n_patients > 0).sum()) - len(kept)


def encode_family(
    records: Records, name: str, visits: VisitIndex, patient_of_visit: npt.NDArray[np.int64], min_patients: int
) -> FamilyTimeline | None:
    """Return the codes of the table `name` by visit, or None if it has no rows."""
    table = records[name]
    if not table.num_rows:
        return None
    source = FAMILIES[name]
    row_days = first_known(*(days(table[column]) for column in source.times))
    visit, free = visits.find(table, row_days)
    valid = np.ones(table.num_rows, dtype=bool)
    for column, value in source.void:
        column_index, labels = categories(table[column])
        valid &= ~np.isin(column_index, [i for i, label in enumerate(labels) if label == value])
    index, codings, display_index, displays = coding_keys(table, "code_system", "code", "display")
    known_patient = targets(table["patient_id"], visits.patient_ids) >= 0
    set_aside = int((valid & known_patient & free & (visit < 0)).sum())
    usable = valid & (visit >= 0) & (index >= 0)
    rows = np.flatnonzero(usable)
    if not len(rows):
        return None
    visit, index = visit[rows], index[rows]
    patients = patient_of_visit[visit]
    distinct = np.unique(visit * max(len(codings), 1) + index)
    visit_codes = np.bincount(distinct // max(len(codings), 1), minlength=visits.n_visits).astype(np.int32)
    index, named, left_out = kept_codings(index, codings, display_index[rows], displays, patients, min_patients)
    keep = index >= 0
    rows, visit, index = rows[keep], visit[keep], index[keep]
    order = np.lexsort((rows, index, visit))
    rows, visit, index = rows[order], visit[order], index[order]
    minutes, lasting = _row_times(table, source, visits, visit, rows)
    offsets, codes, counts = incidence(visit, index, visits.n_visits)
    return FamilyTimeline(
        table=name,
        codings=named,
        offsets=offsets,
        codes=codes,
        counts=counts,
        row_visit=visit.astype(np.int32),
        row_code=index.astype(np.int32),
        row_index=rows,
        row_minutes=minutes,
        row_days=lasting,
        visit_codes=visit_codes,
        left_out=left_out,
        unlinked=float(free[usable].mean()),
        set_aside=set_aside,
    )


def _row_times(
    table: pa.Table, source: Source, visits: VisitIndex, visit: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (minutes from the start of the visit, days from start to end) of the rows; -1 where unknown."""
    minutes = np.full(len(rows), -1, dtype=np.int64)
    start = visits.start[visit]
    for column in source.times:
        when = seconds(table[column])[rows]
        if pa.types.is_timestamp(table[column].type):
            since = (when - start) // 60
        else:
            since = (when // 86_400 - start // 86_400) * 1440
        known = (minutes < 0) & (when != NO_TIME) & (start != NO_TIME)
        minutes[known] = np.maximum(since[known], 0)
    lasting = np.full(len(rows), -1, dtype=np.int64)
    if source.ends is not None:
        begin, end = (days(table[column])[rows] for column in source.ends)
        begin = np.where(begin == NO_TIME, start // 86_400, begin)
        known = (end != NO_TIME) & (begin != NO_TIME) & (end >= begin) & (start != NO_TIME)
        lasting[known] = (end - begin)[known]
    return minutes, lasting


def incidence(
    visit: npt.NDArray[np.int64], code: npt.NDArray[np.int64], n_visits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return (offsets, distinct codes, rows of each) from (visit, code) pairs sorted by visit, then code."""
    first = np.ones(len(visit), dtype=bool)
    first[1:] = (visit[1:] != visit[:-1]) | (code[1:] != code[:-1])
    starts = np.flatnonzero(first)
    counts: npt.NDArray[Any] = np.diff(np.append(starts, len(visit)))
    offsets = np.concatenate(([0], np.cumsum(np.bincount(visit[starts], minlength=n_visits))))
    return offsets.astype(np.int64), code[starts].astype(np.int32), counts.astype(np.int32)
