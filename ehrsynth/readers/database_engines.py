"""SQLite, DuckDB and PostgreSQL behind one face, all read-only; what they refuse is said without their password."""

from __future__ import annotations

import io
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import csv

from ehrsynth.databases.address import Address
from ehrsynth.errors import MissingExtraError, SourceError
from ehrsynth.readers.database import Declared, Engine

__all__ = ["connect"]

_BATCH = 50_000
_BLOCK_BYTES = 8 << 20
_DUCKDB_MEMORY = "200MB"
_BUSY_SECONDS = 5.0


def connect(url: Address) -> Engine:
    """Open a database read-only.

    Raises
    ------
    SourceError
        There is none, it is locked, refuses, or is something else.
    MissingExtraError
        Its driver is not installed.
    """
    if url.path and not url.path.is_file():
        hint = "Three slashes before a relative path, four before an absolute one: sqlite:////data/records.db."
        raise SourceError("There is no such database file.", file=url, hint=hint)
    engines: dict[str, Any] = {"sqlite": _Sqlite, "duckdb": _DuckDb, "postgresql": _Postgres}
    engine: Engine = engines[url.kind](url)
    return engine


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


def _without(driver: str, url: Address) -> MissingExtraError:
    extra = "ehrsynth[postgres]" if url.kind == "postgresql" else driver
    return MissingExtraError(f"Reading {url.kind} needs the package {driver}.", hint=f"pip install '{extra}'")


class _Sqlite:
    """Through the standard library; its columns hold values of any type, so each is made one type: text if they mix."""

    def __init__(self, url: Address) -> None:
        self.url = url
        with self._said():
            assert url.path is not None
            path = url.path.resolve().as_uri()
            self.connection = sqlite3.connect(f"{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
            weakref.finalize(self, self.connection.close)
            # The file is only looked at by the first question.
            self.connection.execute("select count(*) from sqlite_master").fetchone()

    @contextmanager
    def _said(self, table: str | None = None) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            message = str(error)
            hint = "Check the path."
            if "locked" in message or "busy" in message:
                hint = "Another program is writing to it: wait for it, or copy the file."
            elif "not a database" in message:
                hint = "It is no SQLite file, or an encrypted one."
            elif "decode" in message:
                hint = "Some text in it is not UTF-8: correct it, or export the table as CSV."
            raise SourceError(f"The database refuses: {message}.", file=self.url, table=table, hint=hint) from None

    def tables(self) -> dict[str, list[str]]:
        with self._said():
            rows = self.connection.execute(
                "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' "
                "order by name"
            ).fetchall()
            return {
                name: [row[1] for row in self.connection.execute(f"pragma table_info({_one(name)})")]
                for (name,) in rows
            }

    def batches(self, table: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        kinds = [_kind_of(found) for found in self._types(table, columns)]
        with self._said(table):
            cursor = self.connection.execute(f"select {', '.join(map(_one, columns))} from {_one(table)}")
            while some := cursor.fetchmany(rows):
                arrays = [
                    _array(values).cast(kind) for values, kind in zip(zip(*some, strict=True), kinds, strict=True)
                ]
                yield pa.table(arrays, names=list(columns))

    def _types(self, table: str, columns: Sequence[str]) -> list[set[str]]:
        """Return SQLite's names of the types that the values of each column have."""
        asked = ", ".join(f"group_concat(distinct typeof({_one(column)}))" for column in columns)
        with self._said(table):
            found = self.connection.execute(f"select {asked} from {_one(table)}").fetchone()
        return [set((names or "").split(",")) - {"", "null"} for names in found]

    def count(self, table: str) -> int:
        with self._said(table):
            return int(self.connection.execute(f"select count(*) from {_one(table)}").fetchone()[0])

    def select(self, table: str, columns: Sequence[str]) -> pa.Table:
        parts: list[list[pa.Array]] = [[] for _ in columns]
        with self._said(table):
            cursor = self.connection.execute(f"select {', '.join(map(_one, columns))} from {_one(table)}")
            while rows := cursor.fetchmany(_BATCH):
                for part, values in zip(parts, zip(*rows, strict=True), strict=True):
                    part.append(_array(values))
        return pa.table([_agreed(part) for part in parts], names=list(columns))

    def declared(self) -> Declared:
        keys: dict[str, tuple[str, ...]] = {}
        references = []
        with self._said():
            for table in self.tables():
                rows = self.connection.execute(f"pragma table_info({_one(table)})").fetchall()
                parts = sorted((row[5], row[1]) for row in rows if row[5])
                if parts:
                    keys[table] = tuple(name for _, name in parts)
            for table in self.tables():
                rows = self.connection.execute(f"pragma foreign_key_list({_one(table)})").fetchall()
                count = [row[0] for row in rows]
                for number, _, target, column, to_column, *_ in rows:
                    if count.count(number) == 1:
                        to = to_column or (keys.get(target, ("",))[0])
                        references.append((table, column, target, to))
        return keys, references


def _one(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _array(values: Sequence[Any]) -> pa.Array:
    if any(isinstance(value, bytes) for value in values):
        values = [value.hex() if isinstance(value, bytes) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _kind_of(names: set[str]) -> pa.DataType:
    """Return the type of a column whose values have SQLite's types `names`: as `_agreed` has it."""
    kinds = {"integer": pa.int64(), "real": pa.float64()}
    if not names or not names <= set(kinds):
        return pa.string()
    return kinds[names.pop()] if len(names) == 1 else pa.float64()


def _agreed(parts: list[pa.Array]) -> pa.ChunkedArray:
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if not kinds:
        return pa.chunked_array([part.cast(pa.string()) for part in parts], pa.string())
    kind = kinds.pop() if len(kinds) == 1 else pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()
    return pa.chunked_array([part.cast(kind) for part in parts], kind)


class _DuckDb:
    """Through duckdb, straight into Arrow; types that Arrow's readers here do not know come as text."""

    _AS_TEXT = (
        "UUID",
        "ENUM",
        "TIME",
        "INTERVAL",
        "JSON",
        "HUGEINT",
        "UHUGEINT",
        "BIT",
        "BLOB",
        "TIMESTAMP WITH",
        "UNION",
    )

    def __init__(self, url: Address) -> None:
        try:
            import duckdb
        except ImportError:
            raise _without("duckdb", url) from None
        self.url, self._error = url, duckdb.Error
        with self._said():
            self.connection = duckdb.connect(str(url.path), read_only=True)
            weakref.finalize(self, self.connection.close)

    @contextmanager
    def _said(self, table: str | None = None) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            message = " ".join(str(error).split())
            locked = "lock" in message.lower()
            hint = "Another program has it open: close it, or copy the file." if locked else "Is it a DuckDB file?"
            raise SourceError(f"The database refuses: {message}.", file=self.url, table=table, hint=hint) from None

    def _catalogue(self) -> list[tuple[str, str, str]]:
        with self._said():
            rows = self.connection.execute(
                "select table_schema, table_name, column_name, data_type from information_schema.columns "
                "where table_catalog = current_database() order by table_schema, table_name, ordinal_position"
            ).fetchall()
        wanted = self.url.schemas
        return [
            (f"{schema}.{table}", name, kind) for schema, table, name, kind in rows if not wanted or schema in wanted
        ]

    def tables(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, column, _ in self._catalogue():
            found.setdefault(table, []).append(column)
        return found

    def _selected(self, table: str, columns: Sequence[str]) -> str:
        kinds = {column: kind for name, column, kind in self._catalogue() if name == table}
        chosen = [
            f"cast({_one(column)} as varchar) as {_one(column)}"
            if kinds[column].upper().startswith(self._AS_TEXT) or kinds[column].endswith("]")
            else _one(column)
            for column in columns
        ]
        return f"select {', '.join(chosen)} from {_quoted(table)}"

    def select(self, table: str, columns: Sequence[str]) -> pa.Table:
        with self._said(table):
            result: Any = self.connection.sql(self._selected(table, columns))
            # The name changed with version 1.4.
            fetch = getattr(result, "to_arrow_table", None) or result.fetch_arrow_table
            found: pa.Table = fetch()
        return found

    def batches(self, table: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        with self._said(table):
            # It would keep in memory what it has read, as long as there is some.
            self.connection.execute(f"set memory_limit = '{_DUCKDB_MEMORY}'")
            result: Any = self.connection.cursor().sql(self._selected(table, columns))
            # The name changed with version 1.4.
            reader = getattr(result, "to_arrow_reader", None) or result.fetch_record_batch
            for batch in reader(rows):
                yield pa.Table.from_batches([batch])

    def count(self, table: str) -> int:
        with self._said(table):
            found = self.connection.execute(f"select count(*) from {_quoted(table)}").fetchone()
        return int(found[0]) if found else 0

    def declared(self) -> Declared:
        with self._said():
            rows = self.connection.execute(
                "select schema_name, table_name, constraint_type, constraint_column_names, referenced_table, "
                "referenced_column_names from duckdb_constraints() where database_name = current_database()"
            ).fetchall()
        keys, references = {}, []
        for schema, table, kind, columns, target, to_columns in rows:
            if kind == "PRIMARY KEY":
                keys[f"{schema}.{table}"] = tuple(columns)
            elif kind == "FOREIGN KEY" and len(columns) == 1:
                references.append((f"{schema}.{table}", columns[0], target, to_columns[0]))
        return keys, references


class _Postgres:
    """Through psycopg: COPY as text in one read-only connection, parsed by Arrow while it comes."""

    def __init__(self, url: Address) -> None:
        try:
            import psycopg
        except ImportError:
            raise _without("psycopg", url) from None
        self.url, self._error = url, psycopg.Error
        with self._said():
            options = {**url.connection, "options": "-c default_transaction_read_only=on"}
            self.connection = psycopg.connect(connect_timeout=10, autocommit=True, **options)  # type: ignore[arg-type]
            weakref.finalize(self, self.connection.close)

    @contextmanager
    def _said(self, table: str | None = None) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            hint = "Check host, port, user, password (PGPASSWORD or ~/.pgpass serve too) and rights."
            raise SourceError(
                f"The database refuses: {self.url.conceal(error)}.", file=self.url, table=table, hint=hint
            ) from None

    def _ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._said():
            return self.connection.execute(query, values).fetchall()

    def tables(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for schema, table, column in self._ask(
            "select table_schema, table_name, column_name from information_schema.columns "
            "where table_schema = any(%s) order by 1, 2, ordinal_position",
            self._schemas(),
        ):
            found.setdefault(f"{schema}.{table}", []).append(column)
        return found

    def _schemas(self) -> list[str]:
        return list(self.url.schemas) or [row[0] for row in self._ask("select unnest(current_schemas(false))")]

    def select(self, table: str, columns: Sequence[str]) -> pa.Table:
        return pa.concat_tables(self.batches(table, columns, _BATCH))

    def batches(self, table: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Blocks of COPY are cut as they come, not after so many rows; there is at least one table."""
        chosen = ", ".join(f"{_one(column)}::text" for column in columns)
        yield pa.table({name: pa.array([], pa.string()) for name in columns})
        with (
            self._said(table),
            self.connection.cursor() as cursor,
            cursor.copy(
                f"copy (select {chosen} from {_quoted(table)}) to stdout (format csv, encoding 'utf8')"
            ) as copy,
        ):
            try:
                for batch in csv.open_csv(
                    pa.PythonFile(_Blocks(iter(copy)), mode="r"),
                    read_options=csv.ReadOptions(
                        column_names=list(columns), use_threads=False, block_size=_BLOCK_BYTES
                    ),
                    parse_options=csv.ParseOptions(newlines_in_values=True),
                    convert_options=csv.ConvertOptions(
                        column_types=dict.fromkeys(columns, pa.string()),
                        null_values=[""],
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                ):
                    yield pa.Table.from_batches([batch])
            except pa.ArrowInvalid as error:
                if "Empty" not in str(error):
                    raise SourceError(
                        f"The table cannot be read: {error}.", file=self.url, table=table, hint="Is its text UTF-8?"
                    ) from None

    def count(self, table: str) -> int:
        return int(self._ask(f"select count(*) from {_quoted(table)}")[0][0])

    def declared(self) -> Declared:
        rows = self._ask(
            "select c.contype, n.nspname, t.relname, "
            "(select array_agg(a.attname order by k.at) from unnest(c.conkey) with ordinality k(number, at) "
            " join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number), f.relname, "
            "(select array_agg(a.attname order by k.at) from unnest(c.confkey) with ordinality k(number, at) "
            " join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number) "
            "from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace "
            "left join pg_class f on f.oid = c.confrelid where c.contype in ('p', 'f') and n.nspname = any(%s) "
            "order by 2, 3, c.conname",
            self._schemas(),
        )
        keys, references = {}, []
        for kind, schema, table, columns, target, to_columns in rows:
            if kind in ("p", b"p"):
                keys[f"{schema}.{table}"] = tuple(columns)
            elif len(columns) == 1:
                references.append((f"{schema}.{table}", columns[0], target, to_columns[0]))
        return keys, references


class _Blocks(io.RawIOBase):
    """The blocks of a COPY as a file that can be read once."""

    def __init__(self, blocks: Iterator[Any]) -> None:
        self._blocks, self._left = blocks, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, length = [self._left], len(self._left)
        while size < 0 or length < size:
            block = next(self._blocks, None)
            if block is None:
                break
            pieces.append(bytes(block))
            length += len(block)
        whole = b"".join(pieces)
        cut = len(whole) if size < 0 else size
        self._left = whole[cut:]
        return whole[:cut]
