"""ServiceRequest: the order behind laboratory results, and behind a procedure."""

from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, fixed_concept, make_concept, period
from ehrsynth.exporters.fhir.joins import has_value, joined, with_columns
from ehrsynth.exporters.fhir.orders import LOINC, laboratory_orders
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each, First, When, compile_template
from ehrsynth.exporters.fhir.values import Link, Time

__all__ = ["LABORATORY_ORDER", "PROCEDURE_ORDER"]

SNOMED = "http://snomed.info/sct"
PROFILE = US_CORE + "us-core-servicerequest"
REQUESTER = First(
    (Link("practitioner"), Link("practitioner", "encounter_practitioner_id"), Link("organization", "organization_id"))
)


def _test(
    one_test: bool, code: str | None, system: str | None, display: str | None, panel: str | None
) -> dict[str, Any] | None:
    """The test, if one alone was ordered, or the panel that its tests tell; else that laboratory work was."""
    if one_test:
        return make_concept(system, code, display)
    return make_concept(LOINC, panel) if panel else make_concept(SNOMED, "108252007", "Laboratory procedure")


LABORATORY_ORDER = Resource(
    type="ServiceRequest",
    table="observation",
    key="order_key",
    kind="laboratory_order",
    derived=True,
    rows=laboratory_orders,
    profile=PROFILE,
    elements={
        "status": "completed",
        "intent": "order",
        "category": [fixed_concept(SNOMED, "108252007", "Laboratory procedure")],
        "code": Each(("one_test", "code", "code_system", "display", "panel_code"), _test),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "occurrenceDateTime": Time("effective_datetime", "time_precision"),
        "authoredOn": Time("effective_datetime", "time_precision"),
        "requester": REQUESTER,
        "reasonReference": [Link("condition", "reason_condition_id")],
    },
)


def _procedures(source: Source) -> pa.Table:
    rows = source["procedure"]
    names = {"organization_id": "organization_id", "encounter_practitioner_id": "practitioner_id"}
    found = {
        ours: joined(rows["encounter_id"], source["encounter"], "encounter_id", name) for ours, name in names.items()
    }
    return with_columns(rows, ended=pa.array(has_value(rows["end_datetime"])), **found)


PROCEDURE_ORDER = Resource(
    type="ServiceRequest",
    table="procedure",
    key="procedure_id",
    kind="procedure_order",
    derived=True,
    rows=_procedures,
    profile=PROFILE,
    elements={
        # The tables know what was done, not what was asked for in vain.
        "status": "completed",
        "intent": "order",
        "code": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "occurrenceDateTime": When("ended", (False,), Time("start_datetime", "time_precision")),
        "occurrencePeriod": When(
            "ended", (True,), compile_template(period("start_datetime", "end_datetime", "time_precision"))
        ),
        "authoredOn": Time("start_datetime", "time_precision"),
        "requester": REQUESTER,
        "reasonReference": [Link("condition", "reason_condition_id")],
    },
)
