"""Columns as pages of Parquet (apache/parquet-format, ``README.md`` and ``Encodings.md``), from Arrow's buffers.

Every column that repeats gets a dictionary of the values in use, in its own order where it has one and as they come
where not; any other is plain. Numbers of dictionaries and which values are there are written eight at a time: eight
that are equal make or prolong a run, others are packed into as many bits as the largest number takes. The compiled
loops (`ehrsynth.native`) and what stands here beside them give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.parquet_footer import ColumnChunk, Struct, varint
from ehrsynth.native import compiled

__all__ = ["CODECS", "column_chunk"]

Int32 = npt.NDArray[np.int32]

CODECS = {"none": 0, "snappy": 1, "gzip": 2, "zstd": 6}
_LEVELS = {"gzip": 1, "zstd": 1}
_PLAIN, _RLE, _DICTIONARY = 0, 3, 8
_BOOLEAN, _INT32, _INT64, _DOUBLE, _BYTE_ARRAY = 0, 1, 2, 5, 6

PAGE_ROWS = 1 << 17
_LEAST_CHUNK = 4096
# Whether values repeat shows in the first ones; all are numbered only then.
_SAMPLE = 4096
_MOST_GROUPS = 63
_QUICK = ("snappy",)
_SAMPLE_BYTES = 1 << 16
_LEAST_SAVED = 0.85


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A column by the numbers of its values: pages of them, the dictionary, and which number is which place in it."""

    chunks: list[pa.Array]
    dictionary: pa.Array
    place: Int32
    width: int


def column_chunk(
    name: str, values: pa.ChunkedArray, codec: str, at: int, *, required: bool, ranges: bool, sorted_by: bool
) -> tuple[list[Any], ColumnChunk]:
    """Return the pages of a column of a row group, and what its footer says of them.

    Parameters
    ----------
    name : str
    values : pyarrow.ChunkedArray
        Of texts (a dictionary of them or plain), int64, float64, booleans, dates or seconds.
    codec : str
        One of `CODECS`.
    at : int
        Where the pages will begin in the bytes of the row group.
    required : bool
        Whether the schema says that there are no nulls.
    ranges : bool
        Whether the least and the greatest value are to be stated.
    sorted_by : bool
        Whether equal values stand together: a dictionary may then name one twice where they do not.
    """
    if pa.types.is_dictionary(values.type) and any(chunk.dictionary.null_count for chunk in values.chunks):
        # A null may be an entry of a dictionary of Arrow's, of Parquet's it may not.
        values = pa.chunked_array([values.cast(pa.string()).combine_chunks().dictionary_encode()])
    if values.num_chunks > 1 and len(values) < _LEAST_CHUNK * values.num_chunks:
        values = pa.chunked_array([values.combine_chunks()], values.type)
    kind, stated = _stored(values.type)
    numbers = None if values.null_count == len(values) else _numbers(values, runs=sorted_by)
    chunks = values.chunks if numbers is None else numbers.chunks
    pages = [chunk.slice(at, PAGE_ROWS) for chunk in chunks for at in range(0, len(chunk), PAGE_ROWS)]
    bodies = [_body(page, numbers, required=required) for page in pages]
    if codec in _QUICK and not _worth(bodies[0], codec):
        codec = "none"
    pack = _Packer(codec)
    if numbers is not None:
        pack.page(_plain(numbers.dictionary), _dictionary_head(len(numbers.dictionary)), dictionary=True)
    before = pack.compressed
    for page, body in zip(pages, bodies, strict=True):
        pack.page(body, _data_head(len(page), _PLAIN if numbers is None else _DICTIONARY))
    chunk_ = ColumnChunk(
        name=name,
        kind=kind,
        encodings=(_PLAIN, _RLE) if numbers is None else (_PLAIN, _RLE, _DICTIONARY),
        codec=CODECS[codec],
        values=len(values),
        uncompressed=pack.uncompressed,
        compressed=pack.compressed,
        data_page=at + before,
        dictionary_page=-1 if numbers is None else at,
        statistics=_statistics(values, numbers, stated, ranges=ranges),
    )
    return pack.pieces, chunk_


def _body(page: pa.Array, numbers: _Numbers | None, *, required: bool) -> Any:
    """Return a page: which values are there, and what they are."""
    parts: list[Any] = [] if required else [_with_length(_levels(page))]
    if numbers is None:
        parts.append(_plain(page))
    else:
        parts += [bytes([numbers.width]), _coded(page, numbers.place, numbers.width)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _worth(body: Any, codec: str) -> bool:
    """Return whether a quick codec saves enough to be undone by every reader."""
    some = memoryview(body)[:_SAMPLE_BYTES]
    return len(pa.Codec(codec).compress(some, asbytes=True)) < _LEAST_SAVED * len(some)


class _Packer:
    """Compresses pages, puts their heads before them, and counts."""

    def __init__(self, codec: str) -> None:
        self._codec = None if codec == "none" else pa.Codec(codec, _LEVELS.get(codec))
        self.pieces: list[Any] = []
        self.uncompressed = self.compressed = 0

    def page(self, body: Any, inner: tuple[int, bytes], *, dictionary: bool = False) -> None:
        packed = body if self._codec is None else self._codec.compress(body, asbytes=True)
        number, text = inner
        struct = Struct().int32(1, 2 if dictionary else 0).int32(2, len(body)).int32(3, len(packed))
        head = struct.struct(number, text).end()
        self.pieces += [head, packed]
        self.uncompressed += len(head) + len(body)
        self.compressed += len(head) + len(packed)


def _data_head(values: int, encoding: int) -> tuple[int, bytes]:
    return 5, Struct().int32(1, values).int32(2, encoding).int32(3, _RLE).int32(4, _RLE).end()


def _dictionary_head(values: int) -> tuple[int, bytes]:
    return 7, Struct().int32(1, values).int32(2, _PLAIN).end()


def _with_length(levels: bytes | bytearray) -> bytes:
    return len(levels).to_bytes(4, "little") + levels


def _stored(kind: pa.DataType) -> tuple[int, str]:
    """Return the physical type and how its least and greatest value are written."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return _BYTE_ARRAY, ""
    if pa.types.is_boolean(kind):
        return _BOOLEAN, "?"
    if pa.types.is_date32(kind):
        return _INT32, "<i4"
    if pa.types.is_float64(kind):
        return _DOUBLE, "<f8"
    if pa.types.is_int64(kind) or pa.types.is_timestamp(kind):
        return _INT64, "<i8"
    raise TypeError(f"No table has a column of type {kind}.")


# -- dictionaries ------------------------------------------------------------------------------------------------------


def _numbers(values: pa.ChunkedArray, *, runs: bool) -> _Numbers | None:
    """Return a column by numbers, or None where few of its values come twice."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _of_dictionary(values)
    if pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
        # Times of a record hardly repeat but for neighbours, which is a codec's work.
        return None
    share = 2 if pa.types.is_string(kind) else 4
    chunks = [chunk for chunk in values.chunks if len(chunk)]
    if len(values) > 2 * _SAMPLE:
        sample = values.slice(0, _SAMPLE)
        if _numbered(sample.chunks, kind, max(1, (_SAMPLE - sample.null_count) // share), runs) is None:
            return None
    found = _numbered(chunks, kind, max(1, (len(values) - values.null_count) // share), runs)
    if found is None:
        return None
    index, rows = found
    coded, start = [], 0
    for chunk in chunks:
        data = pa.py_buffer(index).slice(4 * start, 4 * len(chunk))
        valid = None
        if chunk.null_count:
            valid = chunk.is_valid().buffers()[1]
        coded.append(pa.Array.from_buffers(pa.int32(), len(chunk), [valid, data], chunk.null_count))
        start += len(chunk)
    dictionary = values.take(pa.array(rows)).combine_chunks()
    return _Numbers(coded, dictionary, np.arange(len(rows), dtype=np.int32), _width(len(rows)))


def _of_dictionary(values: pa.ChunkedArray) -> _Numbers:
    if not _one_dictionary(values):
        values = values.unify_dictionaries()
    dictionary = values.chunk(0).dictionary
    chunks = [chunk.indices.cast(pa.int32()) for chunk in values.chunks if len(chunk)]
    flags = bytearray(len(dictionary))
    native = compiled()
    for chunk in chunks:
        if native is None:
            np.frombuffer(flags, dtype=np.uint8)[chunk.drop_null().to_numpy(zero_copy_only=False)] = 1
        else:
            native.used(_buffers(chunk), flags)
    used = np.flatnonzero(np.frombuffer(flags, dtype=np.uint8))
    place = np.zeros(len(dictionary), dtype=np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return _Numbers(chunks, dictionary.take(pa.array(used)).cast(pa.string()), place, _width(len(used)))


def _one_dictionary(values: pa.ChunkedArray) -> bool:
    """Return whether all chunks have the same dictionary, the same in memory."""
    keys = set()
    for chunk in values.chunks:
        dictionary = chunk.dictionary
        buffers = tuple(part.address for part in dictionary.buffers() if part is not None)
        keys.add((len(dictionary), dictionary.offset, buffers))
    return len(keys) == 1


def _width(size: int) -> int:
    return max(1, (size - 1).bit_length())


def _numbered(
    chunks: list[pa.Array], kind: pa.DataType, limit: int, runs: bool
) -> tuple[Any, npt.NDArray[np.int64]] | None:
    """Return the numbers of values as they come (int32, nulls are any), and where each came first.

    None: there are more than `limit`.
    """
    native = compiled()
    if native is not None:
        width = 0 if pa.types.is_string(kind) else kind.bit_width // 8
        found = native.numbered([_buffers(chunk) for chunk in chunks], width, limit, runs)
        return None if found is None else (found[0], np.frombuffer(found[1], dtype=np.int64))
    if not pa.types.is_string(kind):
        # By their bits: zeros with a sign stay themselves.
        chunks = [chunk.view(pa.int32() if kind.bit_width == 32 else pa.int64()) for chunk in chunks]
    index = pa.concat_arrays(chunks).dictionary_encode().indices
    numbers = pc.fill_null(index, -1).to_numpy().astype(np.int32)
    if runs:
        there = np.flatnonzero(numbers >= 0)
        new = np.diff(numbers[there], prepend=np.int32(-1)) != 0
        numbers[there] = np.cumsum(new) - 1
    # They come in order: a number is new where it is above all before.
    highest = np.maximum.accumulate(numbers)
    rows = np.flatnonzero(np.diff(highest, prepend=np.int32(-1)))
    return None if len(rows) > limit else (numbers, rows)


# -- pages -------------------------------------------------------------------------------------------------------------


def _buffers(values: pa.Array) -> tuple[Any, Any, Any, int, int]:
    """Return an array as the compiled loops take it."""
    valid, *rest = values.buffers()
    if not values.null_count:
        valid = None
    data = None
    if len(rest) == 2:
        data = b"" if rest[1] is None else rest[1]
    return rest[0], data, valid, values.offset, len(values)


def _levels(values: pa.Array) -> bytes | bytearray:
    """Return which values are there, as runs and packed bits."""
    n = len(values)
    if not values.null_count or values.null_count == n:
        return varint(n << 1) + bytes([0 if values.null_count else 1])
    valid = values.buffers()[0]
    native = compiled()
    if native is not None:
        return native.levels(valid, values.offset, n)
    bits = np.unpackbits(np.frombuffer(valid, dtype=np.uint8), bitorder="little")[values.offset : values.offset + n]
    return _hybrid(bits.astype(np.int32), 1)


def _coded(index: pa.Array, place: Int32, width: int) -> bytes | bytearray:
    """Return which places in the dictionary the values have, as runs and packed bits."""
    native = compiled()
    if native is not None:
        return native.coded(_buffers(index), place, width)
    return _hybrid(place[index.drop_null().to_numpy(zero_copy_only=False)], width)


def _hybrid(values: Int32, width: int) -> bytes:
    """Return runs and packed bits of `values`, of `width` bits each; see this module."""
    n = len(values)
    if not n:
        return b""
    groups = -(-n // 8)
    last = np.append(values, np.full(8 * groups - n, values[-1], dtype=np.int32)).reshape(-1, 8)
    last_real = n - 8 * (groups - 1)
    same = (last == last[:, :1]).all(axis=1)
    # The last one's missing values are like its last and packed as zeros; only those that are there have to be equal.
    packed = last.copy()
    packed[-1, last_real:] = 0
    bits = (packed[:, :, None] >> np.arange(width, dtype=np.int32)) & 1
    rows = np.packbits(bits.astype(np.uint8).reshape(groups, 8 * width), axis=1, bitorder="little")
    key = np.where(same, last[:, 0], np.int32(-1))
    edges = [0, *(np.flatnonzero(np.diff(key)) + 1).tolist(), groups]
    out = bytearray()
    for low, high in pairwise(edges):
        if same[low]:
            count = 8 * (high - low) - (8 - last_real if high == groups else 0)
            out += varint(count << 1) + int(key[low]).to_bytes(-(-width // 8), "little")
            continue
        for start in range(low, high, _MOST_GROUPS):
            some = rows[start : min(start + _MOST_GROUPS, high)]
            out.append(len(some) << 1 | 1)
            out += some.tobytes()
    return bytes(out)


def _plain(values: pa.Array) -> Any:
    """Return the values that are there, as they are."""
    kind = values.type
    if values.null_count == len(values):
        return b""
    if pa.types.is_string(kind):
        return _lengthy(values)
    if pa.types.is_boolean(kind):
        there = values.drop_null().to_numpy(zero_copy_only=False)
        return np.packbits(there, bitorder="little").tobytes()
    if pa.types.is_timestamp(kind):
        numbers = values.view(pa.int64()).drop_null().to_numpy(zero_copy_only=False)
        # Seconds are none of Parquet's units.
        return (numbers * 1000).astype("<i8", copy=False).view(np.uint8).data
    if pa.types.is_date32(kind):
        values = values.view(pa.int32())
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    little = numbers.dtype.newbyteorder("<")
    return np.ascontiguousarray(numbers, dtype=little).view(np.uint8).data


def _lengthy(values: pa.Array) -> bytes | bytearray:
    """Return texts, each behind its length in four bytes."""
    native = compiled()
    if native is not None:
        return native.lengthy(_buffers(values))
    texts = values.drop_null().cast(pa.binary()).to_numpy(zero_copy_only=False)
    lengths = np.fromiter((len(text) for text in texts), dtype="<u4", count=len(texts))
    out = np.empty(4 * len(texts) + int(lengths.sum()), dtype=np.uint8)
    heads = (np.cumsum(lengths, dtype=np.int64) - lengths) + 4 * np.arange(len(texts))
    is_text = np.ones(len(out), dtype=bool)
    for byte in range(4):
        out[heads + byte] = (lengths >> (8 * byte)) & 255
        is_text[heads + byte] = False
    out[is_text] = np.frombuffer(b"".join(texts), dtype=np.uint8)
    return out.tobytes()


def _statistics(values: pa.ChunkedArray, numbers: _Numbers | None, stated: str, *, ranges: bool) -> bytes:
    """Return ``Statistics``: how many are null, and the least and the greatest of what is there."""
    struct = Struct().int64(3, values.null_count)
    if not ranges or values.null_count == len(values):
        return struct.end()
    found = pc.min_max(values if numbers is None else numbers.dictionary)
    least, greatest = found["min"].as_py(), found["max"].as_py()
    if stated == "<f8":
        if not least <= greatest:  # what is not a number is none of both
            return struct.end()
        # Of a zero nobody is to find out whether it has a sign.
        least, greatest = least or -0.0, greatest or 0.0
    elif pa.types.is_temporal(values.type):
        factor = 1 if stated == "<i4" else 1000
        least, greatest = (bound.value * factor for bound in found.values())
    return struct.binary(5, _bound(greatest, stated)).binary(6, _bound(least, stated)).end()


def _bound(value: Any, stated: str) -> bytes:
    return np.array(value, dtype=stated).tobytes() if stated else str(value).encode()
