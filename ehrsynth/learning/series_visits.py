"""Which visits are of a series: something is given or done at them, and nothing is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, FamilyTimeline, Timelines
from ehrsynth.encoding.encoder import DAYS_PER_YEAR
from ehrsynth.encoding.families import DONE
from ehrsynth.encoding.selection import DAY_MINUTES, select_visits
from ehrsynth.encoding.union import UNION, unite
from ehrsynth.learning.tallies import Tally
from ehrsynth.learning.times import days_to_end, last_day_of_all
from ehrsynth.model.series import FIRST_YEAR
from ehrsynth.model.trajectory import STAYS
from ehrsynth.probability.ragged import ranges, starts

__all__ = [
    "Events",
    "Items",
    "age_days",
    "choose_items",
    "events_of",
    "observed",
    "taken",
    "visits_with",
    "without_series",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOST_DAYS = 3 * 365
"""Who has no visit for so many days before the end may have died, or gone."""

_LEAST_SHARE, _LEAST_VISITS = 0.05, 200
"""Of all visits: where fewer are of a series, they stay in the chain."""

_MOST_ITEMS = 1.5
"""Items of a visit, on average: drawn apart from each other they would not come together as often."""

_WITHOUT_OTHERS = 0.02
"""Share of patients, at most, who have visits of series only."""

_TOGETHER = 0.9
"""A code in so large a share of the visits of another, and the other way round, comes with it."""

_WHOLE_LIVES = 0.5
"""Share of records that begin in the first year of life, from which on nobody is taken to have come later."""

_APART = 0.95
"""A code in so few other visits never belongs to these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """What comes in series.

    Attributes
    ----------
    code : int64[I]
        Leading code of each item among the codes of all families.
    item_of : int64[C]
        Item of each code; -1: none.
    together : mapping of (item, other code) to float
        In what share of the visits of the item the other code is.
    apart : bool[C]
        Codes that hardly ever are in other visits: where one is, the days met by chance.
    close : int or None
        Day since 1970 up to which all are followed, in sources of true dates.
    from_birth : bool
        Records are of whole lives: most begin in the first year.
    """

    code: Ints
    item_of: Ints
    together: dict[tuple[int, int], float]
    apart: Bools
    close: int | None
    from_birth: bool

    def __len__(self) -> int:
        return len(self.code)


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """The visits of series of some patients, by item, patient and day.

    Attributes
    ----------
    item, patient, visit : int64[m]
    age : int64[m]
        Days of age.
    """

    item: Ints
    patient: Ints
    visit: Ints
    age: Ints

    @property
    def later(self) -> Bools:
        """Which are not the patient's first of their item, bool[m]."""
        result = np.zeros(len(self.item), dtype=bool)
        result[1:] = (self.item[1:] == self.item[:-1]) & (self.patient[1:] == self.patient[:-1])
        return result


def _bare(timelines: Timelines) -> Bools:
    """Return which visits have codes of what is done or given alone, within a day, bool[V]."""
    n = timelines.n_visits
    done, other = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for name, family in timelines.families.items():
        if name == UNION:
            continue
        # A code that too few people have is one too.
        (done if name in DONE else other)[family.visit_codes > 0] = True
    stays = np.isin(np.array(timelines.encounter_class.labels), STAYS)[timelines.encounter_class.index]
    return np.asarray(done & ~other & ~stays & (timelines.stay_minutes < DAY_MINUTES))


def _of_series(timelines: Timelines, item_of: Ints) -> Bools:
    """Return which visits are of series: bare ones whose codes are all of items, bool[V]."""
    union = timelines.families[UNION]
    known = np.bincount(union.visits, weights=item_of[union.codes] >= 0, minlength=timelines.n_visits)
    return np.asarray(_bare(timelines) & (known > 0) & (known == union.visit_codes))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Census:
    """Additive: people and visits of each code, and pairs of codes, in bare visits; and all visits of each code."""

    people: Ints
    visits: Ints
    every: Ints
    pairs: Tally
    bare: int

    def __add__(self, other: _Census) -> _Census:
        return _Census(
            people=self.people + other.people,
            visits=self.visits + other.visits,
            every=self.every + other.every,
            pairs=self.pairs + other.pairs,
            bare=self.bare + other.bare,
        )


def _census(timelines: Timelines) -> _Census:
    union, n = timelines.families[UNION], timelines.families[UNION].n_codes
    bare = _bare(timelines)
    mine = bare[union.visits]
    visit, code = union.visits[mine].astype(np.int64), union.codes[mine].astype(np.int64)
    owner = timelines.patient_of_visit[visit]
    people = np.unique(owner * n + code) % n
    first, second = _pairs(visit, code)
    return _Census(
        people=np.bincount(people, minlength=n),
        visits=np.bincount(code, minlength=n),
        every=np.bincount(union.codes, minlength=n),
        pairs=Tally.of(first * n + second),
        bare=int(bare.sum()),
    )


def _pairs(visit: Ints, code: Ints) -> tuple[Ints, Ints]:
    """Return all ordered pairs of different codes of a visit."""
    lengths = np.bincount(visit)
    lengths = lengths[lengths > 0]
    each = np.repeat(lengths, lengths)
    left = np.repeat(np.arange(len(visit)), each)
    right = ranges(np.repeat(starts(lengths), lengths), each)
    other = left != right
    return code[left[other]], code[right[other]]


def choose_items(cohort: Cohort, min_patients: int) -> Items | None:
    """Return what comes in series, or None where hardly any visit is of one, or they are no visits of their own."""
    told = cohort.vocabulary
    dated = told.basis != "order" and "condition" in told.families
    if not dated or not any(name in told.families for name in DONE):
        return None
    census = cohort.total(_census)
    if census.bare < max(_LEAST_SHARE * cohort.n_visits, _LEAST_VISITS):
        return None
    items = _items(census, min_patients, last_day_of_all(cohort, min_patients))
    seen: npt.NDArray[np.float64] = cohort.total(partial(_seen, item_of=items.item_of))
    series, of_items, without, born = seen.tolist()
    enough = series >= max(_LEAST_SHARE * cohort.n_visits, _LEAST_VISITS)
    if not enough or of_items > _MOST_ITEMS * series or without > _WITHOUT_OTHERS * cohort.n_patients:
        return None
    return replace(items, from_birth=born >= _WHOLE_LIVES * cohort.n_patients)


def _items(census: _Census, min_patients: int, close: int | None) -> Items:
    n = len(census.people)
    item_of = np.full(n, -1, dtype=np.int64)
    leading: list[int] = []
    together: dict[tuple[int, int], float] = {}
    pairs: dict[int, list[tuple[int, int]]] = {}
    for key, count in zip(census.pairs.values.tolist(), census.pairs.counts.tolist(), strict=True):
        pairs.setdefault(key // n, []).append((key % n, count))
    for code in np.flatnonzero(census.people >= min_patients).tolist():
        if item_of[code] >= 0:
            continue
        item, visits = len(leading), int(census.visits[code])
        leading.append(code)
        item_of[code] = item
        for other, count in pairs.get(code, ()):
            if item_of[other] < 0 and min(count / visits, count / int(census.visits[other])) >= _TOGETHER:
                item_of[other] = item
                together[item, other] = count / visits
    apart = (item_of >= 0) & (census.visits >= _APART * census.every)
    return Items(
        code=np.array(leading, dtype=np.int64),
        item_of=item_of,
        together=together,
        apart=apart,
        close=close,
        from_birth=False,
    )


def _seen(timelines: Timelines, item_of: Ints) -> npt.NDArray[np.float64]:
    """Return visits of series, items of these, patients without other visits, and those whose record begins young."""
    series = _of_series(timelines, item_of)
    union = timelines.families[UNION]
    mine = series[union.visits]
    pairs = np.unique(union.visits[mine].astype(np.int64) * len(item_of) + item_of[union.codes[mine]])
    others = np.bincount(timelines.patient_of_visit[~series], minlength=timelines.n_patients)
    young = (timelines.age_at_start * DAYS_PER_YEAR < FIRST_YEAR).sum()
    return np.array([series.sum(), len(pairs), (others == 0).sum(), young], dtype=np.float64)


def taken(timelines: Timelines, item_of: Ints) -> Bools:
    """Return which visits are taken out of the chain: those of series, but the first of who has no others."""
    series = _of_series(timelines, item_of)
    others = np.bincount(timelines.patient_of_visit[~series], minlength=timelines.n_patients)
    series[timelines.offsets[:-1][others == 0]] = False
    return series


def without_series(timelines: Timelines, items: Items) -> Timelines:
    """Return the timelines without the visits of series, and without the codes that never belong to others."""
    others = ~taken(timelines, items.item_of)
    families, start = {}, 0
    for name, family in timelines.families.items():
        if name != UNION:
            families[name] = _without(family, items.apart[start : start + family.n_codes])
            start += family.n_codes
    return unite(select_visits(replace(timelines, families=families), others))


def _without(family: FamilyTimeline, codes: Bools) -> FamilyTimeline:
    """Return the family without the entries of some codes; its rows stay."""
    gone = codes[family.codes]
    kept = np.concatenate(([0], np.cumsum(~gone)))
    fewer = np.bincount(family.visits[gone], minlength=len(family.visit_codes)).astype(np.int32)
    return replace(
        family,
        offsets=kept[family.offsets].astype(np.int64),
        codes=family.codes[~gone],
        counts=family.counts[~gone],
        visit_codes=family.visit_codes - fewer,
    )


def visits_with(timelines: Timelines, items: Items, codes: Ints) -> Ints:
    """Return the other visits that have one of `codes`, ascending."""
    union = timelines.families[UNION]
    others = ~taken(timelines, items.item_of)
    return np.unique(union.visits[np.isin(union.codes, codes) & others[union.visits]]).astype(np.int64)


def age_days(timelines: Timelines) -> Ints:
    """Return the age at each visit in days, int64[V]."""
    at_start = np.rint(timelines.age_at_start * DAYS_PER_YEAR).astype(np.int64)
    result: Ints = at_start[timelines.patient_of_visit] + timelines.elapsed_days
    return result


def observed(timelines: Timelines, items: Items) -> tuple[Ints, Ints, Ints]:
    """Return the first and last day of age that each patient is watched, and that of the end of generated records.

    From birth, where records are of whole lives or if the first visit is in the first year, or else from that; until
    death or the day up to which all are followed, if the last visit is not long before it, or else to the last visit.
    """
    age = age_days(timelines)
    first, last = age[timelines.offsets[:-1]], age[timelines.offsets[1:] - 1]
    later = days_to_end(timelines, items.close)
    end = np.where(timelines.died | (later <= LOST_DAYS), last + later, last)
    return np.where(items.from_birth | (first < FIRST_YEAR), 0, first), end, last + later


def events_of(timelines: Timelines, items: Items) -> Events:
    """Return the visits of series; several items of one visit are as many events, and an item is one a day.

    What never belongs to other visits is of a series in these too.
    """
    union: Any = timelines.families[UNION]
    mine = taken(timelines, items.item_of)[union.visits] | items.apart[union.codes]
    visit, item = union.visits[mine].astype(np.int64), items.item_of[union.codes[mine]]
    patient, age = timelines.patient_of_visit[visit], age_days(timelines)[visit]
    order = np.lexsort((age, patient, item))
    visit, item, patient, age = visit[order], item[order], patient[order], age[order]
    kept = np.ones(len(visit), dtype=bool)
    kept[1:] = (item[1:] != item[:-1]) | (patient[1:] != patient[:-1]) | (age[1:] != age[:-1])
    return Events(item=item[kept], patient=patient[kept], visit=visit[kept], age=age[kept])
