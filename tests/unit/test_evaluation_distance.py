"""Distances by hand: what they are for a few numbers that can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.evaluation.distance import (
    auc,
    correlation,
    cramers_v,
    ks,
    mean_of,
    quantiles,
    r2,
    relative_error,
    survival_curve,
    tvd,
    tvd_by_segment,
    v_table,
)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_total_variation_is_half_the_l1_distance() -> None:
    assert tvd(floats(1, 1, 2), floats(2, 0, 2)) == pytest.approx(0.25)
    assert tvd(floats(3, 0), floats(0, 7)) == 1.0
    assert tvd(floats(3, 1), floats(6, 2)) == 0.0
    assert np.isnan(tvd(floats(0, 0), floats(1, 1)))


def test_total_variation_by_segment_is_that_of_each_table() -> None:
    segment = np.array([0, 0, 2, 2, 2])
    found = tvd_by_segment(floats(1, 1, 1, 1, 2), floats(1, 3, 2, 0, 2), segment, 3)
    assert found[0] == pytest.approx(0.25)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(0.25)


def test_r2_of_a_perfect_of_the_mean_and_of_a_worse_prediction() -> None:
    assert r2(floats(1, 2, 3), floats(1, 2, 3)) == 1.0
    assert r2(floats(1, 2, 3), floats(2, 2, 2)) == 0.0
    assert r2(floats(1, 2, 3), floats(3, 2, 1)) == -3.0
    assert r2(floats(2, 2), floats(2, 2)) == 1.0
    assert r2(floats(2, 2), floats(2, 3)) == 0.0
    assert np.isnan(r2(floats(1), floats(1)))


def test_kolmogorov_smirnov_by_segment() -> None:
    segment = np.array([0, 0, 0, 1, 1, 3])
    # Segment 0: CDFs 1/4, 3/4, 1 and 1/2, 1/2, 1; segment 1 only in the first; segment 2 in neither; 3 the same.
    found = ks(floats(1, 2, 1, 5, 0, 2), floats(2, 0, 2, 0, 0, 9), segment, 4)
    assert found[0] == pytest.approx(0.25)
    assert found[1] == 1.0
    assert np.isnan(found[2])
    assert found[3] == 0.0


def test_cramers_v_of_dependence_independence_and_one_level() -> None:
    # Table 0 is diagonal, table 1 independent, table 2 has one row, table 3 is empty.
    table = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    cells = v_table(table, np.array([0, 1, 0, 0, 1, 1, 0, 0]), np.array([0, 1, 0, 1, 0, 1, 0, 1]))
    found = cramers_v(floats(5, 5, 2, 4, 3, 6, 1, 1), cells, 4)
    assert found[:3] == pytest.approx([1.0, 0.0, 0.0], abs=1e-7)
    assert np.isnan(found[3])
    # A level of which all are gone (a replicate may lose it) does not count as a level.
    assert cramers_v(floats(5, 0, 2, 4, 3, 6, 1, 1), cells, 4)[0] == 0.0


def test_kaplan_meier_by_hand() -> None:
    # Five people: one dies at the first time, one is censored at it, two die at the second, one leaves at the third.
    curve, at_risk = survival_curve(floats(1, 2, 0), floats(2, 2, 1))
    assert at_risk.tolist() == [5, 3, 1]
    assert curve == pytest.approx([4 / 5, 4 / 5 * 1 / 3, 4 / 5 * 1 / 3])


def test_auc_counts_ties_as_one_half_and_weighs() -> None:
    positive = np.array([True, True, False, False])
    assert auc(floats(4, 3, 2, 1), positive) == 1.0
    assert auc(floats(1, 2, 3, 4), positive) == 0.0
    assert auc(floats(1, 1, 1, 1), positive) == 0.5
    assert auc(floats(3, 1, 2, 2), positive) == 0.5
    assert auc(floats(3, 1, 2, 2), positive, floats(3, 1, 1, 1)) == 0.75
    assert np.isnan(auc(floats(1, 2), np.array([True, True])))


def test_quantiles_by_segment_are_the_least_value_that_reaches_the_level() -> None:
    segment = np.array([0, 0, 0, 2])
    found = quantiles(floats(1, 2, 1, 3), floats(10, 20, 30, 7), segment, 3, floats(0.25, 0.5, 0.75, 1.0))
    assert found[0].tolist() == [10, 20, 20, 30]
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [7, 7, 7, 7]


def test_correlation_from_sums() -> None:
    x, y = floats(1, 2, 4), floats(1, 3, 2)
    sums = [floats(v) for v in (3, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())]
    assert correlation(*sums)[0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(*(floats(0) for _ in range(6)))[0] == 0.0


def test_means_and_relative_errors() -> None:
    assert relative_error(4, 5) == 0.25
    assert np.isnan(relative_error(0, 5))
    assert mean_of(floats(1, np.nan, 3), floats(1, 0, 3)) == 2.5
    assert np.isnan(mean_of(floats(1), floats(0)))
