"""Tables of a source read in pieces: no more of a file is in memory than a piece, however long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrsynth.errors import SourceError
from ehrsynth.readers.database import SourceDatabase
from ehrsynth.readers.delimited import DelimitedStream
from ehrsynth.readers.source import SourceFolder, is_parquet, parquet_errors, parquet_files, plain_column, read_header

__all__ = ["Pieces", "rows_about", "settled", "stream"]

_PIECE_ROWS = 50_000
_SAMPLE_BYTES = 1 << 16
_PACKED, _LINE_BYTES = 6, 80
"""How many bytes of text a byte of a packed file makes, and a line has, about."""


@dataclass(kw_only=True)
class Pieces:
    """A table in pieces, in order; what holds of the whole is known when the last has come.

    Attributes
    ----------
    file : str
        Where it is read from.
    header : tuple of str
        All columns, lower case.
    pieces : iterator of (pyarrow.Table, int64 array)
        Columns under their lower-case names, and the number of each row in the file, from 1.
    ragged : list of (int, int)
        As of `SourceTable`.
    whole_numbers : mapping of column to bool
        Of columns of floats: whether all values were whole numbers so far, and some were there.
    """

    file: str
    header: tuple[str, ...]
    pieces: Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]
    ragged: list[tuple[int, int]] = field(default_factory=list)
    whole_numbers: dict[str, bool] = field(default_factory=dict)


def stream(folder: SourceFolder, table: str) -> Pieces:
    """Return all columns of a table in pieces, as `SourceFolder.read` reads them but for floats, which stay floats.

    Raises
    ------
    SourceError
        As of `SourceFolder.read`; some only while the pieces come.
    """
    if isinstance(folder, SourceDatabase):
        return _of_database(folder, table)
    path = folder.only(table)
    if is_parquet(path):
        return _of_parquet(path, table)
    text = DelimitedStream(path, table=table, null_values=folder.null_values)
    return Pieces(file=str(path), header=text.header, pieces=text.pieces(), ragged=text.ragged)


def rows_about(folder: SourceFolder, table: str) -> int:
    """Return about how many rows a table has, for next to nothing: of text by its size and its first lines."""
    if isinstance(folder, SourceDatabase):
        return folder.count(table)
    path = folder.only(table)
    if is_parquet(path):
        rows = 0
        for part in parquet_files(path):
            with parquet_errors(part, table):
                rows += pq.read_metadata(part).num_rows
        return rows
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    size = path.stat().st_size
    if path.name.lower().endswith((".gz", ".zst")):
        return size * _PACKED // _LINE_BYTES
    return size * sample.count(b"\n") // max(len(sample), 1)


def _of_parquet(path: Path, table: str) -> Pieces:
    parts = parquet_files(path)
    headers = [read_header(part, table) for part in parts]
    try:
        schema = pa.unify_schemas([_plain_schema(pq.read_schema(part)) for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise SourceError(
            f"The parts of the table do not agree: {error}.", file=path, table=table, hint="Export it again."
        ) from None
    found = Pieces(file=str(path), header=headers[-1] if headers else (), pieces=iter(()))

    def batches() -> Iterator[pa.Table]:
        for part in parts:
            with parquet_errors(part, table), pq.ParquetFile(part, pre_buffer=False) as file:
                for batch in file.iter_batches(_PIECE_ROWS, use_threads=False):
                    yield pa.Table.from_batches([batch])

    found.pieces = _numbered(batches(), found, schema)
    return found


def _of_database(folder: SourceDatabase, table: str) -> Pieces:
    header, batches = folder.batches(table, _PIECE_ROWS)
    found = Pieces(file=str(folder.path), header=header, pieces=iter(()))
    found.pieces = _numbered(batches, found, None)
    return found


def _numbered(
    batches: Iterator[pa.Table], found: Pieces, schema: pa.Schema | None
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    at = 0
    for batch in batches:
        columns = {}
        for name, column in zip(batch.column_names, batch.columns, strict=True):
            lower = name.strip().lower()
            if pa.types.is_floating(column.type):
                _note_whole(found.whole_numbers, lower, column)
            else:
                column = plain_column(column)
            if schema is not None and lower in schema.names:
                column = column.cast(schema.field(lower).type)
            columns[lower] = column
        if schema is not None:
            columns = {
                one.name: columns.get(one.name, pa.chunked_array([pa.nulls(len(batch), one.type)])) for one in schema
            }
        yield pa.table(columns), np.arange(at + 1, at + len(batch) + 1, dtype=np.int64)
        at += len(batch)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the types that the columns will have, under lower-case names."""
    fields = []
    for one in schema:
        kind = one.type
        if not pa.types.is_floating(kind):
            kind = plain_column(pa.chunked_array([], kind)).type
        fields.append(pa.field(one.name.strip().lower(), kind))
    return pa.schema(fields)


def _note_whole(seen: dict[str, bool], name: str, column: pa.ChunkedArray) -> None:
    """Take note whether what was seen of a column of floats is whole: writers make floats of integers with gaps."""
    whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
    if whole is None or seen.get(name) is False:
        return
    if whole:
        try:
            column.cast(pa.int64())
        except pa.ArrowInvalid:
            whole = False
    seen[name] = bool(whole)


def settled(table: pa.Table, whole_numbers: dict[str, bool]) -> pa.Table:
    """Return a table with those columns of floats as integers that are whole in the whole source."""
    for name, whole in whole_numbers.items():
        if whole and name in table.column_names:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table[name].cast(pa.int64()))
    return table
