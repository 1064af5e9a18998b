"""Columns looked at once: type, how many values, dates and how they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.inspection.findings import ColumnFound
from ehrsynth.readers.values import ABSENT

__all__ = ["Looked", "look_at"]

FEW = 60
"""A column of at most so many values is shown with its words."""

_SAMPLE = 20_000
_UUID = r"(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_INTEGER = r"^[+-]?(0|[1-9][0-9]{0,17})(\.0)?$"
_COMPACT_DATE = r"^(?:19|20)[0-9]{6}$"
_FEW_DATES = 5
"""Of so many numbers of eight digits all would not be dates by chance."""
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_TRUTH = {"true", "false", "t", "f", "yes", "no", "y", "n"}

# Shape of a date that is not ISO, and the ways to read it: where several do, day and month cannot be told apart.
_OTHER_DATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$", ("%d.%m.%Y",)),
    (r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$", ("%m/%d/%Y", "%d/%m/%Y")),
    (r"^[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}$", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"^[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}$", ("%Y/%m/%d",)),
    (r"^[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}$", ("%d-%b-%Y",)),
    (r"^[0-9]{1,2}[A-Za-z]{3}[0-9]{4}$", ("%d%b%Y",)),
    (r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}$", ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")),
    (r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}:[0-9]{2}$", ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S")),
    (r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4} [0-9]{1,2}:[0-9]{2}$", ("%d.%m.%Y %H:%M",)),
    (r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4} [0-9]{1,2}:[0-9]{2}:[0-9]{2}$", ("%d.%m.%Y %H:%M:%S",)),
)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A column as found, and its distinct values (whole numbers as int64, all else as text)."""

    found: ColumnFound
    values: pa.Array


def look_at(name: str, column: pa.ChunkedArray, missing: Sequence[str] = ()) -> Looked:
    """Return what a column holds; `missing` are words that stand for no value.

    Everything is read off the distinct values, in Arrow: a column costs one pass of hashing.
    """
    rows = len(column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_binary(column.type) or pa.types.is_nested(column.type):
        return Looked(found=ColumnFound(name=name, kind="text", rows=rows, distinct=rows), values=pa.nulls(0))
    counted = pc.value_counts(column)
    values, counts = counted.field(0), counted.field(1)
    there = pc.is_valid(values)
    if pa.types.is_string(values.type):
        absent = pa.array([*ABSENT, *missing])
        spaced = pc.any(pc.match_substring_regex(values.slice(0, _SAMPLE), r"^\s|\s$")).as_py()
        words = pc.utf8_trim_whitespace(values) if spaced else values
        there = pc.and_(there, pc.invert(pc.is_in(words, value_set=absent)))
    if not pc.all(there).as_py():
        values, counts = values.filter(there), counts.filter(there)
    nulls = rows - int(pc.sum(counts).as_py() or 0)
    if not len(values):
        return Looked(found=ColumnFound(name=name, kind="empty", rows=rows, nulls=nulls), values=values)
    kind, date_format, sure, values = _kind(values)
    few: tuple[str, ...] = ()
    if len(values) <= FEW and kind in ("text", "integer", "boolean"):
        order = np.argsort(-counts.to_numpy(), kind="stable")
        few = tuple(str(word) for word in values.take(pa.array(order)).to_pylist())
    low, high = _ends(values, kind)
    found = ColumnFound(
        name=name,
        kind=kind,
        rows=rows,
        nulls=nulls,
        distinct=len(values),
        unique=nulls == 0 and len(values) == rows,
        date_format=date_format,
        sure_of_format=sure,
        low=low,
        high=high,
        words=few,
    )
    return Looked(found=found, values=values)


def _kind(values: pa.Array) -> tuple[str, str, bool, pa.Array]:
    kind = values.type
    if pa.types.is_integer(kind):
        return "integer", "", True, values.cast(pa.int64(), safe=False)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number", "", True, values.cast(pa.float64(), safe=False)
    if pa.types.is_boolean(kind):
        return "boolean", "", True, pc.if_else(values, "true", "false")
    if pa.types.is_date(kind):
        return "date", "", True, values.cast(pa.date32()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        return "datetime", "", True, values.cast(pa.timestamp("s"), safe=False).cast(pa.string())
    if not pa.types.is_string(kind):
        return "text", "", True, values.cast(pa.string())
    sample = pc.utf8_trim_whitespace(values.slice(0, _SAMPLE))
    if _all(sample, _UUID):
        return "uuid", "", True, values
    if _all(sample, _COMPACT_DATE) and len(sample) >= _FEW_DATES and _reads(sample, "%Y%m%d"):
        return "date", "%Y%m%d", True, values
    if _all(sample, _INTEGER):
        try:
            return "integer", "", True, values.cast(pa.int64())
        except pa.ArrowInvalid:
            trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"\.0$", "")
        try:
            return "integer", "", True, trimmed.cast(pa.int64())
        except pa.ArrowInvalid:
            return "text", "", True, values
    if _all(sample, r"^[+-]?[0-9]+$"):
        # Numbers too long for 64 bits, or with zeros before them, name things.
        return "text", "", True, values
    if _all(sample, _NUMBER) and not pc.any(pc.match_substring_regex(sample, r"^[+-]?0[0-9]")).as_py():
        return "number", "", True, values
    if _all(sample, _ISO_DATE):
        return "date", "", True, values
    if _all(sample, _ISO_TIME):
        return "datetime", "", True, values
    for shape, ways in _OTHER_DATES:
        if _all(sample, shape):
            fitting = [way for way in ways if _reads(sample, way)]
            if fitting:
                kind_of_date = "datetime" if "%H" in fitting[0] else "date"
                return kind_of_date, fitting[0], len(fitting) == 1, values
    if len(values) <= 2 and {str(word).strip().lower() for word in values.to_pylist()} <= _TRUTH:
        return "boolean", "", True, values
    return "text", "", True, values


def _all(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _reads(values: pa.Array, way: str) -> bool:
    return bool(pc.strptime(values, format=way, unit="s", error_is_null=True).null_count == 0)


def _ends(values: pa.Array, kind: str) -> tuple[str, str]:
    if kind not in ("integer", "number", "date", "datetime"):
        return "", ""
    if kind == "number" and pa.types.is_string(values.type):
        try:
            values = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return "", ""
    ends = pc.min_max(values).as_py()
    return tuple(re.sub(r"\.0$", "", str(ends[end])) for end in ("min", "max"))  # type: ignore[return-value]
