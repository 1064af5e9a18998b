"""Dates, decimals, booleans, nothing and awkward texts survive pandas, polars, DuckDB, R's and Excel's ways to read.

R and Excel are not here: what their readers do to a file is done by hand (`read.csv` guesses a column's type from its
cells and takes NA for nothing; Excel opens UTF-8 without a byte order mark by its import, and keeps text as text).
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import clinical

TEXTS = (
    'say "x"', "a,b", "a;b", "two\nlines", "cr\r\nlf", "tab\there", "=1+1", "007", "1.0", "1e5", "TRUE", "2020-01-01",
    "NULL", "ü😀李", "'single'", "back\\slash", "a\u2028b",
)  # fmt: skip
"""Each is of a family name; those that look like a number, a date or a truth value are texts."""

NUMBERS = (0.1, 28.3, -0.0001, 1e-7, 123456789.125, 98.6, 1e22, 7.0)


@pytest.fixture(scope="module")
def records() -> Records:
    """A patient a text, with observations of the numbers, an immunization of each truth value."""
    patients = [
        {
            "patient_id": f"{n:05d}",
            "birth_date": date(1900 + n, 2, 28),
            "sex": "female",
            "death_datetime": None if n % 2 else datetime(2024, 2, 29, 23, 59, 59),
            "family_name": text,
            "postal_code": f"0{n:04d}",
        }
        for n, text in enumerate(TEXTS)
    ]
    observations = [
        {
            "observation_id": f"o{n}",
            "patient_id": "00003",
            "category": "laboratory",
            "status": "final",
            "code_system": "http://loinc.org",
            "code": "2345-7",
            "value_number": number,
        }
        for n, number in enumerate((*NUMBERS, None))
    ]
    vaccines = [
        {
            "immunization_id": f"i{n}",
            "patient_id": "00003",
            "code_system": "http://hl7.org/fhir/sid/cvx",
            "code": "08",
            "status": "completed",
            "occurrence_datetime": datetime(1999, 12, 31, 0, 0, 1),
            "dose_number": None if value is None else 2,
            "primary_source": value,
        }
        for n, value in enumerate((True, False, None))
    ]
    rows = {"patient": patients, "observation": observations, "immunization": vaccines}
    tables = {name: pa.Table.from_pylist(some, schema=clinical()[name].arrow) for name, some in rows.items()}
    return Records.from_tables(tables, provenance=Provenance(source="hand-made"))


@pytest.fixture(scope="module")
def out(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records in files of every kind."""
    out = tmp_path_factory.mktemp("out") / "o"
    ehrsynth.export(records, out, formats=["csv", "parquet", "duckdb", "sqlite"])
    return out


def wanted(records: Records, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in records[table].to_pylist()]


KEPT = {
    "patient": ("patient_id", "birth_date", "death_datetime", "family_name", "postal_code"),
    "observation": ("observation_id", "code", "value_number"),
    "immunization": ("immunization_id", "code", "occurrence_datetime", "dose_number", "primary_source"),
}


def check(found: list[dict[str, Any]], records: Records, table: str) -> None:
    columns = KEPT[table]
    assert [{name: row[name] for name in columns} for row in found] == [
        {name: row[name] for name in columns} for row in wanted(records, table)
    ]


def plain(value: Any) -> Any:
    """pandas' and Arrow's ways of saying what Python says in one."""
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value) or value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).to_pydatetime()
    return value.item() if hasattr(value, "item") else value


def from_frame(frame: pd.DataFrame, table: str) -> list[dict[str, Any]]:
    rows = [{str(k): plain(v) for k, v in row.items()} for row in frame.astype(object).to_dict("records")]
    for row in rows:
        for column in clinical()[table].columns:
            if column.type == "date" and isinstance(row.get(column.name), datetime):
                row[column.name] = row[column.name].date()
    return rows


@pytest.mark.parametrize("table", KEPT)
def test_pandas_reads_csv(out: Path, records: Records, table: str) -> None:
    schema = clinical()[table]
    kinds = {"string": "string", "integer": "Int64", "number": "float64", "boolean": "boolean"}
    frame = pd.read_csv(
        out / f"csv/{table}.csv",
        dtype={column.name: kinds[column.type] for column in schema.columns if column.type in kinds},
        parse_dates=[column.name for column in schema.columns if column.type in ("date", "datetime")],
        keep_default_na=False,
        na_values=[""],
        lineterminator="\n",
    )
    check(from_frame(frame, table), records, table)


@pytest.mark.parametrize("table", KEPT)
def test_pandas_reads_parquet(out: Path, records: Records, table: str) -> None:
    check(from_frame(pd.read_parquet(out / f"parquet/{table}.parquet"), table), records, table)


@pytest.mark.parametrize("table", KEPT)
def test_polars_reads_both(out: Path, records: Records, table: str) -> None:
    check(pl.read_parquet(out / f"parquet/{table}.parquet").to_dicts(), records, table)
    kinds: dict[str, Any] = {"string": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}
    kinds |= {"date": pl.Date, "datetime": pl.String}
    columns = {column.name: kinds[column.type] for column in clinical()[table].columns}
    frame = pl.read_csv(out / f"csv/{table}.csv", schema=columns)
    times = [column.name for column in clinical()[table].columns if column.type == "datetime"]
    frame = frame.with_columns(pl.col(times).str.to_datetime("%Y-%m-%dT%H:%M:%SZ"))
    check(frame.to_dicts(), records, table)


@pytest.mark.parametrize("table", KEPT)
def test_duckdb_reads_all_three(out: Path, records: Records, table: str) -> None:
    kinds = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE"}
    columns = {column.name: kinds.get(column.type, "TIMESTAMP") for column in clinical()[table].columns}
    csv_file = f"read_csv('{out}/csv/{table}.csv', columns = {columns}, header = true, quote = '\"', escape = '\"')"
    for source in (f"'{out}/parquet/{table}.parquet'", csv_file):
        with duckdb.connect() as connection:
            check(connection.sql(f"SELECT * FROM {source}").to_arrow_table().to_pylist(), records, table)
    with duckdb.connect(str(out / "duckdb/records.duckdb"), read_only=True) as connection:
        check(connection.sql(f"SELECT * FROM {table}").to_arrow_table().to_pylist(), records, table)


def _as_r_has_it(cells: list[str]) -> list[Any]:
    """A column as R's `read.csv(colClasses = NA)` guesses it: logical, integer, double or text, NA and '' nothing."""
    there = [cell for cell in cells if cell not in ("", "NA")]
    if there and all(cell in ("T", "F", "TRUE", "FALSE", "true", "false", "True", "False") for cell in there):
        return [None if cell in ("", "NA") else cell[0] in "Tt" for cell in cells]
    if there and all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell) for cell in there):
        return [None if cell in ("", "NA") else float(cell) for cell in cells]
    return [None if cell in ("", "NA") else cell for cell in cells]


def columns_of(path: Path) -> dict[str, list[str]]:
    header, *rows = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    assert all(len(row) == len(header) for row in rows)
    return {name: [row[at] for row in rows] for at, name in enumerate(header)}


def test_r_guesses_right(out: Path) -> None:
    numbers = _as_r_has_it(columns_of(out / "csv/observation.csv")["value_number"])
    assert numbers == [*NUMBERS, None]
    vaccines = columns_of(out / "csv/immunization.csv")
    assert _as_r_has_it(vaccines["primary_source"]) == [True, False, None]
    assert _as_r_has_it(vaccines["dose_number"]) == [2.0, 2.0, None]
    people = columns_of(out / "csv/patient.csv")
    assert _as_r_has_it(people["family_name"]) == list(TEXTS)
    assert people["birth_date"][3] == "1903-02-28"
    assert people["death_datetime"][:2] == ["2024-02-29T23:59:59Z", ""]


def test_cells_are_what_excel_and_everybody_else_takes(out: Path) -> None:
    for path in sorted((out / "csv").glob("*.csv")):
        data = path.read_bytes()
        data.decode("utf-8")
        assert not data.startswith(b"\xef\xbb\xbf")
        for name, cells in columns_of(path).items():
            column = clinical()[path.stem][name]
            if column.type != "string":
                assert not [cell for cell in cells if re.fullmatch(r"-?\d+\.0+", cell)], (path.stem, name)
            if name.endswith("_id") or name == "code":
                assert not [cell for cell in cells if re.fullmatch(r"\d+\.0", cell)], (path.stem, name)
            if column.type == "boolean":
                assert set(cells) <= {"true", "false", ""}
    # An identifier with zeros in front and a code with one keep them.
    assert columns_of(out / "csv/patient.csv")["postal_code"][7] == "00007"
    assert columns_of(out / "csv/immunization.csv")["code"] == ["08"] * 3


@pytest.mark.parametrize("name", ["csv", "parquet", "zstd", "gzip"])
def test_our_own_reader(out: Path, records: Records, name: str, tmp_path: Path) -> None:
    folder = out / name
    if name in ("zstd", "gzip"):
        ehrsynth.export(records, tmp_path / "o", formats=["csv"], options={"compress": name})
        folder = tmp_path / "o/csv"
        described = json.loads((folder / "datapackage.json").read_text())
        assert {item["compression"] for item in described["resources"]} == {{"zstd": "zst", "gzip": "gz"}[name]}
    again = ehrsynth.read(folder)
    for table in KEPT:
        assert again[table].to_pylist() == records[table].to_pylist()
