"""Goals of chronic conditions: the number that a guideline names, where it names one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources
from ehrsynth.exporters.fhir.chronic import chronic_conditions
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["goal_facts", "with_goals"]

ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
REVIEW_DAYS = 365
"""A goal is due a year after its plan began: plans are reviewed once a year."""


@lru_cache(maxsize=1)
def goal_facts() -> dict[str, Any]:
    """Return the system and the goals, each with the beginnings of the codes that it is for."""
    facts: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/goals.json")
    return facts


@lru_cache(maxsize=1 << 14)
def _goal_of(system: str | None, code: str | None) -> int | None:
    if system != ICD_10_CM or code is None:
        return None
    found = (n for n, goal in enumerate(goal_facts()["goals"]) if code.startswith(tuple(goal["codes"])))
    return next(found, None)


def with_goals(source: Source) -> pa.Table:
    """Return the chronic conditions that have a goal: its number in `goal_facts` (``goal``), and when it is ``due``."""
    return source.once("goals", _rows)


def _rows(source: Source) -> pa.Table:
    rows = chronic_conditions(source)
    systems, codes = (whole(rows[name]).dictionary for name in ("code_system", "code"))
    table = [_goal_of(system, code) for system in systems.to_pylist() for code in codes.to_pylist()]
    at = pc.add(pc.multiply(whole(rows["code_system"]).indices, len(codes)), whole(rows["code"]).indices)
    goal = pa.array(table, pa.int32()).take(at)
    due = pc.add(whole(rows["begun"]).cast(pa.int32()), pa.scalar(REVIEW_DAYS, pa.int32())).cast(pa.date32())
    rows = with_columns(rows, goal=goal, due=due)
    return rows.filter(rows["goal"].is_valid()).combine_chunks()
