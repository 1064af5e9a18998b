"""Visits against every possible course of a record, enumerated; encounters against the tables they are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.generation.encounters import DAY, EncounterSampler
from ehrsynth.generation.population import People
from ehrsynth.generation.trajectory import TrajectorySampler, Visits
from ehrsynth.model import Trajectory
from ehrsynth.randomness import stream

N = 80_000
Score = Callable[[np.ndarray, np.ndarray], float]
JUMP = 4000  # Days; two of them lead a child of ten across its eighteenth birthday.


def people(n: int, *, sex: int = 1, group: int = 1, age_days: int = 3650) -> People:
    return People(sex=np.full(n, sex), group=np.full(n, group), age_days=np.full(n, age_days), states={}, labels={})


@pytest.fixture
def jumping(models: ModuleType) -> Trajectory:
    """Days between visits are 0 or `JUMP`, transitions differ by age, the hazard by the visit's number."""
    trajectory = models.trajectory()
    return replace(
        trajectory,
        transition_stratum=np.array([0, 1, 0, 1, 0, 0]),
        gap=np.tile([[0.3, 0.7], [0.5, 0.5], [0.9, 0.1]], (2, 1)),
        gap_days=models.histogram((0, 1, 0, 1.0), (1, JUMP, 1, 0.0), (JUMP, JUMP + 1, 1, 1.0)),
        end_hazard=np.array([[0.2, 0.15, 0.25, 0.3, 0.2, 0.1], [0.5, 0.4, 0.3, 0.6, 0.5, 0.4]]),
        visit_edges=np.array([1, 3]),
    )


@pytest.mark.parametrize("at", ["left", "next"])
def test_every_course_of_a_record_comes_as_often_as_the_model_says(jumping: Trajectory, score: Score, at: str) -> None:
    jumping = replace(jumping, transition_at=at)
    visits = TrajectorySampler(jumping).draw(people(N), stream(21, "courses"))
    offset, k = 3, 3
    probability: dict[tuple[int, ...], float] = {}
    for q1 in range(k):
        p1 = jumping.initial[3, offset + q1]
        h1 = jumping.end_hazard[0, offset + q1]
        probability[(q1,)] = p1 * h1
        for b1 in range(2):
            for q2 in range(k):
                # Ten years old at the first visit, twenty after a jump: another stratum, another matrix.
                matrix = 0 if b1 and at == "next" else 1
                step = (1 - h1) * jumping.gap[offset + q1, b1] * jumping.transition[matrix, 1, q1, q2]
                p2 = p1 * step
                h2 = jumping.end_hazard[0, offset + q2]
                probability[(q1, b1, q2)] = p2 * h2
                for b2 in range(2):
                    for q3 in range(k):
                        matrix = 0 if b1 or (b2 and at == "next") else 1
                        step = (1 - h2) * jumping.gap[offset + q2, b2] * jumping.transition[matrix, 1, q2, q3]
                        probability[(q1, b1, q2, b2, q3)] = p2 * step
    # Strata: girls 3 (0-18), 4 (18-50); the matrix of 4 is the 0th, of 3 the 1st.
    assert jumping.transition_stratum[3] == 1
    assert jumping.transition_stratum[4] == 0
    first = visits.offsets[:-1]
    length = np.diff(visits.offsets)
    state = visits.state - offset
    jumped = np.append(np.diff(visits.day) == JUMP, False).astype(int)
    keys = list(probability)
    number = {key: i for i, key in enumerate(keys)}
    observed = np.zeros(len(keys))
    for depth in (1, 2, 3):
        of = first[length == depth] if depth < 3 else first[length >= 3]
        columns = [state[of]]
        for t in range(1, depth):
            columns += [jumped[of + t - 1], state[of + t]]
        found, count = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
        for row, times in zip(found.tolist(), count, strict=True):
            observed[number[tuple(row)]] += times
    assert observed.sum() == N
    assert score(observed, np.array(list(probability.values()))) < 3.5


def test_next_visits_fall_by_age_where_the_weights_say(jumping: Trajectory) -> None:
    # From childhood hardly a visit leads beyond the eighteenth birthday; from there on all do.
    landing = np.array([[1.0, 0.1, 0.1], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    found = []
    for one in (jumping, replace(jumping, age_landing=landing)):
        visits = TrajectorySampler(one).draw(people(N), stream(24, "landing"))
        second = visits.offsets[:-1][np.diff(visits.offsets) > 1] + 1
        for q in range(3, 6):
            after = second[visits.state[second - 1] == q]
            found.append(float((visits.day[after] == JUMP).mean()))
    jump = jumping.gap[3:, 1]
    np.testing.assert_allclose(found[:3], jump, atol=0.015)
    np.testing.assert_allclose(found[3:], 0.1 * jump / (0.1 * jump + 1.0 - jump), atol=0.015)


def test_ends_depend_on_the_age_at_the_first_visit_and_the_days_since(jumping: Trajectory) -> None:
    trajectory = replace(
        jumping,
        end_hazard=np.repeat(jumping.end_hazard, 2, axis=0),
        elapsed_edges=np.array([0, JUMP]),
        start_edges=np.array([0, 3650]),
        end_lift=np.array([[1.0, 1.0], [3.0, 0.5]]),
    )
    for age, (first_lift, later_lift) in ((3649, (1.0, 1.0)), (3650, (3.0, 0.5))):
        visits = TrajectorySampler(trajectory).draw(people(N, age_days=age), stream(25, "ends"))
        ended = np.zeros(len(visits), dtype=bool)
        ended[visits.offsets[1:] - 1] = True
        for later, lift in ((False, first_lift), (True, later_lift)):
            for q in range(3, 6):
                at = (visits.number < 3) & ((visits.day >= JUMP) == later) & (visits.state == q)
                odds = jumping.end_hazard[0, q] / (1 - jumping.end_hazard[0, q]) * lift
                expected = odds / (1 + odds)
                assert abs(ended[at].mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / at.sum())


def test_gaps_and_ends_depend_on_the_age_at_the_visit(jumping: Trajectory) -> None:
    trajectory = replace(
        jumping,
        age_edges=np.array([0, 3650 + JUMP]),
        age_gap=np.array([[1.0, 3.0], [4.0, 1.0]]),
        age_end=np.array([1.0, 2.5]),
    )
    visits = TrajectorySampler(trajectory).draw(people(N), stream(26, "ages"))
    ended = np.zeros(len(visits), dtype=bool)
    ended[visits.offsets[1:] - 1] = True
    jumps = np.append(np.diff(visits.day), 0) == JUMP
    for later in (False, True):
        for q in range(3, 6):
            at = ((visits.age_days >= 3650 + JUMP) == later) & (visits.state == q)
            weight = np.array([jumping.gap[q, b] * trajectory.age_gap[int(later), b] for b in range(2)])
            expected = weight[1] / weight.sum()
            going = at & ~ended
            assert abs(jumps[going].mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / going.sum())
            early = at & (visits.number < 3)
            odds = jumping.end_hazard[0, q] / (1 - jumping.end_hazard[0, q]) * trajectory.age_end[int(later)]
            expected = odds / (1 + odds)
            assert abs(ended[early].mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / early.sum())


def test_transitions_remember_a_code(models: ModuleType) -> None:
    """Who has had the code goes by the other matrices, and who has not is drawn to the states that have it."""
    model = models.tiny_model()
    family = model.families[0]
    n_states = np.asarray(family.never).shape[0]
    chance = np.linspace(0.0, 0.9, n_states)
    never = np.array(family.never, dtype=np.float64)
    never[:, 0] = chance
    plain = np.zeros_like(np.asarray(family.earlier))
    lift = np.ones_like(np.asarray(family.lift))
    anybody = np.zeros(len(family.codings), dtype=np.int8)
    ages = np.zeros(len(family.codings)), np.full(len(family.codings), np.inf)
    family = replace(family, never=never, earlier=plain, lift=lift, sex_limit=anybody, age_min=ages[0], age_max=ages[1])
    t = models.trajectory()
    before = np.asarray(t.transition)
    after = np.roll(before, 1, axis=-1)
    tilt = 1.5
    t = replace(
        t,
        transition=np.concatenate([before, after]),
        transition_stratum=np.zeros(len(t.strata), dtype=np.int64),
        lead=0,
        lead_tilt=np.array([[tilt]]),
        lead_end=np.array([[1.0, 2.0]]),
    )
    visits = TrajectorySampler(t, (family,)).draw(people(N), stream(27, "lead"))
    assert visits.leads is not None
    so_far = np.cumsum(visits.leads) - visits.leads
    had_before = so_far > so_far[visits.offsets[:-1]][visits.patient]
    assert not (visits.leads & had_before).any()
    ended = np.zeros(len(visits), dtype=bool)
    ended[visits.offsets[1:] - 1] = True
    left = np.flatnonzero(~ended)
    had = had_before | visits.leads
    for q in range(3, 6):
        new = (visits.state == q) & ~had_before
        p = chance[q]
        assert abs(visits.leads[new].mean() - p) < 4.5 * np.sqrt(p * (1 - p) / new.sum())
        for which in (False, True):
            mine = left[(visits.state[left] == q) & (had[left] == which)]
            row = (after if which else before * np.exp(tilt * chance.reshape(2, 1, 3)))[0, 1, q - 3]
            row = row / row.sum()
            found = np.bincount(visits.state[mine + 1] - 3, minlength=3) / len(mine)
            assert (np.abs(found - row) < 4.5 * np.sqrt(row * (1 - row) / len(mine)) + 1e-12).all()
            early = (visits.state == q) & (had == which) & (visits.number < 4)
            odds = t.end_hazard[0, q] / (1 - t.end_hazard[0, q]) * (2.0 if which else 1.0)
            expected = odds / (1 + odds)
            assert abs(ended[early].mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / early.sum())


def test_nobody_is_followed_to_an_age_that_nobody_reaches(models: ModuleType) -> None:
    model = models.tiny_model()
    calendar = replace(
        model.calendar, tail=np.ones((1, 1)), tail_days=models.histogram((50_000, 50_001, 0, 1.0)), spread_days=0
    )
    model = replace(model, calendar=calendar)
    sampler = EncounterSampler(model, date(2020, 1, 1))
    drawn = sampler.draw(one_visit_each(500, 0), np.full(500, 90 * 365), stream(26, "tail"))
    assert ((drawn.record_end_day - drawn.birth_day) < 119 * 366).all()


def test_the_hazard_follows_the_number_of_the_visit(jumping: Trajectory) -> None:
    visits = TrajectorySampler(jumping).draw(people(N), stream(22, "hazard"))
    last = visits.offsets[1:] - 1
    ended = np.zeros(len(visits), dtype=bool)
    ended[last] = True
    for band, (low, high) in enumerate(((1, 2), (3, 1000))):
        of_band = (visits.number >= low) & (visits.number <= high)
        for q in range(3, 6):
            at = of_band & (visits.state == q)
            expected = jumping.end_hazard[band, q]
            error = np.sqrt(expected * (1 - expected) / at.sum())
            assert abs(ended[at].mean() - expected) < 4.5 * error


def test_deaths_follow_stratum_and_state_of_the_last_visit(models: ModuleType, score: Score) -> None:
    trajectory = models.trajectory()
    visits = TrajectorySampler(trajectory).draw(people(N, age_days=60 * 365), stream(23, "deaths"))
    last = visits.offsets[1:] - 1
    died = visits.death_days >= 0
    for q in range(3, 6):
        at = visits.state[last] == q
        expected = trajectory.death_given_end[5, q]
        error = np.sqrt(expected * (1 - expected) / at.sum())
        assert abs(died[at].mean() - expected) < 4.5 * error
    days = visits.death_days[died]
    cells = np.array([(days == 0).sum(), ((days >= 1) & (days <= 30)).sum(), (days >= 31).sum()])
    assert score(cells, trajectory.death_days.weight) < 3.5
    assert days.max() < 1000


def one_visit_each(n: int, state: int) -> Visits:
    return Visits(
        patient=np.arange(n),
        offsets=np.arange(n + 1),
        state=np.full(n, state),
        age_days=np.full(n, 9000),
        day=np.zeros(n, dtype=np.int64),
        stratum=np.full(n, 4),
        death_days=np.full(n, -1),
    )


@pytest.mark.parametrize("state", [0, 5])
def test_encounters_follow_their_tables(models: ModuleType, state: int, score: Score) -> None:
    model = models.tiny_model()
    trajectory = model.trajectory
    sampler = EncounterSampler(model, date(2024, 6, 30))
    found = sampler.draw(one_visit_each(N, state), np.full(N, 9000), stream(24, "encounters"))
    assert score(np.bincount(found.kind, minlength=3), trajectory.encounter_class[state]) < 3.5
    for kind in range(3):
        at = found.kind == kind
        if at.sum() < 500:
            continue
        start = found.start[at] % DAY // 60
        cells = np.histogram(start, bins=[0, 480, 1020, 1440])[0]
        assert score(cells, trajectory.start_minute[kind, 0]) < 3.5
        known = found.end_known[at]
        assert abs(known.mean() - trajectory.stay_known[kind]) < 4.5 * np.sqrt(0.25 / at.sum())
        minutes = (found.end - found.start)[at][known] // 60
        cells = np.histogram(minutes, bins=[0, 10, 60, 720, 2880, 28800])[0]
        bins = trajectory.stay[kind, state]
        assert score(cells, np.array([bins[0] * 0.2, bins[0] * 0.8, bins[1], bins[2] * 0.5, bins[2] * 0.5])) < 3.5
        # Nobody dies here: the rest of the dispositions, renormalised.
        rest = trajectory.disposition[kind, state] * (np.arange(4) != 2)
        assert score(np.bincount(found.disposition[at], minlength=4), rest / rest.sum()) < 3.5
        assert score(np.bincount(found.admit_source[at], minlength=2), trajectory.admit_source[kind, state]) < 3.5


def test_the_record_ends_where_tail_and_spread_say(models: ModuleType, score: Score) -> None:
    model = models.tiny_model()
    calendar = replace(model.calendar, spread_days=10)
    sampler = EncounterSampler(replace(model, calendar=calendar), date(2024, 6, 30))
    found = sampler.draw(one_visit_each(N, 0), np.full(N, 9000), stream(25, "tail"))
    reference = (date(2024, 6, 30) - date(1970, 1, 1)).days
    back = reference - found.record_end_day
    assert score(np.bincount(back, minlength=11), np.full(11, 1 / 11)) < 3.5
    tail = found.record_end_day - found.end // DAY
    assert score(np.histogram(tail, bins=[0, 31, 731])[0], np.array([0.4, 0.6])) < 3.5
    assert (found.birth_day == found.record_start_day - 9000).all()
