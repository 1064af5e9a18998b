"""Commands that read records say what they set aside and what they changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from ehrsynth import api
from ehrsynth.cli.app import app


def run(*words: str | Path) -> str:
    """Run the command in this process and return what it prints."""
    result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def broken(evaluated: ModuleType, tmp_path: Path) -> Path:
    """Tables in which one patient stands twice."""
    api.export(evaluated.population(0, 20), tmp_path / "made", formats=["csv"])
    people = tmp_path / "made" / "csv" / "patient.csv"
    lines = people.read_text().splitlines(keepends=True)
    people.write_text("".join([*lines, lines[1]]))
    return people.parent


def test_export_says_what_was_set_aside(broken: Path, tmp_path: Path) -> None:
    text = run("export", broken, "--lenient", "-f", "csv", "-o", tmp_path / "a")
    assert "Set aside" in text
    assert "patient_id is there twice" in text
    document = json.loads(run("export", broken, "--lenient", "-f", "csv", "-o", tmp_path / "b", "--json"))
    assert [(item["table"], item["count"]) for item in document["read"]["set_aside"]] == [("patient", 1)]


def test_evaluate_says_of_whom(broken: Path) -> None:
    words = ("evaluate", broken, broken, "--lenient", "-m", "person", "--bootstrap", "0")
    assert "Set aside of synthetic" in run(*words)
    assert set(json.loads(run(*words, "--json"))["lost"]) == {"real", "synthetic"}
