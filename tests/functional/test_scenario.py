"""Who is wanted: the options of `generate` that condition the model."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))
MODEL = "cardiometabolic_cohort"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run([EHRSYNTH, *map(str, words)], capture_output=True, text=True, check=False)


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everyone_is_as_wanted_and_the_manifest_says_so(tmp_path: Path) -> None:
    wanted = ("--sex", "female", "--age", "40-49", "--race", "black")
    done = run("generate", MODEL, "-p", 300, "-s", 5, *wanted, "-f", "csv", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    people = rows(tmp_path / "o/csv/patient.csv")
    assert len(people) == 300
    assert {(person["sex"], person["race_code"]) for person in people} == {("female", "2054-5")}
    first: dict[str, date] = {}
    for visit in rows(tmp_path / "o/csv/encounter.csv"):
        day = date.fromisoformat(visit["start_datetime"][:10])
        first[visit["patient_id"]] = min(day, first.get(visit["patient_id"], day))
    ages = [(first[p["patient_id"]] - date.fromisoformat(p["birth_date"])).days / 365.25 for p in people]
    assert 40 <= min(ages) < 42
    assert 48 < max(ages) < 50.01
    manifest = json.loads((tmp_path / "o/manifest.json").read_text())
    assert manifest["scenario"] == {"age": [40.0, 50.0], "sex": "female", "race": ["2054-5"]}


def test_without_a_scenario_the_manifest_has_none(tmp_path: Path) -> None:
    assert run("generate", MODEL, "-p", 2, "-f", "csv", "-o", tmp_path / "o").returncode == 0
    assert "scenario" not in json.loads((tmp_path / "o/manifest.json").read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--age", "65-40"), "no range of ages"),
        (("--age", "old"), "no range of ages"),
        (("--sex", "f"), "not one of female"),
        (("--race", "a"), "more than one"),
        (("--race", "martian"), "is none of the categories"),
        (("--state", "MA"), "cannot be asked for state"),
        (("--condition", "E11"), "It can be asked for: age, sex, race, ethnicity"),
        (("--history-years", "0"), "more than 0"),
        (("--min-visits", "0"), "at least 1"),
        (("--age", "3-9"), "impossible together"),
    ],
)
def test_what_cannot_be_wanted_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run("generate", MODEL, "-p", 2, *words, "-f", "csv", "-o", tmp_path / "o")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("word", "stamped"), [("Gout", "gout"), ("m10", "M10")])
def test_a_condition_is_wanted_by_its_key_or_its_code(word: str, stamped: str, tmp_path: Path) -> None:
    wanted = ("--condition", word, "--history-years", 1)
    done = run("generate", "us_ambulatory", "-p", 5, *wanted, "-f", "csv", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "o/manifest.json").read_text())["scenario"]["condition"] == [stamped]
    has = {row["patient_id"] for row in rows(tmp_path / "o/csv/condition.csv") if row["code"].startswith("M10")}
    assert len(has) == 5
