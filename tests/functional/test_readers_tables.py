"""Canonical tables from files: all that is there comes back, and what is wrong is said or set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from ehrsynth.errors import SourceError
from ehrsynth.readers.tables import TablesReader
from ehrsynth.records import Records

Write = Callable[[pa.Table, Path], None]


def plain(table: pa.Table) -> pa.Table:
    columns = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    return pa.table(columns, names=table.column_names)


def write_csv(table: pa.Table, path: Path) -> None:
    csv.write_csv(plain(table), path.with_suffix(".csv"))


def write_gzip(table: pa.Table, path: Path) -> None:
    with pa.output_stream(str(path) + ".csv.gz", compression="gzip") as stream:
        csv.write_csv(plain(table), stream)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path.with_suffix(".parquet"))


def write(records: Records, folder: Path, how: Write = write_csv) -> Path:
    for name in records:
        how(records[name], folder / name)
    return folder


def edit(folder: Path, table: str, change: Callable[[list[list[str]]], None]) -> None:
    """Change the cells of a written table; the header is row 0."""
    import csv as text_csv

    path = folder / f"{table}.csv"
    with path.open(newline="") as handle:
        rows = list(text_csv.reader(handle))
    change(rows)
    with path.open("w", newline="") as handle:
        text_csv.writer(handle).writerows(rows)


def put(column: str, row: int, value: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][rows[0].index(column)] = value

    return change


def drop(column: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        at = rows[0].index(column)
        for row in rows:
            del row[at]

    return change


@pytest.mark.parametrize("how", [write_csv, write_gzip, write_parquet])
def test_what_is_written_is_read(tmp_path: Path, small_records: Records, how: Write) -> None:
    records, report = TablesReader().read(write(small_records, tmp_path, how))
    for name in small_records:
        assert records[name].equals(small_records[name]) or records[name].to_pylist() == small_records[name].to_pylist()
        assert records[name].schema == small_records.schema[name].arrow
    assert report.rows_read == report.rows_taken == small_records.row_counts
    assert report.set_aside == report.adjusted == report.notes == []


def test_what_our_exporter_writes_is_read(tmp_path: Path, small: ModuleType, small_records: Records) -> None:
    from ehrsynth.exporters.tables import CsvExporter

    block, shared = small.split(small_records)
    for part in (*CsvExporter().begin(shared), *CsvExporter().encode(block, shared)):
        with (tmp_path / part.path).open("ab") as handle:
            handle.write(part.data)
    assert TablesReader().recognises(tmp_path)
    records, report = TablesReader().read(tmp_path)
    for name in small_records:
        assert records[name].to_pylist() == small_records[name].to_pylist(), name
    assert report.set_aside == report.adjusted == report.notes == []


def test_times_are_read_with_zone_space_or_without_seconds(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    for row, text in ((1, "2016-01-05T09:30:15Z"), (2, "2016-01-05 09:30:15"), (3, "2016-01-05T09:30")):
        edit(folder, "encounter", put("start_datetime", row, text))
        edit(folder, "encounter", put("end_datetime", row, ""))
    edit(folder, "encounter", drop("time_precision"))
    rows = TablesReader().read(folder)[0]["encounter"].to_pylist()
    by_id = {row["encounter_id"]: row for row in rows}
    first = [by_id[key] for key in small_records["encounter"]["encounter_id"].to_pylist()[:3]]
    assert [str(row["start_datetime"]) for row in first] == [
        "2016-01-05 09:30:15",
        "2016-01-05 09:30:15",
        "2016-01-05 09:30:00",
    ]
    assert [row["time_precision"] for row in first] == ["second", "second", "minute"]


def test_columns_may_be_missing_reordered_in_capitals_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "PATIENT.csv").write_text(
        "Sex,Shoe Size,BIRTH_DATE,patient_id\nfemale,38,1950-01-02,p1\nmale,44,1960-02-03,p2\n"
    )
    (tmp_path / "encounter.tsv").write_text(
        "encounter_id\tpatient_id\tstart_datetime\tstatus\tencounter_class\n"
        "e1\tp2\t2020-05-01\tfinished\tAMB\ne2\tp1\t2019-01-01\tfinished\tIMP\ne3\tp2\t2018-05-01\tfinished\tAMB\n"
    )
    (tmp_path / "shoes.csv").write_text("a\n")
    records, report = TablesReader().read(tmp_path)
    assert records["encounter"].select(["encounter_id", "sequence", "time_precision"]).to_pylist() == [
        {"encounter_id": "e2", "sequence": 1, "time_precision": "day"},
        {"encounter_id": "e3", "sequence": 1, "time_precision": "day"},
        {"encounter_id": "e1", "sequence": 2, "time_precision": "day"},
    ]
    notes = " ".join(report.notes)
    assert "shoe size" in notes
    assert "shoes" in notes
    assert "There is no table condition." in notes
    assert records.provenance.time_basis == "calendar"


def test_the_origin_is_what_the_data_package_says(tmp_path: Path, small_records: Records) -> None:
    write(small_records, tmp_path)
    said = {"source": "a model", "synthetic": True, "licence": "CC0", "source_format": "ehrsynth"}
    (tmp_path / "datapackage.json").write_text(json.dumps({"ehrsynth": said}))
    provenance = TablesReader().read(tmp_path)[0].provenance
    assert (provenance.source, provenance.synthetic, provenance.licence) == ("a model", True, "CC0")
    for nonsense in ("not json", "[]", '{"ehrsynth": 3}', '{"ehrsynth": {"synthetic": "yes"}}'):
        (tmp_path / "datapackage.json").write_text(nonsense)
        assert not TablesReader().read(tmp_path)[0].provenance.synthetic


def test_recognised_by_file_names(tmp_path: Path) -> None:
    reader = TablesReader()
    assert not reader.recognises(tmp_path)
    assert not reader.recognises(tmp_path / "nowhere")
    (tmp_path / "person.csv").write_text("")
    assert not reader.recognises(tmp_path)
    (tmp_path / "Patient.csv.gz").write_text("")
    assert reader.recognises(tmp_path)


BROKEN = [
    ("condition", put("onset_date", 3, "2019-13-45"), "'2019-13-45' is not a date", 3, "onset_date"),
    ("condition", put("patient_id", 2, "nobody"), "'nobody' is not in the table patient", 2, "patient_id"),
    ("condition", put("encounter_id", 1, "nowhere"), "'nowhere' is not in the table encounter", 1, "encounter_id"),
    ("condition", put("condition_id", 2, ""), "key is empty", 2, "condition_id"),
    ("condition", put("code", 4, ""), "value is empty", 4, "code"),
    ("condition", put("category", 2, "headache"), "not a value of this column", 2, "category"),
    ("encounter", put("sequence", 2, "second"), "'second' is not a whole number", 2, "sequence"),
    ("observation", put("value_number", 9, "1,5"), "'1,5' is not a number", 9, "value_number"),
    ("immunization", put("primary_source", 1, "perhaps"), "not true or false", 1, "primary_source"),
]


@pytest.mark.parametrize(("table", "change", "message", "row", "column"), BROKEN)
def test_a_broken_row_is_said_or_set_aside(
    tmp_path: Path,
    small_records: Records,
    table: str,
    change: Callable[[list[list[str]]], None],
    message: str,
    row: int,
    column: str,
) -> None:
    folder = write(small_records, tmp_path)
    edit(folder, table, change)
    with pytest.raises(SourceError, match=message) as caught:
        TablesReader().read(folder)
    error = caught.value
    assert (error.file, error.table, error.row, error.column) == (str(folder / f"{table}.csv"), table, row, column)
    assert error.hint
    records, report = TablesReader().read(folder, strict=False)
    assert records.check_keys() == []
    own = [entry for entry in report.set_aside if entry.table == table and entry.column == column]
    assert [(entry.count, entry.row) for entry in own] == [(1, row)]
    assert_accounted(report.to_dict())


def assert_accounted(report: dict[str, object]) -> None:
    aside: dict[str, int] = {}
    for entry in report["set_aside"]:  # type: ignore[attr-defined]
        aside[entry["table"]] = aside.get(entry["table"], 0) + entry["count"]
    read, taken = report["rows_read"], report["rows_taken"]
    assert {name: n - aside.get(name, 0) for name, n in read.items()} == taken  # type: ignore[attr-defined]


def test_a_key_that_is_there_twice(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    key = small_records["encounter"]["encounter_id"][0].as_py()
    edit(folder, "encounter", put("encounter_id", 5, key))
    with pytest.raises(SourceError, match="there twice") as caught:
        TablesReader().read(folder)
    assert (caught.value.row, caught.value.column) == (5, "encounter_id")


def test_leniently_whole_stories_are_set_aside_and_no_key_dangles(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    edit(folder, "patient", put("birth_date", 1, "2019-13-45"))
    records, report = TablesReader().read(folder, strict=False)
    gone = small_records["patient"]["patient_id"][0].as_py()
    assert records.n_patients == small_records.n_patients - 1
    for table in records.schema.tables:
        if table.has_patient:
            assert gone not in records[table.name]["patient_id"].to_pylist()
    assert records.check_keys() == []
    assert "its row of patient was set aside" in {entry.reason for entry in report.set_aside}
    assert_accounted(report.to_dict())


def test_leniently_a_strange_value_or_reference_that_may_be_empty_is_left_out(
    tmp_path: Path, small_records: Records
) -> None:
    folder = write(small_records, tmp_path)
    edit(folder, "condition", put("clinical_status", 1, "unwell"))
    edit(folder, "condition", put("practitioner_id", 1, "nobody"))
    records, report = TablesReader().read(folder, strict=False)
    row = records["condition"].to_pylist()[0]
    assert row["clinical_status"] is None
    assert row["practitioner_id"] is None
    assert {entry.column for entry in report.adjusted} == {"clinical_status", "practitioner_id"}
    assert report.set_aside == []


def test_without_the_table_of_practitioners_the_references_are_left_out(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    (folder / "practitioner.csv").unlink()
    records, report = TablesReader().read(folder)
    assert records["encounter"]["practitioner_id"].null_count == records["encounter"].num_rows
    assert records.check_keys() == []
    assert any("no table practitioner" in entry.reason for entry in report.adjusted)


def test_without_the_payers_coverage_cannot_be_read(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    (folder / "payer.csv").unlink()
    with pytest.raises(SourceError, match="no table 'payer'"):
        TablesReader().read(folder)


@pytest.mark.parametrize("column", ["patient_id", "encounter_id", "encounter_class"])
def test_a_missing_column_says_what_is_there(tmp_path: Path, small_records: Records, column: str) -> None:
    folder = write(small_records, tmp_path)
    edit(folder, "encounter", drop(column))
    with pytest.raises(SourceError, match=f"no column '{column}'") as caught:
        TablesReader().read(folder)
    assert caught.value.table == "encounter"
    assert "start_datetime" in str(caught.value.hint)


def test_without_sequence_every_encounter_needs_a_start(tmp_path: Path, small_records: Records) -> None:
    folder = write(small_records, tmp_path)
    edit(folder, "encounter", drop("sequence"))
    with pytest.raises(SourceError, match="needs a start"):
        TablesReader().read(folder)
    records, _ = TablesReader().read(folder, strict=False)
    dated = small_records["encounter"].num_rows - small_records["encounter"]["start_datetime"].null_count
    assert records["encounter"].num_rows == dated
    assert min(records["encounter"]["sequence"].to_pylist()) == 1


@pytest.mark.parametrize("make", ["missing", "file", "empty", "no patient"])
def test_no_source(tmp_path: Path, make: str) -> None:
    source = tmp_path / "s"
    if make == "file":
        source.write_text("x")
    elif make != "missing":
        source.mkdir()
    if make == "no patient":
        (source / "encounter.csv").write_text("a\n")
    with pytest.raises(SourceError) as caught:
        TablesReader().read(source)
    assert caught.value.hint
    assert caught.value.file == str(source)
