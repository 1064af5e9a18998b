"""Days by age and by time before an end, and rates that are a product of both."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.learning.series_starts import age_period
from ehrsynth.model.series import BESIDE_DAYS, beside, near_days
from ehrsynth.probability.lexis import exposure, segments


def test_every_day_is_in_its_cell_and_band() -> None:
    rng = np.random.default_rng(1)
    n = 60
    low = rng.integers(0, 200, n)
    high = low + rng.integers(-5, 300, n)
    end = np.maximum(high, low) + rng.integers(0, 100, n)
    edges, backs = np.array([50, 90, 91, 240]), np.array([0, 30, 100])
    group, weight = rng.integers(0, 2, n), rng.random(n)
    expected = np.zeros((2, 3, 3))
    for i in range(n):
        for day in range(low[i], high[i] + 1):
            cell = np.searchsorted(edges, day, side="right") - 1
            band = np.searchsorted(backs, end[i] - day, side="right") - 1
            if 0 <= cell < 3:
                expected[group[i], cell, band] += weight[i]
    found = exposure(low, high, end, group, weight, 2, edges, backs)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_pieces_follow_each_other_and_are_all_days() -> None:
    first, days, _, _ = segments(
        np.array([3, 10]), np.array([40, 9]), np.array([60, 60]), np.array([5, 20]), np.array([0, 30])
    )
    assert days.sum(axis=1).tolist() == [38, 0]
    assert (np.diff(first, axis=1) >= 0).all()
    assert first[0, 0] == 3


def test_rates_by_age_and_period_are_found_again() -> None:
    rng = np.random.default_rng(2)
    rate, period, sex = np.array([2e-3, 1e-2, 5e-4]), np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5])
    days = rng.uniform(5e4, 2e5, (2, 3, 3))
    began = rng.poisson(days * np.einsum("f,p,s->sfp", rate, period, sex)).astype(float)
    found = np.einsum("f,p,s->sfp", *age_period(began, days, 5))
    true = np.einsum("f,p,s->sfp", rate, period, sex)
    np.testing.assert_allclose(found[:, :, 1:], true[:, :, 1:], rtol=0.15)
    # Where nobody of many began, hardly anybody will.
    assert found[:, :, 0].max() < 0.02 * true.max()


def test_a_period_of_few_is_told_with_the_next() -> None:
    began = np.zeros((1, 1, 4))
    began[0, 0] = [2.0, 2.0, 30.0, 30.0]
    _, period, _ = age_period(began, np.full((1, 1, 4), 100.0), 5)
    assert period[0] == period[1] == period[2]
    assert period[3] != period[2]


def test_the_nearest_visit_is_the_one_shortly_before() -> None:
    patient, age = np.array([0, 0, 1, 2]), np.array([100, 300, 50, 50])
    days, near = beside(patient, age, np.full(4, 10), np.array([0, 0, 0, 1]), np.array([90, 104, 340, 52]))
    assert days[:3].tolist() == [10, -40, -2]
    # Ten days after one, though another comes in four.
    assert days[0] <= BESIDE_DAYS
    assert near.tolist() == [True, False, True, False]
    none, far = beside(patient, age, np.full(4, 10), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert not far.any()
    assert (none > 10**6).all()


@pytest.mark.parametrize(("age", "reach", "days"), [(100, 10_000, 14), (10_000, 10_000, 400), (10_000, 90, 90)])
def test_days_that_are_near_grow_with_age_up_to_the_reach(age: int, reach: int, days: int) -> None:
    assert near_days(np.array([age]), np.array([reach])).tolist() == [days]
