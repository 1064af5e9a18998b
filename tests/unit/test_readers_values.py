"""Typed columns: what is read, what is absent, what is bad."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ehrsynth.readers.values import parse


def texts(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def bad_rows(column: pa.ChunkedArray, kind: str) -> list[int]:
    bad = parse(column, kind).bad
    return [] if bad is None else bad.nonzero()[0].tolist()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("date", "2019-03-04", date(2019, 3, 4)),
        ("date", "2019-03-04 23:59:59", date(2019, 3, 4)),
        ("date", "1969-12-31T23:59:59", date(1969, 12, 31)),
        ("date", "20190304", date(2019, 3, 4)),
        ("date", "2000-02-29", date(2000, 2, 29)),
        ("datetime", "2019-03-04", datetime(2019, 3, 4)),
        ("datetime", "2019-03-04T10:11:12", datetime(2019, 3, 4, 10, 11, 12)),
        ("datetime", "2019-03-04 10:11", datetime(2019, 3, 4, 10, 11)),
        ("datetime", "2019-03-04T10:11:12Z", datetime(2019, 3, 4, 10, 11, 12)),
        ("datetime", "2019-03-04T10:11:12+02:00", datetime(2019, 3, 4, 8, 11, 12)),
        ("datetime", "1960-01-01 00:00:00.750", datetime(1960, 1, 1)),
        ("integer", "-12", -12),
        ("integer", "12.0", 12),
        ("number", "1e-7", 1e-7),
        ("number", " 2.5 ", 2.5),
        ("boolean", "TRUE", True),
        ("boolean", "0", False),
        ("key", "-9223372036854775808123", "-9223372036854775808123"),
        ("key", "007", "007"),
        ("string", "NULL", "NULL"),
    ],
)
def test_a_value_is_read(kind: str, value: str, expected: Any) -> None:
    parsed = parse(texts(value, None), kind)
    assert parsed.values.to_pylist() == [expected, None]
    assert parsed.bad is None


@pytest.mark.parametrize("kind", ["date", "datetime", "integer", "number", "key", "boolean"])
@pytest.mark.parametrize("word", ["", "NULL", "null", "NaN", "\\N", "NA"])
def test_words_for_nothing_are_absent_and_not_bad(kind: str, word: str) -> None:
    parsed = parse(texts(word), kind)
    assert parsed.values.to_pylist() == [None]
    assert parsed.bad is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("date", "2019-13-45"),
        ("date", "2019-02-30"),
        ("date", "03/04/2019"),
        ("date", "yesterday"),
        ("datetime", "2019-03-04 25:00:00"),
        ("datetime", "2019-03-04T10:61:00"),
        ("integer", "1.5"),
        ("integer", "x"),
        ("number", "1,5"),
        ("number", "inf"),
        ("number", "1_000"),
        ("boolean", "maybe"),
    ],
)
def test_a_bad_value_is_marked_and_its_neighbours_are_read(kind: str, value: str) -> None:
    good = {
        "date": "2019-03-04",
        "datetime": "2019-03-04 01:02:03",
        "integer": "3",
        "number": "3.5",
        "boolean": "true",
    }[kind]
    parsed = parse(texts(good, value, None, good), kind)
    assert parsed.bad is not None
    assert parsed.bad.tolist() == [False, True, False, False]
    read = parsed.values.to_pylist()
    assert read[0] == read[3] == parse(texts(good), kind).values[0].as_py()
    assert read[1] is None


def test_keys_that_went_through_a_float_lose_the_point_only_if_all_did() -> None:
    assert parse(texts("1.0", None, "-2.0"), "key").values.to_pylist() == ["1", None, "-2"]
    assert parse(texts("1.0", "2"), "key").values.to_pylist() == ["1.0", "2"]


def test_types_of_parquet_are_taken_as_they_are() -> None:
    plus_one = timezone(timedelta(hours=1))
    zoned = pa.array([datetime(2019, 1, 1, 0, 30, tzinfo=plus_one)], pa.timestamp("us", "+01:00"))
    assert parse(pa.chunked_array([zoned]), "datetime").values.to_pylist() == [datetime(2018, 12, 31, 23, 30)]
    before = pa.array([datetime(1965, 5, 5, 23, 59, 59, 900_000)], pa.timestamp("ns"))
    assert parse(pa.chunked_array([before]), "datetime").values.to_pylist() == [datetime(1965, 5, 5, 23, 59, 59)]
    assert parse(pa.chunked_array([before]), "date").values.to_pylist() == [date(1965, 5, 5)]
    assert parse(pa.chunked_array([pa.array([date(2000, 1, 2)])]), "datetime").values.to_pylist() == [
        datetime(2000, 1, 2)
    ]
    assert parse(pa.chunked_array([pa.array([7, None])]), "key").values.to_pylist() == ["7", None]
    assert parse(pa.chunked_array([pa.array([Decimal("1.5")])]), "number").values.to_pylist() == [1.5]
    assert parse(pa.chunked_array([pa.array([True, None])]), "string").values.to_pylist() == ["true", None]


def test_parquet_values_that_do_not_fit_are_bad() -> None:
    assert bad_rows(pa.chunked_array([pa.array([1.0, 1.5, None])]), "integer") == [1]
    assert bad_rows(pa.chunked_array([pa.array([True, None])]), "date") == [0]


@pytest.mark.parametrize("kind", ["string", "key", "integer", "number", "boolean", "date", "datetime"])
def test_an_empty_column(kind: str) -> None:
    assert parse(pa.chunked_array([], pa.string()), kind).values.to_pylist() == []
