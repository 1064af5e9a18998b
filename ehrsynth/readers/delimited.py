"""Delimited text of any common dialect, read as columns of text so that an error can say which row is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from ehrsynth.errors import SourceError
from ehrsynth.readers.dialect import SAMPLE_BYTES, Dialect, lower_header, sniff

__all__ = ["Delimited", "DelimitedStream", "read_delimited"]

_BLOCK_BYTES = 8 << 20
_LARGEST_BLOCK = (1 << 31) - 1
_QUOTE, _LINE_FEED, _RETURN = (ord(mark) for mark in '"\n\r')


@dataclass(frozen=True, kw_only=True)
class Delimited:
    """The columns of a file as text, and the lines that do not have as many fields as the header.

    Attributes
    ----------
    columns : pyarrow.Table
        Text columns under lower-case names; empty values are null.
    rows : int64 array, shape (n,)
        Number of each row in the file, from 1, the header not counted.
    header : tuple of str
        All names of the file, lower case.
    ragged : list of (int, int)
        Row number and number of fields of each line left out.
    """

    columns: pa.Table
    rows: npt.NDArray[np.int64]
    header: tuple[str, ...]
    ragged: list[tuple[int, int]] = field(default_factory=list)


def read_delimited(
    path: Path,
    *,
    table: str,
    wanted: Callable[[str], bool] = lambda name: True,
    null_values: Sequence[str] = ("",),
) -> Delimited:
    """Read a file of comma, tab, semicolon or bar separated values, plain, gzip or zstd, UTF-8 with or without a mark.

    Parameters
    ----------
    path : Path
    table : str
        Name of the table for errors.
    wanted : callable
        Which columns to read, by lower-case name; the others cost next to nothing.
    null_values : sequence of str
        What stands for no value.

    Raises
    ------
    SourceError
        The file cannot be read or unpacked, is empty, is not UTF-8 (says the row), names a column twice, or opens a
        quotation mark that is never closed.
    """
    buffer = _load(path, table)
    dialect = sniff(buffer, path=path, table=table)
    names = lower_header(dialect.header, file=path, table=table)
    if not _count(buffer, _LINE_FEED) and not _count(buffer, _RETURN):
        empty = pa.table({name: pa.array([], pa.string()) for name in names if wanted(name)})
        return Delimited(columns=empty, rows=np.zeros(0, dtype=np.int64), header=names)
    chosen = [(raw, name) for raw, name in zip(dialect.header, names, strict=True) if wanted(name)]
    # Without any quotation mark no value can hold a line break, and the file can be cut anywhere: twice as fast.
    quotes = _count(buffer, _QUOTE) if dialect.quoted else 0
    ragged: list[Any] = []
    read = _Reading(
        path, table, buffer, dialect, [raw for raw, _ in chosen] or [dialect.header[0]], null_values, quotes
    )
    columns = read.run(ragged, threads=True)
    if ragged:
        # The numbers of bad lines are only known when one thread reads; they are rare enough to read twice.
        ragged.clear()
        columns = read.run(ragged, threads=False)
    rows = _row_numbers(columns.num_rows, [row.number - 1 for row in ragged])
    _check_text(columns, rows, path, table)
    if quotes % 2:
        # The mark may stand in a column that nobody wants.
        whole = (
            columns if len(chosen) == len(names) else replace(read, include=list(dialect.header)).run([], threads=True)
        )
        _check_closed(whole, rows, path, table)
    return Delimited(
        columns=columns.select([raw for raw, _ in chosen]).rename_columns([name for _, name in chosen]),
        rows=rows,
        header=names,
        ragged=[(row.number - 1, row.actual_columns) for row in ragged],
    )


@contextmanager
def _said(path: Path, table: str) -> Iterator[None]:
    """Say in a sentence why a file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError("There is no such file.", file=path, table=table) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"The file cannot be read: {error}.",
            file=path,
            table=table,
            hint="Is it whole? A packed file that was cut off cannot be unpacked: copy or export it again.",
        ) from None


def _packing(path: Path) -> str | None:
    with path.open("rb") as handle:
        start = handle.read(4)
    for method, mark, suffix in (("gzip", b"\x1f\x8b", ".gz"), ("zstd", b"\x28\xb5\x2f\xfd", ".zst")):
        if start.startswith(mark) or path.name.lower().endswith(suffix):
            return method
    return None


def _unpacked(path: Path) -> pa.NativeFile:
    """Open a file as a stream of what it holds unpacked."""
    return pa.input_stream(str(path), compression=_packing(path))


def _load(path: Path, table: str) -> pa.Buffer:
    with _said(path, table):
        packing = _packing(path)
        opened = pa.memory_map(str(path)) if packing is None else pa.input_stream(str(path), compression=packing)
        with opened as stream:
            return stream.read_buffer()


def _count(buffer: pa.Buffer, byte: int) -> int:
    return int(np.count_nonzero(np.frombuffer(buffer, dtype=np.uint8) == byte)) if buffer.size else 0


@dataclass(frozen=True)
class _Reading:
    path: Path
    table: str
    buffer: pa.Buffer
    dialect: Dialect
    include: list[str]
    null_values: Sequence[str]
    quotes: int

    def run(self, ragged: list[Any], *, threads: bool, block: int = _BLOCK_BYTES) -> pa.Table:
        def skip(row: Any) -> str:
            ragged.append(row)
            return "skip"

        try:
            return csv.read_csv(
                pa.BufferReader(self.buffer),
                **_options(self.dialect, self.include, self.null_values, self.quotes, skip, threads, block),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if "straddling" in str(error) and block < self.buffer.size:
                # A value longer than a block: take the file in one piece.
                ragged.clear()
                return self.run(ragged, threads=threads, block=min(self.buffer.size + 1, _LARGEST_BLOCK))
            raise SourceError(
                f"The file cannot be parsed: {error}.",
                file=self.path,
                table=self.table,
                hint="Is it delimited text with a header?",
            ) from None


def _options(
    dialect: Dialect,
    include: list[str],
    null_values: Sequence[str],
    quotes: int,
    skip: Callable[[Any], str],
    threads: bool,
    block: int,
) -> dict[str, Any]:
    return {
        "read_options": csv.ReadOptions(use_threads=threads, block_size=block),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.quoted else False,
            newlines_in_values=quotes > 0,
            invalid_row_handler=skip,
        ),
        "convert_options": csv.ConvertOptions(
            column_types=dict.fromkeys(include, pa.string()),
            include_columns=include,
            null_values=list(null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            # Checked afterwards, so that the error can name the row.
            check_utf8=False,
        ),
    }


class DelimitedStream:
    """A file as of `read_delimited`, in pieces: twice gone through, never whole in memory.

    Attributes
    ----------
    header : tuple of str
    ragged : list of (int, int)
        Complete when the last piece has come.
    """

    def __init__(self, path: Path, *, table: str, null_values: Sequence[str] = ("",)) -> None:
        self._path, self._table, self._null_values = path, table, null_values
        with _said(path, table), _unpacked(path) as stream:
            sample = stream.read(SAMPLE_BYTES)
        self._dialect = sniff(pa.py_buffer(sample), path=path, table=table)
        self.header = lower_header(self._dialect.header, file=path, table=table)
        self.ragged: list[tuple[int, int]] = []

    def pieces(self) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """Yield (columns of text under lower-case names, row numbers); at least one piece, perhaps of no rows.

        Raises
        ------
        SourceError
            As of `read_delimited`.
        """
        yield pa.table({name: pa.array([], pa.string()) for name in self.header}), np.zeros(0, dtype=np.int64)
        quotes = lines = 0
        with _said(self._path, self._table), _unpacked(self._path) as stream:
            while data := stream.read_buffer(_BLOCK_BYTES):
                quotes += _count(data, _QUOTE)
                lines += _count(data, _LINE_FEED) + _count(data, _RETURN)
        if not lines:
            return
        given, block = 0, _BLOCK_BYTES
        last: tuple[pa.Table, npt.NDArray[np.int64]] | None = None
        while True:
            try:
                for columns, rows in self._run(quotes if self._dialect.quoted else 0, given, block):
                    given += len(rows)
                    last = columns, rows
                    yield columns, rows
                break
            except _LongValueError:
                # A value longer than a block.
                block = min(block * 16, _LARGEST_BLOCK)
        if quotes % 2 and self._dialect.quoted and last is not None:
            _check_closed(*last, self._path, self._table)

    def _run(self, quotes: int, given: int, block: int) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """Yield the pieces but for the first `given` rows."""
        self.ragged.clear()

        def skip(row: Any) -> str:
            self.ragged.append((row.number - 1, row.actual_columns))
            return "skip"

        include, number, before = list(self._dialect.header), 1, given
        try:
            with _unpacked(self._path) as stream:
                options = _options(self._dialect, include, self._null_values, quotes, skip, False, block)
                for batch in csv.open_csv(stream, **options):
                    left_out = {row for row, _ in self.ragged if row >= number}
                    numbers = np.arange(number, number + batch.num_rows + len(left_out), dtype=np.int64)
                    rows = numbers[~np.isin(numbers, list(left_out))][: batch.num_rows]
                    number = int(rows[-1]) + 1 if len(rows) else number
                    drop = min(before, len(rows))
                    before -= drop
                    columns = pa.Table.from_batches([batch]).slice(drop).rename_columns(list(self.header))
                    _check_text(columns, rows[drop:], self._path, self._table)
                    yield columns, rows[drop:]
        except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if "straddling" in str(error) and block < _LARGEST_BLOCK:
                raise _LongValueError from None
            raise SourceError(
                f"The file cannot be parsed: {error}.",
                file=self._path,
                table=self._table,
                hint="Is it delimited text with a header, and whole?",
            ) from None


class _LongValueError(Exception):
    """A value is longer than a block."""


def _row_numbers(n: int, left_out: list[int]) -> npt.NDArray[np.int64]:
    numbers = np.arange(1, n + len(left_out) + 1, dtype=np.int64)
    return np.delete(numbers, np.array(left_out, dtype=np.int64) - 1) if left_out else numbers


def _check_text(columns: pa.Table, rows: npt.NDArray[np.int64], path: Path, table: str) -> None:
    for name in columns.column_names:
        start = 0
        for chunk in columns[name].chunks:
            try:
                chunk.validate(full=True)
            except pa.ArrowInvalid:
                for at, raw in enumerate(chunk.view(pa.binary()).to_pylist()):
                    try:
                        (raw or b"").decode("utf-8")
                    except UnicodeDecodeError:
                        raise SourceError(
                            f"{raw!r} is not UTF-8.",
                            file=path,
                            table=table,
                            row=int(rows[start + at]),
                            column=name.strip().lower(),
                            hint="Save the file as UTF-8.",
                        ) from None
                raise
            start += len(chunk)


def _check_closed(columns: pa.Table, rows: npt.NDArray[np.int64], path: Path, table: str) -> None:
    # An odd number of marks may be harmless (5" wide); a line break in the last row says that the rest was swallowed.
    if not columns.num_rows:
        return
    last = columns.slice(columns.num_rows - 1)
    for name in columns.column_names:
        if "\n" in (last[name][0].as_py() or ""):
            raise SourceError(
                "A quotation mark is opened and never closed.",
                file=path,
                table=table,
                row=int(rows[-1]),
                column=name.strip().lower(),
                hint='Write a quotation mark inside a value twice ("").',
            )
