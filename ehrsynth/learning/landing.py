"""How far into the record and to what age the next visit falls, besides what the state says.

Follow-up ends for all alike, and some visits are due at an age: at two, four and six months.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.binned import age_days
from ehrsynth.learning.families import FarPosteriors, StatePosterior, each, thinned
from ehrsynth.learning.steps import beyond_chance
from ehrsynth.probability.histogram import Histogram

__all__ = ["learn_landing"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MOST_ROWS = 100_000
_ROUNDS = 8
_STRENGTH = 5.0
_CAUTION = 4.0
"""Times the variance by chance that a pair of bands of age must be off by."""
_LEAST, _MOST = 1e-3, 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gaps:
    """Visits that another follows.

    Attributes
    ----------
    start, landing : int64[2, n]
        Bands of the days since the first visit and of age: of the visit, and of the next.
    cell : int16[2, n, D + A - 1]
        Bands of each piece of time, in order.
    chance : float32[n, D + A - 1]
        That the next visit lies in it, by the gaps of the states alone.
    people : tuple of int64[D * D], int64[A * A]
        Distinct people of each pair of bands.
    visits : int
    """

    start: Ints
    landing: Ints
    cell: npt.NDArray[np.int16]
    chance: npt.NDArray[np.floating[Any]]
    people: tuple[Ints, ...]
    visits: int

    def __len__(self) -> int:
        return len(self.chance)


def learn_landing(
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    gap: Doubles,
    days: Histogram,
    edges: tuple[Ints, Ints],
    *,
    n_visits: int,
    min_patients: int,
) -> tuple[Doubles, Doubles]:
    """Return what multiplies the chance of a gap by the bands it leads from and to, at most 1.

    float64[D, D] by days since the first visit, and float64[A, A] by age. Gaps of states alone lead as far late in a
    record as early, beyond where anybody is followed, and past the birthdays at which visits are due. Under these
    weights as many next visits fall into each band as observed (iterative proportional fitting), drawn to what the
    states say.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    gap : float64[Q, B]
    days : Histogram
        Of the gaps, with B coarse bins.
    edges : (int64[D], int64[A])
        First day of each band: since the first visit, and of age.
    n_visits : int
        Of all chunks. Of very many, every so manieth chunk is read.
    min_patients : int
        Of pairs of bands of fewer people it is known only that they are few.
    """
    sizes = [len(one) for one in edges]
    nothing = np.ones((1, 1)), np.ones((1, 1))
    if max(sizes) == 1:
        return nothing
    weight = np.asarray(days.weight)
    cell = gap[:, days.coarse] * (weight / np.bincount(days.coarse, weights=weight)[days.coarse])
    running = np.concatenate([np.zeros((len(gap), 1)), np.cumsum(cell, axis=1)], axis=1).T
    parts = thinned(each(posteriors, partial(_chunk, running=running, days=days, edges=edges)), _MOST_ROWS, n_visits)
    if not any(map(len, parts)):
        return nothing
    start, landing, cells = (
        np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("start", "landing", "cell")
    )
    chance = np.concatenate([part.chance for part in parts])
    pairs = [start[k][:, None] * sizes[k] + cells[k] for k in range(2)]
    people = [sum((part.people[k] for part in parts[1:]), parts[0].people[k]).astype(np.float64) for k in range(2)]
    seen = [np.bincount(start[k] * d + landing[k], minlength=d * d).astype(np.float64) for k, d in enumerate(sizes)]
    result: list[Doubles] = [np.ones(d * d) for d in sizes]
    target: list[Doubles] = [np.zeros(0), np.zeros(0)]
    for _ in range(_ROUNDS):
        for k, d in enumerate(sizes):
            moved = chance * result[0][pairs[0]] * result[1][pairs[1]]
            moved /= np.maximum(moved.sum(axis=1, keepdims=True), 1e-12)
            expected = np.bincount(pairs[k].reshape(-1), moved.reshape(-1), d * d).astype(np.float64)
            if not len(target[k]):
                seen[k] = np.where(people[k] < min_patients, np.minimum(expected, min_patients / 2), seen[k])
                if k == 0:
                    target[k] = expected * (seen[k] + _STRENGTH) / (expected + _STRENGTH)
                else:
                    # Few people are no evidence for a birthday, and of many pairs of bands some are off by chance.
                    error, noise = np.log((seen[k] + 0.5) / (expected + 0.5)), _CAUTION / (people[k] + 0.5)
                    target[k] = expected * np.exp(beyond_chance(error, noise))
            result[k] = np.clip(result[k] * ((target[k] + 1e-6) / (expected + 1e-6)), _LEAST, _MOST)
    by_days, by_age = (one.reshape(d, d) for one, d in zip(result, sizes, strict=True))
    return by_days / by_days.max(axis=1, keepdims=True), by_age / by_age.max(axis=1, keepdims=True)


def _chunk(chunk: StatePosterior, running: Doubles, days: Histogram, edges: tuple[Ints, Ints]) -> _Gaps:
    """Return the gaps of some patients."""
    timelines = chunk.timelines
    known = np.flatnonzero(timelines.gap_days >= 0)
    gap = timelines.gap_days[known].astype(np.int64)
    since = [timelines.elapsed_days[known].astype(np.int64), age_days(timelines)[known]]
    weight = chunk.gamma[known] / np.maximum(chunk.gamma[known].sum(axis=1, keepdims=True), 1e-12)
    low, width = np.asarray(days.edges[:-1], dtype=np.int64), np.diff(days.edges)
    start, landing = (
        np.stack([np.searchsorted(of, at + more, side="right") - 1 for of, at in zip(edges, since, strict=True)])
        for more in (0, gap)
    )
    # Where bands of either kind begin, as days from the visit, in order.
    cut = np.concatenate([of[None, 1:] - at[:, None] for of, at in zip(edges, since, strict=True)], axis=1)
    order = np.argsort(cut, axis=1, kind="stable")
    until = np.take_along_axis(cut, order, axis=1)
    of_days = order < len(edges[0]) - 1
    first = np.zeros((len(known), 1), dtype=np.int64)
    cell = np.stack([np.concatenate([first, np.cumsum(mine, axis=1)], axis=1) for mine in (of_days, ~of_days)])
    below = np.ones((len(known), until.shape[1] + 2))
    below[:, 0] = 0.0
    for k in range(until.shape[1]):
        # P(gap < until): whole cells, and a part of the one that the edge cuts.
        at = np.clip(np.searchsorted(days.edges, until[:, k], side="right") - 1, 0, len(low) - 1)
        part = np.clip((until[:, k] - low[at]) / width[at], 0.0, 1.0)[:, None]
        below[:, k + 1] = (weight * (running[at] * (1.0 - part) + running[at + 1] * part)).sum(axis=1)
    below = np.maximum.accumulate(below, axis=1)
    owner = timelines.patient_of_visit[known]
    return _Gaps(
        start=start,
        landing=landing,
        cell=cell.astype(np.int16),
        chance=np.diff(below, axis=1).astype(np.float32),
        people=tuple(
            distinct_patients(start[k] * len(of) + landing[k], owner, len(of) ** 2) for k, of in enumerate(edges)
        ),
        visits=timelines.n_visits,
    )
