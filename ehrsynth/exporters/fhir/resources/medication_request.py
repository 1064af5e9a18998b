"""MedicationRequest: an order for a medication, with its dosage and supply."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pyarrow as pa

from ehrsynth import resources
from ehrsynth.exporters.fhir.datatypes import ABSENT, US_CORE, concept, make_concept, needing, period, source_identifier
from ehrsynth.exporters.fhir.joins import joined, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each, First, compile_template
from ehrsynth.exporters.fhir.values import Code, Count, Link, Number, Text, Time

__all__ = ["DOSAGE", "DOSE", "INPATIENT", "MEDICATION_REQUEST", "orders"]

UCUM = "http://unitsofmeasure.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/medicationrequest-category"
INPATIENT = ("IMP", "ACUTE", "NONAC", "OBSENC", "SS")


def orders(source: Source) -> pa.Table:
    """Return the orders with what their encounter knows of them."""
    return source.once("orders", _orders)


def _orders(source: Source) -> pa.Table:
    rows, encounters = source["medication_request"], source["encounter"]
    names = {
        "encounter_practitioner_id": "practitioner_id",
        "encounter_organization_id": "organization_id",
        "encounter_class": "encounter_class",
    }
    found = {ours: joined(rows["encounter_id"], encounters, "encounter_id", theirs) for ours, theirs in names.items()}
    return with_columns(rows, **found)


def _category(encounter_class: str | None) -> dict[str, Any] | None:
    """Where the medication is to be taken, by the class of the encounter of the order."""
    if encounter_class is None:
        return None
    if encounter_class == "HH":
        return make_concept(CATEGORY, "community")
    return make_concept(CATEGORY, "inpatient" if encounter_class in INPATIENT else "outpatient")


@lru_cache(maxsize=1)
def _dose_units() -> frozenset[str]:
    return frozenset(resources.read_json("output_schemas/fhir_r4/mapping/dose_units.json")["units"])


def _is_ucum(unit: str) -> bool:
    return unit in _dose_units() or re.fullmatch(r"\{[!-z|~]+\}", unit) is not None


def _per_period(per_day: float) -> Fraction | None:
    """Doses a day as a fraction of small numbers: every other day is 1/2."""
    if not 0 < per_day < 1000:
        return None
    return Fraction(per_day).limit_denominator(31) or None


def _frequency(per_day: float) -> int | None:
    found = _per_period(per_day)
    return found.numerator if found else None


def _days(per_day: float) -> int | None:
    found = _per_period(per_day)
    return found.denominator if found else None


DOSE = needing(
    {
        "value": Number("dose_value"),
        "unit": Text("dose_unit"),
        # The unit of a dose can be any text ("tablet"): it is a code only where UCUM has it.
        "system": Each(("dose_unit",), lambda unit: UCUM if _is_ucum(unit) else None),
        "code": Each(("dose_unit",), lambda unit: unit if _is_ucum(unit) else None),
    },
    "value",
)

DOSAGE = [
    {
        "text": Text("sig"),
        "timing": {
            "repeat": {
                "boundsPeriod": period("start_date", "end_date"),
                "frequency": Each(("frequency_per_day",), _frequency),
                "period": Each(("frequency_per_day",), _days),
                "periodUnit": Each(("frequency_per_day",), lambda x: "d" if _per_period(x) else None),
            }
        },
        "route": concept("route_system", "route_code", "route_display"),
        "doseAndRate": [{"doseQuantity": DOSE}],
    }
]

MEDICATION_REQUEST = Resource(
    type="MedicationRequest",
    table="medication_request",
    rows=orders,
    profile=US_CORE + "us-core-medicationrequest",
    elements={
        "identifier": [source_identifier("medication_request_id", "medication_request")],
        "status": Code("status"),
        "intent": Code("intent"),
        "category": [Each(("encounter_class",), _category)],
        "reportedBoolean": False,
        "medicationCodeableConcept": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "authoredOn": Time("authored_datetime", "time_precision"),
        # us-core-21: an order has a requester. Who saw the patient is the next best, where they did so the one after.
        "requester": First(
            (
                Link("practitioner"),
                Link("practitioner", "encounter_practitioner_id"),
                Link("organization", "encounter_organization_id"),
                compile_template({**ABSENT, "display": "unknown"}),
            )
        ),
        "reasonReference": [Link("condition", "reason_condition_id")],
        "dosageInstruction": DOSAGE,
        "dispenseRequest": {
            "numberOfRepeatsAllowed": Count("refills"),
            "quantity": needing({"value": Number("quantity")}, "value"),
            "expectedSupplyDuration": {
                "value": Number("days_supply"),
                "unit": "days",
                "system": UCUM,
                "code": "d",
            },
        },
    },
)
