"""PostgreSQL: COPY into bare tables, then the keys, all in one transaction."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow.csv

from ehrsynth.databases import ddl
from ehrsynth.databases.address import Address
from ehrsynth.databases.dialect import DIALECTS, quoted
from ehrsynth.databases.files import metadata_rows, refuse_existing
from ehrsynth.databases.target import Loaded, Rows
from ehrsynth.errors import MissingExtraError, OutputError
from ehrsynth.schema import DatasetSchema, TableSchema

__all__ = ["load"]

_PATIENCE_SECONDS = 10


def load(
    target: Address, schema: DatasetSchema, rows: Rows, *, metadata: Mapping[str, Any], progress: Loaded
) -> dict[str, int]:
    """Load into a PostgreSQL database; see `target.load`.

    Tables are made in the first schema of the search path. Keys are added when the rows are in: the database then
    checks each with one join, and has checked every row when the transaction ends.
    """
    try:
        import psycopg
    except ImportError:
        raise MissingExtraError(
            "Loading into PostgreSQL needs psycopg.", hint="pip install 'ehrsynth[postgres]'"
        ) from None
    dialect = DIALECTS["postgresql"]
    try:
        connection = psycopg.connect(target.url, connect_timeout=_PATIENCE_SECONDS, application_name="ehrsynth")
    except psycopg.Error as error:
        raise OutputError(
            f"The database cannot be reached: {_told(error, target)}",
            file=target.shown,
            hint="Is the server up, the name right, the password in the URL or in PGPASSWORD?",
        ) from None
    table = ""
    try:
        # Leaving it by an error rolls back.
        with connection:
            connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'")
            # Whatever the database's own settings are, texts are UTF-8 and dates are ISO.
            connection.execute("SET LOCAL client_encoding = 'UTF8'")
            connection.execute("SET LOCAL DateStyle = 'ISO, YMD'")
            refuse_existing(schema, _existing(connection), target.shown, _ELSEWHERE)
            counts = {}
            for each in schema.tables:
                table = each.name
                connection.execute(ddl.create_table(each, dialect, without=ddl.KINDS))
                counts[table] = _copy(connection, each, rows, progress)
            for each in schema.tables:
                table = each.name
                for statement in (*ddl.keys(each), *ddl.indexes(each, dialect), *ddl.comments(each, dialect)):
                    connection.execute(statement)
            table = ddl.METADATA
            connection.execute(ddl.metadata_table(dialect))
            for row in metadata_rows(metadata):
                connection.execute(f"INSERT INTO {quoted(ddl.METADATA)} VALUES (%s, %s)", row)
    except psycopg.Error as error:
        raise OutputError(
            f"PostgreSQL refused it, nothing was loaded: {_told(error, target)}",
            file=target.shown,
            table=error.diag.table_name or table or None,
            column=error.diag.column_name,
            hint="Another session holds the table: try again when it has ended."
            if isinstance(error, psycopg.errors.LockNotAvailable)
            else ddl.HINT,
        ) from None
    finally:
        connection.close()
    return counts


_ELSEWHERE = (
    "Drop these tables first, or load into an empty schema of its own: "
    "add ?options=-csearch_path%3Dmy_schema to the URL."
)


def _existing(connection: Any) -> set[str]:
    asked = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')"
    return {name for (name,) in connection.execute(asked).fetchall()}


def _copy(connection: Any, table: TableSchema, rows: Rows, progress: Loaded) -> int:
    count = 0
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {quoted(table.name)} FROM STDIN (FORMAT csv, ENCODING 'UTF8')") as copy,
    ):
        for batch in rows(table):
            text = io.BytesIO()
            pyarrow.csv.write_csv(batch, text, options)
            copy.write(text.getbuffer())
            count += batch.num_rows
            progress(table.name, count)
    return count


def _told(error: Any, target: Address) -> str:
    """What the server said, without what it must not be shown."""
    diag = error.diag
    said = diag.message_primary or str(error).splitlines()[0]
    parts = [said, *(part for part in (diag.message_detail, diag.context) if part)]
    return _without_secrets(". ".join(part.strip().rstrip(".") for part in parts)[:400] + ".", target)


def _without_secrets(said: str, target: Address) -> str:
    from urllib.parse import unquote, urlsplit

    # A URL that cannot be parsed is repeated by libpq in pieces: none of them may be the password.
    authority = target.url.partition("://")[2].rpartition("@")[0]
    secret = authority.partition(":")[2]
    try:
        words = {secret, unquote(secret), urlsplit(target.url).password or ""}
    except ValueError:
        words = {secret, unquote(secret)}
    if any(word and word in said for word in words):
        return "it says something in which the password occurs, which is not repeated here."
    return said
