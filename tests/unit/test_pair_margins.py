"""Pairs that keep company are tried in whole generated records and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.pair_margins import PairMargins
from ehrsynth.probability.sets import BEFORE, EARLIER, SAME

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def test_pairs_are_counted_in_a_visit_after_one_and_later() -> None:
    records = cohort(60)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0), (BEFORE, 0, 1), (BEFORE, 1, 0), (EARLIER, 0, 1)], dtype=np.int32)
    family = replace(family, company=company, boost=np.zeros(5, dtype=np.float32))
    pairs = PairMargins(family, timelines)
    # Two people; visits {0, 1}, {1}, {0}, {1} and {1}, {0}.
    visit, code = np.array([0, 0, 1, 2, 3, 4, 5]), np.array([0, 1, 1, 0, 1, 1, 0])
    found = pairs.count(visit, code, np.array([0, 4, 6]), np.array([0, 0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(found, [1, 1, 2, 2, 0])


def test_boosts_move_to_what_was_seen_and_no_further_than_chance() -> None:
    records = cohort(400, visits=3, per_visit=2, codes=4)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0), (BEFORE, 0, 1)], dtype=np.int32)
    family = replace(family, company=company, boost=np.full(3, 2.0, dtype=np.float32))
    pairs = PairMargins(family, timelines)
    codes = timelines.families["condition"]
    seen = pairs.count(
        codes.visits.astype(np.int64), codes.codes.astype(np.int64), timelines.offsets, timelines.patient_of_visit
    )
    assert (seen > 20).all()
    moved = pairs.moved(family, seen * [5.0, 5.0, 1.0], timelines.n_patients, 1.0)
    assert moved.boost is not None
    # A fifth of the weight, but for what chance could do; where it fits already nothing moves.
    np.testing.assert_allclose(np.asarray(moved.boost)[:2], 3.0 / 5 - 1, atol=0.1)
    np.testing.assert_allclose(np.asarray(moved.boost)[2], 2.0, atol=1e-6)
