"""Validation: conformance, completeness and plausibility of anybody's records."""

from ehrsynth.validation.issue import Issue, ValidationReport

__all__ = ["Issue", "ValidationReport"]
