"""How often people have a code is tried in whole records and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.count_margins import CountMargins

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def test_recurrences_are_counted_by_how_often_there_were_some_and_moved() -> None:
    records = cohort(300, visits=4, per_visit=1, codes=3)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    family = replace(family, count_lift=np.full((len(family.codings), 3), 2.0, dtype=np.float32))
    margins = CountMargins(family, timelines)
    # One person has code 0 four times, one once; weights count.
    patient, code = np.array([0, 0, 0, 0, 1]), np.zeros(5, dtype=np.int64)
    found = margins.count(patient, code, np.array([1.0, 0.5]))
    np.testing.assert_allclose(found[0, 0], [1.5, 1.0, 2.0])
    np.testing.assert_allclose(found[1, 0], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(found[2, 0], [1.5, 1.0, 1.0])
    codes = timelines.families["condition"]
    owner = timelines.patient_of_visit[codes.visits]
    seen = margins.count(owner.astype(np.int64), codes.codes.astype(np.int64), np.ones(timelines.n_patients))
    # What was seen is right; what comes again far too often comes less.
    np.testing.assert_allclose(np.asarray(margins.moved(family, seen, 1.0).count_lift), 2.0, rtol=1e-6)
    wrong = seen.copy()
    wrong[1, :, 0] = 0.97 * wrong[0, :, 0]
    moved = np.asarray(margins.moved(family, wrong, 1.0).count_lift)
    assert (moved[:, 0] < 1.5).all()
    np.testing.assert_allclose(moved[:, 1:], 2.0, rtol=1e-6)
