"""Encounter: a contact of a patient with an organization."""

from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.exporters.fhir.datatypes import (
    US_CORE,
    coding_of,
    concept,
    concept_of,
    fixed_concept,
    make_concept,
    needing,
    own_identifier,
    period,
)
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each, First
from ehrsynth.exporters.fhir.values import Code, Link

__all__ = ["ENCOUNTER", "type_of_class"]


@lru_cache(maxsize=1)
def _types() -> dict[str, Any]:
    types: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/encounter_types.json")
    return types


def type_of_class(encounter_class: str | None) -> dict[str, Any] | None:
    """Return the type, which US Core asks for, of an encounter of which only the class is known."""
    types = _types()
    found = types["by_class"].get(encounter_class, types["default"])
    return make_concept(types["system"], found["code"], found["display"])


ENCOUNTER = Resource(
    type="Encounter",
    table="encounter",
    profile=US_CORE + "us-core-encounter",
    elements={
        "identifier": [own_identifier("encounter_id", "encounter")],
        "status": Code("status"),
        "class": coding_of("http://terminology.hl7.org/CodeSystem/v3-ActCode", "encounter_class"),
        "type": [
            First(
                (
                    concept("type_system", "type_code", "type_display"),
                    Each(("encounter_class",), type_of_class, needs=()),
                )
            )
        ],
        "subject": Link("patient"),
        "participant": [
            needing(
                {
                    "type": [fixed_concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PPRF")],
                    "period": period("start_datetime", "end_datetime", "time_precision"),
                    "individual": Link("practitioner"),
                },
                "individual",
            )
        ],
        "period": period("start_datetime", "end_datetime", "time_precision"),
        "reasonCode": [concept("reason_system", "reason_code", "reason_display")],
        "hospitalization": {
            "admitSource": concept_of("http://terminology.hl7.org/CodeSystem/admit-source", "admit_source_code"),
            "dischargeDisposition": concept_of(
                "http://terminology.hl7.org/CodeSystem/discharge-disposition", "discharge_disposition_code"
            ),
        },
        "location": [{"location": Link("location")}],
        "serviceProvider": Link("organization"),
    },
)
