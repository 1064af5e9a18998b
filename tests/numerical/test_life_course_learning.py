"""The network of a life course meets its margins and odds ratios; survey quantiles meet theirs."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.learning.life_course.conditions import fit_to_bands
from ehrsynth.learning.life_course.network import NO_YES, NetworkBuilder
from ehrsynth.learning.life_course.survey import (
    Z_GRID,
    conditional_tables,
    log_odds_ratios,
    quantile_curve,
    score_correlation,
)
from ehrsynth.probability import normal


@pytest.fixture
def builder() -> NetworkBuilder:
    found = NetworkBuilder()
    found.add("deceased", NO_YES, (), [0.9, 0.1])
    found.add("sex", ("female", "male"), ("deceased",), [[0.5, 0.5], [0.4, 0.6]])
    band = np.array([[0.6, 0.4], [0.1, 0.9]])
    found.add("band", ("young", "old"), ("deceased",), band)
    return found


def test_margins_and_odds_ratios_are_met(builder: NetworkBuilder) -> None:
    first = np.full((2, 2, 2), 0.2)
    first[1] = 0.5
    builder.add_binary("first", first, {})
    second = np.array([[[0.1, 0.2], [0.05, 0.1]], [[0.3, 0.4], [0.35, 0.5]]])
    builder.add_binary("second", second, {"first": (0.0, np.log(4.0))})
    joint = builder.given_context(["first", "second"])
    np.testing.assert_allclose(joint[..., 1].sum(axis=-1), second, atol=1e-9)
    np.testing.assert_allclose(joint[..., 1, :].sum(axis=-1), first, atol=1e-9)
    ratio = joint[..., 1, 1] * joint[..., 0, 0] / (joint[..., 1, 0] * joint[..., 0, 1])
    np.testing.assert_allclose(ratio, 4.0, rtol=1e-6)


def test_only_and_never_are_structural(builder: NetworkBuilder) -> None:
    margin = np.full((2, 2, 2), 0.3)
    builder.add_binary("first", margin, {})
    builder.add_binary("part", margin / 2, {"first": (0.0, 0.0)}, only_with=("first",))
    builder.add_binary("other", margin / 2, {"first": (0.0, 0.0)}, never_with=("first",))
    joint = builder.given_context(["first", "part", "other"])
    assert joint[..., 0, 1, :].max() == 0
    assert joint[..., 1, :, 1].max() == 0
    np.testing.assert_allclose(joint[..., 1, :].sum(axis=(-1, -2)), margin / 2, atol=1e-9)


def test_nobody_of_a_margin_of_zero(builder: NetworkBuilder) -> None:
    margin = np.full((2, 2, 2), 0.3)
    margin[:, 1] = 0.0
    builder.add_binary("hers", margin, {})
    assert builder.network().tables[-1][:, 1, :, 1].max() == 0.0


def test_curves_meet_bands() -> None:
    ages = np.arange(111)
    weight = np.exp(-ages / 60)
    wanted = np.array([0.05, 0.1, 0.3, 0.4])
    fitted = fit_to_bands(np.clip(ages / 200, 0, 1), (18, 30, 50, 70), wanted, weight)
    band = np.searchsorted((18, 30, 50, 70), ages, side="right") - 1
    for b, value in enumerate(wanted):
        assert np.average(fitted[band == b], weights=weight[band == b]) == pytest.approx(value, rel=1e-6)


def test_quantile_curves_keep_mean_and_percentiles() -> None:
    rng = np.random.default_rng(3)
    values, weights = rng.lognormal(3.0, 0.7, 4000), rng.uniform(0.5, 2.0, 4000)
    curve = quantile_curve(values, weights, skewed=True)
    mass = np.gradient(normal.cdf(Z_GRID))
    assert (np.diff(curve) > 0).all()
    assert (mass * curve).sum() / mass.sum() == pytest.approx(np.average(values, weights=weights), rel=0.03)
    order = np.argsort(values)
    running = np.cumsum(weights[order]) / weights.sum()
    for p in (0.05, 0.5, 0.95):
        at = np.interp(float(normal.quantile(np.array([p]))[0]), Z_GRID, curve)
        assert at == pytest.approx(float(np.interp(p, running, values[order])), rel=0.03)
    # Beyond the 95th percentile it is extrapolated: the largest value of a person is not in it.
    assert not np.isclose(curve, values.max()).any()


def test_strata_mix_to_the_whole() -> None:
    target = 100 + 15 * Z_GRID
    raw = [90 + 10 * Z_GRID, 130 + 12 * Z_GRID]
    shares = np.array([0.7, 0.3])
    tables = conditional_tables(target, raw, shares)
    rng = np.random.default_rng(5)
    z = rng.standard_normal(200_000)
    stratum = (rng.random(len(z)) < 0.3).astype(int)
    value = np.where(stratum == 0, np.interp(z, Z_GRID, tables[0]), np.interp(z, Z_GRID, tables[1]))
    assert value.mean() == pytest.approx(100, abs=0.3)
    assert value.std() == pytest.approx(15, rel=0.03)
    assert value[stratum == 1].mean() > value[stratum == 0].mean() + 15


def test_regression_finds_the_odds_ratios() -> None:
    rng = np.random.default_rng(7)
    n = 60_000
    stratum = rng.integers(0, 3, n)
    a = rng.random(n) < 0.3
    b = rng.random(n) < 0.2 + 0.3 * a
    logit = -2 + 0.4 * stratum + 0.9 * a + 0.5 * b
    y = rng.random(n) < 1 / (1 + np.exp(-logit))
    found = log_odds_ratios(y, {"a": a, "b": b}, stratum, np.ones(n))
    np.testing.assert_allclose(found, [0.9, 0.5], atol=0.07)


def test_correlation_of_scores() -> None:
    rng = np.random.default_rng(9)
    n = 8000
    x = rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1, 0.6], [0.6, 1]]).T
    first, second = np.exp(x[:, 0]), x[:, 1].copy()
    second[:500] = np.nan
    found = score_correlation([first, second], rng.integers(0, 2, n), np.ones(n))
    assert found[0, 1] == pytest.approx(0.6, abs=0.03)
