"""Lines of CSV, as RFC 4180 has them but for their end: a line feed. Quotation marks only where they are needed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fragments import (
    FIRST_DAY,
    Slot,
    calendar,
    constant,
    join,
    joined_bytes,
    pool_of,
    row_texts,
    time_slots,
)
from ehrsynth.exporters.keys import numbers_of
from ehrsynth.native import Native, compiled

__all__ = ["lines"]

_MOST_QUOTED = 256
_QUOTED: dict[tuple[int, ...], tuple[pa.Array, pa.LargeBinaryArray]] = {}
_SPECIAL = (b'"', b",", b"\n", b"\r")

# The kinds of columns that `_csv.c` knows.
_TEXT, _POOL = 0, 1
_KINDS = {pa.date32(): 2, pa.timestamp("s"): 3, pa.int64(): 4, pa.float64(): 5}


def lines(rows: pa.Table) -> memoryview:
    """Return the lines of `rows`, each of whose columns is one piece (`pyarrow.Table.combine_chunks`)."""
    if not rows.num_rows:
        return memoryview(b"")
    columns = [column.chunk(0) for column in rows.columns]
    native = compiled()
    written = None if native is None else _written(native, columns, rows.num_rows)
    return _joined(columns, rows.num_rows) if written is None else written


# -- what is compiled: straight from Arrow's buffers ------------------------------------------------------------------


def _written(native: Native, columns: list[pa.Array], n: int) -> memoryview | None:
    """Return what `_joined` does; None for times outside of the calendar."""
    places = [place for place, values in enumerate(columns) if values.null_count < n]
    commas = np.diff(places, prepend=0).tolist()
    last = len(columns) - 1 - (places[-1] if places else 0)
    made = [_described(columns[place], before) for place, before in zip(places, commas, strict=True)]
    dates = calendar().buffers()[2]
    while True:
        found = native.csv(made, last, n, dates, FIRST_DAY, pa.allocate_buffer)
        if not isinstance(found, int):
            break
        # A number of many decimals: Arrow writes the distinct ones.
        made[found] = _pooled(_numbers(columns[places[found]]), commas[found])
    if found is None:
        return None
    # Arrow says that its bytes have a sign; everything else says that they have none.
    return memoryview(found[0]).cast("B")[: found[1]]


def _described(values: pa.Array, commas: int) -> tuple[Any, ...]:
    """Return a column as `ehrsynth.native.Native.csv` wants it."""
    kind = values.type
    if pa.types.is_dictionary(kind) and kind.index_type == pa.int32():
        pool, index = _pool(values.dictionary), values.indices
        ends, letters = pool.buffers()[1:]
        known, numbers = index.buffers()
        known = known if index.null_count else None
        return _POOL, commas, index.offset, known, numbers, ends, pool.offset, len(pool), letters
    if pa.types.is_string(kind):
        known, ends, letters = values.buffers()
        return _TEXT, commas, values.offset, known if values.null_count else None, ends, None, 0, 0, letters
    if kind in _KINDS:
        known, numbers = values.buffers()
        return _KINDS[kind], commas, values.offset, known if values.null_count else None, numbers, None, 0, 0, None
    return _pooled(_slots(values)[0], commas)


def _pooled(slot: Slot, commas: int) -> tuple[Any, ...]:
    _, ends, letters = slot.pool.buffers()
    return _POOL, commas, 0, None, np.ascontiguousarray(slot.index), ends, slot.pool.offset, len(slot.pool), letters


# -- without a compiler: pools of texts, and which of them stand in each row ------------------------------------------


def _joined(columns: list[pa.Array], n: int) -> memoryview:
    slots: list[Slot] = []
    for place, values in enumerate(columns):
        if place:
            slots.append(constant(b","))
        slots += _slots(values)
    return joined_bytes(join([*slots, constant(b"\n")], n))


def _slots(values: pa.Array) -> list[Slot]:
    if values.null_count == len(values):
        return []
    kind = values.type
    if pa.types.is_temporal(kind):
        return time_slots(values)
    if pa.types.is_dictionary(kind):
        return [_quoted(values)]
    if pa.types.is_string(kind):
        return [_quoted(values.dictionary_encode()) if _has_special(values) else row_texts(values)]
    return [_numbers(values)]


def _numbers(values: pa.Array) -> Slot:
    """Return the slot of numbers or truth values."""
    floating = pa.types.is_floating(values.type)
    if floating:
        # What is not a number is no value; Table Schema writes infinity so.
        values = pc.if_else(pc.is_nan(values), None, values)
    encoded = values.dictionary_encode()
    texts = encoded.dictionary.cast(pa.string())
    if floating:
        texts = pc.replace_substring(texts, "inf", "INF")
    return Slot(texts.cast(pa.large_binary()), numbers_of(encoded), foldable=pa.types.is_boolean(values.type))


def _has_special(values: pa.Array) -> bool:
    _, offsets, data = values.buffers()
    if data is None:
        return False
    # Of a slice, what lies before and after is not asked for: it would be searched again for every slice.
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(values) + 1, offset=4 * values.offset)
    content = data.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes()
    return any(mark in content for mark in _SPECIAL)


def _quoted(values: pa.DictionaryArray) -> Slot:
    return Slot(_pool(values.dictionary), numbers_of(values))


def _pool(dictionary: pa.Array) -> pa.LargeBinaryArray:
    """Return the texts of a dictionary as they are written."""
    # A run's parts share their dictionaries: a model's thousands of codes are looked at once.
    key = (len(dictionary), dictionary.offset, *(part.address for part in dictionary.buffers() if part is not None))
    kept = _QUOTED.get(key)
    if kept is None:
        if len(_QUOTED) >= _MOST_QUOTED:
            _QUOTED.clear()
        texts = [_quote(text) for text in dictionary.cast(pa.binary()).to_pylist()]
        # The dictionary is kept as well: while it lives nobody else's is at its place.
        kept = _QUOTED[key] = (dictionary, pool_of(texts))
    return kept[1]


@lru_cache(maxsize=1 << 14)
def _quote(text: bytes | None) -> bytes:
    if text is None or not any(mark in text for mark in _SPECIAL):
        return text or b""
    return b'"' + text.replace(b'"', b'""') + b'"'
