"""From records to cohorts: patients with encounters, their visits in order, codes and numbers by visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.evaluation.cohort import Bools, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.columns import NO_TIME, categories, codings, days, seconds, targets
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["AGE_BANDS", "FAMILIES", "GROUPS", "age_band", "assemble"]

DAYS_PER_YEAR = 365.2425
AGE_BANDS = (0, 1, 5, 12, 18, 30, 40, 50, 60, 70, 80)
"""Lower ends of the bands of age, years."""
GROUPS = 512
"""Units of the bootstrap. A cohort of fewer patients has each as its own unit. Counts are kept per group and not per
patient, which bounds memory; resampling 512 random groups estimates a standard error to 1 / sqrt(2 * 512) = 3 %."""

FAMILIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "condition": (("onset_date", "recorded_date"), ("entered-in-error", "refuted")),
    "medication_request": (("authored_datetime", "start_date"), ("entered-in-error", "cancelled")),
    "procedure": (("start_datetime",), ("entered-in-error", "not-done")),
    "observation": (("effective_datetime",), ("entered-in-error", "cancelled")),
    "immunization": (("occurrence_datetime",), ("entered-in-error",)),
    "device": (("start_datetime",), ("entered-in-error",)),
}
"""Tables whose codes are counted: the columns that date a row (the first known), and the states in which it is void."""

_PERSON = {
    "race": "race_code",
    "ethnicity": "ethnicity_code",
    "marital_status": "marital_status_code",
    "language": "language_code",
    "state": "state",
}
_NOT_HAPPENED = ("cancelled", "entered-in-error", "planned")
_MIDDLE_DAYS = {"year": 182, "month": 15, "day": 0}


def age_band(ages: Floats) -> Ints:
    """Return the band of each age: position in `AGE_BANDS`, -1 if unknown."""
    band = np.searchsorted(AGE_BANDS, np.nan_to_num(ages), side="right") - 1
    return np.where(np.isnan(ages), -1, np.maximum(band, 0)).astype(np.int64)


@dataclass(kw_only=True, eq=False)
class _Draft:
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


def assemble(parts: Mapping[str, Records], *, seed: int) -> list[Cohort]:
    """Return the cohorts of several records, by name, in one vocabulary.

    Parameters
    ----------
    parts : mapping of name to Records
    seed : int
        Deals patients into the groups of the bootstrap.
    """
    drafts = [_draft(name, records) for name, records in parts.items()]
    families = tuple(name for name in FAMILIES if any(name in draft.families for draft in drafts))
    code_maps: dict[str, list[Ints]] = {}
    named: list[tuple[str, str]] = []
    family_of: list[int] = []
    for number, family in enumerate(families):
        union, maps = _union([draft.families[family][3] if family in draft.families else [] for draft in drafts])
        code_maps[family] = [lookup + len(named) for lookup in maps]
        named += union
        family_of += [number] * len(union)
    measures, measure_maps = _union([draft.values[3] for draft in drafts])
    classes, class_maps = _union([draft.classes[1] for draft in drafts])
    variables: dict[str, tuple[str, ...]] = {}
    person_maps: dict[str, list[Ints]] = {}
    for name in drafts[0].person:
        union, person_maps[name] = _union([draft.person[name][1] for draft in drafts])
        variables[name] = tuple(union)
    vocabulary = Vocabulary(
        families=families,
        family_of=np.array(family_of, dtype=np.int64),
        codings=tuple(named),
        measures=tuple(measures),
        classes=tuple(classes),
        person=variables,
    )
    return [
        _cohort(
            draft,
            vocabulary,
            {family: code_maps[family][k] for family in families},
            measure_maps[k],
            class_maps[k],
            {name: maps[k] for name, maps in person_maps.items()},
            seed,
        )
        for k, draft in enumerate(drafts)
    ]


def _union(lists: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Ints]]:
    """Return (the sorted distinct labels of all lists, for each list the place of each of its labels among them)."""
    union = sorted({label for labels in lists for label in labels})
    rank = {label: number for number, label in enumerate(union)}
    return union, [np.array([rank[label] for label in labels], dtype=np.int64) for labels in lists]


def _draft(name: str, records: Records) -> _Draft:
    patients, encounters = records["patient"], records["encounter"]
    basis = records.provenance.time_basis
    owner = targets(encounters["patient_id"], patients["patient_id"])
    start, end = seconds(encounters["start_datetime"]), seconds(encounters["end_datetime"])
    status, labels = categories(encounters["status"])
    kept = (owner >= 0) & ~np.isin(status, [i for i, label in enumerate(labels) if label in _NOT_HAPPENED])
    if basis != "order" and (start[kept] != NO_TIME).any():
        kept &= start != NO_TIME
    dated = basis != "order" and bool(kept.any()) and bool((start[kept] != NO_TIME).all())
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
    draft = _Draft(
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
    _read_codes(draft)
    return draft


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
    middle = np.array([_MIDDLE_DAYS.get(label, 0) for label in labels] + [0], dtype=np.int64)[index]
    birth = days(patients["birth_date"])
    return np.where(birth == NO_TIME, NO_TIME, birth + middle), (middle + 1) / DAYS_PER_YEAR


def _person(records: Records, patients: pa.Table) -> dict[str, tuple[Ints, list[str]]]:
    person = {"sex": _with_empty(*categories(patients["sex"]))}
    for name, column in _PERSON.items():
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


def _read_codes(draft: _Draft) -> None:
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


def _visits_of(draft: _Draft, table: pa.Table, times: tuple[str, ...], patient: Ints) -> Ints:
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


def _distinct(first: Ints, second: Ints, n_second: int) -> tuple[Ints, Ints]:
    pairs = np.unique(first * n_second + second)
    return pairs // n_second, pairs % n_second


def _cohort(
    draft: _Draft,
    vocabulary: Vocabulary,
    code_maps: Mapping[str, Ints],
    measure_map: Ints,
    class_map: Ints,
    person_maps: Mapping[str, Ints],
    seed: int,
) -> Cohort:
    n, n_codes = len(draft.people), max(vocabulary.n_codes, 1)
    parts = [
        (patient, visit, code_maps[family][index]) for family, (patient, visit, index, _) in draft.families.items()
    ]
    patient, visit, code = (
        np.concatenate([part[k] for part in parts]) if parts else np.zeros(0, dtype=np.int64) for k in range(3)
    )
    ever_patient, ever_code = _distinct(patient, code, n_codes)
    code_visit, code = _distinct(visit[visit >= 0], code[visit >= 0], n_codes)
    age, age_start, died, follow = _lives(draft)
    n_groups = min(n, GROUPS)
    group = np.empty(n, dtype=np.int64)
    group[stream(seed, f"evaluation.groups.{draft.name}").permutation(n)] = np.arange(n) % max(n_groups, 1)
    value_visit, measure, value, _ = draft.values
    return Cohort(
        name=draft.name,
        vocabulary=vocabulary,
        group=group,
        n_groups=n_groups,
        offsets=draft.offsets,
        dated=draft.dated,
        start_day=draft.start_day,
        stay_minutes=draft.stay_minutes,
        encounter_class=class_map[draft.classes[0]],
        age_years=age,
        age_slack=draft.slack,
        person={name: person_maps[name][index] for name, (index, _) in draft.person.items()},
        age_at_start=age_start,
        died=died,
        follow_days=follow,
        code_visit=code_visit,
        code=code,
        ever_patient=ever_patient,
        ever_code=ever_code,
        value_visit=value_visit,
        value_measure=measure_map[measure] if len(measure) else measure,
        value=value,
        rows=draft.rows,
        records=draft.records,
        n_without_visits=draft.records.n_patients - n,
    )


def _lives(draft: _Draft) -> tuple[Floats, Floats, Bools, Ints]:
    """Return (age at each visit, age at the first, died, days from the first visit to death or the record's end)."""
    patients = draft.records["patient"].take(pa.array(draft.people))
    first = draft.offsets[:-1]
    n = len(first)
    record_start, record_end = days(patients["record_start_date"]), days(patients["record_end_date"])
    death = days(patients["death_datetime"])
    start = draft.start_day[first] if draft.dated else record_start
    known = (start != NO_TIME) & (draft.birth_day != NO_TIME)
    age_start = np.where(known, (np.where(known, start - draft.birth_day, 0)) / DAYS_PER_YEAR, np.nan)
    # Half a unit added to a coarse birth date may make a newborn younger than its birth.
    age_start = np.where(age_start < 0, np.maximum(age_start + draft.slack, 0.0), age_start)
    age = np.repeat(age_start, np.diff(draft.offsets))
    if not draft.dated or not n:
        return age, age_start, death != NO_TIME, np.full(n, -1, dtype=np.int64)
    age = age + (draft.start_day - np.repeat(start, np.diff(draft.offsets))) / DAYS_PER_YEAR
    latest = np.maximum.reduceat(draft.end_day, first)
    end = np.where(record_end == NO_TIME, latest, np.maximum(record_end, latest))
    end = np.where(death == NO_TIME, end, np.maximum(death, start))
    return age, age_start, death != NO_TIME, end - start
