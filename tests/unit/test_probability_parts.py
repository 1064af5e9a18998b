"""The small parts: variables, graphs, and tables made ready for drawing."""

from __future__ import annotations

import numpy as np
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.probability.bayesnet import MISSING, Dag, Variable
from ehrsynth.probability.categorical import cumulative, sample_rows


def test_a_variable_knows_its_states():
    age = Variable(name="age", states=("0-17", "18-64", MISSING), edges=(0.0, 18.0, 65.0))
    assert age.cardinality == 3
    assert age.has_missing
    assert age.index("18-64") == 1
    assert not Variable(name="sex", states=("F", "M")).has_missing
    with pytest.raises(ModelError, match=r"no state 'X'.*0-17, 18-64"):
        age.index("X")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": ()}, "no states"),
        ({"states": ("a", "a")}, "twice"),
        ({"states": (MISSING, "a")}, "last"),
        ({"states": ("a", "b", MISSING), "edges": (0.0, 1.0)}, "2 bins and 2 edges"),
        ({"states": ("a", "b"), "edges": (0.0, 2.0, 2.0)}, "ascend"),
    ],
)
def test_a_variable_that_is_none_is_refused(given, message):
    with pytest.raises(ModelError, match=message):
        Variable(name="x", **given)


def test_a_graph_orders_parents_before_children():
    dag = Dag(((3,), (0,), (), (2,)))
    assert dag.topological_order() == (2, 3, 0, 1)
    assert dag.edges() == ((3, 0), (0, 1), (2, 3))
    assert Dag(((), (), ())).topological_order() == (0, 1, 2)


@pytest.mark.parametrize("parents", [((1,), (0,)), ((0,),), ((5,),), ((1, 1), ()), ((1,), (2,), (0,))])
def test_a_graph_that_is_none_is_refused(parents):
    with pytest.raises(ModelError):
        Dag(parents)


def test_rows_are_drawn_by_their_own_distribution():
    cdf = cumulative(np.array([[[0.0, 1.0], [0.5, 0.5]], [[3.0, 1.0], [2.0, 0.0]]]))
    assert (cdf.rows, cdf.categories) == (4, 2)
    u = np.array([0.0, 0.49, 0.5, 0.74, 0.75, 0.999])
    np.testing.assert_array_equal(sample_rows(cdf, 0, u), [1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(sample_rows(cdf, 1, u), [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(sample_rows(cdf, np.full(6, 2), u), [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(sample_rows(cdf, 3, u), [0, 0, 0, 0, 0, 0])
    assert sample_rows(cdf, np.empty(0, int), np.empty(0)).shape == (0,)


def test_many_rows_keep_their_precision():
    table = np.zeros((1 << 20, 2))
    table[:, 0] = 1.0
    last = np.array([len(table) - 1])
    assert sample_rows(cumulative(table), last, np.array([np.nextafter(1.0, 0.0)])) == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [([[1.0, -0.1]], "negative"), ([[1.0, np.nan]], "not finite"), ([[1.0, 1.0], [0.0, 0.0]], "Row 1 .* all zero")],
)
def test_a_table_that_is_none_is_refused(table, message):
    with pytest.raises(ModelError, match=message):
        cumulative(table)
