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


def test_no_errors(validator: Path, models: ModuleType, tmp_path: Path) -> None:
    # One data set of other patients in each part: loading the validator costs more than what it checks.
    tiny, six_years = models.tiny_model(), {"history_years": 6.0}
    parts = [(None, six_years, "fhir-ndjson"), (None, six_years, "fhir-bundle")]
    parts += [(tiny, None, "fhir-ndjson"), (tiny, None, "fhir-bundle")]
    for seed, (model, scenario, name) in enumerate(parts):
        output = tmp_path / "out" / str(seed)
        ehrsynth.generate_files(model, output, formats=[name], population=40, seed=seed, scenario=scenario)
    report = tmp_path / "report.json"
    command = [str(validator), str(tmp_path / "out"), "--sample", "50", "--bundles", "4", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(report.read_text())
    assert done.returncode == 0, json.dumps({k: found[k] for k in ("errors", "wholeData")}, indent=1)[:5000]
    assert found["errors"] == []
    assert found["inputs"]["types"]["Patient"] == 160
    assert found["totals"]["checked"] > 2_000
