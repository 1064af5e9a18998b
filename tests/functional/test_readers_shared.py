"""Real and public OMOP data beside the checkout: what is read of them, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ehrsynth import api
from ehrsynth.readers.report import ReadReport
from ehrsynth.records import Records
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, RXNORM, SNOMED, known

Read = tuple[Records, ReadReport]


@pytest.fixture(scope="session")
def mimic(shared: Path) -> Read:
    return api.read_with_report(shared / "data" / "mimic4_demo_omop")


@pytest.fixture(scope="session")
def synthea(shared: Path) -> Read:
    return api.read_with_report(shared / "data" / "omop_synthea_1k")


def shares(table: pa.Table, column: str) -> dict[Any, float]:
    counts = pc.value_counts(table[column].cast(pa.string())).to_pylist()
    return {entry["values"]: entry["counts"] / table.num_rows for entry in counts}


@pytest.mark.parametrize("name", ["mimic", "synthea"])
def test_every_row_is_accounted_for_and_every_key_holds(name: str, request: pytest.FixtureRequest) -> None:
    records, report = request.getfixturevalue(name)
    for table, count in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert report.rows_taken[table] + aside == count, table
    assert records.check_keys() == []


@pytest.mark.parametrize("name", ["mimic", "synthea"])
def test_no_row_lies_outside_a_life_or_ends_before_it_starts(name: str, request: pytest.FixtureRequest) -> None:
    records = request.getfixturevalue(name)[0]
    people = records["patient"]
    for table in records.schema.tables:
        rows = records[table.name]
        for first, second in table.order:
            # A date and a time compare as times; two numbers (a range) as they are.
            sides = [
                rows[name].cast(pa.timestamp("s")) if pa.types.is_date32(rows[name].type) else rows[name]
                for name in (first, second)
            ]
            assert not pc.any(pc.greater(*sides)).as_py(), (table.name, first)
        if not table.within_life:
            continue
        at = pc.index_in(rows["patient_id"], value_set=people["patient_id"].combine_chunks())
        birth, death = people["birth_date"].take(at), people["death_datetime"].take(at).cast(pa.date32(), safe=False)
        for column in table.within_life:
            day = rows[column].cast(pa.date32(), safe=False)
            assert not pc.any(pc.less(day, birth)).as_py(), (table.name, column)
            assert not pc.any(pc.greater(day, death)).as_py(), (table.name, column)


def test_mimic_in_figures(mimic: Read) -> None:
    records, report = mimic
    counts = {name: n for name, n in records.row_counts.items() if n}
    assert counts == {
        "organization": 31,
        "location": 1,
        "patient": 100,
        "encounter": 852,
        "condition": 4004,
        "medication_request": 14537,
        "procedure": 3361,
        "device": 755,
    }
    assert {(entry.table, entry.reason): entry.count for entry in report.set_aside} == {
        ("condition_occurrence", "repeated in the same visit"): 12437,
        ("drug_exposure", "repeated on the same day"): 3692,
        ("procedure_occurrence", "repeated on the same day"): 15086,
        ("device_exposure", "repeated on the same day"): 3100,
    }
    assert records.provenance.time_basis == "shifted"
    assert records["patient"].num_rows - records["patient"]["death_datetime"].null_count == 15


def test_mimic_diagnoses_are_icd_with_their_dot(mimic: Read) -> None:
    condition = mimic[0]["condition"]
    by_system = shares(condition, "code_system")
    assert by_system[ICD9CM] + by_system[ICD10CM] > 0.9
    for system in (ICD9CM, ICD10CM):
        codes = condition.filter(pc.equal(condition["code_system"].cast(pa.string()), system))["code"].cast(pa.string())
        distinct = pc.unique(codes).to_pylist()
        mask = known(system, distinct)
        assert mask is not None
        assert np.mean(mask) > 0.99
    names = condition.filter(pc.equal(condition["code"].cast(pa.string()), "787.91"))["display"].cast(pa.string())
    assert pc.unique(names).to_pylist() == ["Diarrhea"]


def test_mimic_drugs_are_mostly_rxnorm(mimic: Read) -> None:
    assert shares(mimic[0]["medication_request"], "code_system")[RXNORM] > 0.85


def test_mimic_emergency_stays_are_inpatient(mimic: Read) -> None:
    encounter = mimic[0]["encounter"]
    classes = shares(encounter, "encounter_class")
    assert set(classes) == {"IMP", "AMB", "EMER", "OBSENC"}
    assert classes["IMP"] > 0.18
    died = encounter.filter(pc.equal(encounter["discharge_disposition_code"].cast(pa.string()), "exp"))
    assert died.num_rows == 15


def test_synthea_in_figures(synthea: Read) -> None:
    records, report = synthea
    counts = {name: n for name, n in records.row_counts.items() if n}
    assert counts == {
        "patient": 1130,
        "encounter": 32153,
        "condition": 7900,
        "observation": 183681,
        "medication_request": 7819,
        "procedure": 17331,
        "immunization": 13799,
        "allergy_intolerance": 619,
    }
    assert {(entry.table, entry.reason): entry.count for entry in report.set_aside} == {
        ("drug_exposure", "its concept is of a domain that does not belong here"): 7898,
        ("drug_exposure", "repeated on the same day"): 2,
        ("measurement", "its concept is of a domain that does not belong here"): 16660,
        ("observation", "its concept is of a domain that does not belong here"): 7072,
        ("procedure_occurrence", "repeated on the same day"): 2,
    }
    assert records.provenance.time_basis == "calendar"
    assert shares(records["encounter"], "time_precision") == {"day": 1.0}


def test_synthea_keeps_the_vocabularies_of_its_source_concepts(synthea: Read) -> None:
    records = synthea[0]
    assert shares(records["condition"], "code_system") == {SNOMED: 1.0}
    assert shares(records["immunization"], "code_system") == {CVX: 1.0}
    assert shares(records["medication_request"], "code_system")[RXNORM] > 0.95
    assert shares(records["observation"], "code_system")[LOINC] > 0.9
    assert shares(records["observation"], "category")["vital-signs"] > 0.1
