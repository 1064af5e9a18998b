"""Validation: conformance, completeness and plausibility of anybody's records.

`validate` looks at what is there and checks it; `CHECKS` lists every check by its stable name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ehrsynth.validation.issue import Issue, ValidationReport

if TYPE_CHECKING:
    from ehrsynth.validation.checks import CHECKS, Check, CheckInfo
    from ehrsynth.validation.front_door import merge, validate, validate_all

__all__ = ["CHECKS", "Check", "CheckInfo", "Issue", "ValidationReport", "merge", "validate", "validate_all"]

_HOMES = {
    "CHECKS": "checks",
    "Check": "checks",
    "CheckInfo": "checks",
    "merge": "front_door",
    "validate": "front_door",
    "validate_all": "front_door",
}


def __getattr__(name: str) -> Any:
    # Late: the verbs import this package, and most of them validate nothing.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
