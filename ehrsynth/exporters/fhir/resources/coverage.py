"""Coverage: a period in which a payer pays for a patient."""

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances
from ehrsynth.exporters.fhir.datatypes import (
    ABSENT,
    US_CORE,
    concept_of,
    fixed_concept,
    needing,
    period,
    source_identifier,
)
from ehrsynth.exporters.fhir.identity import fhir_ids
from ehrsynth.exporters.fhir.joins import joined, whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import First, Instead, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Text

__all__ = ["COVERAGE"]

CLASS = "http://terminology.hl7.org/CodeSystem/coverage-class"
MEMBER = fixed_concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MB")


def _rows(source: Source) -> pa.Table:
    """Coverages with their plan, which bears the payer's name, and of private insurance the group that it is taken in.

    Numbers of plans and groups are those of the payer's id: of synthetic records only.
    """
    rows, payers = source["coverage"], source["payer"]
    kinds = joined(rows["payer_id"], payers, "payer_id", "payer_type_code")
    ids = fhir_ids(whole(rows["payer_id"]), "payer")
    if not source.synthetic:
        ids = pa.nulls(len(rows), pa.string())
    grouped = pc.fill_null(
        pc.is_in(pc.utf8_slice_codeunits(kinds.cast(pa.string()), 0, 1), pa.array(["5", "6"])), False
    )
    member = chances(rows["coverage_id"], "coverage", "group")
    groups = pa.array([f"{1000 + int(number * 40)}" for number in member.tolist()], pa.string())
    return with_columns(
        rows,
        payer_type_code=kinds,
        plan_id=pc.utf8_slice_codeunits(ids, 0, 8),
        plan_name=pc.if_else(ids.is_valid(), joined(rows["payer_id"], payers, "payer_id", "name"), None),
        group_id=pc.if_else(pc.and_(grouped, ids.is_valid()), groups, None),
    )


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
        "class": [
            needing(
                {"type": fixed_concept(CLASS, "group", "Group"), "value": Text("group_id")},
                "value",
            ),
            needing(
                {"type": fixed_concept(CLASS, "plan", "Plan"), "value": Text("plan_id"), "name": Text("plan_name")},
                "value",
            ),
        ],
    },
)
