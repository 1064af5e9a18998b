"""CSV: read back by Python's own reader it is what went in; quotation marks only where they are needed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from datetime import date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest

from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.exporters.tables import CsvExporter
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import clinical


def files_of(parts: list[Part]) -> tuple[dict[str, bytes], dict[str, int]]:
    data: dict[str, bytes] = defaultdict(bytes)
    rows: dict[str, int] = defaultdict(int)
    for part in parts:
        data[part.path] += part.data
        rows[part.path] += part.rows
    return dict(data), dict(rows)


def exported(records: Records) -> tuple[dict[str, bytes], dict[str, int]]:
    exporter = CsvExporter()
    return files_of([*exporter.begin(records), *exporter.encode(records, records)])


def as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat() + "Z"
        case date():
            return value.isoformat()
        case _:
            return str(value)


def test_every_table_reads_back_row_for_row(small_records: Records) -> None:
    files, counts = exported(small_records)
    assert set(files) == {f"{name}.csv" for name in small_records.schema.names}
    for table in small_records.schema.tables:
        header, *rows = csv.reader(io.StringIO(files[f"{table.name}.csv"].decode(), newline=""))
        assert tuple(header) == table.names
        assert counts[f"{table.name}.csv"] == len(rows) == small_records[table.name].num_rows
        for row, values in zip(rows, small_records[table.name].to_pylist(), strict=True):
            for text, (name, value) in zip(row, values.items(), strict=True):
                if table[name].type == "number" and value is not None:
                    assert float(text) == value
                    assert not text.endswith(".0")
                else:
                    assert text == as_text(value), (table.name, name)


def test_a_table_without_rows_has_its_header() -> None:
    files, counts = exported(Records.from_tables({}, provenance=Provenance(source="nothing")))
    assert files["device.csv"].decode() == ",".join(clinical()["device"].names) + "\n"
    assert not any(counts.values())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        (" edge ", " edge "),
        ("a,b", '"a,b"'),
        ('say "x"', '"say ""x"""'),
        ("two\nlines", '"two\nlines"'),
        ("cr\rlf", '"cr\rlf"'),
        ("", ""),
        ("=1+1", "=1+1"),
        ("ü\U0001f600", "ü\U0001f600"),
    ],
)
@pytest.mark.parametrize("column", ["given_name", "city"])
def test_only_what_needs_quotation_marks_has_them(column: str, text: str, written: str) -> None:
    row = {"patient_id": "p", "birth_date": date(2000, 1, 1), "sex": "male", column: text}
    table = pa.Table.from_pylist([row], schema=clinical()["patient"].arrow)
    files, _ = exported(Records.from_tables({"patient": table}, provenance=Provenance(source="test")))
    expected = ["" for _ in clinical()["patient"].names]
    for name, value in {"patient_id": "p", "birth_date": "2000-01-01", "sex": "male", column: written}.items():
        expected[clinical()["patient"].names.index(name)] = value
    assert files["patient.csv"].decode().split("\n", 1)[1] == ",".join(expected) + "\n"


def test_numbers_are_the_shortest_that_read_back() -> None:
    numbers = [1.0, -0.5, 0.1, 1e-7, 1e22, float("inf"), float("-inf"), float("nan"), None, 123456789.125]
    rows = [
        {
            "observation_id": str(i),
            "patient_id": "p",
            "category": "laboratory",
            "status": "final",
            "value_number": number,
        }
        for i, number in enumerate(numbers)
    ]
    table = pa.Table.from_pylist(rows, schema=clinical()["observation"].arrow)
    files, _ = exported(Records.from_tables({"observation": table}, provenance=Provenance(source="test")))
    found = [row["value_number"] for row in csv.DictReader(io.StringIO(files["observation.csv"].decode()))]
    assert found == ["1", "-0.5", "0.1", "1e-7", "1e+22", "INF", "-INF", "", "", "123456789.125"]


def test_the_data_package_describes_what_is_there(small_records: Records) -> None:
    files, counts = exported(small_records)
    listed = {
        path: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": counts[path]}
        for path, data in files.items()
    }
    provenance = {"synthetic": True, "generated_at": "2024-01-01", "seed": 7}
    summary = ExportSummary(files=listed, row_counts=small_records.row_counts, provenance=provenance)
    (part,) = CsvExporter().end(summary)
    document = orjson.loads(part.data)
    assert part.path == "datapackage.json"
    assert document["created"] == "2024-01-01T00:00:00Z"
    assert document["ehrsynth"] == provenance
    assert "Synthetic" in document["description"]
    assert [one["name"] for one in document["resources"]] == list(small_records.schema.names)
    for one in document["resources"]:
        assert one["bytes"] == len(files[one["path"]])
        assert one["hash"] == "sha256:" + hashlib.sha256(files[one["path"]]).hexdigest()
        assert one["rowCount"] == small_records[one["name"]].num_rows
        assert [field["name"] for field in one["schema"]["fields"]] == list(clinical()[one["name"]].names)


def test_rows_beyond_one_chunk_are_all_there(
    small: Any, small_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = exported(small_records)
    monkeypatch.setattr("ehrsynth.exporters.tables._PLAIN_ROWS", 7)
    assert exported(small_records)[0] == whole
