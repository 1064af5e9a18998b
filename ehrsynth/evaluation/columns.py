"""Arrow columns as numpy for counting: categories as integers, times as days or seconds, keys as row numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NO_TIME", "categories", "codings", "days", "seconds", "targets"]

# The encoder has like functions; evaluation may not import it (consumers of records know no model), and a metric that
# shared the learner's reading of a table would share its mistakes.

NO_TIME = np.iinfo(np.int64).min
"""Stands for an empty date or time."""

Ints = npt.NDArray[np.int64]


def categories(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """Return (index int64[n], -1 for empty values; the labels) of a text column."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    index = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return index, array.dictionary.to_pylist()


def seconds(column: pa.ChunkedArray) -> Ints:
    """Return seconds since 1970-01-01 of a time column; `NO_TIME` where empty."""
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NO_TIME), dtype=np.int64)


def days(column: pa.ChunkedArray) -> Ints:
    """Return days since 1970-01-01 of a date column, or the day of a time column; `NO_TIME` where empty."""
    if pa.types.is_timestamp(column.type):
        known = seconds(column)
        return np.where(known == NO_TIME, NO_TIME, known // 86_400)
    return np.asarray(pc.fill_null(column.cast(pa.int32()).cast(pa.int64()), NO_TIME), dtype=np.int64)


def targets(column: pa.ChunkedArray, keys: Any) -> Ints:
    """Return the row of `keys` that each value names; -1 where it is empty or names none."""
    values = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    return np.asarray(pc.fill_null(pc.index_in(column, value_set=values), -1), dtype=np.int64)


def codings(table: pa.Table, *names: str) -> tuple[Ints, list[tuple[str, ...]]]:
    """Return the combination of text columns of each row.

    Parameters
    ----------
    table : pyarrow.Table
    *names : str
        The columns that together make a key (``code_system``, ``code``, ``value_unit``).

    Returns
    -------
    index : int64[n]
        Into the combinations; -1 where one of the first two columns is empty. Later columns may be empty: "".
    combinations : list of tuples
        Those that occur, sorted.
    """
    index = np.zeros(table.num_rows, dtype=np.int64)
    known = np.ones(table.num_rows, dtype=bool)
    found: list[tuple[str, ...]] = [()]
    for position, name in enumerate(names):
        part, labels = categories(table[name])
        if position < 2:
            known &= part >= 0
        labels = [*labels, ""]
        pair = index * len(labels) + np.where(part < 0, len(labels) - 1, part)
        distinct, inverse = np.unique(pair, return_inverse=True)
        index = inverse.reshape(-1)
        found = [(*found[k // len(labels)], labels[k % len(labels)]) for k in distinct.tolist()]
    order = sorted(set(found))
    rank = {key: number for number, key in enumerate(order)}
    lookup = np.array([rank[key] for key in found], dtype=np.int64)
    index = np.where(known, lookup[index] if len(lookup) else index, -1)
    used = np.unique(index[index >= 0])
    new = np.full(len(order) + 1, -1, dtype=np.int64)
    new[used] = np.arange(len(used))
    return new[index], [order[k] for k in used.tolist()]
