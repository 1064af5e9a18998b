"""Slots, folding and joining against plain Python."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.exporters.fragments import Slot, constant, fold, join, joined_bytes, pool_of, row_texts, time_slots


def index(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_rows_are_the_entries_side_by_side() -> None:
    slots = [constant(b"<"), Slot(pool_of([b"a", b"bb"]), index(0, 1, -1)), constant(b">", index(0, -1, 0))]
    assert join(slots, 3).to_pylist() == [b"<a>", b"<bb", b"<>"]


def test_no_rows_and_no_slots() -> None:
    assert join([], 2).to_pylist() == [b"", b""]
    assert join([constant(b"x")], 0).to_pylist() == []
    assert joined_bytes(join([], 0)) == b""


def test_constants_alone_become_one_slot() -> None:
    folded = fold([constant(b"a"), constant(b"b"), constant(b"c")], 5)
    assert len(folded) == 1
    assert folded[0].pool.to_pylist() == [b"abc"]
    assert folded[0].index == 0


def test_few_combinations_become_one_slot_and_write_the_same() -> None:
    n = 1000
    which = np.arange(n, dtype=np.int32) % 3
    mark = (which > 0).astype(np.int32) - 1
    slots = [constant(b'"k":"', mark), Slot(pool_of([b"x", b"y", b"z"]), which), constant(b'"', mark)]
    folded = fold(slots, n)
    assert len(folded) == 1
    assert len(folded[0].pool) == 3
    expected = [[b"x", b'"k":"y"', b'"k":"z"'][i % 3] for i in range(n)]
    assert join(slots, n).to_pylist() == expected


def test_many_combinations_are_left_apart() -> None:
    n = 512
    first, second = np.arange(n, dtype=np.int32) % 32, np.arange(n, dtype=np.int32) // 32
    slots = [
        Slot(pool_of([b"%d" % i for i in range(32)]), first),
        Slot(pool_of([b"/%d" % i for i in range(16)]), second),
    ]
    assert len(fold(slots, n)) == 2
    assert join(slots, n).to_pylist() == [b"%d/%d" % (i % 32, i // 32) for i in range(n)]


def test_what_is_not_foldable_stays() -> None:
    slots = [constant(b"a"), Slot(pool_of([b"1", b"2"]), index(0, 1), foldable=False), constant(b"b")]
    assert len(fold(slots, 2)) == 3


def test_the_bytes_of_some_rows() -> None:
    texts = join([Slot(pool_of([b"one", b"two", b"three"]), index(0, 1, 2))], 3)
    assert joined_bytes(texts) == b"onetwothree"
    assert joined_bytes(texts, 1, 2) == b"two"
    assert joined_bytes(texts.slice(1), 0, 1) == b"two"


def test_row_texts_leave_nulls_out() -> None:
    assert join([row_texts(pa.array(["a", None, "c"]))], 3).to_pylist() == [b"a", b"", b"c"]
    assert join([row_texts(pa.array(["x", "a", None, "c"]).slice(1))], 3).to_pylist() == [b"a", b"", b"c"]


@pytest.mark.parametrize(
    "moment",
    [datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59), datetime(2024, 2, 29, 12, 34, 56), datetime(1, 1, 1)],
)
def test_times_before_and_after_1970(moment: datetime) -> None:
    written = join(time_slots(pa.array([moment], pa.timestamp("s"))), 1).to_pylist()
    assert written == [moment.isoformat().encode() + b"Z"]


def test_dates_dates_alone_and_nulls() -> None:
    days = pa.array([date(2020, 2, 29), None, date(1899, 12, 31)])
    assert join(time_slots(days, close=b'"'), 3).to_pylist() == [b'2020-02-29"', b"", b'1899-12-31"']
    times = pa.array([datetime(2020, 1, 2, 3, 4, 5), datetime(2020, 1, 2), None], pa.timestamp("s"))
    slots = time_slots(times, close=b'"', date_only=np.array([False, True, True]))
    assert join(slots, 3).to_pylist() == [b'2020-01-02T03:04:05Z"', b'2020-01-02"', b""]


@pytest.mark.parametrize("year", [1, 1869, 1870, 1970, 2069, 2070, 9999])
def test_dates_inside_and_outside_the_calendar(year: int) -> None:
    days = [date(year, 12, 31), date(year, 1, 1), None, date(year, 3, 1)] * 20
    expected = [b"" if day is None else day.isoformat().encode() for day in days]
    assert join(time_slots(pa.array(days, pa.date32())), len(days)).to_pylist() == expected
    times = pa.array([None if day is None else datetime(year, day.month, day.day, 23, 59, 58) for day in days])
    written = join(time_slots(times.cast(pa.timestamp("s"))), len(days)).to_pylist()
    assert written == [text and text + b"T23:59:58Z" for text in expected]
