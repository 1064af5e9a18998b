"""OMOP by the dashboard's list: nothing fails on what we write, every check fails on what breaks it."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth import api
from ehrsynth.errors import OutputError
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.omop import outcomes, validate_omop
from ehrsynth.validation.omop_checks import Outcome, Rule, rules

Rows = list[dict[str, str]]
TODAY = date(2026, 1, 1)
MALE_ONLY, FAR = "26662", "999999999"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, models: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("omop") / "out"
    api.export(api.generate(models.tiny_model(), population=150, seed=3), folder, formats=["omop"])
    return folder / "omop"


def failed(source: Path, today: date = TODAY) -> dict[str, set[str]]:
    """The places where checks of each name failed."""
    found: dict[str, set[str]] = {}
    for one in outcomes(source, Findings(), today=today)[1]:
        if one.failed:
            found.setdefault(one.rule.check, set()).add(f"{one.rule.table}.{one.rule.field}".rstrip("."))
    return found


def test_nothing_fails_but_what_no_map_knows(written: Path) -> None:
    # The tiny model has procedures and devices of systems of which no concept id is known.
    places = {"procedure_occurrence.procedure_concept_id", "device_exposure.device_concept_id"}
    assert failed(written) == {"standardConceptRecordCompleteness": places}


# Of HCPCS, deliveries, some vaccines, drugs and screening questions no concept id is known without an own download of
# the vocabularies; and of the cohort one person in twenty is asked about smoking, its only observation.
# A person in hospital of whose few diagnoses none has a concept has no era.
INCOMPLETE = {
    "us_ambulatory": {"standardConceptRecordCompleteness", "sourceValueCompleteness"},
    "cardiometabolic_cohort": {"measurePersonCompleteness"},
    "acute_inpatient": {
        "standardConceptRecordCompleteness",
        "measurePersonCompleteness",
        "sourceValueCompleteness",
        "measureConditionEraCompleteness",
    },
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_nothing_but_completeness_fails_for_shipped_models(name: str, tmp_path: Path) -> None:
    patients = api.generate(api.load_model(name), population=120, seed=11)
    api.export(patients, tmp_path / "out", formats=["omop-parquet"])
    assert set(failed(tmp_path / "out" / "omop-parquet")) <= INCOMPLETE[name]
    notes = json.loads((tmp_path / "out/manifest.json").read_text())["formats"]["omop-parquet"]["notes"]
    assert notes["rows_with_standard_concept"] >= 0.9 * notes["rows_with_code"] > 0
    procedures = notes["standard_concepts"].get("procedure_occurrence", {"no_standard_concept": 0, "rows": 0})
    assert procedures["no_standard_concept"] <= 0.1 * procedures["rows"]


def test_records_without_dates_are_no_omop(tmp_path: Path) -> None:
    patients = api.generate(api.load_model("diabetes_inpatient"), population=5, seed=11)
    with pytest.raises(OutputError, match="no start"):
        api.export(patients, tmp_path / "out", formats=["omop-parquet"])
    assert not (tmp_path / "out").exists()


def change(folder: Path, table: str, how: Callable[[Rows], Rows | None]) -> None:
    path = folder / f"{table}.csv"
    with path.open(newline="") as handle:
        reader = csv.DictReader(handle)
        names, rows = list(reader.fieldnames or ()), list(reader)
    rows = how(rows) or rows
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def every(step: int, **values: str | Callable[[dict[str, str]], str]) -> Callable[[Rows], None]:
    """Set columns in every so manieth row."""

    def do(rows: Rows) -> None:
        for row in rows[::step]:
            row.update({name: value if isinstance(value, str) else value(row) for name, value in values.items()})

    return do


def later(column: str, days: int) -> Callable[[dict[str, str]], str]:
    return lambda row: str(date.fromisoformat(row[column]) + timedelta(days=days))


def spoil(folder: Path) -> None:
    """Break everything that the list has a check for."""
    with (folder / "person.csv").open(newline="") as handle:
        women = {row["person_id"] for row in csv.DictReader(handle) if row["gender_concept_id"] == "8532"}
    with (folder / "death.csv").open(newline="") as handle:
        died = {row["person_id"]: row["death_date"] for row in csv.DictReader(handle)}
    (folder / "metadata.csv").unlink()
    (folder / "specimen.csv").write_text("person_id\n")
    change(folder, "observation_period", lambda rows: rows[1:])
    change(
        folder, "observation_period", every(1, observation_period_end_date=later("observation_period_end_date", 400))
    )
    change(folder, "condition_era", lambda rows: [row for row in rows if row["person_id"] != "1"])
    change(folder, "drug_era", every(9, drug_concept_id="8507"))
    change(folder, "drug_exposure", lambda rows: [*rows, rows[0]])
    change(folder, "drug_exposure", every(1, drug_concept_id="0"))
    change(folder, "drug_exposure", every(3, quantity="-1"))
    change(folder, "drug_exposure", every(7, drug_exposure_start_date="1900-01-01"))
    change(folder, "visit_occurrence", every(5, visit_end_date=later("visit_start_date", -20)))
    change(folder, "visit_occurrence", every(11, visit_type_concept_id=""))
    change(folder, "procedure_occurrence", every(2, procedure_date=later("procedure_date", 400)))
    change(folder, "condition_occurrence", every(4, condition_source_concept_id="0"))
    change(folder, "condition_occurrence", every(13, visit_occurrence_id=FAR, provider_id="1.5"))
    change(folder, "condition_occurrence", every(6, condition_concept_id="8507"))

    def of_women(rows: Rows) -> None:
        for row in rows:
            if row["person_id"] in women:
                row["condition_concept_id"] = MALE_ONLY
                break

    change(folder, "condition_occurrence", of_women)
    change(folder, "observation", every(3, observation_concept_id="2005000005"))

    def of_the_dead(rows: Rows) -> None:
        for row in rows:
            row["unit_concept_id"] = "8840" if row["unit_concept_id"] else ""
            if row["person_id"] in died:
                row["measurement_date"] = str(date.fromisoformat(died[row["person_id"]]) + timedelta(days=90))
        for row in rows[::12]:
            row["measurement_date"] = "2999-01-01"
        for low, row in enumerate(rows[1:40]):
            row.update(
                measurement_concept_id="3013682", unit_concept_id="8840", value_as_number=("-5", "9000")[low % 2]
            )

    change(folder, "measurement", of_the_dead)
    change(folder, "concept", lambda rows: [*rows, dict(rows[1], concept_id="2005000005", standard_concept="")])
    change(
        folder,
        "concept_ancestor",
        lambda rows: [*rows, {"ancestor_concept_id": "4090861", "descendant_concept_id": MALE_ONLY}],
    )


def test_every_check_of_the_list_fails_on_what_breaks_it(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(written, folder)
    spoil(folder)
    report = validate_omop(folder, format="omop", today=TODAY)
    found: dict[str, set[str]] = {}
    for issue in report.issues:
        found.setdefault(issue.check, set()).add(issue.place)
    expected = {
        "cdmTable": "metadata",
        "cdmField": "specimen.specimen_id",
        "isRequired": "visit_occurrence.visit_type_concept_id",
        "cdmDatatype": "condition_occurrence.provider_id",
        "isPrimaryKey": "drug_exposure.drug_exposure_id",
        "isForeignKey": "condition_occurrence.visit_occurrence_id",
        "fkDomain": "condition_occurrence.condition_concept_id",
        "fkClass": "drug_era.drug_concept_id",
        "isStandardValidConcept": "observation.observation_concept_id",
        "measurePersonCompleteness": "observation_period",
        "measureConditionEraCompleteness": "condition_era",
        "measureValueCompleteness": "visit_occurrence.visit_type_concept_id",
        "standardConceptRecordCompleteness": "drug_exposure.drug_concept_id",
        "sourceConceptRecordCompleteness": "condition_occurrence.condition_source_concept_id",
        "sourceValueCompleteness": "drug_exposure.drug_source_value",
        "plausibleValueLow": "drug_exposure.quantity",
        "plausibleValueHigh": "measurement.measurement_date",
        "plausibleTemporalAfter": "drug_exposure.drug_exposure_start_date",
        "plausibleDuringLife": "observation_period.observation_period_end_date",
        "plausibleBeforeDeath": "measurement.measurement_date",
        "plausibleStartBeforeEnd": "visit_occurrence.visit_start_date",
        "plausibleAfterBirth": "drug_exposure.drug_exposure_start_date",
        "withinVisitDates": "procedure_occurrence.procedure_date",
        "plausibleGender": "condition_occurrence.condition_concept_id",
        "plausibleGenderUseDescendants": "condition_occurrence.condition_concept_id",
        "plausibleUnitConceptIds": "measurement.measurement_concept_id",
    }
    assert set(expected) == {rule.check for rule in rules()}
    assert {check: place for check, place in expected.items() if place not in found.get(check, ())} == {}
    by_check = {issue.check: issue for issue in report.issues}
    assert by_check["isPrimaryKey"].severity == "error"
    assert by_check["isPrimaryKey"].category == "conformance"
    assert by_check["cdmTable"].severity == "warning"
    assert by_check["plausibleGender"].category == "plausibility"
    assert "'1.5'" in by_check["cdmDatatype"].example


def test_any_case_any_delimiter_packed_and_parts(written: Path, tmp_path: Path) -> None:
    for path in written.glob("*.csv"):
        with path.open(newline="") as handle:
            rows = list(csv.reader(handle))
        with gzip.open(tmp_path / f"{path.stem.upper()}.csv.gz", "wt", newline="") as handle:
            csv.writer(handle, delimiter=";").writerows([[name.upper() for name in rows[0]], *rows[1:]])
    report = validate_omop(tmp_path, format="omop", today=TODAY)
    assert {issue.check for issue in report.issues} == {"standardConceptRecordCompleteness"}
    assert report.counts["person"] == 150


def test_without_concepts_what_leads_to_them_is_not_checked(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "bare")
    (tmp_path / "bare" / "concept.csv").unlink()
    report = validate_omop(tmp_path / "bare", format="omop", today=TODAY)
    assert "no-vocabulary" in {issue.check for issue in report.issues}
    assert "fkDomain" not in report.checked
    assert not [issue for issue in report.issues if issue.severity == "error"]


@pytest.mark.parametrize(
    ("violated", "total", "threshold", "expected"),
    [(0, 10, 0, False), (1, 1000, 0, True), (5, 100, 5, False), (6, 100, 5, True), (10, 10, 100, False)],
)
def test_a_check_fails_above_its_threshold(violated: int, total: int, threshold: float, expected: bool) -> None:
    rule = Rule("isRequired", "person", "person_id", threshold, "", (), None)
    assert Outcome(rule, violated, total).failed is expected
