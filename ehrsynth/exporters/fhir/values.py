"""The leaves of a template: strings, numbers, times and references, each from its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.identity import derived_ids
from ehrsynth.exporters.fhir.rows import NOTHING, Piece, Present, Rows, lacks, only
from ehrsynth.exporters.fhir.templates import Each, First, When
from ehrsynth.exporters.fragments import Slot, row_texts, time_slots
from ehrsynth.exporters.keys import distinct

__all__ = [
    "Boolean",
    "Code",
    "Count",
    "Id",
    "Link",
    "LinkByKind",
    "Number",
    "OwnId",
    "Plain",
    "SourceKey",
    "Text",
    "Time",
    "clean_code",
    "clean_text",
    "look_up",
]

# FHIR R4, datatypes: a string holds no character below U+0020 but tab, line feed and carriage return.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def clean_text(value: str | None) -> str | None:
    """Return `value` without characters that a FHIR string may not hold and white space around it; None if empty."""
    return None if value is None else _FORBIDDEN.sub("", value).strip() or None


def clean_code(value: str | None) -> str | None:
    """Return `value` as a FHIR code: words with one space between them; None if empty."""
    return None if value is None else " ".join(_FORBIDDEN.sub("", value).split()) or None


@dataclass(frozen=True)
class Words(Each):
    """A string; columns of names and numbers, in which nothing is to be escaped or cleaned, are quoted as a whole."""

    def piece(self, rows: Rows) -> Piece:
        column = rows.column(self.columns[0])
        if not pa.types.is_string(column.type) or column.null_count == len(column) or not _plain(column):
            return super().piece(rows)
        index, first = distinct(column)
        pool = pc.binary_join_element_wise('"', column.take(pa.array(first)), '"', "").cast(pa.large_binary())
        return Piece((Slot(pool, index),), True if column.null_count == 0 else index >= 0)


def _plain(values: pa.Array) -> bool:
    """Whether all of `values` are printable ASCII that JSON does not escape, not empty, and without spaces around."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(values) + 1, offset=4 * values.offset)
    letters = np.frombuffer(data or b"", dtype=np.uint8)[ends[0] : ends[-1]]
    if not _is_plain[letters].all():
        return False
    # Null values are empty as well.
    starts, stops = ends[:-1][ends[:-1] < ends[1:]] - ends[0], ends[1:][ends[:-1] < ends[1:]] - ends[0]
    if len(starts) != len(values) - values.null_count:
        return False
    space = np.uint8(ord(" "))
    return bool((letters[starts] != space).all() and (letters[stops - 1] != space).all())


_is_plain = np.zeros(256, dtype=bool)
_is_plain[0x20:0x7F] = True
_is_plain[[ord('"'), ord("\\")]] = False


def Text(column: str) -> Words:  # noqa: N802 - reads as a node
    """Return the node of a string."""
    return Words((column,), clean_text)


def Code(column: str) -> Each:  # noqa: N802
    """Return the node of a code."""
    return Each((column,), clean_code)


def Boolean(column: str) -> Each:  # noqa: N802
    """Return the node of a boolean."""
    return Each((column,), bool)


def Count(column: str, *, minimum: int = 0) -> Each:  # noqa: N802
    """Return the node of an unsigned (or, with `minimum` 1, positive) integer; other numbers are left out."""
    return Each((column,), lambda value: int(value) if minimum <= value < 2**31 else None)


def look_up(column: str, table: Mapping[str, Any]) -> Each:
    """Return the node of what `table` holds for the value of `column`."""
    return Each((column,), table.get)


@dataclass(frozen=True)
class Number:
    """A decimal: the shortest digits that read back as the same number; what is not finite is left out."""

    column: str

    def piece(self, rows: Rows) -> Piece:
        column = rows.column(self.column)
        if pa.types.is_floating(column.type):
            # Adding zero makes of minus zero zero.
            column = pc.add(pc.if_else(pc.is_finite(column), column, None), 0.0)
        if column.null_count == len(column):
            return NOTHING
        index, first = distinct(column)
        pool = column.take(pa.array(first)).cast(pa.large_string()).cast(pa.large_binary())
        return Piece((Slot(pool, index, foldable=False),), True if column.null_count == 0 else index >= 0)


@dataclass(frozen=True)
class Time:
    """A date, dateTime or instant: as exact as the column `precision` says, a time of day always with its zone (UTC).

    ``second``, ``minute`` or nothing is written to the second; ``day``, ``month``, ``year`` as a date or part of one.
    """

    column: str
    precision: str = ""

    def piece(self, rows: Rows) -> Piece:
        present = rows.valid(self.column)
        if present is False:
            return NOTHING
        column = rows.column(self.column)
        if not self.precision or rows.valid(self.precision) is False:
            return Piece((rows.marked(b'"', present), *time_slots(column, close=b'"')), present)
        if pa.types.is_date32(column.type):
            return _partial_dates(self, rows, present)
        combinations, index = rows.distinct((self.precision,))
        date_only = np.array([value == "day" for (value,) in combinations], dtype=bool)[index]
        return Piece((rows.marked(b'"', present), *time_slots(column, close=b'"', date_only=date_only)), present)


def _partial_dates(node: Time, rows: Rows, present: Present) -> Piece:
    length = {"year": 4, "month": 7}
    dated = Each((node.column, node.precision), lambda day, how: day.isoformat()[: length.get(how, 10)], (node.column,))
    return dated.piece(rows)


@dataclass(frozen=True)
class Plain:
    """A column of strings that need no escaping and differ from row to row."""

    column: str

    def piece(self, rows: Rows) -> Piece:
        return ready(rows.column(self.column), rows)


@dataclass(frozen=True)
class OwnId:
    """The id of the resource itself."""

    def piece(self, rows: Rows) -> Piece:
        return ready(rows.own, rows)


@dataclass(frozen=True)
class LinkByKind:
    """A Reference to a row of one of the tables `targets`: the one that the column `kind` names."""

    kind: str
    column: str
    targets: tuple[str, ...]

    def piece(self, rows: Rows) -> Piece:
        keys = [rows.keys(self.column, target) for target in self.targets]
        own = rows.column(self.column)
        if own.null_count or any(one is not own for one in keys):
            links = tuple(When(self.kind, (target,), Link(target, self.column)) for target in self.targets)
            return First(links).piece(rows)
        opening = Each((self.kind,), lambda kind: b'{"reference":"' + rows.link(kind).encode()).piece(rows)
        return Piece((*opening.slots, row_texts(own), rows.marked(b'"}', opening.present)), opening.present)


def ready(values: pa.Array | None, rows: Rows) -> Piece:
    """Return the strings `values`, shape (n,), which need no escaping; nothing where one is null."""
    if values is None or values.null_count == len(values):
        return NOTHING
    present = _valid(values)
    return Piece((rows.marked(b'"', present), row_texts(values), rows.marked(b'"', present)), present)


def _valid(values: pa.Array) -> Present:
    return True if values.null_count == 0 else values.is_valid().to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Id:
    """The resource id for `column`, a key of the table `target`."""

    column: str
    target: str

    def piece(self, rows: Rows) -> Piece:
        return ready(rows.keys(self.column, self.target), rows)


@dataclass(frozen=True)
class SourceKey:
    """The value of `column`, a key of `target`, where it could not serve as a resource id itself."""

    column: str
    target: str

    def piece(self, rows: Rows) -> Piece:
        column, keys = rows.column(self.column), rows.keys(self.column, self.target)
        if keys is column:
            return NOTHING
        same = pc.fill_null(pc.equal(column, keys), False).to_numpy(zero_copy_only=False)
        return only(Text(self.column).piece(rows), lacks(same), rows)


@dataclass(frozen=True)
class Link:
    """A Reference to the row of the table `target` that `column` names (by default ``<target>_id``).

    If `derived`, to the resource of the kind `target` whose id is derived from that key.
    """

    target: str
    column: str = ""
    derived: bool = False

    def piece(self, rows: Rows) -> Piece:
        column = self.column or f"{self.target}_id"
        keys = derived_ids(rows.column(column), self.target) if self.derived else rows.keys(column, self.target)
        if keys.null_count == len(keys):
            return NOTHING
        present = _valid(keys)
        opening = b'{"reference":"' + rows.link(self.target).encode()
        return Piece((rows.marked(opening, present), row_texts(keys), rows.marked(b'"}', present)), present)
