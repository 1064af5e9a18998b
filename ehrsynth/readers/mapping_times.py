"""Times of a mapping: dates, days counted from an origin, and dates of birth out of ages."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers import assembly
from ehrsynth.readers.account import Account, is_true, positions
from ehrsynth.readers.mapping_grammar import Recipe, Rule, SourceMapping
from ehrsynth.readers.omop_time import ABSENT, DAY, as_times, seconds
from ehrsynth.readers.source import SourceTable
from ehrsynth.readers.values import EXPECTED, parse, text
from ehrsynth.schema import Column, TableSchema

__all__ = ["OUT", "Times", "place_of"]

OUT = ">"
"""Prefix of canonical columns in a table that still has its source columns."""

DAYS_PER_YEAR = 365.2425
OLDEST_YEARS = 125
_GOLDEN = 0.6180339887498949
_LAST_BAND_YEARS = 10
_BAND = re.compile(r"[\[(]?\s*(\d+)\s*(?:-|to)\s*(\d+)\s*([\])]?)")
_OPEN_BAND = re.compile(r"(>=?|<=?)?\s*(\d+)\s*(\+?)")
_UNITS = {"days": DAY, "hours": 3600, "minutes": 60}

Moments = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def place_of(recipe: Recipe) -> str:
    """Return where a recipe stands in its file, as ``condition.code``."""
    return ".".join(str(part) for part in recipe.place)


class Times:
    """The times of one rule."""

    def __init__(self, rule: Rule, table: TableSchema, mapping: SourceMapping, account: Account) -> None:
        self.rule, self.table, self.mapping, self.account = rule, table, mapping, account
        self.origin_day = int(np.datetime64(mapping.origin, "D").astype(np.int64))
        self._dateonly: dict[str, Mask | bool] = {}

    def fill(self, rows: SourceTable, raw: pa.ChunkedArray, column: Column, recipe: Recipe) -> SourceTable:
        """Add a column of dates or times made of `raw`."""
        convert = recipe.convert
        if not convert and (recipe.since or (self.mapping.time_basis in ("offset", "order") and not recipe.format)):
            convert = "days"
        day_only: Mask | bool = convert not in ("hours", "minutes", "")
        if convert in _UNITS:
            moment, bad = self._offsets(rows, raw, recipe, _UNITS[convert])
            expected = "a number"
        elif convert in ("year", "age_in_year", "age_years", "age_band"):
            moment, bad = self._births(rows, raw, recipe, convert)
            expected = "a year" if convert == "year" else "an age"
        else:
            kind = "datetime"
            if recipe.format:
                parsed_values = pc.strptime(text(raw), format=recipe.format, unit="s", error_is_null=True)
                bad = is_true(pc.and_(pc.is_valid(raw), pc.is_null(parsed_values)))
                moment, day_only = seconds(parsed_values), not re.search(r"%[HIMSTR]", recipe.format)
                expected = f"a time like {recipe.format}"
            else:
                parsed = parse(raw, kind)
                moment, bad = seconds(parsed.values), parsed.bad if parsed.bad is not None else np.zeros(len(raw), bool)
                expected = EXPECTED[column.type]
                if pa.types.is_string(raw.type):
                    day_only = is_true(pc.less_equal(pc.utf8_length(pc.utf8_trim_whitespace(raw)), 10))
                elif pa.types.is_date(raw.type):
                    day_only = True
        if not isinstance(day_only, bool):
            rows = rows.with_column(f"{OUT}{column.name} day", pa.array(day_only))
        self._dateonly[column.name] = day_only
        rows = rows.with_column(OUT + column.name, as_times(moment))
        return self.account.refuse(
            rows,
            bad,
            problem=f"{{value!r}} is not {expected}.",
            reason=f"{column.name} is not {expected}",
            column=recipe.column,
            hint=f"The recipe {place_of(recipe)} makes {column.name} of it.",
        )

    def _offsets(self, rows: SourceTable, raw: pa.ChunkedArray, recipe: Recipe, unit: int) -> tuple[Moments, Mask]:
        number, bad = _numbers(raw)
        there = ~np.isnan(number)
        base = np.full(len(rows), self.origin_day * DAY)
        if recipe.since:
            base = seconds(rows.get(OUT + recipe.since, pa.timestamp("s")))
        known = there & (base != ABSENT)
        offset = np.round(np.where(known, number, 0.0) * unit).astype(np.int64)
        return np.where(known, base + offset, ABSENT), bad

    def _births(self, rows: SourceTable, raw: pa.ChunkedArray, recipe: Recipe, convert: str) -> tuple[Moments, Mask]:
        if convert in ("year", "age_in_year"):
            number, bad = _numbers(raw)
            year = number
            if convert == "age_in_year":
                of, strange = _numbers(rows[recipe.year])
                bad |= strange | (number < 0) | (number > OLDEST_YEARS)
                year = of - number
            wrong = ~np.isnan(year) & ((year < 1) | (year > 9999) | (year % 1 != 0))
            known = ~np.isnan(year) & ~wrong
            days = np.array(np.where(known, year - 1970, 0), dtype="datetime64[Y]").astype("datetime64[D]")
            return np.where(known, days.astype(np.int64) * DAY, ABSENT), bad | wrong
        low, high, bad = _ages(raw) if convert == "age_band" else _completed(raw)
        # A band says no more than its ends: ages are spread evenly over it, by the golden ratio of the row's number, so
        # that no heap of equal ages is learned.
        share = (rows.rows * _GOLDEN) % 1.0
        age = low + (high - low) * share
        strange = ~np.isnan(age) & ((age < 0) | (age > OLDEST_YEARS))
        known = ~np.isnan(age) & ~strange
        base = np.full(len(rows), self.origin_day * DAY)
        if recipe.at:
            base = seconds(parse(rows[recipe.at], "datetime").values)
            known &= base != ABSENT
        day = base // DAY - np.floor(np.where(known, age, 0.0) * DAYS_PER_YEAR).astype(np.int64)
        return np.where(known, day * DAY, ABSENT), bad | strange

    def precise(self, rows: SourceTable) -> SourceTable:
        """State how exact times are where the mapping does not, and cut them to that."""
        convert = self.rule.columns["birth_date"].convert if "birth_date" in self.rule.columns else ""
        if convert in ("year", "age_in_year") and "birth_date_precision" not in self.rule.columns:
            year = pa.array(["year"]).take(pa.array(np.zeros(len(rows), np.int64)))
            rows = rows.with_column(f"{OUT}birth_date_precision", year)
        by_precision: dict[str, list[str]] = {}
        for column in self.table.columns:
            if column.type == "datetime" and column.precision_column and OUT + column.name in rows:
                by_precision.setdefault(column.precision_column, []).append(column.name)
        for precision, names in by_precision.items():
            if OUT + precision in rows:
                continue
            moments = [seconds(rows[OUT + name]) for name in names]
            day_only = np.zeros(len(rows), dtype=bool)
            for name, moment in zip(names, moments, strict=True):
                said = self._dateonly[name]
                mine = rows[f"{OUT}{name} day"].to_numpy() if not isinstance(said, bool) else np.full(len(rows), said)
                # Midnight is what a date of death becomes when it is written as a time.
                mine = mine | ((moment % DAY == 0) if precision == "death_precision" else False)
                day_only |= mine & (moment != ABSENT)
            timed = np.concatenate([moment[~day_only & (moment != ABSENT)] for moment in moments])
            finest = 2 if (timed % 60).any() else 1 if (timed % DAY).any() else 0
            level = np.where(day_only, 0, finest)
            unit = np.array([DAY, 60, 1])[level]
            for name, moment in zip(names, moments, strict=True):
                rows = rows.with_column(OUT + name, as_times(np.where(moment == ABSENT, ABSENT, moment // unit * unit)))
            dated = np.logical_or.reduce([moment != ABSENT for moment in moments])
            rows = rows.with_column(
                OUT + precision,
                assembly.dictionary(np.where(dated, level, -1), ["day", "minute", "second"]).cast(pa.string()),
            )
        return rows


def _numbers(raw: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], Mask]:
    parsed = parse(raw, "number")
    bad = parsed.bad.copy() if parsed.bad is not None else np.zeros(len(raw), dtype=bool)
    result: npt.NDArray[np.float64] = pc.fill_null(parsed.values, np.nan).to_numpy().astype(np.float64)
    return result, bad


def _completed(raw: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Mask]:
    """Return the ends of ages in completed years; an age with a fraction is exact."""
    number, bad = _numbers(raw)
    return number, np.where(number % 1 == 0, number + 1, number), bad


def _ages(raw: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Mask]:
    """Return the ends of bands of ages: ``[70-80)``, ``70-79``, ``90+``, ``<1``, or a single age."""
    words = text(raw)
    ends = {word: _band(word) for word in pc.unique(words).to_pylist() if word is not None}
    keys = list(ends)
    at = positions(words, pa.array(keys, pa.string()))
    low = np.array([(ends[key] or (np.nan, np.nan))[0] for key in keys] + [np.nan])[at]
    high = np.array([(ends[key] or (np.nan, np.nan))[1] for key in keys] + [np.nan])[at]
    return low, high, (at >= 0) & np.isnan(low)


def _band(word: str) -> tuple[float, float] | None:
    word = word.strip()
    if match := _BAND.fullmatch(word):
        low, high = float(match[1]), float(match[2])
        return (low, high if match[3] == ")" else high + 1) if low <= high else None
    if match := _OPEN_BAND.fullmatch(word):
        sign, age, plus = match[1], float(match[2]), match[3]
        if sign in ("<", "<="):
            return 0.0, age + (sign == "<=")
        low = age + (sign == ">")
        return low, low + (_LAST_BAND_YEARS if sign or plus else 1)
    return None
