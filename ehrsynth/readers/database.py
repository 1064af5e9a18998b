"""A database as a source: its tables as a folder's, read in batches, its declared keys, and never its password."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.readers.source import SourceFolder, SourceTable, plain_column

__all__ = ["DatabaseUrl", "Engine", "SourceDatabase", "is_database", "recognise"]

SCHEMES = ("sqlite", "duckdb", "postgresql", "postgres")
_URL = re.compile(rf"^({'|'.join(SCHEMES)}):/", re.IGNORECASE)

Declared = tuple[dict[str, tuple[str, ...]], list[tuple[str, str, str, str]]]


def is_database(source: object) -> bool:
    """Whether a source is the URL of a database: ``sqlite:///``, ``duckdb:///`` or ``postgresql://``."""
    return isinstance(source, str) and _URL.match(source) is not None


def recognise(url: str) -> str | None:
    """Return the reader whose tables a database holds, ``omop`` or ``tables``; None if it needs a mapping."""
    found = set(SourceDatabase(url).files)
    if {"person", "visit_occurrence"} <= found:
        return "omop"
    return "tables" if {"patient", "encounter"} <= found else None


@dataclass(frozen=True, kw_only=True)
class DatabaseUrl:
    """Where a database is; as text without its password.

    Attributes
    ----------
    kind : str
        sqlite, duckdb or postgresql.
    file : str
        Of sqlite and duckdb.
    connection : mapping of str to str
        Of postgresql: host, port, user, password, dbname and the options of the URL.
    schemas : tuple of str
        Those to read; the option ``schema`` of the URL, comma separated.
    """

    kind: str
    shown: str
    file: str = ""
    connection: dict[str, str] = field(default_factory=dict, repr=False)
    schemas: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """Name of the database for people: the file's, or the database's."""
        return Path(self.file).stem if self.file else str(self.connection.get("dbname", self.kind))

    def conceal(self, message: object) -> str:
        """Return a driver's message in one line and without the password, should it be in it."""
        text = " ".join(str(message).split())
        password = self.connection.get("password")
        return text.replace(password, "***") if password else text

    @classmethod
    def parse(cls, url: str) -> DatabaseUrl:
        """Read a URL; three slashes before a file's relative path, four before an absolute one.

        Raises
        ------
        SourceError
            It names no database.
        """
        # The error must not repeat what stands between the colon and the at sign.
        shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
        shown = re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SourceError(f"The URL cannot be read: {error}.", file=shown, hint=_HINT) from None
        if parts.scheme.lower().startswith("postgres") and (parts.netloc.count("@") > 1 or "@" in parts.path):
            raise SourceError(
                "The user or password in the URL holds an @ or / that is not written as %40 or %2F.",
                file=shown,
                hint="Write such characters percent-encoded, or leave the password out and set PGPASSWORD.",
            )
        kind = parts.scheme.lower().replace("postgresql", "postgres").replace("postgres", "postgresql")
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        schemas = tuple(name for name in options.pop("schema", "").split(",") if name)
        if kind in ("sqlite", "duckdb"):
            file = unquote(parts.path[1:])
            if parts.netloc or not file:
                raise SourceError("The URL names no file.", file=shown, hint=_HINT)
            return cls(kind=kind, shown=shown, file=file, schemas=schemas)
        named = {
            "host": unquote(parts.hostname or ""),
            "port": str(port or ""),
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "dbname": unquote(parts.path.lstrip("/")),
        }
        connection = {key: value for key, value in {**options, **named}.items() if value}
        return cls(kind=kind, shown=shown, connection=connection, schemas=schemas)


_HINT = "Write sqlite:///file.db, duckdb:///file.duckdb or postgresql://user@host:5432/database?schema=name."


class Engine(Protocol):
    """What a database must be able to do; its tables and columns go by their own names."""

    def tables(self) -> dict[str, list[str]]:
        """Return the columns of each table; of tables in schemas by ``schema.table``."""
        ...

    def select(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Return columns of a table, read in batches."""
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

        self.path = DatabaseUrl.parse(url)
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
                if not self.path.file
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
        header = tuple(name.strip().lower() for name in self._columns[own])
        if len(set(header)) < len(header):
            twice = next(name for at, name in enumerate(header) if name in header[:at])
            raise SourceError(
                f"Two columns are named {twice!r} (case does not count).", file=self.path, table=table, column=twice
            )
        keep = (lambda name: True) if wanted is None else wanted if callable(wanted) else frozenset(wanted).__contains__
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
