"""The codes of all tables as one family: what is found, given, done and measured in a visit goes together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding.timeline import FamilyTimeline, Timelines
from ehrsynth.model import EVERY_TABLE

__all__ = ["UNION", "unite"]

UNION = EVERY_TABLE
"""Name of the family of all codes."""


def unite(timelines: Timelines) -> Timelines:
    """Return the timelines with one more family, `UNION`: the codes of all families one after the other, in order.

    Of its rows nothing is kept: they are those of the tables. Without any family there is none.
    """
    families = list(timelines.families.values())
    if not families:
        return timelines
    n_visits = timelines.n_visits
    start = np.cumsum([0, *(family.n_codes for family in families)])
    visit = np.concatenate([family.visits for family in families])
    code = np.concatenate([family.codes + np.int32(first) for family, first in zip(families, start, strict=False)])
    counts = np.concatenate([family.counts for family in families])
    # Families follow each other, and each is sorted by visit: a stable sort by visit leaves codes ascending.
    order = np.argsort(visit, kind="stable")
    none32, none64 = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    union = FamilyTimeline(
        table=UNION,
        codings=tuple(coding for family in families for coding in family.codings),
        offsets=np.concatenate(([0], np.cumsum(np.bincount(visit, minlength=n_visits)))).astype(np.int64),
        codes=code[order].astype(np.int32),
        counts=counts[order],
        row_visit=none32,
        row_code=none32,
        row_index=none64,
        row_minutes=none64,
        row_days=none64,
        visit_codes=np.sum([family.visit_codes for family in families], axis=0, dtype=np.int32),
    )
    return replace(timelines, families={**timelines.families, UNION: union})
