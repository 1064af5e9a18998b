"""Records to timelines: patients, their visits in order, and the codes of each visit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.encoding.columns import NO_TIME, categories, coding_keys, days, first_known, seconds, targets
from ehrsynth.encoding.discretise import levels
from ehrsynth.encoding.families import FAMILIES, VisitIndex, encode_family, kept_codings
from ehrsynth.encoding.timeline import Levels, Timelines
from ehrsynth.errors import LearningError
from ehrsynth.model import Coding
from ehrsynth.records import Records
from ehrsynth.schema.people import MIDDLE_DAYS, NOT_HAPPENED, PERSON_COLUMNS

__all__ = ["aside_notes", "coarsest_precision", "encode"]

DAYS_PER_YEAR = 365.2425
MAX_AGE_YEARS = 125.0
"""Ages beyond are errors of the source (the oldest person known lived 122 years)."""

_DIED = "exp"
"""Discharge disposition that means death: it also tells of deaths that the patient table does not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Visits:
    """The kept encounters, sorted by patient and time; `rows` are their numbers in the table."""

    rows: npt.NDArray[np.int64]
    patient: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


def encode(
    records: Records, *, min_patients: int = 5, max_visits: int = 500, weights: npt.NDArray[np.float64] | None = None
) -> Timelines:
    """Return the timelines of `records`.

    Encounters that did not happen (planned, cancelled, entered in error) do not count. A patient without encounters,
    of negative age or older than 125 years is set aside, and the notes say so.

    Parameters
    ----------
    records : Records
    min_patients : int
        No code or level of fewer patients is kept.
    max_visits : int
        No more visits of one patient are kept (the first ones), so that nobody's contribution is unbounded.
    weights : float64[patients], optional
        Of the patients of the records, 0..1; default 1.

    Raises
    ------
    LearningError
        No patient with an encounter is left, or fewer than `min_patients` of them.
    """
    notes: list[str] = []
    basis = records.provenance.time_basis
    birth, precision = _births(records)
    visits, cut = _visits(records, basis, max_visits, notes)
    visits, people, age, aside = _people(records, visits, birth, min_patients, notes)
    cut = cut[people]
    n = len(people)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(visits.patient, minlength=n))))
    first, last = offsets[:-1], offsets[1:] - 1
    age_start = age[first]
    dated = basis != "order" and not (visits.start == NO_TIME).any()
    start_day = np.where(visits.start == NO_TIME, NO_TIME, visits.start // 86_400)
    gap = np.full(len(visits.rows), -1, dtype=np.int64)
    if dated:
        gap[:-1] = np.diff(start_day)
        gap[last] = -1
    stay = np.where(
        (visits.start == NO_TIME) | (visits.end == NO_TIME) | (visits.end < visits.start),
        -1,
        (visits.end - visits.start) // 60,
    )
    encounters = records["encounter"]
    class_levels, disposition, source, types, codings, precisions, minute, left_out = _visit_columns(
        encounters, visits, min_patients, dated
    )
    patient_table = records["patient"].take(pa.array(people))
    person, person_left_out = _person_levels(records, patient_table, min_patients)
    died, death_days, tail_days, last_day = _ends(patient_table, visits, last, basis, dated)
    in_care = np.array([label == _DIED for label in disposition.labels])[disposition.index[last]] & ~died
    died, death_days = died | in_care, np.where(in_care, 0, death_days)
    encounter_visit = np.full(encounters.num_rows, -1, dtype=np.int64)
    encounter_visit[visits.rows] = np.arange(len(visits.rows))
    index = VisitIndex(
        patient_ids=patient_table["patient_id"],
        encounter_ids=encounters["encounter_id"],
        visit_of_encounter=encounter_visit,
        offsets=offsets,
        start=visits.start if dated else np.full(len(visits.rows), NO_TIME),
    )
    families = {}
    for name in FAMILIES:
        family = encode_family(records, name, index, visits.patient, min_patients)
        if family is None:
            continue
        left_out[name] = family.left_out
        if family.set_aside:
            notes.append(f"Rows of {name} that belong to no encounter and have no date were not learned.")
        if family.n_codes:
            families[name] = family
    return Timelines(
        offsets=offsets.astype(np.int64),
        weight=np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)[people],
        person=person,
        age_at_start=age_start,
        cut=cut,
        died=died,
        death_days=death_days,
        tail_days=tail_days,
        last_day=last_day,
        row=visits.rows,
        age_years=age.astype(np.float32),
        number=(np.arange(len(visits.rows)) - np.repeat(first, np.diff(offsets)) + 1).astype(np.int32),
        gap_days=gap,
        stay_minutes=stay,
        start_minute=minute,
        encounter_class=class_levels,
        disposition=disposition,
        admit_source=source,
        encounter_type=types,
        encounter_types=codings,
        precision=precisions,
        families=families,
        basis=basis,
        birth_date_precision=precision,
        left_out={name: count for name, count in {**person_left_out, **left_out}.items() if count},
        notes=tuple(notes),
        aside=aside,
    )


def aside_notes(aside: Mapping[str, int], n_patients: int) -> list[str]:
    """Return what is said of the patients that were set aside, of `n_patients` in all."""
    notes = []
    for why, count in aside.items():
        if count:
            share = 100 * count / n_patients
            notes.append(f"Patients {why} were set aside ({'under 1' if share < 1 else f'about {share:.0f}'} %).")
    return notes


def coarsest_precision(counts: Mapping[str, int], n_patients: int) -> str:
    """Return the coarsest precision of birth dates that one patient in twenty has."""
    return next((name for name in ("year", "month") if counts.get(name, 0) / n_patients >= 0.05), "day")


def _births(records: Records) -> tuple[npt.NDArray[np.int64], str]:
    """Return (the day of birth of each patient, corrected for its precision; the coarsest common precision)."""
    table = records["patient"]
    if not table.num_rows:
        raise LearningError("There are no patients.", table="patient")
    index, labels = categories(table["birth_date_precision"])
    middle = np.array([MIDDLE_DAYS.get(label, 0) for label in labels] + [0])
    counts = {label: int((index == i).sum()) for i, label in enumerate(labels)}
    coarsest = coarsest_precision(counts, len(index))
    birth = days(table["birth_date"])
    return np.where(birth == NO_TIME, NO_TIME, birth + middle[index]), coarsest


def _visits(records: Records, basis: str, max_visits: int, notes: list[str]) -> tuple[_Visits, npt.NDArray[np.bool_]]:
    table = records["encounter"]
    if not table.num_rows:
        raise LearningError(
            "There are no encounters to learn from.",
            table="encounter",
            hint="Give records that have visits, or a mapping that makes them from dated rows.",
        )
    status, labels = categories(table["status"])
    happened = ~np.isin(status, [i for i, label in enumerate(labels) if label in NOT_HAPPENED])
    patient = targets(table["patient_id"], records["patient"]["patient_id"])
    start, end = seconds(table["start_datetime"]), seconds(table["end_datetime"])
    sequence = pc.fill_null(table["sequence"], 0).to_numpy()
    kept = happened & (patient >= 0)
    undated = kept & (start == NO_TIME)
    if undated.any() and not undated[kept].all() and basis != "order":
        notes.append("Encounters without a start, in a source that has dates, were set aside.")
        kept &= ~undated
    rows = np.flatnonzero(kept)
    by_time = start[rows] if basis != "order" else np.zeros(len(rows), dtype=np.int64)
    rows = rows[np.lexsort((rows, sequence[rows], by_time, patient[rows]))]
    counts = np.bincount(patient[rows], minlength=records.n_patients)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = rows[number < max_visits]
    cut = counts > max_visits
    if cut.any():
        notes.append(f"Only the first {max_visits} visits of a patient were learned from; some patients have more.")
    return _Visits(rows=rows, patient=patient[rows], start=start[rows], end=end[rows]), cut


def _people(
    records: Records, visits: _Visits, birth: npt.NDArray[np.int64], min_patients: int, notes: list[str]
) -> tuple[_Visits, npt.NDArray[np.int64], npt.NDArray[np.float64], dict[str, int]]:
    """Return (visits renumbered to the kept patients, rows of these in the patient table, age at each visit, why
    others were set aside and how many)."""
    n_all = records.n_patients
    first_start = np.full(n_all, NO_TIME, dtype=np.int64)
    np.maximum.at(first_start, visits.patient, np.where(visits.start == NO_TIME, NO_TIME, -visits.start))
    first_day = np.where(first_start == NO_TIME, NO_TIME, -first_start // 86_400)
    # Without dates a record begins where the source says its cover begins, or (generated records) ends.
    first_day = first_known(
        first_day, days(records["patient"]["record_start_date"]), np.full(n_all, _stated_day(records))
    )
    has_visit = np.bincount(visits.patient, minlength=n_all) > 0
    ageless = has_visit & ((birth == NO_TIME) | (first_day == NO_TIME))
    start = np.where(visits.start == NO_TIME, first_day[visits.patient], visits.start // 86_400)
    age = (start - birth[visits.patient]) / DAYS_PER_YEAR
    slack = max(MIDDLE_DAYS.values()) / DAYS_PER_YEAR
    strange = np.zeros(n_all, dtype=bool)
    # The correction for coarse birth dates may make a newborn a little younger than its birth.
    strange[visits.patient[(age < -slack) | (age > MAX_AGE_YEARS)]] = True
    strange &= ~ageless
    aside = {
        "without an encounter": int((~has_visit).sum()),
        "whose age is unknown": int(ageless.sum()),
        "of negative or impossible age": int(strange.sum()),
    }
    notes += aside_notes(aside, n_all)
    keep = has_visit & ~ageless & ~strange
    people = np.flatnonzero(keep)
    if len(people) < min_patients:
        raise LearningError(
            f"Only {len(people)} patients can be learned from, fewer than the minimum of {min_patients}.",
            table="patient",
            hint=" ".join(["A model of so few would tell about each of them.", *notes]),
        )
    position = np.cumsum(keep) - 1
    mask = keep[visits.patient]
    kept = _Visits(
        rows=visits.rows[mask],
        patient=position[visits.patient[mask]],
        start=visits.start[mask],
        end=visits.end[mask],
    )
    return kept, people, np.maximum(age[mask], 0.0), aside


def _stated_day(records: Records) -> int:
    """Return the day that the provenance names as the reference date, or `NO_TIME`."""
    stated = records.provenance.details.get("reference_date")
    return (date.fromisoformat(stated) - date(1970, 1, 1)).days if isinstance(stated, str) else NO_TIME


def _visit_columns(encounters: pa.Table, visits: _Visits, min_patients: int, dated: bool) -> Any:
    taken = encounters.take(pa.array(visits.rows))
    found: dict[str, Levels] = {}
    left_out = {}
    for name, column, empty in (
        ("encounter_class", "encounter_class", None),
        ("disposition", "discharge_disposition_code", ""),
        ("admit_source", "admit_source_code", ""),
    ):
        index, labels = categories(taken[column])
        found[name] = levels(index, labels, visits.patient, min_patients=min_patients, empty=empty)
        left_out[f"encounter.{column}"] = found[name].left_out
    index, pairs, display_index, displays = coding_keys(taken, "type_system", "type_code", "type_display")
    index, codings, rare = kept_codings(index, pairs, display_index, displays, visits.patient, min_patients)
    types = levels(index, [str(i) for i in range(len(codings))], visits.patient, min_patients=min_patients)
    left_out["encounter.type_code"] = rare
    order = tuple(codings[int(label)] if label else Coding(system="", code="") for label in types.labels)
    types = Levels(labels=tuple(str(i) for i in range(len(order))), index=types.index, left_out=rare)
    precision_index, precision_labels = categories(taken["time_precision"])
    class_index = found["encounter_class"].index
    precisions = []
    for i in range(len(found["encounter_class"].labels)):
        counts = np.bincount(precision_index[class_index == i] + 1, minlength=len(precision_labels) + 1)
        commonest = int(counts.argmax())
        precisions.append("second" if commonest == 0 else precision_labels[commonest - 1])
    day_only = np.isin(precision_index, [i for i, label in enumerate(precision_labels) if label == "day"])
    minute = np.full(len(visits.rows), -1, dtype=np.int64)
    if dated:
        minute = np.where(day_only, -1, visits.start % 86_400 // 60)
    return (
        found["encounter_class"],
        found["disposition"],
        found["admit_source"],
        types,
        order,
        tuple(precisions) if dated else ("day",) * len(precisions),
        minute,
        left_out,
    )


def _person_levels(records: Records, patients: pa.Table, min_patients: int) -> tuple[dict[str, Levels], dict[str, int]]:
    """Return (levels of the person's variables that are known for anybody, how many labels each lost)."""
    everyone = np.arange(patients.num_rows)
    index, labels = categories(patients["sex"])
    person = {"sex": levels(index, labels, everyone, min_patients=min_patients, empty="unknown")}
    for name, column in PERSON_COLUMNS.items():
        index, labels = categories(patients[column])
        person[name] = levels(index, labels, everyone, min_patients=min_patients)
    person["payer"] = levels(*_payers(records, patients), everyone, min_patients=min_patients)
    left_out = {f"patient.{name}": column.left_out for name, column in person.items()}
    return {name: c for name, c in person.items() if c.labels != ("",) or name == "sex"}, left_out


def _payers(records: Records, patients: pa.Table) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return (index of each patient's commonest type of payer, -1 for none; the types)."""
    coverage = records["coverage"]
    result = np.full(patients.num_rows, -1, dtype=np.int64)
    if not coverage.num_rows or not records["payer"].num_rows:
        return result, []
    type_index, labels = categories(records["payer"]["payer_type_code"])
    payer = targets(coverage["payer_id"], records["payer"]["payer_id"])
    patient = targets(coverage["patient_id"], patients["patient_id"])
    kind = np.where(payer >= 0, type_index[payer], -1)
    known = (kind >= 0) & (patient >= 0)
    if known.any():
        pairs, counts = np.unique(patient[known] * len(labels) + kind[known], return_counts=True)
        order = np.lexsort((-pairs, counts))  # ascending counts: the last written is the commonest
        result[pairs[order] // len(labels)] = pairs[order] % len(labels)
    return result, labels


def _ends(
    patients: pa.Table, visits: _Visits, last: npt.NDArray[np.int64], basis: str, dated: bool
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (died, days to death, days to the end of the record, last day of care) of each patient."""
    death = days(patients["death_datetime"])
    died = death != NO_TIME
    unknown = np.full(patients.num_rows, -1, dtype=np.int64)
    record_end = days(patients["record_end_date"])
    if not dated:
        return died, unknown, unknown.copy(), unknown.copy()
    end_second = np.where(visits.end == NO_TIME, visits.start, np.maximum(visits.end, visits.start))
    # The last visit to start is not always the last to end.
    latest = np.maximum.reduceat(end_second, np.concatenate(([0], last[:-1] + 1))) // 86_400
    death_days = np.where(died, np.maximum(death - latest, 0), -1)
    tail = np.where(record_end == NO_TIME, -1, np.maximum(record_end - latest, 0))
    return died, death_days, tail, latest if basis == "calendar" else unknown
