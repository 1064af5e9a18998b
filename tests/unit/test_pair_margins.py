"""Pairs that keep company are tried in whole generated records and moved to what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.margins import with_margins
from ehrsynth.learning.pair_margins import PairMargins
from ehrsynth.probability.sets import BEFORE, EARLIER, SAME

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


def test_pairs_are_counted_in_a_visit_after_one_and_later() -> None:
    records = cohort(60)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0)], dtype=np.int32)
    family = replace(family, company=company, boost=np.zeros(2, dtype=np.float32))
    pairs = PairMargins(family, timelines, 5)
    # Two people; visits {0, 1}, {1}, {0}, {1} and {1}, {0}.
    visit, code = np.array([0, 0, 1, 2, 3, 4, 5]), np.array([0, 1, 1, 0, 1, 1, 0])
    tally = pairs.tally()
    tally.add(visit, code, np.array([0, 4, 6]), np.array([0, 0, 0, 0, 1, 1]))
    found = tally.total()
    n = len(family.codings)
    cells = np.array([SAME, BEFORE, BEFORE, EARLIER]), np.array([0 * n + 1, 0 * n + 1, 1 * n + 0, 0 * n + 1])
    np.testing.assert_array_equal(found[cells], [1, 2, 2, 0])
    # Of one code with itself it is counted only how often it comes in the very next visit.
    alone = np.arange(n) * (n + 1)
    assert not found[[SAME, EARLIER]][:, alone].any()
    np.testing.assert_array_equal(found[BEFORE, alone[:2]], [0, 1])
    tally.add(visit, code, np.array([0, 4, 6]), np.array([0, 0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(tally.total()[cells], [2, 4, 4, 0])


def test_boosts_move_to_what_was_seen_and_no_further_than_chance() -> None:
    records = cohort(400, visits=3, per_visit=2, codes=4)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0), (BEFORE, 0, 1)], dtype=np.int32)
    family = replace(family, company=company, boost=np.full(3, 2.0, dtype=np.float32))
    pairs = PairMargins(family, timelines, 5)
    seen = _seen(pairs, timelines)
    assert seen[SAME, 1] > 20 and seen[BEFORE, 1] > 20
    made = seen.copy()
    made[SAME, 1] *= 5.0
    moved = pairs.moved(family, made, timelines.n_patients, 1.0)
    assert moved.boost is not None
    # A fifth of the weight, but for what chance could do; where it fits already nothing moves.
    np.testing.assert_allclose(np.asarray(moved.boost)[:2], 3.0 / 5 - 1, atol=0.1)
    np.testing.assert_allclose(np.asarray(moved.boost)[2], 2.0, atol=1e-6)
    assert len(moved.boost) == 3


def test_pairs_that_are_off_in_whole_records_join_the_company() -> None:
    records = cohort(400, visits=3, per_visit=2, codes=4)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0)], dtype=np.int32)
    sizes = np.ones((len(np.asarray(family.never)), 3))
    family = replace(family, company=company, boost=np.zeros(2, dtype=np.float32), sizes=None, tilt=sizes)
    pairs = PairMargins(family, timelines, 5)
    made, n = _seen(pairs, timelines), len(family.codings)
    made[SAME, 2 * n + 3] *= 4.0
    made[BEFORE, [1 * n + 2, 1 * n + 1]] = 0.0
    made[EARLIER, 1 * n + 2] = 0.0
    moved = pairs.moved(family, made, timelines.n_patients, 1.0)
    boost = dict(zip(map(tuple, np.asarray(moved.company).tolist()), np.asarray(moved.boost).tolist(), strict=True))
    # No more codes of long ago are made to raise odds, from which the number of codes follows.
    assert set(boost) == {(SAME, 0, 1), (SAME, 1, 0), (SAME, 2, 3), (SAME, 3, 2), (BEFORE, 1, 2)}
    assert boost[SAME, 2, 3] == boost[SAME, 3, 2] < -0.5
    assert boost[BEFORE, 1, 2] > 1.0


def test_of_pairs_of_too_few_people_it_is_known_only_that_they_are_few() -> None:
    records = cohort(400, visits=3, per_visit=2, codes=4)
    timelines = unite(encode(records))
    family = learn(records, settings=SETTINGS, seed=1).families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0)], dtype=np.int32)
    family = replace(family, company=company, boost=np.zeros(2, dtype=np.float32))
    pairs = PairMargins(family, timelines, 401)
    made = _seen(pairs, timelines)
    assert made[SAME, 1] > 20
    moved = pairs.moved(family, made * [[0.0], [1.0], [1.0]], timelines.n_patients, 1.0)
    # Never made, seen often, but by fewer people than anything is learned from: nothing says that it was seen at all.
    np.testing.assert_array_equal(np.asarray(moved.boost)[:2], [0.0, 0.0])


def _seen(pairs: PairMargins, timelines: Timelines) -> Any:
    """Return how often each pair comes in the source."""
    codes, tally = timelines.families["condition"], pairs.tally()
    tally.add(
        codes.visits.astype(np.int64), codes.codes.astype(np.int64), timelines.offsets, timelines.patient_of_visit
    )
    return tally.total()


@dataclass(frozen=True)
class Thirds:
    """A cohort of which only sums over three parts can be had."""

    vocabulary: Timelines

    @property
    def n_patients(self) -> int:
        return self.vocabulary.n_patients

    @property
    def n_visits(self) -> int:
        return self.vocabulary.n_visits

    def total(self, function: Callable[[Timelines], Any]) -> Any:
        bounds = [i * self.n_patients // 3 for i in range(4)]
        return reduce(add, [function(self.vocabulary.slice_patients(*part)) for part in pairwise(bounds)])


def test_sums_over_parts_move_codes_and_pairs_as_all_records_do() -> None:
    records = cohort(300, visits=4, per_visit=2, codes=6)
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(condition=records["condition"].filter(keep))
    timelines = unite(encode(records))
    model = learn(records, settings=SETTINGS, seed=1)
    family = model.families[0]
    company = np.array([(SAME, 0, 1), (SAME, 1, 0), (BEFORE, 0, 1), (EARLIER, 1, 2)], dtype=np.int32)
    family = replace(family, company=company, boost=np.full(4, 2.0, dtype=np.float32))
    model = replace(model, families=(family, *model.families[1:]))
    whole, apart = with_margins(model, timelines, seed=2), with_margins(model, Thirds(timelines), seed=2)
    for name in ("never", "never_with_parent", "boost"):
        before, once, summed = (np.asarray(getattr(one.families[0], name)) for one in (model, whole, apart))
        np.testing.assert_array_equal(once, summed)
        assert not np.array_equal(before, once), name


def test_a_chunk_of_visits_without_conditions_is_learned_from_like_any_other() -> None:
    records = cohort(60, visits=4, per_visit=2, codes=5)
    rows = records["condition"]
    late = np.array([int(one[1:]) >= 30 for one in rows["patient_id"].to_pylist()])
    records = records.replace(condition=rows.filter(late & (np.random.default_rng(1).random(len(late)) < 0.4)))
    settings = replace(SETTINGS, chunk_visits=16)
    family = learn(records, settings=settings, seed=1).families[0]
    assert family.company is not None and family.tilt is not None
