"""Tables in database files, DuckDB or SQLite, read only, in batches of columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.databases import METADATA
from ehrsynth.databases.dialect import quoted
from ehrsynth.errors import SourceError

__all__ = ["database_batches", "database_kind", "database_tables"]

_KINDS = {".duckdb": "duckdb", ".ddb": "duckdb", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite"}
_SQLITE_ROWS = 1 << 14


def database_kind(path: Path) -> str:
    """Return duckdb or sqlite, by the name of the file; empty if it is that of neither."""
    return _KINDS.get(path.suffix.lower(), "") if not path.name.startswith(".") else ""


def database_tables(path: Path) -> list[str]:
    """Return the names of the tables, without that of what the records are.

    Raises
    ------
    SourceError
        It is no such database, or somebody else holds it.
    """
    if database_kind(path) == "duckdb":
        import duckdb

        try:
            with duckdb.connect(str(path), read_only=True) as connection:
                rows = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        except duckdb.Error as error:
            raise _unreadable(path, str(error).splitlines()[0][:200]) from None
    else:
        try:
            with closing(_sqlite(path)) as file:
                asked = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
                rows = file.execute(asked).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(path, str(error)) from None
    return [name for (name,) in rows if name != METADATA]


def database_batches(path: Path, table: str, rows: int) -> Iterator[dict[str, pa.Array]]:
    """Yield the columns of a table, by lower-case name, of at most `rows` rows at a time; at least once."""
    yield from _duckdb_batches(path, table, rows) if database_kind(path) == "duckdb" else _sqlite_batches(path, table)


def _duckdb_batches(path: Path, table: str, rows: int) -> Iterator[dict[str, pa.Array]]:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        reader: Any = connection.sql(f"SELECT * FROM {quoted(table)}").to_arrow_reader(rows)
        names = [name.lower() for name in reader.schema.names]
        yield {name: pa.array([], kind) for name, kind in zip(names, reader.schema.types, strict=True)}
        for batch in reader:
            yield dict(zip(names, batch.columns, strict=True))


def _sqlite_batches(path: Path, table: str) -> Iterator[dict[str, pa.Array]]:
    with closing(_sqlite(path)) as file:
        found = file.execute(f"SELECT * FROM {quoted(table)}")
        names = [column[0].lower() for column in found.description]
        yield {name: pa.array([], pa.string()) for name in names}
        while rows := found.fetchmany(_SQLITE_ROWS):
            yield {name: _texts(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _texts(values: tuple[Any, ...]) -> pa.Array:
    # A column holds what was put into it, whatever its type says: as text every value can be judged.
    return pa.array([value if value is None or isinstance(value, str) else str(value) for value in values], pa.string())


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _unreadable(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"The database cannot be read: {reason}.",
        file=path,
        hint="Is it a whole DuckDB or SQLite file, and does no other process write to it?",
    )
