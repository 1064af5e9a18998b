"""Keys of rows: where they are among others, which are the same, which is the least: compiled, or by Arrow and numpy.

Columns of identifiers are texts of 36 bytes; what asks for rows of another table, or for rows that belong together,
asks for thousands of them at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.native import compiled

__all__ = ["combined", "distinct", "firsts", "least_of_each", "listed", "numbers_of", "places_in", "rows_by_owner"]

Index = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]

_MOST_CODES = 1 << 62


def places_in(others: pa.Array, keys: pa.Array) -> Index:
    """Return the first place of each of `keys`, shape (n,), in `others`; -1 where it is not, or is null."""
    native = compiled()
    if native is None or not (_is_text(keys.type) and _is_text(others.type)):
        found = pc.index_in(keys, value_set=others, skip_nulls=True)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int32)
    out = np.empty(len(keys), dtype=np.int32)
    native.places(_values(keys), _values(others), out)
    return out


def distinct(values: pa.Array) -> tuple[Index, Places]:
    """Return which distinct value each of `values` has, by first appearance (-1: none), and where each first appears.

    Parameters
    ----------
    values : pyarrow.Array, shape (n,)
        No dictionary; of numbers with a point none may be minus zero.

    Returns
    -------
    int32 array, shape (n,), and int64 array, shape (k,)
    """
    native = compiled()
    if values.null_count == len(values):
        return np.full(len(values), -1, dtype=np.int32), np.empty(0, dtype=np.int64)
    if native is None or _kind(values.type) == 0:
        encoded = values.dictionary_encode()
        index = numbers_of(encoded)
        return index, firsts(index, len(encoded.dictionary))
    out, first = np.empty(len(values), dtype=np.int32), np.empty(len(values), dtype=np.int64)
    return out, first[: native.distinct(_values(values), out, first)]


def combined(columns: Sequence[pa.Array], n: int) -> tuple[Index, Places]:
    """Return which combination of `columns` each of `n` rows has, by first appearance, and where each first appears.

    Parameters
    ----------
    columns : sequence of pyarrow.Array, shape (n,)
        No value is a value of its own. Of dictionaries the values have to differ.

    Returns
    -------
    int32 array, shape (n,), and int64 array, shape (k,)
    """
    if n == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
    native = compiled()
    parts = [_indices(column) for column in columns]
    if native is None:
        return _combined(parts, n)
    out, first = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int64)
    given = []
    for index, size in parts:
        validity, data = index.buffers()
        given.append((data, index.offset, validity if index.null_count else None, size))
    return out, first[: native.combined(given, n, out, first)]


def _combined(parts: Sequence[tuple[pa.Array, int]], n: int) -> tuple[Index, Places]:
    code, codes = np.zeros(n, dtype=np.int64), 1
    for index, size in parts:
        if codes > _MOST_CODES // (size + 1):
            code, codes = pa.array(code).dictionary_encode().indices.to_numpy().astype(np.int64), n
        code, codes = code * (size + 1) + pc.fill_null(index, -1).to_numpy() + 1, codes * (size + 1)
    encoded = pa.array(code).dictionary_encode()
    found = encoded.indices.to_numpy()
    return found, firsts(found, len(encoded.dictionary))


def _indices(column: pa.Array) -> tuple[pa.Array, int]:
    """Return the numbers of a column's values (int32), below how many they are."""
    if pa.types.is_dictionary(column.type):
        indices = column.indices
        return indices if pa.types.is_int32(indices.type) else indices.cast(pa.int32()), len(column.dictionary)
    index, first = distinct(column)
    return pa.array(index), len(first)


def least_of_each(group: Places, keys: pa.Array) -> Places:
    """Return the row of each group with the least of `keys`, shape (k,): the same in whatever order the rows stand."""
    count = int(group.max()) + 1 if len(group) else 0
    native = compiled()
    if native is not None and _is_text(keys.type):
        least = np.empty(count, dtype=np.int64)
        native.least(np.ascontiguousarray(group, dtype=np.int64), _values(keys), least)
        return least
    least = firsts(group, count)
    several = np.flatnonzero(np.bincount(group, minlength=1)[group] > 1)
    if len(several):
        # Only groups of several have to be sorted, and texts are what is slow to sort.
        order = several[pc.sort_indices(keys.take(pa.array(several))).to_numpy().astype(np.int64)]
        least[group[order[::-1]]] = order[::-1]
    return least


def rows_by_owner(owner: Index) -> Places:
    """Return the rows that have an owner (not -1), those of one after those of the one before, in their order."""
    there = np.flatnonzero(owner >= 0)
    owners = owner if len(there) == len(owner) else owner[there]
    if (owners[1:] >= owners[:-1]).all():
        return there
    return there[np.argsort(owners, kind="stable")]


def listed(column: pa.Array, at: npt.NDArray[np.integer[Any]]) -> list[Any]:
    """Return the values of the rows `at`."""
    places = pa.array(at)
    if pa.types.is_dictionary(column.type):
        # Arrow makes a dictionary's values one by one, and plain ones quickly.
        return list(column.dictionary.take(column.indices.take(places)).to_pylist())
    return list(column.take(places).to_pylist())


def numbers_of(column: pa.DictionaryArray) -> Index:
    """Return which value of its dictionary each row has, shape (n,), -1 for none."""
    indices = column.indices if column.indices.null_count == 0 else pc.fill_null(column.indices, -1)
    return np.asarray(indices.to_numpy(), dtype=np.int32)


def firsts(index: npt.NDArray[Any], count: int) -> Places:
    """Return where each number first appears, shape (count,)."""
    first = np.empty(count + 1, dtype=np.int64)
    # What has no number goes to a last place that nobody looks at.
    first[index[::-1]] = np.arange(len(index) - 1, -1, -1)
    return first[:count]


# -- what the compiled loops are given ---------------------------------------------------------------------------------


def _is_text(kind: pa.DataType) -> bool:
    return _kind(kind) > 0


def _kind(kind: pa.DataType) -> int:
    """Return 4 or 8 for texts of 32 or 64-bit offsets, -4 or -8 for numbers of so many bytes, 0 for anything else."""
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return 4
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return 8
    primitive = pa.types.is_primitive(kind) and kind.bit_width in (32, 64)
    return -kind.bit_width // 8 if primitive else 0


def _values(array: pa.Array) -> tuple[Any, ...]:
    kind = _kind(array.type)
    validity, *rest = array.buffers()
    offsets, data = rest if kind > 0 else (None, rest[0])
    return offsets, data, validity if array.null_count else None, array.offset, len(array), kind
