"""What OMOP can carry of records: the exact sense in which records that went through OMOP are the same.

`carried` brings records to it, before they are compared; rows are compared without their own keys (OMOP's are numbers),
and what leads to a row does so by its place. What the exporter writes differently on purpose:

- Not carried of patients: names, street, telephone, e-mail, numbers, marital status, language, sex at birth; races that
  are no category of the OMB. Of practitioners and organizations: identifiers other than a practitioner's NPI,
  telephone, titles; specialties are words. Places within an organization.
- Of encounters: reason, place, coverage (the reader finds the one in force), and a status other than finished; one
  without an end ends when it starts; the type of those whose class is ACUTE, SS or PRENC, and of emergencies of two
  days or more; admission by a general practitioner and an unnamed discharge are left out.
- Of conditions: an onset far from the visit is the day of the record; how sure a ranked one is. The same code is once
  in a visit.
- Of orders: dose, frequency, reason; where no order of all has a stated end, each ends with its supply. The same code
  with the same end is once a day; as of procedures and devices the same code is.
- Of procedures that OMOP calls measurements or observations: end and quantity.
- Of observations: interpretation, why there is no value, category unless its code says it; range and comparator
  of what OMOP does not call a measurement.
- Of allergies: whether it is not known if it is an allergy, active, or confirmed; the code of a reaction of which no
  standard concept is known (its text is carried).
- What did not happen, or has no date.
- Displays are those of the concepts, where the packaged map names them, else the vocabularies' where they are empty.
- An empty precision means second (of a birth day); OMOP's times have seconds, or there is only a date.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from ehrsynth import terminology
from ehrsynth.records import Records
from ehrsynth.terminology import LOINC, library

__all__ = ["KEPT", "carried", "panels", "read_back"]

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_TABLES = (
    "organization",
    "practitioner",
    "patient",
    "encounter",
    "condition",
    "observation",
    "medication_request",
    "procedure",
    "immunization",
    "device",
    "allergy_intolerance",
    "coverage",
)
KEPT = {
    "organization": "name address_line city state postal_code",
    "practitioner": "npi given_name family_name sex specialty_display organization_id",
    "patient": "birth_date birth_date_precision sex race_code ethnicity_code death_datetime death_precision "
    "cause_of_death_system cause_of_death_code cause_of_death_display record_start_date record_end_date city state "
    "postal_code organization_id practitioner_id",
    "encounter": "patient_id sequence start_datetime end_datetime time_precision encounter_class type_system type_code "
    "type_display admit_source_code discharge_disposition_code organization_id practitioner_id",
    "condition": "patient_id encounter_id category code_system code display clinical_status verification_status "
    "onset_date abatement_date recorded_date rank practitioner_id",
    "observation": "patient_id encounter_id category code_system code display effective_datetime time_precision "
    "value_number value_comparator value_unit value_system value_code value_display value_text reference_low "
    "reference_high practitioner_id",
    "medication_request": "patient_id encounter_id code_system code display status authored_datetime time_precision "
    "start_date end_date sig dose_unit days_supply quantity refills practitioner_id",
    "procedure": "patient_id encounter_id code_system code display start_datetime end_datetime time_precision quantity "
    "practitioner_id",
    "immunization": "patient_id encounter_id code_system code display occurrence_datetime time_precision lot_number "
    "practitioner_id",
    "device": "patient_id encounter_id code_system code display status start_datetime end_datetime time_precision "
    "unique_device_id quantity practitioner_id",
    "allergy_intolerance": "patient_id encounter_id code_system code display allergy_type category criticality "
    "clinical_status verification_status onset_date recorded_date reaction_system reaction_code reaction_display "
    "reaction_severity practitioner_id",
    "coverage": "patient_id payer start_date end_date",
}
_TIMES = {
    "encounter": ("start_datetime", "end_datetime"),
    "observation": ("effective_datetime",),
    "medication_request": ("authored_datetime",),
    "procedure": ("start_datetime", "end_datetime"),
    "immunization": ("occurrence_datetime",),
    "device": ("start_datetime", "end_datetime"),
}
_RACES = ("1002-5", "2028-9", "2054-5", "2076-8", "2106-3", "2131-1")


def read_back(records: Records) -> Tables:
    """The rows of every table, sorted, with places for keys, and only what is compared."""
    tables: dict[str, list[Row]] = {name: records[name].to_pylist() for name in (*_TABLES, "payer")}
    places = {
        name: {row[f"{name}_id"]: at for at, row in enumerate(tables[name])}
        for name in ("organization", "practitioner", "patient", "encounter")
    }
    payers = {row["payer_id"]: (row["name"], row["payer_type_code"]) for row in tables["payer"]}
    done: Tables = {}
    for name in _TABLES:
        rows = []
        for row in tables[name]:
            for other, keys in places.items():
                if f"{other}_id" in row and other != name:
                    row[f"{other}_id"] = keys.get(row[f"{other}_id"])
            if name == "coverage":
                row["payer"] = payers[row["payer_id"]]
            if name in _TIMES:
                timed = any(row[one] is not None for one in _TIMES[name]) and row["time_precision"] != "day"
                row["time_precision"] = "time" if timed else "day"
            rows.append({column: row[column] for column in KEPT[name].split()})
        done[name] = rows if name in ("organization", "practitioner", "patient") else sorted(rows, key=_order)
    for row in done["patient"]:
        row["birth_date_precision"] = row["birth_date_precision"] or "day"
        if row["death_datetime"] is not None:
            row["death_precision"] = "day" if row["death_precision"] == "day" else "time"
    return done


def panels(records: Records) -> list[tuple[Any, ...]]:
    """What was measured together: the codes of each panel, and when."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in records["observation"].to_pylist():
        if row["panel_id"] is not None:
            found.setdefault(row["panel_id"], []).append((str(row["effective_datetime"]), row["code"]))
    return sorted(tuple(sorted(rows)) for rows in found.values())


def _order(row: Row) -> list[str]:
    return [f"{value!r:0>20}" if isinstance(value, int) else repr(value) for value in row.values()]


def carried(records: Records) -> Tables:
    """The rows of every table, as OMOP can carry them."""
    tables = read_back(records)
    visits = records["encounter"].to_pylist()
    for row in tables["patient"]:
        row["race_code"] = row["race_code"] if row["race_code"] in _RACES else None
        _fill_display(row, "cause_of_death_")
        if row["death_datetime"] is not None and not _day_part(row["death_datetime"]):
            row["death_precision"] = "day"
    for row in tables["practitioner"]:
        row["specialty_display"] = row["specialty_display"] and row["specialty_display"][:50]
    for row in tables["encounter"]:
        row["end_datetime"] = row["end_datetime"] or row["start_datetime"]
        if row["encounter_class"] not in ("ACUTE", "SS", "PRENC"):
            _fill_display(row, "type_")
        else:
            row |= {"type_system": None, "type_code": None, "type_display": None}
        for column in ("admit_source_code", "discharge_disposition_code"):
            row[column] = None if row[column] in ("gp", "oth") else row[column]
        nights = (row["end_datetime"].date() - row["start_datetime"].date()).days
        if row["encounter_class"] == "EMER" and nights > 1:
            row |= {"type_system": None, "type_code": None, "type_display": None}
    for row in tables["condition"]:
        _carry_condition(row, visits)
    for name in ("observation", "medication_request", "procedure", "immunization", "device"):
        for row in tables[name]:
            _fill_display(row, "")
    for row in tables["observation"]:
        _carry_observation(row)
    for row in tables["procedure"]:
        if _map().get((row["code_system"], row["code"]), (None, None))[0] in ("Measurement", "Observation"):
            row |= {"end_datetime": None, "quantity": None}
    for row in tables["allergy_intolerance"]:
        _carry_allergy(row)
    stated = any(row["end_date"] is not None for row in tables["medication_request"])
    for row in tables["medication_request"]:
        _carry_order(row, stated=stated)
    for row in tables["coverage"]:
        row["end_date"] = row["end_date"] or tables["patient"][row["patient_id"]]["record_end_date"]
    grains = {
        "condition": ("patient_id", "encounter_id", "code"),
        "medication_request": ("patient_id", "encounter_id", "code", "start_date", "end_date"),
        "immunization": ("patient_id", "encounter_id", "code", "occurrence_datetime"),
        "procedure": ("patient_id", "encounter_id", "code", "start_datetime"),
        "device": ("patient_id", "encounter_id", "code", "start_datetime"),
    }
    for name, columns in grains.items():
        first: dict[tuple[Any, ...], Row] = {}
        for row in tables[name]:
            key = tuple(_day(row[one]) for one in columns)
            first.setdefault(key, row)
        tables[name] = list(first.values())
    return {
        name: rows if name in ("organization", "practitioner", "patient") else sorted(rows, key=_order)
        for name, rows in tables.items()
    }


def _day(value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value


def _day_part(moment: datetime) -> bool:
    return (moment.hour, moment.minute, moment.second) != (0, 0, 0)


def _fill_display(row: Row, prefix: str) -> None:
    system, code, display = (f"{prefix}{'code_' if not prefix and one == 'system' else ''}{one}" for one in _PARTS)
    if row[code] is not None:
        named = _map().get((row[system], row[code]), (None, None))[1]
        row[display] = named or row[display] or terminology.display(row[system], row[code])


@lru_cache(maxsize=1)
def _map() -> dict[tuple[str, str], tuple[str, str | None]]:
    """Domain of the standard concept, and name of its own, of every code of the packaged map."""
    package = library.concept_map("omop_vocabulary")
    names = {str(one["concept_id"]): one["concept_name"] for one in package.table("concepts").to_pylist()}
    return {
        (one["source_system"], one["source_code"]): (one["domain"], names.get(one["source_concept_id"] or ""))
        for one in package.table("map").to_pylist()
    }


@lru_cache(maxsize=1)
def _categories() -> dict[str, str]:
    rows = library.concept_map("omop_standard").table("map").to_pylist()
    return {one["source_code"]: one["target_code"] for one in rows if one["source_system"] == LOINC}


_PARTS = ("system", "code", "display")


def _carry_condition(row: Row, visits: list[Row]) -> None:
    _fill_display(row, "")
    visit = visits[row["encounter_id"]]
    first = visit["start_datetime"].date()
    last = (visit["end_datetime"] or visit["start_datetime"]).date()
    near = timedelta(days=1)
    if not first - near <= (row["onset_date"] or date.min) <= last + near:
        row["onset_date"] = row["recorded_date"] or first
    row["recorded_date"] = max(row["onset_date"], first)
    if row["abatement_date"] is not None:
        row["abatement_date"] = max(row["abatement_date"], row["onset_date"])
        if row["abatement_date"] == last and row["clinical_status"] in ("active", None):
            row["abatement_date"] = None
    row["clinical_status"] = row["clinical_status"] or ("active" if row["abatement_date"] is None else "resolved")
    if row["rank"] is not None or row["verification_status"] is None:
        row["verification_status"] = "confirmed"
    if row["category"] != "problem-list-item":
        row["category"] = "encounter-diagnosis"


def _carry_order(row: Row, *, stated: bool) -> None:
    start = row["start_date"]
    if not stated:
        row["end_date"] = start + timedelta(days=max((row["days_supply"] or 0) - 1, 0))
    elif row["end_date"] is not None:
        row["end_date"] = max(row["end_date"], start)
    if row["status"] not in ("completed", "stopped", "on-hold"):
        row["status"] = "active" if row["end_date"] is None else "completed"


def _carry_allergy(row: Row) -> None:
    _fill_display(row, "")
    row["allergy_type"] = row["allergy_type"] or "allergy"
    row["clinical_status"] = row["clinical_status"] or "active"
    row["verification_status"] = row["verification_status"] or "confirmed"
    row["recorded_date"] = row["recorded_date"] or row["onset_date"]
    row["reaction_display"] = row["reaction_display"] and row["reaction_display"][:60]
    if (row["reaction_system"], row["reaction_code"]) not in _map():
        row["reaction_system"] = row["reaction_code"] = None


def _carry_observation(row: Row) -> None:
    found = _map().get((row["code_system"], row["code"]), (None, None))[0]
    measured = found == "Measurement" or (found is None and row["category"] in ("laboratory", "vital-signs"))
    row["category"] = _categories().get(row["code"], "laboratory" if measured else "survey")
    if not measured:
        row |= {"value_comparator": None, "reference_low": None, "reference_high": None}
    if row["value_number"] is None:
        row["value_comparator"] = row["value_unit"] = None
    if row["value_number"] is not None or row["value_code"] is not None:
        row["value_text"] = None
    if row["value_code"] is None and row["value_display"] is not None:
        row["value_display"] = row["value_display"][:50]
        row["value_text"] = None
