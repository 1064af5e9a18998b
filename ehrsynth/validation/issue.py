"""One kind of finding with its count and an example, and the report they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CATEGORIES", "SEVERITIES", "Issue", "ValidationReport"]

SEVERITIES = ("error", "warning", "information")
CATEGORIES = ("conformance", "completeness", "plausibility")


@dataclass(frozen=True, kw_only=True)
class Issue:
    """What a check found, everywhere it found it.

    Attributes
    ----------
    severity : str
        error, warning or information.
    category : str
        conformance, completeness or plausibility (Kahn et al. 2016, as the OHDSI Data Quality Dashboard).
    check : str
        Stable machine name, kebab case: ``orphan-reference``.
    message : str
        One sentence, the same for all occurrences.
    place : str
        Table or resource type, and column or element: ``encounter.patient_id``, ``Observation.subject``.
    count : int
        How many rows or resources.
    example : str
        One of them: file and line or row, identifier, value.
    """

    severity: str
    category: str
    check: str
    message: str
    place: str
    count: int
    example: str


@dataclass(kw_only=True)
class ValidationReport:
    """What was looked at (`counts`: rows or resources by table or type; `checked`: by check) and found."""

    source: str
    format: str
    counts: Mapping[str, int] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    def worst(self) -> str | None:
        """The worst severity found, or None."""
        found = {issue.severity for issue in self.issues}
        return next((severity for severity in SEVERITIES if severity in found), None)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)
