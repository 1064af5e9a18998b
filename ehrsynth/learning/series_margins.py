"""How many people have each series, on whose days and until when: tried as whole records, moved to what was seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.series_visits import LOST_DAYS, Items, age_days, events_of, observed, taken, visits_with
from ehrsynth.learning.steps import FEWEST_PEOPLE, beyond_chance, blocks_to_draw, log_odds_error
from ehrsynth.model import PatientModel, Series
from ehrsynth.model.series import BESIDE_DAYS, Rates, beside
from ehrsynth.randomness import BLOCK_SIZE

if TYPE_CHECKING:
    from ehrsynth.generation.series import Course, Horizon

__all__ = ["with_series_margins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 0.8, 0.6, 0.4)
_LARGEST = 3.0
_FEW_MORE = 0.25
"""The variance of the log of the mean number of visits, in that of the log of the people: it varies less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """Additive counts.

    Attributes
    ----------
    people : float64[1]
    ever : float64[I]
        People who have each item.
    events, shared, soon : float64[I]
        Visits of each item, those on a day of another one, and those soon after a visit that they may be because of.
    left, stayed : float64[T]
        People by the days from the last other visit to the end of the record, and those who have a visit of any kind
        not long before it.
    """

    people: Doubles
    ever: Doubles
    events: Doubles
    shared: Doubles
    soon: Doubles
    left: Doubles
    stayed: Doubles

    def __add__(self, other: _Sums) -> _Sums:
        names = ("people", "ever", "events", "shared", "soon", "left", "stayed")
        return _Sums(**{name: getattr(self, name) + getattr(other, name) for name in names})


def _sums(
    patient: Ints,
    age: Ints,
    item: Ints,
    last: Ints,
    clock: Ints,
    weight: Doubles,
    n_items: int,
    bands: Ints,
    visits: tuple[Ints, Ints],
) -> _Sums:
    """Count; `patient`, `age` and `item` are of visits of series, `last` is the age at the last other visit.

    `visits` are the patients and ages of those that series may be because of.
    """
    order = np.lexsort((item, age, patient))
    patient, age, item = patient[order], age[order], item[order]
    day = np.cumsum(np.append(True, (patient[1:] != patient[:-1]) | (age[1:] != age[:-1]))[: len(patient)]) - 1
    shared = np.bincount(day)[day] > 1 if len(day) else np.zeros(0, dtype=bool)
    pair = np.unique(patient * n_items + item)
    owner, which = np.divmod(pair, n_items)
    latest = last.copy()
    np.maximum.at(latest, patient, age)
    band = np.searchsorted(bands, clock - last, side="right") - 1
    stays = clock - latest <= LOST_DAYS
    days, _ = beside(patient, age, np.zeros_like(age), *visits)
    soon = (days > 0) & (days <= BESIDE_DAYS)
    return _Sums(
        people=np.array([weight.sum()]),
        ever=_counted(which, weight[owner], n_items),
        events=np.bincount(item, minlength=n_items).astype(np.float64),
        shared=np.bincount(item[shared], minlength=n_items).astype(np.float64),
        soon=np.bincount(item[soon], minlength=n_items).astype(np.float64),
        left=_counted(band, weight, len(bands)),
        stayed=_counted(band[stays], weight[stays], len(bands)),
    )


def _counted(keys: Ints, weight: Doubles, n: int) -> Doubles:
    return np.bincount(keys, weight, n).astype(np.float64)


def _seen(timelines: Timelines, items: Items, place: Ints, bands: Ints, codes: Ints) -> _Sums:
    events = events_of(timelines, items)
    others = np.flatnonzero(~taken(timelines, items.item_of))
    age = age_days(timelines)
    last = np.zeros(timelines.n_patients, dtype=np.int64)
    np.maximum.at(last, timelines.patient_of_visit[others], age[others])
    _, _, clock = observed(timelines, items)
    visit = visits_with(timelines, items, codes)
    visits = timelines.patient_of_visit[visit], age[visit]
    return _sums(
        events.patient, events.age, place[events.item], last, clock, timelines.weight, len(items), bands, visits
    )


def _made(horizon: Horizon, course: Course, codes: Ints, bands: Ints) -> _Sums:
    """Count what was drawn; `codes` are those that lead the items."""
    item_of = np.full(int(max(codes.max(), course.code.max(initial=0))) + 1, -1, dtype=np.int64)
    item_of[codes] = np.arange(len(codes))
    mine = np.flatnonzero(item_of[course.code] >= 0)
    visit = course.visit[mine]
    return _sums(
        course.patient[visit],
        course.age[visit],
        item_of[course.code[mine]],
        horizon.last,
        horizon.clock,
        np.ones(len(horizon.last)),
        len(codes),
        bands,
        (horizon.beside_patient, horizon.beside_age),
    )


def with_series_margins(model: PatientModel, cohort: Cohort, items: Items, seed: int) -> PatientModel:
    """Return the model with series of as many people, as often on one day, and as far, as the source has.

    Parameters
    ----------
    model : PatientModel
        With series; of few people it is returned as it is.
    cohort : Cohort
        With all visits.
    items : Items
        Of the series.
    seed : int
    """
    from ehrsynth.generation.outline import CourseOutline

    series = model.series
    assert series is not None
    if cohort.n_patients < FEWEST_PEOPLE:
        return model
    codes, bands = np.asarray(series.code, dtype=np.int64), np.asarray(series.left_days, dtype=np.int64)
    place = np.empty(len(codes), dtype=np.int64)
    place[items.item_of[codes]] = np.arange(len(codes))
    seen = cohort.total(partial(_seen, items=items, place=place, bands=bands, codes=np.asarray(series.beside)))
    n_blocks = blocks_to_draw(cohort, 1)
    moved, longer = np.zeros((2, len(codes)))
    joins, soon, to_end = (
        np.log(one / (1 - one)) for one in map(_inside, (series.joins, series.beside_joins, series.to_end))
    )
    # What never waits for other visits has no chance to move.
    waits = np.asarray(series.beside_joins) > 0
    for round_, step in enumerate(_STEPS):
        outline = CourseOutline(model)
        made = None
        for block in range(round_ * n_blocks, (round_ + 1) * n_blocks):
            one = _made(*outline.draw(seed, block, purpose="learning/series/"), codes, bands)
            made = one if made is None else made + one
        assert made is not None
        share = seen.ever / seen.people
        error = np.log((share * n_blocks * BLOCK_SIZE + 1.0) / (made.ever + 1.0))
        noise = 1.0 / (seen.ever + 1.0) + 1.0 / (made.ever + 1.0)
        moved = np.clip(moved + step * beyond_chance(error, noise), -_LARGEST, _LARGEST)
        # As many visits for each of these: the odds of stopping are as the number is not.
        error = np.log((seen.events + 1.0) / (seen.ever + 1.0) * (made.ever + 1.0) / (made.events + 1.0))
        longer = np.clip(longer + step * beyond_chance(error, _FEW_MORE * noise), -_LARGEST, _LARGEST)
        joins = joins + step * log_odds_error((seen.events, seen.shared), (made.events, made.shared))
        soon = soon + step * log_odds_error((seen.events, seen.soon), (made.events, made.soon))
        to_end = to_end + step * log_odds_error((seen.left, seen.stayed), (made.left, made.stayed))
        model = replace(model, series=_moved(series, moved, longer, joins, np.where(waits, soon, -np.inf), to_end))
    return model


def _inside(share: npt.ArrayLike) -> Doubles:
    return np.clip(np.asarray(share, dtype=np.float64), 1e-3, 1.0 - 1e-3)


def _moved(
    series: Series, log_rate: Doubles, longer: Doubles, joins: Doubles, soon: Doubles, to_end: Doubles
) -> Series:
    stop = np.asarray(series.stop, dtype=np.float64)
    odds = stop * np.exp(-longer)[:, None, None]
    return replace(
        series,
        stop=odds / (1.0 - stop + odds),
        start=_times(series.start, log_rate),
        delay=_times(series.delay, log_rate),
        joins=1.0 / (1.0 + np.exp(-joins)),
        beside_joins=1.0 / (1.0 + np.exp(-soon)),
        to_end=1.0 / (1.0 + np.exp(-to_end)),
    )


def _times(rates: Rates, log_rate: Doubles) -> Rates:
    offsets = np.asarray(rates.offsets, dtype=np.int64)
    return replace(rates, rate=np.asarray(rates.rate) * np.exp(np.repeat(log_rate, offsets[1:] - offsets[:-1])))
