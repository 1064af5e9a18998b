"""DuckDB: Arrow batches streamed into tables whose keys are checked as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.databases import ddl
from ehrsynth.databases.address import Address
from ehrsynth.databases.dialect import DIALECTS, quoted
from ehrsynth.databases.files import metadata_rows, refuse_existing, whole_or_nothing
from ehrsynth.databases.target import Loaded, Rows, plain_schema
from ehrsynth.errors import EhrsynthError, OutputError
from ehrsynth.schema import DatasetSchema, TableSchema

__all__ = ["load"]

_MOST_MEMORY = "1GB"


def load(
    target: Address, schema: DatasetSchema, rows: Rows, *, metadata: Mapping[str, Any], progress: Loaded
) -> dict[str, int]:
    """Load into a DuckDB file; see `target.load`."""
    import duckdb

    assert target.path is not None
    with whole_or_nothing(target.path, target.shown) as path:
        try:
            connection = duckdb.connect(str(path))
        except duckdb.Error as error:
            raise OutputError(
                f"The database cannot be opened: {_first_line(error)}",
                file=target.path,
                hint="Is it a DuckDB file, and does no other process hold it?",
            ) from None
        table = ""
        try:
            connection.execute(f"SET memory_limit = '{_MOST_MEMORY}'")
            # Of a new file nobody knows before it is whole: a table at a time takes less memory than one transaction.
            together = path == target.path
            if together:
                connection.execute("BEGIN")
            existing = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            refuse_existing(schema, existing, target.shown, "Name another file, or drop these tables first.")
            counts = {}
            for each in schema.tables:
                table = each.name
                connection.execute(ddl.create_table(each, DIALECTS["duckdb"]))
                counts[table] = _insert(connection, each, rows, progress)
                if not together:
                    connection.execute("CHECKPOINT")
            for each in schema.tables:
                table = each.name
                for statement in (*ddl.indexes(each, DIALECTS["duckdb"]), *ddl.comments(each, DIALECTS["duckdb"])):
                    connection.execute(statement)
            table = ddl.METADATA
            connection.execute(ddl.metadata_table(DIALECTS["duckdb"]))
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
                hint="`ehrsynth validate` on the source names every row that breaks a rule.",
            ) from None
        finally:
            # What was not committed is gone with the connection.
            connection.close()
    return counts


def _insert(connection: Any, table: TableSchema, rows: Rows, progress: Loaded) -> int:
    import duckdb

    count = 0
    failed: list[EhrsynthError] = []

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal count
        try:
            for batch in rows(table):
                count += batch.num_rows
                progress(table.name, count)
                yield batch
        except EhrsynthError as error:
            failed.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(plain_schema(table), counted())
    connection.register("ehrsynth_incoming", reader)
    try:
        connection.execute(f"INSERT INTO {quoted(table.name)} SELECT * FROM ehrsynth_incoming")
    except duckdb.Error:
        # What was wrong with the source passes through DuckDB and comes out as a text of its own.
        if failed:
            raise failed[0] from None
        raise
    connection.unregister("ehrsynth_incoming")
    return count


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
