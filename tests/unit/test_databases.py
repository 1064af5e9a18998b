"""The schema as SQL; database files made whole or not at all; addresses that keep their secrets."""

from __future__ import annotations

import csv as text_csv
import gzip
import io
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.databases import DIALECTS, address, load, script
from ehrsynth.databases.target import plain_schema
from ehrsynth.errors import EhrsynthError, OutputError, SourceError, UsageError
from ehrsynth.loaders import load_database
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, clinical

KINDS = ("duckdb", "sqlite")


def connect(kind: str, path: Path) -> Any:
    return duckdb.connect(str(path)) if kind == "duckdb" else closing(sqlite3.connect(path))


def tables_in(kind: str, path: Path) -> set[str]:
    asked = "duckdb_tables()" if kind == "duckdb" else "sqlite_master WHERE type = 'table'"
    with connect(kind, path) as connection:
        named = "table_name" if kind == "duckdb" else "name"
        return {name for (name,) in connection.execute(f"SELECT {named} FROM {asked}").fetchall()}


@pytest.fixture(scope="module")
def exported(small_records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made patients as CSV."""
    out = tmp_path_factory.mktemp("exported") / "o"
    ehrsynth.export(small_records, out, formats=["csv"])
    return out / "csv"


@pytest.fixture
def csv(exported: Path, tmp_path: Path) -> Path:
    """A copy of them to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "o/csv"))


@pytest.fixture(scope="module")
def wanted(exported: Path) -> list[tuple[Any, ...]]:
    """The encounters as SQLite holds them."""
    load_database(exported, f"sqlite:///{exported}/../a.sqlite")
    with connect("sqlite", exported / "../a.sqlite") as connection:
        rows: list[tuple[Any, ...]] = connection.execute("SELECT * FROM encounter").fetchall()
    return rows


# -- SQL ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_script_makes_all_tables_with_their_keys(kind: str, tmp_path: Path) -> None:
    text = script(clinical(), DIALECTS[kind])
    with connect(kind, tmp_path / "x.db") as connection:
        for statement in text.split(";\n"):
            if statement.strip():
                connection.execute(statement)
    assert tables_in(kind, tmp_path / "x.db") == set(clinical().names)
    for table in clinical().tables:
        assert text.count(f'CREATE TABLE "{table.name}"') == 1
        for key in table.foreign_keys:
            assert f'CONSTRAINT "fk_{table.name}_{key.column}" FOREIGN KEY ("{key.column}")' in text


def test_the_script_of_the_standard_uses_nothing_else() -> None:
    text = script(clinical(), DIALECTS["standard"])
    for word in ("COMMENT ON", "TEXT", "regexp", "typeof", " ~ "):
        assert word not in text
    assert '"sex" VARCHAR(255) NOT NULL' in text
    assert "CHECK (\"sex\" IN ('male', 'female', 'other', 'unknown'))" in text
    assert 'CHECK ("sequence" >= 1)' in text


def test_the_sql_format_writes_a_script_for_each_dialect(small_records: Records, tmp_path: Path) -> None:
    ehrsynth.export(small_records, tmp_path / "o", formats=["sql"])
    assert {path.name for path in (tmp_path / "o/sql").iterdir()} == {f"schema.{name}.sql" for name in DIALECTS}


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_arrives(kind: str, small_records: Records, tmp_path: Path) -> None:
    ehrsynth.export(small_records, tmp_path / "o", formats=[kind])
    with connect(kind, tmp_path / f"o/{kind}/records.{kind}") as connection:
        for table in small_records:
            found = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            wanted = [tuple(row.values()) for row in small_records[table].to_pylist()]
            if kind == "sqlite":
                wanted = [
                    tuple(v if isinstance(v, str | int | float | None) else str(v) for v in row) for row in wanted
                ]
            assert found == wanted, table


def test_same_rows_same_bytes_of_sqlite(small_records: Records, tmp_path: Path) -> None:
    # That what is staged is the same for any number of workers, test_exporters_parquet.py says.
    for name in ("a", "b"):
        ehrsynth.export(small_records, tmp_path / name, formats=["sqlite"])
    one, two = (tmp_path / name / "sqlite/records.sqlite" for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()


def rows_of(records: Records, **wrong: dict[str, Any]) -> Any:
    def rows(table: TableSchema) -> Iterable[pa.RecordBatch]:
        found = records[table.name].to_pylist()
        if table.name in wrong:
            found[3] |= wrong[table.name]
        return pa.Table.from_pylist(found, schema=plain_schema(table)).to_batches()

    return rows


WRONG = {
    "condition_id": ("condition", None),
    "patient_id": ("condition", "nobody"),
    "sex": ("patient", "F"),
}


@pytest.mark.parametrize(("column", "there_before"), [*((column, False) for column in WRONG), ("patient_id", True)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_row_leaves_nothing(
    kind: str, column: str, there_before: bool, small_records: Records, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{kind}"
    if there_before:
        with connect(kind, path) as connection:
            connection.execute("CREATE TABLE mine (a INTEGER)")
            connection.execute("INSERT INTO mine VALUES (7)")
            connection.commit()
    table, value = WRONG[column]
    with pytest.raises(OutputError, match="nothing was loaded") as caught:
        load(address(f"{kind}:////{path}"), clinical(), rows_of(small_records, **{table: {column: value}}))
    assert caught.value.table == table
    if there_before:
        assert tables_in(kind, path) == {"mine"}
        with connect(kind, path) as connection:
            assert connection.execute("SELECT a FROM mine").fetchall() == [(7,)]
    assert {item.name for item in tmp_path.iterdir()} == ({path.name} if there_before else set())


@pytest.mark.parametrize("table", ["condition", "observation"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_comes_twice_is_told(kind: str, table: str, small_records: Records, tmp_path: Path) -> None:
    key = f"{table}_id"
    twice = small_records[table][key][0].as_py()
    with pytest.raises(OutputError, match="nothing was loaded") as caught:
        load(address(f"{kind}:////{tmp_path}/x.{kind}"), clinical(), rows_of(small_records, **{table: {key: twice}}))
    assert caught.value.table == table
    assert key in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_still_refuses_what_breaks_a_key(kind: str, small_records: Records, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    load(address(f"{kind}:////{path}"), clinical(), rows_of(small_records))
    with connect(kind, path) as connection:
        connection.execute("PRAGMA foreign_keys = ON" if kind == "sqlite" else "SELECT 1")
        for table in clinical().tables:
            if connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]:
                with pytest.raises(Exception, match=r"(?i)constraint"):
                    connection.execute(f"INSERT INTO {table.name} SELECT * FROM {table.name} LIMIT 1")


@pytest.mark.parametrize("kind", KINDS)
def test_tables_beside_others_and_never_twice(kind: str, csv: Path, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    with connect(kind, path) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
        connection.commit()
    report = load_database(csv, f"{kind}:///{path}")
    assert report.row_counts["patient"] == 20
    assert report.absent == []
    assert {"mine", *clinical().names} < tables_in(kind, path)
    with pytest.raises(OutputError, match="already"):
        load_database(csv, f"{kind}:///{path}")
    with connect(kind, path) as connection:
        assert connection.execute("SELECT count(*) FROM patient").fetchone() == (20,)


def test_a_locked_sqlite_is_said(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.databases.sqlite._PATIENCE_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)) as holder:
        holder.execute("CREATE TABLE mine (a INTEGER)")
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="locked") as caught:
            load_database(csv, f"sqlite:///{tmp_path}/x.sqlite")
    assert "Another process" in str(caught.value.hint)
    assert tables_in("sqlite", tmp_path / "x.sqlite") == {"mine"}


def test_a_file_that_is_no_database_is_left_alone(csv: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        path = tmp_path / f"notes.{kind}"
        path.write_text("My notes, which are no database at all. " * 99)
        before = path.read_bytes()
        with pytest.raises(OutputError):
            load_database(csv, f"{kind}:///{path}")
        assert path.read_bytes() == before
        with pytest.raises(OutputError, match="no such folder"):
            load_database(csv, f"{kind}:///{tmp_path}/nowhere/x.{kind}")


# -- what people bring -------------------------------------------------------------------------------------------------


def rewrite(folder: Path, table: str, change: Any) -> None:
    path = folder / f"{table}.csv"
    path.write_bytes(change(path.read_bytes()))


def written(rows: list[list[str]], **dialect: Any) -> bytes:
    text = io.StringIO(newline="")
    text_csv.writer(text, **{"lineterminator": "\n", **dialect}).writerows(rows)
    return text.getvalue().encode()


TOLERATED: dict[str, Callable[[list[list[str]]], bytes]] = {
    "byte order mark": lambda rows: b"\xef\xbb\xbf" + written(rows),
    "Windows line ends": lambda rows: written(rows, lineterminator="\r\n"),
    "semicolons": lambda rows: written(rows, delimiter=";"),
    "tabs": lambda rows: written(rows, delimiter="\t"),
    "another order of columns": lambda rows: written([row[::-1] for row in rows]),
    "everything quoted": lambda rows: written(rows, quoting=text_csv.QUOTE_ALL),
    "upper-case names": lambda rows: written([[name.upper() for name in rows[0]], *rows[1:]]),
    "gzip": lambda rows: gzip.compress(written(rows)),
    "zstd": lambda rows: pa.Codec("zstd").compress(written(rows), asbytes=True),
}


@pytest.mark.parametrize("name", TOLERATED)
def test_files_of_another_kind_are_loaded_alike(name: str, csv: Path, wanted: Any, tmp_path: Path) -> None:
    path = csv / "encounter.csv"
    rows = list(text_csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    path.write_bytes(TOLERATED[name](rows))
    load_database(csv, f"sqlite:///{tmp_path}/b.sqlite")
    with connect("sqlite", tmp_path / "b.sqlite") as connection:
        assert connection.execute("SELECT * FROM encounter").fetchall() == wanted


def test_line_breaks_in_quotation_marks_arrive(csv: Path, tmp_path: Path) -> None:
    load_database(csv, f"duckdb:///{tmp_path}/a.duckdb")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        found = connection.execute("SELECT count(*) FROM observation WHERE value_text LIKE '%\n%'").fetchone()
    assert found is not None
    assert found[0] > 0


def test_a_table_that_need_not_be_there_is_made_without_rows(csv: Path, tmp_path: Path) -> None:
    (csv / "device.csv").unlink()
    report = load_database(csv, f"duckdb:///{tmp_path}/a.duckdb")
    assert report.absent == ["device"]
    assert report.row_counts["device"] == 0
    (csv / "patient.csv").unlink()
    with pytest.raises(SourceError, match="no table patient"):
        load_database(csv, f"duckdb:///{tmp_path}/b.duckdb")


REFUSED = {
    "mixed encodings": ("patient", lambda data: data.replace("ú".encode(), b"\xfa"), "UTF-8"),
    "a date of another country": ("patient", lambda data: re.sub(rb",19(\d\d)-", rb",03/04/19\1-", data), "date"),
    "a key turned into numbers": ("device", lambda data: b"\n".join(_with_number(data)), "decimal number"),
    "a row cut short": ("device", lambda data: data.rstrip(b"\n").rpartition(b",")[0] + b"\n", "cells"),
    "no column that must be": ("device", lambda data: data.replace(b"code_system", b"system"), "required column"),
    "UTF-16": ("device", lambda data: data.decode().encode("utf-16"), "UTF-8"),
    "a zero byte": ("device", lambda data: data.rstrip(b"\n") + b"\0\n", "zero byte"),
    "not even a header": ("device", lambda data: b"", "not even a header"),
}


def _with_number(data: bytes) -> list[bytes]:
    head, first, *rest = data.splitlines()
    return [head, b"17.0," + first.partition(b",")[2], *rest, b""]


@pytest.mark.parametrize(("name", "kind"), [*((name, "sqlite") for name in REFUSED), ("mixed encodings", "duckdb")])
def test_wrong_files_are_refused_and_leave_nothing(name: str, kind: str, csv: Path, tmp_path: Path) -> None:
    table, change, said = REFUSED[name]
    before = (csv / f"{table}.csv").read_bytes()
    rewrite(csv, table, change)
    assert (csv / f"{table}.csv").read_bytes() != before
    with pytest.raises(SourceError, match=said) as caught:
        load_database(csv, f"{kind}:///{tmp_path}/x.{kind}")
    assert caught.value.table == table
    assert "validate" in str(caught.value.hint)
    assert not [item for item in tmp_path.iterdir() if "x." in item.name]


def _with_column(data: bytes) -> list[bytes]:
    head, *rest = data.splitlines()
    return [head + b",shoe_size", *(line + b",44" for line in rest), b""]


def test_what_is_too_much_or_lacking_is_told(csv: Path, tmp_path: Path) -> None:
    rewrite(csv, "device", lambda data: b"\n".join(_with_column(data)))
    report = load_database(csv, f"sqlite:///{tmp_path}/x.sqlite")
    assert report.unknown == ["device.shoe_size"]
    (csv / "encounter.csv").unlink()
    with pytest.raises(OutputError, match="nothing was loaded") as caught:
        load_database(csv, f"sqlite:///{tmp_path}/y.sqlite")
    assert "Its keys lead to encounter: not in the source." in str(caught.value.hint)


def test_a_key_of_mixed_types_in_parquet_is_refused(small_records: Records, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    ehrsynth.export(small_records, tmp_path / "o", formats=["parquet"])
    path = tmp_path / "o/parquet/condition.parquet"
    rows = pq.read_table(path)
    at = rows.column_names.index("patient_id")
    pq.write_table(rows.set_column(at, "patient_id", pa.array([float(i) for i in range(rows.num_rows)])), path)
    with pytest.raises(SourceError, match="stored as double") as caught:
        load_database(tmp_path / "o", f"duckdb:///{tmp_path}/x.duckdb")
    assert (caught.value.table, caught.value.column) == ("condition", "patient_id")


def test_the_format_is_named_that_has_omop_as_a_database(small_records: Records, tmp_path: Path) -> None:
    ehrsynth.export(small_records, tmp_path / "o", formats=["omop"])
    for folder in (tmp_path / "o", tmp_path / "o/omop"):
        with pytest.raises(SourceError, match="OMOP") as caught:
            load_database(folder, f"sqlite:////{tmp_path}/x.sqlite")
        assert "-f omop-duckdb" in str(caught.value.hint)


def test_fhir_is_no_table(small_records: Records, tmp_path: Path) -> None:
    ehrsynth.export(small_records, tmp_path / "o", formats=["fhir-ndjson"])
    with pytest.raises(SourceError, match="no tables"):
        load_database(tmp_path / "o/fhir-ndjson", f"duckdb:///{tmp_path}/x.duckdb")
    with pytest.raises(SourceError, match="no such folder"):
        load_database(tmp_path / "nowhere", f"duckdb:///{tmp_path}/x.duckdb")


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_addresses() -> None:
    assert address("duckdb:///a/b.duckdb").path == Path("a/b.duckdb")
    assert address("sqlite:////a/b%20c.sqlite").path == Path("/a/b c.sqlite")
    found = address("postgres://me:p%40ss@host:5433/db?sslmode=require&password=x")
    assert found.kind == "postgresql"
    assert found.url.startswith("postgresql://me:p%40ss@")
    assert found.shown == "postgresql://me@host:5433/db?sslmode=require&password=***"
    assert "p%40ss" not in repr(found)
    assert address("postgresql://me@host/db?password=x").connection["password"] == "x"
    for wrong in ("mysql://host/db", "duckdb://", "sqlite://x", "sqlite:///", "patient", "postgresql://a:b@c@host/d"):
        with pytest.raises(UsageError):
            address(wrong)


def test_without_psycopg_the_extra_is_named(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EhrsynthError, match="psycopg") as caught:
        load_database(csv, "postgresql://me@127.0.0.1:1/db")
    assert "ehrsynth[postgres]" in str(caught.value.hint)
