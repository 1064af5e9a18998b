"""Other visits of the patients of parts that are elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from ehrsynth.encoding import Timelines
from ehrsynth.learning.apart import PartCohort, in_chunks
from ehrsynth.learning.rows import Part

__all__ = ["changed"]


def changed(cohort: PartCohort, function: Callable[[Timelines], Timelines], chunk_visits: int) -> PartCohort:
    """Return the patients with the visits that `function` makes of theirs, and with rows of observations only.

    They stay where they are.
    """
    parts = cohort.parts.map(partial(_changed, function=function))
    first, visits = {}, 0
    for patient, n_visits in parts.each(_size):
        first[patient] = visits
        visits += n_visits
    made = in_chunks(parts.map(partial(_numbered, first=first)), function(cohort.vocabulary), chunk_visits)
    parts.release()
    return made


def _changed(part: Part, function: Callable[[Timelines], Timelines]) -> Part:
    tables = {name: table for name, table in part.tables.items() if name == "observation"}
    return Part(timelines=function(part.timelines), tables=tables)


def _size(part: Part) -> tuple[int, int]:
    return part.timelines.first_patient, part.timelines.n_visits


def _numbered(part: Part, first: Mapping[int, int]) -> Part:
    visit = first[part.timelines.first_patient]
    return replace(part, timelines=replace(part.timelines, first_visit=visit))
