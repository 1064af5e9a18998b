"""Bundles as Synthea writes them: conditional and logical references, zones, SNOMED, what we have no table for."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrsynth import api
from ehrsynth.readers import ReadReport
from ehrsynth.records import Records

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def read(
    shared: Path, synthea: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Records, ReadReport]:
    """Synthea's tables, and what was read of the Bundles made of them."""
    folder = tmp_path_factory.mktemp("synthea") / "fhir"
    rows = synthea.write(shared / "data" / "synthea_csv_27", folder)
    records, report = api.read_with_report(folder)
    return rows, records, report


def test_every_row_is_there(read: tuple[Any, Records, ReadReport]) -> None:
    rows, records, report = read
    assert records.check_keys() == []
    names = {
        "patients": "patient",
        "encounters": "encounter",
        "conditions": "condition",
        "allergies": "allergy_intolerance",
        "medications": "medication_request",
        "procedures": "procedure",
        "immunizations": "immunization",
        "devices": "device",
        "organizations": "organization",
        "providers": "practitioner",
        "observations": "observation",
    }
    assert {ours: records.row_counts[ours] for ours in names.values()} == {
        ours: len(rows[theirs]) for theirs, ours in names.items()
    }
    assert not records.provenance.synthetic
    aside = {(entry.table, entry.count) for entry in report.set_aside}
    assert aside == {("Claim", len(rows["encounters"])), ("ExplanationOfBenefit", len(rows["encounters"]))}
    lost = Counter({entry.table: entry.count for entry in report.set_aside})
    assert all(count == report.rows_taken[kind] + lost[kind] for kind, count in report.rows_read.items())


def test_codes_times_and_values_are_the_same(read: tuple[Any, Records, ReadReport]) -> None:
    rows, records, _ = read
    for theirs, ours in (
        ("conditions", "condition"),
        ("medications", "medication_request"),
        ("procedures", "procedure"),
    ):
        found = Counter(
            zip(*(records[ours][n].to_pylist() for n in ("patient_id", "encounter_id", "code")), strict=True)
        )
        assert found == Counter((row["PATIENT"], row["ENCOUNTER"], row["CODE"]) for row in rows[theirs])
    starts = {row["encounter_id"]: row["start_datetime"] for row in records["encounter"].to_pylist()}
    assert starts == {
        row["Id"]: datetime.fromisoformat(row["START"]).replace(tzinfo=None) for row in rows["encounters"]
    }
    assert set(records["encounter"]["time_precision"].to_pylist()) == {"second"}
    values = Counter(
        (row["patient_id"], row["code"], row["value_number"] if row["value_number"] is not None else row["value_text"])
        for row in records["observation"].to_pylist()
    )
    assert values == Counter(
        (row["PATIENT"], row["CODE"], float(row["VALUE"]) if row["TYPE"] == "numeric" else row["VALUE"])
        for row in rows["observations"]
    )


def test_references_by_identifier_are_resolved(read: tuple[Any, Records, ReadReport]) -> None:
    rows, records, _ = read
    found = {r["encounter_id"]: (r["practitioner_id"], r["organization_id"]) for r in records["encounter"].to_pylist()}
    assert found == {row["Id"]: (row["PROVIDER"], row["ORGANIZATION"]) for row in rows["encounters"]}
    assert records["encounter"]["location_id"].null_count == 0
    works = dict(
        zip(*(records["practitioner"][n].to_pylist() for n in ("practitioner_id", "organization_id")), strict=True)
    )
    assert works == {row["Id"]: row["ORGANIZATION"] for row in rows["providers"]}
    assert set(records["practitioner"]["specialty_code"].to_pylist()) == {"208D00000X"}


@pytest.mark.learn
def test_a_model_can_be_learned_of_it(read: tuple[Any, Records, ReadReport]) -> None:
    pytest.importorskip("pomegranate")
    from ehrsynth.learning import LearningSettings

    _, records, _ = read
    model = api.learn(records, settings=LearningSettings(min_patients=3, states=2, classes=1))
    made = api.generate(model, population=20, seed=1)
    assert made.n_patients == 20
    codes = set(records["condition"]["code"].to_pylist())
    assert set(made["condition"]["code"].to_pylist()) <= codes


def test_panels_hold_together(read: tuple[Any, Records, ReadReport]) -> None:
    _, records, _ = read
    panels: dict[str, list[str]] = {}
    for row in records["observation"].to_pylist():
        if row["panel_id"] is not None:
            panels.setdefault(row["panel_id"], []).append(row["code"])
    pressures = [sorted(codes) for codes in panels.values() if "8480-6" in codes]
    assert pressures
    assert all(codes == ["8462-4", "8480-6"] for codes in pressures)


def test_encounters_are_counted_by_start(read: tuple[Any, Records, ReadReport]) -> None:
    _, records, _ = read
    by_patient: dict[str, list[tuple[int, datetime]]] = {}
    for row in records["encounter"].to_pylist():
        by_patient.setdefault(row["patient_id"], []).append((row["sequence"], row["start_datetime"]))
    for visits in by_patient.values():
        assert [sequence for sequence, _ in visits] == list(range(1, len(visits) + 1))
        assert [start for _, start in visits] == sorted(start for _, start in visits)
