"""Readers, exporters, checks and metrics by name, through entry points: ours and strangers' alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ehrsynth.errors import UsageError

__all__ = ["GROUPS", "load", "names", "nearest"]

GROUPS = ("ehrsynth.readers", "ehrsynth.exporters", "ehrsynth.checks", "ehrsynth.metrics")
"""The entry-point groups ehrsynth looks in."""


@lru_cache(maxsize=8)
def _group(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def names(group: str) -> list[str]:
    """Return the sorted names registered in `group`."""
    return list(_group(group))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint sentence: the near names if there are any, else all of them."""
    choices = list(choices)
    near = difflib.get_close_matches(word.lower(), choices, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    return f"Known: {', '.join(choices) or 'none'}."


def load(group: str, name: str) -> Any:
    """Import and return the object registered as `name` in `group`.

    Raises
    ------
    UsageError
        Nothing is registered under that name; near names are suggested.
    """
    points = _group(group)
    if name not in points:
        kind = group.removeprefix("ehrsynth.").removesuffix("s")
        raise UsageError(f"There is no {kind} {name!r}.", hint=nearest(name, points))
    return points[name].load()
