"""Row groups of many blocks put together in one Parquet file: their bytes appended, what is said of them made one.

A Parquet file is row groups one after the other and a footer that says where each column of each begins. Whoever writes
a block does not know where it will stand; so its bytes are appended as they are, and what the footer has to say of it
is kept in pieces, cut at every offset. The footer of the whole is those pieces, each offset moved to where the block
came to stand. What stands before and behind them is taken from an empty file of Arrow's. The footer is Thrift in its
compact protocol (apache/parquet-format, ``parquet.thrift``; apache/thrift, ``doc/specs/thrift-compact-protocol.md``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from ehrsynth.errors import OutputError

__all__ = ["MAGIC", "ColumnChunk", "RowGroup", "Struct", "footer", "frame", "row_group", "unpack", "varint"]

MAGIC = b"PAR1"

_HEAD = struct.Struct("<IQQI")
_CUT = struct.Struct("<IQ")
_BOOLEANS, _I32, _I64, _BINARY, _LIST, _STRUCT = (1, 2), 5, 6, 8, 9, 12


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What the footer says of one row group, cut at its offsets.

    Attributes
    ----------
    size : int
        Bytes that its file had up to the footer: what is appended.
    rows : int
    pieces : tuple of (bytes, int)
        Text and the offset behind it, from the begin of its file.
    end : bytes
        Text behind the last offset.
    """

    size: int
    rows: int
    pieces: tuple[tuple[bytes, int], ...]
    end: bytes

    def at(self, base: int) -> bytes:
        """Return the text for a file in which its bytes begin at `base`."""
        return b"".join(text + _zigzag(offset + base) for text, offset in self.pieces) + self.end

    def pack(self) -> bytes:
        """Return it as bytes that `unpack` reads, one after the other."""
        head = _HEAD.pack(len(self.end), self.size, self.rows, len(self.pieces))
        cuts = b"".join(_CUT.pack(len(text), offset) for text, offset in self.pieces)
        return head + cuts + b"".join(text for text, _ in self.pieces) + self.end


def unpack(data: bytes) -> Iterator[RowGroup]:
    """Yield the row groups that were packed into `data`."""
    at = 0
    while at < len(data):
        length, size, rows, count = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        cuts = [_CUT.unpack_from(data, at + number * _CUT.size) for number in range(count)]
        at += count * _CUT.size
        pieces = []
        for long, offset in cuts:
            pieces.append((data[at : at + long], offset))
            at += long
        yield RowGroup(size, rows, tuple(pieces), data[at : at + length])
        at += length


class Struct:
    """A struct of Thrift's compact protocol, its fields in the order of their numbers."""

    __slots__ = ("_last", "text")

    def __init__(self) -> None:
        self.text = bytearray()
        self._last = 0

    def _head(self, number: int, kind: int) -> None:
        self.text.append(_after(self._last, number, kind))
        self._last = number

    def int32(self, number: int, value: int) -> Struct:
        self._head(number, _I32)
        self.text += _zigzag(value)
        return self

    def int64(self, number: int, value: int) -> Struct:
        self._head(number, _I64)
        self.text += _zigzag(value)
        return self

    def binary(self, number: int, value: bytes) -> Struct:
        self._head(number, _BINARY)
        self.text += varint(len(value)) + value
        return self

    def struct(self, number: int, value: bytes) -> Struct:
        self._head(number, _STRUCT)
        self.text += value
        return self

    def list_head(self, number: int, kind: int, size: int) -> Struct:
        self._head(number, _LIST)
        self.text += bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + varint(size)
        return self

    def end(self) -> bytes:
        return bytes(self.text) + b"\0"


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnChunk:
    """What a footer says of one column of a row group (``ColumnMetaData``).

    Attributes
    ----------
    name : str
    kind : int
        Physical type.
    encodings : tuple of int
    codec : int
    values : int
        Nulls are counted.
    uncompressed, compressed : int
        Bytes of all pages with their heads.
    data_page, dictionary_page : int
        Where they begin in the bytes of the row group; -1: no dictionary.
    statistics : bytes
        A struct.
    """

    name: str
    kind: int
    encodings: tuple[int, ...]
    codec: int
    values: int
    uncompressed: int
    compressed: int
    data_page: int
    dictionary_page: int
    statistics: bytes


def row_group(columns: list[ColumnChunk], size: int, rows: int) -> RowGroup:
    """Return what the footer says of a row group of `rows` rows and `size` bytes, the magic word before it included."""
    pieces: list[tuple[bytes, int]] = []
    struct = Struct().list_head(1, _STRUCT, len(columns))
    text = struct.text
    for column in columns:
        inner = Struct().int32(1, column.kind).list_head(2, _I32, len(column.encodings))
        inner.text += b"".join(_zigzag(encoding) for encoding in column.encodings)
        name = column.name.encode()
        inner.list_head(3, _BINARY, 1).text.extend(varint(len(name)) + name)
        inner.int32(4, column.codec).int64(5, column.values)
        inner.int64(6, column.uncompressed).int64(7, column.compressed)
        # The offset of the column's own file is of no use, and has to be there.
        text += Struct().int64(2, 0).struct(3, bytes(inner.text)).text
        text.append(_after(7, 9, _I64))
        pieces.append((bytes(text), column.data_page))
        text.clear()
        last = 9
        if column.dictionary_page >= 0:
            text.append(_after(9, 11, _I64))
            pieces.append((bytes(text), column.dictionary_page))
            text.clear()
            last = 11
        text.append(_after(last, 12, _STRUCT))
        text += column.statistics + b"\0\0"
    struct.int64(2, sum(column.uncompressed for column in columns)).int64(3, rows)
    text.append(_after(3, 5, _I64))
    pieces.append((bytes(text), len(MAGIC)))
    end = bytes([_after(5, 6, _I64)]) + _zigzag(sum(column.compressed for column in columns)) + b"\0"
    return RowGroup(size, rows, tuple(pieces), end)


def _after(last: int, number: int, kind: int) -> int:
    return number - last << 4 | kind


def frame(file: pa.Buffer) -> tuple[bytes, bytes]:
    """Return what stands before and behind the rows and row groups in the footer of a Parquet file without any."""
    _, data = _footer(file)
    scan = _Scan(data)
    before = 0
    for number, kind in scan.fields():
        if number == 3:
            before = scan.field_start
        scan.skip(kind)
        if number == 4:
            return bytes(data[:before]), bytes(data[scan.at :])
    raise OutputError("A Parquet footer has no row groups.")


def footer(around: tuple[bytes, bytes], groups: list[bytes], rows: int) -> bytes:
    """Return the footer of a file of `groups` (`RowGroup.at`) with `rows` rows, its length and the magic word."""
    before, behind = around
    size = len(groups)
    many = bytes([size << 4 | _STRUCT]) if size < 15 else bytes([0xF0 | _STRUCT]) + varint(size)
    text = b"".join(
        (before, bytes([1 << 4 | _I64]), _zigzag(rows), bytes([1 << 4 | _LIST]), many, *groups, behind),
    )
    return text + struct.pack("<I", len(text)) + MAGIC


def _footer(file: pa.Buffer) -> tuple[int, memoryview]:
    data = memoryview(file).cast("B")  # Arrow says that its bytes have a sign
    (length,) = struct.unpack("<I", data[-8:-4])
    start = len(data) - 8 - length
    return start, data[start : len(data) - 8]


def varint(value: int) -> bytes:
    """Return a number of no sign, seven bits a byte (LEB128)."""
    text = bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    text.append(value)
    return bytes(text)


def _zigzag(value: int) -> bytes:
    return varint(value << 1)


class _Scan:
    """A place in Thrift's compact protocol."""

    __slots__ = ("at", "data", "field_start")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.field_start = 0

    def varint(self) -> int:
        data, at = self.data, self.at
        byte = data[at]
        value = byte & 0x7F
        shift = 7
        while byte & 0x80:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            shift += 7
        self.at = at + 1
        return value

    def integer(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def list_header(self) -> tuple[int, int]:
        head = self.data[self.at]
        self.at += 1
        return (head >> 4) if head >> 4 < 15 else self.varint(), head & 0x0F

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of every field of a struct; whoever asks reads or skips the value."""
        number = 0
        while True:
            start = self.at
            head = self.data[start]
            self.at += 1
            if head == 0:
                return
            number = number + (head >> 4) if head >> 4 else self.integer()
            self.field_start = start
            yield number, head & 0x0F

    def skip(self, kind: int, *, in_list: bool = False) -> None:
        if kind in _BOOLEANS:
            self.at += in_list
        elif kind == 3:
            self.at += 1
        elif kind in (4, 5, 6):
            data, at = self.data, self.at
            while data[at] & 0x80:
                at += 1
            self.at = at + 1
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            length = self.varint()
            self.at += length
        elif kind in (_LIST, 10):
            count, inner = self.list_header()
            for _ in range(count):
                self.skip(inner, in_list=True)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        else:
            raise OutputError(f"A Parquet footer holds a Thrift type {kind} that none is known to.")
