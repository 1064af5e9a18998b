"""Next visits are tried in whole generated records and moved to the days where the source has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.landing_margins import LandingMargins
from ehrsynth.learning.margins import with_margins
from ehrsynth.model import PatientModel, Trajectory

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=3, classes=1, states=2)
EDGES = np.array([0, 40, 80, 120])


def _learned() -> tuple[PatientModel, Timelines]:
    records = cohort(600, visits=lambda i: 3 + i % 3, per_visit=1, codes=6)
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(condition=records["condition"].filter(keep))
    return learn(records, settings=SETTINGS, seed=1), unite(encode(records))


def _banded(trajectory: Trajectory, landing: np.ndarray) -> Trajectory:
    """Return the trajectory with bands of `EDGES` alone, and ends after three, four and five visits as the source's."""
    number = np.arange(1, 6)
    ends = np.repeat([0.0, 0.0, 1 / 3, 1 / 2, 1.0], len(EDGES))
    hazard = np.repeat(ends[:, None], np.asarray(trajectory.end_hazard).shape[1], axis=1)
    return replace(trajectory, visit_edges=number, elapsed_edges=EDGES, landing=landing, end_hazard=hazard)


def _moves(timelines: Timelines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known = np.flatnonzero(timelines.gap_days >= 0)
    days = timelines.elapsed_days[known].astype(np.int64)
    return days, days + timelines.gap_days[known], np.ones(len(known))


def test_what_falls_as_seen_stays_as_it_is() -> None:
    model, timelines = _learned()
    old = np.triu(np.random.default_rng(2).uniform(0.2, 1.0, (4, 4)))
    trajectory = _banded(model.trajectory, old)
    margins = LandingMargins(trajectory, timelines, 5)
    new = np.asarray(margins.moved(trajectory, margins.count(*_moves(timelines)), 1.0).landing)
    np.testing.assert_allclose(new, old / old.max(axis=1, keepdims=True), rtol=1e-9)


def test_a_band_that_few_people_reach_is_reached_by_few() -> None:
    model, timelines = _learned()
    days, following, weight = _moves(timelines)
    edges = np.append(EDGES[:3], int(np.sort(following)[-3]))
    trajectory = replace(_banded(model.trajectory, np.triu(np.ones((4, 4)))), elapsed_edges=edges)
    margins = LandingMargins(trajectory, timelines, 5)
    made = margins.count(days, following, weight)
    made[:3, 3] = 40.0
    new = np.asarray(margins.moved(trajectory, made, 1.0).landing)
    assert (new[:3, 3] < 0.1 * new[:3, 1:3].max(axis=1)).all()


def test_visits_that_fall_too_late_come_to_where_they_were_seen() -> None:
    model, timelines = _learned()
    late = np.triu(np.tile([0.03, 0.03, 0.03, 1.0], (4, 1)))
    wrong = replace(model, trajectory=_banded(model.trajectory, late))
    right = with_margins(wrong, timelines, seed=2)
    seen = np.bincount(np.searchsorted(EDGES, timelines.elapsed_days, side="right"), minlength=5) / timelines.n_visits

    def off(one: PatientModel) -> float:
        visits, _ = OutlineSampler(one).draw(7, 0)
        made = np.bincount(np.searchsorted(EDGES, visits.day, side="right"), minlength=5) / len(visits)
        return float(np.abs(made - seen).max())

    assert off(wrong) > 0.05
    assert off(right) < 0.5 * off(wrong)


def test_without_bands_of_days_nothing_is_moved() -> None:
    model, timelines = _learned()
    trajectory = replace(model.trajectory, elapsed_edges=np.zeros(1, dtype=np.int64), landing=np.ones((1, 1)))
    margins = LandingMargins(trajectory, timelines, 5)
    assert margins.moved(trajectory, margins.count(*_moves(timelines)), 1.0) is trajectory
