"""Gaps that lead beyond where people are followed are made as rare as they are, and those to a birthday as common."""

from __future__ import annotations

import numpy as np

from ehrsynth.learning.landing import learn_landing
from ehrsynth.probability.histogram import Histogram


class _Timelines:
    """Visits of people, as far as the landing of gaps is concerned."""

    def __init__(self, gaps: list[list[int]]) -> None:
        self.gap_days = np.array([gap for one in gaps for gap in [*one, -1]])
        lengths = np.array([len(one) + 1 for one in gaps])
        self.patient_of_visit = np.repeat(np.arange(len(gaps)), lengths)
        self.elapsed_days = np.concatenate([np.cumsum([0, *one]) for one in gaps])
        self.n_visits = len(self.gap_days)
        # Everybody is first seen on the day of birth.
        self.age_years = (self.elapsed_days / 365.2425).astype(np.float32)


class _Chunk:
    def __init__(self, timelines: _Timelines) -> None:
        self.timelines = timelines
        self.gamma = np.ones((timelines.n_visits, 1), dtype=np.float32)


def test_weights_make_next_visits_fall_where_they_do() -> None:
    rng = np.random.default_rng(1)
    # Gaps of a day to a hundred, but nobody is followed beyond day 120.
    gaps = []
    for _ in range(2_000):
        mine = rng.integers(1, 101, size=8)
        kept = int((np.cumsum(mine) < 120).sum())
        gaps.append(mine[:kept].tolist())
    edges = np.array([0, 40, 80, 120])
    days = Histogram(edges=np.array([1, 101]), coarse=np.array([0]), weight=np.array([1.0]))
    chunk = _Chunk(_Timelines(gaps))
    weight, by_age = learn_landing(
        [chunk],  # type: ignore[list-item]
        np.ones((1, 1)),
        days,
        (edges, np.array([0])),
        n_visits=chunk.timelines.n_visits,
        min_patients=5,
    )
    assert weight.shape == (4, 4)
    assert by_age.tolist() == [[1.0]]
    np.testing.assert_allclose(weight.max(axis=1), 1.0)
    # From days 80 to 119 most gaps would lead beyond; none was seen to.
    assert weight[2, 3] < 0.02
    assert weight[1, 3] < 0.02
    # Within reach the gaps are as they come.
    np.testing.assert_allclose(weight[0, :2], 1.0, rtol=0.15)


def test_one_band_says_nothing() -> None:
    days = Histogram(edges=np.array([1, 101]), coarse=np.array([0]), weight=np.array([1.0]))
    found = learn_landing([], np.ones((1, 1)), days, (np.array([0]), np.array([0])), n_visits=1, min_patients=5)
    assert [one.tolist() for one in found] == [[[1.0]], [[1.0]]]


def test_visits_that_are_due_at_an_age_fall_there() -> None:
    rng = np.random.default_rng(2)
    # From the first days of life half of the next visits are on days 60 to 63, the others on any of a hundred.
    gaps = [[int(rng.integers(60, 64) if rng.random() < 0.5 else rng.integers(1, 101))] for _ in range(4_000)]
    days = Histogram(edges=np.arange(1, 102), coarse=np.zeros(100, dtype=np.int64), weight=np.ones(100))
    ages = np.array([0, 60, 64])
    chunk = _Chunk(_Timelines(gaps))
    _, weight = learn_landing(
        [chunk],  # type: ignore[list-item]
        np.ones((1, 1)),
        days,
        (np.array([0]), ages),
        n_visits=chunk.timelines.n_visits,
        min_patients=5,
    )
    chance = np.array([59, 4, 37]) / 100 * weight[0]
    seen = np.bincount(np.searchsorted(ages, [one[0] for one in gaps], side="right") - 1) / len(gaps)
    np.testing.assert_allclose(chance / chance.sum(), seen, atol=0.01)
    assert seen[1] > 0.5
