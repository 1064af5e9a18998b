"""PostgreSQL, DuckDB, SQLite and FHIR of one seed tell the same, and the databases keep what they promise."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

import ehrsynth
from ehrsynth.cli.app import app
from ehrsynth.databases.ddl import METADATA
from ehrsynth.errors import EhrsynthError, OutputError, UsageError
from ehrsynth.learning import LearningSettings
from ehrsynth.loaders import load_database
from ehrsynth.schema import clinical
from ehrsynth.validation import validate

Ask = Callable[[str], list[tuple[Any, ...]]]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ehrsynth_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


QUESTIONS = module("twenty_queries")
POSTGRES = module("postgres_cluster")


@pytest.fixture(scope="module")
def made(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patients in every format that is asked."""
    out = tmp_path_factory.mktemp("made") / "out"
    formats = ["parquet", "duckdb", "sqlite", "fhir-ndjson"]
    ehrsynth.generate_files(models.tiny_model(), out, formats=formats, population=250, seed=3)
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A cluster of our own."""
    pytest.importorskip("psycopg", reason="needs psycopg (the extra postgres)")
    programs = POSTGRES.binaries()
    if programs is None:
        pytest.skip("needs a PostgreSQL server's programs (Debian: apt-get install postgresql)")
    with POSTGRES.cluster(programs) as started:
        yield started


@pytest.fixture(scope="module")
def asked(made: Path, server: Any) -> Iterator[dict[str, Ask]]:
    """What answers a query, by kind."""
    url = server.make("alike")
    load_database(made / "parquet", url)
    with (
        server.connect("alike") as postgres,
        duckdb.connect(str(made / "duckdb/records.duckdb"), read_only=True) as duck,
        closing(sqlite3.connect(made / "sqlite/records.sqlite")) as lite,
        duckdb.connect() as fhir,
    ):
        QUESTIONS.fhir_views(fhir, made / "fhir-ndjson")
        yield {
            "postgresql": lambda query: postgres.execute(query).fetchall(),
            "duckdb": lambda query: duck.execute(query).fetchall(),
            "sqlite": lambda query: lite.execute(query).fetchall(),
            "fhir": lambda query: fhir.execute(query).fetchall(),
        }


def test_there_are_twenty() -> None:
    assert len(QUESTIONS.QUERIES) == 20


@pytest.mark.parametrize("name", QUESTIONS.QUERIES)
def test_all_answer_alike(asked: dict[str, Ask], name: str) -> None:
    query = QUESTIONS.QUERIES[name]
    answers = {kind: QUESTIONS.answer(ask(query)) for kind, ask in asked.items()}
    wanted = answers["duckdb"]
    assert wanted
    assert any(any(row) for row in wanted)
    for kind, found in answers.items():
        assert found == wanted, kind


def test_every_table_has_the_same_rows_everywhere(asked: dict[str, Ask], made: Path) -> None:
    for table in clinical().tables:
        counts = {kind: ask(f'SELECT count(*) FROM "{table.name}"') for kind, ask in asked.items() if kind != "fhir"}
        wanted = duckdb.execute(f"SELECT count(*) FROM '{made}/parquet/{table.name}.parquet'").fetchall()
        assert all(found == wanted for found in counts.values()), table.name


def test_postgres_has_all_keys_and_has_checked_them(asked: dict[str, Ask]) -> None:
    kinds = dict(
        asked["postgresql"](
            "SELECT contype::text, count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace GROUP BY 1"
        )
    )
    tables = clinical().tables
    assert kinds["p"] == len(tables) + 1
    assert kinds["f"] == sum(len(table.foreign_keys) for table in tables)
    assert kinds["u"] == sum(c.unique and c.name != t.primary_key for t in tables for c in t.columns)
    assert asked["postgresql"]("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]


def test_the_database_says_that_the_records_are_made_up(asked: dict[str, Ask]) -> None:
    for kind in ("postgresql", "duckdb", "sqlite"):
        told = dict(asked[kind](f"SELECT name, value FROM {METADATA}"))
        assert told["synthetic"] == "true"
        assert told["seed"] == "3"


BAD_ROWS = {
    "patient twice": "INSERT INTO patient SELECT * FROM patient LIMIT 1",
    "orphan": "UPDATE condition SET patient_id = 'nobody' WHERE patient_id = (SELECT min(patient_id) FROM condition)",
    "no sex": "UPDATE patient SET sex = NULL WHERE patient_id = (SELECT min(patient_id) FROM patient)",
    "unheard-of sex": "UPDATE patient SET sex = 'F' WHERE patient_id = (SELECT min(patient_id) FROM patient)",
    "sequence of zero": "UPDATE encounter SET sequence = 0 WHERE sequence = 1",
}


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.parametrize("kind", ["postgresql", "duckdb", "sqlite"])
def test_a_database_refuses_what_breaks_a_constraint(
    made: Path, server: Any, asked: dict[str, Ask], kind: str, name: str, tmp_path: Path
) -> None:
    if kind == "postgresql":
        import psycopg

        with server.connect("alike") as connection, pytest.raises(psycopg.IntegrityError):
            connection.execute(BAD_ROWS[name])
    elif kind == "duckdb":
        copy = tmp_path / "copy.duckdb"
        copy.write_bytes((made / "duckdb/records.duckdb").read_bytes())
        with duckdb.connect(str(copy)) as connection, pytest.raises(duckdb.ConstraintException):
            connection.execute(BAD_ROWS[name])
    else:
        copy = tmp_path / "copy.sqlite"
        copy.write_bytes((made / "sqlite/records.sqlite").read_bytes())
        with closing(sqlite3.connect(copy)) as lite:
            lite.execute("PRAGMA foreign_keys = ON")
            with pytest.raises(sqlite3.IntegrityError):
                lite.execute(BAD_ROWS[name])


@pytest.mark.learn
@pytest.mark.parametrize("kind", ["postgresql", "duckdb"])
def test_learned_from_a_database_in_parts(
    made: Path, server: Any, asked: dict[str, Ask], learning_records: ModuleType, kind: str
) -> None:
    source = server.url("alike") if kind == "postgresql" else f"duckdb:///{made}/duckdb/records.duckdb"
    settings = LearningSettings(states=2, classes=2, iterations=3, chunk_visits=300, estimator="numpy")
    whole, told = ehrsynth.api.learn_from(source, settings=settings, seed=1, parts=1)
    model, report = ehrsynth.api.learn_from(source, settings=settings, seed=1, parts=4)
    assert max(learning_records.differences(whole, model).values(), default=0.0) < 1e-9
    assert report.rows_taken == told.rows_taken
    assert report.rows_taken["patient"] == 250


# -- loading into PostgreSQL: refused, locked, not empty, secret ------------------------------------------------------


def tables_of(server: Any, database: str) -> set[str]:
    with server.connect(database) as connection:
        return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def test_a_refused_row_leaves_nothing(server: Any, made: Path, tmp_path: Path) -> None:
    url = server.make("refused")
    broken = tmp_path / "csv"
    ehrsynth.export(ehrsynth.read(made / "parquet"), tmp_path / "o", formats=["csv"])
    (tmp_path / "o/csv").rename(broken)
    path = broken / "condition.csv"
    text = path.read_text()
    path.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(OutputError, match="nothing was loaded") as caught:
        load_database(broken, url)
    assert caught.value.table == "condition"
    assert POSTGRES.PASSWORD not in str(caught.value)
    assert tables_of(server, "refused") == set()
    path.write_text(text.replace(",", ",nobody", 1).replace(",nobody", ",", 1))
    lines = text.splitlines()
    cells = lines[1].split(",")
    cells[1] = "nobody"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(OutputError, match="nobody"):
        load_database(broken, url)
    assert tables_of(server, "refused") == set()


def test_a_database_that_is_not_empty_is_left_alone(server: Any, made: Path) -> None:
    url = server.make("taken")
    with server.connect("taken") as connection:
        connection.execute("CREATE TABLE patient (mine int)")
        connection.execute("INSERT INTO patient VALUES (7)")
    with pytest.raises(OutputError, match="patient already"):
        load_database(made / "parquet", url)
    with server.connect("taken") as connection:
        assert connection.execute("SELECT mine FROM patient").fetchall() == [(7,)]
        connection.execute("CREATE SCHEMA other")
    report = load_database(made / "parquet", f"{url}?options=-csearch_path%3Dother")
    assert report.row_counts["patient"] == 250
    with server.connect("taken") as connection:
        assert connection.execute("SELECT count(*) FROM other.patient").fetchall() == [(250,)]
    assert tables_of(server, "taken") == {"patient"}


def test_a_locked_table_is_said(server: Any, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.databases.postgresql._PATIENCE_SECONDS", 1)
    url = server.make("locked")
    with server.connect("locked") as holder:
        # Somebody makes a table of the same name and has not said yet whether it stays.
        holder.execute("BEGIN")
        holder.execute("CREATE TABLE organization (theirs int)")
        with pytest.raises(OutputError, match="nothing was loaded") as caught:
            load_database(made / "parquet", url)
        assert "holds the table" in str(caught.value.hint)
        holder.execute("ROLLBACK")
    assert tables_of(server, "locked") == set()


def test_the_password_is_never_shown(server: Any, made: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = server.make("secret")
    result = CliRunner().invoke(app, ["load", str(made), "--to", url])
    assert result.exit_code == 0, result.output
    assert POSTGRES.PASSWORD not in result.output
    assert "127.0.0.1" in result.output.replace("\n", "")
    # (address, what is wrong with it)
    host = f"127.0.0.1:{server.port}"
    for wrong in (
        f"postgresql://tester:Wr0ngW0rd@{host}/secret",
        f"postgresql://tester:Wr0ng@W0rd@{host}/secret",
        f"postgresql://tester:Wr0ngW0rd@{host}x/secret",
        "postgresql://tester:Wr0ngW0rd@127.0.0.1:1/secret",
        f"postgresql://tester@{host}/secret?password=Wr0ngW0rd",
    ):
        with pytest.raises(EhrsynthError) as caught:
            load_database(made / "parquet", wrong)
        assert isinstance(caught.value, OutputError | UsageError)
        assert "W0rd" not in f"{caught.value!s} {caught.value!r}"
    assert POSTGRES.PASSWORD not in caplog.text


def test_a_database_of_another_encoding_gets_its_texts_or_nothing(server: Any, made: Path, small_records: Any) -> None:
    url = server.make("latin", encoding="LATIN1")
    out = made.parent / "awkward"
    ehrsynth.export(small_records, out, formats=["csv"])
    with pytest.raises(OutputError, match="LATIN1"):
        load_database(out / "csv", url)
    assert tables_of(server, "latin") == set()


def test_awkward_texts_arrive(server: Any, small_records: Any, tmp_path: Path) -> None:
    url = server.make("awkward")
    ehrsynth.export(small_records, tmp_path / "o", formats=["csv"])
    load_database(tmp_path / "o/csv", url)
    with server.connect("awkward") as connection:
        for table in small_records:
            key = clinical()[table].primary_key
            columns = ", ".join(f'"{name}"' for name in clinical()[table].names)
            found = connection.execute(f'SELECT {columns} FROM "{table}"').fetchall()
            wanted = [tuple(row.values()) for row in small_records[table].to_pylist()]
            place = clinical()[table].names.index(key)
            assert sorted(found, key=lambda row: row[place]) == sorted(wanted, key=lambda row: row[place]), table


# -- validation of database files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "duckdb", "sqlite"])
def test_what_we_wrote_is_found_good(made: Path, kind: str) -> None:
    report = validate(made / kind)
    assert report.format == kind
    assert report.issues == []
    assert report.counts["patient"] == 250
    assert report.checked["foreign keys"] > 10_000


def test_a_broken_key_in_a_database_is_found(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes((made / "sqlite/records.sqlite").read_bytes())
    with closing(sqlite3.connect(copy)) as lite:
        lite.execute("UPDATE condition SET patient_id = 'nobody' WHERE rowid = 4")
        lite.commit()
    (issue,) = [one for one in validate(copy).issues if one.check == "orphan"]
    assert (issue.place, issue.count) == ("condition.patient_id", 1)
    assert "row 4" in issue.example
    (tmp_path / "torn.duckdb").write_bytes((made / "duckdb/records.duckdb").read_bytes()[:5000])
    with pytest.raises(EhrsynthError, match="cannot be read"):
        validate(tmp_path / "torn.duckdb")
