"""Claim and ExplanationOfBenefit: the bill of an insured encounter, and what its payer made of it."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.billing import (
    billed_conditions,
    billed_encounters,
    billed_items,
    billed_procedures,
    charges,
)
from ehrsynth.exporters.fhir.datatypes import concept, fixed_concept, make_concept, period
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.encounter import type_of_class
from ehrsynth.exporters.fhir.rows import Node
from ehrsynth.exporters.fhir.templates import Each, First, Later, Many, compile_template
from ehrsynth.exporters.fhir.values import Count, Link, Number, Time

__all__ = ["CLAIM", "EXPLANATION_OF_BENEFIT"]

CLAIM_TYPE = "http://terminology.hl7.org/CodeSystem/claim-type"


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {
        "conditions": billed_conditions(source),
        "procedures": billed_procedures(source),
        "items": billed_items(source),
    }


def money(column: str) -> dict[str, Any]:
    """Return the template of an amount of money."""
    return {"value": Number(column), "currency": Later(lambda: charges()["currency"])}


def _adjudication(code: str, column: str) -> dict[str, Any]:
    return {
        "category": fixed_concept("http://terminology.hl7.org/CodeSystem/adjudication", code),
        "amount": money(column),
    }


TYPE = Each(("stay",), lambda stay: make_concept(CLAIM_TYPE, "institutional" if stay else "professional"))
PROVIDER = First((Link("organization"), Link("practitioner")))
ITEM: Node = compile_template(
    {
        "sequence": Count("number", minimum=1),
        "productOrService": First(
            (concept("code_system", "code", "display"), Each(("encounter_class",), type_of_class, needs=()))
        ),
        "quantity": {"value": Number("quantity")},
        "unitPrice": money("price"),
        "net": money("net"),
    }
)
DIAGNOSIS = compile_template({"sequence": Count("number", minimum=1), "diagnosisReference": Link("condition")})
DONE = compile_template({"sequence": Count("number", minimum=1), "procedureReference": Link("procedure")})

BILL: dict[str, Any] = {
    "diagnosis": Many("conditions", "encounter_id", "encounter_id", DIAGNOSIS),
    "procedure": Many("procedures", "encounter_id", "encounter_id", DONE),
}

CLAIM = Resource(
    type="Claim",
    table="encounter",
    kind="claim",
    derived=True,
    rows=billed_encounters,
    others=_others,
    elements={
        "status": "active",
        "type": TYPE,
        "use": "claim",
        "patient": Link("patient"),
        "billablePeriod": period("start_datetime", "end_datetime", "time_precision"),
        "created": Time("created"),
        "insurer": Link("payer"),
        "provider": PROVIDER,
        "priority": fixed_concept("http://terminology.hl7.org/CodeSystem/processpriority", "normal"),
        **BILL,
        "insurance": [{"sequence": 1, "focal": True, "coverage": Link("coverage")}],
        "item": Many("items", "encounter_id", "encounter_id", ITEM),
        "total": money("total"),
    },
)

EXPLANATION_OF_BENEFIT = Resource(
    type="ExplanationOfBenefit",
    table="encounter",
    kind="explanation_of_benefit",
    derived=True,
    rows=billed_encounters,
    others=_others,
    elements={
        "status": "active",
        "type": TYPE,
        "use": "claim",
        "patient": Link("patient"),
        "billablePeriod": period("start_datetime", "end_datetime", "time_precision"),
        "created": Time("created"),
        "insurer": Link("payer"),
        "provider": PROVIDER,
        "claim": Link("claim", "encounter_id", derived=True),
        "outcome": "complete",
        **BILL,
        "insurance": [{"focal": True, "coverage": Link("coverage")}],
        "item": Many("items", "encounter_id", "encounter_id", ITEM),
        "total": [
            _adjudication("submitted", "total"),
            _adjudication("benefit", "paid"),
            _adjudication("copay", "owed"),
        ],
        "payment": {"amount": money("paid")},
    },
)
