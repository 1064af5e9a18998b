"""Writes the golden exports anew: ``python tests/golden/regenerate_exports.py``. Read the difference before a commit.

``tests/golden/exports/<format>`` holds, byte for byte, what each exporter makes of six of the hand-made patients.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

from ehrsynth.exporters import Exporter, ExportSummary, Part
from ehrsynth.exporters.fhir.bundle import BundleExporter
from ehrsynth.exporters.fhir.ndjson import NdjsonExporter
from ehrsynth.exporters.tables import CsvExporter
from ehrsynth.records import Records

__all__ = ["EXPORTERS", "FOLDER", "PATIENTS", "export", "golden_records", "main"]

FOLDER = Path(__file__).parent / "exports"
EXPORTERS: tuple[type[Exporter], ...] = (CsvExporter, NdjsonExporter, BundleExporter)
PATIENTS = (0, 1, 3, 5, 9, 11)
"""Full and bare, dead, with an undated first visit, never anywhere, delivered of a child."""


def golden_records(small: ModuleType) -> Records:
    """Return six of the hand-made patients."""
    records: Records = small.small_records()
    ids = records["patient"]["patient_id"].to_pylist()
    return records.select_patients([ids[n] for n in PATIENTS])


def export(exporter: Exporter, records: Records, split: tuple[Records, Records]) -> dict[str, bytes]:
    """Return the bytes of every file that `exporter` makes, as an engine would put them together."""
    block, shared = split
    files: dict[str, bytes] = {}
    rows: dict[str, int] = {}

    def append(part: Part) -> None:
        files[part.path] = files.get(part.path, b"") + part.data
        rows[part.path] = rows.get(part.path, 0) + part.rows

    for part in (*exporter.begin(shared), *exporter.encode(block, shared)):
        append(part)
    listed = {
        path: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows[path]}
        for path, data in files.items()
    }
    provenance = {"synthetic": True, "generated_at": "2024-01-01", "source": records.provenance.source}
    for part in exporter.end(ExportSummary(files=listed, row_counts=records.row_counts, provenance=provenance)):
        append(part)
    return files


def main() -> None:
    """Write all golden exports."""
    spec = importlib.util.spec_from_file_location("small_records", Path(__file__).with_name("small_records.py"))
    assert spec is not None
    assert spec.loader is not None
    small = sys.modules["small_records"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    records = golden_records(small)
    for kind in EXPORTERS:
        exporter = kind()
        folder = FOLDER / exporter.name
        shutil.rmtree(folder, ignore_errors=True)
        for path, data in export(exporter, records, small.split(records)).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


if __name__ == "__main__":
    main()
