"""Arrow columns straight from arrays of numbers: identifiers, dates, times, labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.native import Native, compiled
from ehrsynth.records import dictionary_column

__all__ = ["Columns", "column_of", "constant", "date_column", "datetime_column", "id_column", "labels", "number_column"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Columns = dict[str, Any]

_WIDTH = 36
_NOTHING = np.zeros(0, dtype=np.int32)


def id_column(ids: npt.NDArray[np.bytes_], rows: Int | None = None) -> pa.Array:
    """Return a text column of `ids`, or of those at `rows`; empty where the row is negative."""
    native = compiled()
    if rows is not None and native is not None and ids.dtype.itemsize == _WIDTH:
        return _gathered(native, np.ascontiguousarray(ids), np.ascontiguousarray(rows, dtype=np.int64))
    known = None
    if rows is not None:
        known = rows >= 0
        if known.all():
            known, ids = None, ids[rows]
        else:
            ids = ids[rows[known]]
    length = len(ids) if known is None else len(known)
    # 64-bit offsets are never needed: a block of more than 59 million rows does not fit in memory anyway.
    if known is None:
        offsets = np.arange(0, (length + 1) * _WIDTH, _WIDTH, dtype=np.int32)
    else:
        offsets = np.zeros(length + 1, dtype=np.int32)
        np.cumsum(known, out=offsets[1:])
        offsets *= _WIDTH
    validity = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(ids))
    return pa.StringArray.from_buffers(length, pa.py_buffer(offsets), data, validity)


def _gathered(native: Native, ids: npt.NDArray[np.bytes_], rows: Int) -> pa.Array:
    n = len(rows)
    offsets, validity = np.empty(n + 1, dtype=np.int32), np.empty((n + 7) // 8, dtype=np.uint8)
    texts = native.gathered(ids, rows, offsets, validity)
    known = None if len(texts) == n * _WIDTH else pa.py_buffer(validity)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(texts), known)


def date_column(days: Int, known: Bool | None = None) -> pa.Array:
    """Return a date column of days since 1970; empty where not `known`."""
    return _column(pa.date32(), np.ascontiguousarray(days, dtype=np.int32), known)


def datetime_column(seconds: Int, known: Bool | None = None) -> pa.Array:
    """Return a column of times from seconds since 1970; empty where not `known`."""
    return _column(pa.timestamp("s"), np.ascontiguousarray(seconds, dtype=np.int64), known)


def number_column(values: npt.NDArray[Any], known: Bool | None = None) -> pa.Array:
    """Return a numeric column; empty where not `known`."""
    if values.dtype == bool:
        return pa.array(values, mask=None if known is None else ~known)
    return _column(pa.from_numpy_dtype(values.dtype), np.ascontiguousarray(values), known)


def _column(kind: pa.DataType, values: npt.NDArray[Any], known: Bool | None) -> pa.Array:
    """Return a column of `values` as they lie in memory, with a bit for each that is `known`."""
    missing, validity = 0, None
    if known is not None and not known.all():
        missing = len(known) - int(np.count_nonzero(known))
        validity = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(values)], null_count=missing)


def column_of(values: Float, validity: npt.NDArray[np.uint8]) -> pa.Array:
    """Return a numeric column, empty where a bit of `validity` (Arrow's) is not set."""
    buffers = [pa.py_buffer(validity), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.float64(), len(values), buffers)


def labels(indices: npt.NDArray[np.integer[Any]], values: Sequence[str | None]) -> pa.Array:
    """Return a categorical column: `indices` into `values`; empty where negative, None or the empty text."""
    number, distinct = _dictionary(tuple(values))
    native = compiled()
    if native is not None and len(distinct):
        codes = np.empty(len(indices), dtype=np.int32)
        validity = np.empty((len(indices) + 7) // 8, dtype=np.uint8)
        stands = _NOTHING if number is None else number
        empty = native.labelled(np.ascontiguousarray(indices, dtype=np.int64), stands, codes, validity)
        known = pa.py_buffer(validity) if empty else None
        made = pa.Array.from_buffers(pa.int32(), len(codes), [known, pa.py_buffer(codes)], null_count=empty)
        return pa.DictionaryArray.from_arrays(made, distinct, safe=False)
    return dictionary_column(indices if number is None else number[np.maximum(indices, -1)], distinct)


@lru_cache(maxsize=512)
def _dictionary(values: tuple[str | None, ...]) -> tuple[npt.NDArray[np.int32] | None, pa.Array]:
    """Return the number of each value among the distinct ones (None: itself), and these.

    Every part of a run asks for the same ones, of thousands of codes; what is written of a dictionary is kept as well.
    """
    distinct = list(dict.fromkeys(value for value in values if value))
    texts = pa.array(distinct, pa.string())
    if len(distinct) == len(values):
        return None, texts
    place = {value: at for at, value in enumerate(distinct)}
    # The last one answers for all negative indices.
    return np.array([place[value] if value else -1 for value in values] + [-1], dtype=np.int32), texts


def constant(value: str, count: int) -> pa.Array:
    """Return a categorical column of one value."""
    return dictionary_column(np.zeros(count, dtype=np.int32), _dictionary((value,))[1])
