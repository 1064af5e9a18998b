"""Visits with room for a fixed number of codes, and codes of all tables drawn together, against listing all sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.generation.codes import VisitContext
from ehrsynth.generation.joint import JointSampler
from ehrsynth.generation.slots import SlotSampler
from ehrsynth.model import EVERY_TABLE, CodeFamily, Strata
from ehrsynth.probability.association import chow_liu_forest
from ehrsynth.randomness import stream

Score = Callable[[np.ndarray, np.ndarray], float]
PEOPLE = 20_000


def context(n: int, visits: int) -> VisitContext:
    """Men of sixty, all visits in state 0 and stratum 0."""
    total = n * visits
    zeros = np.zeros(total, dtype=np.int64)
    return VisitContext(
        patient=np.repeat(np.arange(n), visits),
        offsets=np.arange(n + 1) * visits,
        state=zeros,
        stratum=zeros,
        sex=zeros + 2,
        years_at_start=zeros + 60,
        years_at_end=zeros + 60,
    )


def family(models: ModuleType, sizes: tuple[float, ...]) -> CodeFamily:
    """The tiny conditions with slots."""
    conditions = models.conditions()
    return replace(conditions, sizes=np.tile(np.array(sizes), (len(conditions.never), 1)), zero_truncated=True)


def odds(one: CodeFamily, table: np.ndarray) -> np.ndarray:
    """Odds of the codes of a man of sixty in state 0 and stratum 0."""
    p = np.asarray(table, dtype=np.float64)[0]
    possible = (one.sex_limit != 1) & (one.age_min <= 60) & (one.age_max >= 60)
    return p / (1 - p) * np.asarray(one.lift, dtype=np.float64)[0] * possible


def successive(weight: np.ndarray, boost: np.ndarray) -> dict[tuple[int, int], float]:
    """P(set of two), drawn one after the other: the second by its odds times what the first adds or takes away."""
    found: dict[tuple[int, int], float] = {}
    for first, second in itertools.permutations(range(len(weight)), 2):
        second_odds = weight * (1 + np.maximum(boost[first], 0)) * (1 + np.minimum(boost[first], 0))
        second_odds[first] = 0.0
        chance = weight[first] / weight.sum() * second_odds[second] / second_odds.sum()
        key = (min(first, second), max(first, second))
        found[key] = found.get(key, 0.0) + chance
    return found


@pytest.mark.parametrize("with_company", [False, True])
def test_codes_are_drawn_one_after_the_other_by_their_odds(
    models: ModuleType, score: Score, with_company: bool
) -> None:
    one = family(models, (0.0, 0.0, 1.0))
    weight = odds(one, one.never)
    boost = np.zeros((len(weight), len(weight)))
    if with_company:
        a, b, c = np.argsort(-weight)[:3].tolist()
        boost[a, b] = boost[b, a] = -0.8
        boost[a, c] = boost[c, a] = 3.0
        given, code = np.nonzero(boost)
        company = np.column_stack([np.zeros_like(given), given, code])
        one = replace(one, company=company, boost=boost[given, code])
    present = SlotSampler(one).draw(context(PEOPLE, 1), stream(1, "slots"))
    assert (np.bincount(present.visit) == 2).all()
    pairs = present.code.reshape(-1, 2)
    expected = successive(weight, boost)
    number = {chosen: i for i, chosen in enumerate(expected)}
    counts = np.bincount([number[tuple(pair)] for pair in pairs.tolist()], minlength=len(expected))
    assert score(counts, np.array(list(expected.values()))) < 3.5


def test_the_visit_before_and_how_often_a_code_was_had_move_odds(models: ModuleType, score: Score) -> None:
    one = family(models, (0.0, 1.0))
    never, previous = odds(one, one.never), odds(one, one.previous)
    had, pulled = np.argsort(-never)[:2].tolist()
    lift = np.ones((len(never), 2))
    lift[had] = 0.25, 4.0
    one = replace(one, company=np.array([[1, had, pulled]]), boost=np.array([2.0]), count_lift=lift)
    present = SlotSampler(one).draw(context(PEOPLE, 3), stream(5, "slots"))
    first, second, third = present.code.reshape(-1, 3).T
    weight = never.copy()
    weight[had], weight[pulled] = 0.25 * previous[had], 3.0 * never[pulled]
    counts = np.bincount(second[first == had], minlength=len(weight))
    assert score(counts, weight / weight.sum()) < 3.5
    weight[had] = 4.0 * previous[had]
    counts = np.bincount(third[(first == had) & (second == had)], minlength=len(weight))
    assert score(counts, weight / weight.sum()) < 3.5


def test_the_number_of_codes_follows_from_tilt_and_odds(models: ModuleType, score: Score) -> None:
    conditions = models.conditions()
    tilt = np.tile(np.array([1.0, 0.5, 2.0]), (len(conditions.never), 1))
    anybody = {"sex_limit": np.zeros(9, dtype=np.int8), "age_min": np.zeros(9), "age_max": np.full(9, np.inf)}
    one = replace(conditions, tilt=tilt, **anybody)
    weight = odds(one, one.never)
    e = np.array([1.0, weight.sum(), sum(a * b for a, b in itertools.combinations(weight, 2))])
    present = SlotSampler(one).draw(context(PEOPLE, 1), stream(6, "slots"))
    counts = np.bincount(np.bincount(present.visit, minlength=PEOPLE), minlength=3)
    assert score(counts, tilt[0] * e / (tilt[0] * e).sum()) < 3.5


def test_codes_that_were_had_have_their_own_odds(models: ModuleType, score: Score) -> None:
    one = family(models, (0.0, 1.0))
    present = SlotSampler(one).draw(context(PEOPLE, 2), stream(2, "slots"))
    first, second = present.code.reshape(-1, 2).T
    np.testing.assert_array_equal(present.recurs.reshape(-1, 2)[:, 1], first == second)
    never, previous = odds(one, one.never), odds(one, one.previous)
    had = int(np.bincount(first).argmax())
    weight = never.copy()
    weight[had] = previous[had]
    assert score(np.bincount(second[first == had], minlength=len(weight)), weight / weight.sum()) < 3.5


def test_sizes_are_met_where_there_are_codes_enough(models: ModuleType) -> None:
    one = family(models, (0.0, 0.3, 0.0, 0.7))
    present = SlotSampler(one).draw(context(4000, 1), stream(3, "slots"))
    share = np.bincount(np.bincount(present.visit), minlength=4) / 4000
    np.testing.assert_allclose(share, [0.0, 0.3, 0.0, 0.7], atol=0.03)


def joint(models: ModuleType, *, sizes: tuple[float, ...] | None) -> tuple[CodeFamily, CodeFamily]:
    """The tiny conditions and a drug whose parent is the second of them, as one forest."""
    conditions = replace(models.conditions(), parent_table=EVERY_TABLE, zero_truncated=True)
    if sizes is not None:
        conditions = replace(family(models, sizes), parent_table=EVERY_TABLE, parent=np.full(9, -1, dtype=np.int32))
    q, r = len(conditions.never), len(conditions.lift)

    def table(value: float) -> np.ndarray:
        return np.full((q, 1), value, dtype=np.float32)

    drug = replace(
        models.conditions(),
        table="medication_request",
        codings=conditions.codings[:1],
        never=table(0.05),
        never_with_parent=table(0.8),
        previous=table(0.5),
        earlier=table(0.3),
        parent_table=EVERY_TABLE,
        parent=np.array([1], dtype=np.int32),
        lift=np.ones((r, 1), dtype=np.float32),
        sex_limit=np.zeros(1, dtype=np.int8),
        age_min=np.zeros(1),
        age_max=np.full(1, np.inf),
        zero_truncated=sizes is None,
    )
    return conditions, drug


def test_drugs_follow_their_condition_and_no_visit_is_empty(models: ModuleType) -> None:
    strata = Strata(sexes=models.SEXES, age_edges=models.AGE_EDGES)
    for sizes in (None, (0.0, 0.0, 1.0)):
        found = JointSampler(joint(models, sizes=sizes), strata).draw(context(6000, 1), stream(4, "joint"))
        conditions, drugs = found["condition"], found["medication_request"]
        filled = np.zeros(6000, dtype=bool)
        filled[conditions.visit] = True
        with_parent = np.zeros(6000, dtype=bool)
        with_parent[conditions.visit[conditions.code == 1]] = True
        treated = np.zeros(6000, dtype=bool)
        treated[drugs.visit] = True
        assert (filled | treated).all()
        assert with_parent.sum() > 100
        assert abs(treated[with_parent].mean() - 0.8) < 0.06
        if sizes is not None:
            assert filled.all()
            assert abs(treated[~with_parent].mean() - 0.05) < 0.02


def test_given_parents_are_kept_and_the_rest_hangs_from_them() -> None:
    # 0 and 1 are given as strangers; 2 goes with 1, 3 with 2; 2 and 0 also go together, less.
    rng = np.random.default_rng(1)
    base = rng.random((5000, 4))
    data = np.zeros((5000, 4), dtype=bool)
    data[:, 0], data[:, 1] = base[:, 0] < 0.4, base[:, 1] < 0.3
    data[:, 2] = np.where(data[:, 1], base[:, 2] < 0.9, base[:, 2] < 0.1) | (data[:, 0] & (base[:, 3] < 0.1))
    data[:, 3] = np.where(data[:, 2], rng.random(5000) < 0.8, rng.random(5000) < 0.1)
    i, j = np.triu_indices(4, 1)
    both = (data[:, i] & data[:, j]).sum(axis=0).astype(float)
    parent = chow_liu_forest(5000, data.sum(axis=0).astype(float), (i, j, both), given=np.array([-1, -1]))
    np.testing.assert_array_equal(parent, [-1, -1, 1, 2])
