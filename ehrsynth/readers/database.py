"""A database as a source: its tables as a folder's, read in batches, its declared keys, and never its password."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.databases.address import address, is_address
from ehrsynth.errors import SourceError
from ehrsynth.readers.dialect import lower_header
from ehrsynth.readers.source import SourceFolder, SourceTable, chosen_columns, plain_column

__all__ = ["Engine", "SourceDatabase", "is_database", "recognise"]

Declared = tuple[dict[str, tuple[str, ...]], list[tuple[str, str, str, str]]]


def is_database(source: object) -> bool:
    """Whether a source is the URL of a database: ``sqlite:///``, ``duckdb:///`` or ``postgresql://``."""
    return is_address(source)


def recognise(url: str) -> str | None:
    """Return the reader whose tables a database holds, ``omop`` or ``tables``; None if it needs a mapping."""
    found = set(SourceDatabase(url).files)
    if {"person", "visit_occurrence"} <= found:
        return "omop"
    return "tables" if {"patient", "encounter"} <= found else None


class Engine(Protocol):
    """What a database must be able to do; its tables and columns go by their own names."""

    def tables(self) -> dict[str, list[str]]:
        """Return the columns of each table; of tables in schemas by ``schema.table``."""
        ...

    def select(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Return columns of a table, read in batches."""
        ...

    def batches(self, table: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield the same in tables of about so many rows, all of the same types."""
        ...

    def count(self, table: str) -> int:
        """Return the rows of a table."""
        ...

    def declared(self) -> Declared:
        """Return primary keys by table, and foreign keys as (table, column, table, column)."""
        ...


class SourceDatabase(SourceFolder):
    """A database in the place of a folder: names without case, a table read at a time, only what is wanted.

    Parameters
    ----------
    url : str
    null_values : sequence of str
        Words of text that stand for no value.

    Raises
    ------
    SourceError
        It cannot be opened, or holds no table.
    MissingExtraError
        Its driver is not installed.
    """

    def __init__(self, url: str, *, null_values: Sequence[str] = ("",)) -> None:
        from ehrsynth.readers.database_engines import connect

        self.path = address(url, refusal=SourceError)
        self.null_values = tuple(null_values)
        self._engine: Engine = connect(self.path)
        self._columns: dict[str, list[str]] = {}
        self.files = {}
        for name, columns in self._engine.tables().items():
            # A schema before the name counts only where two have the same table.
            short = name.rsplit(".", 1)[-1].lower()
            self.files.setdefault(short, []).append(name)
            self._columns[name] = columns
        if not self.files:
            raise SourceError(
                "There is no table in the database.",
                file=self.path,
                hint="Is it the right one? Of another schema add ?schema=name."
                if not self.path.path
                else "Is it whole?",
            )

    def beside(self, file: str) -> bytes:
        """Nothing lies beside the tables of a database."""
        raise FileNotFoundError(file)

    def read(
        self, table: str, *, stem: str | None = None, wanted: Callable[[str], bool] | Collection[str] | None = None
    ) -> SourceTable:
        """Read a table; see `SourceFolder.read`."""
        own = self._own(stem or table)
        header = lower_header(self._columns[own], file=self.path, table=table)
        keep = chosen_columns(wanted)
        chosen = [own_name for own_name, name in zip(self._columns[own], header, strict=True) if keep(name)]
        # A table without columns forgets its length, so one is read all the same.
        read = self._engine.select(own, chosen or self._columns[own][:1])
        columns = [self._clear(plain_column(column)) for column in read.columns] if chosen else []
        return SourceTable(
            name=table,
            file=str(self.path),
            columns=pa.table(columns, names=[name.strip().lower() for name in chosen]),
            rows=np.arange(1, read.num_rows + 1, dtype=np.int64),
            header=header,
        )

    def batches(self, table: str, rows: int) -> tuple[tuple[str, ...], Iterator[pa.Table]]:
        """Return the lower-case names of a table's columns, and its rows in tables of about so many."""
        own = self._own(table)
        header = lower_header(self._columns[own], file=self.path, table=table)
        pieces = self._engine.batches(own, self._columns[own], rows)
        return header, (
            pa.table([self._clear(column) for column in piece.columns], names=list(header)) for piece in pieces
        )

    def count(self, table: str) -> int:
        """Return the rows of a table."""
        return self._engine.count(self._own(table))

    def declared(self) -> Declared:
        """Return the declared keys of the tables and references, under their short names in lower case."""
        keys, references = self._engine.declared()

        def short(name: str) -> str:
            return name.rsplit(".", 1)[-1].lower()

        return (
            {short(table): tuple(column.lower() for column in columns) for table, columns in keys.items()},
            [(short(a), b.lower(), short(c), d.lower()) for a, b, c, d in references],
        )

    def _own(self, table: str) -> str:
        names = self.files[table]
        if len(names) > 1:
            raise SourceError(
                f"There are {len(names)} tables of that name: {', '.join(names)}.",
                file=self.path,
                table=table,
                hint="Name one schema in the URL: ?schema=name.",
            )
        return str(names[0])

    def _clear(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if not pa.types.is_string(column.type):
            return column
        return pc.if_else(pc.is_in(column, value_set=pa.array(self.null_values)), None, column)
