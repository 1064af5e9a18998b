"""Ends of records are tried in whole generated records and moved to what was seen, by fine bands of visits."""

from __future__ import annotations

import numpy as np

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.end_margins import EndMargins
from ehrsynth.model import Trajectory

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def _learned() -> tuple[Trajectory, Timelines]:
    records = cohort(400, visits=lambda i: 44 if i % 8 == 0 else 2, per_visit=1, codes=4)
    return learn(records, settings=SETTINGS, seed=1).trajectory, unite(encode(records))


def _seen(ends: EndMargins, timelines: Timelines) -> np.ndarray:
    return ends.count(
        timelines.number.astype(np.int64), timelines.elapsed_days, timelines.is_last, np.ones(timelines.n_visits)
    )


def test_what_ends_as_seen_stays_as_it_is() -> None:
    trajectory, timelines = _learned()
    ends = EndMargins(trajectory, timelines)
    moved = ends.moved(_seen(ends, timelines), 1.0)
    assert set(trajectory.visit_edges) < set(moved.visit_edges)
    # Fifty people have 40 visits and more, nobody 50.
    assert {25, 40} <= set(moved.visit_edges) and max(moved.visit_edges) == 40
    number, days = np.arange(1, 60), np.arange(1, 60) * 20
    before, after = (np.asarray(one.end_hazard)[one.end_band(number, days)] for one in (trajectory, moved))
    np.testing.assert_allclose(after, np.minimum(before, 1.0 - 1e-6), rtol=1e-9)


def test_a_band_of_too_few_ends_gets_more_and_the_others_do_not() -> None:
    trajectory, timelines = _learned()
    ends = EndMargins(trajectory, timelines)
    same, made = ends.moved(_seen(ends, timelines), 1.0), _seen(EndMargins(trajectory, timelines), timelines)
    first_of_forty = same.end_band(40, 0)
    made[1, first_of_forty:] = 0.0
    moved = EndMargins(trajectory, timelines).moved(made, 1.0)
    old, new = np.asarray(same.end_hazard), np.asarray(moved.end_hazard)
    open_ = (old > 1e-12) & (old < 1.0 - 1e-5)
    late = np.arange(len(old)) >= first_of_forty
    assert (new[late] > old[late] * 1.1)[open_[late]].all()
    assert open_[late].any()


def test_what_all_bands_are_off_by_is_no_chance() -> None:
    trajectory, timelines = _learned()
    ends = EndMargins(trajectory, timelines)
    made = _seen(ends, timelines)
    same = np.asarray(ends.moved(made, 1.0).end_hazard)
    # Of each band a fifth of the visits too many: of few ends each of it would be chance.
    moved = np.asarray(EndMargins(trajectory, timelines).moved(made * [[1.2], [1.0]], 1.0).end_hazard)
    open_ = (same > 1e-12) & (same < 1.0 - 1e-5)
    assert open_.any()
    odds = moved[open_] / (1.0 - moved[open_]) * (1.0 - same[open_]) / same[open_]
    assert (odds > 1.15).all()
