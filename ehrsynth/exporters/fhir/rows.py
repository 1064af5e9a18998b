"""What a template works on: columns, where they have values, their distinct values; and what it makes: pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.exporters.fragments import Index, Slot, constant
from ehrsynth.exporters.keys import combined, listed

__all__ = ["NOTHING", "Node", "Piece", "Present", "Rows", "both", "either", "lacks", "only"]

Mask = npt.NDArray[np.bool_]
Present = Mask | bool
"""Where something is: a bool array, shape (n,), or one bool for all rows."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a node writes: slots, and the rows in which they write anything at all."""

    slots: tuple[Slot, ...]
    present: Present


NOTHING = Piece((), False)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows that a template is applied to, and what it needs to know of their surroundings.

    Attributes
    ----------
    table : pyarrow.Table
        One chunk per column.
    link : callable
        From a table's name to the text that stands before the id in a reference to a row of it.
    ids : callable
        From a column of keys and the table that they lead to, to resource ids.
    others : mapping of name to pyarrow.Table
        Tables with the items of `Many`.
    own : pyarrow.Array, optional
        The ids of the resources themselves.
    at : pyarrow.Array, optional
        Which rows of the table, shape (n,); by default all, in their order.
    alike : bool
        Each stands for many that are alike.
    """

    table: pa.Table
    link: Callable[[str], str]
    ids: Callable[[pa.Array, str], pa.Array]
    others: Mapping[str, pa.Table] = field(default_factory=dict)
    own: pa.Array | None = None
    at: pa.Array | None = None
    alike: bool = False
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows) if self.at is None else len(self.at)

    def of(self, table: pa.Table, at: npt.NDArray[np.int64] | None = None) -> Rows:
        """Return rows of another table in the same surroundings; only columns that are asked for are taken."""
        everything = at is None or (len(at) == table.num_rows and (at == np.arange(len(at))).all())
        return replace(self, table=table, at=None if everything else pa.array(at), own=None, _cache={})

    def some(self, at: npt.NDArray[np.int64]) -> Rows:
        """Return the rows `at`, which stand for all."""
        places = pa.array(at)
        return replace(self, at=places if self.at is None else self.at.take(places), own=None, alike=True, _cache={})

    def column(self, name: str) -> pa.Array:
        """Return a column as one array."""
        key = ("column", name)
        if key not in self._cache:
            chunked = self.table[name]
            array = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
            self._cache[key] = array if self.at is None else array.take(self.at)
        return self._cache[key]

    def valid(self, name: str) -> Present:
        """Return where a column has a value."""
        column = self.column(name)
        if column.null_count == 0:
            return True
        key = ("valid", name)
        if key not in self._cache:
            self._cache[key] = column.is_valid().to_numpy(zero_copy_only=False)
        return False if column.null_count == len(column) else self._cache[key]

    def keys(self, name: str, target: str) -> pa.Array:
        """Return the resource ids for a column of keys of `target`."""
        key = ("ids", name, target)
        if key not in self._cache:
            column = self.column(name)
            # What are UUIDs already are ids, whatever they are keys of.
            found = column if ("uuids", name) in self._cache else self.ids(column, target)
            if found is column:
                self._cache["uuids", name] = True
            self._cache[key] = found
        return self._cache[key]

    def distinct(self, columns: tuple[str, ...]) -> tuple[list[tuple[Any, ...]], Index]:
        """Return the distinct combinations of some columns' values (None where null), and which each row has."""
        if columns not in self._cache:
            self._cache[columns] = self._distinct(columns)
        found: tuple[list[tuple[Any, ...]], Index] = self._cache[columns]
        return found

    def _distinct(self, columns: tuple[str, ...]) -> tuple[list[tuple[Any, ...]], Index]:
        found, first = self.combination(columns)
        values = [listed(self.column(name), first) for name in columns]
        return list(zip(*values, strict=True)) if values else [()] * len(first), found

    def combination(self, columns: tuple[str, ...]) -> tuple[Index, npt.NDArray[np.int64]]:
        """Return which distinct combination of some columns' values each row has, and the first row of each."""
        key = ("combination", columns)
        if key not in self._cache:
            self._cache[key] = combined([self.column(name) for name in columns], len(self))
        found: tuple[Index, npt.NDArray[np.int64]] = self._cache[key]
        return found

    def marked(self, text: bytes, where: Present) -> Slot:
        """Return the slot of a constant that stands where `where`."""
        if isinstance(where, bool):
            return constant(text, 0 if where else -1)
        key = ("mark", id(where))
        if key not in self._cache:
            # The mask is kept beside its index: an id is only good while its owner lives.
            self._cache[key] = (where, where.astype(np.int32) - np.int32(1))
        return constant(text, self._cache[key][1])


class Node(Protocol):
    """A part of a template that depends on the row."""

    def piece(self, rows: Rows) -> Piece:
        """Return what it writes in each of `rows`."""
        ...


def both(a: Present, b: Present) -> Present:
    """Return where `a` and `b`."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a if a is b else a & b


def either(a: Present, b: Present) -> Present:
    """Return where `a` or `b`."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return a if a is b else a | b


def lacks(a: Present) -> Present:
    """Return where not `a`."""
    return not a if isinstance(a, bool) else ~a


def only(piece: Piece, where: Present, rows: Rows) -> Piece:
    """Return `piece`, restricted to the rows `where`."""
    present = both(piece.present, where)
    if present is False:
        return NOTHING
    if where is True or present is piece.present:
        return piece
    slots = []
    for slot in piece.slots:
        if isinstance(slot.index, int) and len(slot.pool) == 1:
            slots.append(replace(slot, index=rows.marked(b"", present).index))
        else:
            slots.append(replace(slot, index=np.where(present, slot.index, np.int32(-1)).astype(np.int32, copy=False)))
    return Piece(tuple(slots), present)
