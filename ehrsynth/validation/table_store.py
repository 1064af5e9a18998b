"""Rows of tables put away in a DuckDB file of our own, so that what holds between them is checked in flat memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from ehrsynth.errors import OutputError

__all__ = ["Store", "name_of", "quoted"]

_MEMORY = "1GB"


def quoted(name: str) -> str:
    """Return an identifier in its quotation marks."""
    return '"' + name.replace('"', '""') + '"'


def name_of(table: str) -> str:
    """Return the name of a table of the store: no column's name is one of them."""
    return quoted(f"t_{table}")


class Store:
    """A DuckDB database in a temporary folder; made when first asked for, gone when closed.

    DuckDB keeps to its memory and puts the rest on the disk: of joins, sorts and groups too.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._connection: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def append(self, table: str, columns: Mapping[str, pa.Array]) -> None:
        """Append rows to a table, which is made of the first ones."""
        self._open()
        rows = pa.table(dict(columns))
        self._connection.register("incoming", rows)
        try:
            self._run(f"CREATE TABLE IF NOT EXISTS {name_of(table)} AS SELECT * FROM incoming LIMIT 0")
            self._run(f"INSERT INTO {name_of(table)} SELECT * FROM incoming")
        finally:
            self._connection.unregister("incoming")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows that answer a query."""
        self._open()
        self._run(query)
        rows: list[tuple[Any, ...]] = self._connection.fetchall()
        return rows

    def do(self, statement: str) -> None:
        """Run a statement."""
        self._open()
        self._run(statement)

    def _open(self) -> None:
        if self._connection is not None:
            return
        import duckdb

        self._folder = tempfile.TemporaryDirectory(prefix="ehrsynth-validate-")
        self._connection = duckdb.connect(str(Path(self._folder.name) / "rows.duckdb"))
        # The order of rows is a column; DuckDB need not keep it.
        for setting in (f"memory_limit = '{_MEMORY}'", "preserve_insertion_order = false"):
            self._connection.execute(f"SET {setting}")

    def _run(self, statement: str) -> None:
        import duckdb

        try:
            self._connection.execute(statement)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise OutputError(
                f"The tables cannot be compared: {str(error).splitlines()[0][:200]}",
                file=None if self._folder is None else self._folder.name,
                hint="Free space in the folder for temporary files, or set TMPDIR to one with more.",
            ) from None
