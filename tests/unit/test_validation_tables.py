"""Good tables are found good, and every single thing that is broken in them is found by the check named for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.validation import CHECKS, validate

Tables = dict[str, list[dict[str, str]]]


def _rows() -> Any:
    # Tests are no package: pytest imports them by file, and so do we.
    spec = importlib.util.spec_from_file_location(
        "ehrsynth_tests_table_rows", Path(__file__).with_name("table_rows.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = _rows()
good, write = ROWS.good, ROWS.write


def put(table: str, row: int, **values: str) -> Callable[[Tables], object]:
    return lambda tables: tables[table][row].update(values)


def drop(table: str, column: str) -> Callable[[Tables], object]:
    return lambda tables: [row.pop(column) for row in tables[table]]


def again(table: str, row: int, **values: str) -> Callable[[Tables], object]:
    return lambda tables: tables[table].append({**tables[table][row], **values})


def add(table: str, column: str, value: str) -> Callable[[Tables], object]:
    return lambda tables: [row.update({column: value}) for row in tables[table]]


def at_encounter(number: int, start: str, end: str) -> Callable[[Tables], object]:
    return put("encounter", number, start_datetime=start, end_datetime=end)


BROKEN: dict[str, tuple[Callable[[Tables], object], str, str]] = {
    "no key column": (drop("encounter", "encounter_id"), "missing-column", "encounter.encounter_id"),
    "no required column": (drop("condition", "code"), "missing-column", "condition.code"),
    "unknown column": (add("patient", "shoe_size", "44"), "unknown-column", "patient.shoe_size"),
    "no patients": (lambda tables: tables.pop("patient"), "missing-table", "patient"),
    "bad date": (put("patient", 0, birth_date="2019-13-45"), "wrong-type", "patient.birth_date"),
    "30 February": (put("condition", 0, onset_date="2015-02-30"), "wrong-type", "condition.onset_date"),
    "29 February 1900": (put("patient", 0, birth_date="1900-02-29"), "wrong-type", "patient.birth_date"),
    "date of another country": (put("patient", 0, birth_date="04/05/1960"), "wrong-type", "patient.birth_date"),
    "hour 25": (at_encounter(0, "2020-03-01T25:00:00Z", ""), "wrong-type", "encounter.start_datetime"),
    "fraction for a whole number": (put("encounter", 0, sequence="1.0"), "wrong-type", "encounter.sequence"),
    "text for a number": (put("observation", 0, value_number="95,5"), "wrong-type", "observation.value_number"),
    "text for a boolean": (put("immunization", 0, primary_source="yes"), "wrong-type", "immunization.primary_source"),
    "decimal identifier": (
        put("observation", 0, observation_id="17.0"),
        "float-identifier",
        "observation.observation_id",
    ),
    "no sex": (put("patient", 0, sex=""), "empty-required", "patient.sex"),
    "key empty": (put("condition", 0, condition_id=""), "empty-required", "condition.condition_id"),
    "sex unknown": (put("patient", 0, sex="F"), "not-in-enumeration", "patient.sex"),
    "postal code": (put("patient", 0, postal_code="1101"), "pattern-mismatch", "patient.postal_code"),
    "postal code with more": (put("patient", 0, postal_code="01101x"), "pattern-mismatch", "patient.postal_code"),
    "sequence of zero": (put("encounter", 0, sequence="0"), "out-of-range", "encounter.sequence"),
    "key twice": (again("condition", 0, code="E11.9"), "duplicate-key", "condition.condition_id"),
    "record number twice": (
        put("patient", 1, medical_record_number="M1"),
        "not-unique",
        "patient.medical_record_number",
    ),
    "row twice": (again("condition", 0, condition_id="c9"), "duplicate-row", "condition"),
    "orphan visit": (put("encounter", 2, patient_id="p9"), "orphan", "encounter.patient_id"),
    "orphan of a visit": (put("observation", 0, encounter_id="e9"), "orphan", "observation.encounter_id"),
    "orphan of an organization": (put("patient", 1, organization_id="o9"), "orphan", "patient.organization_id"),
    "end before start": (
        at_encounter(0, "2020-03-01T08:00:00Z", "2020-03-01T07:59:59Z"),
        "reversed-order",
        "encounter.start_datetime",
    ),
    "abated before onset": (put("condition", 0, abatement_date="2014-12-31"), "reversed-order", "condition.onset_date"),
    "low above high": (put("observation", 0, reference_low="100"), "reversed-order", "observation.reference_low"),
    "death before birth": (
        put("patient", 0, death_datetime="1950-01-01T00:00:00Z"),
        "reversed-order",
        "patient.birth_date",
    ),
    "onset before birth": (put("condition", 0, onset_date="1959-01-01"), "before-birth", "condition.onset_date"),
    "seen after death": (
        at_encounter(1, "2021-06-01T08:00:00Z", "2021-06-01T08:00:01Z"),
        "after-death",
        "encounter.end_datetime",
    ),
    "seen the day after death": (
        at_encounter(2, "2022-01-02T00:00:00Z", ""),
        "after-death",
        "encounter.start_datetime",
    ),
    "recorded another day": (
        put("condition", 0, recorded_date="2020-03-02"),
        "outside-encounter",
        "condition.recorded_date",
    ),
    "another patient's visit": (
        put("observation", 0, encounter_id="e3"),
        "other-patients-encounter",
        "observation.encounter_id",
    ),
    "visits out of order": (put("encounter", 0, sequence="3"), "sequence-against-dates", "encounter.sequence"),
    "two first visits": (put("encounter", 1, sequence="1"), "sequence-against-dates", "encounter.sequence"),
    "prostate of a woman": (put("condition", 0, code="N40.0"), "impossible-for-sex", "condition.code"),
    "birth at 55": (put("condition", 0, code="P22.0"), "impossible-for-age", "condition.code"),
    "born in 1800": (put("patient", 0, birth_date="1800-01-01"), "implausible-age", "encounter.start_datetime"),
    "no such code": (put("condition", 0, code="I10.99"), "unknown-code", "condition.code"),
    "code of a column's system": (
        add("patient", "marital_status_code", "XX"),
        "unknown-code",
        "patient.marital_status_code",
    ),
    "not UCUM": (put("observation", 0, value_unit="mg/DL"), "not-ucum", "observation.value_unit"),
    "wrong check digit": (put("organization", 0, npi="1234567890"), "npi-check-digit", "organization.npi"),
}


def test_good_tables_are_found_good(tmp_path: Path) -> None:
    report = validate(write(tmp_path / "csv", good()))
    assert report.issues == []
    assert report.format == "csv"
    assert report.counts == {
        "organization": 1, "patient": 2, "encounter": 3, "condition": 2, "observation": 1, "immunization": 1
    }  # fmt: skip
    assert report.checked["foreign keys"] == 1 + 3 + 2 * 2 + 2 + 2
    assert report.checked["dates within lives"] == 6 + 6 + 1 + 1
    assert report.checked["codes by sex and age"] == 4


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_by_its_check(name: str, tmp_path: Path) -> None:
    change, wanted, place = BROKEN[name]
    tables = good()
    change(tables)
    report = validate(write(tmp_path / "csv", tables))
    found = [issue for issue in report.issues if issue.check == wanted and issue.place == place]
    assert found, [(issue.check, issue.place) for issue in report.issues]
    assert found[0].count == len(tables[place.split(".")[0]]) if name.startswith("code of") else found[0].count >= 1
    assert wanted in {item.name for item in CHECKS}


def test_an_example_says_file_row_and_value(tmp_path: Path) -> None:
    tables = good()
    tables["condition"][1]["onset_date"] = "2015-02-30"
    (found,) = validate(write(tmp_path, tables)).issues
    assert found.example == "condition.csv row 2: '2015-02-30'"
    assert found.message == "The value is not of the column's type. It is to be a date, YYYY-MM-DD."
    assert (found.severity, found.category, found.count) == ("error", "conformance", 1)


def test_the_day_is_the_grain_where_the_clock_is_not_known(tmp_path: Path) -> None:
    tables = good()
    # p2 died on 1 January 2022, no hour known; p1 at eight o'clock.
    tables["encounter"][2].update(start_datetime="2022-01-01T23:00:00Z", end_datetime="")
    tables["encounter"][1].update(start_datetime="2021-06-01T09:00:00Z", end_datetime="", time_precision="day")
    tables["condition"][1].update(recorded_date="2021-06-01")
    assert validate(write(tmp_path, tables)).issues == []


def test_a_birth_known_to_the_year_excludes_nothing_of_it(tmp_path: Path) -> None:
    tables = good()
    tables["encounter"][2].update(start_datetime="2001-01-01T00:00:00Z", end_datetime="2001-01-01T01:00:00Z")
    assert validate(write(tmp_path, tables)).issues == []
    tables["encounter"][2].update(start_datetime="2000-12-31T00:00:00Z")
    assert {issue.check for issue in validate(write(tmp_path, tables)).issues} == {"before-birth"}


def test_all_findings_at_once_with_their_counts(tmp_path: Path) -> None:
    tables = good()
    for row in tables["encounter"]:
        row["encounter_class"] = "outpatient"
    tables["patient"][0]["sex"] = ""
    tables["observation"][0]["patient_id"] = "nobody"
    found = {(issue.check, issue.place): issue.count for issue in validate(write(tmp_path, tables)).issues}
    assert found == {
        ("not-in-enumeration", "encounter.encounter_class"): 3,
        ("empty-required", "patient.sex"): 1,
        ("orphan", "observation.patient_id"): 1,
    }
