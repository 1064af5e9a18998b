"""Whole courses are in the states that people of the source are in: by age, and by who was ever in them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ehrsynth.generation.population import Population
from ehrsynth.generation.trajectory import TrajectorySampler, Visits
from ehrsynth.learning.occupancy import with_occupancy
from ehrsynth.model import PatientModel
from ehrsynth.randomness import stream

N, T = 1_200, 8


def drawn(model: PatientModel) -> Visits:
    people = Population(model).draw(7, 0)
    return TrajectorySampler(model.trajectory).draw(people, stream(7, "test"))


def source(state: np.ndarray, stratum: np.ndarray, n_states: int) -> Any:
    """Return people of T visits in one state of one stratum each."""
    gamma = np.zeros((N * T, n_states), dtype=np.float32)
    gamma[np.arange(N * T), np.repeat(state, T)] = 1.0
    return SimpleNamespace(
        timelines=SimpleNamespace(offsets=np.arange(N + 1) * T), stratum=np.repeat(stratum, T), gamma=gamma
    )


def model_of(models: Any) -> PatientModel:
    """Return the tiny model with people who change between two states of their class at random."""
    model = models.tiny_model()
    t = model.trajectory
    return replace(
        model,
        trajectory=replace(
            t,
            initial=np.tile([0.5, 0.5, 0.0], (len(t.strata), t.n_classes)),
            transition=np.tile([0.5, 0.5, 0.0], (*t.transition.shape[:3], 1)),
        ),
    )


def test_people_stay_in_the_states_that_are_theirs(models: Any) -> None:
    model = model_of(models)
    t, rng = model.trajectory, np.random.default_rng(1)
    q = t.n_classes * t.n_states
    state = rng.integers(0, t.n_classes, N) * t.n_states + rng.integers(0, 2, N)
    moved = with_occupancy(model, [source(state, rng.integers(0, len(t.strata), N), q)], N, 1)

    def states_each(one: PatientModel) -> float:
        visits = drawn(one)
        several = np.diff(visits.offsets) >= 4
        pairs = np.unique(visits.patient * q + visits.state) // q
        return float(np.bincount(pairs, minlength=len(several))[several].mean())

    assert states_each(model) > 1.8
    assert states_each(moved) < 1.3


def test_no_age_is_in_states_that_nobody_of_it_is_in(models: Any) -> None:
    model = model_of(models)
    t, rng = model.trajectory, np.random.default_rng(2)
    q, n_ages = t.n_classes * t.n_states, t.strata.n_ages
    stratum = rng.integers(0, len(t.strata), N)
    # The oldest are never in the second state.
    second = (rng.random(N) < 0.5) & (stratum % n_ages < n_ages - 1)
    state = rng.integers(0, t.n_classes, N) * t.n_states + second
    moved = with_occupancy(model, [source(state, stratum, q)], N, 1)
    visits = drawn(moved)
    old = (visits.stratum % n_ages == n_ages - 1) & (visits.number > 1)
    assert old.sum() > 300
    assert (visits.state[old] % t.n_states == 1).mean() < 0.02
    before = drawn(model)
    old = (before.stratum % n_ages == n_ages - 1) & (before.number > 1)
    assert (before.state[old] % t.n_states == 1).mean() > 0.4


def test_few_people_and_single_states_are_left_alone(models: Any) -> None:
    model = model_of(models)
    assert with_occupancy(model, [], 100, 1) is model
