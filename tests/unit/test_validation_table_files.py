"""Files of tables: dialects, ragged rows, broken text, Parquet and its parts, descriptors; and how values are read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrsynth.errors import SourceError
from ehrsynth.records import Records
from ehrsynth.schema import clinical
from ehrsynth.validation import ValidationReport, validate
from ehrsynth.validation.table_values import dates_of, typed

Tables = dict[str, list[dict[str, str]]]


def _rows() -> Any:
    # Tests are no package: pytest imports them by file, and so do we.
    spec = importlib.util.spec_from_file_location(
        "ehrsynth_tests_table_rows", Path(__file__).with_name("table_rows.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = _rows()
good, write = ROWS.good, ROWS.write


def test_ragged_rows_are_counted_and_the_rest_keeps_its_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, good())
    path = folder / "encounter.csv"
    lines = path.read_text().splitlines()
    lines.insert(2, "too,short")
    lines[4] = lines[4].replace("AMB", "XXX")
    path.write_text("\n".join(lines) + "\n")
    found = {issue.check: issue.example for issue in validate(folder).issues}
    assert found["ragged-row"] == "encounter.csv row 2: 2 cells, the header has 8"
    assert found["not-in-enumeration"].startswith("encounter.csv row 4:")


def test_text_that_is_not_utf8_says_its_row(tmp_path: Path) -> None:
    tables = good()
    tables["organization"].append({**tables["organization"][0], "organization_id": "o2", "name": "Klinik Münster"})
    folder = write(tmp_path, tables)
    path = folder / "organization.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    (found,) = validate(folder).issues
    assert (found.check, found.place) == ("not-utf8", "organization.name")
    assert found.example.startswith("organization.csv row 2:")


def test_any_common_dialect(tmp_path: Path) -> None:
    tables = good()
    tables["organization"][0]["name"] = 'Quoted "clinic",\nsecond line; and more'
    folder = write(tmp_path, tables)
    for name, mark in (("organization", ";"), ("encounter", "\t")):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=mark, lineterminator="\r\n")
        rows = tables[name]
        writer.writerow([column.upper() for column in rows[0]])
        writer.writerows([list(row.values()) for row in rows])
        (folder / f"{name}.csv").write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    assert validate(folder).issues == []
    packed = folder / "patient.csv.gz"
    packed.write_bytes(gzip.compress((folder / "patient.csv").read_bytes()))
    (folder / "patient.csv").unlink()
    assert validate(folder).issues == []
    packed.write_bytes(packed.read_bytes()[:-30])
    assert "unreadable-file" in {issue.check for issue in validate(folder).issues}


def test_columns_twice_tables_unknown_files_empty(tmp_path: Path) -> None:
    folder = write(tmp_path, good())
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    (folder / "payer.csv").write_text("")
    (folder / "procedure.csv").write_text("procedure_id,patient_id,code_system,code,status,code\n")
    found = {(issue.check, issue.place) for issue in validate(folder).issues}
    assert found == {
        ("unknown-table", "notes"),
        ("unreadable-file", "payer"),
        ("duplicate-column", "procedure.code"),
    }


def test_rows_in_small_blocks_are_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = good()
    for number in range(500):
        tables["observation"].append({**tables["observation"][0], "observation_id": f"x{number}", "value_text": ""})
    for row in tables["observation"]:
        row.setdefault("value_text", "")
    tables["observation"][400]["patient_id"] = "nobody"
    tables["observation"][450]["observation_id"] = "x3"
    folder = write(tmp_path, tables)
    whole = validate(folder)
    monkeypatch.setattr("ehrsynth.validation.table_files._BLOCK_BYTES", 4096)
    assert validate(folder) == whole
    examples = {issue.check: issue.example for issue in whole.issues}
    assert examples["orphan"].startswith("observation.csv row 401 ")
    assert examples["duplicate-key"] == "observation.csv row 451: 'x3'"


def test_parquet_is_checked_in_its_own_types(tmp_path: Path, small_records: Records) -> None:
    for table in clinical().tables:
        pq.write_table(small_records[table.name], tmp_path / f"{table.name}.parquet")
    report = validate(tmp_path)
    assert report.format == "parquet"
    assert [issue for issue in report.issues if issue.severity != "information"] == []
    assert report.counts == small_records.row_counts
    patients = small_records["patient"]
    broken = patients.set_column(1, "birth_date", patients["birth_date"].cast(pa.timestamp("us")))
    broken = broken.set_column(0, "patient_id", pa.array(np.arange(patients.num_rows, dtype=np.float64)))
    pq.write_table(broken, tmp_path / "patient.parquet")
    found = {(issue.check, issue.place): issue for issue in validate(tmp_path).issues}
    assert found["wrong-type", "patient.birth_date"].count == patients.num_rows
    assert "stored as double" in found["wrong-type", "patient.patient_id"].message
    assert found["orphan", "encounter.patient_id"].count == small_records["encounter"].num_rows


def test_partitions_of_a_table_are_one_table(tmp_path: Path, small_records: Records) -> None:
    for table in clinical().tables:
        rows = small_records[table.name]
        folder = tmp_path / table.name
        folder.mkdir()
        half = rows.num_rows // 2
        pq.write_table(rows.slice(0, half), folder / "part-0.parquet")
        pq.write_table(rows.slice(half), folder / "part-1.parquet")
    report = validate(tmp_path)
    assert [issue for issue in report.issues if issue.severity != "information"] == []
    assert report.counts == small_records.row_counts


# -- descriptors -------------------------------------------------------------------------------------------------------


def describe(folder: Path, tables: Tables) -> dict[str, Any]:
    entries = []
    for name, rows in tables.items():
        data = (folder / f"{name}.csv").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        entries.append(
            {"name": name, "path": f"{name}.csv", "bytes": len(data), "hash": f"sha256:{digest}", "rowCount": len(rows)}
        )
    return {"resources": entries}


def issues_of(folder: Path, document: object) -> set[tuple[str, str]]:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "datapackage.json").write_text(text)
    return {(issue.check, issue.place) for issue in validate(folder).issues}


def test_the_descriptor_is_held_against_the_files(tmp_path: Path) -> None:
    tables = good()
    folder = write(tmp_path, tables)
    document = describe(folder, tables)
    assert issues_of(folder, document) == set()
    document["resources"][0]["bytes"] += 1
    document["resources"][1]["hash"] = "sha256:" + "0" * 64
    document["resources"][2]["rowCount"] = 4
    document["resources"].append({"name": "payer", "path": "payer.csv"})
    assert issues_of(folder, document) == {
        ("altered-file", "datapackage.json"),
        ("wrong-count", "encounter"),
        ("missing-file", "datapackage.json"),
    }
    report = validate(folder)
    assert next(issue for issue in report.issues if issue.check == "altered-file").count == 2
    assert issues_of(folder, '{"resources": [') == {("unreadable-descriptor", "datapackage.json")}
    assert issues_of(folder, {"resources": [{"path": "../../etc/passwd"}, 7, {"path": None}]}) == set()


def report_for(path: Path) -> ValidationReport:
    return validate(path, format="tables")


def test_one_file_by_itself(tmp_path: Path) -> None:
    folder = write(tmp_path, good())
    report = report_for(folder / "patient.csv")
    assert report.counts == {"patient": 2}
    assert report.issues == []
    alone = report_for(folder / "encounter.csv")
    assert {issue.check for issue in alone.issues} == {"missing-table"}


def test_nothing_to_validate(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(SourceError, match="Nothing to validate"):
        validate(tmp_path)


def test_dates_are_read_as_the_calendar_has_them() -> None:
    texts = ["2000-02-29", "1900-02-29", "2019-12-31", "0001-01-01", "2019-1-1", "2019-04-31", None, "", "2019-00-10"]
    found = typed(pa.array(texts, pa.string()), "date")
    assert [None if value is None else value.isoformat() for value in found.values.to_pylist()] == [
        "2000-02-29", None, "2019-12-31", "0001-01-01", None, None, None, None, None
    ]  # fmt: skip
    assert found.wrong.tolist() == [False, True, False, False, True, True, False, True, True]


def test_times_are_read_in_utc() -> None:
    texts = [
        "2020-01-01T00:00:00Z",
        "2020-01-01 01:30",
        "2020-01-01T00:00:00.5-05:00",
        "2020-01-01",
        "2020-01-01T24:00:00Z",
    ]
    found = typed(pa.array(texts), "datetime")
    assert [None if value is None else value.isoformat() for value in found.values.to_pylist()] == [
        "2020-01-01T00:00:00", "2020-01-01T01:30:00", "2020-01-01T05:00:00", "2020-01-01T00:00:00", None
    ]  # fmt: skip
    assert found.wrong.tolist() == [False, False, False, False, True]


def test_coarse_dates_mean_all_of_their_days() -> None:
    values = typed(pa.array(["2020-01-01", "2020-02-01", "2020-03-05", None]), "date").values
    found = dates_of(values, pa.array(["year", "month", None, "day"]))
    assert (found.last - found.first)[:3].tolist() == [365, 28, 0]
    assert found.known.tolist() == [True, True, True, False]
    assert not found.later_than(found).any()
