"""Visits after which series are caught up with: the check-up after bronchitis, at which what is due is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.series_following import sums
from ehrsynth.learning.series_visits import Events, Items, age_days, events_of, observed, taken, visits_with
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import even_days, histogram_of
from ehrsynth.model.series import BESIDE_DAYS, EVEN, FAR_DAYS, beside, day_key, evenness, near_days
from ehrsynth.probability.histogram import Histogram

__all__ = ["Beside", "learn_beside"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_TIMES, _LEAST = 3.0, 50
"""After a visit with a code series come so many times as often as otherwise, and so many of them, at least."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """See `ehrsynth.model.series.Series`."""

    code: Ints
    days: Histogram
    joins: npt.NDArray[np.float64]


def _after(timelines: Timelines, items: Items, free: Bools) -> list[Any]:
    """Return visits of each code and visits of free series soon after them [2, C], and these and days in all [2]."""
    union: Any = timelines.families[UNION]
    others = ~taken(timelines, items.item_of)
    age, owner = age_days(timelines), timelines.patient_of_visit
    events = events_of(timelines, items)
    mine = _free(events, free)
    at = np.sort(day_key(events.patient[mine], events.age[mine]))
    entry = np.flatnonzero(others[union.visits] & ~items.apart[union.codes])
    visit, code = union.visits[entry], union.codes[entry]
    key = day_key(owner[visit], age[visit])
    soon = np.searchsorted(at, key + BESIDE_DAYS, side="right") - np.searchsorted(at, key, side="right")
    counts = [np.bincount(code, minlength=union.n_codes), np.bincount(code, soon, union.n_codes)]
    first, last, _ = observed(timelines, items)
    return [np.stack(counts), np.array([float(mine.sum()), float((last - first).sum())])]


def _free(events: Events, free: Bools) -> Bools:
    """Return which visits may wait: `free` says of which items the first ones and the later ones do, bool[2, I]."""
    return free[events.later.astype(np.int64), events.item]


def _joined(timelines: Timelines, items: Items, free: Bools, codes: Ints, reach: Ints) -> list[Any]:
    """Return days from such a visit to those of series soon after, and of each item these, and those near, [2, I]."""
    visit = visits_with(timelines, items, codes)
    events = events_of(timelines, items)
    mine = _free(events, free)
    item, patient, age = events.item[mine], events.patient[mine], events.age[mine]
    far = np.where(events.later[mine], reach[item], FAR_DAYS)
    days, near = beside(
        patient, age, near_days(age, far), timelines.patient_of_visit[visit], age_days(timelines)[visit]
    )
    soon = (days > 0) & (days <= BESIDE_DAYS)
    counts = [np.bincount(item[which], minlength=len(items)) for which in (soon, near | soon)]
    return [KnownValues.of(np.where(soon, days, -1), patient), np.stack(counts)]


def learn_beside(
    cohort: Cohort, items: Items, after: Ints, days: list[Histogram], reach: Ints, min_patients: int
) -> Beside:
    """Return after which codes series are caught up with, and how often each item is, in the order of the items.

    Parameters
    ----------
    cohort : Cohort
        With all visits.
    items : Items
    after : int64[I]
        What each item follows; what follows something waits for that.
    days : list of Histogram
        Days between the visits of each item.
    reach : int64[I]
        See `Series.reach_days`.
    min_patients : int
    """
    even = evenness(days) >= EVEN
    free = np.stack([after < 0, (after < 0) & ~even])
    counts, overall = sums(cohort, partial(_after, items=items, free=free))
    usual = overall[0] / max(overall[1], 1.0) * BESIDE_DAYS
    some = (counts[1] >= _LEAST) & (counts[1] >= _TIMES * usual * counts[0])
    codes = np.flatnonzero(some)
    nothing = Beside(code=codes[:0], days=even_days(1, 1), joins=np.zeros(len(items)))
    if not len(codes):
        return nothing
    known, joined = sums(cohort, partial(_joined, items=items, free=free, codes=codes, reach=reach))
    histogram = histogram_of(known, min_patients=min_patients, n_coarse=1, n_fine=32)
    if histogram is None:
        return nothing
    return Beside(code=codes, days=histogram, joins=joined[0] / np.maximum(joined[1], 1))
