"""`ehrsynth evaluate` end to end, on the records of the tests written as tables."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from ehrsynth import api
from ehrsynth.cli.app import app
from ehrsynth.errors import EhrsynthError, OutputError, SourceError, UsageError, exit_code

FAST = ["-m", "person", "-m", "temporal", "--bootstrap", "12"]


def run(*words: str | Path) -> str:
    """Run the command in this process and return what it prints; an expected error is raised."""
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "200"})
    if isinstance(result.exception, EhrsynthError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folders(evaluated: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three cohorts as CSV."""
    root = tmp_path_factory.mktemp("cohorts")
    for seed, name in enumerate(("real", "synthetic", "control")):
        api.export(evaluated.population(seed, 60), root / name, formats=["csv"])
    return {name: root / name / "csv" for name in ("real", "synthetic", "control")}


def test_a_table_and_files(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "made" / "evaluation"
    text = run(folders["real"], folders["synthetic"], "--control", folders["control"], "-o", out, *FAST)
    assert "Who they are" in text
    assert "gaps between" in text
    assert "Judged against the control" in text
    assert sorted(path.name for path in out.iterdir()) == ["metrics.csv", "metrics.json"]
    document = json.loads((out / "metrics.json").read_text())
    assert document["sources"]["control"] == str(folders["control"])
    assert document["reference"] == "control"
    rows = list(csv.DictReader(io.StringIO((out / "metrics.csv").read_bytes().decode(), newline="")))
    assert [row["name"] for row in rows] == [entry["name"] for entry in document["results"]]
    for row, entry in zip(rows, document["results"], strict=True):
        assert row["value"] == ("" if entry["value"] is None else repr(entry["value"]))
        assert (entry["baseline"] is None) == (row["baseline"] == "")


def test_json_and_details(folders: dict[str, Path]) -> None:
    document = json.loads(run(folders["real"], folders["synthetic"], "--json", *FAST))
    assert document["reference"] == "real"
    assert {entry["name"].split(".")[0] for entry in document["results"]} == {"person", "temporal"}
    assert "race, TVD" not in run(folders["real"], folders["synthetic"], *FAST)
    assert "race, TVD" in run(folders["real"], folders["synthetic"], "--details", *FAST)


def test_what_is_refused_says_why_and_leaves_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    cases: list[tuple[type[EhrsynthError], int, list[str | Path]]] = [
        (SourceError, 3, [tmp_path / "nowhere", folders["synthetic"]]),
        (UsageError, 2, [folders["real"], folders["synthetic"], "-m", "fidelty"]),
        (UsageError, 2, [folders["real"], folders["synthetic"], "--bootstrap", "-1"]),
        (UsageError, 2, [folders["real"], folders["synthetic"], "--sample", "0"]),
        (OutputError, 6, [folders["real"], folders["synthetic"], "-o", folders["real"]]),
    ]
    for kind, code, words in cases:
        output = [] if "-o" in words else ["-o", tmp_path / "out"]
        with pytest.raises(kind) as raised:
            run(*words, *output)
        assert exit_code(raised.value) == code
        assert raised.value.hint or raised.value.message
        assert not list(tmp_path.glob("*out*"))
        assert not list(tmp_path.glob(".*partial"))
