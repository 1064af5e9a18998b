"""Columns of one table for the rows of another, and columns that say which rows are of a kind."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.values import clean_text
from ehrsynth.exporters.keys import combined, distinct, firsts, numbers_of, places_in

__all__ = [
    "counted",
    "first_of_each",
    "grouped",
    "has_text",
    "has_value",
    "hits",
    "joined",
    "kept",
    "picked",
    "whole",
    "with_columns",
]

Places = npt.NDArray[np.int64]


def joined(keys: pa.ChunkedArray, other: pa.Table, key: str, column: str) -> pa.Array:
    """Return `column` of the rows of `other` whose `key` is each of `keys`; null where there is none; shape (n,)."""
    at = places_in(whole(other[key]), whole(keys))
    # Nothing is where there is no place.
    return whole(other[column]).take(pa.array(at, mask=at < 0))


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def hits(column: pa.ChunkedArray, values: Collection[str]) -> npt.NDArray[np.bool_]:
    """Return where a categorical column has one of `values`, shape (n,)."""
    array = whole(column)
    among = np.zeros(len(array.dictionary) + 1, dtype=bool)
    wanted = pa.array(list(values), array.dictionary.type)
    among[:-1] = pc.is_in(array.dictionary, wanted).to_numpy(zero_copy_only=False)
    if not among.any():
        return np.zeros(len(array), dtype=bool)
    found: npt.NDArray[np.bool_] = among[numbers_of(array)]
    return found


def has_value(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return where a column has a value, shape (n,); what is not a number is none."""
    valid = column.is_valid()
    if pa.types.is_floating(column.type):
        valid = pc.fill_null(pc.is_finite(column), False)
    found: npt.NDArray[np.bool_] = valid.to_numpy()
    return found


def has_text(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return where a column of strings has text that FHIR can hold, shape (n,)."""
    texts = whole(column)
    index, first = distinct(texts)
    shown = texts.take(pa.array(first)).to_pylist()
    found: npt.NDArray[np.bool_] = np.array([*(clean_text(text) is not None for text in shown), False])[index]
    return found


def grouped(*columns: pa.ChunkedArray | pa.Array) -> Places:
    """Return which distinct combination of `columns` each row has, by first appearance, shape (n,)."""
    arrays = [whole(column) if isinstance(column, pa.ChunkedArray) else column for column in columns]
    return combined(arrays, len(arrays[0]))[0].astype(np.int64)


def first_of_each(group: Places) -> Places:
    """Return the first row of each group, shape (k,), of groups numbered by first appearance, shape (n,)."""
    return firsts(group, int(group.max()) + 1 if len(group) else 0)


def counted(group: Places) -> Places:
    """Return the how manieth of its group each row is, from 1, shape (n,)."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    number = np.empty(len(group), dtype=np.int64)
    number[order] = np.arange(len(group)) - starts + 1
    return number


def picked(rows: pa.Table, where: npt.NDArray[np.bool_] | pa.ChunkedArray, columns: Collection[str]) -> pa.Table:
    """Return some columns of the rows `where`, shape (n,): what is not asked for is not copied."""
    mask = pa.array(where) if isinstance(where, np.ndarray) else where
    return rows.select(list(columns)).filter(mask).combine_chunks()


def kept(rows: pa.Table, where: npt.NDArray[np.bool_] | pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return the rows `where`, shape (n,), in one chunk a column; where that is all of them nothing is copied."""
    mask = pa.array(where) if isinstance(where, np.ndarray) else where
    if pc.all(mask, min_count=0, skip_nulls=False).as_py():
        return rows.combine_chunks()
    return rows.filter(mask).combine_chunks()


def with_columns(rows: pa.Table, **columns: pa.Array) -> pa.Table:
    """Return `rows` with more columns."""
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    return rows
