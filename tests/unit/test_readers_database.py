"""Databases as sources: SQLite, DuckDB, PostgreSQL give the same records as files; what they refuse is clear."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.databases import address
from ehrsynth.errors import EhrsynthError, MissingExtraError, SourceError, UsageError
from ehrsynth.readers.database import SourceDatabase, is_database
from ehrsynth.readers.source import SourceFolder
from ehrsynth.records import Records

POSTGRES = Path("/usr/lib/postgresql")
PASSWORD = "s3cret-word"
MAPPING = """
[patient]
file = "people"
patient_id = "ID"
birth_date = "BORN"
sex = { column = "SEX", map = { M = "male", F = "female" } }

[encounter]
file = "visits"
encounter_id = "visit"
patient_id = "id"
start_datetime = "begin"
encounter_class = { value = "AMB" }

[observation]
file = "labs"
patient_id = "id"
encounter_id = "visit"
category = { value = "laboratory" }
code_system = { value = "loinc" }
code = "code"
value_number = "value"
"""
TABLES = {
    "people": (
        "ID integer primary key, BORN date, SEX varchar(1)",
        [(n, f"19{40 + n % 50}-03-0{1 + n % 9}", "MF"[n % 2]) for n in range(1, 31)],
    ),
    "visits": (
        "visit integer primary key, id integer references people(ID), begin timestamp",
        [(700 + n, 1 + n % 30, f"2020-02-{1 + n % 28:02} 08:30:00") for n in range(60)],
    ),
    "labs": (
        'visit integer, id integer, code varchar(9), value double precision, "free text" varchar(40)',
        [
            (
                700 + n % 60,
                1 + n % 30,
                "2160-0" if n % 2 else "718-7",
                None if n % 7 == 0 else n / 4,
                'a, "b"\nc' if n % 5 else "",
            )
            for n in range(120)
        ],
    ),
}


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite database to be made, closed at the end."""
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def insert(execute, mark: str) -> None:  # type: ignore[no-untyped-def]
    """Make the tables through a driver's `execute`; `mark` is its placeholder."""
    for name, (columns, rows) in TABLES.items():
        execute(f"create table {name} ({columns})", ())
        for row in rows:
            execute(f"insert into {name} values ({', '.join([mark] * len(row))})", row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three tables as a SQLite and a DuckDB file, and the mapping."""
    place = tmp_path_factory.mktemp("databases")
    with database(place / "ehr.sqlite") as connection:
        insert(connection.execute, "?")
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(place / "ehr.duckdb")) as connection:
        insert(connection.execute, "?")
    (place / "my.toml").write_text(MAPPING)
    return place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL of this test's own on loopback, with the tables in a schema; skips without PostgreSQL."""
    pytest.importorskip("psycopg")
    import pwd
    import shutil
    import tempfile

    import psycopg

    versions = sorted(POSTGRES.glob("*/bin/initdb")) if POSTGRES.is_dir() else []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        versions = []
    if not versions:
        pytest.skip("needs Debian's package postgresql")
    programs = versions[-1].parent
    # Sockets must not lie deep, and the server's user must reach them.
    place = Path(tempfile.mkdtemp(prefix="pg"))
    place.chmod(0o755)
    data = place / "data"
    data.mkdir()
    shutil.chown(data, "postgres")
    (place / "word").write_text(PASSWORD)
    (place / "word").chmod(0o644)

    def run(*command: str) -> None:
        done = subprocess.run(command, user="postgres", cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"PostgreSQL does not start here: {done.stderr[-200:]}")

    run(f"{programs}/initdb", "-D", str(data), "-U", "boss", "-A", "scram-sha-256", f"--pwfile={place}/word")
    port = _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    run(f"{programs}/pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    url = f"postgresql://boss:{PASSWORD}@127.0.0.1:{port}/postgres?schema=ehr"
    try:
        with psycopg.connect(url.split("?")[0], autocommit=True) as connection:
            connection.execute("create schema ehr")
            connection.execute("set search_path to ehr")
            insert(connection.execute, "%s")
            connection.execute("create role clerk login password 'other'")
            connection.execute("grant usage on schema ehr to clerk")
        yield url
    finally:
        run(f"{programs}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check(url: str, folder: Path) -> Records:
    """Read through the mapping, and compare with what was put in."""
    records, report = read_with_report(url, mapping=folder / "my.toml")
    assert {name: count for name, count in records.row_counts.items() if count} == {
        "patient": 30,
        "encounter": 60,
        "observation": 120,
    }
    assert records.check_keys() == []
    values = records["observation"]["value_number"].to_pylist()
    assert sum(value or 0 for value in values) == sum(row[3] or 0 for row in TABLES["labs"][1])
    assert records["observation"]["value_number"].null_count == sum(row[3] is None for row in TABLES["labs"][1])
    assert PASSWORD not in report.source + str(records.provenance)
    return records


def test_sqlite_and_duckdb_give_the_same_records(folder: Path) -> None:
    first = check(f"sqlite:///{folder}/ehr.sqlite", folder)
    second = check(f"duckdb:///{folder}/ehr.duckdb", folder)
    for name in ("patient", "encounter", "observation"):
        assert first[name].equals(second[name]), name


def test_postgresql_gives_the_same_records_and_shows_no_password(folder: Path, server: str) -> None:
    first = check(f"sqlite:///{folder}/ehr.sqlite", folder)
    second = check(server, folder)
    for name in ("patient", "encounter", "observation"):
        assert first[name].equals(second[name]), name
    text = SourceDatabase(server).read("labs")["free text"].to_pylist()
    assert [word or "" for word in text] == [row[4] for row in TABLES["labs"][1]]
    found, proposed = ehrsynth.inspect(server)
    assert found.primary_keys == {"people": ("id",), "visits": ("visit",)}
    assert [one.evidence for one in found.references if one.table == "visits"] == ["declared in the database"]
    assert PASSWORD not in proposed + found.source + repr(SourceDatabase(server).path)


def test_postgresql_that_refuses(server: str) -> None:
    for url, said in (
        (server.replace(PASSWORD, "wr0ng-word"), "authentication failed"),
        (server.replace("boss", "clerk").replace(PASSWORD, "other"), "no table|permission denied"),
        (f"postgresql://boss:{PASSWORD}@127.0.0.1:{_free_port()}/postgres", "refused"),
        (server.replace("schema=ehr", "schema=other"), "no table"),
    ):
        with pytest.raises(SourceError, match=said) as raised:
            SourceDatabase(url).read("people")
        for word in (PASSWORD, "wr0ng-word"):
            assert word not in f"{raised.value} {raised.value.hint} {raised.value.file}"
    with pytest.raises(SourceError, match="read-only"):
        SourceDatabase(server)._engine._ask("delete from ehr.people")  # type: ignore[attr-defined]


def test_declared_keys_are_taken_as_they_are(folder: Path) -> None:
    for url in (f"sqlite:///{folder}/ehr.sqlite", f"duckdb:///{folder}/ehr.duckdb"):
        found, text = ehrsynth.inspect(url)
        assert found.primary_keys == {"people": ("id",), "visits": ("visit",)}
        declared = {one.column: one.evidence for one in found.references if one.table == "visits"}
        assert declared == {"id": "declared in the database"}
        assert {one.column for one in found.references if one.table == "labs"} == {"id", "visit"}
        (folder / "proposed.toml").write_text(text)
        assert read_with_report(url, mapping=folder / "proposed.toml")[0].row_counts["observation"] == 120


def test_a_key_of_mixed_types_becomes_text(tmp_path: Path) -> None:
    with database(tmp_path / "m.db") as connection:
        connection.execute("create table people (id, born, sex)")
        rows = [(1, "1950-01-01", "M"), ("A2", "1950-01-02", "F"), (3.5, None, b"\x01")]
        connection.executemany("insert into people values (?, ?, ?)", rows)
    read = SourceDatabase(f"sqlite:///{tmp_path}/m.db").read("people")
    assert read["id"].to_pylist() == ["1", "A2", "3.5"]
    assert read["sex"].to_pylist() == ["M", "F", "01"]
    assert read.rows.tolist() == [1, 2, 3]


def test_numbers_that_change_from_batch_to_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.readers.database_engines._BATCH", 2)
    with database(tmp_path / "m.db") as connection:
        connection.execute("create table t (a, b, c)")
        connection.executemany(
            "insert into t values (?, ?, ?)", [(1, None, 1), (2, None, 2), (2.5, None, "x"), (None, 7, 4), (5, 8, 5)]
        )
    read = SourceDatabase(f"sqlite:///{tmp_path}/m.db").read("t")
    assert read["a"].to_pylist() == [1.0, 2.0, 2.5, None, 5.0]
    assert read["b"].to_pylist() == [None, None, None, 7, 8]
    assert read["c"].to_pylist() == ["1", "2", "x", "4", "5"]


def test_omop_and_canonical_tables_are_recognised(tmp_path: Path, small_records: Records) -> None:
    ehrsynth.export(small_records, tmp_path / "out", formats=["csv"])
    files = SourceFolder(tmp_path / "out" / "csv")
    with database(tmp_path / "t.db") as connection:
        for name in files.files:
            columns = files.read(name).columns
            connection.execute(f"create table {name} ({', '.join(columns.column_names)})")
            marks = ", ".join("?" * columns.num_columns)
            rows = zip(*(column.to_pylist() for column in columns.columns), strict=True)
            connection.executemany(f"insert into {name} values ({marks})", rows)
    records, report = read_with_report(f"sqlite:///{tmp_path}/t.db")
    assert report.format == "tables"
    assert records.row_counts == small_records.row_counts
    with pytest.raises(UsageError, match="not read from a database"):
        read_with_report(f"sqlite:///{tmp_path}/t.db", format="fhir")


def test_what_is_no_database(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.db").write_text("This is not a database. " * 100)
    (tmp_path / "text.duckdb").write_text("This is not a database. " * 100)
    with database(tmp_path / "empty.db") as connection:
        connection.execute("create table t (a)")
        connection.execute("drop table t")
    cases = {
        f"sqlite:///{tmp_path}/text.db": "not a database",
        f"duckdb:///{tmp_path}/text.duckdb": "refuses",
        f"sqlite:///{tmp_path}/none.db": "no such database file",
        f"sqlite:///{tmp_path}/empty.db": "no table in the database",
        "sqlite://host/file.db": "names no file",
        "sqlite:///": "names no file",
        "postgresql://boss:pw@host:port/x": "cannot be read",
        "postgresql://boss:pw@pw@host/x": "written as %40",
        "postgresql://boss:/pw@host/x": "written as %40",
    }
    for url, said in cases.items():
        with pytest.raises(SourceError, match=said) as raised:
            SourceDatabase(url)
        assert "pw@" not in str(raised.value)
    with pytest.raises(UsageError, match="no layout") as needed:
        ehrsynth.read(f"sqlite:///{folder}/ehr.sqlite")
    assert "ehrsynth inspect" in str(needed.value.hint)
    assert not is_database(folder)
    assert not is_database("sqlite")


def test_a_locked_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.readers.database_engines._BUSY_SECONDS", 0.05)
    writer = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
    writer.execute("create table t (a)")
    writer.execute("begin exclusive")
    with pytest.raises(SourceError, match="locked") as raised:
        SourceDatabase(f"sqlite:///{tmp_path}/l.db")
    assert "Another program" in str(raised.value.hint)
    writer.close()


def test_text_that_is_not_utf8_and_a_missing_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(tmp_path / "u.db") as connection:
        connection.execute("create table t (a text)")
        connection.execute("insert into t values (cast(x'4dfc6c6c6572' as text))")
    with pytest.raises(SourceError, match="refuses") as raised:
        SourceDatabase(f"sqlite:///{tmp_path}/u.db").read("t")
    assert raised.value.table == "t"
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="psycopg"):
        SourceDatabase("postgresql://boss@127.0.0.1/x")


def test_urls() -> None:
    url = address("postgresql://me:p%40ss@db.example.org:5433/ehr?schema=a,b&sslmode=require")
    assert url.connection == {
        "sslmode": "require",
        "host": "db.example.org",
        "port": "5433",
        "user": "me",
        "password": "p@ss",
        "dbname": "ehr",
    }
    assert url.schemas == ("a", "b")
    assert str(url) == "postgresql://me@db.example.org:5433/ehr?sslmode=require"
    assert "p@ss" not in repr(url) + url.conceal("password p@ss is wrong")
    assert address("sqlite:////data/x.db").path == Path("/data/x.db")
    assert address("sqlite:///x.db").path == Path("x.db")
    assert str(address("postgres://h/x?password=pw")) == "postgresql://h/x?password=***"
    assert issubclass(SourceError, EhrsynthError)
