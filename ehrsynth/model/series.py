"""What is given or done at visits of its own: vaccinations, courses of treatment, renewals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.histogram import Histogram

__all__ = [
    "BESIDE_DAYS",
    "EVEN",
    "FAR_DAYS",
    "FIRST_YEAR",
    "LONG_BEFORE",
    "Rates",
    "Series",
    "beside",
    "day_key",
    "evenness",
    "near_days",
    "neighbours",
]

Int = npt.NDArray[np.integer[Any]]
Float = npt.NDArray[np.floating[Any]]


_NEAR_SHARE, _NEAR_DAYS = 0.04, 14


def near_days(age_days: npt.NDArray[np.int64], reach_days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many days apart visits of different items may be that are moved to one day.

    Less in the first years of life than later, and not beyond what the items reach.
    """
    return np.minimum(np.maximum((age_days * _NEAR_SHARE).astype(np.int64), _NEAR_DAYS), reach_days)


BESIDE_DAYS = 21
"""A visit of a series within so many days after another visit may be because of that."""

FIRST_YEAR = 365
"""Days; whose record begins in them is watched from birth."""

FAR_DAYS = 36_500
"""As far as anything reaches."""

LONG_BEFORE = 2 * 365
"""Who had what an item follows so many days before anybody begins is as if not."""

EVEN = 0.5
"""An item with so large a share of its visits at one distance keeps its days, but the first."""

_FARTHER = 3
"""So many times as far a visit is moved to be soon after one that it is because of."""

_FAR = 1 << 32
"""More days than anything lies from any day that is counted from."""


def day_key(patient: npt.NDArray[np.int64], day: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return patients and days, of age or of the calendar, as numbers in the order of patients and then of days."""
    return patient * _FAR + day


def evenness(gap_days: Sequence[Histogram]) -> npt.NDArray[np.float64]:
    """Return the share of the commonest days between the visits of each item; see `EVEN`."""
    return np.array([one.weight.max() / one.weight.sum() for one in gap_days])


def neighbours(
    patient: npt.NDArray[np.int64], age: npt.NDArray[np.int64], item: npt.NDArray[np.int64], reach_days: Int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of visits of different items that follow one another and are near, earlier and later.

    Parameters
    ----------
    patient, age, item : int64[m]
        Of visits of series, in any order.
    reach_days : int64[I]
        Of the items.
    """
    order = np.lexsort((item, age, patient))
    first, second = order[:-1], order[1:]
    reach = np.minimum(reach_days[item[first]], reach_days[item[second]]).astype(np.int64)
    near = (patient[first] == patient[second]) & (item[first] != item[second])
    near &= age[second] - age[first] <= near_days(age[second], reach)
    return first[near], second[near]


def beside(
    patient: npt.NDArray[np.int64],
    age: npt.NDArray[np.int64],
    reach: npt.NDArray[np.int64],
    visit_patient: npt.NDArray[np.int64],
    visit_age: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the days since the nearest of other visits (negative: it comes later), and whether it is in reach.

    Parameters
    ----------
    patient, age, reach : int64[m]
        Of visits of series: whose, days of age, and days that they may be moved.
    visit_patient, visit_age : int64[k]
        Of the other visits, in any order.
    """
    at = np.sort(day_key(visit_patient, visit_age))
    none = np.full(len(patient), _FAR)
    if not len(at):
        return none, np.zeros(len(patient), dtype=bool)
    key = day_key(patient, age)
    place = np.searchsorted(at, key, side="left")
    before, later = at[np.maximum(place - 1, 0)], at[np.minimum(place, len(at) - 1)]
    since = np.where((place > 0) & (before // _FAR == patient), key - before, _FAR)
    until = np.where((place < len(at)) & (later // _FAR == patient), later - key, _FAR)
    # One shortly before is what it would be because of.
    days = np.where((since <= BESIDE_DAYS) | (since <= until), since, -until)
    return days, np.abs(days) <= _FARTHER * reach


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates per day over cells of days, of many items one after the other.

    The cells of item i are ``edges[j] <= day < edges[j + 1]`` for j from ``offsets[i]`` to ``offsets[i + 1] - 2``;
    outside them nothing begins. Each cell with a rate stands for at least `min_patients` people.

    Attributes
    ----------
    offsets : int64 [I + 1]
    edges : int64 [m]
        Ascending within an item.
    rate : float64 [m]
        Per day, of who has not begun; that of the last edge of an item is 0.
    """

    offsets: Int
    edges: Int
    rate: Float

    def of(self, item: int) -> tuple[Int, Float]:
        """Return the edges of an item's cells, int64[n + 1], and their rates, float64[n]; both empty without cells."""
        low, high = int(self.offsets[item]), int(self.offsets[item + 1])
        return self.edges[low:high], self.rate[low : max(high - 1, low)]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Visits at which something is given or done and nothing is found, as recurrent events beside the chain of visits.

    Each of the I items is a code (and what always comes with it) that has a first time and then goes on or not: the
    gap-time model of Prentice, Williams and Peterson (1981), "On the regression analysis of multivariate failure time
    data", Biometrika 68. The first time is by age and by time before the end of the record (an age-period model:
    vaccines are for an age, and exist since a year); or, for who has had what it follows, by the days since then. Each
    next one comes with a chance that depends on how many there were, after days that depend on that and on the days
    before.

    Attributes
    ----------
    code : int32 [I]
        The code of each item, numbered through all families in the order of the model. Items come after those they
        follow.
    with_item, with_code : int32 [m]
        Other codes that come with an item.
    with_share : float64 [m]
        In what share of its visits.
    start : Rates
        Rate of the first time by days of age, of who has not had `after`.
    back_edges : int64 [P]
        First day of each band of the days before the end of the record; from 0.
    period : float64 [I, P]
        Multiplies the rate by that band.
    sex : float64 [I, S]
        Multiplies the rate by sex.
    after : int32 [I]
        Code that an item follows, as above; -1: none.
    delay : Rates
        Rate of the first time by days since the first visit with `after`.
    age_edges : tuple of int64 [A_i]
        First day of age of each band that going on depends on, by item.
    stop : float64 [I, N, A]
        P(no further visit | it was the n-th, band of the age then), n = 1..N (the last: N or more).
    gap_days : tuple of Histogram
        Days from one visit of an item to the next, I of them.
    gap : tuple of float64 [M, A_i, B + 1, B]
        P(bin of these days | n-th visit, M: M or more; band of the age; bin of the days before, 0: none, b + 1: bin b).
    youngest_days, oldest_days : int64 [I]
        No visit of an item at a younger, or an older, age in days.
    reach_days : int64 [I]
        Half the usual days between its visits: no visit is moved farther.
    joins : float64 [I]
        P(a visit is moved to the day of another item's that is near).
    beside : int32 [k]
        Codes, numbered as above, after whose visits series are caught up with.
    beside_days : Histogram
        Days after such a visit.
    beside_joins : float64 [I]
        P(a visit is moved to soon after such a visit that is near).
    from_birth : float64 [A]
        P(the record begins at birth | band of the age at the first other visit); `band_days` has their first days.
    band_days : int64 [A]
    to_end : float64 [T]
        P(a person is followed to the end of the record | band of the days from the last other visit to it); `left_days`
        has their first days. Who dies is followed to death.
    left_days : int64 [T]
    lead_days, tail_days : Histogram
        How many days before the first of the other visits records begin that do not begin at birth, and how many after
        the last those end that are not followed to the end.
    encounter_class : float64 [I, E]
        P(class | item).
    encounter_type : float64 [E, n]
        P(type | class), as in `Trajectory`; n = 0 where none is known.
    stay_minutes, start_minutes : Histogram
    stay : float64 [E, L]
        P(bin of minutes | class).
    stay_known : float64 [E]
    start_minute : float64 [E, H]
        P(bin of the minute of the day | class).
    """

    code: Int
    with_item: Int
    with_code: Int
    with_share: Float
    start: Rates
    back_edges: Int
    period: Float
    sex: Float
    after: Int
    delay: Rates
    age_edges: tuple[Int, ...]
    stop: Float
    gap_days: tuple[Histogram, ...]
    gap: tuple[Float, ...]
    youngest_days: Int
    oldest_days: Int
    reach_days: Int
    joins: Float
    beside: Int
    beside_days: Histogram
    beside_joins: Float
    from_birth: Float
    band_days: Int
    to_end: Float
    left_days: Int
    lead_days: Histogram
    tail_days: Histogram
    encounter_class: Float
    encounter_type: Float
    stay_minutes: Histogram
    start_minutes: Histogram
    stay: Float
    stay_known: Float
    start_minute: Float

    def __len__(self) -> int:
        return len(self.code)
