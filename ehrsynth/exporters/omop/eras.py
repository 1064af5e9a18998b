"""Eras: the spans in which a person had a condition or took an ingredient, by OHDSI's published definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["WINDOW_DAYS", "Spans", "eras", "expand"]

WINDOW_DAYS = 30
"""How many days may lie between the end of one occurrence and the start of the next within one era."""

Ints = npt.NDArray[np.int64]


class Spans(NamedTuple):
    """Eras, sorted by person and concept; all arrays of shape (n,).

    `occurrences` is how many an era has, `gap_days` how many of its days lie between them.
    """

    person: Ints
    concept: Ints
    start: Ints
    end: Ints
    occurrences: Ints
    gap_days: Ints


def eras(person: Ints, concept: Ints, start: Ints, end: Ints, *, window_days: int = WINDOW_DAYS) -> Spans:
    """Return the eras of occurrences.

    Occurrences of the same person and concept are of one era where no more than `window_days` lie between the latest
    end so far and the next start (OHDSI, conventions of DRUG_ERA and CONDITION_ERA).

    Parameters
    ----------
    person, concept : int64 arrays, shape (n,)
    start, end : int64 arrays, shape (n,), days
        ``start <= end``.
    """
    order = np.lexsort((end, start, concept, person))
    person, concept, start, end = person[order], concept[order], start[order], end[order]
    first, apart = _breaks(person, concept, start, end, window_days)
    if not len(person):
        return Spans(person, concept, start, end, start.copy(), start.copy())
    group = np.flatnonzero(first)
    latest = np.maximum.reduceat(end, group)
    count = np.diff(np.append(group, len(person)))
    # Days of exposure: of the spans that remain when only what overlaps or touches is merged.
    inner = np.flatnonzero(apart)
    exposed = np.maximum.reduceat(end, inner) - start[inner]
    covered = np.add.reduceat(exposed, np.searchsorted(inner, group))
    return Spans(person[group], concept[group], start[group], latest, count, latest - start[group] - covered)


def _breaks(
    person: Ints, concept: Ints, start: Ints, end: Ints, window_days: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which occurrences begin an era, and which a span of it that nothing before overlaps."""
    n = len(person)
    new = np.ones(n, dtype=bool)
    new[1:] = (person[1:] != person[:-1]) | (concept[1:] != concept[:-1])
    if not n:
        return new, new
    # The running latest end within a group: groups are lifted above each other, so that one running maximum serves all.
    low, high = int(start.min()), int(end.max())
    lift = np.cumsum(new) * np.int64(high - low + 1)
    latest = np.maximum.accumulate(end - low + lift) - lift + low
    gap = np.zeros(n, dtype=np.int64)
    gap[1:] = start[1:] - latest[:-1]
    return new | (gap > window_days), new | (gap > 0)


def expand(concept: Ints, parts: Mapping[int, tuple[int, ...]]) -> tuple[Ints, Ints]:
    """Return, for drugs and what is in them, the row of each (drug, part) and the part; unknown drugs drop out."""
    known, index = np.unique(concept, return_inverse=True)
    lists = [parts.get(int(one), ()) for one in known]
    sizes = np.array([len(one) for one in lists], dtype=np.int64)[index]
    rows = np.repeat(np.arange(len(concept)), sizes)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    flat = np.array([part for one in lists for part in one], dtype=np.int64)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows, flat[offsets[index[rows]] + within] if len(rows) else flat[:0]
