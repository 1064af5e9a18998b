"""Files of tables in batches of columns, as they stand: what cannot be read is reported, the rest is read."""

from __future__ import annotations

import csv as text_csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ehrsynth.validation.findings import Findings
from ehrsynth.validation.table_databases import database_batches, database_kind, database_tables

__all__ = ["Batch", "TableFile", "batches", "find_tables", "table_name"]

_SUFFIXES = (".csv", ".tsv", ".parquet")
_BLOCK_BYTES = 16 << 20
_BATCH_ROWS = 1 << 17
_DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class TableFile:
    """A table's files: one, or the parts in a folder of its name; or the database that it is `inside` by this name."""

    table: str
    paths: tuple[Path, ...]
    inside: str = ""


@dataclass(frozen=True)
class Batch:
    """Some rows of one file: their columns, and their numbers in the file from 1 (the header not counted)."""

    file: str
    columns: dict[str, pa.Array]
    rows: npt.NDArray[np.int64]


def table_name(path: Path) -> str:
    """Return the table a file is named after, empty if its name is not that of a file of tables."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and not name.startswith((".", "_")):
            return name.removesuffix(suffix)
    return ""


def find_tables(source: Path) -> list[TableFile]:
    """Return the tables in `source`, by name: files named after them, or folders so named with parts in them.

    A database file (DuckDB, SQLite) holds tables; in a folder it counts where there are no others.
    """
    if source.is_file():
        return _inside(source) if database_kind(source) else [TableFile(table_name(source), (source,))]
    found: dict[str, list[Path]] = {}
    for path in sorted(source.iterdir()):
        if path.is_file() and table_name(path):
            found.setdefault(table_name(path), []).append(path)
        elif path.is_dir():
            parts = [part for part in sorted(path.rglob("*")) if part.is_file() and table_name(part)]
            if parts:
                found.setdefault(path.name.lower(), []).extend(parts)
    if not found:
        databases = [path for path in sorted(source.iterdir()) if path.is_file() and database_kind(path)]
        return _inside(databases[0]) if len(databases) == 1 else []
    return [TableFile(name, tuple(paths)) for name, paths in sorted(found.items())]


def _inside(database: Path) -> list[TableFile]:
    return [TableFile(name.lower(), (database,), name) for name in database_tables(database)]


def batches(
    table: TableFile, root: Path, findings: Findings, progress: Callable[[Path], None] | None = None
) -> Iterator[Batch]:
    """Yield the rows of a table's files; texts are strings, Parquet's columns have their own types."""
    for path in table.paths:
        name = path.relative_to(root).as_posix()
        try:
            if table.inside:
                yield from _database(path, table.inside, f"{name}:{table.inside}")
            elif path.name.lower().endswith(".parquet"):
                yield from _parquet(path, name)
            else:
                yield from _Delimited(path, name, table.table, findings).batches()
        except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0][:200]
            findings.add("unreadable-file", table.table, f"{name}: {reason}")
        if progress is not None:
            progress(path)


def _parquet(path: Path, name: str) -> Iterator[Batch]:
    start = 1
    with pyarrow.parquet.ParquetFile(path) as file:
        columns = [column.lower() for column in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            # One after the other: asked for all of them, Arrow reads far ahead.
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                rows = np.arange(start, start + batch.num_rows, dtype=np.int64)
                yield Batch(name, dict(zip(columns, batch.columns, strict=True)), rows)
                start += batch.num_rows
        if start == 1:
            empty = file.schema_arrow.empty_table().combine_chunks()
            yield Batch(
                name, {c: empty.column(i).combine_chunks() for i, c in enumerate(columns)}, np.zeros(0, np.int64)
            )


def _database(path: Path, table: str, name: str) -> Iterator[Batch]:
    start = 1
    for columns in database_batches(path, table, _BATCH_ROWS):
        size = len(next(iter(columns.values()), ()))
        yield Batch(name, columns, np.arange(start, start + size, dtype=np.int64))
        start += size


class _Delimited:
    """One file of delimited text."""

    def __init__(self, path: Path, name: str, table: str, findings: Findings) -> None:
        self.path, self.name, self.table, self.findings = path, name, table, findings
        self.ragged: list[int] = []
        self.ragged_count = 0

    def batches(self) -> Iterator[Batch]:
        header, delimiter = self._header()
        if any("\0" in name for name in header):
            self.findings.add(
                "unreadable-file", self.table, f"{self.name}: its text is not UTF-8 (UTF-16?): save it as UTF-8"
            )
            return
        if not header:
            self.findings.add(
                "unreadable-file", self.table, f"{self.name}: the file is empty, it has not even a header"
            )
            return
        yield Batch(self.name, {name: pa.nulls(0, pa.string()) for name in header if name}, np.zeros(0, np.int64))
        # A name that comes twice is reported by the caller's eyes here, and its second column goes unread.
        names = [name if header.index(name) == at else f"{name}\0{at}" for at, name in enumerate(header)]
        for name in sorted({name for name in header if header.count(name) > 1}):
            self.findings.add("duplicate-column", f"{self.table}.{name}", f"{self.name}: {name!r}")
        wanted = [name for name in names if "\0" not in name]
        start = 1
        with self._open() as stream:
            try:
                reader = self._reader(stream, names, wanted, delimiter)
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return  # a header and no rows
                raise
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                rows = self._numbers(start, batch.num_rows)
                start += batch.num_rows + len(self.ragged)
                self.ragged.clear()
                columns = {name: self._text(batch.column(i), name, rows) for i, name in enumerate(wanted)}
                yield Batch(self.name, columns, rows)

    def _open(self) -> Any:
        with self.path.open("rb") as handle:
            start = handle.read(4)
        packed = "gzip" if start.startswith(b"\x1f\x8b") else "zstd" if start == b"\x28\xb5\x2f\xfd" else None
        return pa.input_stream(str(self.path), compression=packed)

    def _header(self) -> tuple[list[str], str]:
        with self._open() as stream:
            start = stream.read(1 << 16)
        line = start.split(b"\n", 1)[0].removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").rstrip("\r")
        if not line.strip():
            return [], ","
        cells = {mark: next(text_csv.reader(io.StringIO(line), delimiter=mark)) for mark in _DELIMITERS}
        delimiter = max(_DELIMITERS, key=lambda mark: len(cells[mark]))
        return [cell.strip().lower() for cell in cells[delimiter]], delimiter

    def _reader(self, stream: Any, names: list[str], wanted: list[str], delimiter: str) -> Any:
        def skip(row: Any) -> str:
            number = (row.number or 2) - 1  # the header is row 1 to Arrow
            self.ragged.append(number)
            example = f"{self.name} row {number}: {row.actual_columns} cells, the header has {row.expected_columns}"
            self.findings.add("ragged-row", self.table, example)
            return "skip"

        return pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=_BLOCK_BYTES, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                # Bytes, so that a text that is not UTF-8 can be told with its row.
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=False,
            ),
        )

    def _numbers(self, start: int, count: int) -> npt.NDArray[np.int64]:
        numbers = np.arange(start, start + count + len(self.ragged), dtype=np.int64)
        return np.setdiff1d(numbers, self.ragged)[:count] if self.ragged else numbers

    def _text(self, values: pa.Array, column: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        self._find_zero_bytes(values, column, rows)
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            texts = []
            for row, raw in zip(rows.tolist(), values.to_pylist(), strict=True):
                try:
                    texts.append(raw.decode("utf-8") if raw is not None else None)
                except UnicodeDecodeError:
                    self.findings.add("not-utf8", f"{self.table}.{column}", f"{self.name} row {row}: {raw[:60]!r}")
                    texts.append(raw.decode("utf-8", errors="replace"))
            return pa.array(texts, type=pa.string())

    def _find_zero_bytes(self, values: pa.Array, column: str, rows: npt.NDArray[np.int64]) -> None:
        """Find what SQLite's tools cut short, and PostgreSQL does not take."""
        texts = values.buffers()[2]
        # One look at all bytes first: there hardly ever is one.
        if texts is None or not texts.size or np.frombuffer(texts, np.uint8).min():
            return
        found = pc.fill_null(pc.match_substring(values, b"\0"), False).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(found):
            example = f"{self.name} row {rows[at]}: {values[at].as_py()[:60]!r}"
            self.findings.add("not-utf8", f"{self.table}.{column}", example)
