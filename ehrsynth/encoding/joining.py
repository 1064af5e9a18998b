"""Timelines of different patients put one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ehrsynth.encoding.timeline import OF_ROWS, FamilyTimeline, Timelines

__all__ = ["joined", "without_rows"]


def joined(parts: Sequence[Timelines]) -> Timelines:
    """Return the timelines of all parts, which have one vocabulary, in order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    whole = first.part(
        offsets=_offsets([part.offsets for part in parts]),
        patients=slice(0, 0),
        visits=slice(0, 0),
        families={name: _family([part.families[name] for part in parts]) for name in first.families},
    )
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray) and name != "offsets"
    }
    levels: dict[str, Any] = {
        name: replace(
            getattr(first, name), index=np.concatenate([getattr(part, name).index for part in parts], dtype=np.int32)
        )
        for name in ("encounter_class", "disposition", "admit_source", "encounter_type")
    }
    person = {
        name: replace(column, index=np.concatenate([part.person[name].index for part in parts], dtype=np.int32))
        for name, column in first.person.items()
    }
    return replace(whole, person=person, **arrays, **levels)


def without_rows(timelines: Timelines) -> Timelines:
    """Return timelines that have codes by visit and nothing of the rows they were in."""
    families = {}
    for name, family in timelines.families.items():
        none: dict[str, Any] = {one: getattr(family, one)[:0] for one in OF_ROWS}
        families[name] = replace(family, row_visit=family.row_visit[:0], **none)
    return replace(timelines, families=families)


def _offsets(parts: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    lengths = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _family(parts: Sequence[FamilyTimeline]) -> FamilyTimeline:
    start = np.cumsum([0, *(len(part.visit_codes) for part in parts)])
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("codes", "counts", "visit_codes", *OF_ROWS)
    }
    visit = [part.row_visit + np.int32(first) for part, first in zip(parts, start, strict=False)]
    return replace(
        parts[0],
        offsets=_offsets([part.offsets for part in parts]),
        row_visit=np.concatenate(visit).astype(np.int32),
        **arrays,
    )
