"""When: bins of gaps, stays, starts and tails, the calendar, and what each encounter says of its end."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.discretise import stratum_ages
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.binned import Bins
from ehrsynth.learning.slots import fixed_slots, open_slots
from ehrsynth.model import Calendar, Strata
from ehrsynth.probability.histogram import Histogram

__all__ = ["even_days", "learn_bins", "learn_calendar", "learn_histogram", "visit_bands"]

Ints = npt.NDArray[np.integer[Any]]

DEFAULT_REFERENCE = "2025-01-01"
"""Where generated records end when the source's dates say nothing about the calendar."""

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


def learn_histogram(
    values: Ints, patients: Ints, *, min_patients: int, n_coarse: int, n_fine: int = 256
) -> Histogram | None:
    """Return the histogram of the values that are not negative, or None if too few patients have one."""
    known = values >= 0
    if len(np.unique(patients[known])) < min_patients:
        return None
    return Histogram.learn(values[known], patients[known], min_patients=min_patients, n_coarse=n_coarse, n_fine=n_fine)


def split_by_class(histogram: Histogram, values: Ints, classes: Ints, n_coarse: int) -> Histogram:
    """Return the histogram with coarse bins inside which the classes are distributed alike.

    A coarse bin is drawn given the class of encounter, the cell within it is not; bins of equal weight would lend the
    days of an admission to a visit to the emergency room. Neighbouring cells are merged where that loses least
    information about the class, and least weight (ChiMerge, Kerber 1992, with the likelihood ratio).

    Parameters
    ----------
    histogram : Histogram
    values, classes : int[n]
        Known values, and the class of each from 0.
    n_coarse : int
        Bins to end with, at most.
    """
    n_classes = int(classes.max()) + 1
    cell = np.clip(np.searchsorted(histogram.edges, values, side="right") - 1, 0, len(histogram.weight) - 1)
    # Empty ranges between cells belong to the cell before.
    full = np.flatnonzero(histogram.weight > 0)
    owner = np.maximum(np.searchsorted(full, np.arange(len(histogram.weight)), side="right") - 1, 0)
    counts = np.bincount(owner[cell] * n_classes + classes, minlength=len(full) * n_classes)
    bins = [row.astype(np.float64) for row in counts.reshape(len(full), n_classes)]
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


def visit_bands(timelines: Timelines, min_patients: int) -> npt.NDArray[np.int64]:
    """Return the first visit number of each band: those of enough patients to see both an end and a going on."""
    visits = np.diff(timelines.offsets)
    edges = [1]
    for edge in _BANDS[1:]:
        if (visits >= edge).sum() >= max(4 * min_patients, 30):
            edges.append(edge)
    return np.array(edges, dtype=np.int64)


def elapsed_bands(timelines: Timelines, min_patients: int) -> npt.NDArray[np.int64]:
    """Return the first day since the first visit of each band of time: an even share of the ends in each.

    Where people are followed for some time, records end with the time and not with the number of visits.
    """
    if not (timelines.gap_days >= 0).any():
        return np.zeros(1, dtype=np.int64)
    ends = np.sort(timelines.elapsed_days[timelines.offsets[1:] - 1])
    ends = ends[ends > 0]
    n_bands = min(len(ends) // max(4 * min_patients, _ENDS_A_BAND), _ELAPSED_BANDS)
    cuts = ends[(np.arange(1, n_bands) * len(ends)) // max(n_bands, 1)] if n_bands > 1 else ends[:0]
    if n_bands > 1:
        # The shortest and the longest records have bands of their own: a hazard that is even from the first day to
        # where a twenty-fourth has ended, or for ever after, would make some too short and some without end.
        few = 2 * min_patients
        cuts = np.concatenate((cuts, ends[[few, len(ends) // (4 * n_bands), -len(ends) // (4 * n_bands), -few]]))
    return np.unique(np.concatenate(([0], cuts))).astype(np.int64)


def learn_bins(timelines: Timelines, min_patients: int, notes: list[str]) -> Bins:
    """Return the discretisation of the visits, from all timelines."""
    n = timelines.n_patients
    patients = timelines.patient_of_visit
    # A stratum must hold enough people for a lift of its own; with few patients there are few bands.
    ages = stratum_ages(timelines.age_years.astype(np.float64), max(4 * min_patients, min(n // 12, 200)), patients)
    strata = Strata(sexes=timelines.person["sex"].labels, age_edges=ages)
    n_bins = int(np.clip(timelines.n_visits // 200, 4, 16))
    gap = learn_histogram(timelines.gap_days, patients, min_patients=min_patients, n_coarse=n_bins, n_fine=512)
    if gap is None and timelines.basis == "order":
        notes.append(
            "The source says nothing of the days between visits: only their order was learned. Where dates are needed, "
            f"gaps are drawn evenly from 1 to {_ORDER_GAP_DAYS} days, which describes nobody."
        )
    elif gap is None:
        notes.append(
            "Too few patients have a second visit: days between visits were not learned and are drawn evenly from "
            f"1 to {_ORDER_GAP_DAYS}."
        )
    stay = learn_histogram(
        timelines.stay_minutes, patients, min_patients=min_patients, n_coarse=min(n_bins, 12), n_fine=512
    )
    if stay is not None:
        known = timelines.stay_minutes >= 0
        stay = split_by_class(
            stay, timelines.stay_minutes[known], timelines.encounter_class.index[known].astype(np.int64), 2 * n_bins
        )
    else:
        notes.append("The source says nothing of how long visits last.")
    conditions = timelines.families.get("condition")
    slots = 0
    if conditions is not None and _truncated(timelines) == conditions.n_codes:
        slots = fixed_slots(conditions)
    few = open_slots(conditions) if conditions is not None and not slots else 0
    visits, elapsed = visit_bands(timelines, min_patients), elapsed_bands(timelines, min_patients)
    return Bins(
        strata=strata,
        visit_edges=visits if len(elapsed) == 1 else visits[np.isin(visits, _BANDS_WITH_TIME)],
        elapsed_edges=elapsed,
        gap_days=gap,
        stay_minutes=stay,
        encounter_classes=timelines.encounter_class.labels,
        n_truncated=_truncated(timelines),
        n_slots=slots,
        n_open=few,
    )


def _truncated(timelines: Timelines) -> int:
    """Return how many first codes make a visit a visit: all conditions, all codes, or none of them."""
    for name in ("condition", UNION):
        family = timelines.families.get(name)
        if family is not None and float((family.visit_codes > 0).mean()) > _ALL_FULL:
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
    timelines: Timelines, bins: Bins, *, reference_date: str | None, min_patients: int, notes: list[str]
) -> Calendar:
    """Return where time comes from, see `Calendar`.

    The reference date of a calendar source is the first of the month after the last day that at least `min_patients`
    records reach; dates of shifted, relative and merely ordered sources carry none, so a constant is used.
    """
    reference = reference_date or _reference(timelines, min_patients)
    since = timelines.tail_days
    if timelines.basis == "calendar" and (timelines.last_day >= 0).any():
        # Not to the end of each person's own cover: generated records all end together, at the reference date, and
        # must lie in the same years as the source's.
        end = np.sort(timelines.last_day)[::-1][min(min_patients, timelines.n_patients) - 1]
        since = np.maximum(end - timelines.last_day, 0)
    patients = np.arange(timelines.n_patients)
    n_coarse = int(np.clip(timelines.n_patients // 100, 1, 16)) if len(bins.elapsed_edges) > 1 else 1
    tail = learn_histogram(since, patients, min_patients=min_patients, n_coarse=n_coarse)
    by_time = np.ones((1, 1))
    if tail is not None and tail.n_coarse > 1:
        known = since >= 0
        last = timelines.elapsed_days[timelines.offsets[1:] - 1]
        band = np.searchsorted(bins.elapsed_edges, last, side="right") - 1
        cells = band[known] * tail.n_coarse + tail.coarse_of(since[known])
        counts = np.bincount(cells, minlength=len(bins.elapsed_edges) * tail.n_coarse).reshape(-1, tail.n_coarse)
        by_time = counts + _TAIL_STRENGTH * counts.sum(axis=0) / counts.sum()
        by_time /= by_time.sum(axis=1, keepdims=True)
    if timelines.basis != "calendar":
        notes.append(f"Dates of the source are no calendar dates ({timelines.basis}): records end by {reference}.")
    return Calendar(
        basis=timelines.basis,
        reference_date=reference,
        tail_days=tail if tail is not None else even_days(0, 365),
        tail=by_time,
        spread_days=0 if timelines.basis == "calendar" else _SPREAD_DAYS,
        birth_date_precision=timelines.birth_date_precision,
    )


def _reference(timelines: Timelines, min_patients: int) -> str:
    if timelines.basis != "calendar":
        return DEFAULT_REFERENCE
    known = np.sort(timelines.last_day[timelines.last_day >= 0])
    if len(known) < min_patients:
        return DEFAULT_REFERENCE
    last = date(1970, 1, 1) + timedelta(days=int(known[-min_patients]))
    month = last.year * 12 + last.month  # months since year 0, of the following month
    return date(month // 12, month % 12 + 1, 1).isoformat()
