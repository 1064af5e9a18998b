"""Procedure: what was done to a patient."""

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, concept, period, source_identifier
from ehrsynth.exporters.fhir.joins import has_value, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import When, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Time

__all__ = ["PROCEDURE"]

START = Time("start_datetime", "time_precision")


def _rows(source: Source) -> pa.Table:
    rows = source["procedure"]
    return with_columns(rows, ended=pa.array(has_value(rows["end_datetime"])))


PROCEDURE = Resource(
    type="Procedure",
    table="procedure",
    rows=_rows,
    profile=US_CORE + "us-core-procedure",
    elements={
        "identifier": [source_identifier("procedure_id", "procedure")],
        "basedOn": [Link("procedure_order", "procedure_id", derived=True)],
        "status": Code("status"),
        "code": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "performedDateTime": When("ended", (False,), START),
        # us-core-7: what was completed was done at some time.
        "_performedDateTime": When("ended", (False,), absent_without(START)),
        "performedPeriod": When(
            "ended", (True,), compile_template(period("start_datetime", "end_datetime", "time_precision"))
        ),
        "performer": [{"actor": Link("practitioner")}],
        "reasonReference": [Link("condition", "reason_condition_id")],
    },
)
