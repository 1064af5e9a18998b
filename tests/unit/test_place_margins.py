"""Pairs of codes that compete for places move as far as they were seen often enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.pair_margins import RECORD
from ehrsynth.learning.place_margins import PlaceMargins
from ehrsynth.model import CodeFamily
from ehrsynth.probability.sets import BEFORE, EARLIER, SAME

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def _started(company: list[tuple[int, int, int]], boost: float = 0.0) -> tuple[Timelines, CodeFamily]:
    records = cohort(400, visits=3, per_visit=2, codes=4)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    return timelines, replace(
        family,
        company=np.array(company, dtype=np.int32),
        boost=np.full(len(company), boost, dtype=np.float32),
        sizes=np.ones((len(np.asarray(family.never)), 3)),
        tilt=None,
    )


def _seen(pairs: PlaceMargins, timelines: Timelines) -> Any:
    codes, tally = timelines.families["condition"], pairs.tally()
    tally.add(
        codes.visits.astype(np.int64), codes.codes.astype(np.int64), timelines.offsets, timelines.patient_of_visit
    )
    return tally.total()


def _boosts(family: CodeFamily) -> dict[tuple[int, ...], float]:
    assert family.company is not None and family.boost is not None
    keys = map(tuple, np.asarray(family.company).tolist())
    return dict(zip(keys, np.asarray(family.boost).tolist(), strict=True))


def test_people_with_both_codes_at_any_time_are_counted_once() -> None:
    timelines, family = _started([(SAME, 0, 1), (SAME, 1, 0)])
    tally, n = PlaceMargins(family, timelines, 5).tally(), len(family.codings)
    # Three people; visits {0, 1}, {0, 1}; {1}, {0}, {1}; {0}.
    visit, code = np.array([0, 0, 1, 1, 2, 3, 4, 5]), np.array([0, 1, 0, 1, 1, 0, 1, 0])
    tally.add(visit, code, np.array([0, 2, 5, 6]), np.array([0, 0, 1, 1, 1, 2]))
    found = tally.total()
    assert found[RECORD, 0 * n + 1] == 2 and found[RECORD].sum() == 2
    assert found[SAME, 0 * n + 1] == 2 and found[BEFORE, 1 * n + 0] == 2 and not found[EARLIER].any()


def test_what_fits_stays_and_what_is_rare_moves_the_least() -> None:
    company = [(SAME, 0, 1), (SAME, 1, 0), (SAME, 2, 3), (SAME, 3, 2), (BEFORE, 0, 1)]
    timelines, family = _started(company, boost=2.0)
    pairs = PlaceMargins(family, timelines, 1)
    seen = _seen(pairs, timelines)
    n = len(family.codings)
    pairs._seen[SAME, 2 * n + 3] = 4.0
    made = seen.copy()
    made[SAME, 0 * n + 1] *= 2.0
    made[SAME, 2 * n + 3] = 8.0
    assert seen[SAME, 0 * n + 1] > 60
    moved = _boosts(pairs.moved(family, made, timelines.n_patients, 1.0))
    assert moved[BEFORE, 0, 1] == 2.0
    often, seldom = (np.log1p(moved[SAME, a, b]) - np.log(3.0) for a, b in ((0, 1), (2, 3)))
    assert moved[SAME, 0, 1] == moved[SAME, 1, 0]
    # Half as often: common pairs go most of the way at once, rare ones hardly.
    assert -0.7 < often < -0.25
    assert -0.15 < seldom < 0.0
    for _ in range(30):
        rarer = _boosts(pairs.moved(family, made, timelines.n_patients, 1.0))
    # However often half of what is made is wanted, the prior holds what is rare: 30 * move = 4 - 8.
    np.testing.assert_allclose(np.log1p(rarer[SAME, 2, 3]) - np.log(3.0), -4.0 / 30.0, atol=0.01)


def test_people_who_ever_have_both_move_their_pairs() -> None:
    timelines, family = _started([(SAME, 0, 1), (SAME, 1, 0), (SAME, 0, 2), (SAME, 2, 0)])
    pairs = PlaceMargins(family, timelines, 5)
    made = _seen(pairs, timelines)
    made[RECORD, 1] /= 2.0
    moved = _boosts(pairs.moved(family, made, timelines.n_patients, 1.0))
    assert moved[SAME, 0, 1] > 0.05
    assert moved[SAME, 0, 2] == 0.0


def test_pairs_that_are_off_by_a_pair_or_more_join_the_company() -> None:
    timelines, family = _started([(SAME, 0, 1), (SAME, 1, 0)])
    pairs = PlaceMargins(family, timelines, 5)
    made, n = _seen(pairs, timelines), len(family.codings)
    made[SAME, 2 * n + 3] *= 4.0
    made[BEFORE, [1 * n + 2, 1 * n + 1]] = 0.0
    made[EARLIER, 1 * n + 2] = 0.0
    made[BEFORE, 3 * n + 2] += 0.9
    moved = _boosts(pairs.moved(family, made, timelines.n_patients, 1.0))
    joined = {(SAME, 2, 3), (SAME, 3, 2), (BEFORE, 1, 2), (BEFORE, 1, 1), (EARLIER, 1, 2)}
    assert set(moved) == {(SAME, 0, 1), (SAME, 1, 0)} | joined
    assert moved[SAME, 2, 3] == moved[SAME, 3, 2] < -0.2
    assert moved[BEFORE, 1, 1] > 0.3 and moved[EARLIER, 1, 2] > 0.3


def test_of_pairs_of_too_few_people_it_is_known_only_that_they_are_few() -> None:
    timelines, family = _started([(SAME, 0, 1), (SAME, 1, 0)])
    pairs = PlaceMargins(family, timelines, 401)
    made = _seen(pairs, timelines)
    assert made[SAME, 1] > 20
    none = np.zeros_like(made)
    moved = _boosts(pairs.moved(family, none, timelines.n_patients, 1.0))
    # Never made, seen often, but by fewer people than anything is learned from: nothing says that it was seen at all.
    assert moved == {(SAME, 0, 1): 0.0, (SAME, 1, 0): 0.0}
