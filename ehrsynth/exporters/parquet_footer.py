"""Row groups of many small Parquet files put together in one: their bytes appended, their footers made one.

A Parquet file is row groups one after the other and a footer that says where each column of each begins. Whoever writes
a block does not know where it will stand; so a block is written as a file of its own, its bytes are appended as they
are, and its footer is taken apart at every offset in it. The footer of the whole is those pieces, each offset moved to
where the block came to stand. The footer is Thrift in its compact protocol (apache/parquet-format, ``parquet.thrift``;
apache/thrift, ``doc/specs/thrift-compact-protocol.md``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from ehrsynth.errors import OutputError

__all__ = ["MAGIC", "RowGroup", "footer", "frame", "row_group", "unpack"]

MAGIC = b"PAR1"

_HEAD = struct.Struct("<IQQI")
_CUT = struct.Struct("<IQ")
_BOOLEANS, _I64, _LIST, _STRUCT = (1, 2), 6, 9, 12


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


def row_group(file: pa.Buffer) -> RowGroup:
    """Return what the footer of a Parquet file with one row group says of it."""
    start, data = _footer(file)
    scan = _Scan(data)
    for number, kind in scan.fields():
        if number != 4:
            scan.skip(kind)
            continue
        count, _ = scan.list_header()
        if count != 1:
            raise OutputError(f"A Parquet file of {count} row groups cannot be appended.")
        return _one_row_group(scan, start)
    raise OutputError("A Parquet footer has no row groups.")


def _one_row_group(scan: _Scan, size: int) -> RowGroup:
    begin, rows = scan.at, 0
    cuts: list[tuple[int, int, int]] = []
    end = 0
    for number, kind in scan.fields():
        if number == 1:
            count, _ = scan.list_header()
            for _ in range(count):
                _column_chunk(scan, cuts)
        elif number == 3:
            rows = scan.integer()
        elif number == 5:
            cuts.append(scan.cut())
        elif number == 7:
            # The place of the row group in its file: optional, and another one in the whole.
            end = scan.field_start
            scan.skip(kind)
        else:
            scan.skip(kind)
    stop = end or scan.at - 1
    pieces, last = [], begin
    for before, after, value in cuts:
        pieces.append((bytes(scan.data[last:before]), value))
        last = after
    return RowGroup(size, rows, tuple(pieces), bytes(scan.data[last:stop]) + b"\0")


def _column_chunk(scan: _Scan, cuts: list[tuple[int, int, int]]) -> None:
    for number, kind in scan.fields():
        if number == 2 and scan.peek() != 0:
            cuts.append(scan.cut())
        elif number == 3:
            for inner, inner_kind in scan.fields():
                # data_page_offset, index_page_offset, dictionary_page_offset, bloom_filter_offset
                if inner in (9, 10, 11, 14):
                    cuts.append(scan.cut())
                else:
                    scan.skip(inner_kind)
        elif number in (4, 6):
            cuts.append(scan.cut())
        else:
            scan.skip(kind)


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
    many = bytes([size << 4 | _STRUCT]) if size < 15 else bytes([0xF0 | _STRUCT]) + _varint(size)
    text = b"".join(
        (before, bytes([1 << 4 | _I64]), _zigzag(rows), bytes([1 << 4 | _LIST]), many, *groups, behind),
    )
    return text + struct.pack("<I", len(text)) + MAGIC


def _footer(file: pa.Buffer) -> tuple[int, memoryview]:
    data = memoryview(file).cast("B")  # Arrow says that its bytes have a sign
    (length,) = struct.unpack("<I", data[-8:-4])
    start = len(data) - 8 - length
    return start, data[start : len(data) - 8]


def _varint(value: int) -> bytes:
    text = bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    text.append(value)
    return bytes(text)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1)


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

    def peek(self) -> int:
        at = self.at
        value = self.integer()
        self.at = at
        return value

    def cut(self) -> tuple[int, int, int]:
        """Return where an integer begins and ends, and the integer."""
        before = self.at
        value = self.integer()
        return before, self.at, value

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
