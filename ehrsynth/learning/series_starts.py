"""When a series begins: by age and period, or by the days since what it follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.series_following import NEVER, SeriesPeople, first_events, followed, sums
from ehrsynth.learning.series_visits import Items, events_of
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import BACK_EDGES, histogram_of
from ehrsynth.model.series import LONG_BEFORE, Rates
from ehrsynth.probability.histogram import Histogram
from ehrsynth.probability.lexis import exposure
from ehrsynth.probability.ragged import starts

__all__ = ["Starts", "learn_starts"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_CELLS, _ROUNDS, _PRIOR, _CERTAIN = 96, 30, 1.0, 0.9995


@dataclass(frozen=True, kw_only=True)
class Starts:
    """See `ehrsynth.model.series.Series`."""

    order: Ints
    start: Rates
    period: Doubles
    sex: Doubles
    after: Ints
    youngest: Ints
    delay: Rates


@dataclass(frozen=True, kw_only=True, eq=False)
class _Risk:
    """Of one item: until when each patient is at risk by age, from and until when by delay, and who began in which."""

    until: Ints
    began: Ints
    since: Ints
    to: Ints
    began_after: Ints
    watched: Ints


def _risk(people: SeriesPeople, start: Ints, followed: Ints | None) -> _Risk:
    """Return the risk; `start` is the age at the first visit, `followed` that of what it follows (beyond: never)."""
    never = np.full(len(start), NEVER)
    since = never if followed is None else followed
    after = (since <= start) & (start <= people.end)
    until = np.minimum(np.minimum(people.end, start), since)
    return _Risk(
        until=until,
        began=np.flatnonzero((start <= people.end) & ~after),
        since=since,
        to=np.minimum(people.end, start),
        began_after=np.flatnonzero(after),
        watched=people.end,
    )


def _risks(timelines: Timelines, items: Items, after: Ints, youngest: Ints) -> Any:
    people = SeriesPeople.of(timelines, items)
    item, patient, age = first_events(events_of(timelines, items))
    for i in range(len(items)):
        start = np.full(timelines.n_patients, NEVER)
        mine = item == i
        start[patient[mine]] = age[mine]
        followed = None
        if after[i] >= 0:
            # Who had it long before anybody begins is not at risk.
            followed = people.first(int(after[i]))
            followed = np.where(followed < youngest[i] - LONG_BEFORE, NEVER, followed)
        yield people, start, _risk(people, start, followed)


def _days(timelines: Timelines, items: Items, after: Ints, youngest: Ints) -> list[KnownValues]:
    """Return the ages at which items begin, and the delays, of each item."""
    ages, delays = [], []
    for _, start, risk in _risks(timelines, items, after, youngest):
        ages.append(KnownValues.of(start[risk.began], risk.began))
        waited = start[risk.began_after] - risk.since[risk.began_after]
        delays.append(KnownValues.of(waited, risk.began_after))
    return ages + delays


def _counts(
    timelines: Timelines,
    items: Items,
    after: Ints,
    youngest: Ints,
    ages: list[Histogram | None],
    delays: list[Histogram | None],
) -> list[Doubles]:
    """Return, of each item: who began and the days at risk by sex, age and period [2, S, F, P]; and by delay [2, D]."""
    n_sexes = len(timelines.person["sex"].labels)
    of_age: list[Doubles] = []
    of_delay: list[Doubles] = []
    for i, (people, start, risk) in enumerate(_risks(timelines, items, after, youngest)):
        of_age.append(np.zeros((2, n_sexes, 0, len(BACK_EDGES))))
        of_delay.append(np.zeros((2, 0)))
        cells, waits = ages[i], delays[i]
        if cells is not None:
            shape = (n_sexes, len(cells.weight), len(BACK_EDGES))
            mine = risk.began
            cell = _cell(cells, start[mine])
            band = np.searchsorted(BACK_EDGES, people.clock[mine] - start[mine], side="right") - 1
            key = np.ravel_multi_index((people.sex[mine], cell, band), shape)
            began = np.bincount(key, people.weight[mine], int(np.prod(shape))).reshape(shape)
            until = _whole(cells.edges, start, mine, risk.until, np.minimum(risk.watched, risk.since))
            days = exposure(
                people.entry, until, people.clock, people.sex, people.weight, n_sexes, cells.edges, BACK_EDGES
            )
            of_age[-1] = np.stack([began, days])
        if waits is not None:
            mine = risk.began_after
            waited = start[mine] - risk.since[mine]
            began = np.bincount(_cell(waits, waited), people.weight[mine], len(waits.weight))
            there = np.flatnonzero(risk.since <= risk.to)
            to = _whole(
                waits.edges,
                start - np.minimum(risk.since, start),
                mine,
                risk.to - risk.since,
                risk.watched - risk.since,
            )
            longest = to[there]
            inside = np.clip(longest[:, None] - waits.edges[None, :-1] + 1, 0, np.diff(waits.edges)[None, :])
            of_delay[-1] = np.stack([began, (inside * people.weight[there, None]).sum(axis=0)])
    return of_age + of_delay


def _whole(edges: Ints, start: Ints, began: Ints, until: Ints, most: Ints) -> Ints:
    """Return the last days at risk; of who began, that of the cell, at most `most`: what counts is P(begin in a cell).

    Where nearly all begin within a cell, days at risk up to then would make a rate that lets many by.
    """
    result = until.copy()
    place = np.clip(np.searchsorted(edges, start[began], side="right"), 0, len(edges) - 1)
    result[began] = np.maximum(until[began], np.minimum(edges[place] - 1, most[began]))
    return result


def _rates(chance: Doubles, width: Ints) -> Doubles:
    """Return the rates per day at which so many, of those at risk, begin in cells of so many days."""
    result: Doubles = -np.log1p(-np.minimum(chance, _CERTAIN)) / width
    return result


def _cell(cells: Histogram, days: Ints) -> Ints:
    """Return the cell of each day: the one before, where it lies in a cell of no weight."""
    place = np.clip(np.searchsorted(cells.edges, days, side="right") - 1, 0, len(cells.weight) - 1)
    full = np.flatnonzero(cells.weight > 0)
    result: Ints = full[np.maximum(np.searchsorted(full, place, side="right") - 1, 0)]
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class _Law:
    """How one item begins, and how well that tells when it did: log-likelihood less half a log of people by number."""

    edges: Ints
    rate: Doubles
    period: Doubles
    sex: Doubles
    delays: Ints
    delay_rate: Doubles
    score: float


def _laws(cohort: Cohort, items: Items, after: Ints, youngest: Ints, min_patients: int) -> list[_Law]:
    n = len(items)
    known = sums(cohort, partial(_days, items=items, after=after, youngest=youngest))
    cells = [histogram_of(one, min_patients=min_patients, n_coarse=1, n_fine=_CELLS) for one in known]
    counts = sums(
        cohort, partial(_counts, items=items, after=after, youngest=youngest, ages=cells[:n], delays=cells[n:])
    )
    return [_law(cells[i], counts[i], cells[n + i], counts[n + i], min_patients) for i in range(n)]


def _law(
    ages: Histogram | None, of_age: Doubles, waits: Histogram | None, of_delay: Doubles, min_patients: int
) -> _Law:
    nothing = np.zeros(0, dtype=np.int64)
    period, sex, rate = np.ones(len(BACK_EDGES)), np.ones(of_age.shape[1]), np.zeros(0)
    score, n_numbers, people = 0.0, 0, float(of_age[0].sum() + of_delay[0].sum())
    if ages is not None:
        rate, period, sex = age_period(of_age[0], of_age[1], min_patients)
        told = np.einsum("f,p,s->sfp", rate, period, sex)
        score += float((of_age[0] * np.log(np.maximum(told, 1e-300))).sum() - (told * of_age[1]).sum())
        rate = _rates(rate * np.diff(ages.edges), np.diff(ages.edges))
        n_numbers += int((rate > 0).sum()) + len(np.unique(period))
    after = of_delay[0] / np.maximum(of_delay[1], 1.0)
    if waits is not None:
        score += float((of_delay[0] * np.log(np.maximum(after, 1e-300))).sum() - (after * of_delay[1]).sum())
        n_numbers += int((after > 0).sum())
        after = _rates(after * np.diff(waits.edges), np.diff(waits.edges))
    return _Law(
        edges=nothing if ages is None else ages.edges,
        rate=rate,
        period=period,
        sex=sex,
        delays=nothing if waits is None else waits.edges,
        delay_rate=after,
        score=score - 0.5 * n_numbers * float(np.log(max(people, 2.0))),
    )


def learn_starts(cohort: Cohort, items: Items, min_patients: int) -> Starts:
    """Return when series begin. Items are put in the order of `Starts.order`: what follows a series comes after it."""
    after, youngest = followed(cohort, items, min_patients)
    alone = _laws(cohort, items, np.full(len(items), -1), youngest, min_patients)
    behind = _laws(cohort, items, after, youngest, min_patients)
    # People of an age have much in common that does not lead to anything: what is followed must tell more than age.
    better = np.array([one.score > other.score for one, other in zip(behind, alone, strict=True)])
    after = np.where(better, after, -1)
    laws = [one if good else other for one, other, good in zip(behind, alone, better.tolist(), strict=True)]
    order = np.argsort((after >= 0) * 1 + (items.item_of[np.maximum(after, 0)] >= 0) * (after >= 0), kind="stable")
    return Starts(
        order=order,
        start=_ragged([laws[i].edges for i in order], [laws[i].rate for i in order]),
        period=np.array([laws[i].period for i in order]),
        sex=np.array([laws[i].sex for i in order]),
        after=after[order],
        youngest=youngest[order],
        delay=_ragged([laws[i].delays for i in order], [laws[i].delay_rate for i in order]),
    )


def _ragged(edges: list[Ints], rates: list[Doubles]) -> Rates:
    lengths = np.array([len(one) for one in edges])
    closed = [np.append(one, 0.0) if len(one) else one for one in rates]
    return Rates(
        offsets=np.append(starts(lengths), lengths.sum()).astype(np.int64),
        edges=np.concatenate(edges).astype(np.int64),
        rate=np.concatenate(closed),
    )


def age_period(began: Doubles, days: Doubles, min_patients: int) -> tuple[Doubles, Doubles, Doubles]:
    """Return rates by age [F], and their factors by period [P] and by sex [S].

    The maximum likelihood of the product of the three (Clayton and Schifflers 1987, "Models for temporal variation in
    cancer rates. I", Statistics in Medicine 6). Periods with fewer than `min_patients` who began are one with those
    after, so that none of them stands for few people.

    Parameters
    ----------
    began, days : float64[S, F, P]
        Who began, and the days at risk.
    """
    group = _joined(began.sum(axis=(0, 1)), min_patients)
    n_groups = int(group[-1]) + 1
    period, sex = np.ones(began.shape[2]), np.ones(began.shape[0])
    by_age, by_sex = began.sum(axis=(0, 2)), began.sum(axis=(1, 2))
    by_group = np.bincount(group, began.sum(axis=(0, 1)), n_groups)
    for _ in range(_ROUNDS):
        rate = by_age / np.maximum(np.einsum("sfp,p,s->f", days, period, sex), 1e-9)
        hoped = np.bincount(group, np.einsum("sfp,f,s->p", days, rate, sex), n_groups)
        period = ((by_group + _PRIOR) / (hoped + _PRIOR))[group]
        period /= (period * began.sum(axis=(0, 1))).sum() / began.sum()
        hoped = np.einsum("sfp,f,p->s", days, rate, period)
        sex = (by_sex + _PRIOR * (by_sex > 0)) / (hoped + _PRIOR)
        sex /= (sex * by_sex).sum() / by_sex.sum()
    return by_age / np.maximum(np.einsum("sfp,p,s->f", days, period, sex), 1e-9), period, sex


def _joined(counts: Doubles, least: int) -> Ints:
    """Return the group of each band: bands of few are one with the next ones; those of none before them are another."""
    group = np.zeros(len(counts), dtype=np.int64)
    current, held = 0, 0.0
    for k in range(1, len(counts)):
        held += counts[k - 1]
        if held >= least or (held == 0 and counts[k] > 0):
            current, held = current + 1, 0.0
        group[k] = current
    return group
