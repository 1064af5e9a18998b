"""Gaps that lead beyond where people are followed are made as rare as they are."""

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
    weight = learn_landing([chunk], np.ones((1, 1)), days, edges, n_visits=chunk.timelines.n_visits, min_patients=5)  # type: ignore[list-item]
    assert weight.shape == (4, 4)
    np.testing.assert_allclose(weight.max(axis=1), 1.0)
    # From days 80 to 119 most gaps would lead beyond; none was seen to.
    assert weight[2, 3] < 0.02
    assert weight[1, 3] < 0.02
    # Within reach the gaps are as they come.
    np.testing.assert_allclose(weight[0, :2], 1.0, rtol=0.15)


def test_one_band_says_nothing() -> None:
    days = Histogram(edges=np.array([1, 101]), coarse=np.array([0]), weight=np.array([1.0]))
    weight = learn_landing([], np.ones((1, 1)), days, np.array([0]), n_visits=1, min_patients=5)
    assert weight.tolist() == [[1.0]]
