"""Patients drawn with what is compiled are those that numpy draws; numbers outside of the tables are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth import native
from ehrsynth.generation import Generator
from ehrsynth.generation.columns import id_column, labels
from ehrsynth.generation.encounters import completed_years
from ehrsynth.generation.life_course.numbers import mixed
from ehrsynth.generation.life_course.quantiles import CoreQuantiles
from ehrsynth.generation.life_course.questions import reached
from ehrsynth.generation.life_course.segments import expand, first_in_each, order_of
from ehrsynth.generation.life_course.tables import within
from ehrsynth.generation.places import Ragged
from ehrsynth.model import catalogue
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.randomness import identifier_bytes

LOOPS = native.compiled()
compiled = pytest.mark.skipif(LOOPS is None, reason="the package was built without a compiler")


@lru_cache(maxsize=1)
def core_quantiles() -> CoreQuantiles:
    return CoreQuantiles(catalogue.open_model("us_ambulatory"))


@contextmanager
def only_numpy() -> Iterator[None]:
    """Do without what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_NATIVE", None)
        yield


@compiled
@pytest.mark.parametrize("name", ["us_ambulatory", "cardiometabolic_cohort"])
def test_patients_are_the_same_without_a_compiler(name: str) -> None:
    model = catalogue.open_model(name)
    found = Generator(model, seed=11).block(5, 25)
    with only_numpy():
        expected = Generator(model, seed=11).block(5, 25)
    assert found["observation"].num_rows > 200
    for table in expected:
        assert found[table].equals(expected[table]), table
        found[table].validate(full=True)


@compiled
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 12))
def test_categories_are_those_of_numpy(seed: int, rows: int, categories: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.random((rows, categories)) * rng.integers(0, 2, (rows, categories))
    weight[np.arange(rows), rng.integers(0, categories, rows)] += 0.1
    row = rng.integers(0, rows, 200)
    u = rng.random(200)
    u[:2] = 0, np.nextafter(1.0, 0)
    found = sample_rows(cumulative(weight), row, u)
    assert (weight[row, found] > 0).all()
    with only_numpy():
        assert found.tolist() == sample_rows(cumulative(weight), row, u).tolist()


@compiled
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(0, 40))
def test_items_of_keys_are_those_of_numpy(seed: int, n_keys: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    table = Ragged.build(rng.integers(0, n_keys, n), rng.integers(0, 99, n), rng.integers(0, 3, n) * 1.0, n_keys)
    keys = rng.integers(0, n_keys, 100)
    u = rng.random(100)
    u[:2] = 0, np.nextafter(1.0, 0)
    found = table.draw(keys, u)
    with only_numpy():
        assert found.tolist() == table.draw(keys, u).tolist()


@compiled
@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 5))
def test_scores_are_those_of_numpy(seed: int, rows: int, measures: int) -> None:
    rng = np.random.default_rng(seed)
    own, phases = rng.standard_normal((3, measures)), rng.standard_normal((3, 2, measures))
    patient, turns = rng.integers(0, 3, rows), rng.standard_normal((rows, 2))
    noise, drift, rest = (rng.standard_normal((n, measures)) for n in (rows, measures, measures))
    found = mixed(own, patient, turns, phases, noise, np.triu(drift), np.triu(rest))
    plain = own[patient] + np.einsum("vw,vwm->vm", turns, phases[patient]) @ np.triu(drift) + noise @ np.triu(rest)
    assert found == pytest.approx(plain)
    with only_numpy():
        assert found.tobytes() == mixed(own, patient, turns, phases, noise, np.triu(drift), np.triu(rest)).tobytes()
    if rows:
        with pytest.raises(IndexError, match="person"):
            mixed(own, patient - 3, turns, phases, noise, drift, rest)


@compiled
@given(st.lists(st.tuples(st.integers(-200_000, 200_000), st.integers(-200_000, 200_000)), min_size=1))
def test_completed_years_are_those_of_the_calendar(days: list[tuple[int, int]]) -> None:
    birth, day = (np.array(column, dtype=np.int64) for column in zip(*days, strict=True))
    found = completed_years(birth, day)
    with only_numpy():
        assert found.tolist() == completed_years(birth, day).tolist()


@compiled
@given(st.lists(st.integers(-2, 3)))
def test_labels_are_those_of_numpy(indices: list[int]) -> None:
    for values in (["a", "b", "c", "d"], ["a", None, "a", ""], [None] * 4):
        found = labels(np.array(indices, dtype=np.int64), values)
        found.validate(full=True)
        expected = [(values[at] or None) if at >= 0 else None for at in indices]
        assert found.to_pylist() == expected
        with only_numpy():
            assert labels(np.array(indices, dtype=np.int64), values).to_pylist() == expected


@compiled
@given(st.lists(st.integers(0, 4)))
def test_items_are_repeated_as_by_numpy(counts: list[int]) -> None:
    found = expand(np.array(counts, dtype=np.int64))
    with only_numpy():
        expected = expand(np.array(counts, dtype=np.int64))
    assert [column.tolist() for column in found] == [column.tolist() for column in expected]


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-(2**40), 2**40), st.booleans()), max_size=40),
    st.sampled_from([7, 2**30, 2**63 - 1]),
)
def test_rows_are_ordered_as_by_a_stable_sort(rows: list[tuple[int, int, bool]], width: int) -> None:
    # Numbers too wide to be packed go another way.
    columns = [np.array([row[at] for row in rows], dtype=np.int64) for at in range(3)]
    columns[1] = columns[1] * 2**20 % width
    order = np.lexsort(columns[::-1])
    assert order_of(*columns).tolist() == order.tolist()
    combinations = list(zip(*(column.tolist() for column in columns), strict=True))
    firsts = [at for at, one in enumerate(combinations) if one not in combinations[:at]]
    assert first_in_each(*columns).tolist() == firsts
    with only_numpy():
        assert order_of(*columns).tolist() == order.tolist()
        assert first_in_each(*columns).tolist() == firsts


@compiled
@pytest.mark.parametrize("span", [1, 500, 1 << 11, 1 << 25, 1 << 61])
def test_many_rows_are_ordered_as_by_a_stable_sort(span: int) -> None:
    key = np.random.default_rng(span).integers(-span, span, 5000)
    for keys in (key, np.sort(key), key[:0]):
        assert np.array_equal(order_of(keys), np.argsort(keys, kind="stable"))
        group = np.sort(keys // 4)
        for pair in ((group, keys), (keys, group), (group, keys % 300)):
            firsts = np.sort(np.unique(np.stack(pair), axis=1, return_index=True)[1])
            assert np.array_equal(first_in_each(*pair), firsts)


@compiled
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_times_and_answers_are_those_of_numpy(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.integers(-(10**9), 10**9, 9)
    visit, share = rng.integers(0, 9, n), rng.random(n)
    running = np.cumsum(rng.integers(0, 3, (9, 5)), axis=1) / 8
    rank = rng.integers(0, 9, n) / 8
    end = start + rng.integers(0, 90_000, 9)
    found = within(start, end, visit, share), reached(running, visit, rank)
    with only_numpy():
        assert np.array_equal(found[0], within(start, end, visit, share))
        assert np.array_equal(found[1], reached(running, visit, rank))


@compiled
@given(st.lists(st.floats(-30, 30) | st.sampled_from([0.0, -0.0, 0.05, -0.05, 0.25, np.nan])))
def test_values_are_rounded_as_by_numpy(values: list[float]) -> None:
    value, scale = np.array(values), np.array([1.0, 10.0])
    least, most = np.array([-np.inf, 0.0]), np.array([np.inf, 20.0])
    row = np.arange(len(value)) % 2
    expected = np.round(np.clip(value, least[row], most[row]) * scale[row]) / scale[row]
    assert LOOPS is not None
    LOOPS.rounded(row, least, most, scale, value)
    assert value.tobytes() == expected.tobytes()


@compiled
@given(st.integers(0, 2**32), st.integers(0, 50))
def test_quantiles_are_those_of_numpy(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    core = core_quantiles()
    stratum, sex = rng.integers(0, 2, (2, n))
    # Also beyond all ages and scores, and just on them.
    age, score = rng.choice([rng.uniform(-9, 120), 0.0, 18.0, 65.0, 200.0], n), rng.normal(0, 3, n).round(1)
    found = core.value("sbp", stratum, sex, age, score)
    with only_numpy():
        assert found.tobytes() == core.value("sbp", stratum, sex, age, score).tobytes()
    with pytest.raises(IndexError, match="stratum"):
        core.value("sbp", np.full(n + 1, 99), np.zeros(n + 1, np.int64), np.zeros(n + 1), np.zeros(n + 1))


@compiled
@given(st.lists(st.integers(-2, 20)))
def test_identifiers_of_rows_are_those_of_numpy(rows: list[int]) -> None:
    ids = identifier_bytes(3, "patient", 0, 21)
    found = id_column(ids, np.array(rows, dtype=np.int64))
    found.validate(full=True)
    with only_numpy():
        assert found.equals(id_column(ids, np.array(rows, dtype=np.int64)))


@compiled
def test_what_is_not_there_is_refused() -> None:
    assert LOOPS is not None
    zero, half = np.zeros(1, dtype=np.int64), np.array([0.5])
    table = cumulative([[0.5, 0.5]])
    for row in (-1, 1):
        with pytest.raises(IndexError, match="row"):
            sample_rows(table, np.array([row]), half)
        with pytest.raises(IndexError, match="key"):
            Ragged.build(zero, zero, half, 1).draw(np.array([row]), half)
    with pytest.raises(ValueError, match="lengths"):
        sample_rows(table, zero, np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="type"):
        LOOPS.years(zero, zero, bytearray(9))
    with pytest.raises(TypeError, match="arrays"):
        LOOPS.years(zero)
    with pytest.raises(BufferError):
        LOOPS.years(zero, zero, pa.py_buffer(b"12345678"))
    with pytest.raises(IndexError, match="variable"):
        LOOPS.ancestral(
            *(table.thresholds, np.array([0, 2]), np.array([2]), np.array([0, 1]), np.array([7]), zero),
            *(half, zero.copy()),
        )
    with pytest.raises(IndexError, match="label"):
        LOOPS.labelled(
            np.array([5]), np.array([0, 1, -1], dtype=np.int32), np.zeros(1, dtype=np.int32), np.zeros(1, np.uint8)
        )
    two, year = np.array([0, 1]), np.array([2000.0])
    for place, wrong, told in ((0, two * 9, "encounter"), (3, two * 9, "vaccine"), (4, zero + 1, "person")):
        arrays = [two, zero, zero, two, *[zero] * 5, year, year, zero, zero.copy(), zero.copy()]
        LOOPS.vaccinated(*arrays)
        arrays[place] = wrong
        with pytest.raises(IndexError, match=told):
            LOOPS.vaccinated(*arrays)
    with pytest.raises(IndexError, match="encounter"):
        LOOPS.due(zero + 1, zero, zero, zero, np.array([0.0, 9.0]), two, zero.copy())
    with pytest.raises(ValueError, match="lengths"):
        LOOPS.due(zero, zero, zero, zero, half, two, zero.copy())
    with pytest.raises(IndexError, match="encounter"):
        within(zero, zero, zero + 1, half)
    with pytest.raises(IndexError, match="row"):
        reached(np.zeros((1, 2)), zero + 1, half)
    with pytest.raises(IndexError, match="identifier"):
        id_column(identifier_bytes(3, "patient", 0, 1), zero + 1)
    with pytest.raises(ValueError, match="room"):
        LOOPS.gathered(b"a" * 36, zero, np.zeros(1, dtype=np.int32), bytearray(1))
    with pytest.raises(ValueError, match="lengths"):
        LOOPS.ordered(zero, np.zeros(2, dtype=np.int64))
    for arrays in ((zero, np.zeros(2, dtype=np.int64), bytearray(1)), (zero, zero, bytearray(2))):
        with pytest.raises(ValueError, match="lengths"):
            LOOPS.firsts(*arrays)
    none = np.zeros(0, dtype=np.int64)
    for counts in ([2], [-1], [1]):
        with pytest.raises((IndexError, ValueError), match=r"room|lengths"):
            LOOPS.expanded(zero, np.array(counts), none, none.copy())
    with pytest.raises(IndexError, match="encounter"):
        LOOPS.following(np.array([0, 9]), zero, zero, zero, zero, zero.copy())
    with pytest.raises(IndexError, match="person"):
        LOOPS.following(np.array([0, 1]), zero, zero, zero + 1, zero, zero.copy())
    with pytest.raises(IndexError, match="code"):
        LOOPS.observed(
            *(zero + 1, half, zero, b"\0", half, half, half.copy(), half.copy(), half.copy(), bytearray(3)),
            np.zeros(3, dtype=np.int64),
        )
    arrays = [
        zero,
        zero,
        zero,
        zero,
        zero,
        half,
        half,
        half,
        half,
        b"\1",
        two,
        zero,
        zero,
        half,
        half,
        zero,
        zero,
        zero,
    ]
    arrays += [two, zero, half, half, np.array([1, 10, 4]), half.copy(), np.zeros(3), zero.copy()]
    assert LOOPS.general(*arrays) == 1
    for place, wrong, told in (
        *((0, zero + 1, "encounter"), (1, zero - 1, "encounter"), (2, zero + 1, "person"), (4, zero + 1, "encounter")),
        *((10, two * 2, "effect"), (12, zero + 1, "effect"), (18, two * 2, "person")),
    ):
        with pytest.raises(IndexError, match=told):
            LOOPS.general(*(wrong if at == place else array for at, array in enumerate(arrays)))
    with pytest.raises(ValueError, match="lengths"):
        LOOPS.general(*arrays[:-1], none)
    with pytest.raises(IndexError, match="row"):
        LOOPS.rounded(zero + 1, half, half, half, half.copy())
    with pytest.raises(IndexError, match="person"):
        LOOPS.fitting(
            *(zero, zero, np.array([0, 0]), np.array([0]), none, b"", np.array([1, 1]), zero, b"\0"),
            *(zero, np.array([4]), zero, np.zeros(1, dtype=bool)),
        )
