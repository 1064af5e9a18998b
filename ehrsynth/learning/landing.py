"""How far into the record the next visit falls, besides what the state says: follow-up ends for all alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.families import FarPosteriors, StatePosterior, each, thinned
from ehrsynth.probability.histogram import Histogram

__all__ = ["learn_landing"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MOST_ROWS = 200_000
_ROUNDS = 8
_STRENGTH = 5.0
_LEAST, _MOST = 1e-3, 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gaps:
    """Visits that another follows.

    Attributes
    ----------
    start, landing : int64[n]
        Band of the days since the first visit, and that of the next visit.
    chance : float32[n, D]
        Of each band of the next visit, by the gaps of the states alone.
    people : int64[D * D]
        Distinct people of each pair of bands.
    visits : int
    """

    start: Ints
    landing: Ints
    chance: npt.NDArray[np.floating[Any]]
    people: Ints
    visits: int

    def __len__(self) -> int:
        return len(self.start)


def learn_landing(
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    gap: Doubles,
    days: Histogram,
    edges: Ints,
    *,
    n_visits: int,
    min_patients: int,
) -> Doubles:
    """Return what multiplies the chance of a gap by the bands it leads from and to, float64[D, D], at most 1.

    Gaps of states alone lead as far late in a record as early, beyond where anybody is followed. Under these weights as
    many next visits fall into each band as observed (iterative proportional fitting), drawn to what the states say.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    gap : float64[Q, B]
    days : Histogram
        Of the gaps, with B coarse bins.
    edges : int64[D]
        First day of each band.
    n_visits : int
        Of all chunks. Of very many, every so manieth chunk is read.
    min_patients : int
        Of pairs of bands of fewer people it is known only that they are few.
    """
    d = len(edges)
    if d == 1:
        return np.ones((1, 1))
    weight = np.asarray(days.weight)
    cell = gap[:, days.coarse] * (weight / np.bincount(days.coarse, weights=weight)[days.coarse])
    running = np.concatenate([np.zeros((len(gap), 1)), np.cumsum(cell, axis=1)], axis=1).T
    parts = thinned(each(posteriors, partial(_chunk, running=running, days=days, edges=edges)), _MOST_ROWS, n_visits)
    if not any(map(len, parts)):
        return np.ones((1, 1))
    start, landing, chance = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("start", "landing", "chance")
    )
    people = sum((part.people for part in parts[1:]), parts[0].people).reshape(d, d)
    seen = np.bincount(start * d + landing, minlength=d * d).reshape(d, d).astype(np.float64)
    result, target = np.ones((d, d)), np.zeros((d, d))
    for round_ in range(_ROUNDS):
        moved = chance * result[start]
        moved /= np.maximum(moved.sum(axis=1, keepdims=True), 1e-12)
        expected = np.zeros((d, d))
        np.add.at(expected, start, moved)
        if not round_:
            seen = np.where(people < min_patients, np.minimum(expected, min_patients / 2), seen)
            target = expected * (seen + _STRENGTH) / (expected + _STRENGTH)
        result = np.clip(result * (target + 1e-6) / (expected + 1e-6), _LEAST, _MOST)
    return np.asarray(result / result.max(axis=1, keepdims=True))


def _chunk(chunk: StatePosterior, running: Doubles, days: Histogram, edges: Ints) -> _Gaps:
    """Return the gaps of some patients."""
    timelines, d = chunk.timelines, len(edges)
    known = np.flatnonzero(timelines.gap_days >= 0)
    elapsed, gap = timelines.elapsed_days[known], timelines.gap_days[known]
    start = np.searchsorted(edges, elapsed, side="right") - 1
    landing = np.searchsorted(edges, elapsed + gap, side="right") - 1
    weight = chunk.gamma[known] / np.maximum(chunk.gamma[known].sum(axis=1, keepdims=True), 1e-12)
    below = np.ones((len(known), d + 1))
    below[:, 0] = 0.0
    low, width = np.asarray(days.edges[:-1], dtype=np.int64), np.diff(days.edges)
    for band in range(1, d):
        # P(gap < edge - elapsed): whole cells, and a part of the one that the edge cuts.
        until = edges[band] - elapsed
        cell = np.clip(np.searchsorted(days.edges, until, side="right") - 1, 0, len(low) - 1)
        part = np.clip((until - low[cell]) / width[cell], 0.0, 1.0)[:, None]
        below[:, band] = (weight * (running[cell] * (1.0 - part) + running[cell + 1] * part)).sum(axis=1)
    below = np.maximum.accumulate(below, axis=1)
    return _Gaps(
        start=start.astype(np.int64),
        landing=landing.astype(np.int64),
        chance=np.diff(below, axis=1).astype(np.float32),
        people=distinct_patients(start * d + landing, timelines.patient_of_visit[known], d * d),
        visits=timelines.n_visits,
    )
