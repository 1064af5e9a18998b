"""Observation: laboratory, vital signs, social history, surveys and findings; the cause of a death."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources
from ehrsynth.exporters.fhir.datatypes import (
    ABSENT,
    UCUM,
    US_CORE,
    concept,
    concept_of,
    fixed_concept,
    make_concept,
    needing,
    quantity,
    source_identifier,
)
from ehrsynth.exporters.fhir.joins import has_text, has_value, hits, whole, with_columns
from ehrsynth.exporters.fhir.orders import laboratory_results
from ehrsynth.exporters.fhir.oxygen import oxygen_flow
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.rows import Node
from ehrsynth.exporters.fhir.surveys import answers
from ehrsynth.exporters.fhir.templates import Each, When
from ehrsynth.exporters.fhir.values import Code, Link, Number, Text, Time

__all__ = ["CATEGORY", "CAUSE_OF_DEATH", "OBSERVATION", "is_blood_pressure", "profiles"]

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
KINDS = ("number", "code", "text", "reason", "nothing")


@lru_cache(maxsize=1)
def profiles() -> dict[str, Any]:
    """Return which profile an observation claims, by code and category."""
    found: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/observation_profiles.json")
    return found


def is_blood_pressure(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows are a systolic or diastolic pressure among the vital signs, shape (n,)."""
    facts = profiles()
    pressures = [facts["blood_pressure"][part]["code"] for part in ("systolic", "diastolic")]
    found = hits(rows["code"], pressures)
    if found.any():
        found &= hits(rows["category"], ["vital-signs"]) & hits(rows["code_system"], [facts["system"]])
    return found


def _rows(source: Source) -> pa.Table:
    """All but blood pressures, each with what kind of value it has."""
    rows = source["observation"]
    pressures = is_blood_pressure(rows)
    place = np.flatnonzero(~pressures)
    n = rows.num_rows
    if pressures.any():
        rows = rows.filter(pa.array(~pressures))
    kind = np.full(rows.num_rows, KINDS.index("nothing"), dtype=np.int32)
    # The later ones win: FHIR takes one value.
    kind[has_value(rows["absent_reason_code"])] = KINDS.index("reason")
    kind[has_text(rows["value_text"])] = KINDS.index("text")
    kind[has_value(rows["value_code"])] = KINDS.index("code")
    kind[has_value(rows["value_number"])] = KINDS.index("number")
    results, surveys = laboratory_results(source), answers(source)
    at, survey = (_found(some["place"], n, place) for some in (results, surveys))
    flow = oxygen_flow(source, rows)
    return with_columns(
        rows,
        response_key=whole(surveys["response_key"]).take(survey),
        oxygen_flow=flow,
        # What somebody breathes with a nasal cannula: 20 % and 4 % for each litre a minute, by rule of thumb.
        oxygen_concentration=pc.add(pc.multiply(flow, 4.0), 20.0),
        specimen_key=whole(results["specimen_key"]).take(at),
        order_key=whole(results["order_key"]).take(at),
        value_kind=pa.DictionaryArray.from_arrays(pa.array(kind), pa.array(KINDS)),
        timed=pa.array(has_value(rows["effective_datetime"])),
    )


def _found(places: pa.ChunkedArray, n: int, wanted: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    """Return where each `wanted` row of a table of `n` rows is among some rows of it, null where it is not."""
    at = np.full(n, -1, dtype=np.int64)
    at[places.to_numpy()] = np.arange(len(places))
    return pa.array(at[wanted], mask=at[wanted] < 0)


def _profile(
    category: str | None, system: str | None, code: str | None, unit: str | None, kind: str, timed: bool
) -> str | None:
    """The profile that the observation keeps to: of its code, else of its category."""
    facts = profiles()
    if system != facts["system"]:
        return None
    if category == "vital-signs" and (vital := facts["vital_signs"].get(code)):
        return US_CORE + vital["profile"] if kind != "number" or unit in vital["units"] else None
    if category == "social-history" and (fact := facts["social_history"].get(code)) and kind == "code" and timed:
        return US_CORE + str(fact["profile"])
    found = facts["by_category"].get(category)
    return US_CORE + found if found else None


def _code(code: str, system: str | None, display: str | None) -> dict[str, Any] | None:
    """The code; pulse oximetry has two."""
    made = make_concept(system, code, display)
    facts = profiles()
    if made and system == facts["system"] and (beside := facts["vital_signs"].get(code, {}).get("beside")):
        made["coding"].append({"system": system, **beside})
    return made


def _absent_reason(kind: str, category: str | None, reason: str | None) -> dict[str, Any] | None:
    """Why there is no value: profiles of laboratory results and vital signs want to be told."""
    if kind == "reason":
        return make_concept(ABSENT_REASON, reason)
    wanted = kind == "nothing" and category in ("laboratory", "vital-signs")
    return make_concept(ABSENT_REASON, "unknown") if wanted else None


def _inhaled(code: str, display: str, column: str, unit: str) -> Node:
    """A component of pulse oximetry, by whose id the reader knows that no row is behind it."""
    value = {"value": Number(column), "unit": unit, "system": UCUM, "code": unit}
    return needing(
        {
            "id": f"derived-{code}",
            "code": make_concept("http://loinc.org", code, display),
            "valueQuantity": needing(value, "value"),
        },
        "valueQuantity",
    )


OBSERVATION = Resource(
    type="Observation",
    table="observation",
    rows=_rows,
    profile=Each(("category", "code_system", "code", "value_unit", "value_kind", "timed"), _profile, needs=()),
    elements={
        "identifier": [source_identifier("observation_id", "observation")],
        "basedOn": [Link("laboratory_order", "order_key", derived=True)],
        "status": Code("status"),
        "category": [concept_of(CATEGORY, "category")],
        "code": Each(("code", "code_system", "display"), _code),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": Time("effective_datetime", "time_precision"),
        "_effectiveDateTime": Each(
            ("category", "timed"), lambda category, timed: ABSENT if category == "vital-signs" and not timed else None
        ),
        "performer": [Link("practitioner")],
        "valueQuantity": When("value_kind", ("number",), quantity("value_number", "value_unit", "value_comparator")),
        "valueCodeableConcept": When("value_kind", ("code",), concept("value_system", "value_code", "value_display")),
        "valueString": When("value_kind", ("text",), Text("value_text")),
        "dataAbsentReason": Each(("value_kind", "category", "absent_reason_code"), _absent_reason),
        "interpretation": [
            concept_of("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "interpretation_code")
        ],
        "specimen": Link("specimen", "specimen_key", derived=True),
        "referenceRange": [
            {"low": quantity("reference_low", "value_unit"), "high": quantity("reference_high", "value_unit")}
        ],
        "derivedFrom": [Link("questionnaire_response", "response_key", derived=True)],
        "component": [
            _inhaled("3151-8", "Inhaled oxygen flow rate", "oxygen_flow", "L/min"),
            _inhaled("3150-0", "Inhaled oxygen concentration", "oxygen_concentration", "%"),
        ],
    },
)


def _deaths(source: Source) -> pa.Table:
    rows = source["patient"]
    return rows.filter(rows["cause_of_death_code"].is_valid())


CAUSE_OF_DEATH = Resource(
    type="Observation",
    table="patient",
    kind="cause_of_death",
    derived=True,
    rows=_deaths,
    profile=US_CORE + "us-core-simple-observation",
    elements={
        "status": "final",
        "category": [fixed_concept(CATEGORY, "exam")],
        "code": {
            "coding": [
                {
                    "system": "http://loinc.org",
                    "code": "69453-9",
                    "display": "Cause of death [US Standard Certificate of Death]",
                }
            ],
            "text": "Cause of death",
        },
        "subject": Link("patient"),
        "effectiveDateTime": Time("death_datetime", "death_precision"),
        "valueCodeableConcept": concept("cause_of_death_system", "cause_of_death_code", "cause_of_death_display"),
    },
)
