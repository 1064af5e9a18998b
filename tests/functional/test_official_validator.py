"""HL7's official validator with US Core 6.1.0 on generated resources (needs the ../shared folder, Java and npm)."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


def test_screenings_answer_the_questionnaire_of_us_core(shared: Path, tmp_path: Path) -> None:
    """The validator does not know US Core's examples, so the answers are held against the form here."""
    packed = shared / "fhir" / "packages" / "hl7.fhir.us.core-6.1.0.tgz"
    with tarfile.open(packed) as package:
        name = next(name for name in package.getnames() if name.endswith("/Questionnaire-prapare-example.json"))
        handle = package.extractfile(name)
        assert handle is not None
        form = json.load(handle)
    ehrsynth.generate_files(
        None, tmp_path / "out", formats=["fhir-ndjson"], population=60, seed=5, scenario={"history_years": 4.0}
    )
    lines = (tmp_path / "out" / "fhir-ndjson" / "QuestionnaireResponse.ndjson").read_text().splitlines()
    found = [one for one in map(json.loads, lines) if "questionnaire" in one]
    assert len(found) > 5
    for one in found:
        assert one["questionnaire"] == form["url"]
        assert list(_against(one["item"], form["item"])) == []


def _against(items: list[dict[str, Any]], asked: list[dict[str, Any]]) -> Iterator[str]:
    """What in some items of a response the questions do not allow."""
    questions = {question["linkId"]: question for question in asked}
    order = [list(questions).index(item["linkId"]) for item in items if item["linkId"] in questions]
    if len(order) < len(items) or order != sorted(set(order)):
        yield f"unknown, twice or out of order: {[item['linkId'] for item in items]}"
        return
    kinds = {"choice": "valueCoding", "integer": "valueInteger", "decimal": "valueDecimal", "string": "valueString"}
    for item in items:
        question = questions[item["linkId"]]
        below = question.get("item", [])
        if item["text"] != question["text"]:
            yield f"{item['linkId']} says {item['text']}"
        answers = item.get("answer", [])
        if bool(answers) != (question["type"] in kinds) or (len(answers) > 1 and not question.get("repeats")):
            yield f"{item['linkId']} has {len(answers)} answers"
        options = [option["valueCoding"] for option in question.get("answerOption", [])]
        for answer in answers:
            value = answer[kinds[question["type"]]]
            if options and value not in options:
                yield f"{item['linkId']} cannot be answered {value}"
            yield from _against(answer.get("item", []), below)
        if not answers:
            yield from _against(item.get("item", []), below)
