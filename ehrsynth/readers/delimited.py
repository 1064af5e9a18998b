"""Delimited text of any common dialect, read as columns of text so that an error can say which row is wrong."""

from __future__ import annotations

import csv as text_csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from ehrsynth.errors import SourceError

__all__ = ["Delimited", "Dialect", "read_delimited", "sniff"]

_SAMPLE_BYTES = 1 << 16
_DELIMITERS = (",", "\t", ";", "|")
_BLOCK_BYTES = 8 << 20
_QUOTE, _LINE_FEED, _RETURN = (ord(mark) for mark in '"\n\r')


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written: its delimiter, whether quotation marks enclose values, and its header as it stands."""

    delimiter: str
    quoted: bool
    header: tuple[str, ...]


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
    names = tuple(name.strip().lower() for name in dialect.header)
    _check_header(names, path, table)
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


def sniff(buffer: pa.Buffer, *, path: Path, table: str) -> Dialect:
    """Return the dialect of a file from its first 64 KiB.

    The delimiter is the one that parts the header into most names. In tab-separated files a quotation mark is a mere
    character unless some value is enclosed in a pair of them: the OHDSI vocabularies are written like that.

    Raises
    ------
    SourceError
        No header, UTF-16, or not text at all.
    """
    sample = buffer.slice(0, min(_SAMPLE_BYTES, buffer.size)).to_pybytes()
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("The file is UTF-16.", file=path, table=table, hint="Save it as UTF-8.")
    sample = sample.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in sample:
        raise SourceError("The file is not text.", file=path, table=table, hint="Give CSV, TSV or Parquet.")
    lines = re.split(rb"\r\n|\n|\r", sample)
    try:
        first = lines[0].decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(
            "The header is not UTF-8.", file=path, table=table, row=0, hint="Save the file as UTF-8."
        ) from None
    if not first.strip():
        raise SourceError(
            "The file is empty: it has not even a header.",
            file=path,
            table=table,
            hint="Export the table again, or remove the file if the table is optional.",
        )
    delimiter = max(_DELIMITERS, key=lambda mark: len(next(text_csv.reader([first], delimiter=mark))))
    quoted = delimiter != "\t" or _encloses(lines, delimiter.encode())
    header = next(text_csv.reader([first], delimiter=delimiter, quoting=0 if quoted else text_csv.QUOTE_NONE))
    return Dialect(delimiter=delimiter, quoted=quoted, header=tuple(header))


def _encloses(lines: list[bytes], delimiter: bytes) -> bool:
    head = lines[0].split(delimiter)
    if all(len(value) > 1 and value.startswith(b'"') and value.endswith(b'"') for value in head):
        return True
    paired = False
    for line in lines:
        for value in line.split(delimiter):
            if value.startswith(b'"'):
                if len(value) < 2 or not value.endswith(b'"'):
                    return False
                paired = True
    return paired


def _load(path: Path, table: str) -> pa.Buffer:
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
        for method, mark, suffix in (("gzip", b"\x1f\x8b", ".gz"), ("zstd", b"\x28\xb5\x2f\xfd", ".zst")):
            if start.startswith(mark) or path.name.lower().endswith(suffix):
                with pa.input_stream(str(path), compression=method) as stream:
                    return stream.read_buffer()
        with pa.memory_map(str(path)) as source:
            return source.read_buffer()
    except FileNotFoundError:
        raise SourceError("There is no such file.", file=path, table=table) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"The file cannot be read: {error}.",
            file=path,
            table=table,
            hint="Is it whole? A packed file that was cut off cannot be unpacked: copy or export it again.",
        ) from None


def _count(buffer: pa.Buffer, byte: int) -> int:
    return int(np.count_nonzero(np.frombuffer(buffer, dtype=np.uint8) == byte)) if buffer.size else 0


def _check_header(names: tuple[str, ...], path: Path, table: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SourceError(
                f"Two columns are named {name!r} (case does not count).",
                file=path,
                table=table,
                column=name,
                hint="Rename or remove one of them.",
            )
        seen.add(name)


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
                read_options=csv.ReadOptions(use_threads=threads, block_size=block),
                parse_options=csv.ParseOptions(
                    delimiter=self.dialect.delimiter,
                    quote_char='"' if self.dialect.quoted else False,
                    newlines_in_values=self.quotes > 0,
                    invalid_row_handler=skip,
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(self.include, pa.string()),
                    include_columns=self.include,
                    null_values=list(self.null_values),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    # Checked afterwards, so that the error can name the row.
                    check_utf8=False,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if "straddling" in str(error) and block < self.buffer.size:
                # A value longer than a block: take the file in one piece.
                ragged.clear()
                return self.run(ragged, threads=threads, block=min(self.buffer.size + 1, (1 << 31) - 1))
            raise SourceError(
                f"The file cannot be parsed: {error}.",
                file=self.path,
                table=self.table,
                hint="Is it delimited text with a header?",
            ) from None


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
