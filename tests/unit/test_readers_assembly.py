"""The order of encounters, the precision of times as text, and what dates mean."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.readers import assembly

SECONDS = pa.timestamp("s")


def column(values: list[object], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def test_encounters_are_counted_by_start_then_end_then_as_they_stand() -> None:
    day = [datetime(2020, 1, d) for d in range(1, 5)]
    patients = np.array([1, 0, 1, 0, 0, 1])
    start = column([day[2], day[1], None, day[0], day[1], day[2]], SECONDS)
    end = column([None, day[3], None, day[0], day[2], day[3]], SECONDS)
    assert assembly.encounter_sequence(patients, start, end).tolist() == [2, 3, 3, 1, 2, 1]
    nothing = column([], SECONDS)
    assert assembly.encounter_sequence(np.zeros(0, dtype=np.int64), nothing, nothing).tolist() == []


def test_rows_are_ordered_by_patient_then_time_and_otherwise_stay() -> None:
    order = assembly.patient_order(np.array([1, 0, 1, 0]), np.array([5, 9, 5, 2]))
    assert order.tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2020-01-01", "day"), ("2020-01-01T10:11", "minute"), ("2020-01-01T10:11:12", "second"), (None, None)],
)
def test_text_says_how_exact_it_is(text: str | None, expected: str | None) -> None:
    assert assembly.text_precision(column([text], pa.string())).to_pylist() == [expected]


def test_a_dictionary_has_no_gaps_and_no_repetition() -> None:
    made = assembly.dictionary(np.array([2, -1, 0, 2]), ["a", None, "b", "never"])
    assert made.to_pylist() == ["b", None, "a", "b"]
    assert sorted(made.dictionary.to_pylist()) == ["a", "b"]
    assert assembly.dictionary(np.array([-1, -1]), []).to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("birth", "start", "expected"),
    [
        (date(1950, 1, 1), datetime(2015, 1, 1), "calendar"),
        (date(2101, 1, 1), datetime(2150, 1, 1), "shifted"),
        (date(1950, 1, 1), None, "order"),
    ],
)
def test_what_the_dates_are(birth: date, start: datetime | None, expected: str) -> None:
    tables = {
        "patient": pa.table({"birth_date": column([birth], pa.date32())}),
        "encounter": pa.table({"start_datetime": column([start], SECONDS)}),
    }
    assert assembly.time_basis(tables) == expected
