"""Learn what is given or done at visits of its own, beside the chain of the other visits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.series_beside import learn_beside
from ehrsynth.learning.series_following import sums
from ehrsynth.learning.series_next import learn_following
from ehrsynth.learning.series_starts import learn_starts
from ehrsynth.learning.series_visits import Items, age_days, events_of, observed, taken
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import BACK_EDGES, even_days, histogram_of
from ehrsynth.model.series import Rates, Series

__all__ = ["learn_series"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_BANDS = np.array([0, 1, 2, 3, 5, 10, 20, 40, 60], dtype=np.int64) * 365
_SINCE = np.array([0, 180, 365, 730, 1095, 1460, 1825, 2555, 3650, 5475], dtype=np.int64)
_STRENGTH = 5.0


def learn_series(cohort: Cohort, items: Items, min_patients: int) -> Series:
    """Return the series of a cohort with all its visits; see `choose_items`."""
    starts = learn_starts(cohort, items, min_patients)
    following = learn_following(cohort, items, min_patients)
    order = starts.order
    unordered = np.empty(len(order), dtype=np.int64)
    unordered[order] = starts.after
    besides = learn_beside(cohort, items, unordered, following.gap_days, following.reach_days, min_patients)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    together = sorted((int(place[item]), code, share) for (item, code), share in items.together.items())
    lead, tail, stay, minute = (
        histogram_of(one, min_patients=min_patients, n_coarse=n, n_fine=256)
        for one, n in zip(sums(cohort, partial(_times, items=items)), (1, 1, 6, 8), strict=True)
    )
    begun, stayed_on, of_item, of_type, of_stay, of_minute = sums(
        cohort, partial(_levels, items=items, stay=stay, minute=minute)
    )
    margin = of_item.sum(axis=0) / max(of_item.sum(), 1e-9)
    known = of_stay.sum(axis=1)
    begun, stayed_on = (_shares(counts, None) for counts in (begun, stayed_on))
    return Series(
        code=items.code[order].astype(np.int32),
        with_item=np.array([item for item, _, _ in together], dtype=np.int32),
        with_code=np.array([code for _, code, _ in together], dtype=np.int32),
        with_share=np.array([share for _, _, share in together], dtype=np.float64),
        start=starts.start,
        back_edges=BACK_EDGES,
        period=starts.period,
        sex=starts.sex,
        after=starts.after.astype(np.int32),
        delay=starts.delay,
        stop=following.stop[order],
        age_edges=tuple(following.age_edges[i] for i in order),
        gap_days=tuple(following.gap_days[i] for i in order),
        gap=tuple(following.gap[i] for i in order),
        youngest_days=starts.youngest,
        oldest_days=_oldest(following.oldest_days[order], starts.start),
        reach_days=following.reach_days[order],
        joins=following.joins[order],
        beside=besides.code.astype(np.int32),
        beside_days=besides.days,
        beside_joins=besides.joins[order],
        from_birth=begun[:, 1],
        band_days=_BANDS,
        lead_days=even_days(0, 0) if lead is None else lead,
        to_end=stayed_on[:, 1],
        left_days=_SINCE,
        tail_days=even_days(0, 0) if tail is None else tail,
        encounter_class=_shares(of_item, margin)[order],
        encounter_type=_shares(of_type, None),
        stay_minutes=even_days(0, 0) if stay is None else stay,
        start_minutes=even_days(0, 0) if minute is None else minute,
        stay=_shares(of_stay[:, :-1], None),
        stay_known=of_stay[:, :-1].sum(axis=1) / np.maximum(known, 1e-9),
        start_minute=_shares(of_minute, None),
    )


def _oldest(days: Ints, start: Rates) -> Ints:
    """Return the last days of age; where few people are old with an item, it may still begin wherever it does."""
    ends = [int(start.of(i)[0][-1]) if len(start.of(i)[0]) else 0 for i in range(len(days))]
    return np.maximum(days, np.array(ends, dtype=np.int64))


def _shares(counts: Doubles, margin: Doubles | None) -> Doubles:
    """Return P(column | row), drawn to the margin."""
    if not counts.size:
        return counts
    if margin is None:
        margin = (counts.sum(axis=0) + 1e-9) / (counts.sum() + 1e-9 * counts.shape[1])
    result: Doubles = counts + _STRENGTH * margin
    result /= result.sum(axis=1, keepdims=True)
    return result


def _ends(timelines: Timelines, items: Items) -> tuple[Ints, Ints, Ints]:
    """Return the ages in days at the first and the last of the other visits, and at the last of all."""
    others = np.flatnonzero(~taken(timelines, items.item_of))
    owner = timelines.patient_of_visit[others]
    age = age_days(timelines)
    count = np.bincount(owner, minlength=timelines.n_patients)
    stop = np.cumsum(count)
    return age[others[stop - count]], age[others[stop - 1]], age[timelines.offsets[1:] - 1]


def _times(timelines: Timelines, items: Items) -> list[KnownValues]:
    """Return days before the first and after the last of the other visits, and minutes of stay and of the day."""
    first, last, end = _ends(timelines, items)
    entry, _, _ = observed(timelines, items)
    who = np.arange(timelines.n_patients)
    visits = np.flatnonzero(taken(timelines, items.item_of))
    owner = timelines.patient_of_visit[visits]
    return [
        KnownValues.of(np.where(entry > 0, first - entry, -1), who),
        KnownValues.of(end - last, who),
        KnownValues.of(timelines.stay_minutes[visits], owner),
        KnownValues.of(timelines.start_minute[visits], owner),
    ]


def _levels(timelines: Timelines, items: Items, stay: Any, minute: Any) -> list[Doubles]:
    """Return counts of patients and of visits of series.

    Patients by age and whether from birth, and by time to the end and whether until then; visits by item and class,
    and by class and type, stay and time of day.
    """
    first, last, _ = _ends(timelines, items)
    entry, watched, clock = observed(timelines, items)
    band = np.searchsorted(_BANDS, first, side="right") - 1
    begun = _table(band, (entry == 0).astype(np.int64), len(_BANDS), 2)
    left = np.searchsorted(_SINCE, clock - last, side="right") - 1
    stayed_on = _table(left, (watched == clock).astype(np.int64), len(_SINCE), 2)
    visits = np.flatnonzero(taken(timelines, items.item_of))
    n_classes, n_types = len(timelines.encounter_class.labels), len(timelines.encounter_type.labels)
    kind = timelines.encounter_class.index.astype(np.int64)
    events = events_of(timelines, items)
    typed = visits[timelines.encounter_type.index[visits] >= 0]
    none = np.zeros(len(visits), dtype=np.int64)
    minutes, starts = timelines.stay_minutes[visits], timelines.start_minute[visits]
    n_stays, n_starts = (1 if one is None else one.n_coarse for one in (stay, minute))
    stayed = none if stay is None else stay.coarse_of(np.maximum(minutes, 0))
    opened = none if minute is None else minute.coarse_of(np.maximum(starts, 0))
    return [
        begun,
        stayed_on,
        _table(events.item, kind[events.visit], len(items), n_classes),
        _table(kind[typed], timelines.encounter_type.index[typed].astype(np.int64), n_classes, n_types),
        _table(kind[visits], np.where(minutes < 0, n_stays, stayed), n_classes, n_stays + 1),
        _table(kind[visits], np.where(starts < 0, 0, opened), n_classes, n_starts),
    ]


def _table(row: Ints, column: Ints, n_rows: int, n_columns: int) -> Doubles:
    counts = np.bincount(row * n_columns + column, minlength=n_rows * n_columns)
    return counts.reshape(n_rows, n_columns).astype(np.float64)
