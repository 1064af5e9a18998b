"""Strengths, lifts, sparse sums, clusters and correlations against plain computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.learning.evidence import SparseRows
from ehrsynth.learning.lift import expected_visits, grouped_targets, odds_lift, shrunk_targets
from ehrsynth.learning.maximisation import CodeCounts
from ehrsynth.learning.measurements import nearest_correlation
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.start import kmeans, truncated_svd
from ehrsynth.learning.strength import beta_strength, dirichlet_strength, grid_posterior, log_gamma
from ehrsynth.randomness import stream


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_log_gamma_is_that_of_the_standard_library(x: float) -> None:
    assert float(log_gamma(np.array(x))) == pytest.approx(math.lgamma(x), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("true", [2.0, 16.0, 256.0])
def test_strength_of_beta_priors_is_found(true: float) -> None:
    rng = np.random.default_rng(int(true))
    margin = rng.uniform(0.1, 0.5, 300)
    p = rng.beta(true * margin, true * (1 - margin), size=(20, 300))
    trials = np.full(p.shape, 200.0)
    present = rng.binomial(200, p).astype(float)
    found = beta_strength(present, trials, margin)
    assert true / 2 <= found <= true * 2


@pytest.mark.parametrize("true", [2.0, 32.0])
def test_strength_of_dirichlet_priors_is_found(true: float) -> None:
    rng = np.random.default_rng(int(true))
    margin = np.array([0.5, 0.3, 0.2, 0.0])
    rows = rng.dirichlet(true * margin[:3], size=400)
    counts = np.array([[*rng.multinomial(100, row), 0] for row in rows], dtype=float)
    assert true / 2 <= dirichlet_strength(counts, margin) <= true * 2


def test_nothing_to_tell_from_gives_the_default() -> None:
    none = np.zeros((3, 2))
    assert beta_strength(none, none, np.array([0.5, 0.5]), 7.0) == 7.0
    assert dirichlet_strength(np.zeros((3, 2)), np.array([0.5, 0.5]), 7.0) == 7.0


def test_grid_posterior_leans_on_what_is_usual() -> None:
    # Nine columns are sure of the second point; the tenth cannot tell and follows them.
    scores = np.zeros((3, 10))
    scores[1, :9] = 20.0
    posterior = grid_posterior(scores)
    np.testing.assert_allclose(posterior.sum(axis=0), 1.0)
    assert posterior[1, 9] > 0.9


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**31))
def test_sparse_sums_are_matrix_products(n_visits: int, n_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_visits, n_rows)) < 0.3
    visits, rows = np.nonzero(dense)
    order = rng.permutation(len(visits))
    pairs = SparseRows(visits[order], rows[order], n_visits, n_rows)
    weights = rng.normal(size=(n_rows, 3)).astype(np.float32)
    gamma = rng.random((n_visits, 3)).astype(np.float32)
    np.testing.assert_allclose(pairs.gather(weights), dense @ weights, atol=1e-5)
    np.testing.assert_allclose(pairs.scatter(gamma), dense.T @ gamma, atol=1e-5)


def lift_case(rng: np.random.Generator, n_codes: int = 6, n_states: int = 3) -> tuple[CodeCounts, CodeTables]:
    names = ("never", "never_with_parent", "previous", "earlier")
    trials = {name: rng.uniform(10, 200, (n_states, n_codes)) for name in names}
    tables = CodeTables(
        parent=np.full(n_codes, -1, dtype=np.int32),
        **{name: rng.uniform(0.01, 0.6, (n_states, n_codes)) for name in names},
    )
    counts = CodeCounts(**{name: (0.5 * trials[name] * getattr(tables, name), trials[name]) for name in names})
    return counts, tables


def test_lift_meets_its_target() -> None:
    rng = np.random.default_rng(3)
    counts, tables = lift_case(rng)
    expected = expected_visits(counts, tables)
    target = expected * np.array([0.05, 0.3, 1.0, 1.4, 0.999, 0.8])
    lift = odds_lift(counts, tables, target)
    reached = np.zeros_like(expected)
    for name, (_, trials) in counts.items().items():
        p = getattr(tables, name)
        reached += (trials * lift * p / (1 - p + lift * p)).sum(axis=0)
    np.testing.assert_allclose(reached, target, rtol=2e-3)
    assert lift[2] == 1.0


def test_targets_lean_on_sex_and_age_and_hide_the_few() -> None:
    # Two sexes by two ages; code 0 is had by women only, code 1 by all alike, code 2 by two people.
    expected = np.full((4, 3), 50.0)
    observed = np.array([[100.0, 50, 1], [100, 50, 1], [0, 50, 0], [0, 50, 0]])
    people = np.array([[100, 50, 1], [100, 50, 1], [0, 50, 0], [0, 50, 0]])
    target = shrunk_targets(observed, expected, people, np.arange(2), 5)
    assert (target[:2, 0] > 80).all()
    assert (target[2:, 0] < 12).all()
    np.testing.assert_allclose(target[:, 1], 50, rtol=0.15)
    # One person or none: the same word for both, "few".
    assert target[0, 2] == pytest.approx(target[2, 2], rel=0.05)


def test_nobody_in_many_strata_is_not_a_few_in_each() -> None:
    expected = np.full((20, 2), 10.0)
    observed = np.zeros((20, 2))
    observed[7] = 200.0, 180.0
    people = observed.astype(int)
    observed[8:14, 1] = people[8:14, 1] = 3
    target = shrunk_targets(observed, expected, people, np.arange(10), 5)
    others = np.delete(target, 7, axis=0).sum(axis=0)
    # Half of five people in all, and not in each of nineteen strata; the eighteen that are told are kept.
    assert others[0] < 8
    assert 12 < others[1] < 30


def test_ages_of_few_people_lean_on_their_group() -> None:
    # One sex, six bands in two groups: three people in each of the first, nobody in the second.
    expected = np.full((6, 1), 6.0)
    observed = np.array([[3.0, 3, 3, 3, 0, 0]]).T
    target = shrunk_targets(observed, expected, observed.astype(int), np.array([0, 0, 0, 0, 1, 1]), 5)
    # Three each, not half of five in all, drawn a little to all ages.
    assert (target[4:] < target[:4].min()).all()
    assert 1.9 < target[0, 0] < 3.0
    np.testing.assert_allclose(target[:4, 0], target[0, 0])


def test_grouped_targets_are_those_of_the_groups() -> None:
    rng = np.random.default_rng(2)
    observed, expected = rng.integers(5, 60, (8, 2)).astype(float), rng.uniform(5, 60, (8, 2))
    people, groups = observed.astype(int), np.array([0, 0, 1, 1])
    target = grouped_targets(observed, expected, people, groups, 5)
    ratio = target / expected
    np.testing.assert_allclose(ratio[[0, 2, 4, 6]], ratio[[1, 3, 5, 7]])
    alone = grouped_targets(observed, expected, people, np.arange(4), 5)
    np.testing.assert_allclose(alone, shrunk_targets(observed, expected, people, np.arange(4), 5))
    assert grouped_targets(observed[:, :0], expected[:, :0], people[:, :0], groups, 5).shape == (8, 0)


def test_kmeans_finds_clusters_that_are_apart() -> None:
    rng = np.random.default_rng(5)
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    truth = rng.integers(3, size=300)
    points = centres[truth] + rng.normal(scale=0.5, size=(300, 2))
    _, label = kmeans(points, 3, stream(1, "test"))
    for cluster in range(3):
        assert len(set(truth[label == cluster].tolist())) == 1
    again = kmeans(points, 3, stream(1, "test"))[1]
    assert (again == label).all()


def test_kmeans_of_equal_points_does_not_fail() -> None:
    _, label = kmeans(np.zeros((7, 2)), 3, stream(1, "test"))
    assert set(label.tolist()) <= {0, 1, 2}


def test_svd_spans_what_numpy_finds() -> None:
    rng = np.random.default_rng(6)
    low = rng.random((200, 4)) @ rng.random((4, 30)) > 1.2
    visits, rows = np.nonzero(low)
    scale = rng.uniform(0.5, 2.0, 30)
    vectors = truncated_svd(SparseRows(visits, rows, 200, 30), scale, 5, stream(1, "svd"))
    matrix = low * scale
    best = np.linalg.svd(matrix)[2][:5].T
    captured = np.linalg.norm(matrix @ vectors) ** 2
    assert captured > 0.995 * np.linalg.norm(matrix @ best) ** 2
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-8)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**31))
def test_nearest_correlation_is_positive_definite(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wild = np.clip(rng.normal(scale=0.8, size=(m, m)), -0.99, 0.99)
    matrix = nearest_correlation(wild)
    np.testing.assert_allclose(np.diag(matrix), 1.0)
    np.testing.assert_allclose(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 1e-3
    good = np.corrcoef(rng.normal(size=(m, 50))).reshape(m, m)
    if np.linalg.eigvalsh(good).min() > 0.03:
        np.testing.assert_allclose(nearest_correlation(good), good, atol=1e-6)
