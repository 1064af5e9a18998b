"""SQLite: rows by the standard library, foreign keys switched on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.databases import ddl
from ehrsynth.databases.address import Address
from ehrsynth.databases.dialect import DIALECTS, quoted
from ehrsynth.databases.files import metadata_rows, refuse_existing, whole_or_nothing
from ehrsynth.databases.target import Loaded, Rows
from ehrsynth.errors import EhrsynthError, OutputError
from ehrsynth.schema import DatasetSchema, TableSchema

__all__ = ["load"]

_PATIENCE_SECONDS = 5.0
_CHUNK_ROWS = 1 << 14
_CACHE_KIB = 192 << 10
"""Keys come in no order: while their index fits in here, it is not read again and again."""
_SORT_KIB = 32 << 10
"""What an index is sorted in that is made of rows that are there; more only takes room."""


def load(
    target: Address, schema: DatasetSchema, rows: Rows, *, metadata: Mapping[str, Any], progress: Loaded
) -> dict[str, int]:
    """Load into an SQLite file; see `target.load`.

    Dates are ``YYYY-MM-DD``, times ``YYYY-MM-DD HH:MM:SS`` (UTC), as SQLite's own functions have them; booleans are 0
    and 1.
    """
    assert target.path is not None
    table = ""
    with (
        whole_or_nothing(target.path, target.shown) as path,
        closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)) as connection,
    ):
        try:
            if path != target.path:
                # Nobody knows of the file yet: if we fail it goes, and there is nothing to go back to.
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
            # Checked at the end, all at once: a tenth of the cost of a look at every row.
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("BEGIN IMMEDIATE")
            existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            refuse_existing(schema, existing, target.shown, "Name another file, or drop these tables first.")
            counts = {}
            for each in schema.tables:
                table = each.name
                connection.execute(ddl.create_table(each, DIALECTS["sqlite"]))
                counts[table] = _insert(connection, each, rows, progress)
            connection.execute(f"PRAGMA cache_size = -{_SORT_KIB}")
            for each in schema.tables:
                table = each.name
                for statement in ddl.indexes(each, DIALECTS["sqlite"]):
                    connection.execute(statement)
            _check_foreign_keys(connection, schema, target)
            table = ddl.METADATA
            connection.execute(ddl.metadata_table(DIALECTS["sqlite"]))
            connection.executemany(f"INSERT INTO {quoted(ddl.METADATA)} VALUES (?, ?)", metadata_rows(metadata))
            connection.execute("COMMIT")
        except EhrsynthError:
            _roll_back(connection)
            raise
        except sqlite3.Error as error:
            _roll_back(connection)
            raise OutputError(
                f"SQLite refused it, nothing was loaded: {error}.",
                file=target.shown,
                table=table or None,
                hint=next((hint for words, hint in _HINTS.items() if words in str(error)), ddl.HINT),
            ) from None
    return counts


def _roll_back(connection: sqlite3.Connection) -> None:
    # Without a journal (a file of which nobody knows) there is no going back, and SQLite may have ended it itself.
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _check_foreign_keys(connection: sqlite3.Connection, schema: DatasetSchema, target: Address) -> None:
    for table in schema.tables:
        found = connection.execute(f"PRAGMA foreign_key_check({quoted(table.name)})").fetchone()
        if found is None:
            continue
        key = connection.execute(f"PRAGMA foreign_key_list({quoted(table.name)})").fetchall()
        column = next(row[3] for row in key if row[0] == found[3])
        (value,) = connection.execute(
            f"SELECT {quoted(column)} FROM {quoted(table.name)} WHERE rowid = ?", (found[1],)
        ).fetchone()
        raise OutputError(
            f"SQLite refused it, nothing was loaded: {value!r} leads to no row of {found[2]}.",
            file=target.shown,
            table=table.name,
            row=found[1],
            column=column,
            hint=ddl.HINT,
        )


_HINTS = {
    "locked": "Another process writes to it: wait for it, or name another file.",
    "not a database": "It is a file of something else: name another.",
    "readonly": "You may not write to it: change its permissions, or name another file.",
    "full": "The disk is full.",
}


def _insert(connection: sqlite3.Connection, table: TableSchema, rows: Rows, progress: Loaded) -> int:
    statement = f"INSERT INTO {quoted(table.name)} VALUES ({', '.join('?' * len(table.columns))})"
    count = 0
    for batch in rows(table):
        for start in range(0, batch.num_rows, _CHUNK_ROWS):
            connection.executemany(statement, _tuples(batch.slice(start, _CHUNK_ROWS)))
        count += batch.num_rows
        progress(table.name, count)
    return count


def _tuples(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(_values(column) for column in batch.columns), strict=True)


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return list(pc.strftime(column.cast(pa.timestamp("s")), format="%Y-%m-%d %H:%M:%S").to_pylist())
    if pa.types.is_date(kind):
        return list(column.cast(pa.string()).to_pylist())
    return list(column.to_pylist())
