"""Goal: what is to be reached in a chronic condition, where a guideline names a number."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import UCUM, US_CORE, make_concept
from ehrsynth.exporters.fhir.goals import goal_facts, with_goals
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Link, Text, Time

__all__ = ["GOAL"]


def _measure(number: int) -> dict[str, Any] | None:
    goal = goal_facts()["goals"][number]
    return make_concept(goal_facts()["system"], goal["code"], goal["display"])


def _description(number: int) -> dict[str, Any] | None:
    goal, made = goal_facts()["goals"][number], _measure(number)
    return made and made | {"text": f"{made['text']} below {goal['below']} {goal['unit']}"}


def _below(number: int) -> dict[str, Any]:
    goal = goal_facts()["goals"][number]
    return {"value": goal["below"], "comparator": "<", "unit": goal["unit"], "system": UCUM, "code": goal["unit"]}


GOAL = Resource(
    type="Goal",
    table="condition",
    kind="goal",
    derived=True,
    rows=with_goals,
    profile=US_CORE + "us-core-goal",
    elements={
        "lifecycleStatus": Text("goal_status"),
        "description": Each(("goal",), _description),
        "subject": Link("patient"),
        "startDate": Time("begun"),
        "target": [
            {
                "measure": Each(("goal",), _measure),
                "detailQuantity": Each(("goal",), _below),
                "dueDate": Time("due"),
            }
        ],
        "expressedBy": Link("practitioner", "carer_id"),
        "addresses": [Link("condition", "condition_id")],
    },
)
