"""What FHIR can carry of records: the exact sense in which records that went through FHIR are the same.

`carried` brings records to it, before they are compared. What the exporter writes differently on purpose:

- Of the types in `DERIVED` the reader takes nothing: the exporter makes them from rows that other resources carry.
- Not carried: ``patient.record_start_date`` and ``record_end_date``; ``condition.rank``; ``encounter.coverage_id``;
  ``device.encounter_id``, ``start_datetime``, ``end_datetime``, ``quantity`` and ``practitioner_id``;
  ``procedure.quantity``; ``panel_id`` of observations that are neither laboratory results nor blood pressures.
- Counted anew: ``encounter.sequence``. Not kept: the order of patients and, within a patient, of rows other than
  encounters (rows are compared by key).
- An empty precision means second (of a birth day); FHIR's times have seconds, so minute becomes second; where there is
  no time there is no precision.
- Displays come from the vocabularies where they are empty, and those of components of a blood pressure always do.
- What US Core demands is filled in: a patient's race only as far as its extension has it; status of an allergy, a
  problem or a coverage; type of an encounter by its class; the requester of an order from its encounter; why a result
  is absent.
- Of number, code, text and reason for absence FHIR takes one, in this order; comparator and unit need a number (a unit
  also serves a reference range); blood pressures have neither comparator nor range.
- Who took the systolic half of a blood pressure took the other one too. A middle name without a given one is one.
- A payer's type is in the coverages of patients. Frequencies are fractions of small numbers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ehrsynth import resources, terminology
from ehrsynth.records import Records

__all__ = ["DERIVED", "DERIVED_BESIDE", "carried", "read_back"]

DERIVED = frozenset(
    (
        *("CarePlan", "CareTeam", "Claim", "DocumentReference", "Endpoint", "ExplanationOfBenefit", "Goal"),
        *("MedicationAdministration", "MedicationDispense", "Provenance", "QuestionnaireResponse", "RelatedPerson"),
        *("ServiceRequest", "Specimen"),
    )
)
"""The types that the exporter derives from the tables: no table is for them, so reading sets them aside and says so."""

DERIVED_BESIDE = frozenset(("DiagnosticReport", "Immunization", "Observation"))
"""The types of which some resources are derived beside rows; an identifier says which, and reading sets those aside."""

_NOT_CARRIED = {
    "patient": ("record_start_date", "record_end_date"),
    "condition": ("rank",),
    "encounter": ("coverage_id", "sequence"),
    "device": ("encounter_id", "start_datetime", "end_datetime", "time_precision", "quantity", "practitioner_id"),
    "procedure": ("quantity",),
}
_CODINGS = (
    ("code_system", "code", "display"),
    *((f"{p}_system", f"{p}_code", f"{p}_display") for p in ("type", "reason", "route", "value", "reaction")),
    ("cause_of_death_system", "cause_of_death_code", "cause_of_death_display"),
)
_PRESSURES = ("8480-6", "8462-4")
_TIMES = {
    "patient": ("death_precision", ("death_datetime",)),
    "encounter": ("time_precision", ("start_datetime", "end_datetime")),
    "observation": ("time_precision", ("effective_datetime",)),
    "medication_request": ("time_precision", ("authored_datetime",)),
    "procedure": ("time_precision", ("start_datetime", "end_datetime")),
    "immunization": ("time_precision", ("occurrence_datetime",)),
}

Row = dict[str, Any]
Tables = dict[str, dict[str, Row]]


def read_back(records: Records) -> Tables:
    """The rows of every table by key, without what is never carried, and with precisions in one form."""
    tables: Tables = {}
    for table in records.schema.tables:
        rows = {}
        for row in records[table.name].to_pylist():
            for name in _NOT_CARRIED.get(table.name, ()):
                row.pop(name)
            if table.name in _TIMES:
                name, times = _TIMES[table.name]
                dated = any(row[time] is not None for time in times)
                row[name] = "day" if dated and row[name] == "day" else "second" if dated else None
            if table.name == "patient":
                row["birth_date_precision"] = row["birth_date_precision"] or "day"
            rows[row.pop(table.primary_key)] = row
        tables[table.name] = rows
    return tables


def carried(records: Records) -> Tables:
    """The rows of every table by key, as FHIR can carry them."""
    tables = read_back(records)
    for name, rows in tables.items():
        for row in rows.values():
            for system, code, display in _CODINGS:
                if code in row and row[code] is not None:
                    row[display] = row[display] or terminology.display(row[system], row[code])
            fill = globals().get(f"_fill_{name}")
            if fill is not None:
                fill(row, tables)
    _share_panels(tables["observation"])
    kinds: dict[str, str | None] = {}
    for row in tables["coverage"].values():
        kinds[row["payer_id"]] = tables["payer"][row["payer_id"]]["payer_type_code"]
    for key, row in tables["payer"].items():
        row["payer_type_code"] = kinds.get(key)
    return tables


def _share_panels(rows: dict[str, Row]) -> None:
    """The halves of a blood pressure are one resource: who took the systolic one took both."""
    pressures = [row for row in rows.values() if row["category"] == "vital-signs" and row["code"] in _PRESSURES]
    systolic = {row["panel_id"]: row["practitioner_id"] for row in pressures if row["code"] == _PRESSURES[0]}
    for row in pressures:
        if row["panel_id"] is not None:
            row["practitioner_id"] = systolic.get(row["panel_id"], row["practitioner_id"])


def _fill_patient(row: Row, tables: Tables) -> None:
    if row["race_code"] in ("NI", "NASK", "OTH"):
        row["race_code"] = None
    # Given names are a list: the first that is there is the given name.
    if row["given_name"] is None:
        row["given_name"], row["middle_name"] = row["middle_name"], None
    if row["family_name"] is None and row["given_name"] is None:
        row["name_prefix"] = None


def _fill_practitioner(row: Row, tables: Tables) -> None:
    if row["specialty_code"] is not None:
        system = "http://nucc.org/provider-taxonomy"
        row["specialty_display"] = row["specialty_display"] or terminology.display(system, row["specialty_code"])


def _fill_coverage(row: Row, tables: Tables) -> None:
    row["status"] = row["status"] or "active"


def _fill_encounter(row: Row, tables: Tables) -> None:
    if row["type_code"] is None and row["type_display"] is None:
        types = resources.read_json("output_schemas/fhir_r4/mapping/encounter_types.json")
        found = types["by_class"].get(row["encounter_class"], types["default"])
        row |= {"type_system": types["system"], "type_code": found["code"], "type_display": found["display"]}


def _fill_condition(row: Row, tables: Tables) -> None:
    if row["clinical_status"] is None and row["abatement_date"] is not None:
        row["clinical_status"] = "resolved"
    if row["clinical_status"] is None and row["category"] == "problem-list-item":
        row["clinical_status"] = "active"


def _fill_allergy_intolerance(row: Row, tables: Tables) -> None:
    row["clinical_status"] = row["clinical_status"] or "active"


def _fill_medication_request(row: Row, tables: Tables) -> None:
    stay = tables["encounter"].get(row["encounter_id"], {})
    row["practitioner_id"] = row["practitioner_id"] or stay.get("practitioner_id")
    if row["dose_value"] is None:
        row["dose_unit"] = None
    if row["frequency_per_day"]:
        row["frequency_per_day"] = float(Fraction(row["frequency_per_day"]).limit_denominator(31))


def _fill_observation(row: Row, tables: Tables) -> None:
    facts = resources.read_json("output_schemas/fhir_r4/mapping/observation_profiles.json")["blood_pressure"]
    pressure = row["category"] == "vital-signs" and row["code"] in _PRESSURES
    kinds = (("value_number",), ("value_code", "value_system", "value_display"), ("value_text",))
    there = next((kind for kind in kinds if row[kind[0]] is not None), ())
    for kind in kinds:
        if kind != there:
            row |= dict.fromkeys(kind)
    ranged = row["reference_low"] is not None or row["reference_high"] is not None
    if pressure:
        halves = (facts["systolic"], facts["diastolic"])
        row["display"] = next(half["display"] for half in halves if half["code"] == row["code"])
        row |= {"value_comparator": None, "reference_low": None, "reference_high": None}
        ranged = False
    if row["value_number"] is None:
        row["value_comparator"] = None
        row["value_unit"] = row["value_unit"] if ranged else None
    if there:
        row["absent_reason_code"] = None
    elif row["category"] in ("laboratory", "vital-signs"):
        row["absent_reason_code"] = row["absent_reason_code"] or "unknown"
    if not pressure and row["category"] != "laboratory":
        row["panel_id"] = None
