"""Draw what is given or done at visits of its own: first times by age, period or what they follow, then one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.segments import first_of_each
from ehrsynth.generation.trajectory import CellTable
from ehrsynth.model import PatientModel, Series
from ehrsynth.model.series import EVEN, FAR_DAYS, FIRST_YEAR, LONG_BEFORE, beside, evenness, near_days, neighbours
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.probability.lexis import segments

__all__ = ["NEVER", "Course", "Horizon", "SeriesSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

NEVER = int(np.iinfo(np.int64).max // 4)
"""An age in days beyond all."""

_YEAR = 365.2425
_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What the series of a block's people depend on.

    Attributes
    ----------
    sex : int64[n]
        Of the strata.
    limit : int64[n]
        0: any code, 1: female, 2: male, as `ehrsynth.terminology.sex_numbers` has it.
    first, last : int64[n]
        Ages in days at the first and last of the other visits.
    latest : int64[n]
        Last day of age on which anything can be: before death, and in the record.
    clock : int64[n]
        Age in days at the end of the record.
    dead : bool[n]
    beside_patient, beside_age : int64[k]
        Visits after which series are caught up with: whose, and the age in days.
    """

    sex: Int
    limit: Int
    first: Int
    last: Int
    latest: Int
    clock: Int
    dead: Bool
    beside_patient: Int
    beside_age: Int


@dataclass(frozen=True, kw_only=True)
class Course:
    """Visits of series: of a person on a day, by person and day, and the codes at them.

    Attributes
    ----------
    patient, age, item : int64[m]
        Index in the block, age in days, and the item that leads the visit.
    visit, code : int64[k]
        Of each code its visit and number through all families; by visit and code.
    """

    patient: Int
    age: Int
    item: Int
    visit: Int
    code: Int


class SeriesSampler:
    """The series of a model made ready for drawing many blocks."""

    def __init__(self, model: PatientModel) -> None:
        assert model.series is not None
        self._model = series = model.series
        joined = [
            np.concatenate([np.asarray(getattr(family, name)) for family in model.families])
            for name in ("sex_limit", "age_min", "age_max")
        ]
        code = np.asarray(series.code, dtype=np.int64)
        self._sex_limit = joined[0][code]
        # Completed years, to the day: an age in days of nobody who is not yet, or no longer, as old.
        youngest = np.ceil(joined[1][code] * _YEAR).astype(np.int64)
        self._youngest = np.maximum(youngest, np.asarray(series.youngest_days, dtype=np.int64))
        oldest = np.floor(np.minimum(joined[2][code] + 1, 200) * _YEAR).astype(np.int64) - 2
        self._oldest = np.minimum(oldest, np.asarray(series.oldest_days, dtype=np.int64))
        self._period = np.asarray(series.period, dtype=np.float64)
        self._sex = np.asarray(series.sex, dtype=np.float64)
        self._backs = np.asarray(series.back_edges, dtype=np.int64)
        self._after = np.asarray(series.after, dtype=np.int64)
        self._stop = np.asarray(series.stop, dtype=np.float64)
        self._gap = [_gaps(series, i) for i in range(len(series))]
        self._even = evenness(series.gap_days)
        self._reach = np.asarray(series.reach_days, dtype=np.int64)
        self._lead, self._tail = (CellTable(np.ones((1, 1)), days) for days in (series.lead_days, series.tail_days))

    def draw(self, horizon: Horizon, had: dict[int, Int], rng: np.random.Generator) -> Course:
        """Return the visits of series of a block.

        Parameters
        ----------
        horizon : Horizon
        had : mapping of code to int64[n]
            Of each code that an item follows, the age in days at which each person first had it; beyond all ages for
            who never has.
        rng : numpy.random.Generator
        """
        n = len(horizon.first)
        low, high = self._watched(horizon, rng)
        had = dict(had)
        people: list[Int] = []
        ages: list[Int] = []
        items: list[Int] = []
        for i in range(len(self._model)):
            after = int(self._after[i])
            followed = had.get(after, np.full(n, NEVER)) if after >= 0 else np.full(n, NEVER)
            start = self._start(i, horizon, low, high, followed, rng)
            begun = np.flatnonzero(start < NEVER)
            start[begun] = self._beside(horizon, high, begun, start[begun], np.full(len(begun), i), rng, first=True)
            code = int(self._model.code[i])
            who, age = self._going_on(i, start, high, rng)
            if len(who):
                first = np.full(n, NEVER)
                np.minimum.at(first, who, age)
                had[code] = np.minimum(had.get(code, np.full(n, NEVER)), first)
            people.append(who)
            ages.append(age)
            items.append(np.full(len(who), i))
        patient, age, item = _in_order(*(np.concatenate(one) for one in (people, ages, items)))
        # What comes at even distances goes on from its first visit; the others wait each time.
        later = np.flatnonzero(~first_of_each(item * len(low) + patient) & (self._even[item] < EVEN))
        age[later] = self._beside(horizon, high, patient[later], age[later], item[later], rng)
        age = self._together(patient, age, item, rng)
        return self._visits(patient, age, item, rng)

    @property
    def followed(self) -> list[int]:
        """The codes that items follow, numbered through all families."""
        return sorted({int(code) for code in self._after if code >= 0})

    @property
    def beside(self) -> list[int]:
        """The codes after whose visits series are caught up with, numbered through all families."""
        return [int(code) for code in self._model.beside]

    def _watched(self, horizon: Horizon, rng: np.random.Generator) -> tuple[Int, Int]:
        """Return the first and the last day of age on which each person's series are in the record."""
        n, model = len(horizon.first), self._model
        u = rng.random((6, n))
        band = np.searchsorted(np.asarray(model.band_days), horizon.first, side="right") - 1
        from_birth = (u[0] < np.asarray(model.from_birth)[band]) | (horizon.first < FIRST_YEAR)
        row = np.zeros(n, dtype=np.int64)
        lead, tail = self._lead.draw(row, u[1], u[2]), self._tail.draw(row, u[3], u[4])
        low = np.where(from_birth, 0, np.maximum(horizon.first - lead, 0))
        left = np.searchsorted(np.asarray(model.left_days), horizon.clock - horizon.last, side="right") - 1
        to_end = horizon.dead | (u[5] < np.asarray(model.to_end)[left])
        return low, np.where(to_end, horizon.latest, np.minimum(horizon.last + tail, horizon.latest))

    def _start(self, item: int, horizon: Horizon, low: Int, high: Int, followed: Int, rng: np.random.Generator) -> Int:
        """Return the age in days at the first visit of an item; beyond all ages for who has none."""
        n = len(low)
        limit = int(self._sex_limit[item])
        never = (limit > 0) & (horizon.limit > 0) & (horizon.limit != limit)
        start = np.full(n, NEVER)
        edges, rate = self._model.start.of(item)
        u = rng.random((4, n))
        u[0] = _spread(u[0], rng)
        # Who had what is followed long before anybody begins is as if not.
        followed = np.where(followed < self._youngest[item] - LONG_BEFORE, NEVER, followed)
        if len(rate):
            until = np.minimum(high, followed)
            first, days, cell, band = segments(
                low, until, horizon.clock, np.asarray(edges, dtype=np.int64), self._backs
            )
            rates = np.append(rate, 0.0)[cell] * self._period[item][band]
            rates[(cell < 0) | (days <= 0)] = 0.0
            rates *= self._sex[item][horizon.sex][:, None]
            mass = np.cumsum(rates * days, axis=1)
            threshold = -np.log1p(-u[0])
            place = (mass <= threshold[:, None]).sum(axis=1)
            begins = np.flatnonzero(place < mass.shape[1])
            at = place[begins]
            day = first[begins, at] + (u[1][begins] * days[begins, at]).astype(np.int64)
            start[begins] = day
        waits, delay = self._model.delay.of(item)
        if len(delay):
            waiting = np.flatnonzero((start >= NEVER) & (followed < high))
            mass = np.cumsum(delay * np.diff(waits))
            place = np.searchsorted(mass, -np.log1p(-_spread(u[2][waiting], rng)), side="right")
            comes = place < len(mass)
            waiting, place = waiting[comes], place[comes]
            width = np.diff(waits)[place]
            start[waiting] = followed[waiting] + waits[place] + (u[3][waiting] * width).astype(np.int64)
        out = never | (start > high) | (start < np.maximum(low, self._youngest[item])) | (start > self._oldest[item])
        return np.where(out, NEVER, start)

    def _going_on(self, item: int, start: Int, high: Int, rng: np.random.Generator) -> tuple[Int, Int]:
        """Return (person, age in days) of all visits of an item."""
        who = np.flatnonzero(start < NEVER)
        age = start[who]
        people, ages = [who], [age]
        stop, table, histogram = self._stop[item], *self._gap[item]
        edges = np.asarray(self._model.age_edges[item])
        before = np.zeros(len(who), dtype=np.int64)
        number = 1
        last = np.minimum(high, self._oldest[item])
        while len(who):
            u = rng.random((4, len(who)))
            band = np.maximum(np.searchsorted(edges, age, side="right") - 1, 0)
            goes = u[0] >= stop[min(number, len(stop)) - 1][band]
            kind = min(number, len(self._model.gap[item])) - 1
            row = (kind * len(edges) + band) * (histogram.n_coarse + 1) + before
            coarse = sample_rows(table, row, u[1])
            days = np.maximum(histogram.sample(coarse, u[2], u[3]), 1)
            age = age + days
            goes &= age <= last[who]
            who, age, before = who[goes], age[goes], coarse[goes] + 1
            people.append(who)
            ages.append(age)
            number += 1
        return np.concatenate(people), np.concatenate(ages)

    def _beside(
        self,
        horizon: Horizon,
        high: Int,
        patient: Int,
        age: Int,
        item: Int,
        rng: np.random.Generator,
        *,
        first: bool = False,
    ) -> Int:
        """Return the ages at the visits, some of them moved to soon after a visit that is near.

        First visits reach as far as their age allows: no other of the item is before them.
        """
        u = rng.random((3, len(age)))
        joins = np.asarray(self._model.beside_joins, dtype=np.float64)[item]
        reach = near_days(age, np.full(len(item), FAR_DAYS) if first else self._reach[item])
        days, near = beside(patient, age, reach, horizon.beside_patient, horizon.beside_age)
        soon = self._model.beside_days.sample(np.zeros(len(age), dtype=np.int64), u[1], u[2])
        day = age - days + soon
        fits = (day >= self._youngest[item]) & (day <= self._oldest[item]) & (day <= high[patient])
        return np.where(near & fits & (u[0] < joins), day, age)

    def _together(self, patient: Int, age: Int, item: Int, rng: np.random.Generator) -> Int:
        """Return the ages at the visits, some of them moved to the day of another item's that is near."""
        age = age.copy()
        first, second = neighbours(patient, age, item, self._reach)
        apart = age[first] < age[second]
        first, second = first[apart], second[apart]
        u = rng.random((2, len(first)))
        joins = np.asarray(self._model.joins, dtype=np.float64)
        moved = u[0] < (joins[item[first]] + joins[item[second]]) / 2
        first, second, coin = first[moved], second[moved], u[1][moved] < 0.5
        # What comes at even distances keeps its days; of two that do alike a coin says which moves.
        even = self._even[item[second]] - self._even[item[first]]
        later = np.where(even == 0, coin, even < 0)
        source, target = np.where(later, second, first), np.where(later, first, second)
        day = age[target]
        fits = (day >= self._youngest[item[source]]) & (day <= self._oldest[item[source]])
        age[source[fits]] = day[fits]
        return age

    def _visits(self, patient: Int, age: Int, item: Int, rng: np.random.Generator) -> Course:
        order = np.lexsort((item, age, patient))
        patient, age, item = patient[order], age[order], item[order]
        opens = np.ones(len(patient), dtype=bool)
        opens[1:] = (patient[1:] != patient[:-1]) | (age[1:] != age[:-1])
        visit = np.cumsum(opens) - 1
        code = np.asarray(self._model.code, dtype=np.int64)[item]
        visits, codes = [visit], [code]
        for which, other, share in zip(
            self._model.with_item, self._model.with_code, self._model.with_share, strict=True
        ):
            mine = visit[item == which]
            mine = mine[rng.random(len(mine)) < share]
            visits.append(mine)
            codes.append(np.full(len(mine), other, dtype=np.int64))
        visit, code = np.concatenate(visits), np.concatenate(codes)
        order = np.lexsort((code, visit))
        visit, code = visit[order], code[order]
        if len(visit):
            once = first_of_each(visit * (int(code.max()) + 1) + code)
            visit, code = visit[once], code[once]
        return Course(patient=patient[opens], age=age[opens], item=item[opens], visit=visit, code=code)


def _in_order(patient: Int, age: Int, item: Int) -> tuple[Int, Int, Int]:
    order = np.lexsort((age, patient, item))
    return patient[order], age[order], item[order]


def _spread(u: Float, rng: np.random.Generator) -> Float:
    """Return uniform numbers of which, of every 64 people, one is in each 64th part of 0..1, in random order.

    Each is uniform as before; of any people about as many begin a series as are to be expected (McKay, Beckman and
    Conover 1979, Latin hypercube sampling): a course of sixty visits of a few people would otherwise move all totals by
    chance.
    """
    group = np.arange(len(u)) // _TOGETHER
    order = np.lexsort((rng.random(len(u)), group))
    place = np.empty(len(u), dtype=np.int64)
    place[order] = np.arange(len(u))
    size = np.minimum(len(u) - group * _TOGETHER, _TOGETHER)
    return np.asarray((place - group * _TOGETHER + u) / size)


def _gaps(series: Series, item: int) -> tuple[Any, Any]:
    table = np.asarray(series.gap[item], dtype=np.float64)
    return cumulative(table.reshape(-1, table.shape[-1])), series.gap_days[item]
