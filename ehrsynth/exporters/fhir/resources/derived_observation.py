"""Observation: what no table has and follows from what the tables know: facts of life, percentiles, screenings."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import (
    concept,
    concept_of,
    derived_identifier,
    fixed_concept,
    make_concept,
    quantity,
)
from ehrsynth.exporters.fhir.facts import mapping
from ehrsynth.exporters.fhir.growth import growth_facts
from ehrsynth.exporters.fhir.joins import joined, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.observation import CATEGORY
from ehrsynth.exporters.fhir.screening import screening_facts
from ehrsynth.exporters.fhir.social import social_facts
from ehrsynth.exporters.fhir.templates import Each, First, Many, When, compile_template
from ehrsynth.exporters.fhir.values import Boolean, Link, Text, Time

__all__ = ["DERIVED_OBSERVATION"]

TOPIC = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
TOPICS = {"sdoh": "SDOH"}


def _rows(source: Source) -> pa.Table:
    return source.once("facts", _facts)


def _facts(source: Source) -> pa.Table:
    rows = pa.concat_tables([social_facts(source), growth_facts(source), screening_facts(source)])
    rows = rows.unify_dictionaries().combine_chunks()
    organization = joined(rows["encounter_id"], source["encounter"], "encounter_id", "organization_id")
    return with_columns(rows, organization_id=organization)


def _others(source: Source) -> Mapping[str, pa.Table]:
    rows = _rows(source)
    return {"members": rows.filter(rows["panel_id"].is_valid()).select(["fact_id", "panel_id"]).combine_chunks()}


def _value(code: str | None, system: str | None, display: str | None) -> dict[str, Any] | None:
    return make_concept(system, code, display)


def _industry(display: str, code: str | None) -> dict[str, Any] | None:
    return make_concept(mapping("social_facts")["occupation"]["system"], code, display)


DERIVED_OBSERVATION = Resource(
    type="Observation",
    table="observation",
    key="fact_id",
    kind="derived_observation",
    rows=_rows,
    others=_others,
    profile=Text("profile"),
    elements={
        "identifier": [derived_identifier("derived_observation")],
        "status": "final",
        "category": [
            Each(("topic",), lambda topic: make_concept(TOPIC, topic, TOPICS[topic])),
            concept_of(CATEGORY, "category"),
        ],
        "code": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": When("lasting", (True,), Time("effective_datetime", "time_precision"), unless=True),
        "effectivePeriod": When(
            "lasting", (True,), compile_template({"start": Time("effective_datetime", "time_precision")})
        ),
        # Who answers a form is the patient.
        "performer": [
            First(
                (
                    When("category", ("survey",), Link("patient")),
                    Link("practitioner"),
                    Link("organization", "organization_id"),
                )
            )
        ],
        "valueQuantity": quantity("value_number", "value_unit"),
        "valueCodeableConcept": Each(("value_code", "value_system", "value_display"), _value, needs=()),
        "valueString": Text("value_text"),
        "valueBoolean": Boolean("value_boolean"),
        "hasMember": Many("members", "panel_id", "fact_id", Link("derived_observation", "fact_id")),
        "derivedFrom": [
            Link("observation", "from_observation_id"),
            Link("derived_observation", "from_fact_id"),
            Link("screening_response", "from_response", derived=True),
        ],
        "component": [
            {
                "code": fixed_concept("http://loinc.org", "86188-0"),
                "valueCodeableConcept": Each(("industry", "industry_code"), _industry),
            }
        ],
    },
)
