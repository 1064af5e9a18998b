"""What each series follows: codes that its people have had before it, much more often than others of their age."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.series_visits import Events, Items, age_days, events_of, observed
from ehrsynth.probability.ragged import ranges

__all__ = ["NEVER", "TIMES_FEWEST", "YEARS", "SeriesPeople", "first_events", "followed", "sums"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

NEVER = int(np.iinfo(np.int64).max // 2)
"""An age in days beyond all."""

_AGES = np.concatenate((np.arange(0, 2, 0.25), np.arange(2, 20), np.arange(20, 100, 5)))
_MIDDLES = ((_AGES[:-1] + _AGES[1:]) / 2 * 365.25).astype(np.int64)

_FOLLOWS = 0.5
"""Share of an item's people, at least, who have had what it follows."""

_EVIDENCE = 20.0
"""Nats by which what an item follows must be commoner among its people than among others of their age."""

TIMES_FEWEST = 4
"""People of whom first and last ages are told, in units of the fewest that anything is told of."""

YEARS = 126
"""Years of age that anything is counted in."""


def sums(cohort: Cohort, function: Any) -> Any:
    """Return the sum over the parts of lists of things that can be added."""
    return cohort.total(partial(_listed, function=function)).items


@dataclass(frozen=True, eq=False)
class _Listed:
    items: list[Any]

    def __add__(self, other: _Listed) -> _Listed:
        return _Listed([one + another for one, another in zip(self.items, other.items, strict=True)])


def _listed(timelines: Timelines, function: Any) -> _Listed:
    return _Listed(list(function(timelines)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesPeople:
    """Patients of a part, and when they first had each code: by patient, with offsets."""

    entry: Ints
    end: Ints
    clock: Ints
    sex: Ints
    weight: Doubles
    offsets: Ints
    code: Ints
    age: Ints

    @classmethod
    def of(cls, timelines: Timelines, items: Items) -> SeriesPeople:
        """Read them from timelines."""
        union = timelines.families[UNION]
        patient = timelines.patient_of_visit[union.visits]
        keys, place = np.unique(patient * union.n_codes + union.codes, return_index=True)
        owner, code = np.divmod(keys, union.n_codes)
        entry, end, clock = observed(timelines, items)
        return cls(
            entry=entry,
            end=end,
            clock=clock,
            sex=timelines.person["sex"].index.astype(np.int64),
            weight=timelines.weight,
            offsets=np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=timelines.n_patients)))),
            code=code,
            age=age_days(timelines)[union.visits[place]],
        )

    def first(self, code: int) -> Ints:
        """Return the age in days at which each patient first had a code; beyond all ages for who never had."""
        result = np.full(len(self.end), NEVER)
        mine = np.flatnonzero(self.code == code)
        result[np.searchsorted(self.offsets, mine, side="right") - 1] = self.age[mine]
        return result


def first_events(events: Events) -> tuple[Ints, Ints, Ints]:
    """Return (item, patient, age) of the first visit of each series of each patient."""
    first = ~events.later
    return events.item[first], events.patient[first], events.age[first]


def _company(timelines: Timelines, items: Items) -> list[Any]:
    """Return counts of people.

    Who have had each code by age [C, G] and all [1, G], who began by age [I, G], who had which code before [I, C], and
    who began by year of age [I, Y].
    """
    people, n_codes, n_items, n_ages = SeriesPeople.of(timelines, items), len(items.item_of), len(items), len(_MIDDLES)
    owner = np.repeat(np.arange(len(people.end)), np.diff(people.offsets))
    had = _between(people.age, people.end[owner], people.code, n_codes)
    seen = _between(people.entry, people.end, np.zeros(len(people.end), dtype=np.int64), 1)
    item, patient, age = first_events(events_of(timelines, items))
    band = np.clip(np.searchsorted(_AGES[1:-1] * 365.25, age, side="right"), 0, n_ages - 1)
    began = np.bincount(item * n_ages + band, minlength=n_items * n_ages).reshape(n_items, n_ages)
    lengths = np.diff(people.offsets)[patient]
    place = ranges(people.offsets[patient], lengths)
    event = np.repeat(np.arange(len(item)), lengths)
    earlier = people.age[place] <= age[event]
    key = item[event[earlier]] * n_codes + people.code[place[earlier]]
    year = np.bincount(item * YEARS + np.minimum(age // 365, YEARS - 1), minlength=n_items * YEARS)
    before = np.bincount(key, minlength=n_items * n_codes).reshape(n_items, n_codes)
    return [had, seen, began, before, year.reshape(n_items, YEARS)]


def _between(low: Ints, high: Ints, row: Ints, n_rows: int) -> Ints:
    """Return of how many each middle of an age lies between `low` and `high`, by row, int64[n_rows, G]."""
    n = len(_MIDDLES)
    first, stop = np.searchsorted(_MIDDLES, low), np.searchsorted(_MIDDLES, high, side="right")
    some = first < stop
    shape = (n_rows, n + 1)
    opened = np.bincount(row[some] * (n + 1) + first[some], minlength=n_rows * (n + 1)).reshape(shape)
    closed = np.bincount(row[some] * (n + 1) + stop[some], minlength=n_rows * (n + 1)).reshape(shape)
    result: Ints = np.cumsum(opened - closed, axis=1)[:, :-1]
    return result


def followed(cohort: Cohort, items: Items, min_patients: int) -> tuple[Ints, Ints]:
    """Return the code that each item follows, -1 for none, and the first day of age on which it begins.

    It follows what its people have had much more often than others of their age. Nobody begins in years of age before
    that by which enough people have; of few people that says nothing.
    """
    had, seen, began, before, year = sums(cohort, partial(_company, items=items))
    enough = np.cumsum(year, axis=1) >= min_patients
    told = year.sum(axis=1) >= TIMES_FEWEST * min_patients
    youngest = np.where(told, enough.argmax(axis=1), 0) * 365
    share = had / np.maximum(seen, 1)
    hoped = began @ share.T
    total = began.sum(axis=1, keepdims=True).astype(np.float64)
    hoped = np.clip(hoped, 0.5, np.maximum(total - 0.5, 0.5))
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = total - before
        gain = np.where(before > 0, before * np.log(before / hoped), 0.0)
        gain += np.where(rest > 0, rest * np.log(rest / np.maximum(total - hoped, 0.5)), 0.0)
    gain[(before <= hoped) | (before < _FOLLOWS * total)] = 0.0
    own = items.item_of >= 0
    gain[items.item_of[None, :] == np.arange(len(items))[:, None]] = 0.0
    best = gain.argmax(axis=1)
    found = gain.max(axis=1) > _EVIDENCE
    # What follows another series must not be followed by it: series that follow none come first.
    behind = found & own[best]
    again = behind & behind[np.maximum(items.item_of[best], 0)]
    outside = np.where(own[None, :], 0.0, gain)
    best[again] = outside[again].argmax(axis=1)
    found[again] = outside[again].max(axis=1) > _EVIDENCE
    return np.where(found, best, -1), youngest.astype(np.int64)
