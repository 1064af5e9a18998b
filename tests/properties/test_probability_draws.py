"""Properties of drawing, of the normal distribution and of distributions made from values, over anything possible."""

from __future__ import annotations

from statistics import NormalDist

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from ehrsynth.probability import normal
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.probability.histogram import Histogram
from ehrsynth.probability.quantiles import QuantileDistribution
from ehrsynth.probability.sketch import ValueSketch

BELOW_ONE = np.nextafter(1.0, 0.0)
EDGES = np.array([0.0, 5e-324, 2.0**-53, 0.5, np.nextafter(0.5, 0), 1 - 2.0**-30, BELOW_ONE])

weights = st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.floats(1e-3, 1.0), st.integers(1, 1000).map(float))


@st.composite
def tables(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    table = draw(hnp.arrays(np.float64, shape, elements=weights))
    sure = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    table[np.arange(shape[0]), sure] = np.maximum(table[np.arange(shape[0]), sure], 1.0)
    return np.minimum(table, 1e300 / shape[1])


@given(tables(), st.lists(st.floats(0, BELOW_ONE), max_size=20))
def test_an_impossible_category_is_never_drawn(table, uniforms):
    u = np.concatenate([EDGES, np.array(uniforms, dtype=float)])
    rows = np.repeat(np.arange(len(table)), len(u))
    drawn = sample_rows(cumulative(table), rows, np.tile(u, len(table)))
    assert ((drawn >= 0) & (drawn < table.shape[1])).all()
    assert (table[rows, drawn] > 0).all()


@given(tables(), st.lists(st.floats(0, BELOW_ONE), min_size=1, max_size=20))
def test_a_draw_inverts_the_cumulative_distribution(table, uniforms):
    u = np.array(uniforms)
    running = np.cumsum(table, axis=1) / table.sum(axis=1, keepdims=True)
    cdf = cumulative(table)
    for r in range(len(table)):
        drawn = sample_rows(cdf, r, u)
        assert (np.append(0.0, running[r])[drawn] <= u + 2.0**-39).all()
        assert (running[r][drawn] >= u - 2.0**-39).all()
        assert (np.diff(sample_rows(cdf, r, np.sort(u))) >= 0).all()


@given(st.floats(-37, 8))
def test_normal_distribution_function(z):
    assert abs(float(normal.cdf(z)) - NormalDist().cdf(z)) < 1e-14


@given(st.floats(1e-300, BELOW_ONE))
def test_normal_quantile_inverts_the_distribution_function(p):
    z = float(normal.quantile(p))
    assert abs(z - NormalDist().inv_cdf(p)) <= 1e-12 * max(1, abs(z))
    assert abs(float(normal.cdf(z)) - p) <= 1e-14 + 1e-7 * p


@st.composite
def measured(draw):
    """Values with some decimals, heaped on a few of them, and whose they are."""
    decimals = draw(st.integers(-2, 3))
    n = draw(st.integers(5, 99))  # One in a hundred may lose its decimals.
    common = draw(st.lists(st.integers(-3000, 3000), min_size=1, max_size=5))
    units = draw(
        hnp.arrays(np.int64, n, elements=st.one_of(st.sampled_from(common), st.integers(-3000, 3000))),
    )
    patients = draw(hnp.arrays(np.int64, n, elements=st.integers(0, draw(st.integers(5, 60)))))
    patients[:5] = np.arange(5)  # There are five people at least.
    values = units / 10.0**decimals if decimals >= 0 else units * 10.0**-decimals
    return values, patients


@settings(deadline=None)
@given(measured(), st.integers(1, 5), st.integers(1, 40))
def test_every_cell_has_enough_patients_behind_it(data, min_patients, n_cells):
    values, patients = data
    found = QuantileDistribution.learn(values, patients, min_patients=min_patients, n_cells=n_cells)
    units = np.trunc(np.floor(np.rint(values * 1e6) / 10 ** (6 - found.decimals))).astype(int)
    inside = np.zeros(len(values), dtype=bool)
    for lower, upper in zip(found.lower, found.upper, strict=True):
        here = (units >= lower) & (units <= upper)
        inside |= here
        assert len(set(patients[here].tolist())) >= min_patients
    # Too few to be told apart are counted in the cells beside them: nothing is lost.
    assert abs(found.weight.sum() - 1) < 1e-9
    assert inside.any()


@settings(deadline=None)
@given(measured(), st.floats(0.001, 0.999))
def test_values_come_back_from_their_scores(data, u):
    values, patients = data
    found = QuantileDistribution.learn(values, patients, min_patients=1)
    z = found.transform(values, np.full(len(values), u))
    assert np.isfinite(z).all()
    scale = 10.0**-found.decimals
    back = found.inverse(z)
    units = np.rint(values * 10.0**found.decimals)
    assert (np.abs(back - units * scale) <= scale * 1e-6).all()


@settings(deadline=None)
@given(measured(), st.lists(st.floats(allow_nan=False), min_size=1, max_size=10))
def test_any_score_gives_a_value_in_a_cell_with_the_right_decimals(data, scores):
    values, patients = data
    found = QuantileDistribution.learn(values, patients, min_patients=3)
    back = found.inverse(np.array(scores))
    units = np.rint(back * 10.0**found.decimals)
    assert np.allclose(back, units * 10.0**-found.decimals, rtol=1e-12)
    assert ((units[:, None] >= found.lower) & (units[:, None] <= found.upper)).any(axis=1).all()


@settings(deadline=None)
@given(measured(), st.integers(2, 400))
def test_sketches_of_parts_merge_into_the_sketch_of_the_whole(data, limit):
    values, patients = data
    whole = ValueSketch.of(values, patients, limit=limit)
    first = patients < 7
    merged = ValueSketch.of(values[first], patients[first], limit=limit).merge(
        ValueSketch.of(values[~first], patients[~first], limit=limit)
    )
    assert merged.base == whole.base
    for ours, theirs in zip(merged.levels, whole.levels, strict=True):
        assert ours.window == theirs.window
        np.testing.assert_array_equal(ours.nodes, theirs.nodes)
        np.testing.assert_array_equal(ours.patients, theirs.patients)
    np.testing.assert_allclose(merged.weight, whole.weight)
    np.testing.assert_allclose(merged.share, whole.share, atol=1e-12)


@settings(deadline=None)
@given(
    hnp.arrays(np.int64, st.integers(5, 150), elements=st.one_of(st.sampled_from([7, 14, 28]), st.integers(0, 2000))),
    st.integers(1, 12),
    st.floats(0, BELOW_ONE),
    st.floats(0, BELOW_ONE),
)
def test_histograms_draw_inside_their_bins_and_never_from_empty_cells(days, n_coarse, u1, u2):
    found = Histogram.learn(days, np.arange(len(days)), min_patients=3, n_coarse=n_coarse)
    bins = np.arange(found.n_coarse)
    drawn = found.sample(bins, np.full(len(bins), u1), np.full(len(bins), u2))
    np.testing.assert_array_equal(found.coarse_of(drawn), bins)
    cell = np.searchsorted(found.edges, drawn, side="right") - 1
    assert (found.weight[cell] > 0).all()
    assert found.n_coarse <= max(1, n_coarse)
    assert abs(found.weight.sum() - 1) < 1e-9
