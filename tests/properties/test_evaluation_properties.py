"""What holds of tallies, pairs and distances whatever the numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.evaluation import tally as tallies
from ehrsynth.evaluation.columns import codings
from ehrsynth.evaluation.distance import auc, ks, quantiles, tvd, tvd_by_segment

counts = st.lists(st.integers(0, 20), min_size=2, max_size=12)


def array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=30), st.integers(1, 10))
def test_pairs_are_the_runs_whatever_the_size_of_a_part(runs: list[tuple[int, int]], chunk: int) -> None:
    start, count = np.array([[a for a, _ in runs], [n for _, n in runs]], dtype=np.int64)
    original, tallies.CHUNK = tallies.CHUNK, chunk
    try:
        parts = list(tallies.pairs(start, count))
    finally:
        tallies.CHUNK = original
    found = [(int(i), int(j)) for left, right in parts for i, j in zip(left, right, strict=True)]
    assert found == [(i, a + k) for i, (a, n) in enumerate(runs) for k in range(n)]


@given(counts, counts)
def test_distances_are_symmetric_in_range_and_zero_for_the_same(first: list[int], second: list[int]) -> None:
    n = min(len(first), len(second))
    a, b = array(first[:n]), array(second[:n])
    zero = np.zeros(n, dtype=np.int64)
    if a.sum() and b.sum():
        for distance in (tvd, lambda x, y: float(ks(x, y, zero, 1)[0])):
            assert distance(a, b) == distance(b, a)
            assert -1e-12 <= distance(a, b) <= 1 + 1e-12
            assert distance(a, a * 3) < 1e-12
        # The greatest difference of the CDFs is the difference of the probabilities of one event.
        assert ks(a, b, zero, 1)[0] <= tvd(a, b) + 1e-12
    assert np.allclose(tvd_by_segment(a, b, zero, 1), [tvd(a, b)], atol=1e-12, equal_nan=True)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_a_quantile_is_the_least_value_that_reaches_the_level(values: list[int], level: float) -> None:
    distinct, number = np.unique(values, return_counts=True)
    found = quantiles(
        number.astype(float), distinct.astype(float), np.zeros(len(distinct), dtype=np.int64), 1, np.array([level])
    )[0, 0]
    at_most = np.mean(np.array(values) <= found)
    below = np.mean(np.array(values) < found)
    assert at_most >= level - 1e-8
    assert below < level


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    scores, positive = array([score for score, _ in rows]), np.array([flag for _, flag in rows])
    up, down = scores[positive], scores[~positive]
    if len(up) and len(down):
        expected = np.mean([[(u > d) + 0.5 * (u == d) for d in down] for u in up])
        assert abs(auc(scores, positive) - expected) < 1e-12
        assert abs(auc(-scores, positive) - (1 - expected)) < 1e-12


texts = st.one_of(st.none(), st.sampled_from(["a", "b", "c,d", ""]))


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), max_size=20))
def test_codings_name_each_row(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    import pyarrow as pa

    columns = [pa.array([row[k] for row in rows], pa.string()) for k in range(3)]
    table = pa.table([columns[0].dictionary_encode(), columns[1], columns[2]], names=["x", "y", "z"])
    index, found = codings(table, "x", "y", "z")
    assert found == sorted(set(found))
    for row, k in zip(rows, index.tolist(), strict=True):
        known = row[0] is not None and row[1] is not None
        assert (k >= 0) == known
        if known:
            assert found[k] == (row[0], row[1], row[2] or "")
