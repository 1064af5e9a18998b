"""Coverage: a period in which a payer pays for a patient."""

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import (
    ABSENT,
    US_CORE,
    concept_of,
    fixed_concept,
    period,
    source_identifier,
)
from ehrsynth.exporters.fhir.joins import joined, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import First, Instead, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Text

__all__ = ["COVERAGE"]

MEMBER = fixed_concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MB")


def _rows(source: Source) -> pa.Table:
    rows = source["coverage"]
    return with_columns(rows, payer_type_code=joined(rows["payer_id"], source["payer"], "payer_id", "payer_type_code"))


COVERAGE = Resource(
    type="Coverage",
    table="coverage",
    profile=US_CORE + "us-core-coverage",
    rows=_rows,
    elements={
        "identifier": [
            source_identifier("coverage_id", "coverage"),
            {"type": MEMBER, "system": "https://ehrsynth.example/member", "value": Text("member_id")},
            # us-core-15: the number of the member has to be there, if only to say that nobody knows it.
            Instead((Text("member_id"),), compile_template({"type": MEMBER, "_value": ABSENT})),
        ],
        "status": First((Code("status"), compile_template("active"))),
        "type": concept_of("https://nahdo.org/sopt", "payer_type_code"),
        "subscriberId": Text("member_id"),
        "beneficiary": Link("patient"),
        "relationship": First(
            (
                concept_of("http://terminology.hl7.org/CodeSystem/subscriber-relationship", "relationship_code"),
                fixed_concept("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown"),
            )
        ),
        "period": period("start_date", "end_date"),
        "payor": [Link("payer")],
    },
)
