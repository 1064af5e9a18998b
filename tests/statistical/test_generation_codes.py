"""The codes of visits against every possible record of a small family, enumerated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.generation.codes import CodeSampler, Present, VisitContext
from ehrsynth.generation.rows import without_followers
from ehrsynth.model import CodeFamily, Coding, Strata
from ehrsynth.randomness import stream

N = 60_000
Score = Callable[[np.ndarray, np.ndarray], float]
STRATA = Strata(sexes=("male", "female"), age_edges=(0.0, 40.0, 120.0))
# A chain 0 -> 1 -> 2 numbered against its order (the root is 2), and a code by itself.
PARENT = np.array([1, 2, -1, -1], dtype=np.int32)
NEVER = np.array([[0.10, 0.30, 0.25, 0.2], [0.05, 0.10, 0.40, 0.6]])
WITH_PARENT = np.array([[0.70, 0.05, 0.9, 0.9], [0.40, 0.50, 0.9, 0.9]])  # One edge says less likely together.
PREVIOUS = np.array([[0.8, 0.1, 0.6, 1.0], [0.5, 0.2, 0.7, 0.0]])
EARLIER = np.array([[0.3, 0.5, 0.2, 0.1], [0.2, 0.6, 0.9, 0.3]])
LIFT = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 0.5, 1.0, 1.5], [0.5, 1.0, 3.0, 1.0], [1.0, 4.0, 0.2, 1.0]])


@pytest.fixture
def family(models: ModuleType) -> CodeFamily:
    return models._family(
        "condition",
        [Coding(system="s", code=str(c)) for c in range(4)],
        never=NEVER,
        never_with_parent=WITH_PARENT,
        previous=PREVIOUS,
        earlier=EARLIER,
        parent=PARENT,
        lift=LIFT,
    )


def contexts(states: tuple[int, ...], strata: tuple[int, ...], *, sex: int = 0, age: int = 30) -> VisitContext:
    """Return N people with the same visits."""
    t = len(states)
    return VisitContext(
        patient=np.repeat(np.arange(N), t),
        offsets=np.arange(N + 1) * t,
        state=np.tile(states, N),
        stratum=np.tile(strata, N),
        sex=np.full(N * t, sex),
        years_at_start=np.full(N * t, age),
        years_at_end=np.full(N * t, age),
    )


def lifted(p: float, lift: float) -> float:
    return p * lift / (1 - p + p * lift)


def exact(
    states: tuple[int, ...],
    strata: tuple[int, ...],
    *,
    truncated: bool,
    possible: tuple[bool, ...] = (True,) * 4,
    outer: tuple[tuple[bool, ...], ...] | None = None,
) -> np.ndarray:
    """Return the probability of every record: 4 bits a visit, the first visit the highest; by enumeration.

    With `outer`, parents are of another family, and outer[t] says which parents visit t has.
    """

    def visit(t: int, codes: tuple[int, ...], past: list[tuple[int, ...]]) -> float:
        q, total = states[t], 1.0
        for c in range(4):
            if past and past[-1][c]:
                p = PREVIOUS[q, c]
            elif any(before[c] for before in past):
                p = EARLIER[q, c]
            else:
                parent = int(PARENT[c])
                has = parent >= 0 and (bool(codes[parent]) if outer is None else outer[t][parent])
                p = WITH_PARENT[q, c] if has else NEVER[q, c]
            p = lifted(p, LIFT[strata[t], c]) if possible[c] else 0.0
            total *= p if codes[c] else 1 - p
        return total

    everything = list(product((0, 1), repeat=4))
    records: list[tuple[list[tuple[int, ...]], float]] = [([], 1.0)]
    for t in range(len(states)):
        longer = []
        for past, weight in records:
            of_visit = np.array([visit(t, codes, past) for codes in everything])
            if truncated:
                of_visit[0] = 0
                of_visit /= of_visit.sum()
            longer += [([*past, codes], weight * p) for codes, p in zip(everything, of_visit, strict=True)]
        records = longer
    return np.array([weight for _, weight in records])


def counts(present: Present, visits: VisitContext, t: int) -> np.ndarray:
    bits = np.zeros(len(visits), dtype=np.int64)
    np.add.at(bits, present.visit, 8 >> present.code)
    record = np.zeros(N, dtype=np.int64)
    for step in range(t):
        record = record * 16 + bits.reshape(N, t)[:, step]
    return np.bincount(record, minlength=16**t)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize(
    ("states", "strata"), [((0,), (0,)), ((0, 1), (1, 2)), ((1, 0, 1), (0, 3, 2)), ((0, 0, 1), (3, 3, 0))]
)
def test_every_record_comes_as_often_as_the_model_says(
    family: CodeFamily, states: tuple[int, ...], strata: tuple[int, ...], truncated: bool, score: Score
) -> None:
    visits = contexts(states, strata)
    sampler = CodeSampler(replace(family, zero_truncated=truncated), STRATA)
    present = sampler.draw(visits, stream(11, f"{states}{strata}{truncated}"))
    assert score(counts(present, visits, len(states)), exact(states, strata, truncated=truncated)) < 3.5


@pytest.mark.parametrize("truncated", [False, True])
def test_strata_that_share_tables_of_rates_are_still_exact(
    family: CodeFamily, truncated: bool, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    monkeypatch.setattr("ehrsynth.generation.code_tables._CELLS", 8)
    visits = contexts((0, 1), (1, 2))
    sampler = CodeSampler(replace(family, zero_truncated=truncated), STRATA)
    assert sampler._tables.group.max() == 0
    present = sampler.draw(visits, stream(12, "shared"))
    assert score(counts(present, visits, 2), exact((0, 1), (1, 2), truncated=truncated)) < 3.5


@pytest.mark.parametrize("truncated", [False, True])
def test_codes_that_a_sex_or_an_age_cannot_have_are_zero_and_the_rest_exact(
    family: CodeFamily, truncated: bool, score: Score
) -> None:
    limited = replace(
        family,
        zero_truncated=truncated,
        sex_limit=np.array([0, 1, 0, 0], dtype=np.int8),
        age_min=np.array([0.0, 0.0, 0.0, 31.0]),
        age_max=np.array([30.0, 124.0, 124.0, 124.0]),
    )
    visits = contexts((0, 1), (0, 0), sex=2, age=30)
    present = CodeSampler(limited, STRATA).draw(visits, stream(13, "limits"))
    possible = (True, False, True, False)
    assert score(counts(present, visits, 2), exact((0, 1), (0, 0), truncated=truncated, possible=possible)) < 3.5


@pytest.mark.parametrize("truncated", [False, True])
def test_details_of_conditions_are_exact_given_the_conditions(
    family: CodeFamily, truncated: bool, score: Score
) -> None:
    detail = replace(family, table="procedure", parent_table="condition", zero_truncated=truncated)
    visits = contexts((0, 1), (1, 2))
    outer = ((False, True, True, False), (False, False, True, False))
    which = [np.flatnonzero(row) for row in outer]
    parents = Present(
        visit=np.concatenate([np.arange(N)[:, None] * 2 + np.repeat([0, 1], [2, 1])]).reshape(-1),
        code=np.tile(np.concatenate(which), N),
        recurs=np.zeros(3 * N, dtype=bool),
    )
    present = CodeSampler(detail, STRATA).draw(visits, stream(14, "details"), parents)
    assert score(counts(present, visits, 2), exact((0, 1), (1, 2), truncated=truncated, outer=outer)) < 3.5


def test_recurrences_in_pieces_are_the_same_law(
    family: CodeFamily, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    monkeypatch.setattr("ehrsynth.generation.codes._WORK_CELLS", 1000)
    visits = contexts((1, 0, 1), (0, 3, 2))
    present = CodeSampler(replace(family, zero_truncated=True), STRATA).draw(visits, stream(15, "pieces"))
    assert score(counts(present, visits, 3), exact((1, 0, 1), (0, 3, 2), truncated=True)) < 3.5


def test_visits_in_which_no_code_is_possible_stay_empty(family: CodeFamily) -> None:
    nobody = replace(family, zero_truncated=True, age_max=np.full(4, 20.0))
    visits = contexts((0, 1), (0, 0), age=30)
    present = CodeSampler(nobody, STRATA).draw(visits, stream(16, "nobody"))
    assert len(present) == 0


def test_recurrence_is_marked(family: CodeFamily) -> None:
    visits = contexts((0, 1, 0), (0, 1, 2))
    present = CodeSampler(family, STRATA).draw(visits, stream(17, "marks"))
    pair = visits.patient[present.visit] * 4 + present.code
    first = np.full(4 * N, 3 * N)
    np.minimum.at(first, pair, present.visit)
    assert np.array_equal(present.recurs, present.visit > first[pair])
    keys = present.visit * 4 + present.code
    assert len(np.unique(keys)) == len(keys)
    assert (np.diff(present.visit) >= 0).all()


def test_codes_come_again_when_they_are_due(family: CodeFamily) -> None:
    """The days since a code and how often it was had multiply its odds, whatever else a visit must have."""
    edges, since = np.array([0, 15]), np.ones((4, 2), dtype=np.float32)
    since[2] = 0.0, 3.0
    count = np.ones((4, 3), dtype=np.float32)
    count[3] = 0.0
    one = replace(family, parent=np.full(4, -1, dtype=np.int32), since_edges=edges, since_lift=since, count_lift=count)
    context = contexts((0, 1, 0, 1, 0), (0, 0, 0, 0, 0))
    days = np.tile(np.arange(5) * 10, N)
    for truncated in (False, True):
        sampler = CodeSampler(replace(one, zero_truncated=truncated), STRATA)
        drawn = sampler.draw(replace(context, day=days), stream(4, "test"))
        had = np.zeros((N * 5, 4), dtype=bool)
        had[drawn.visit, drawn.code] = True
        had = had.reshape(N, 5, 4)
        # Code 3 once in a life; code 2 not within 15 days.
        assert had[:, :, 3].sum(axis=1).max() == 1
        assert not (had[:, :-1, 2] & had[:, 1:, 2]).any()
        if truncated:
            continue
        old = had[:, 0, 2] & ~had[:, 1, 2]
        odds = 3.0 * EARLIER[0, 2] / (1.0 - EARLIER[0, 2])
        assert abs(had[old, 2, 2].mean() - odds / (1.0 + odds)) < 4 * 0.5 / np.sqrt(old.sum())
        # Code 1 goes by neither.
        again = had[:, 0, 1] & ~had[:, 1, 1]
        assert abs(had[again, 2, 1].mean() - EARLIER[0, 1]) < 4 * 0.5 / np.sqrt(again.sum())


def test_a_leader_below_its_follower_takes_its_place(family: CodeFamily) -> None:
    # 2 -> 1 -> 0: when 2 follows 0, its child 1 hangs from 0, which then cannot hang from 1 any more.
    led = without_followers(family, {0: [2]})
    assert led.parent.tolist() == [-1, 0, -1, -1]
    assert not led.never[:, 2].any()
    assert led.never[:, :2] == pytest.approx(NEVER[:, :2])
    CodeSampler(led, STRATA, np.zeros(4, dtype=bool))


def test_leaders_that_hang_from_each_others_followers_make_no_circle(family: CodeFamily) -> None:
    crossed = replace(family, parent=np.array([3, 2, -1, -1], dtype=np.int32))
    # 0 hangs from 3, which follows 1; 1 hangs from 2, which follows 0.
    led = without_followers(crossed, {0: [2], 1: [3]})
    assert led.parent.tolist() == [-1, 0, -1, -1]
    CodeSampler(led, STRATA, np.zeros(4, dtype=bool))
