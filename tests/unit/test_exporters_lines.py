"""Lines of CSV are the same with and without what is compiled, whatever stands in the columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth import native
from ehrsynth.exporters.lines import lines

LOOPS = native.compiled()
compiled = pytest.mark.skipif(LOOPS is None, reason="the package was built without a compiler")

SOME_TEXT = st.text(st.sampled_from('abc -~,"\n\ré日'), max_size=45)
NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(10**12), 10**12).map(lambda n: n / 1000),
    st.integers(-(10**9), 10**9).map(float),
    st.sampled_from([0.0, -0.0, 0.1 + 0.2, 1e-4, 9.9e-5, 1e9, 999999999.999999, 1e22, 5e-324, 1.7e308]),
)
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), SOME_TEXT),
    (pa.string(), st.uuids().map(str)),
    (pa.dictionary(pa.int32(), pa.string()), SOME_TEXT),
    (pa.date32(), st.dates(date(1871, 1, 1), date(2069, 12, 31))),
    (pa.date32(), st.dates()),
    (
        pa.timestamp("s"),
        st.datetimes(datetime(1871, 1, 1), datetime(2069, 12, 31)).map(lambda t: t.replace(tzinfo=UTC)),
    ),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), NUMBERS),
    (pa.bool_(), st.booleans()),
]


@contextmanager
def only_numpy() -> Iterator[None]:
    """Do without what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_NATIVE", None)
        yield


def same(rows: pa.Table) -> bytes:
    """Return the lines of `rows`, which are the same without what is compiled."""
    found = bytes(lines(rows))
    with only_numpy():
        assert found == bytes(lines(rows))
    return found


@compiled
@given(st.data(), st.integers(0, 40), st.integers(0, 9))
def test_lines_are_those_of_arrow(data: st.DataObject, n: int, first: int) -> None:
    columns = []
    for kind, values in data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7)):
        value = values if data.draw(st.booleans()) else st.one_of(st.none(), values)
        given_ = data.draw(st.lists(value, min_size=first + n, max_size=first + n))
        # What begins in the middle of its buffers, and of a byte of its validity.
        columns.append(pa.array(given_, kind).slice(first))
    same(pa.table(columns, names=[f"c{at}" for at in range(len(columns))]))


@compiled
def test_numbers_of_few_decimals_are_the_shortest_that_read_back() -> None:
    numbers = [number / scale for scale in (1, 10, 100, 1000, 10**6) for number in (*range(-99, 2000, 7), 999_999_999)]
    text = same(pa.table({"a": pa.array(numbers), "b": pa.nulls(len(numbers), pa.string())})).decode()
    assert [float(line.rstrip(",")) for line in text.splitlines()] == numbers
    assert same(pa.table({"a": pa.array([37.0, -0.0, 98.6, np.nan, np.inf, -np.inf, None])})).decode() == (
        "37\n-0\n98.6\n\nINF\n-INF\n\n"
    )


@compiled
def test_empty_columns_and_rows_leave_their_commas() -> None:
    nothing = pa.nulls(3, pa.float64())
    assert (
        same(pa.table({"a": nothing, "b": pa.array([1, None, 3]), "c": nothing, "d": nothing})) == b",1,,\n,,,\n,3,,\n"
    )
    assert same(pa.table({"a": nothing, "b": nothing})) == b",\n,\n,\n"
    assert same(pa.table({"a": nothing.slice(0, 0)})) == b""


@compiled
def test_what_stands_where_nothing_is_known_does_not_matter() -> None:
    known = pa.py_buffer(b"\x05")
    strange = np.array([0, 1 << 30, 0], dtype=np.int32)
    index = pa.Array.from_buffers(pa.int32(), 3, [known, pa.py_buffer(strange)])
    days = pa.Array.from_buffers(pa.date32(), 3, [known, pa.py_buffer(strange)])
    columns = {"a": pa.DictionaryArray.from_arrays(index, ["x"], safe=False), "b": days}
    assert bytes(lines(pa.table(columns))) == b"x,1970-01-01\n,\nx,1970-01-01\n"


@compiled
def test_columns_that_do_not_fit_are_refused() -> None:
    assert LOOPS is not None
    number, ends, letters = np.zeros(2, dtype=np.int64), np.array([0, 5], dtype=np.int64), b"abc"
    index = np.zeros(2, dtype=np.int32)

    def write(*column: Any, n: int = 2) -> Any:
        return LOOPS.csv([column], 0, n, b"1970-01-01", 0, bytearray)

    assert write(4, 0, 0, None, number, None, 0, 0, None)[1] == 4
    short = [
        (4, 0, 1, None, number, None, 0, 0, None),
        (4, 0, 0, b"", number, None, 0, 0, None),
        (0, 0, 0, None, index, None, 0, 0, None),
        (0, 0, 0, None, np.array([0, 2, 9], dtype=np.int32), None, 0, 0, letters),
        (0, 0, 0, None, np.array([0, 2, 1], dtype=np.int32), None, 0, 0, letters),
        (1, 0, 0, None, index, ends, 0, 1, letters),
        (1, 0, 0, None, index, ends, 1, 1, letters),
        (9, 0, 0, None, number, None, 0, 0, None),
        (4, -1, 0, None, number, None, 0, 0, None),
    ]
    for column in short:
        with pytest.raises(ValueError, match=r"short|outside|no such column"):
            write(*column)
    for wrong in (-2, 1):
        with pytest.raises(IndexError, match="no such text"):
            write(1, 0, 0, None, np.full(2, wrong, dtype=np.int32), ends[:1] * 0, 0, 0, letters)
    assert write(2, 0, 0, None, np.ones(2, dtype=np.int32), None, 0, 0, None) is None
    with pytest.raises(ValueError, match="no such rows"):
        write(4, 0, 0, None, number, None, 0, 0, None, n=-1)
    with pytest.raises(ValueError, match="no room"):
        LOOPS.csv([(4, 0, 0, None, number, None, 0, 0, None)], 0, 2, b"", 0, lambda size: bytearray(size - 1))
