"""Mutual information and Chow-Liu forests against their definitions and against every forest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ehrsynth.probability.association import binary_mutual_information, chow_liu_forest
from ehrsynth.probability.bayesnet.score import bic


def pairs_of(data):
    i, j = np.triu_indices(data.shape[1], 1)
    both = (data[:, i] & data[:, j]).sum(axis=0).astype(float)
    seen = both > 0
    return i[seen], j[seen], both[seen]


def correlated(seed, n=400, d=5):
    rng = np.random.default_rng(seed)
    data = rng.random((n, d)) < rng.uniform(0.1, 0.6, d)
    for j in range(1, d):
        copy = rng.random(n) < rng.uniform(0, 0.7)
        data[:, j] = np.where(copy, data[:, rng.integers(0, j)], data[:, j])
    return data


def test_mutual_information_is_that_of_the_joint_table():
    data = correlated(0)
    n = len(data)
    for i, j in itertools.permutations(range(5), 2):
        table = np.array([[np.mean((data[:, i] == a) & (data[:, j] == b)) for b in (0, 1)] for a in (0, 1)])
        outer = table.sum(axis=1)[:, None] * table.sum(axis=0)
        expected = (table * np.log(table / outer)).sum()
        found = binary_mutual_information(n, data[:, i].sum(), data[:, j].sum(), (data[:, i] & data[:, j]).sum())
        assert float(found) == pytest.approx(expected, abs=1e-12)


def test_mutual_information_at_the_edges():
    n = 10
    assert binary_mutual_information(
        n, np.array([0.0, 10.0, 5.0]), np.array([5.0, 5.0, 5.0]), np.array([0.0, 5.0, 5.0])
    ) == (pytest.approx([0, 0, np.log(2)]))
    assert (binary_mutual_information(1e6, np.array([3e5]), np.array([2e5]), np.array([6e4])) >= 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_forest_is_the_best_of_all_forests(seed):
    data = correlated(seed)
    n, d = data.shape
    parent = chow_liu_forest(n, data.sum(axis=0).astype(float), pairs_of(data))

    def gain(i, j):
        """What the edge adds to the BIC of the network without edges."""
        table = np.array([[((data[:, i] == a) & (data[:, j] == b)).sum() for b in (0, 1)] for a in (0, 1)], dtype=float)
        return bic(table, n) - bic(table.sum(axis=0), n)

    def acyclic(edges):
        root = list(range(d))
        for i, j in edges:
            while root[i] != i:
                i = root[i]
            while root[j] != j:
                j = root[j]
            if i == j:
                return False
            root[i] = j
        return True

    edges = list(itertools.combinations(range(d), 2))
    best = max(
        sum(gain(i, j) for i, j in chosen)
        for size in range(d)
        for chosen in itertools.combinations(edges, size)
        if acyclic(chosen)
    )
    found = [(int(p), c) for c, p in enumerate(parent) if p >= 0]
    assert acyclic(found)
    assert sum(gain(i, j) for i, j in found) == pytest.approx(best, abs=1e-9)


def test_trees_hang_from_their_commonest_variable():
    rng = np.random.default_rng(0)
    base = rng.random(2000) < 0.3
    data = np.stack(
        [base & (rng.random(2000) < 0.5), base, base & (rng.random(2000) < 0.7), rng.random(2000) < 0.9], axis=1
    )
    parent = chow_liu_forest(2000, data.sum(axis=0).astype(float), pairs_of(data))
    np.testing.assert_array_equal(parent, [1, -1, 1, -1])


def test_equal_information_is_told_apart_by_number_and_pairs_in_any_order_give_the_same_forest():
    # Four copies of one variable: all six edges tie.
    data = np.repeat(np.random.default_rng(0).random((300, 1)) < 0.4, 4, axis=1)
    i, j, both = pairs_of(data)
    single = data.sum(axis=0).astype(float)
    np.testing.assert_array_equal(chow_liu_forest(300, single, (i, j, both)), [-1, 0, 0, 0])
    order = np.random.default_rng(1).permutation(len(i))
    np.testing.assert_array_equal(chow_liu_forest(300, single, (j[order], i[order], both[order])), [-1, 0, 0, 0])


def test_nothing_to_associate():
    empty = (np.empty(0, int), np.empty(0, int), np.empty(0))
    np.testing.assert_array_equal(chow_liu_forest(0, np.zeros(3), empty), [-1, -1, -1])
    # Two sightings together among ten observations of independent coins do not pay for a parameter.
    weak = (np.array([0]), np.array([1]), np.array([3.0]))
    np.testing.assert_array_equal(chow_liu_forest(10, np.array([5.0, 5.0]), weak), [-1, -1])
