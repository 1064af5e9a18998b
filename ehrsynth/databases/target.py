"""Tables into a database, in the order of their foreign keys, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from ehrsynth.databases.address import Address
from ehrsynth.databases.ddl import METADATA
from ehrsynth.schema import DatasetSchema, TableSchema

__all__ = ["METADATA", "Loaded", "Rows", "load", "plain_schema"]

Rows = Callable[[TableSchema], Iterable[pa.RecordBatch]]
"""Gives the rows of a table in `plain_schema`."""

Loaded = Callable[[str, int], None]
"""Called with a table and its rows so far."""


def load(
    target: Address,
    schema: DatasetSchema,
    rows: Rows,
    *,
    metadata: Mapping[str, Any] | None = None,
    progress: Loaded = lambda table, count: None,
) -> dict[str, int]:
    """Make the tables of `schema` in `target` and fill them; return the rows by table.

    Everything happens in one transaction (into a new file: under another name until it is whole): an error leaves the
    database as it was. All constraints hold at the end, the database has checked every row against them.

    Parameters
    ----------
    metadata : mapping, optional
        What the records are; a table ``ehrsynth_metadata`` holds it, a value is JSON.

    Raises
    ------
    OutputError
        The database cannot be reached, has such tables already, or refuses a row.
    MissingExtraError
        For PostgreSQL, psycopg is not installed.
    """
    match target.kind:
        case "postgresql":
            from ehrsynth.databases import postgresql

            return postgresql.load(target, schema, rows, metadata=metadata or {}, progress=progress)
        case "duckdb":
            from ehrsynth.databases import duckdb

            return duckdb.load(target, schema, rows, metadata=metadata or {}, progress=progress)
        case _:
            from ehrsynth.databases import sqlite

            return sqlite.load(target, schema, rows, metadata=metadata or {}, progress=progress)


def plain_schema(table: TableSchema) -> pa.Schema:
    """Return the Arrow schema of a table with texts as strings."""
    return pa.schema(
        [
            pa.field(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
            for field in table.arrow
        ]
    )
