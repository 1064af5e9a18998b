"""The primitive types of FHIR R4: which JSON values have their form, and what days a date may mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["PRIMITIVES", "When", "is_later", "parse_when"]


class When(NamedTuple):
    """A FHIR date, dateTime or instant, which may be as coarse as a year.

    Attributes
    ----------
    first, last : int
        The days it may mean, as proleptic ordinals, on the calendar it was written in.
    utc : float or None
        Seconds from 0001-01-01T00:00Z, if a time of day is known.
    """

    first: int
    last: int
    utc: float | None


_DATE_TIME = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?(Z|[+-](?:0\d|1[0-4]):[0-5]\d))?)?)?\Z"
).match


@lru_cache(maxsize=1 << 16)
def _days(year: str, month: str | None, day: str | None) -> tuple[int, int] | None:
    try:
        if day is not None:
            first = date(int(year), int(month or 1), int(day)).toordinal()
            return first, first
        if month is not None:
            y, m = int(year), int(month)
            last = date(y + (m == 12), m % 12 + 1, 1).toordinal() - 1 if (y, m) != (9999, 12) else date.max.toordinal()
            return date(y, m, 1).toordinal(), last
        return date(int(year), 1, 1).toordinal(), date(int(year), 12, 31).toordinal()
    except ValueError:
        return None


@lru_cache(maxsize=1 << 16)
def parse_when(text: str) -> When | None:
    """Return what a FHIR date, dateTime or instant means, None if it is none (2019-02-30 is none)."""
    match = _DATE_TIME(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    days = _days(year, month, day)
    if days is None:
        return None
    if hour is None:
        return When(*days, None)
    utc = days[0] * 86400.0 + int(hour) * 3600 + int(minute) * 60 + int(second) + float(fraction or 0)
    if zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        utc += -offset if zone[0] == "+" else offset
    return When(*days, utc)


def is_later(first: When, second: When) -> bool:
    """Whether `first` is surely later than `second`: by time of day if both know it, else by the days they may mean."""
    if first.utc is not None and second.utc is not None:
        return first.utc > second.utc
    return first.first > second.last


def _text(value: Any) -> bool:
    return type(value) is str and value != "" and not value.isspace()


def _matching(pattern: str) -> Callable[[Any], bool]:
    match = re.compile(pattern, re.ASCII).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _integer(low: int, high: int = 2**31 - 1) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _decimal(value: Any) -> bool:
    # bool is an int to Python and never a decimal to FHIR.
    return type(value) is float or type(value) is int


def _date_time(value: Any) -> bool:
    return type(value) is str and parse_when(value) is not None


def _date(value: Any) -> bool:
    return type(value) is str and len(value) <= 10 and parse_when(value) is not None


def _instant(value: Any) -> bool:
    return type(value) is str and len(value) > 10 and parse_when(value) is not None


def _boolean(value: Any) -> bool:
    return type(value) is bool


_code = re.compile(r"\S+( \S+)*").fullmatch


def _is_code(value: Any) -> bool:
    return type(value) is str and _code(value) is not None


_uri = re.compile(r"\S+").fullmatch


def _is_uri(value: Any) -> bool:
    return type(value) is str and _uri(value) is not None


def _xhtml(value: Any) -> bool:
    return type(value) is str and value.lstrip().startswith("<div") and value.rstrip().endswith(("</div>", "/>"))


PRIMITIVES: dict[str, Callable[[Any], bool]] = {
    "base64Binary": _matching(r"\s*([0-9a-zA-Z+/=]{4}\s*)+"),
    "boolean": _boolean,
    "canonical": _is_uri,
    "code": _is_code,
    "date": _date,
    "dateTime": _date_time,
    "decimal": _decimal,
    "id": _matching(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": _instant,
    "integer": _integer(-(2**31)),
    "markdown": _text,
    "oid": _matching(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+"),
    "positiveInt": _integer(1),
    "string": _text,
    "time": _matching(r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"),
    "unsignedInt": _integer(0),
    "uri": _is_uri,
    "url": _is_uri,
    "uuid": _matching(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "xhtml": _xhtml,
}
"""By name of the type, whether a JSON value has its form (FHIR R4, section 2.24.0.1)."""

JSON_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(PRIMITIVES, (str,)),
    "boolean": (bool,),
    "decimal": (int, float),
    "integer": (int,),
    "positiveInt": (int,),
    "unsignedInt": (int,),
}
"""By name of the type, the JSON types that hold it."""
