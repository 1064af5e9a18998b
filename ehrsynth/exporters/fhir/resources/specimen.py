"""Specimen: what laboratory results were made of, where the name of the test says it."""

from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.exporters.fhir.datatypes import US_CORE, make_concept
from ehrsynth.exporters.fhir.orders import specimens
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Link, Time

__all__ = ["SPECIMEN"]


@lru_cache(maxsize=1)
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/specimens.json")
    return facts


SPECIMEN = Resource(
    type="Specimen",
    table="observation",
    key="specimen_key",
    kind="specimen",
    derived=True,
    rows=specimens,
    profile=US_CORE + "us-core-specimen",
    elements={
        "status": "available",
        "type": Each(("specimen_kind",), lambda kind: make_concept(_facts()["system"], **_facts()["types"][kind])),
        "subject": Link("patient"),
        "request": [Link("laboratory_order", "order_key", derived=True)],
        "collection": {"collectedDateTime": Time("effective_datetime", "time_precision")},
    },
)
