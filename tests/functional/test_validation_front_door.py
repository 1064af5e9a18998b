"""The front door: what is in a folder, ours or anyone's, and what becomes of an output with several formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.api import export
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.records import Records
from ehrsynth.validation import Issue, ValidationReport, validate, validate_all

GOOD = Path(__file__).parents[1] / "unit" / "fhir_good.ndjson"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, small_records: Records) -> Path:
    folder = tmp_path_factory.mktemp("validation") / "out"
    export(small_records, folder, formats=["csv", "fhir-ndjson", "fhir-bundle"])
    return folder


def serious(report: ValidationReport) -> list[Issue]:
    return [issue for issue in report.issues if issue.severity != "information"]


def test_an_output_of_ours_is_checked_format_by_format(output: Path, small_records: Records) -> None:
    reports = {report.format: report for report in validate_all(output, sample=5)}
    assert list(reports) == ["csv", "fhir-bundle", "fhir-ndjson"]
    for report in reports.values():
        assert serious(report) == []
        assert report.checked["files in the manifest"] > 10
    assert reports["csv"].counts == small_records.row_counts
    ndjson, bundle = (dict(reports[name].counts) for name in ("fhir-ndjson", "fhir-bundle"))
    # Both packings hold the same resources; the shared ones stand in a Bundle of their own.
    assert bundle.pop("Bundle") == small_records.n_patients + 1
    assert bundle == ndjson
    assert ndjson["Patient"] == small_records.n_patients
    assert ndjson["Encounter"] == small_records.row_counts["encounter"]


def test_one_report_of_all_of_it(output: Path) -> None:
    report = validate(output, sample=0)
    assert report.format == "csv, fhir-bundle, fhir-ndjson"
    assert report.counts["csv: patient"] == report.counts["fhir-ndjson: Patient"] == 20
    json.dumps(report.to_dict())
    only = validate(output, format="csv")
    assert only.format == "csv"
    assert {report.format for report in validate_all(output, format="fhir", sample=0)} == {"fhir-bundle", "fhir-ndjson"}


def test_a_file_that_was_altered_is_told_by_the_manifest(output: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    path = copy / "csv" / "payer.csv"
    path.write_bytes(path.read_bytes().replace(b"555", b"556"))
    (copy / "fhir-ndjson" / "Device.ndjson").unlink()
    report = validate(copy, sample=0)
    found = {(issue.check, issue.place) for issue in serious(report)}
    assert {("altered-file", "csv: datapackage.json"), ("altered-file", "csv: manifest.json")} <= found
    assert {("missing-file", "fhir-ndjson: manifest.json"), ("wrong-count", "fhir-ndjson: Device")} <= found
    # The bulk manifest and ours both name the file.
    assert [issue.count for issue in report.issues if issue.check == "missing-file"] in ([2], [1, 1])


def test_what_a_folder_holds_is_told_from_its_files(tmp_path: Path) -> None:
    shutil.copy(GOOD, tmp_path / "Everything.ndjson")
    assert validate(tmp_path, sample=0).format == "fhir-ndjson"
    (tmp_path / "patient.csv").write_text("patient_id,birth_date,sex\np1,1960-01-01,female\n")
    assert validate(tmp_path).format == "csv"
    assert validate(tmp_path, format="fhir", sample=0).format == "fhir-ndjson"
    deep = tmp_path / "deep"
    (deep / "a" / "b").mkdir(parents=True)
    shutil.copy(GOOD, deep / "a" / "b" / "x.jsonl")
    assert sum(validate(deep, sample=0).counts.values()) == 22


@pytest.mark.parametrize("format_name", ["fhir", "fhir-ndjson", "tables", "csv"])
def test_a_format_may_be_said(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / "patient.txt"
    path.write_bytes(GOOD.read_bytes() if "fhir" in format_name else b"patient_id,birth_date,sex\np1,1960-01-01,male\n")
    with pytest.raises(SourceError, match="does not say"):
        validate(path)
    if "fhir" in format_name:
        assert validate(path, format=format_name, sample=0).counts["Patient"] == 2


def test_unknown_formats_near_names_are_suggested(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fhir-ndjson"):
        validate(tmp_path, format="fhir-njson")
    with pytest.raises(SourceError, match="Nothing to validate"):
        validate(tmp_path, format="csv")
    with pytest.raises(SourceError):
        validate(tmp_path / "none")


# -- what others made --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def us_core(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples in the package of US Core 6.1.0."""
    import tarfile

    folder = tmp_path_factory.mktemp("us_core")
    with tarfile.open(shared / "fhir" / "packages" / "hl7.fhir.us.core-6.1.0.tgz") as archive:
        for member in archive:
            if member.name.startswith("package/example/") and member.name.endswith(".json"):
                handle = archive.extractfile(member)
                assert handle is not None
                (folder / Path(member.name).name).write_bytes(handle.read())
    return folder


@pytest.mark.shared
def test_the_official_examples_have_no_error_but_their_own(us_core: Path) -> None:
    report = validate(us_core)
    assert sum(report.counts.values()) > 180
    assert report.checked["fhir.resources"] > 180
    assert sum(name.startswith("profile ") for name in report.checked) > 45
    errors = [(issue.check, issue.count) for issue in report.issues if issue.severity == "error"]
    # Seven Apgar scores are dated 2016, of an infant born in 2020: a real mistake that no check of structure sees.
    assert errors == [("before-birth", 7)]


@pytest.mark.shared
def test_the_shipped_tables_are_those_of_the_published_definitions(shared: Path) -> None:
    from ehrsynth import resources
    from ehrsynth.validation.fhir_derivation import definitions_in, profile_document
    from ehrsynth.validation.fhir_requirements import FOLDER

    base = json.loads(resources.read_package(FOLDER, "base"))
    shipped = json.loads(resources.read_package(FOLDER, "profiles"))
    definitions = definitions_in(shared / "fhir" / "packages" / "hl7.fhir.us.core-6.1.0.tgz")
    # Of R4's own definitions, which are not in that package, it takes what the target of one reference is a profile of.
    vital_signs = "http://hl7.org/fhir/StructureDefinition/vitalsigns"
    foreign = {
        "resourceType": "StructureDefinition",
        "url": vital_signs,
        "type": "Observation",
        "derivation": "constraint",
    }
    derived = profile_document([*definitions, foreign], base, prefix="http://hl7.org/fhir/us/core/")

    # Which invariants are R4's own is told by R4's definitions too.
    assert without_invariants(derived["profiles"]) == without_invariants(shipped["profiles"])
    assert len(shipped["profiles"]) == 59


def without_invariants(node: Any) -> Any:
    """A tree of rules without its invariants, and without the nodes that ask nothing else."""
    if isinstance(node, list):
        kept = [without_invariants(item) for item in node]
        return [item for item in kept if not isinstance(item, dict) or item.keys() - {"name", "match"}]
    if not isinstance(node, dict):
        return node
    pruned = {key: without_invariants(value) for key, value in node.items() if key not in ("invariants", "match")}
    return {key: value for key, value in pruned.items() if value not in ({}, [])}
