"""What an encounter says besides its codes, given class and state; and how a record ends, in death or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_groups, stratum_groups
from ehrsynth.learning.evidence import SparseRows, sum_by
from ehrsynth.learning.families import FarPosteriors, StatePosterior, summed
from ehrsynth.learning.landing import learn_landing
from ehrsynth.learning.parameters import TrajectoryTables
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import gap_days_or_assumed, histogram_of, stay_minutes_or_none, times_by_class
from ehrsynth.learning.trajectory import Problem
from ehrsynth.model import Trajectory
from ehrsynth.probability.histogram import Histogram

__all__ = ["learn_trajectory"]

Doubles = npt.NDArray[np.float64]

DIED = "exp"
"""Discharge disposition that means death (HL7 discharge-disposition)."""

_STRENGTH = 8.0
_DEATH_STRENGTH = 20.0
_DEATHS = 2.0
"""As strongly, in deaths, are strata drawn to their group and groups to their states."""
_LARGEST, _HALVINGS = 12.0, 40


@dataclass(frozen=True, kw_only=True, eq=False)
class _EncounterCounts:
    """Additive counts float64[E * n, Q] of each column, and of deaths and ends float64[R, Q]."""

    columns: dict[str, Doubles]
    ends: Doubles
    deaths: Doubles

    def __add__(self, other: _EncounterCounts) -> _EncounterCounts:
        return _EncounterCounts(
            columns={name: table + other.columns[name] for name, table in self.columns.items()},
            ends=self.ends + other.ends,
            deaths=self.deaths + other.deaths,
        )


def _columns(timelines: Timelines, start_minutes: Histogram | None) -> dict[str, tuple[npt.NDArray[Any], int]]:
    """Return (level of each visit or -1, number of levels) of each column that depends on class and state."""
    columns: dict[str, tuple[npt.NDArray[Any], int]] = {
        name: (getattr(timelines, name).index, len(getattr(timelines, name).labels))
        for name in ("disposition", "admit_source", "encounter_type")
    }
    columns["stay_known"] = ((timelines.stay_minutes >= 0).astype(np.int64), 2)
    if start_minutes is not None:
        known = timelines.start_minute >= 0
        bins = np.where(known, start_minutes.coarse_of(np.maximum(timelines.start_minute, 0)), -1)
        columns["start_minute"] = (bins, start_minutes.n_coarse)
    return columns


def _count(chunk: StatePosterior, n_classes: int, n_strata: int, start_minutes: Histogram | None) -> _EncounterCounts:
    timelines, gamma = chunk.timelines, chunk.gamma
    encounter_class = timelines.encounter_class.index.astype(np.int64)
    columns = {}
    for name, (level, n_levels) in _columns(timelines, start_minutes).items():
        known = np.flatnonzero(level >= 0)
        rows = encounter_class[known] * n_levels + level[known]
        columns[name] = SparseRows(known, rows, timelines.n_visits, n_classes * n_levels).scatter(gamma)
    last = timelines.offsets[1:] - 1
    ended = last[~timelines.cut]
    died = last[~timelines.cut & timelines.died]
    ends = sum_by(chunk.stratum[ended], gamma[ended], n_strata)
    deaths = sum_by(chunk.stratum[died], gamma[died], n_strata)
    return _EncounterCounts(columns=columns, ends=ends, deaths=deaths)


def _by_class(table: Doubles, n_classes: int) -> Doubles:
    """Return P(level | class, state) float64[E, Q, n], shrunk to the class, and that to all classes."""
    n_levels = len(table) // n_classes
    counts = table.reshape(n_classes, n_levels, -1).transpose(0, 2, 1)
    overall = counts.sum(axis=(0, 1))
    overall = (overall + 1e-9) / (overall + 1e-9).sum()
    of_class = counts.sum(axis=1) + _STRENGTH * overall
    of_class /= of_class.sum(axis=1, keepdims=True)
    smoothed = counts + _STRENGTH * of_class[:, None, :]
    result: Doubles = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return result


def _death(ends: Doubles, deaths: Doubles, groups: npt.NDArray[np.int64]) -> Doubles:
    """Return P(death | end, stratum, state) float64[R, Q]: the state's probability, its odds moved by the stratum's.

    In each stratum as many die as observed, drawn to the ratio in its sex and usual band of age (`groups` int64[R]),
    and that to what the states say. Cells of their own would be too few to count.
    """
    total, died = float(ends.sum()), float(deaths.sum())
    if died <= 0:
        return np.zeros_like(ends)
    overall = died / total
    of_state = (deaths.sum(axis=0) + _DEATH_STRENGTH * overall) / (ends.sum(axis=0) + _DEATH_STRENGTH)
    odds = np.clip(of_state, 1e-9, 1 - 1e-9) / (1 - np.clip(of_state, 1e-9, 1 - 1e-9))
    hoped, seen = (ends * of_state).sum(axis=1), deaths.sum(axis=1)
    of_group = (_sums(seen, groups) + _DEATHS) / (_sums(hoped, groups) + _DEATHS)
    hoped = hoped * of_group[groups]
    target = hoped * (seen + _DEATHS) / (hoped + _DEATHS)
    low, high = np.full(len(ends), -_LARGEST), np.full(len(ends), _LARGEST)
    for _ in range(_HALVINGS):
        lift = (low + high) / 2
        moved = odds * np.exp(lift)[:, None]
        above = (ends * moved / (1 + moved)).sum(axis=1) > target
        low, high = np.where(above, low, lift), np.where(above, lift, high)
    # Where nobody's record ends any number is right: that of the states.
    moved = odds * np.exp(np.where(ends.sum(axis=1) > 0, (low + high) / 2, 0.0))[:, None]
    result: Doubles = moved / (1 + moved)
    return result


def _sums(values: Doubles, groups: npt.NDArray[np.int64]) -> Doubles:
    return np.bincount(groups, weights=values).astype(np.float64)


def learn_trajectory(
    cohort: Cohort,
    problem: Problem,
    tables: TrajectoryTables,
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    *,
    min_patients: int,
    notes: list[str],
) -> Trajectory:
    """Return the trajectory part of the model: what EM learned, and the rest given its states."""
    bins, timelines = problem.bins, cohort.vocabulary
    n_classes, n_strata = len(bins.encounter_classes), len(bins.strata)
    n_states = problem.n_classes * problem.n_states
    start_minutes = times_by_class(
        cohort, "start_minute", min_patients=min_patients, n_coarse=8, n_split=16, n_fine=288
    )
    counts = summed(posteriors, partial(_count, n_classes=n_classes, n_strata=n_strata, start_minutes=start_minutes))
    landing = age_landing = np.ones((1, 1))
    if bins.gap_days is not None:
        landing, age_landing = learn_landing(
            posteriors,
            tables.gap,
            bins.gap_days,
            (bins.elapsed_edges, bins.strata.first_days),
            n_visits=cohort.n_visits,
            min_patients=min_patients,
        )
    shares = {name: _by_class(table, n_classes) for name, table in counts.columns.items()}
    known = counts.columns["stay_known"].sum(axis=1).reshape(n_classes, 2)
    stay_known = known[:, 1] / np.maximum(known.sum(axis=1), 1e-12)
    groups = stratum_groups(n_strata, age_groups(bins.strata.age_edges))
    death_given_end, death_days = _death_tables(cohort, counts, groups, min_patients, notes)
    block = tables.initial.reshape(n_strata, problem.n_classes, problem.n_states)
    initial = block / block.sum(axis=-1, keepdims=True)
    start_minute = shares.get("start_minute", np.zeros((n_classes, 1, 0)))
    precision = timelines.precision if start_minutes is not None else ("day",) * n_classes
    return Trajectory(
        n_classes=problem.n_classes,
        n_states=problem.n_states,
        strata=bins.strata,
        initial=initial.reshape(n_strata, n_states),
        transition=tables.transition,
        transition_stratum=problem.transition_stratum,
        end_hazard=tables.end_hazard,
        visit_edges=bins.visit_edges,
        elapsed_edges=bins.elapsed_edges,
        death_given_end=death_given_end,
        death_days=death_days,
        died_disposition=DIED if DIED in timelines.disposition.labels else "",
        landing=landing,
        age_landing=age_landing,
        transition_at="next",
        lead=problem.lead,
        gap=tables.gap if bins.n_gaps else np.ones((n_states, 1)),
        gap_days=gap_days_or_assumed(bins),
        encounter_classes=bins.encounter_classes,
        encounter_class=tables.encounter_class,
        stay=tables.stay if bins.n_stays else np.ones((n_classes, n_states, 1)),
        stay_minutes=stay_minutes_or_none(bins),
        start_minute=start_minute,
        start_minutes=start_minutes if start_minutes is not None else whole_day(),
        precision=precision,
        stay_known=stay_known if bins.n_stays else np.zeros(n_classes),
        dispositions=timelines.disposition.labels,
        disposition=shares["disposition"],
        admit_sources=timelines.admit_source.labels,
        admit_source=shares["admit_source"],
        encounter_types=timelines.encounter_types,
        encounter_type=shares["encounter_type"],
    )


def whole_day() -> Histogram:
    """Return the minutes of the day, all alike."""
    return Histogram(edges=np.array([0, 1440]), coarse=np.array([0]), weight=np.array([1.0]))


def _died(timelines: Timelines) -> int:
    return int(timelines.died.sum())


def _death_days(timelines: Timelines) -> KnownValues:
    return KnownValues.of(timelines.death_days, np.arange(timelines.n_patients))


def _death_tables(
    cohort: Cohort, counts: _EncounterCounts, groups: npt.NDArray[np.int64], min_patients: int, notes: list[str]
) -> tuple[Doubles, Histogram]:
    same_day = Histogram(edges=np.array([0, 1]), coarse=np.array([0]), weight=np.array([1.0]))
    died = cohort.total(_died)
    if died < min_patients:
        if died:
            notes.append("Too few patients died to learn from: nobody dies in generated records.")
        return np.zeros_like(counts.deaths), same_day
    days = histogram_of(cohort.total(_death_days), min_patients=min_patients, n_coarse=1)
    return _death(counts.ends, counts.deaths, groups), days if days is not None else same_day
