"""DiagnosticReport: the laboratory results of one order."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import (
    US_CORE,
    absent_without,
    derived_report,
    fixed_concept,
    make_concept,
    needing,
    panel_identifier,
)
from ehrsynth.exporters.fhir.orders import LOINC, laboratory_orders, laboratory_results, specimens
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each, First, Many, When, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Time

__all__ = ["DIAGNOSTIC_REPORT"]

TIME = Time("effective_datetime", "time_precision")
INSTANT = When("time_precision", ("day",), TIME, unless=True)


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"results": laboratory_results(source), "specimens": specimens(source)}


def _reported(
    one_test: bool, code: str | None, system: str | None, display: str | None, panel: str | None
) -> dict[str, Any] | None:
    """The test, if there was one alone, or the panel that its tests tell; else that it is a laboratory's report."""
    if one_test and system == LOINC:
        return make_concept(system, code, display)
    return make_concept(LOINC, panel) if panel else make_concept(LOINC, "11502-2", "Laboratory report")


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
        # The tables know which results belong together; what a panel is called, its tests tell.
        "code": Each(("one_test", "code", "code_system", "display", "panel_code"), _reported),
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
