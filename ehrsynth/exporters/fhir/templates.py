"""Resource templates: JSON with columns in it, declared once and compiled to slots that write whole tables.

A template is written as the JSON it makes: mappings, lists and literals stand for themselves, nodes stand for what
depends on a row. An object or array of which no part that depends on a row is present is left out, with its key; so
nothing null or empty is ever written. Constants are folded when the template is compiled.

==================  ===================================================================================================
`Each`              a value made once per distinct combination of some columns by an ordinary function
`Later`             a constant that is looked up when something is written
`Text`, `Code`      a string; `Integer`, `Boolean`, `Number`, `Time` as they say (values.py)
`Link`              a reference to another resource
`Object`, `Array`   what mappings and lists compile to; `Object` can say which of its parts it `needs`
`First`             the first of several that is present; `Instead` what stands where others are absent
`When`              only in rows where a column is empty, is not, or has one of some values
`Many`              an array with one item per row of another table
==================  ===================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ehrsynth.exporters.fhir.rows import NOTHING, Node, Piece, Present, Rows, both, either, lacks, only
from ehrsynth.exporters.fragments import Slot, constant, join, pool_of
from ehrsynth.exporters.keys import places_in, rows_by_owner

__all__ = ["Array", "Each", "First", "Fixed", "Instead", "Later", "Many", "Object", "When", "compile_template"]

_MOST_KEPT = 1 << 13
"""Texts that a node remembers from table to table."""


def _json(value: Any) -> bytes:
    # What orjson returns holds on to the four kilobytes that it was written in: thousands of texts are kept here.
    return bytes(memoryview(orjson.dumps(value)))


@dataclass(frozen=True)
class Fixed:
    """A constant, already JSON."""

    json: bytes

    def piece(self, rows: Rows) -> Piece:
        return Piece((constant(self.json),), True)


@dataclass(frozen=True)
class Later:
    """A constant that is made when something is written: because making it reads packaged data."""

    make: Callable[[], Any]

    def piece(self, rows: Rows) -> Piece:
        return Piece((constant(_json(self.make())),), True)


@dataclass(frozen=True)
class Each:
    """What `make` returns for the values of `columns`, called once per distinct combination; None is left out.

    `make` is not called, and nothing written, where a column of `needs` is null; by default the first.
    """

    columns: tuple[str, ...]
    make: Callable[..., Any]
    needs: tuple[str, ...] | None = None
    _made: dict[tuple[Any, ...], bytes | None] = field(default_factory=dict, repr=False, compare=False)

    def piece(self, rows: Rows) -> Piece:
        needs = self.columns[:1] if self.needs is None else self.needs
        needed = [self.columns.index(name) for name in needs]
        if any(rows.valid(name) is False for name in needs):
            return NOTHING
        combinations, index = rows.distinct(self.columns)
        texts = self._texts(combinations, needed, keep=self._are_few(combinations, rows))
        there = np.array([text is not None for text in texts], dtype=bool)
        pool = pool_of([text or b"" for text in texts])
        if there.all():
            return Piece((Slot(pool, index),), True)
        if not there.any():
            return NOTHING
        present = there[index]
        return Piece((Slot(pool, np.where(present, index, np.int32(-1))),), present)

    def _are_few(self, combinations: Sequence[tuple[Any, ...]], rows: Rows) -> bool:
        """Whether the next table is likely to have the same combinations: codes, not names."""
        kinds = [rows.column(name).type for name in self.columns]
        # Minus zero is zero to a dictionary, not to a reader.
        if any(map(pa.types.is_floating, kinds)):
            return False
        return rows.alike or 4 * len(combinations) <= len(rows) or all(map(pa.types.is_dictionary, kinds))

    def _texts(
        self, combinations: Sequence[tuple[Any, ...]], needed: Sequence[int], *, keep: bool
    ) -> list[bytes | None]:
        if not keep:
            return [self._text(values, needed) for values in combinations]
        if len(self._made) > _MOST_KEPT:
            self._made.clear()
        made = self._made
        for values in combinations:
            if values not in made:
                made[values] = self._text(values, needed)
        return [made[values] for values in combinations]

    def _text(self, values: tuple[Any, ...], needed: Sequence[int]) -> bytes | None:
        value = None if any(values[at] is None for at in needed) else self.make(*values)
        return value if value is None or isinstance(value, bytes) else _json(value)


@dataclass(frozen=True)
class Object:
    """An object; absent where no part that depends on the row is present.

    Absent as well where any of the parts `needs` is absent, or all of `needs_one` are; never absent if it `stays`: its
    constants say something by themselves.
    """

    parts: tuple[tuple[str, Node], ...]
    needs: tuple[str, ...] = ()
    needs_one: tuple[str, ...] = ()
    stays: bool = False

    def piece(self, rows: Rows) -> Piece:
        if not self.parts:
            return NOTHING
        pieces = {key: part.piece(rows) for key, part in self.parts}
        present = self.stays or _presence([part for _, part in self.parts], list(pieces.values()))
        for key in self.needs:
            present = both(present, pieces[key].present)
        if self.needs_one:
            present = both(present, reduce(either, (pieces[key].present for key in self.needs_one)))
        return self.enclosed(pieces, present, rows)

    def enclosed(self, pieces: Mapping[str, Piece], present: Present, rows: Rows) -> Piece:
        """Return the object with the given pieces of its parts, where `present`."""
        return _enclosed(b"{", [(_json(key) + b":", piece) for key, piece in pieces.items()], b"}", present, rows)


@dataclass(frozen=True)
class Array:
    """An array of the items that are present; absent where none is that depends on the row."""

    items: tuple[Node, ...]

    def piece(self, rows: Rows) -> Piece:
        pieces = [(b"", item.piece(rows)) for item in self.items]
        present = _presence(self.items, [piece for _, piece in pieces])
        return _enclosed(b"[", pieces, b"]", present, rows)


def _constant(node: Node) -> bool:
    if isinstance(node, Object):
        return all(_constant(part) for _, part in node.parts)
    return all(map(_constant, node.items)) if isinstance(node, Array) else isinstance(node, Fixed | Later)


def _presence(parts: Sequence[Node], pieces: Sequence[Piece]) -> Present:
    depending = [piece.present for part, piece in zip(parts, pieces, strict=True) if not _constant(part)]
    return reduce(either, depending) if depending else True


def _enclosed(
    opening: bytes, pieces: Sequence[tuple[bytes, Piece]], closing: bytes, present: Present, rows: Rows
) -> Piece:
    if present is False:
        return NOTHING
    slots = [rows.marked(opening, present)]
    before: Present = False
    for lead, piece in pieces:
        inside = only(piece, present, rows)
        if inside.present is False:
            continue
        comma = both(before, inside.present)
        if comma is inside.present:
            slots.append(rows.marked(b"," + lead, inside.present))
        else:
            if comma is not False:
                slots.append(rows.marked(b",", comma))
            if lead:
                slots.append(rows.marked(lead, inside.present))
        slots += inside.slots
        before = either(before, inside.present)
    return Piece((*slots, rows.marked(closing, present)), present)


@dataclass(frozen=True)
class First:
    """The first of `choices` that is present."""

    choices: tuple[Node, ...]

    def piece(self, rows: Rows) -> Piece:
        slots: list[Slot] = []
        taken: Present = False
        for choice in self.choices:
            piece = only(choice.piece(rows), lacks(taken), rows)
            slots += piece.slots
            taken = either(taken, piece.present)
        return Piece(tuple(slots), taken)


@dataclass(frozen=True)
class Instead:
    """`node`, where none of `others` is present (they stand elsewhere)."""

    others: tuple[Node, ...]
    node: Node

    def piece(self, rows: Rows) -> Piece:
        there = reduce(either, [other.piece(rows).present for other in self.others])
        return only(self.node.piece(rows), lacks(there), rows)


@dataclass(frozen=True)
class When:
    """`node`, where `column` has one of `values`; a None among them stands for no value."""

    column: str
    values: tuple[Any, ...]
    node: Node
    unless: bool = False

    def piece(self, rows: Rows) -> Piece:
        where: Present
        if self.values == (None,):
            where = lacks(rows.valid(self.column))
        else:
            combinations, index = rows.distinct((self.column,))
            hits = np.array([value in self.values for (value,) in combinations], dtype=bool)
            where = bool(hits[0]) if len(hits) and (hits == hits[0]).all() else hits[index]
        return only(self.node.piece(rows), lacks(where) if self.unless else where, rows)


@dataclass(frozen=True)
class Many:
    """An array with `item` for every row of the table `other` whose column `by` names the row's `key`, in order."""

    other: str
    by: str
    key: str
    item: Node

    def piece(self, rows: Rows) -> Piece:
        other = rows.others[self.other]
        owner = places_in(rows.column(self.key), rows.of(other).column(self.by))
        order = rows_by_owner(owner)
        if len(order) == 0:
            return NOTHING
        piece = self.item.piece(rows.of(other, order))
        owners = owner[order]
        written = np.flatnonzero(np.broadcast_to(piece.present, len(order)))
        if len(written) == 0:
            return NOTHING
        follows = np.zeros(len(order), dtype=bool)
        follows[written[1:]] = owners[written[1:]] == owners[written[:-1]]
        texts = join((rows.marked(b",", follows), *piece.slots), len(order))
        return _grouped(texts, np.bincount(owners, minlength=len(rows)), rows)


def _grouped(texts: pa.LargeBinaryArray, counts: npt.NDArray[np.int64], rows: Rows) -> Piece:
    """Return arrays of `texts`, the first counts[0] of which are of the first row, and so on."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)[np.concatenate(([0], np.cumsum(counts)))]
    lists = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), [None, pa.py_buffer(ends.tobytes()), data])
    where = np.diff(ends) > 0
    present: Present = True if where.all() else where
    index = np.where(where, np.arange(len(rows), dtype=np.int32), np.int32(-1)).astype(np.int32)
    inside = Slot(lists, index, foldable=False)
    return Piece((rows.marked(b"[", present), inside, rows.marked(b"]", present)), present)


def compile_template(template: Any) -> Node:
    """Return the node of a template: mappings, sequences and literals become nodes, constants one text each."""
    if isinstance(template, Mapping):
        parts = tuple((key, compile_template(value)) for key, value in template.items())
        fixed = all(isinstance(part, Fixed) for _, part in parts)
        return Fixed(_json(_plain(template))) if fixed else Object(parts)
    if isinstance(template, list | tuple):
        items = tuple(compile_template(item) for item in template)
        fixed = all(isinstance(item, Fixed) for item in items)
        return Fixed(_json(_plain(template))) if fixed else Array(items)
    if isinstance(template, str | int | float | bool):
        return Fixed(_json(template))
    node: Node = template
    return node


def _plain(template: Any) -> Any:
    if isinstance(template, Fixed):
        return orjson.loads(template.json)
    if isinstance(template, Mapping):
        return {key: _plain(value) for key, value in template.items()}
    return [_plain(item) for item in template] if isinstance(template, list | tuple) else template
