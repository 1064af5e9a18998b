"""What the summaries of all models begin and end with: whose the model is, where it comes from, what was left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.patient_model import PatientModel

__all__ = ["Heading", "heading"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What every summary says."""

    name: str
    title: str
    description: str
    licence: str
    provenance: dict[str, Any]
    reference_date: str
    min_patients: int
    counts: dict[str, int]
    left_out: dict[str, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


def heading(model: PatientModel | LifeCourseModel, reference_date: str) -> dict[str, Any]:
    """Return the fields of a `Heading` by name."""
    disclosure = model.disclosure
    return {
        "name": model.name,
        "title": model.title,
        "description": model.description,
        "licence": model.licence,
        "provenance": model.provenance,
        "reference_date": reference_date,
        "min_patients": disclosure.min_patients,
        "counts": disclosure.counts,
        "left_out": disclosure.left_out,
        "notes": disclosure.notes,
    }
