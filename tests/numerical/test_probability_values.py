"""Histograms and quantile distributions against the values they were made from."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.errors import LearningError, ModelError
from ehrsynth.probability.histogram import Histogram
from ehrsynth.probability.quantiles import QuantileDistribution
from ehrsynth.probability.sketch import ValueSketch


def distance(left, right):
    """The Kolmogorov-Smirnov distance of two samples."""
    grid = np.unique(np.concatenate([left, right]))
    shares = [np.searchsorted(np.sort(side), grid, side="right") / len(side) for side in (left, right)]
    return np.abs(shares[0] - shares[1]).max()


def laboratory(n=60_000, seed=0):
    """Skewed values with one decimal, a detection limit, and round numbers commoner than others."""
    rng = np.random.default_rng(seed)
    values = np.round(np.exp(rng.normal(1.0, 0.8, n)), 1)
    values = np.where(rng.random(n) < 0.2, np.round(values), values)
    return np.maximum(values, 0.6), rng.integers(0, n // 8, n)


def test_generated_values_have_the_distribution_atoms_decimals_and_range():
    values, patients = laboratory()
    found = QuantileDistribution.learn(values, patients)
    assert found.decimals == 1
    made = found.inverse(np.random.default_rng(1).normal(size=60_000))
    assert distance(values, made) < 0.012  # Two samples of 60,000 from one distribution: above .0104 in 1 of 300.
    assert abs((made == 0.6).mean() - (values == 0.6).mean()) < 0.01
    np.testing.assert_array_equal(np.round(made, 1), made)
    assert made.min() == values.min()
    assert made.max() <= values.max() * 1.1


def test_scores_of_the_data_are_standard_normal():
    values, patients = laboratory()
    z = QuantileDistribution.learn(values, patients).transform(values, np.random.default_rng(2).random(60_000))
    normal = np.random.default_rng(3).normal(size=60_000)
    assert distance(z, normal) < 0.012
    assert abs(z.mean()) < 0.005
    assert abs(z.std() - 1) < 0.005


def test_common_integers_are_atoms_and_rare_ones_are_joined():
    values = np.repeat([1, 2, 3, 50, 51, 60, 900], [100, 80, 60, 3, 3, 3, 1])
    found = QuantileDistribution.learn(values, np.arange(len(values)), min_patients=5)
    np.testing.assert_array_equal(found.lower, [1, 2, 3, 50])
    np.testing.assert_array_equal(found.upper, [1, 2, 3, 900])
    np.testing.assert_allclose(found.weight * 250, [100, 80, 60, 10])
    alone = QuantileDistribution.learn(values[:-8], np.arange(242), min_patients=5)
    # Two people at 50: too few for a cell, so they are counted with the nearest value.
    np.testing.assert_array_equal(alone.upper, [1, 2, 3])
    np.testing.assert_allclose(alone.weight * 242, [100, 80, 62])


def test_one_patient_with_many_values_is_still_one():
    values = np.concatenate([np.full(200, 7.0), np.arange(20.0, 30.0)])
    patients = np.concatenate([np.zeros(200, int), np.arange(1, 11)])
    found = QuantileDistribution.learn(values, patients, min_patients=5, n_cells=1000)
    assert not ((found.lower == 7) & (found.upper == 7)).any()
    with pytest.raises(LearningError, match="Fewer than 5 patients"):
        QuantileDistribution.learn(values[:203], patients[:203], min_patients=5)


def test_the_ends_of_a_range_are_nobodys_values():
    values = np.concatenate([np.arange(1013, 1020), np.arange(2471, 2478)])
    found = QuantileDistribution.learn(values, np.arange(14), min_patients=5, n_cells=2)
    assert found.lower[0] == 1000
    assert found.upper[-1] == 2500


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([120, 130, 140, 150, 160], -1),
        ([5, 6, 7, 8, 9], 0),
        ([0.25, 0.5, 1, 2, 3], 2),
        ([1000, 2000, 3000, 4000, 5000], -3),
    ],
)
def test_decimals_are_found(values, decimals):
    assert ValueSketch.of(np.array(values, dtype=float), np.arange(5)).decimals() == decimals
    assert QuantileDistribution.learn(np.array(values, dtype=float), np.arange(5), min_patients=1).decimals == decimals


def test_a_stray_decimal_in_a_thousand_does_not_make_all_decimal():
    values = np.append(np.arange(1000) % 50, 12.345)
    assert QuantileDistribution.learn(values, np.arange(1001)).decimals == 0


def test_weights_are_weights():
    values = np.repeat([1.0, 2.0], 50)
    weights = np.repeat([3.0, 1.0], 50)
    found = QuantileDistribution.learn(values, np.arange(100), weights=weights)
    np.testing.assert_allclose(found.weight, [0.75, 0.25])


def test_sketches_count_distinct_patients_in_windows():
    values = np.array([101, 102, 103, 103, 119, 121])
    patients = np.array([0, 0, 0, 1, 1, 2])
    sketch = ValueSketch.of(values, patients)
    windows = {level.window // 10**6: dict(zip(level.nodes, level.patients, strict=True)) for level in sketch.levels}
    assert windows[1] == {101: 1, 102: 1, 103: 2, 119: 1, 121: 1}
    assert windows[10] == {10: 2, 11: 1, 12: 1}
    assert windows[20] == {5: 2, 6: 1}
    assert windows[100] == {1: 3}
    np.testing.assert_allclose(sketch.share, [1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2, 1])
    assert sketch.patients == pytest.approx(3)


def test_sketches_beyond_their_limit_are_widened():
    values = np.arange(10_000)
    sketch = ValueSketch.of(values, values // 10, limit=600)
    assert sketch.base == 20 * 10**6
    np.testing.assert_array_equal(sketch.levels[0].patients, 2)
    np.testing.assert_array_equal(sketch.weight, 20)
    merged = sketch.merge(ValueSketch.of(np.array([7.0, 31.0]), np.array([10_000, 10_001]), limit=600))
    assert merged.base == 20 * 10**6
    assert merged.weight[:2].tolist() == [21, 21]
    assert merged.total == 10_002
    assert (
        distance(QuantileDistribution.of_sketch(sketch).inverse(np.random.default_rng(0).normal(size=20_000)), values)
        < 0.02
    )


def test_values_that_are_none_are_refused():
    with pytest.raises(LearningError, match="finite"):
        ValueSketch.of(np.array([1.0, np.nan]), np.array([0, 1]))
    with pytest.raises(LearningError, match="9e12"):
        ValueSketch.of(np.array([1e13]), np.array([0]))
    with pytest.raises(LearningError, match="weight"):
        ValueSketch.of(np.array([1.0]), np.array([0]), np.array([-1.0]))


def test_histograms_keep_atoms_and_the_distribution_of_gaps():
    rng = np.random.default_rng(0)
    n = 40_000
    days = np.where(rng.random(n) < 0.3, rng.choice([7, 14, 30, 365], n), 1 + rng.exponential(60, n).astype(int))
    found = Histogram.learn(days, rng.integers(0, 8000, n), n_coarse=10)
    assert 6 <= found.n_coarse <= 10
    share = np.bincount(found.coarse_of(days), minlength=found.n_coarse) / n
    np.testing.assert_allclose(np.bincount(found.coarse, weights=found.weight), share, atol=1e-3)
    made = found.sample(rng.choice(found.n_coarse, n, p=share / share.sum()), rng.random(n), rng.random(n))
    assert distance(days, made) < 0.015
    for atom in (7, 14, 30, 365):
        assert abs((made == atom).mean() - (days == atom).mean()) < 0.01
    np.testing.assert_array_equal(found.coarse_of(np.array([-5, 10**6])), [0, found.n_coarse - 1])


def test_histograms_draw_nothing_from_the_ranges_between_their_cells():
    days = np.repeat([0, 7, 100], 50)
    found = Histogram.learn(days, np.arange(150), n_coarse=3)
    np.testing.assert_array_equal(found.edges, [0, 1, 7, 8, 100, 101])
    np.testing.assert_allclose(found.weight, [1 / 3, 0, 1 / 3, 0, 1 / 3])
    np.testing.assert_array_equal(found.coarse, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(found.coarse_edges, [0, 7, 100, 101])
    u = np.linspace(0, 0.999, 50)
    for number, day in enumerate((0, 7, 100)):
        assert set(found.sample(np.full(50, number), u, u[::-1]).tolist()) == {day}


def test_distributions_that_are_none_are_refused():
    one, two = np.array([1]), np.array([1, 2])
    with pytest.raises(ModelError, match="overlap"):
        QuantileDistribution(lower=two, upper=np.array([2, 3]), weight=np.array([0.5, 0.5]), decimals=0)
    with pytest.raises(ModelError, match="sum to 1"):
        QuantileDistribution(lower=one, upper=one, weight=np.array([0.5]), decimals=0)
    with pytest.raises(ModelError, match="decimals"):
        QuantileDistribution(lower=one, upper=one, weight=np.array([1.0]), decimals=9)
    with pytest.raises(ModelError, match="each cell"):
        QuantileDistribution(lower=one, upper=two, weight=np.array([1.0]), decimals=0)
    with pytest.raises(ModelError, match="ascend"):
        Histogram(edges=np.array([1, 1]), coarse=np.array([0]), weight=np.array([1.0]))
    with pytest.raises(ModelError, match="order of the cells"):
        Histogram(edges=np.array([0, 1, 2]), coarse=np.array([0, 2]), weight=np.array([1.0, 1.0]))
    with pytest.raises(ModelError, match="no weight"):
        Histogram(edges=np.array([0, 1, 2]), coarse=np.array([0, 1]), weight=np.array([1.0, 0.0]))
    with pytest.raises(ModelError, match="negative"):
        Histogram(edges=np.array([0, 1, 2]), coarse=np.array([0, 0]), weight=np.array([2.0, -1.0]))
