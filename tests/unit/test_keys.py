"""Keys compiled and by Arrow say the same, and what lies outside of buffers is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth import native
from ehrsynth.exporters.keys import combined, distinct, least_of_each, places_in, rows_by_owner

TEXTS = st.lists(st.none() | st.text(max_size=3) | st.sampled_from(["a" * 36, "a" * 35 + "b", "é" * 20]), max_size=60)
KINDS = st.sampled_from([pa.string(), pa.large_string(), pa.binary()])


@contextmanager
def only_numpy() -> Iterator[None]:
    """Do without what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_NATIVE", None)
        yield


def _array(texts: list[str | None], kind: pa.DataType, first: int) -> pa.Array:
    """Texts as a slice, whose first is not the first of its buffers."""
    return pa.array(["before"] * first + texts, pa.string()).cast(kind).slice(first)


@given(TEXTS, TEXTS, KINDS, st.integers(0, 9))
def test_places_are_the_first_of_each_key(
    keys: list[str | None], others: list[str | None], kind: pa.DataType, first: int
) -> None:
    found = places_in(_array(others, kind, first), _array(keys, kind, 9 - first))
    expected = [-1 if key is None or key not in others else others.index(key) for key in keys]
    assert found.tolist() == expected
    with only_numpy():
        assert places_in(_array(others, kind, first), _array(keys, kind, 9 - first)).tolist() == expected


@given(TEXTS, KINDS, st.integers(0, 9))
def test_distinct_values_are_numbered_by_first_appearance(
    texts: list[str | None], kind: pa.DataType, first: int
) -> None:
    known = list(dict.fromkeys(text for text in texts if text is not None))
    index, firsts = distinct(_array(texts, kind, first))
    assert index.tolist() == [-1 if text is None else known.index(text) for text in texts]
    assert firsts.tolist() == [texts.index(text) for text in known]
    with only_numpy():
        other, others = distinct(_array(texts, kind, first))
    np.testing.assert_array_equal(index, other)
    np.testing.assert_array_equal(firsts, others)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.date32(), pa.timestamp("s"), pa.int8(), pa.bool_()])
def test_numbers_are_numbered_as_texts_are(kind: pa.DataType) -> None:
    values = pa.array([0, 1, None, 1, 0, 1, None, 0], pa.int64())
    values = values.cast(pa.int32() if pa.types.is_date32(kind) else values.type).cast(kind).slice(1)
    index, first = distinct(values)
    assert index.tolist() == [0, -1, 0, 1, 0, -1, 1]
    assert first.tolist() == [0, 3]


@given(st.data(), st.integers(0, 80), st.integers(0, 5))
def test_combinations_are_numbered_by_first_appearance(data: st.DataObject, n: int, k: int) -> None:
    values = [data.draw(st.lists(st.none() | st.sampled_from("abcde"), min_size=n, max_size=n)) for _ in range(k)]
    rows = list(zip(*values, strict=True)) if k else [()] * n
    # So many labels that the last column does not fit into a number with the others.
    labels = pa.array([*"abcde", *map(str, range(20_000))])
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(["abcde".index(v) if v else None for v in some], pa.int32()), labels)
        if at % 2 == 0
        else pa.array(some, pa.string())
        for at, some in enumerate(values)
    ]
    index, first = combined(columns * 3, n)
    known = list(dict.fromkeys(rows))
    assert index.tolist() == [known.index(row) for row in rows]
    assert first.tolist() == [rows.index(row) for row in known]
    with only_numpy():
        other, others = combined(columns * 3, n)
    np.testing.assert_array_equal(index, other)
    np.testing.assert_array_equal(first, others)


@given(TEXTS, st.data())
def test_the_least_of_each_group_is_its_first_least(texts: list[str | None], data: st.DataObject) -> None:
    raw = data.draw(st.lists(st.integers(0, 4), min_size=len(texts), max_size=len(texts)))
    group = distinct(pa.array(raw, pa.int64()))[0].astype(np.int64)
    expected = [
        min(
            (at for at in range(len(texts)) if group[at] == one),
            key=lambda at: (texts[at] is None, (texts[at] or "").encode()),
        )
        for one in range(max(group, default=-1) + 1)
    ]
    assert least_of_each(group, pa.array(texts, pa.string())).tolist() == expected
    with only_numpy():
        assert least_of_each(group, pa.array(texts, pa.string())).tolist() == expected


@given(st.lists(st.integers(-1, 5), max_size=40))
def test_rows_by_owner_are_in_order(owner: list[int]) -> None:
    found = rows_by_owner(np.array(owner, dtype=np.int32)).tolist()
    assert found == sorted((at for at, one in enumerate(owner) if one >= 0), key=lambda at: owner[at])


def test_what_does_not_fit_is_refused() -> None:
    loop = native.compiled()
    if loop is None:
        pytest.skip("the package was built without a compiler")
    out, first = np.zeros(2, np.int32), np.zeros(2, np.int64)
    ends, data = np.array([0, 1, 2], np.int32), b"ab"
    good = (ends, data, None, 0, 2, 4)
    assert loop.distinct(good, out, first) == 2
    for wrong in (
        (ends, data, None, 1, 2, 4),
        (ends, b"a", None, 0, 2, 4),
        (np.array([0, 3, 2], np.int32), b"abc", None, 0, 2, 4),
        (np.array([-1, 1, 2], np.int32), data, None, 0, 2, 4),
        (ends, data, b"", 0, 2, 4),
        (ends, data, None, 0, -1, 4),
        (ends, data, None, 0, 2, 3),
        (None, data, None, 0, 2, -8),
    ):
        with pytest.raises(ValueError, match=r"too short|outside|not the values"):
            loop.distinct(wrong, out, first)
        with pytest.raises(ValueError, match=r"too short|outside|not the values"):
            loop.places(good, wrong, out)
    with pytest.raises(ValueError, match="lengths"):
        loop.distinct(good, np.zeros(1, np.int32), first)
    with pytest.raises(ValueError, match="lengths"):
        loop.places(good, good, np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="lengths"):
        loop.least(np.zeros(3, np.int64), good, first)
    with pytest.raises(IndexError, match="group"):
        loop.least(np.array([0, 2]), good, first)
    column = (np.array([0, 5], np.int32), 0, None, 6)
    assert loop.combined([column], 2, out, first) == 2
    with pytest.raises(IndexError, match="value"):
        loop.combined([(column[0], 0, None, 5)], 2, out, first)
    with pytest.raises(ValueError, match="too short"):
        loop.combined([(column[0], 1, None, 6)], 2, out, first)
    with pytest.raises(ValueError, match="too short"):
        loop.combined([(column[0], 0, b"", 6)], 2, out, first)
    with pytest.raises(ValueError, match="lengths"):
        loop.combined([column], 3, out, first)
