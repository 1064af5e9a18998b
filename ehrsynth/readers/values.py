"""Typed columns out of columns of text (or of Parquet's own types), and which values could not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ABSENT", "EXPECTED", "Parsed", "parse", "text"]

ABSENT = ("", "NULL", "null", "None", "NaN", "nan", "NA", "N/A", "\\N")
"""What writers put into a number, date or key column when there is no value. In text columns these are words."""

EXPECTED = {
    "string": "text",
    "key": "a key",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date",
    "datetime": "a date and time",
}
"""What a value of each type is called in an error."""

_SECOND = pa.timestamp("s")


@dataclass(frozen=True)
class Parsed:
    """A typed column; where a value could not be read it is null, and `bad` (shape (n,), None for nowhere) is true."""

    values: pa.ChunkedArray
    bad: npt.NDArray[np.bool_] | None = None


def parse(column: pa.ChunkedArray, kind: str) -> Parsed:
    """Read a column as `kind`: string, key, integer, number, boolean, date or datetime.

    Dates are ``YYYY-MM-DD`` (a time after them is left out), also ``YYYYMMDD``; times are ISO 8601 with ``T`` or a
    space, with or without seconds and fractions (cut), and in UTC unless they carry an offset. Numbers must be finite.
    Keys keep their text exactly, except that a column of nothing but ``123.0`` (integers that went through a float)
    loses the ``.0``.

    Every reading is first tried on the whole column; only if that fails are the distinct values read one by one.
    """
    readers: dict[str, Callable[[pa.ChunkedArray], Parsed]] = {
        "string": lambda values: Parsed(text(values)),
        "key": _keys,
        "integer": _integers,
        "number": _numbers,
        "boolean": _booleans,
        "date": _dates,
        "datetime": _datetimes,
    }
    return readers[kind](column)


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text; empty text is null."""
    kind = column.type
    if pa.types.is_string(kind):
        return pc.if_else(pc.equal(column, ""), None, column) if _any(pc.equal(column, "")) else column
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    return column.cast(pa.string())


def _any(mask: Any) -> bool:
    return bool(pc.any(mask).as_py())


def _clear(column: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(ABSENT)), None, trimmed)


def _ladder(
    column: pa.ChunkedArray,
    steps: tuple[Callable[[pa.ChunkedArray], pa.ChunkedArray], ...],
    one: Callable[[str], Any],
    target: pa.DataType,
) -> Parsed:
    """Try each step on the whole column, as it is and with absent words cleared; at last each distinct value."""
    cleared = column
    for clear in (False, True):
        cleared = _clear(column) if clear else column
        for step in steps:
            try:
                return Parsed(step(cleared))
            except pa.ArrowInvalid:
                continue
    encoded = cleared.dictionary_encode().unify_dictionaries().combine_chunks()
    # One entry to begin with, so that a column without any value has something to take from.
    values, broken = [None], [False]
    for word in encoded.dictionary.to_pylist():
        try:
            values.append(one(word))
            broken.append(False)
        except ValueError:
            values.append(None)
            broken.append(True)
    at = encoded.indices.fill_null(-1).to_numpy() + 1
    taken = pa.array(values, type=target).take(pa.array(at))
    bad = np.array(broken, dtype=bool)[at]
    return Parsed(pa.chunked_array([taken]), bad if bad.any() else None)


def _keys(column: pa.ChunkedArray) -> Parsed:
    if not pa.types.is_string(column.type):
        return Parsed(text(column))
    absent = pc.is_in(column, value_set=pa.array(ABSENT))
    values = pc.if_else(absent, None, column) if _any(absent) else column
    first = next((value for value in values.slice(0, 1000).to_pylist() if value is not None), "")
    if first.endswith(".0") and pc.all(pc.match_substring_regex(values, r"^-?[0-9]+\.0$")).as_py():
        values = pc.utf8_slice_codeunits(values, 0, -2)
    return Parsed(values)


def _integers(column: pa.ChunkedArray) -> Parsed:
    if not pa.types.is_string(column.type):
        return _cast(column, pa.int64())

    def one(word: str) -> int:
        value = float(word)
        if not value.is_integer():
            raise ValueError(word)
        return int(value)

    def through_float(values: pa.ChunkedArray) -> pa.ChunkedArray:
        return values.cast(pa.float64()).cast(pa.int64())

    return _ladder(column, (lambda values: values.cast(pa.int64()), through_float), one, pa.int64())


def _numbers(column: pa.ChunkedArray) -> Parsed:
    if not pa.types.is_string(column.type):
        return _cast(column, pa.float64())

    def one(word: str) -> float:
        value = float(word)
        if not np.isfinite(value) or "_" in word:
            raise ValueError(word)
        return value

    def cast(values: pa.ChunkedArray) -> pa.ChunkedArray:
        numbers = values.cast(pa.float64())
        if not pc.all(pc.is_finite(numbers)).as_py() and _any(pc.invert(pc.is_finite(numbers))):
            raise pa.ArrowInvalid("not finite")
        return numbers

    return _ladder(column, (cast,), one, pa.float64())


def _booleans(column: pa.ChunkedArray) -> Parsed:
    if not pa.types.is_string(column.type):
        return _cast(column, pa.bool_())
    words = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}

    def one(word: str) -> bool:
        if word.lower() not in words:
            raise ValueError(word)
        return words[word.lower()]

    return _ladder(column, (), one, pa.bool_())


def _dates(column: pa.ChunkedArray) -> Parsed:
    kind = column.type
    if pa.types.is_string(kind):
        return _ladder(
            column,
            (
                lambda values: values.cast(pa.date32()),
                lambda values: values.cast(_SECOND).cast(pa.date32(), safe=False),
            ),
            lambda word: _instant(word).date(),
            pa.date32(),
        )
    if pa.types.is_timestamp(kind):
        return Parsed(_whole_seconds(column).cast(pa.date32(), safe=False))
    return _cast(column, pa.date32())


def _datetimes(column: pa.ChunkedArray) -> Parsed:
    kind = column.type
    if pa.types.is_string(kind):
        return _ladder(
            column,
            (
                lambda values: values.cast(_SECOND),
                lambda values: pc.utf8_rtrim(values, characters="Z").cast(_SECOND),
                lambda values: _whole_seconds(values.cast(pa.timestamp("us"))),
            ),
            _instant,
            _SECOND,
        )
    if pa.types.is_timestamp(kind):
        return Parsed(_whole_seconds(column))
    return _cast(column, _SECOND)


def _whole_seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # Casting a zoned time to a naive one keeps the instant, in UTC; flooring first also serves times before 1970.
    return pc.floor_temporal(column, unit="second").cast(_SECOND, safe=False)


def _instant(word: str) -> datetime:
    moment = datetime.fromisoformat(word)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=0)


def _cast(column: pa.ChunkedArray, target: pa.DataType) -> Parsed:
    if column.type == target:
        return Parsed(column)
    try:
        return Parsed(column.cast(target))
    except pa.ArrowNotImplementedError:
        return Parsed(pa.chunked_array([pa.nulls(len(column), target)]), column.is_valid().to_numpy())
    except pa.ArrowInvalid:
        kept = [_cast_one(value, target) for value in column]
        bad = np.array([value.is_valid and found is None for value, found in zip(column, kept, strict=True)])
        return Parsed(pa.chunked_array([pa.array(kept, type=target)]), bad)


def _cast_one(value: pa.Scalar, target: pa.DataType) -> Any:
    try:
        return value.cast(target).as_py()
    except pa.ArrowInvalid:
        return None
