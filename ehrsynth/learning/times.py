"""When: bins of gaps, stays, starts and tails, the calendar, and what each encounter says of its end."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import stratum_ages_of
from ehrsynth.encoding.encoder import DAYS_PER_YEAR
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.binned import Bins
from ehrsynth.learning.slots import fixed_slots, open_slots
from ehrsynth.learning.tallies import KnownValues, Tally, VisitShape, known_of_visits
from ehrsynth.model import Calendar, Strata
from ehrsynth.probability.histogram import Histogram

__all__ = [
    "BACK_EDGES",
    "days_to_end",
    "even_days",
    "histogram_of",
    "last_day_of_all",
    "learn_bins",
    "learn_calendar",
    "times_by_class",
    "visit_bands",
]

DEFAULT_REFERENCE = "2025-01-01"
"""Where generated records end when the source's dates say nothing about the calendar."""

BACK_EDGES = (np.concatenate((np.arange(0, 40, 2.5), np.arange(40, 110, 5))) * 365.25).astype(np.int64)
"""First day of each band of the days before the end of the record."""

_ALL_FULL = 0.995
"""Share of visits with a code from which on every visit is taken to have one."""

_SPREAD_DAYS = 3 * 365
_ORDER_GAP_DAYS = 365
_BANDS = (1, 2, 3, 4, 6, 10, 16, 30, 60, 120, 240)
_BANDS_WITH_TIME = (1, 2, 4, 10, 16, 30, 60, 120)
_ELAPSED_BANDS = 24
_ENDS_A_BAND = 50
"""Bands of time are crossed with those of the visit's number: with fewer ends in each the hazards are noise."""
_TAIL_STRENGTH = 5.0


def even_days(first: int, last: int) -> Histogram:
    """Return the histogram of the days first..last, all alike, in one bin: what is assumed where nothing is known."""
    return Histogram(edges=np.array([first, last + 1]), coarse=np.array([0]), weight=np.array([1.0]))


def histogram_of(known: KnownValues, *, min_patients: int, n_coarse: int, n_fine: int = 256) -> Histogram | None:
    """Return the histogram of values, or None if too few patients have one."""
    if known.sketch is None or known.patients < min_patients:
        return None
    return Histogram.of_sketch(known.sketch, min_patients=min_patients, n_coarse=n_coarse, n_fine=n_fine)


def _cells(timelines: Timelines, name: str, histogram: Histogram) -> npt.NDArray[np.int64]:
    """Return how many visits have a value in each cell of a histogram, by class of encounter, int64[F, E]."""
    values = getattr(timelines, name)
    known = values >= 0
    n_classes = len(timelines.encounter_class.labels)
    cell = np.searchsorted(histogram.edges, values[known], side="right") - 1
    cell = np.clip(cell, 0, len(histogram.weight) - 1)
    key = cell * n_classes + timelines.encounter_class.index[known]
    return np.bincount(key, minlength=len(histogram.weight) * n_classes).reshape(-1, n_classes)


def times_by_class(
    cohort: Cohort, name: str, *, min_patients: int, n_coarse: int, n_split: int, n_fine: int
) -> Histogram | None:
    """Return the histogram of a column of times of visits, split by the class of encounter (`split_by_class`)."""
    known = cohort.total(partial(known_of_visits, name=name))
    histogram = histogram_of(known, min_patients=min_patients, n_coarse=n_coarse, n_fine=n_fine)
    if histogram is None:
        return None
    return split_by_class(histogram, cohort.total(partial(_cells, name=name, histogram=histogram)), n_split)


def split_by_class(histogram: Histogram, cells: npt.NDArray[np.int64], n_coarse: int) -> Histogram:
    """Return the histogram with coarse bins inside which the classes are distributed alike.

    A coarse bin is drawn given the class of encounter, the cell within it is not; bins of equal weight would lend the
    days of an admission to a visit to the emergency room. Neighbouring cells are merged where that loses least
    information about the class, and least weight (ChiMerge, Kerber 1992, with the likelihood ratio).

    Parameters
    ----------
    histogram : Histogram
    cells : int64[F, E]
        Values in each cell, by class.
    n_coarse : int
        Bins to end with, at most.
    """
    # Empty ranges between cells belong to the cell before.
    full = np.flatnonzero(histogram.weight > 0)
    owner = np.maximum(np.searchsorted(full, np.arange(len(histogram.weight)), side="right") - 1, 0)
    counts = np.zeros((len(full), cells.shape[1]), dtype=np.int64)
    np.add.at(counts, owner, cells)
    bins = [row.astype(np.float64) for row in counts]
    members = [[i] for i in range(len(full))]
    total = float(counts.sum())

    def cost(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
        both = left + right
        loss = _entropy(both) - _entropy(left) - _entropy(right)
        return loss + float(left.sum() * right.sum()) / total

    costs = [cost(bins[i], bins[i + 1]) for i in range(len(bins) - 1)]
    while len(bins) > n_coarse:
        i = int(np.argmin(costs))
        bins[i : i + 2] = [bins[i] + bins[i + 1]]
        members[i : i + 2] = [members[i] + members[i + 1]]
        del costs[i]
        if i < len(costs):
            costs[i] = cost(bins[i], bins[i + 1])
        if i > 0:
            costs[i - 1] = cost(bins[i - 1], bins[i])
    of_full = np.repeat(np.arange(len(members)), [len(group) for group in members])
    return Histogram(edges=histogram.edges, coarse=of_full[owner], weight=histogram.weight)


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    """Return the entropy of counts times their sum, in nats."""
    known = counts[counts > 0]
    return float((known * np.log(counts.sum() / known)).sum())


def visit_bands(visits: npt.NDArray[np.int64], min_patients: int) -> npt.NDArray[np.int64]:
    """Return the first visit number of each band: those of enough patients to see both an end and a going on.

    Parameters
    ----------
    visits : int64[m]
        Patients of 0, 1, ... visits.
    min_patients : int
    """
    edges = [1]
    for edge in _BANDS[1:]:
        if visits[edge:].sum() >= max(4 * min_patients, 30):
            edges.append(edge)
    return np.array(edges, dtype=np.int64)


def elapsed_bands(ends: Tally, min_patients: int) -> npt.NDArray[np.int64]:
    """Return the first day since the first visit of each band of time: an even share of the ends in each.

    Where people are followed for some time, records end with the time and not with the number of visits.

    Parameters
    ----------
    ends : Tally
        Days from the first to the last visit of each patient.
    min_patients : int
    """
    ends = ends.above(0)
    n = ends.total
    n_bands = min(n // max(4 * min_patients, _ENDS_A_BAND), _ELAPSED_BANDS)
    cuts = np.zeros(0, dtype=np.int64)
    if n_bands > 1:
        # The shortest and the longest records have bands of their own: a hazard that is even from the first day to
        # where a twenty-fourth has ended, or for ever after, would make some too short and some without end.
        few = 2 * min_patients
        even = np.arange(1, n_bands) * n // n_bands
        cuts = ends.at(np.concatenate((even, [few, n // (4 * n_bands), n + -n // (4 * n_bands), n - few])))
    return np.unique(np.concatenate(([0], cuts))).astype(np.int64)


def learn_bins(cohort: Cohort, min_patients: int, notes: list[str]) -> Bins:
    """Return the discretisation of the visits, from all timelines."""
    n, told = cohort.n_patients, cohort.vocabulary
    shape = cohort.total(VisitShape.of)
    n_bins = int(np.clip(cohort.n_visits // 200, 4, 16))
    gaps = cohort.total(partial(known_of_visits, name="gap_days"))
    gap = histogram_of(gaps, min_patients=min_patients, n_coarse=n_bins, n_fine=512)
    if gap is None and told.basis == "order":
        notes.append(
            "The source says nothing of the days between visits: only their order was learned. Where dates are needed, "
            f"gaps are drawn evenly from 1 to {_ORDER_GAP_DAYS} days, which describes nobody."
        )
    elif gap is None:
        notes.append(
            "Too few patients have a second visit: days between visits were not learned and are drawn evenly from "
            f"1 to {_ORDER_GAP_DAYS}."
        )
    stay = times_by_class(
        cohort,
        "stay_minutes",
        min_patients=min_patients,
        n_coarse=min(n_bins, 12),
        n_split=2 * n_bins,
        n_fine=512,
    )
    if stay is None:
        notes.append("The source says nothing of how long visits last.")
    truncated = _truncated(told, shape)
    conditions, sizes = told.families.get("condition"), shape.sizes.get("condition")
    slots = few = 0
    if conditions is not None and sizes is not None:
        slots = fixed_slots(sizes) if truncated == conditions.n_codes else 0
        few = 0 if slots else open_slots(sizes)
    # A stratum must hold enough people for a lift of its own; with few patients there are few bands. Codes of a fixed
    # number have one for each usual band, see `grouped_targets`; finer ones would only make their tables large.
    ages = stratum_ages_of(shape.ages, max(4 * min_patients, min(n // 12, 200)), fine=not slots)
    strata = Strata(sexes=told.person["sex"].labels, age_edges=ages)
    visits = visit_bands(shape.visits, min_patients)
    elapsed = elapsed_bands(shape.ends, min_patients) if gaps.patients else np.zeros(1, dtype=np.int64)
    return Bins(
        strata=strata,
        visit_edges=visits if len(elapsed) == 1 else visits[np.isin(visits, _BANDS_WITH_TIME)],
        elapsed_edges=elapsed,
        gap_days=gap,
        stay_minutes=stay,
        encounter_classes=told.encounter_class.labels,
        n_truncated=truncated,
        n_slots=slots,
        n_open=few,
    )


def _truncated(told: Timelines, shape: VisitShape) -> int:
    """Return how many first codes make a visit a visit: all conditions, all codes, or none of them."""
    for name in ("condition", UNION):
        family, sizes = told.families.get(name), shape.sizes.get(name)
        if family is not None and sizes is not None and 1.0 - sizes[0] / sizes.sum() > _ALL_FULL:
            return family.n_codes
    return 0


def gap_days_or_assumed(bins: Bins) -> Histogram:
    """Return the days between visits: learned, or the documented assumption where only the order is known."""
    if bins.gap_days is not None:
        return bins.gap_days
    return even_days(1, _ORDER_GAP_DAYS)


def stay_minutes_or_none(bins: Bins) -> Histogram:
    """Return the minutes of stay: learned, or no time at all (never recorded, see `Trajectory.stay_known`)."""
    if bins.stay_minutes is not None:
        return bins.stay_minutes
    return even_days(0, 0)


def learn_calendar(
    cohort: Cohort, bins: Bins, *, reference_date: str | None, min_patients: int, notes: list[str]
) -> Calendar:
    """Return where time comes from, see `Calendar`.

    The reference date of a calendar source is the first of the month after the last day that at least `min_patients`
    records reach; dates of shifted, relative and merely ordered sources carry none, so a constant is used.
    """
    basis, n = cohort.vocabulary.basis, cohort.n_patients
    days = cohort.total(_last_days)
    reference = reference_date or _reference(basis, days, min_patients)
    end = last_day_of_all(cohort, min_patients)
    n_coarse = int(np.clip(n // 100, 1, 16)) if len(bins.elapsed_edges) > 1 else 1
    tail = histogram_of(cohort.total(partial(_tails, end=end)), min_patients=min_patients, n_coarse=n_coarse)
    by_time = np.ones((1, 1))
    if tail is not None and tail.n_coarse > 1:
        counts = cohort.total(partial(_tails_by_time, end=end, tail=tail, edges=bins.elapsed_edges))
        by_time = counts + _TAIL_STRENGTH * counts.sum(axis=0) / counts.sum()
        by_time /= by_time.sum(axis=1, keepdims=True)
    if basis != "calendar":
        notes.append(f"Dates of the source are no calendar dates ({basis}): records end by {reference}.")
    return Calendar(
        basis=basis,
        reference_date=reference,
        tail_days=tail if tail is not None else even_days(0, 365),
        tail=by_time,
        spread_days=0 if basis == "calendar" else _SPREAD_DAYS,
        birth_date_precision=cohort.vocabulary.birth_date_precision,
        start_days=_start_days(cohort, min_patients),
    )


def last_day_of_all(cohort: Cohort, min_patients: int) -> int | None:
    """Return the day since 1970 that `min_patients` records reach, in sources of true dates; None in others.

    Not to the end of each person's own cover: generated records all end together, at the reference date, and must lie
    in the same years as the source's.
    """
    n, days = cohort.n_patients, cohort.total(_last_days)
    if cohort.vocabulary.basis != "calendar" or not days.above(-1).total:
        return None
    return int(days.at(np.array([n - min(min_patients, n)]))[0])


def days_to_end(timelines: Timelines, close: int | None) -> npt.NDArray[np.int64]:
    """Return the days from each patient's last visit to where generated records end, int64[n]: death, or `close`.

    `close` is what `last_day_of_all` says. The sources that it is None of know nothing beyond the last visit.
    """
    later = np.zeros(timelines.n_patients, dtype=np.int64)
    if close is not None:
        later = np.maximum(close - timelines.last_day, 0)
    return np.where(timelines.died, np.maximum(timelines.death_days, 0), later)


def _start_days(cohort: Cohort, min_patients: int) -> Histogram | None:
    """Return the days of age at the first visit, where birth dates are known to the day."""
    if cohort.vocabulary.birth_date_precision != "day":
        return None
    return histogram_of(cohort.total(_ages_at_start), min_patients=min_patients, n_coarse=1, n_fine=512)


def _ages_at_start(timelines: Timelines) -> KnownValues:
    ages = np.rint(timelines.age_at_start * DAYS_PER_YEAR).astype(np.int64)
    return KnownValues.of(ages, np.arange(timelines.n_patients))


def _last_days(timelines: Timelines) -> Tally:
    return Tally.of(timelines.last_day)


def _since(timelines: Timelines, end: int | None) -> npt.NDArray[np.int64]:
    """Return the days from the last visit to the end of all records, or of the patient's own."""
    return timelines.tail_days if end is None else np.maximum(end - timelines.last_day, 0)


def _tails(timelines: Timelines, end: int | None) -> KnownValues:
    return KnownValues.of(_since(timelines, end), np.arange(timelines.n_patients))


def _tails_by_time(
    timelines: Timelines, end: int | None, tail: Histogram, edges: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    since = _since(timelines, end)
    known = since >= 0
    band = np.searchsorted(edges, timelines.elapsed_days[timelines.offsets[1:] - 1], side="right") - 1
    cells = band[known] * tail.n_coarse + tail.coarse_of(since[known])
    return np.bincount(cells, minlength=len(edges) * tail.n_coarse).reshape(-1, tail.n_coarse)


def _reference(basis: str, days: Tally, min_patients: int) -> str:
    if basis != "calendar":
        return DEFAULT_REFERENCE
    known = days.above(-1)
    if known.total < min_patients:
        return DEFAULT_REFERENCE
    last = date(1970, 1, 1) + timedelta(days=int(known.at(np.array([known.total - min_patients]))[0]))
    month = last.year * 12 + last.month  # months since year 0, of the following month
    return date(month // 12, month % 12 + 1, 1).isoformat()
