"""Columns as they stand in a file, brought to the types of the schema; what does not fit is marked, not refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Dates", "Typed", "dates_of", "typed"]

Mask = npt.NDArray[np.bool_]

_DATE = r"^\d{4}-\d{2}-\d{2}$"
_DATETIME = r"^\d{4}-\d{2}-\d{2}(?:[T ][0-2]\d:[0-5]\d(?::[0-6]\d(?:\.\d+)?)?(?:Z|[+-][01]\d:?[0-5]\d)?)?$"
_INTEGER = r"^[+-]?\d{1,18}$"
_NUMBER = r"^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|-?INF|NaN)$"
_TRUE, _FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class Typed:
    """A column brought to its type.

    Attributes
    ----------
    values : pyarrow.Array
        Of the type's own Arrow type (string, int64, float64, bool, date32, timestamp in seconds); null where it is
        empty or does not fit.
    wrong : bool array
        Where it does not fit.
    stored_as : str
        The Arrow type it was stored in, where that is the wrong one; else empty.
    """

    values: pa.Array
    wrong: Mask
    stored_as: str = ""


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _fits(kind: pa.DataType, type_name: str) -> bool:
    """Whether an Arrow type other than text holds values of the type."""
    match type_name:
        case "integer":
            return bool(pa.types.is_integer(kind))
        case "number":
            return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))
        case "boolean":
            return bool(pa.types.is_boolean(kind))
        case "date":
            return bool(pa.types.is_date(kind))
        case "datetime":
            return bool(pa.types.is_timestamp(kind))
        case _:
            return False


def typed(values: pa.Array, type_name: str) -> Typed:
    """Return `values` in the type `type_name` of Table Schema (string, integer, number, boolean, date or datetime)."""
    kind = values.type
    if pa.types.is_null(kind):
        values, kind = values.cast(pa.string()), pa.string()
    if _is_text(kind):
        return _parsed(values.cast(pa.string()), type_name)
    stored_as = "" if _fits(kind, type_name) else str(kind)
    target = _TARGETS[type_name]
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        values = values.cast(pa.timestamp(kind.unit))
    try:
        converted = pc.cast(values, target, safe=False)
        wrong = np.zeros(len(values), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        converted, wrong = pa.nulls(len(values), target), _mask(pc.is_valid(values))
    return Typed(converted, wrong, stored_as)


_TARGETS = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("s"),
}


def _parsed(text: pa.Array, type_name: str) -> Typed:
    if type_name == "string":
        return Typed(text, np.zeros(len(text), dtype=bool))
    if type_name == "boolean":
        true, false = (pc.is_in(text, value_set=pa.array(words)) for words in (_TRUE, _FALSE))
        fits = pc.or_(true, false)
        return _fitting(text, fits, lambda _: pc.if_else(fits, true, pa.scalar(None, pa.bool_())))
    if type_name in ("date", "datetime"):
        return _parsed_dates(text, type_name)
    fits = pc.match_substring_regex(text, _INTEGER if type_name == "integer" else _NUMBER)
    target = _TARGETS[type_name]
    return _fitting(text, fits, lambda good: pc.utf8_ltrim(good, "+").cast(target))


def _fitting(text: pa.Array, fits: pa.Array, convert: Any) -> Typed:
    good = pc.if_else(fits, text, pa.scalar(None, pa.string()))
    return Typed(convert(good), _mask(pc.is_valid(text)) & ~_mask(fits))


def _parsed_dates(text: pa.Array, type_name: str) -> Typed:
    fits = _mask(pc.match_substring_regex(text, _DATE if type_name == "date" else _DATETIME))
    good = pc.if_else(pa.array(fits), text, pa.scalar(None, pa.string()))
    year, month, day = (_digits(good, a, b, 1) for a, b in ((0, 4), (5, 7), (8, 10)))
    fits &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    month_index = np.clip(month, 1, 12) - 1
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fits &= day <= _MONTH_DAYS[month_index] + (leap & (month == 2))
    months = (np.clip(year, 1, 9999) - 1970) * 12 + month_index
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    wrong = _mask(pc.is_valid(text)) & ~fits
    if type_name == "date":
        return Typed(pa.array(days.astype(np.int32), mask=~fits).cast(pa.date32()), wrong)
    hour, minute, second = (_digits(good, a, b, 0) for a, b in ((11, 13), (14, 16), (17, 19)))
    fits &= hour < 24
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - _offsets(good)
    return Typed(pa.array(seconds, mask=~fits).cast(pa.timestamp("s")), _mask(pc.is_valid(text)) & ~fits)


def _digits(text: pa.Array, start: int, stop: int, absent: int) -> npt.NDArray[np.int64]:
    """The number at a place of fixed width; `absent` where the text is too short or something else stands there."""
    part = pc.utf8_slice_codeunits(text, start, stop)
    part = pc.if_else(pc.match_substring_regex(part, r"^\d+$"), part, pa.scalar(None, pa.string()))
    numbers: npt.NDArray[np.int64] = pc.fill_null(part.cast(pa.int64()), absent).to_numpy(zero_copy_only=False)
    return numbers


def _offsets(text: pa.Array) -> npt.NDArray[np.int64]:
    """Seconds east of Greenwich; 0 where no zone is given (times are UTC by definition of the schema)."""
    zone = pc.extract_regex(pc.utf8_slice_codeunits(text, 16, 40), r"(?P<sign>[+-])(?P<hour>\d{2}):?(?P<minute>\d{2})$")
    if zone.null_count == len(text):
        return np.zeros(len(text), dtype=np.int64)
    hour, minute = (_digits(zone.field(name), 0, 2, 0) for name in ("hour", "minute"))
    sign = np.where(_mask(pc.equal(zone.field("sign"), "-")), -1, 1)
    return np.where(_mask(pc.is_valid(zone)), sign * (hour * 3600 + minute * 60), 0)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask.astype(bool)


NEVER_FIRST, NEVER_LAST = -(1 << 40), 1 << 40


@dataclass(frozen=True)
class Dates:
    """Times in columns: the days each may mean (from 1970-01-01) and, where its clock is known, its second.

    Where there is no value, `known` is False and the days are so far away that they exclude nothing.
    """

    known: Mask
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    utc: npt.NDArray[np.float64]

    def later_than(self, other: Dates) -> Mask:
        """Where these are surely later than `other`, row by row: by the clock if both know it, else by days."""
        clocks = ~np.isnan(self.utc) & ~np.isnan(other.utc)
        with np.errstate(invalid="ignore"):
            return self.known & other.known & np.where(clocks, self.utc > other.utc, self.first > other.last)

    def take(self, rows: npt.NDArray[np.int64], found: Mask) -> Dates:
        """Return the rows `rows`; those not `found` are not known."""
        return Dates(
            known=self.known[rows] & found,
            first=np.where(found, self.first[rows], NEVER_FIRST),
            last=np.where(found, self.last[rows], NEVER_LAST),
            utc=np.where(found, self.utc[rows], np.nan),
        )

    @staticmethod
    def concatenated(parts: list[Dates]) -> Dates:
        """Return the rows of all parts."""
        return Dates(
            *(
                np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, kind)
                for name, kind in (("known", bool), ("first", np.int64), ("last", np.int64), ("utc", np.float64))
            )
        )


def dates_of(values: pa.Array, precision: pa.Array | None) -> Dates:
    """Return the times of a date or timestamp column, as exact as `precision` (year, month, day, minute...) says."""
    known = _mask(pc.is_valid(values))
    if pa.types.is_date(values.type):
        days = pc.fill_null(values.cast(pa.int32()), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        utc = np.full(len(days), np.nan)
    else:
        seconds = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        days = np.floor_divide(seconds, 86400)
        utc = np.where(known, seconds.astype(np.float64), np.nan)
    first, last = days, days.copy()
    if precision is not None:
        words = precision.cast(pa.string())
        utc = np.where(_mask(pc.is_in(words, value_set=pa.array(["year", "month", "day"]))), np.nan, utc)
        for word, unit in (("year", "datetime64[Y]"), ("month", "datetime64[M]")):
            coarse = _mask(pc.equal(words, word))
            if coarse.any():
                start = days.astype("datetime64[D]").astype(unit)
                first = np.where(coarse, start.astype("datetime64[D]").astype(np.int64), first)
                last = np.where(coarse, (start + 1).astype("datetime64[D]").astype(np.int64) - 1, last)
    return Dates(known, np.where(known, first, NEVER_FIRST), np.where(known, last, NEVER_LAST), utc)
