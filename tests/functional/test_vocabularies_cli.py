"""`ehrsynth vocabularies`, and a user's own code system, through the command line as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ehrsynth
from ehrsynth.records import Records

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))


def run(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [EHRSYNTH, *arguments], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def shown(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("vocabularies", "show", *arguments, "--json"))
    return found


def test_a_drug_is_shown_with_class_strength_form_and_directions() -> None:
    drug = shown("rxnorm", "314076")
    assert (drug["category"], drug["strength"], drug["dose_form"]) == ("C09AA", "10 MG", "Oral Tablet")
    assert {"Take 1 tablet by mouth once daily"} <= {sig["sig"] for sig in drug["sigs"]}
    assert "Take 1 tablet by mouth once daily" in run("vocabularies", "show", "rxnorm", "314076")


def test_a_test_a_vaccine_and_a_diagnosis_are_shown_with_what_is_known() -> None:
    hemoglobin = shown("loinc", "718-7")
    assert (hemoglobin["unit"], hemoglobin["specimen"]) == ("g/dL", "Blood")
    of_men = [r for r in hemoglobin["reference_ranges"] if r.get("sex") == "male" and r["min_age"] == 18]
    assert [(r["low"], r["high"]) for r in of_men] == [(13.5, 17.5)]
    assert [dose["due_months"] for dose in shown("cvx", "20")["schedule"]] == [2, 4, 6, 15, 48]
    diabetes = shown("icd10cm", "E11.9")
    assert diabetes["category"] == "END002 Diabetes mellitus without complication"
    assert diabetes["billable"] is True


def test_ages_without_a_limit_are_said_in_words() -> None:
    assert shown("icd10cm", "N40.0")["age"] == "from 15 years"
    assert shown("icd10cm", "I10")["age"] == "any"
    assert shown("icd10cm", "O80")["age"] == "9 to 65 years"


def test_a_code_system_of_ones_own_is_listed_shown_searched_and_used(tmp_path: Path, small_records: Records) -> None:
    house = tmp_path / "mine" / "house"
    house.mkdir(parents=True)
    fields = [{"name": "code"}, {"name": "display"}, {"name": "sex"}, {"name": "grade"}]
    descriptor = {
        "name": "house",
        "version": "7",
        "ehrsynth": {"kind": "code_system", "uri": "urn:house"},
        "resources": [{"name": "codes", "path": "codes.csv", "schema": {"fields": fields}}],
    }
    (house / "datapackage.json").write_text(json.dumps(descriptor))
    (house / "codes.csv").write_text("code,display,sex,grade\nW1,Womb complaint,female,B\n")
    own = ("--vocabularies", str(tmp_path / "mine"))

    assert "house" in run("vocabularies", "list", *own)
    assert "house" not in run("vocabularies", "list")
    assert shown("house", "W1", *own)["grade"] == "B"
    assert "Womb complaint" in run("vocabularies", "search", "womb", "complaint", *own)

    ehrsynth.export(small_records, tmp_path / "out", formats=["csv"])
    path = tmp_path / "out" / "csv" / "condition.csv"
    for sealed in (path.with_name("datapackage.json"), tmp_path / "out" / "manifest.json"):
        sealed.unlink()  # they hold hashes of the rows that change here
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row |= {"code_system": "urn:house", "code": "W1", "display": "Womb complaint"}
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    # Who knows the house's codes finds the men who cannot have one.
    assert "urn:house" not in run("validate", str(path.parent))
    assert "W1" in run("validate", str(path.parent), *own, code=7)


def test_a_folder_that_is_none_is_told() -> None:
    run("vocabularies", "list", "--vocabularies", "nowhere-at-all", code=2)
