"""How a series goes on: whether another visit follows, after how many days, and on whose day."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.series_following import YEARS, sums
from ehrsynth.learning.series_visits import Items, events_of, observed
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import histogram_of
from ehrsynth.model.series import FAR_DAYS, neighbours
from ehrsynth.probability.histogram import Histogram

__all__ = ["Following", "learn_following"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

MOST = 200
"""Visits of a series that are told apart by number."""

KINDS = 6
"""Numbers of visits that days to the next one are told apart by."""

_BINS, _AGES, _CELLS = 10, 4, 128
_STRENGTH, _PRIOR, _ROUNDS = 4.0, 0.5, 40
_STOPS = 0.05
"""Share of who stops to begin with: where nobody is watched for long, a series is taken to go on."""


@dataclass(frozen=True, kw_only=True)
class Following:
    """See `ehrsynth.model.series.Series`."""

    stop: Doubles
    age_edges: list[Ints]
    gap_days: list[Histogram]
    gap: list[Doubles]
    oldest_days: Ints
    reach_days: Ints
    joins: Doubles


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """From one visit of an item to its next.

    Age in days, number of the visit, days from the one before (-1: none), to the next (-1), and to the end.
    """

    item: Ints
    patient: Ints
    age: Ints
    number: Ints
    before: Ints
    after: Ints
    watched: Ints

    @classmethod
    def of(cls, timelines: Timelines, items: Items) -> _Steps:
        events = events_of(timelines, items)
        _, end, _ = observed(timelines, items)
        same = events.later
        first = np.flatnonzero(~same)
        number = np.arange(len(same)) - np.repeat(first, np.diff(np.append(first, len(same)))) + 1
        before = np.full(len(same), -1, dtype=np.int64)
        before[1:][same[1:]] = np.diff(events.age)[same[1:]]
        after = np.full(len(same), -1, dtype=np.int64)
        after[:-1][same[1:]] = before[1:][same[1:]]
        return cls(
            item=events.item,
            patient=events.patient,
            age=events.age,
            number=number,
            before=before,
            after=after,
            watched=end[events.patient] - events.age,
        )


def _days(timelines: Timelines, items: Items) -> list[Any]:
    """Return days to the next visit and ages of each item, and people by their last year [I, Y]."""
    events = events_of(timelines, items)
    steps = _Steps.of(timelines, items)
    known = [
        KnownValues.of(values[mine], steps.patient[mine])
        for values in (steps.after, steps.age)
        for mine in (np.flatnonzero(steps.item == i) for i in range(len(items)))
    ]
    last = np.flatnonzero(steps.after < 0)
    year = np.minimum(events.age[last] // 365, YEARS - 1)
    oldest = np.bincount(events.item[last] * YEARS + year, minlength=len(items) * YEARS).reshape(-1, YEARS)
    return [*known, oldest]


def _near(timelines: Timelines, items: Items, reach: Ints) -> Ints:
    """Return the events of each item that are on the day of another's, and those that are near one, int64[2, I]."""
    events = events_of(timelines, items)
    first, second = neighbours(events.patient, events.age, events.item, reach)
    joined = events.age[first] == events.age[second]
    return np.stack(
        [
            np.bincount(np.concatenate((events.item[first[which]], events.item[second[which]])), minlength=len(items))
            for which in (joined, np.ones(len(first), dtype=bool))
        ]
    )


def _counts(timelines: Timelines, items: Items, days: list[Histogram | None], edges: list[Ints]) -> list[Doubles]:
    """Return of each item visits by number, band of age, bin before, and bin of the next or of the days watched.

    float64[2, N, A, B + 1, B + 1]; the last bin is of days beyond all.
    """
    steps = _Steps.of(timelines, items)
    found = []
    for i, one in enumerate(days):
        mine = np.flatnonzero(steps.item == i)
        n_bins = 1 if one is None else one.n_coarse
        shape = (2, MOST, len(edges[i]), n_bins + 1, n_bins + 1)
        if one is None:
            before = to = np.zeros(len(mine), dtype=np.int64)
        else:
            before = np.where(steps.before[mine] < 0, 0, one.coarse_of(np.maximum(steps.before[mine], 0)) + 1)
            to = one.coarse_of(np.where(steps.after[mine] < 0, steps.watched[mine], steps.after[mine]))
            to = np.where((steps.after[mine] < 0) & (steps.watched[mine] >= one.edges[-1]), n_bins, to)
        number = np.minimum(steps.number[mine], MOST) - 1
        band = np.maximum(np.searchsorted(edges[i], steps.age[mine], side="right") - 1, 0)
        key = np.ravel_multi_index(((steps.after[mine] < 0).astype(np.int64), number, band, before, to), shape)
        weight = timelines.weight[steps.patient[mine]]
        found.append(np.bincount(key, weight, int(np.prod(shape))).astype(np.float64).reshape(shape))
    return found


def learn_following(cohort: Cohort, items: Items, min_patients: int) -> Following:
    """Return how each item goes on, in the order of the items."""
    n = len(items)
    *known, oldest = sums(cohort, partial(_days, items=items))
    days = [histogram_of(one, min_patients=min_patients, n_coarse=_BINS, n_fine=_CELLS) for one in known[:n]]
    ages = [histogram_of(one, min_patients=min_patients, n_coarse=_AGES, n_fine=_CELLS) for one in known[n:]]
    edges = [np.zeros(1, dtype=np.int64) if one is None else one.coarse_edges[:-1] for one in ages]
    reach = np.array([FAR_DAYS if one is None else one.middle // 2 for one in days], dtype=np.int64)
    near = cohort.total(partial(_near, items=items, reach=reach))
    counts = sums(cohort, partial(_counts, items=items, days=days, edges=edges))
    # Of whose days between visits too few people tell comes once.
    laws = [_law(count * (one is not None), min_patients) for count, one in zip(counts, days, strict=True)]
    numbers, bands = max(len(stop) for stop, _ in laws), max(len(one) for one in edges)
    # Who is as old as few are has no further visit: the year after the last that enough people reached.
    reached = np.cumsum(oldest[:, ::-1], axis=1)[:, ::-1] >= min_patients
    last = np.where(reached.any(axis=1), YEARS - reached[:, ::-1].argmax(axis=1), 1)
    one_day = Histogram(edges=np.array([1, 2]), coarse=np.array([0]), weight=np.array([1.0]))
    return Following(
        stop=np.array(
            [np.pad(one, ((0, numbers - len(one)), (0, bands - one.shape[1])), mode="edge") for one, _ in laws]
        ),
        age_edges=edges,
        gap_days=[one_day if one is None else one for one in days],
        gap=[gap for _, gap in laws],
        oldest_days=last.astype(np.int64) * 365,
        reach_days=reach,
        joins=near[0] / np.maximum(near[1], 1),
    )


def _law(counts: Doubles, min_patients: int) -> tuple[Doubles, Doubles]:
    """Return P(stop | number, age) [N, A] and P(bin | number, age, bin before) [M, A, B + 1, B] of one item.

    Who is watched for some days without another visit may have stopped, or the next one is still to come: a cure
    model (Boag 1949, "Maximum likelihood estimates of the proportion of patients cured by cancer therapy"), by EM.
    """
    went, ended = counts
    risk = (went + ended).sum(axis=(1, 2, 3))
    if not went.any():
        shape = (1, *went.shape[1:-1], went.shape[-1] - 1)
        return np.ones((1, counts.shape[2])), np.full(shape, 1.0 / shape[-1])
    # Numbers that few reach are one.
    n = max(int((risk >= min_patients).sum()), 1)
    went, ended = (np.concatenate((one[: n - 1], one[n - 1 :].sum(axis=0, keepdims=True))) for one in (went, ended))
    kind = np.minimum(np.arange(n), KINDS - 1)
    ended, cured, went = ended[..., :-1], ended[..., -1], went[..., :-1]
    stop, gap = np.full(went.shape[:2], _STOPS), _gaps(went, kind)
    total = (went + ended).sum(axis=(2, 3)) + cured.sum(axis=2)
    for _ in range(_ROUNDS):
        table = gap[kind]
        # Half of the bin that the days watched end in is still to come.
        beyond = np.cumsum(table[..., ::-1], axis=-1)[..., ::-1] - table / 2
        stays = (1.0 - stop)[:, :, None, None] * beyond
        waiting = ended * stays / np.maximum(stop[:, :, None, None] + stays, 1e-300)
        stopped = (ended - waiting).sum(axis=(2, 3)) + cured.sum(axis=2)
        overall = stopped.sum() / total.sum()
        of_number = (stopped.sum(axis=1) + _PRIOR * overall) / (total.sum(axis=1) + _PRIOR)
        stop = (stopped + _STRENGTH * of_number[:, None]) / (total + _STRENGTH)
        # What is still to come comes in the bins beyond.
        share = waiting / np.maximum(beyond, 1e-12)
        gap = _gaps(went + table * (np.cumsum(share, axis=-1) - share / 2), kind)
    return stop, gap


def _gaps(counts: Doubles, kind: Ints) -> Doubles:
    """Return P(bin | number, age, bin before), drawn to fewer and fewer of these."""
    by_kind = np.zeros((int(kind[-1]) + 1, *counts.shape[1:]))
    np.add.at(by_kind, kind, counts)
    overall = (by_kind.sum(axis=(0, 1, 2)) + 1e-9) / (by_kind.sum() + 1e-9 * by_kind.shape[-1])
    of_number = _drawn(by_kind.sum(axis=(1, 2)), overall)
    of_before = _drawn(by_kind.sum(axis=1), of_number[:, None, :])
    return _drawn(by_kind, of_before[:, None, :, :])


def _drawn(counts: Doubles, to: Doubles) -> Doubles:
    result: Doubles = counts + _STRENGTH * to
    result /= result.sum(axis=-1, keepdims=True)
    return result
