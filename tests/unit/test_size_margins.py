"""How many codes visits have after each other is tried in whole generated records and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.size_margins import SizeMargins
from ehrsynth.model import CodeFamily

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def _learned() -> tuple[CodeFamily, Timelines]:
    records = cohort(300, visits=4, per_visit=2, codes=6)
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(condition=records["condition"].filter(keep))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    states = len(np.asarray(family.never))
    return replace(family, tilt=np.ones((states, 3)), sizes=None, size_after=None), unite(encode(records))


def test_visits_are_counted_by_the_codes_of_the_one_before() -> None:
    family, timelines = _learned()
    # Two people: visits of 2, 0 and 1 codes, and of 1 code and 3 (of which 2 are told apart).
    found = SizeMargins(family, timelines).count(np.array([0, 0, 2, 3, 4, 4, 4]), np.array([0, 3, 5]))
    np.testing.assert_array_equal(found, [[0, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_sizes_move_to_what_was_seen_and_only_after_the_visits_where_they_are_off() -> None:
    family, timelines = _learned()
    codes = timelines.families["condition"]
    margins = SizeMargins(family, timelines)
    seen = margins.count(codes.visits.astype(np.int64), timelines.offsets)
    assert (seen[1:3] > 30).all()
    made = seen.copy()
    made[1] = seen[1] * [1.0, 3.0, 1.0]
    after = np.asarray(margins.moved(family, made, 1.0).size_after)
    np.testing.assert_allclose(after[[0, 2, 3]], 1.0, atol=1e-6)
    # Three times too many: about a third of the weight, against those of other numbers.
    np.testing.assert_allclose(after[1, 1] / after[1, 0], 1 / 3, rtol=0.1)
    np.testing.assert_allclose(after[1, 1] / after[1, 2], 1 / 3, rtol=0.1)
