"""What a template works on: columns, where they have values, their distinct values; and what it makes: pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fragments import Index, Slot, constant, numbered

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
    """

    table: pa.Table
    link: Callable[[str], str]
    ids: Callable[[pa.Array, str], pa.Array]
    others: Mapping[str, pa.Table] = field(default_factory=dict)
    own: pa.Array | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.Array:
        """Return a column as one array."""
        key = ("column", name)
        if key not in self._cache:
            chunked = self.table[name]
            self._cache[key] = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
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
        index, size = np.zeros(len(self), dtype=np.int64), 1
        for name in columns:
            column = self.column(name)
            encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            of_column = len(encoded.dictionary) + 1
            indices = encoded.indices
            own = (indices if indices.null_count == 0 else pc.fill_null(indices, -1)).to_numpy()
            if size > 1 and size * of_column > _DENSE * len(self):
                # Fewer combinations occur than could: before numbers grow too large to be a place in a table.
                distinct, place = numbered(index, size)
                index, size = place.astype(np.int64), len(distinct)
                if size * of_column > _DENSE * len(self):
                    used, own = numbered(own.astype(np.int64) + 1, of_column)
                    index, size = index * len(used) + own, size * len(used)
                    continue
            size *= of_column
            index *= of_column
            index += own
            index += 1
        distinct, found = numbered(index, size)
        first = np.empty(len(distinct), dtype=np.int64)
        first[found[::-1]] = np.arange(len(self) - 1, -1, -1)
        values = [_listed(self.column(name), pa.array(first)) for name in columns]
        return list(zip(*values, strict=True)) if values else [()] * len(first), found

    def marked(self, text: bytes, where: Present) -> Slot:
        """Return the slot of a constant that stands where `where`."""
        if isinstance(where, bool):
            return constant(text, 0 if where else -1)
        key = ("mark", id(where))
        if key not in self._cache:
            # The mask is kept beside its index: an id is only good while its owner lives.
            self._cache[key] = (where, where.astype(np.int32) - np.int32(1))
        return constant(text, self._cache[key][1])


_DENSE = 4
"""Combinations a row that a table is worth having for."""


def _listed(column: pa.Array, at: pa.Array) -> list[Any]:
    """Return the values of some rows."""
    if pa.types.is_dictionary(column.type):
        # Arrow makes a dictionary's values one by one, and plain ones quickly.
        return list(column.dictionary.take(column.indices.take(at)).to_pylist())
    return list(column.take(at).to_pylist())


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
