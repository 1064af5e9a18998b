"""Text written by columns: every value is an entry of a pool, every row a line of entries, all rows are joined at once.

A row of output is constants and values side by side. Each of these places is a `Slot`: a pool of ready texts and, per
row, which of them stands there (-1: none). `join` lays all pools end to end and takes, for row after row and slot after
slot, the entry that is asked for; what Arrow's `take` leaves in its buffer are the joined rows. Nothing is done per row
in Python, and a text that many rows share is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.native import compiled

__all__ = [
    "FIRST_DAY",
    "Index",
    "Slot",
    "calendar",
    "constant",
    "fold",
    "join",
    "joined_bytes",
    "joined_in_parts",
    "pool_of",
    "row_texts",
    "time_slots",
]

Index = npt.NDArray[np.int32]

# Runs of slots with few combinations are folded into one slot: above these sizes looking for combinations costs more
# than the slots that it saves.
_SMALL_POOL = 2048
_MOST_CODES = 1 << 62
_LEAST_TABLE = 1 << 14
# Days since 1970 of 1870 and 2070: outside, dates are made as they come.
FIRST_DAY, _LAST_DAY = -36_524, 36_525


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in every row.

    Attributes
    ----------
    pool : pyarrow.LargeBinaryArray
        The texts that can stand there; no nulls.
    index : int32 array, shape (n,), or int
        Which of them does, -1 for none; an int if it is the same in all rows.
    foldable : bool
        Whether few combinations with its neighbours are to be expected (not so for identifiers, numbers, times).
    """

    pool: pa.LargeBinaryArray
    index: Index | int
    foldable: bool = True


def pool_of(texts: Iterable[bytes]) -> pa.LargeBinaryArray:
    """Return a pool of `texts`."""
    return pa.array(texts, pa.large_binary())


def constant(text: bytes, where: Index | int = 0) -> Slot:
    """Return the slot of one text that stands in all rows, or in those in which `where` is 0 (and not -1)."""
    return Slot(_one(text), where)


@lru_cache(maxsize=4096)
def _one(text: bytes) -> pa.LargeBinaryArray:
    # Templates have some thousands of constants, asked for again with every table.
    return pool_of([text])


def row_texts(values: pa.Array) -> Slot:
    """Return the slot of a column of texts that need no escaping, null where there is none; shape (n,)."""
    pool = _wide(values) if pa.types.is_string(values.type) else values.cast(pa.large_binary())
    index = np.arange(len(pool), dtype=np.int32)
    if values.null_count:
        index = np.where(values.is_valid().to_numpy(zero_copy_only=False), index, np.int32(-1))
    return Slot(pool, index, foldable=False)


def _wide(texts: pa.StringArray) -> pa.LargeBinaryArray:
    """Return what Arrow's cast does without looking at the texts; nothing stands where one is null."""
    _, offsets, data = texts.buffers()
    if offsets is None:
        return pool_of([b""] * len(texts))
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(texts), [None, pa.py_buffer(ends), data])


def join(slots: Sequence[Slot], n: int) -> pa.LargeBinaryArray:
    """Return the `n` rows that `slots` describe, each row's texts one after the other."""
    (joined,) = joined_in_parts(slots, n, max(n, 1)) if n else (pool_of([]),)
    return joined


def joined_in_parts(slots: Sequence[Slot], n: int, size: int) -> Iterator[pa.LargeBinaryArray]:
    """Yield the `n` rows that `slots` describe, `size` at a time: less text at once, from slots made once."""
    native = compiled()
    lines = [] if native is None else [_given(slot) for slot in slots]
    for start in range(0, n, size):
        count = min(size, n - start)
        if native is None:
            yield _take(fold([_cut(slot, start, count) for slot in slots], count), count)
            continue
        # What `_take` does of folded slots; the loop folds them itself.
        ends = pa.allocate_buffer(8 * (count + 1))
        data = native.join(lines, start, count, ends, pa.allocate_buffer)
        yield pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [None, ends, data])


def _given(slot: Slot) -> tuple[Any, ...]:
    _, offsets, data = slot.pool.buffers()
    index = slot.index if isinstance(slot.index, int) else np.ascontiguousarray(slot.index, dtype=np.int32)
    return offsets, slot.pool.offset, len(slot.pool), data, index, slot.foldable


def _cut(slot: Slot, start: int, count: int) -> Slot:
    index = slot.index if isinstance(slot.index, int) else slot.index[start : start + count]
    return Slot(slot.pool, index, slot.foldable)


def _take(slots: Sequence[Slot], n: int) -> pa.LargeBinaryArray:
    if n == 0 or not slots:
        return pool_of([b""] * n)
    empty = pool_of([b""])
    pools: list[pa.Array] = []
    starts: dict[int, int] = {}
    size = 0
    lines = np.empty((n, len(slots)), dtype=np.int32)
    for place, slot in enumerate(slots):
        if id(slot.pool) not in starts:
            # An empty entry before each pool makes -1 mean nothing without a comparison per row.
            starts[id(slot.pool)] = size + 1
            pools += [empty, slot.pool]
            size += 1 + len(slot.pool)
        np.add(slot.index, np.int32(starts[id(slot.pool)]), out=lines[:, place])
    taken = pc.take(pa.concat_arrays(pools), pa.array(lines.reshape(-1)), boundscheck=False)
    return _every(taken, len(slots), n)


def _every(texts: pa.LargeBinaryArray, k: int, n: int) -> pa.LargeBinaryArray:
    """Return the `n` texts of `k` neighbours each that lie joined in the buffer of `texts` already."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)[::k]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [None, pa.py_buffer(ends.tobytes()), data])


def joined_bytes(texts: pa.LargeBinaryArray, start: int = 0, stop: int | None = None) -> memoryview:
    """Return the texts from `start` to `stop`, one after the other, as they lie in their buffer: no copy."""
    _, offsets, data = texts.buffers()
    if data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1, offset=8 * texts.offset)
    first, last = int(ends[start]), int(ends[len(texts) if stop is None else stop])
    # Arrow says that its bytes have a sign; everything else says that they have none.
    return memoryview(data).cast("B")[first:last]


def fold(slots: Sequence[Slot], n: int) -> list[Slot]:
    """Return fewer slots that write the same: neighbours with few combinations become one slot of combinations."""
    folded: list[Slot] = []
    run: list[Slot] = []
    codes = 1
    for slot in slots:
        size = len(slot.pool) + 1
        small = slot.foldable and size <= _SMALL_POOL
        if run and (not small or codes * size > _MOST_CODES):
            folded += _fold_run(run, n)
            run, codes = [], 1
        if small:
            run.append(slot)
            codes *= size if isinstance(slot.index, np.ndarray) else 1
        else:
            folded.append(slot)
    return folded + _fold_run(run, n)


def _fold_run(run: list[Slot], n: int) -> list[Slot]:
    if len(run) < 2:
        return run
    # Constants around one optional value share its index: it is to be counted once.
    varying: dict[int, tuple[Index, int]] = {}
    for slot in run:
        if isinstance(slot.index, np.ndarray):
            size = max(len(slot.pool), varying.get(id(slot.index), (None, 0))[1])
            varying[id(slot.index)] = (slot.index, size)
    if not varying:
        # Of constants Python makes one sooner than Arrow does.
        return [constant(b"".join(slot.pool[slot.index].as_py() for slot in run if slot.index >= 0))]
    code, codes = np.zeros(n, dtype=np.int64), 1
    for index, size in varying.values():
        codes *= size + 1
        code *= size + 1
        code += index
        code += 1
    distinct, place = _numbered(code, codes)
    n_distinct = len(distinct)
    if n_distinct > max(64, n // 8):
        middle = len(run) // 2
        return _fold_run(run[:middle], n) + _fold_run(run[middle:], n) if middle > 1 else run
    indices: dict[int, Index] = {}
    for key, (_, size) in reversed(varying.items()):
        distinct, rest = np.divmod(distinct, size + 1)
        indices[key] = (rest - 1).astype(np.int32)
    shown = [
        Slot(slot.pool, indices[id(slot.index)] if isinstance(slot.index, np.ndarray) else slot.index) for slot in run
    ]
    return [Slot(_take(shown, n_distinct), place)]


def _numbered(codes: npt.NDArray[np.int64], size: int) -> tuple[npt.NDArray[np.int64], Index]:
    """Return the distinct ones of `codes`, shape (n,), each in 0..size - 1, and which of them each row has."""
    if size <= max(_LEAST_TABLE, 4 * len(codes)):
        # Where a table of all codes is small, no code has to be hashed.
        place = np.zeros(size, dtype=np.int32)
        place[codes] = 1
        distinct = np.flatnonzero(place)
        place[distinct] = np.arange(len(distinct), dtype=np.int32)
        return distinct, place[codes]
    encoded = pa.array(codes).dictionary_encode()
    return encoded.dictionary.to_numpy().copy(), encoded.indices.to_numpy()


def time_slots(values: pa.Array, *, close: bytes = b"", date_only: npt.NDArray[np.bool_] | None = None) -> list[Slot]:
    """Return the slots of ``YYYY-MM-DDTHH:MM:SSZ`` (UTC), or ``YYYY-MM-DD`` where `date_only`, each ended by `close`.

    Parameters
    ----------
    values : pyarrow.Array of timestamp[s] or date32, shape (n,)
        Dates are written as dates; nothing is written, not even `close`, where a value is null.
    close : bytes
        Ends the text: a quotation mark.
    date_only : bool array, shape (n,)
        Where the time of day is not to be written.
    """
    dates = pa.types.is_date32(values.type)
    absent = None if not values.null_count else values.is_null().to_numpy(zero_copy_only=False)
    raw = pc.fill_null(values.cast(pa.int32() if dates else pa.int64()), 0).to_numpy()
    # By a constant numpy divides quickly, but not with the rest at the same time.
    days = raw if dates else raw // 86400
    day = _days(days, absent)
    if dates:
        return [day, constant(close, _masked(np.zeros(len(raw), np.int32), absent))] if close else [day]
    seconds = (raw - days * 86400).astype(np.int32)
    minute_index = seconds // 60
    second_index = seconds - minute_index * 60
    if date_only is not None:
        minute_index = _masked(minute_index, date_only)
        second_index[date_only] = 60
    return [
        day,
        Slot(_minutes(), _masked(minute_index, absent), foldable=False),
        Slot(_seconds(close), _masked(second_index, absent), foldable=False),
    ]


def _days(days: npt.NDArray[np.integer[Any]], absent: npt.NDArray[np.bool_] | None) -> Slot:
    """Return the slot of dates, from days since 1970."""
    first, last = (int(days.min()), int(days.max())) if len(days) else (0, 0)
    if first >= FIRST_DAY and last < _LAST_DAY and last - first < 8 * len(days):
        pool = calendar().slice(first - FIRST_DAY, last - first + 1)
        return Slot(pool, _masked((days - first).astype(np.int32), absent), foldable=False)
    encoded = pa.array(days).dictionary_encode()
    names = np.datetime_as_string(encoded.dictionary.to_numpy().astype("datetime64[D]"), unit="D")
    pool = pa.array(names).cast(pa.large_binary())
    return Slot(pool, _masked(encoded.indices.to_numpy(), absent), foldable=False)


@lru_cache(maxsize=1)
def calendar() -> pa.LargeBinaryArray:
    """Return every date of two centuries: looking one up costs less than finding which dates there are."""
    days = np.arange(FIRST_DAY, _LAST_DAY).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    numbers = months.astype(np.int64) + 1970 * 12
    parts = (numbers // 12, numbers % 12 + 1, (days - months).astype(np.int64) + 1)
    text = np.full((len(days), 10), ord("-"), dtype=np.uint8)
    for place, tens in enumerate((1000, 100, 10, 1)):
        text[:, place] = parts[0] // tens % 10 + ord("0")
    for place, part in ((5, parts[1]), (8, parts[2])):
        text[:, place], text[:, place + 1] = part // 10 + ord("0"), part % 10 + ord("0")
    ends = np.arange(len(days) + 1, dtype=np.int64) * 10
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(text)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(days), buffers)


@lru_cache(maxsize=1)
def _minutes() -> pa.LargeBinaryArray:
    return pool_of([b"T%02d:%02d" % divmod(minute, 60) for minute in range(1440)])


@lru_cache(maxsize=8)
def _seconds(close: bytes) -> pa.LargeBinaryArray:
    """The ends of a time by its second; after them the end of a date."""
    return pool_of([b":%02dZ%b" % (second, close) for second in range(60)] + [close])


def _masked(index: Index, absent: npt.NDArray[np.bool_] | None) -> Index:
    return index if absent is None else np.where(absent, np.int32(-1), index)
