"""DiagnosticReport: the laboratory results of one order."""

from collections.abc import Mapping

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import (
    US_CORE,
    absent_without,
    derived_report,
    fixed_concept,
    needing,
    panel_identifier,
)
from ehrsynth.exporters.fhir.orders import laboratory_orders, laboratory_results, specimens
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import First, Many, When, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Time

__all__ = ["DIAGNOSTIC_REPORT"]

TIME = Time("effective_datetime", "time_precision")
INSTANT = When("time_precision", ("day",), TIME, unless=True)


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"results": laboratory_results(source), "specimens": specimens(source)}


DIAGNOSTIC_REPORT = Resource(
    type="DiagnosticReport",
    table="observation",
    key="order_key",
    kind="laboratory_panel",
    derived=True,
    rows=laboratory_orders,
    others=_others,
    profile=US_CORE + "us-core-diagnosticreport-lab",
    elements={
        "identifier": [First((needing(panel_identifier(), "value"), compile_template(derived_report())))],
        "basedOn": [Link("laboratory_order", "order_key", derived=True)],
        "status": Code("status"),
        "category": [fixed_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
        # The tables know which results belong together, not what the panel is called.
        "code": fixed_concept("http://loinc.org", "11502-2", "Laboratory report"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": TIME,
        "_effectiveDateTime": absent_without(TIME),
        # us-core-8 and 9 want both times of a final report. An instant has a time of day, which not every record knows.
        "issued": INSTANT,
        "_issued": absent_without(INSTANT),
        "performer": [Link("organization")],
        "specimen": Many("specimens", "order_key", "order_key", Link("specimen", "specimen_key", derived=True)),
        "result": Many("results", "order_key", "order_key", Link("observation")),
    },
)
