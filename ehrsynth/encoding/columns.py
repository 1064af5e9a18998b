"""Arrow columns as numpy: categories as integers, dates as days, times as seconds, keys as row numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NO_TIME", "categories", "coding_keys", "days", "first_known", "seconds", "targets"]

NO_TIME = np.iinfo(np.int64).min
"""Stands for an empty date or time."""

_SEPARATOR = "\x1f"


def categories(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return (index int64[n] with -1 for empty values, the distinct labels) of a text column."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    index = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return index, array.dictionary.to_pylist()


def days(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return days since 1970-01-01 of a date column, or the day of a time column; `NO_TIME` where empty."""
    if pa.types.is_timestamp(column.type):
        known = seconds(column)
        return np.where(known == NO_TIME, NO_TIME, known // 86_400)
    return np.asarray(pc.fill_null(column.cast(pa.int32()).cast(pa.int64()), NO_TIME), dtype=np.int64)


def seconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return seconds since 1970-01-01 of a time column, or of the start of the day of a date column."""
    if not pa.types.is_timestamp(column.type):
        known = days(column)
        return np.where(known == NO_TIME, NO_TIME, known * 86_400)
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NO_TIME), dtype=np.int64)


def targets(column: pa.ChunkedArray, keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the row of `keys` that each value names; -1 where it is empty or names none."""
    found = pc.index_in(column, value_set=keys.combine_chunks())
    return np.asarray(pc.fill_null(found, -1), dtype=np.int64)


def coding_keys(
    table: pa.Table, system: str, code: str, display: str
) -> tuple[npt.NDArray[np.int64], list[tuple[str, str]], npt.NDArray[np.int64], list[str]]:
    """Return the coding of each row.

    Returns
    -------
    index : int64[n]
        Into `codings`; -1 where system or code is empty.
    codings : list of (system, code)
        Sorted.
    display_index : int64[n]
        Into `displays`; -1 where empty.
    displays : list of str
    """
    system_index, systems = categories(table[system])
    code_index, codes = categories(table[code])
    display_index, displays = categories(table[display])
    known = (system_index >= 0) & (code_index >= 0)
    pairs = np.where(known, system_index * max(len(codes), 1) + code_index, -1)
    distinct, inverse = np.unique(pairs, return_inverse=True)
    named = [
        (systems[pair // max(len(codes), 1)], codes[pair % max(len(codes), 1)]) if pair >= 0 else ("", "")
        for pair in distinct.tolist()
    ]
    order = sorted(range(len(named)), key=named.__getitem__)
    rank = np.empty(len(named), dtype=np.int64)
    rank[order] = np.arange(len(named))
    index = rank[inverse.reshape(-1)]
    empty = int((distinct < 0).any())
    # The empty coding sorts first and so is number 0 where there is one.
    return index - empty, [named[i] for i in order][empty:], display_index, displays


def first_known(*columns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the first of the columns of days or seconds that is not `NO_TIME`, row by row."""
    result = columns[0]
    for column in columns[1:]:
        result = np.where(result == NO_TIME, column, result)
    return result
