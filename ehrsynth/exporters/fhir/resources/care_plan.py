"""CarePlan: the care of a chronic condition, with the orders that were given for it."""

import html
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chronic import cared_for, chronic_conditions
from ehrsynth.exporters.fhir.datatypes import US_CORE, fixed_concept, make_concept
from ehrsynth.exporters.fhir.goals import with_goals
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each, Many, compile_template
from ehrsynth.exporters.fhir.values import Link, Text, Time

__all__ = ["CARE_PLAN"]


def _rows(source: Source) -> pa.Table:
    rows = chronic_conditions(source)
    there = pc.is_in(whole(rows["patient_id"]), whole(cared_for(source)["patient_id"]))
    goals = with_goals(source)
    has_goal = pc.is_in(whole(rows["condition_id"]), whole(goals["condition_id"]))
    return with_columns(
        rows,
        team_patient_id=pc.if_else(there, whole(rows["patient_id"]), None),
        goal_condition_id=pc.if_else(has_goal, whole(rows["condition_id"]), None),
    )


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"orders": source["medication_request"]}


def _title(code: str, system: str | None, display: str | None) -> str:
    made = make_concept(system, code, display) or {}
    return f"Care of {made.get('text', code)}"


def _narrative(code: str, system: str | None, display: str | None, status: str) -> dict[str, Any]:
    shown = html.escape(f"{_title(code, system, display)}: {status}")
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{shown}</p></div>'}


ORDER = compile_template({"reference": Link("medication_request")})
NAMED = ("code", "code_system", "display")

CARE_PLAN = Resource(
    type="CarePlan",
    table="condition",
    kind="care_plan",
    derived=True,
    rows=_rows,
    others=_others,
    profile=US_CORE + "us-core-careplan",
    elements={
        "text": Each((*NAMED, "plan_status"), _narrative),
        "status": Text("plan_status"),
        "intent": "plan",
        "category": [
            fixed_concept(
                "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
                "assess-plan",
                "Assessment and Plan of Treatment",
            )
        ],
        "title": Each(NAMED, _title),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "period": {"start": Time("begun"), "end": Time("ended")},
        "author": Link("practitioner", "carer_id"),
        "careTeam": [Link("care_team", "team_patient_id", derived=True)],
        "addresses": [Link("condition", "condition_id")],
        "goal": [Link("goal", "goal_condition_id", derived=True)],
        "activity": Many("orders", "reason_condition_id", "condition_id", ORDER),
    },
)
