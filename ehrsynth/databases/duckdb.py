"""DuckDB: Arrow batches into tables whose keys are checked as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.databases import ddl
from ehrsynth.databases.address import Address
from ehrsynth.databases.dialect import DIALECTS, quoted, text
from ehrsynth.databases.files import metadata_rows, refuse_existing, whole_or_nothing
from ehrsynth.databases.target import Loaded, Rows
from ehrsynth.errors import OutputError
from ehrsynth.schema import DatasetSchema, TableSchema

__all__ = ["load"]


def load(
    target: Address, schema: DatasetSchema, rows: Rows, *, metadata: Mapping[str, Any], progress: Loaded
) -> dict[str, int]:
    """Load into a DuckDB file; see `target.load`."""
    import duckdb

    assert target.path is not None
    with whole_or_nothing(target.path, target.shown) as path:
        # Of a new file nobody knows before it is whole: a table at a time takes less memory than one transaction.
        together = path == target.path
        connection = _connect(path, target, new=not together)
        table = ""
        try:
            if together:
                connection.execute("BEGIN")
            existing = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            refuse_existing(schema, existing, target.shown, "Name another file, or drop these tables first.")
            counts = {}
            for each in schema.tables:
                table = each.name
                later = () if together or _refers_to_itself(each) else ("primary",)
                connection.execute(ddl.create_table(each, _DIALECT, without=later))
                counts[table] = 0
                for chunk in _chunks(rows(each)):
                    _insert(connection, each, chunk)
                    counts[table] += chunk.num_rows
                    progress(table, counts[table])
                    if not together and chunk.num_rows >= _CHUNK_ROWS:
                        connection = _again(connection, path, target)
                if later:
                    _add_primary_key(connection, each, target)
                for statement in (*ddl.indexes(each, _DIALECT), *ddl.comments(each, _DIALECT)):
                    connection.execute(statement)
                if not together and counts[table] >= _CHUNK_ROWS:
                    connection = _again(connection, path, target)
            table = ddl.METADATA
            connection.execute(ddl.metadata_table(_DIALECT))
            for row in metadata_rows(metadata):
                connection.execute(f"INSERT INTO {quoted(ddl.METADATA)} VALUES (?, ?)", row)
            if together:
                connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise OutputError(
                f"DuckDB refused it, nothing was loaded: {_first_line(error)}",
                file=target.shown,
                table=table,
                hint=ddl.HINT,
            ) from None
        finally:
            # What was not committed is gone with the connection.
            connection.close()
    return counts


def _refers_to_itself(table: TableSchema) -> bool:
    """Whether rows lead to rows of their own table: its key has to be there before them.

    Any other is made when the rows are in, in one go, in a quarter of the time. DuckDB adds no foreign key to a table
    that is there, nor a key within the transaction that filled it.
    """
    return any(key.reference_table == table.name for key in table.foreign_keys)


def _add_primary_key(connection: Any, table: TableSchema, target: Address) -> None:
    import duckdb

    try:
        for statement in ddl.keys(table, ("primary",)):
            connection.execute(statement)
    except duckdb.ConstraintException:
        # It does not say which.
        key, name = quoted(table.primary_key), quoted(table.name)
        twice = connection.execute(f"SELECT {key} FROM {name} GROUP BY {key} HAVING count(*) > 1 LIMIT 1").fetchone()
        if twice is None:
            raise
        raise OutputError(
            f"DuckDB refused it, nothing was loaded: {twice[0]!r} is the key of more than one row.",
            file=target.shown,
            table=table.name,
            column=table.primary_key,
            hint=ddl.HINT,
        ) from None


_DIALECT = DIALECTS["duckdb"]
_CHUNK_ROWS = 122_880
"""Rows of one of DuckDB's row groups. What is inserted at once has its indexes in memory twice."""


def _connect(path: Path, target: Address, *, new: bool) -> Any:
    import duckdb

    # Rows with keys are taken one after the other: a second thread only costs.
    settings: dict[str, Any] = {"threads": 1}
    connection = None
    try:
        if not new:
            return duckdb.connect(str(path), config=settings)
        # Of a file that is thrown away if anything fails no log is kept: it would hold every index in memory once more.
        connection = duckdb.connect(config=settings | {"temp_directory": f"{path}.tmp"})
        connection.execute(f"ATTACH {text(str(path))} AS records (RECOVERY_MODE no_wal_writes)")
        connection.execute("USE records")
        return connection
    except duckdb.Error as error:
        if connection is not None:
            connection.close()
        raise OutputError(
            f"The database cannot be opened: {_first_line(error)}",
            file=target.path,
            hint="Is it a DuckDB file, and does no other process hold it?",
        ) from None


def _again(connection: Any, path: Path, target: Address) -> Any:
    """Close a new file and open it again: DuckDB keeps of an index all that it ever used until then."""
    connection.execute("CHECKPOINT")
    connection.close()
    return _connect(path, target, new=True)


def _insert(connection: Any, table: TableSchema, chunk: pa.Table) -> None:
    connection.register("ehrsynth_incoming", chunk)
    connection.execute(f"INSERT INTO {quoted(table.name)} SELECT * FROM ehrsynth_incoming")
    connection.unregister("ehrsynth_incoming")


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.num_rows
        if size >= _CHUNK_ROWS:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
