"""A cohort in its own numbers: patients with encounters, visits in order, codes and numbers by visit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.evaluation.cohort import Bools, Floats, Ints
from ehrsynth.evaluation.columns import NO_TIME, categories, codings, days, seconds, targets
from ehrsynth.records import Records
from ehrsynth.schema.people import MIDDLE_DAYS, NOT_HAPPENED, PERSON_COLUMNS

__all__ = ["DAYS_PER_YEAR", "FAMILIES", "Dates", "Draft", "draft"]

DAYS_PER_YEAR = 365.2425

FAMILIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "condition": (("onset_date", "recorded_date"), ("entered-in-error", "refuted")),
    "medication_request": (("authored_datetime", "start_date"), ("entered-in-error", "cancelled")),
    "procedure": (("start_datetime",), ("entered-in-error", "not-done")),
    "observation": (("effective_datetime",), ("entered-in-error", "cancelled")),
    "immunization": (("occurrence_datetime",), ("entered-in-error",)),
    "device": (("start_datetime",), ("entered-in-error",)),
}
"""Tables whose codes are counted: the columns that date a row (the first known), and the states in which it is void."""


@dataclass(kw_only=True, eq=False)
class Draft:
    """A cohort in its own numbers, before the vocabularies are brought together."""

    name: str
    records: Records
    people: Ints
    offsets: Ints
    dated: bool
    start_day: Ints
    end_day: Ints
    stay_minutes: Ints
    encounter_visit: Ints
    classes: tuple[Ints, list[str]]
    person: dict[str, tuple[Ints, list[str]]]
    birth_day: Ints
    slack: Floats
    families: dict[str, tuple[Ints, Ints, Ints, list[tuple[str, ...]]]]
    values: tuple[Ints, Ints, Floats, list[tuple[str, ...]]]
    rows: dict[str, Ints]


@dataclass(frozen=True, kw_only=True)
class Dates:
    """What the times of a cohort are, whatever part of it is looked at.

    Attributes
    ----------
    basis : str
        See `ehrsynth.provenance.Provenance`.
    known : bool
        Whether the start of an encounter is known.
    """

    basis: str
    known: bool

    @classmethod
    def of(cls, records: Records) -> Dates:
        """Look at the records of a cohort, or a part."""
        start, kept = _happened(records)[1:]
        basis = records.provenance.time_basis
        known = basis != "order" and bool((start[kept] != NO_TIME).any())
        return cls(basis=basis, known=known)

    def together(self, other: Dates) -> Dates:
        """Return those of two parts together."""
        basis = other.basis if self.basis == "order" else self.basis
        known = self.known or other.known
        return Dates(basis=basis, known=known)


def _happened(records: Records) -> tuple[Ints, Ints, Bools]:
    """Return (patient, start, whether it counts) of each encounter."""
    encounters = records["encounter"]
    owner = targets(encounters["patient_id"], records["patient"]["patient_id"])
    status, labels = categories(encounters["status"])
    kept = (owner >= 0) & ~np.isin(status, [i for i, label in enumerate(labels) if label in NOT_HAPPENED])
    return owner, seconds(encounters["start_datetime"]), kept


def draft(name: str, records: Records, dates: Dates) -> Draft:
    """Return records as a cohort in its own numbers."""
    patients, encounters = records["patient"], records["encounter"]
    owner, start, kept = _happened(records)
    end = seconds(encounters["end_datetime"])
    dated = dates.known
    if dated:
        kept &= start != NO_TIME
    sequence = pc.fill_null(encounters["sequence"], 0).to_numpy()
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((rows, sequence[rows], start[rows] if dated else 0 * rows, owner[rows]))]
    counts = np.bincount(owner[rows], minlength=patients.num_rows)
    people = np.flatnonzero(counts)
    offsets = np.concatenate(([0], np.cumsum(counts[people]))).astype(np.int64)
    start, end = start[rows], end[rows]
    last = np.where((end == NO_TIME) | (end < start), start, end)
    ended = (start != NO_TIME) & (end != NO_TIME) & (end >= start)
    visit_of = np.full(encounters.num_rows + 1, -1, dtype=np.int64)
    visit_of[rows] = np.arange(len(rows))
    patients = patients.take(pa.array(people))
    class_index, class_labels = categories(encounters["encounter_class"].take(pa.array(rows)))
    birth, slack = _births(patients)
    found = Draft(
        name=name,
        records=records,
        people=people,
        offsets=offsets,
        dated=dated,
        start_day=np.where(start == NO_TIME, NO_TIME, start // 86_400),
        end_day=np.where(last == NO_TIME, NO_TIME, last // 86_400),
        stay_minutes=np.where(ended, (np.where(ended, end, 0) - np.where(ended, start, 0)) // 60, -1),
        encounter_visit=visit_of,
        classes=_with_empty(class_index, class_labels),
        person=_person(records, patients),
        birth_day=birth,
        slack=slack,
        families={},
        values=(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), []),
        rows={
            table.name: targets(records[table.name]["patient_id"], patients["patient_id"])
            for table in records.schema.tables
            if table.has_patient
        },
    )
    _read_codes(found)
    return found


def _with_empty(index: Ints, labels: list[str]) -> tuple[Ints, list[str]]:
    """Return a categorical column in which an empty value is a level of its own, ""; only levels that occur."""
    names = [*labels, ""]
    filled = np.where(index < 0, len(labels), index)
    used, inverse = np.unique(filled, return_inverse=True)
    distinct, merged = np.unique(np.array([names[i] for i in used.tolist()], dtype=object), return_inverse=True)
    return merged.reshape(-1)[inverse.reshape(-1)].astype(np.int64), [str(label) for label in distinct]


def _births(patients: pa.Table) -> tuple[Ints, Floats]:
    """Return (day of birth, in the middle of what its precision leaves open; how far it may be off, years)."""
    index, labels = categories(patients["birth_date_precision"])
    middle = np.array([MIDDLE_DAYS.get(label, 0) for label in labels] + [0], dtype=np.int64)[index]
    birth = days(patients["birth_date"])
    return np.where(birth == NO_TIME, NO_TIME, birth + middle), (middle + 1) / DAYS_PER_YEAR


def _person(records: Records, patients: pa.Table) -> dict[str, tuple[Ints, list[str]]]:
    person = {"sex": _with_empty(*categories(patients["sex"]))}
    for name, column in PERSON_COLUMNS.items():
        person[name] = _with_empty(*categories(patients[column]))
    person["payer"] = _with_empty(*_payers(records, patients))
    died = (days(patients["death_datetime"]) != NO_TIME).astype(np.int64)
    person["vital_status"] = _with_empty(died, ["alive", "deceased"])
    return person


def _payers(records: Records, patients: pa.Table) -> tuple[Ints, list[str]]:
    """Return the commonest type of payer of each patient (-1 for none) and the types."""
    coverage, payers = records["coverage"], records["payer"]
    result = np.full(patients.num_rows, -1, dtype=np.int64)
    kinds, labels = categories(payers["payer_type_code"])
    payer = targets(coverage["payer_id"], payers["payer_id"])
    kind = np.concatenate((kinds, [-1]))[payer]
    patient = targets(coverage["patient_id"], patients["patient_id"])
    known = (kind >= 0) & (patient >= 0)
    if known.any():
        pairs, counts = np.unique(patient[known] * len(labels) + kind[known], return_counts=True)
        order = np.lexsort((-pairs, counts))  # ascending: the last written is the commonest
        result[pairs[order] // len(labels)] = pairs[order] % len(labels)
    return result, labels


def _read_codes(draft: Draft) -> None:
    """Read the codes of every family, and the numbers, and to which visit each belongs."""
    for family, (times, void) in FAMILIES.items():
        table = draft.records[family]
        if not table.num_rows:
            continue
        status = "verification_status" if family == "condition" else "status"
        state, labels = categories(table[status])
        patient = draft.rows[family]
        index, pairs = codings(table, "code_system", "code")
        usable = (patient >= 0) & ~np.isin(state, [i for i, label in enumerate(labels) if label in void])
        visit = _visits_of(draft, table, times, patient)
        rows = np.flatnonzero(usable & (index >= 0))
        if not len(rows):
            continue
        draft.families[family] = (patient[rows], visit[rows], index[rows], pairs)
        if family == "observation":
            number = table["value_number"].to_numpy()
            measure, measures = codings(table, "code_system", "code", "value_unit")
            rows = np.flatnonzero(usable & (measure >= 0) & (visit >= 0) & np.isfinite(number))
            rows = rows[np.argsort(visit[rows], kind="stable")]
            draft.values = (visit[rows], measure[rows], number[rows], measures)


def _visits_of(draft: Draft, table: pa.Table, times: tuple[str, ...], patient: Ints) -> Ints:
    """Return the visit of each row: its encounter's; without one, the last begun at its date (or the first), or -1."""
    encounter = targets(table["encounter_id"], draft.records["encounter"]["encounter_id"])
    visit = draft.encounter_visit[encounter]
    if not draft.dated:
        return visit
    day = days(table[times[0]])
    for name in times[1:]:
        day = np.where(day == NO_TIME, days(table[name]), day)
    free = pc.is_null(table["encounter_id"]).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(free & (patient >= 0) & (day != NO_TIME))
    if len(rows):
        low = min(int(draft.start_day.min()), int(day[rows].min()))
        span = max(int(draft.start_day.max()), int(day[rows].max())) - low + 1
        owner = np.repeat(np.arange(len(draft.people)), np.diff(draft.offsets))
        # One ascending key for (patient, day): one sorted search answers all patients.
        found = np.searchsorted(
            owner * span + (draft.start_day - low), patient[rows] * span + (day[rows] - low), "right"
        )
        visit[rows] = np.maximum(found - 1, draft.offsets[patient[rows]])
    return visit
