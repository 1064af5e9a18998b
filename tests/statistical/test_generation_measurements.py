"""Generated numbers: margins met exactly, correlations within a visit and within a person as the model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.generation.measurements import MeasurementSampler, cholesky
from ehrsynth.model import Measurements
from ehrsynth.randomness import stream

Score = Callable[[np.ndarray, np.ndarray], float]
PEOPLE, VISITS = 4000, 3
M = 5


@pytest.fixture
def drawn(models: ModuleType) -> tuple[Measurements, np.ndarray, np.ndarray, np.ndarray]:
    """Every measurement in every visit; states as the model's shares say. Values are [people, visits, M]."""
    model = models.measurements()
    sampler = MeasurementSampler(model)
    rng = stream(31, "cohort")
    state = rng.choice(models.Q, size=PEOPLE * VISITS, p=model.state_share[:, 0])
    patient = np.repeat(np.arange(PEOPLE), VISITS * M)
    occasion = np.repeat(np.arange(PEOPLE * VISITS), M)
    persons = sampler.persons(PEOPLE, stream(31, "persons"))
    measurement = np.tile(np.arange(M), PEOPLE * VISITS)
    values, known = sampler.values(persons, patient, occasion, state[occasion], measurement, stream(31, "values"))
    shape = (PEOPLE, VISITS, M)
    return model, values.reshape(shape), known.reshape(shape), state.reshape(PEOPLE, VISITS)


def test_margins_are_met_however_far_the_states_lie_apart(
    drawn: tuple[Measurements, np.ndarray, np.ndarray, np.ndarray], score: Score
) -> None:
    model, values, _, _ = drawn
    for m, margin in enumerate(model.margins):
        # One visit a person: those of one person are no independent draws.
        one = np.round(values[:, 0, m] * 10**margin.decimals).astype(np.int64)
        assert one.min() >= margin.lower[0]
        assert one.max() <= margin.upper[-1]
        cell = np.searchsorted(margin.upper, one)
        assert (one >= margin.lower[cell]).all()
        assert score(np.bincount(cell, minlength=len(margin.weight)), margin.weight) < 3.5


def test_a_state_moves_its_numbers(drawn: tuple[Measurements, np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, values, _, state = drawn
    glucose = values[:, :, 2]
    assert np.median(glucose[state == 5]) > np.median(glucose[state == 0]) + 15


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)


def test_measurements_of_a_visit_correlate_as_person_and_visit_say(
    models: ModuleType, drawn: tuple[Measurements, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    model = models.measurements()
    flat = replace(model, shift=np.zeros_like(model.shift), margins=tuple(wide(models) for _ in range(M)))
    sampler = MeasurementSampler(flat)
    n = 20_000
    patient = np.repeat(np.arange(n), 2 * M)
    occasion = np.repeat(np.arange(2 * n), M)
    measurement = np.tile(np.arange(M), 2 * n)
    persons = sampler.persons(n, stream(32, "persons"))
    state = np.zeros(len(patient), dtype=np.int64)
    values, _ = sampler.values(persons, patient, occasion, state, measurement, stream(32, "values"))
    first, second = values.reshape(n, 2, M)[:, 0], values.reshape(n, 2, M)[:, 1]
    share = np.sqrt(model.person_share)
    rest = np.sqrt(1 - model.person_share)
    within = share[:, None] * share * model.person + rest[:, None] * rest * model.visit
    between = share[:, None] * share * model.person
    assert np.abs(np.corrcoef(first.T) - within).max() < 0.03
    across = np.corrcoef(first.T, second.T)[:M, M:]
    assert np.abs(across - between).max() < 0.03


def wide(models: ModuleType) -> object:
    """A margin that is normal in 4,000 steps: values are scores."""
    import math

    edges = np.linspace(-4, 4, 4001)
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in edges])
    weight = np.diff(cdf)
    low = np.round(edges[:-1] * 1000).astype(np.int64)
    return models.QuantileDistribution(lower=low, upper=low + 1, weight=weight / weight.sum(), decimals=3)


def test_blanks_come_back_as_blanks(drawn: tuple[Measurements, np.ndarray, np.ndarray, np.ndarray]) -> None:
    model, _, known, _ = drawn
    share = known.reshape(-1, M).mean(axis=0)
    error = np.sqrt(model.value_known * (1 - model.value_known) / (PEOPLE * VISITS))
    assert (np.abs(share - model.value_known) <= 4.5 * error).all()


def test_occasions_in_pieces_keep_their_correlation(models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.generation.measurements._WORK_CELLS", 100)
    model = models.measurements()
    sampler = MeasurementSampler(model)
    n = 3000
    occasion, measurement = np.repeat(np.arange(n), 2), np.tile([2, 3], n)
    persons = np.zeros((M, 1))
    zero = np.zeros(2 * n, dtype=np.int64)
    values, _ = sampler.values(persons, zero, occasion, zero, measurement, stream(33, "pieces"))
    assert abs(np.corrcoef(ranks(values[::2]), ranks(values[1::2]))[0, 1] - 0.68) < 0.05


def test_the_triangle_is_that_of_lapack() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(12, 12))
    matrix = half @ half.T + 12 * np.eye(12)
    scale = np.sqrt(np.diag(matrix))
    correlation = matrix / scale / scale[:, None]
    assert np.allclose(cholesky(correlation), np.linalg.cholesky(correlation), atol=1e-12)
    with pytest.raises(ModelError, match="positive definite"):
        cholesky(np.array([[1.0, 1.0], [1.0, 1.0]]))
