"""HL7's official validator with US Core 6.1.0 on generated resources (needs the ../shared folder, Java and npm)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import ehrsynth

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def validator(shared: Path) -> Path:
    """The command that runs the validator."""
    for program in ("java", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    return shared / "fhir" / "hl7-validate"


@pytest.mark.parametrize("name", ["fhir-ndjson", "fhir-bundle"])
@pytest.mark.parametrize("source", ["default", "tiny"])
def test_no_errors(validator: Path, models: ModuleType, tmp_path: Path, name: str, source: str) -> None:
    model = None if source == "default" else models.tiny_model()
    scenario = {"history_years": 6.0} if source == "default" else None
    ehrsynth.generate_files(model, tmp_path / "out", formats=[name], population=40, seed=5, scenario=scenario)
    report = tmp_path / "report.json"
    command = [str(validator), str(tmp_path / "out" / name), "--sample", "25", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(report.read_text())
    assert done.returncode == 0, json.dumps(found["errors"], indent=1)[:5000]
    assert found["errors"] == []
