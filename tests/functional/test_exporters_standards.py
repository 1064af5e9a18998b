"""What we write is FHIR R4 to others: fhir.resources takes it, and HL7's validator where it stands beside us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from ehrsynth.exporters.fhir.bundle import BundleExporter
from ehrsynth.exporters.fhir.ndjson import NdjsonExporter
from ehrsynth.records import Records


def write(exporter: Any, records: Records, small: ModuleType, folder: Path) -> None:
    folder.mkdir(parents=True)
    block, shared = small.split(records)
    for part in (*exporter.begin(shared), *exporter.encode(block, shared)):
        with (folder / part.path).open("ab") as handle:
            handle.write(part.data)


def with_foreign_keys(records: Records) -> Records:
    """The records with keys as a database has them: counted from 1 in every table."""
    import pyarrow as pa

    tables = {}
    numbers = {
        table.name: {key: str(n) for n, key in enumerate(records[table.name][table.primary_key].to_pylist(), 1)}
        for table in records.schema.tables
    }
    for table in records.schema.tables:
        rows = records[table.name]
        leads = {table.primary_key: table.name} | {key.column: key.reference_table for key in table.foreign_keys}
        for column, target in leads.items():
            renamed = [None if key is None else numbers[target][key] for key in rows[column].to_pylist()]
            rows = rows.set_column(rows.column_names.index(column), column, pa.array(renamed, pa.string()))
        tables[table.name] = rows
    return records.replace(**tables)


def test_every_resource_is_one_to_fhir_resources(small_records: Records, small: ModuleType, tmp_path: Path) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    write(NdjsonExporter(), small_records, small, tmp_path / "out")
    shapes: set[tuple[str, ...]] = set()
    for path in sorted((tmp_path / "out").iterdir()):
        for line in path.read_bytes().splitlines():
            resource = orjson.loads(line)
            shape = (resource["resourceType"], *resource, *resource["meta"].get("profile", ()))
            if shape not in shapes:
                shapes.add(shape)
                get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert len({shape[0] for shape in shapes}) == 29
    assert len(shapes) > 100


def test_a_bundle_is_one_to_fhir_resources(small_records: Records, small: ModuleType, tmp_path: Path) -> None:
    from fhir.resources.R4B.bundle import Bundle

    write(BundleExporter(), small_records.head(2), small, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert Bundle.model_validate_json(path.read_bytes()).type == "transaction"


@pytest.mark.shared
@pytest.mark.parametrize("keys", ["own", "foreign"])
def test_hl7_validate_finds_nothing_over_all_resources(
    keys: str, small_records: Records, small: ModuleType, shared: Path, tmp_path: Path
) -> None:
    records = small_records if keys == "own" else with_foreign_keys(small_records)
    for exporter in (NdjsonExporter(), BundleExporter()):
        write(exporter, records, small, tmp_path / exporter.name)
        # Without Java: ids, references, nulls, Bundles over everything. With it (no --quick) it takes half a minute.
        run = subprocess.run(
            [
                sys.executable,
                shared / "fhir" / "hl7-validate",
                "--quick",
                "--fail-on",
                "warning",
                tmp_path / exporter.name,
            ],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "WHOLE DATA (ids, references, nulls, empties, Bundles): nothing found" in run.stdout
