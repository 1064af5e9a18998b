"""Tables of OMOP in files of any kind, loaded typed into DuckDB so that checks of any size stream from the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrsynth.errors import SourceError
from ehrsynth.schema import TableSchema, omop
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.table_databases import database_kind
from ehrsynth.validation.table_files import TableFile, find_tables

__all__ = ["Loaded", "find_omop", "load_omop"]

_DELIMITERS = ("\t", ";", "|", ",")
# What no other set of tables has: these names together tell OMOP.
_TELLING = frozenset(
    (
        "visit_occurrence",
        "condition_occurrence",
        "drug_exposure",
        "measurement",
        "observation_period",
        "procedure_occurrence",
        "care_site",
    )
)


@dataclass(frozen=True)
class Loaded:
    """What is in the database to be checked.

    Attributes
    ----------
    rows : mapping of table to rows
    columns : mapping of table to the columns of the model that it has
    not_integers : mapping of (table, column) to how many values of an integer column are none, and the first of them
    """

    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_integers: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)


def find_omop(source: Path) -> bool:
    """Whether a folder, or a DuckDB file, holds tables of OMOP: person and another that no other format has."""
    names = {item.table for item in find_tables(source)}
    return "person" in names and bool(names & _TELLING)


def load_omop(
    connection: Any, source: Path, findings: Findings, progress: Callable[[int, int], None] | None = None
) -> Loaded:
    """Load every table of the model that `source` has into `connection`, with the types of the model.

    Names count in any case. An integer column keeps what can be read as one; what cannot is counted.
    """
    loaded = Loaded()
    found = _in_files(connection, source)
    present = [table for table in omop().tables if table.name in found]
    for done, table in enumerate(present):
        if progress is not None:
            progress(done, len(present))
        _load(connection, table, found[table.name], loaded, findings)
    if progress is not None:
        progress(len(present), max(len(present), 1))
    for name in sorted(set(found) - set(omop().names)):
        findings.add("unknown-table", name, name)
    return loaded


def _in_files(connection: Any, source: Path) -> dict[str, tuple[str, str]]:
    """Table to the SQL that reads it and what to call it in a message."""
    found: dict[str, tuple[str, str]] = {}
    for item in find_tables(source):
        if database_kind(item.paths[0]):
            return _in_database(connection, item.paths[0])
        found[item.table] = (_reading(item), item.paths[0].name)
    return found


def _in_database(connection: Any, path: Path) -> dict[str, tuple[str, str]]:
    if database_kind(path) != "duckdb":
        raise SourceError("OMOP is checked in CSV, Parquet and DuckDB only.", file=path, hint="Export its tables.")
    alias = "the_source"
    connection.execute(f"ATTACH {_text(path)} AS {_name(alias)} (READ_ONLY)")
    rows = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? AND NOT internal", [alias]
    ).fetchall()
    return {
        table.lower(): (f"{_name(alias)}.{_name(schema)}.{_name(table)}", f"{path.name}: {table}")
        for schema, table in rows
        if not table.startswith("ehrsynth_")
    }


def _reading(item: TableFile) -> str:
    paths = "[" + ", ".join(_text(path) for path in item.paths) + "]"
    if item.paths[0].name.lower().endswith(".parquet"):
        return f"read_parquet({paths}, union_by_name = true)"
    return (
        f"read_csv({paths}, all_varchar = true, header = true, delim = {_literal(_delimiter(item.paths[0]))}, "
        "quote = '\"', escape = '\"', nullstr = ['', '\\N'], union_by_name = true, max_line_size = 16777216, "
        "sample_size = 1)"
    )


def _delimiter(path: Path) -> str:
    import gzip

    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as handle:
            header = handle.readline()
    except (OSError, EOFError):
        return ","
    return next((one for one in _DELIMITERS if one in header), ",")


def _load(connection: Any, table: TableSchema, where: tuple[str, str], loaded: Loaded, findings: Findings) -> None:
    import duckdb

    reading, shown = where
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {reading}").fetchall()
        actual = {row[0].strip().lstrip("\ufeff").lower(): row[0] for row in described}
        columns = tuple(name for name in table.names if name in actual)
        typed = ", ".join(f"{_typed(table, name, _name(actual[name]))} AS {_name(name)}" for name in columns)
        connection.execute(f"CREATE TABLE {_name(table.name)} AS SELECT {typed or '1 AS nothing'} FROM {reading}")
        loaded.rows[table.name] = connection.execute(f"SELECT count(*) FROM {_name(table.name)}").fetchone()[0]
        loaded.columns[table.name] = columns
        for name in sorted(set(actual) - set(table.names)):
            findings.add("unknown-column", f"{table.name}.{name}", shown)
        integers = [name for name in columns if table[name].type == "integer"]
        if integers and loaded.rows[table.name]:
            _count_bad(connection, table, integers, {name: _name(actual[name]) for name in integers}, reading, loaded)
    except duckdb.Error as error:
        findings.add("unreadable-file", table.name, f"{shown}: {str(error).splitlines()[0][:200]}")
        connection.execute(f"DROP TABLE IF EXISTS {_name(table.name)}")
        loaded.rows.pop(table.name, None)


def _count_bad(
    connection: Any, table: TableSchema, names: list[str], actual: dict[str, str], reading: str, loaded: Loaded
) -> None:
    parts = []
    for name in names:
        text = f"CAST({actual[name]} AS VARCHAR)"
        bad = f"{text} IS NOT NULL AND (TRY_CAST({text} AS DOUBLE) IS NULL OR contains({text}, '.'))"
        parts += [f"count(*) FILTER ({bad})", f"min({text}) FILTER ({bad})"]
    row = connection.execute(f"SELECT {', '.join(parts)} FROM {reading}").fetchone()
    for at, name in enumerate(names):
        if row[2 * at]:
            loaded.not_integers[table.name, name] = (row[2 * at], row[2 * at + 1])


def _typed(table: TableSchema, name: str, actual: str) -> str:
    text = f"CAST({actual} AS VARCHAR)"
    moment = f"coalesce(TRY_CAST({text} AS TIMESTAMP), try_strptime({text}, '%Y%m%d'))"
    match table[name].type:
        case "integer":
            return f"TRY_CAST({text} AS BIGINT)"
        case "number":
            return f"TRY_CAST({text} AS DOUBLE)"
        case "date":
            return f"CAST({moment} AS DATE)"
        case "datetime":
            return moment
        case _:
            return text


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(path: Path) -> str:
    return _literal(str(path))
