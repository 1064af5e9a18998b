"""Levels and bins: enough people behind each, nobody lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.encoding.discretise import age_bins, age_groups, distinct_patients, levels, seen_between, stratum_ages_of


def test_distinct_patients_counts_people_not_rows() -> None:
    groups = np.array([0, 0, 0, 1, 1, -1, 2])
    patients = np.array([5, 5, 6, 5, 7, 8, 5])
    assert distinct_patients(groups, patients, 4).tolist() == [2, 2, 1, 0]


def test_rare_levels_become_empty_and_the_commonest_comes_first() -> None:
    index = np.array([1] * 6 + [0] * 9 + [2] * 2 + [-1] * 4)
    found = levels(index, ["a", "b", "c"], np.arange(len(index)), min_patients=5)
    assert found.labels == ("a", "b", "")
    assert found.left_out == 1
    assert np.bincount(found.index).tolist() == [9, 6, 6]


def test_too_few_empty_values_join_the_commonest_level() -> None:
    index = np.array([0] * 9 + [1] * 6 + [-1] * 2 + [2])
    found = levels(index, ["a", "b", "c"], np.arange(len(index)), min_patients=5)
    assert found.labels == ("a", "b")
    assert np.bincount(found.index).tolist() == [12, 6]


def test_a_required_level_is_never_empty() -> None:
    index = np.array([0] * 9 + [1] * 3)
    found = levels(index, ["AMB", "HH"], np.arange(12), min_patients=5, empty=None)
    assert found.labels == ("AMB",)
    assert found.index.tolist() == [0] * 12


def test_rows_of_one_patient_are_one_patient() -> None:
    index = np.array([0] * 9 + [1] * 9)
    patients = np.concatenate([np.arange(9), np.zeros(9, dtype=int)])
    assert levels(index, ["a", "b"], patients, min_patients=5).labels == ("a", "")[:1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-1, 5), min_size=1, max_size=60),
    st.integers(1, 6),
    st.sampled_from(["", None, "unknown"]),
)
def test_every_level_has_enough_people_where_there_are_enough(index: list[int], least: int, empty: str | None) -> None:
    found = levels(np.array(index), [f"l{i}" for i in range(6)], np.arange(len(index)), min_patients=least, empty=empty)
    assert len(found.index) == len(index)
    assert found.index.min() >= 0
    counts = np.bincount(found.index, minlength=len(found.labels))
    assert (counts > 0).all()
    if len(index) >= least:
        assert (counts >= least).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.integers(1, 20))
def test_age_bins_cover_all_and_hold_enough(ages: list[float], least: int) -> None:
    values = np.array(ages)
    edges = age_bins(values, least)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values.min()
    assert values.max() < edges[-1]
    counts = np.histogram(values, bins=edges)[0]
    counts[-1] = (values >= edges[-2]).sum()
    if len(values) >= least:
        assert all(count == 0 or count >= least for count in counts)


def test_banded_ages_stay_on_their_years() -> None:
    ages = np.repeat([45.5, 55.5, 65.5], [50, 80, 60])
    edges = age_bins(ages, 10).tolist()
    for year in (45, 55, 65):
        assert year in edges
        assert year + 1 in edges


def test_strata_are_bands_with_enough_people() -> None:
    parts = ((40, 0.27), (40, 0.7), (40, 3.0), (5, 8.0), (60, 35.0), (60, 75.0))
    ages = np.concatenate([np.full(n, age) for n, age in parts])
    edges = stratum_ages_of(seen_between(ages, np.arange(len(ages))), 30)
    assert edges[0] == 0
    assert edges[-1] == float("inf")
    assert (np.histogram(ages, bins=edges)[0] >= 30).all()
    # The first year is parted where enough are seen.
    assert 0.27 < edges[1] < 0.5
    assert stratum_ages_of(seen_between(ages, np.arange(len(ages))), 30, fine=False) == (0.0, 1.0, 5.0, 40.0, np.inf)
    decades = np.repeat([5.0, 15, 25, 35, 45, 55], 40)
    edges = stratum_ages_of(seen_between(decades, np.arange(len(decades))), 30)
    assert edges == (0.0, 12.0, 18.0, 30.0, 40.0, 50.0, float("inf"))
    two = np.array([40.0, 50.0])
    assert stratum_ages_of(seen_between(two, np.arange(2)), 30) == (0.0, float("inf"))


def test_people_seen_in_several_bands_count_once() -> None:
    ages, patients = np.array([0.1, 0.6, 2.5, 0.1, 30.0]), np.array([0, 0, 0, 1, 1])
    seen = seen_between(ages, patients)
    assert seen[0, -1] == 2
    assert seen[1, -1] == 2
    parts = seen_between(ages[:3], patients[:3]) + seen_between(ages[3:], patients[3:] - 1)
    assert (parts == seen).all()


def test_ages_are_grouped_by_the_usual_bands() -> None:
    assert age_groups((0.0, 0.25, 1.0, 3.0, 5.0, 14.0, float("inf"))).tolist() == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize("age", [0.0, 0.5, 99.9])
def test_one_patient_makes_one_bin(age: float) -> None:
    assert len(age_bins(np.array([age]), 5)) == 2
