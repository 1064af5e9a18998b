"""OMOP to records: what each table becomes, how codes are chosen, and what happens to what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrsynth.errors import SourceError
from ehrsynth.readers.omop import OmopReader
from ehrsynth.readers.report import ReadReport
from ehrsynth.records import Records

ONE, TWO, THREE = "-8254164865273971123", "2", "0003"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9 = "http://hl7.org/fhir/sid/icd-9-cm"


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module ``tests/golden/omop_folder.py``."""
    import importlib.util

    path = Path(__file__).parents[1] / "golden" / "omop_folder.py"
    spec = importlib.util.spec_from_file_location("ehrsynth_tests_golden_omop_folder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def read(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Records, ReadReport]:
    return OmopReader().read(made.write(tmp_path_factory.mktemp("omop"), made.tables()))


@pytest.fixture(scope="session")
def records(read: tuple[Records, ReadReport]) -> Records:
    return read[0]


@pytest.fixture(scope="session")
def report(read: tuple[Records, ReadReport]) -> ReadReport:
    return read[1]


def rows(records: Records, table: str) -> dict[str, dict[str, Any]]:
    key = records.schema[table].primary_key
    return {row[key]: {k: v for k, v in row.items() if v is not None} for row in records[table].to_pylist()}


def test_the_people(records: Records) -> None:
    patients = rows(records, "patient")
    assert list(patients) == [ONE, TWO, THREE]
    assert patients[ONE] == {
        "patient_id": ONE,
        "birth_date": date(1950, 3, 15),
        "birth_date_precision": "day",
        "sex": "male",
        "race_code": "2106-3",
        "ethnicity_code": "2186-5",
        "record_start_date": date(2014, 1, 1),
        "record_end_date": date(2016, 12, 31),
        "city": "Lowell",
        "state": "MA",
        "postal_code": "01850-1234",
        "organization_id": "5",
        "practitioner_id": "7",
    }
    assert patients[TWO] == {
        "patient_id": TWO,
        "birth_date": date(1980, 6, 1),
        "birth_date_precision": "month",
        "sex": "female",
        "race_code": "2028-9",
        "death_datetime": datetime(2020, 5, 4, 13, 45),
        "death_precision": "minute",
        "cause_of_death_system": ICD10,
        "cause_of_death_code": "I21.9",
        "cause_of_death_display": "Acute myocardial infarction, unspecified",
        "record_start_date": date(1980, 6, 1),
        "record_end_date": date(2020, 5, 4),
        "city": "Salem",
    }
    assert patients[THREE] == {
        "patient_id": THREE,
        "birth_date": date(2001, 1, 1),
        "birth_date_precision": "year",
        "sex": "female",
        "ethnicity_code": "2135-2",
    }


def test_the_places(records: Records) -> None:
    assert rows(records, "organization")["5"] == {
        "organization_id": "5",
        "name": "Ward A",
        "organization_type_code": "prov",
        "address_line": "1 Main St",
        "city": "Boston",
        "state": "MA",
        "postal_code": "02115",
    }
    assert rows(records, "organization")["6"]["name"] == "Care site 6"
    assert list(rows(records, "location")) == ["1"]
    practitioners = rows(records, "practitioner")
    assert practitioners["7"] == {
        "practitioner_id": "7",
        "npi": "1234567893",
        "given_name": "Ana María",
        "family_name": "Núñez",
        "sex": "female",
        "specialty_display": "Internal medicine",
        "organization_id": "5",
    }
    assert practitioners["8"] == {"practitioner_id": "8", "family_name": "Provider 8"}


def test_the_visits(records: Records) -> None:
    visits = rows(records, "encounter")
    assert list(visits) == ["10", "-11", "12", "15", "13", "14"]
    assert [visit["sequence"] for visit in visits.values()] == [1, 2, 1, 1, 2, 3]
    assert visits["-11"] == {
        "encounter_id": "-11",
        "patient_id": ONE,
        "sequence": 2,
        "start_datetime": datetime(2016, 2, 1, 8, 30),
        "end_datetime": datetime(2016, 2, 4, 11),
        "time_precision": "minute",
        "status": "finished",
        "encounter_class": "IMP",
        "admit_source_code": "emd",
        "discharge_disposition_code": "snf",
        "organization_id": "5",
        "practitioner_id": "7",
        "location_id": "1",
        "coverage_id": "2",
    }
    assert visits["10"]["coverage_id"] == "1"
    assert visits["12"]["end_datetime"] == datetime(2020, 5, 4, 13, 45), "cut to the death"
    assert (visits["12"]["encounter_class"], visits["12"]["admit_source_code"]) == ("IMP", "emd")
    assert visits["12"]["discharge_disposition_code"] == "exp"
    assert (visits["15"]["encounter_class"], visits["15"]["admit_source_code"]) == ("IMP", "emd")
    assert visits["13"]["encounter_class"] == "IMP", "two days and nothing said"
    assert visits["14"]["encounter_class"] == "IMP", "by the source's word"
    assert (visits["14"]["time_precision"], visits["14"]["status"]) == ("day", "unknown")
    assert "end_datetime" not in visits["14"]


def test_payers_and_coverage(records: Records) -> None:
    assert sorted(rows(records, "payer")) == ["Acme", "Medicare"]
    assert rows(records, "coverage")["1"]["payer_id"] == "Medicare"


def codes(records: Records, table: str) -> dict[str, tuple[str, str]]:
    return {key: (row["code_system"], row["code"]) for key, row in rows(records, table).items()}


def test_the_codes_of_conditions(records: Records) -> None:
    assert codes(records, "condition") == {
        "110": (ICD9, "401.9"),
        "102": (ICD10, "E11.9"),
        "111": (SNOMED, "44054006"),
        "112": (SNOMED, "44054006"),
        "113": ("urn:ehrsynth:source:my-dx", "ODD"),
        "114": ("urn:ehrsynth:source:condition-source-value", "feels odd"),
        "118": (SNOMED, "44054006"),
    }
    conditions = rows(records, "condition")
    assert conditions["102"]["display"] == "T2DM"
    assert conditions["110"]["display"] == "Unspecified essential hypertension"


def test_the_dates_of_conditions(records: Records) -> None:
    conditions = rows(records, "condition")
    charted = conditions["102"]
    assert (charted["onset_date"], charted["recorded_date"]) == (date(2016, 2, 2), date(2016, 2, 2))
    assert "abatement_date" not in charted, "the end is the end of the visit"
    assert charted["clinical_status"] == "active"
    early = conditions["110"]
    assert (early["onset_date"], early["abatement_date"]) == (date(2016, 1, 30), date(2016, 3, 1))
    assert early["clinical_status"] == "resolved"
    assert "encounter_id" not in early, "two days before the visit"
    assert conditions["111"]["category"] == "problem-list-item"
    assert charted["category"] == "encounter-diagnosis"
    assert conditions["118"]["onset_date"] == date(2020, 5, 4), "moved to the day of death"


def test_the_drugs(records: Records) -> None:
    drugs = rows(records, "medication_request")
    assert drugs["200"] == {
        "medication_request_id": "200",
        "patient_id": ONE,
        "encounter_id": "-11",
        "code_system": "http://www.nlm.nih.gov/research/umls/rxnorm",
        "code": "313782",
        "display": "A drug",
        "status": "completed",
        "intent": "order",
        "authored_datetime": datetime(2016, 2, 2, 10),
        "time_precision": "minute",
        "start_date": date(2016, 2, 2),
        "end_date": date(2016, 2, 9),
        "sig": "twice a day",
        "route_system": "urn:ehrsynth:source:route-source-value",
        "route_code": "PO",
        "days_supply": 7,
        "quantity": 14.0,
        "refills": 0,
    }
    assert sorted(drugs) == ["200", "203"]
    assert (drugs["203"]["code_system"], drugs["203"]["status"]) == ("http://hl7.org/fhir/sid/ndc", "stopped")
    assert drugs["203"]["time_precision"] == "day"
    vaccine = rows(records, "immunization")["202"]
    assert (vaccine["code_system"], vaccine["code"]) == ("http://hl7.org/fhir/sid/cvx", "140")
    assert "lot_number" not in vaccine


def test_the_procedures(records: Records) -> None:
    procedures = rows(records, "procedure")
    cpt = "http://www.ama-assn.org/go/cpt"
    assert codes(records, "procedure") == {
        "301": ("http://www.cms.gov/Medicare/Coding/ICD10", "0DTJ4ZZ"),
        "300": (cpt, "99213"),
        "302": (cpt, "99214"),
    }
    assert "display" not in procedures["302"], "the AMA's words go no further"
    assert {row["time_precision"] for row in procedures.values()} == {"day"}, "every time is midnight"
    assert "encounter_id" not in procedures["301"], "months before the visit"


def test_the_observations(records: Records) -> None:
    found = rows(records, "observation")
    assert found["400"]["code"] == "2345-7"
    assert (found["400"]["value_number"], found["400"]["value_comparator"], found["400"]["value_unit"]) == (
        5.0,
        "<",
        "mg/dL",
    )
    assert (found["400"]["reference_low"], found["400"]["reference_high"]) == (70.0, 99.0)
    assert (found["400"]["category"], found["400"]["time_precision"]) == ("laboratory", "second")
    assert "value_text" not in found["400"]
    assert (found["401"]["category"], found["401"]["value_unit"]) == ("vital-signs", "Cel")
    assert "reference_low" not in found["401"]
    assert (found["402"]["code_system"], found["402"]["code"]) == (
        "urn:ehrsynth:source:measurement-source-value",
        "odd test",
    )
    assert found["402"]["value_text"] == "cloudy"
    assert "value_unit" not in found["402"], "a unit of nothing"
    assert (found["403"]["value_system"], found["403"]["value_code"]) == (SNOMED, "44054006")
    assert found["observation-400"]["category"] == "social-history"
    assert found["observation-400"]["value_text"] == "never"


def test_the_devices(records: Records) -> None:
    device = rows(records, "device")["500"]
    assert (device["code"], device["unique_device_id"], device["status"]) == ("pump", "(01)1", "inactive")
    assert device["end_datetime"] == datetime(2020, 5, 4), "cut to the death, whose day alone fits the precision"


def test_the_origin(records: Records, report: ReadReport) -> None:
    assert records.provenance.source.startswith("Made by hand, as OMOP tables in")
    assert records.provenance.details == {"cdm_version": "5.4"}
    assert (records.provenance.source_format, records.provenance.time_basis) == ("omop", "calendar")
    assert any(note.startswith("Not read: note") for note in report.notes)


def test_every_row_is_accounted_for(records: Records, report: ReadReport) -> None:
    assert_accounted(report)
    aside = {(entry.table, entry.reason): (entry.count, entry.row) for entry in report.set_aside}
    assert aside == {
        ("condition_occurrence", "no code"): (1, 9),
        ("condition_occurrence", "before birth"): (1, 10),
        ("condition_occurrence", "after death"): (1, 11),
        ("condition_occurrence", "repeated in the same visit"): (2, 1),
        ("drug_exposure", "its concept is of a domain that does not belong here"): (1, 5),
        ("drug_exposure", "repeated on the same day"): (1, 2),
    }
    changed = {(entry.table, entry.column): entry.count for entry in report.adjusted}
    assert changed[("visit_occurrence", "visit_end_date")] == 1
    assert changed[("procedure_occurrence", "visit_occurrence_id")] == 1
    assert records.check_keys() == []


def assert_accounted(report: ReadReport) -> None:
    for table, count in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert report.rows_taken[table] + aside == count, table
    assert all(entry.count > 0 for entry in report.set_aside + report.adjusted)


def test_rows_stand_by_patient_and_time(records: Records) -> None:
    order = {key: at for at, key in enumerate(records["patient"]["patient_id"].to_pylist())}
    for table, time in (("observation", "effective_datetime"), ("condition", "recorded_date")):
        keys = [(order[row["patient_id"]], str(row[time])) for row in records[table].to_pylist()]
        assert keys == sorted(keys)


@pytest.mark.parametrize(("how", "upper"), [("csv.gz", False), ("tsv", True), ("bom", False), ("parquet", True)])
def test_the_way_of_writing_makes_no_difference(
    tmp_path: Path, made: ModuleType, records: Records, how: str, upper: bool
) -> None:
    other, _ = OmopReader().read(made.write(tmp_path, made.tables(), how, upper=upper))
    for name in records:
        assert other[name].to_pylist() == records[name].to_pylist()


def test_the_older_names_of_columns(tmp_path: Path, made: ModuleType, records: Records) -> None:
    older = {"admitted_from": "admitting_source", "discharged_to": "discharge_to"}
    tables = made.tables()
    tables["visit_occurrence"] = [
        {
            next((name.replace(new, old) for new, old in older.items() if name.startswith(new)), name): cell
            for name, cell in row.items()
        }
        for row in tables["visit_occurrence"]
    ]
    for row in tables["visit_occurrence"]:
        if "admitting_source_source_value" in row:
            row["admitting_source_value"] = row.pop("admitting_source_source_value")
    other, _ = OmopReader().read(made.write(tmp_path, tables))
    assert other["encounter"].to_pylist() == records["encounter"].to_pylist()


def test_person_and_visits_are_enough(tmp_path: Path, made: ModuleType) -> None:
    tables = {name: made.tables()[name] for name in ("person", "visit_occurrence")}
    records, report = OmopReader().read(made.write(tmp_path, tables))
    assert records.row_counts | {"patient": 3, "encounter": 6} == records.row_counts
    assert "There is no table condition_occurrence." in report.notes
    assert records["encounter"]["organization_id"].null_count == 6
    assert any("reference left out" in entry.reason for entry in report.adjusted)


def test_shifted_dates_are_said(tmp_path: Path, made: ModuleType) -> None:
    tables = {name: made.tables()[name] for name in ("person", "visit_occurrence")}
    tables["visit_occurrence"][0] |= {
        "visit_start_date": "2150-01-01",
        "visit_start_datetime": "",
        "visit_end_date": "",
        "visit_end_datetime": "",
    }
    records, report = OmopReader().read(made.write(tmp_path, tables))
    assert records.provenance.time_basis == "shifted"
    assert any("shifted" in note for note in report.notes)


def test_recognised_by_file_names(tmp_path: Path) -> None:
    reader = OmopReader()
    assert not reader.recognises(tmp_path)
    (tmp_path / "PERSON.csv").write_text("")
    assert not reader.recognises(tmp_path)
    (tmp_path / "visit_occurrence.parquet").write_text("")
    assert reader.recognises(tmp_path)


Change = Callable[[dict[str, list[dict[str, Any]]]], None]


def put(table: str, row: int, **cells: Any) -> Change:
    return lambda tables: tables[table][row - 1].update(cells)


def again(table: str, row: int) -> Change:
    return lambda tables: tables[table].append(dict(tables[table][row - 1]))


BROKEN: list[tuple[Change, str, str, int, str]] = [
    (
        put("visit_occurrence", 2, visit_start_date="2019-13-45"),
        "'2019-13-45' is not a date",
        "visit_occurrence",
        2,
        "visit_start_date",
    ),
    (put("person", 2, year_of_birth="19x"), "'19x' is not a whole number", "person", 2, "year_of_birth"),
    (put("person", 1, month_of_birth=2, day_of_birth=30), "no date of birth", "person", 1, "year_of_birth"),
    (put("person", 3, year_of_birth=""), "no date of birth", "person", 3, "year_of_birth"),
    (again("person", 1), "there twice", "person", 4, "person_id"),
    (again("visit_occurrence", 2), "there twice", "visit_occurrence", 7, "visit_occurrence_id"),
    (put("person", 2, person_id=""), "key is empty", "person", 2, "person_id"),
    (
        put("visit_occurrence", 1, person_id="garbage"),
        "'garbage' is not in the table person",
        "visit_occurrence",
        1,
        "person_id",
    ),
    (put("visit_occurrence", 3, person_id=""), "reference is empty", "visit_occurrence", 3, "person_id"),
    (put("visit_occurrence", 5, visit_start_date=""), "no start", "visit_occurrence", 5, "visit_start_date"),
    (
        put("visit_occurrence", 1, care_site_id=77),
        "'77' is not in the table care_site",
        "visit_occurrence",
        1,
        "care_site_id",
    ),
    (
        put("condition_occurrence", 4, visit_occurrence_id=99),
        "'99' is not in the table visit_occurrence",
        "condition_occurrence",
        4,
        "visit_occurrence_id",
    ),
    (
        put("condition_occurrence", 4, visit_occurrence_id=12),
        "'12' is of another person",
        "condition_occurrence",
        4,
        "visit_occurrence_id",
    ),
    (again("condition_occurrence", 5), "there twice", "condition_occurrence", 13, "condition_occurrence_id"),
    (put("measurement", 2, value_as_number="high"), "'high' is not a number", "measurement", 2, "value_as_number"),
    (put("drug_exposure", 1, provider_id=9), "'9' is not in the table provider", "drug_exposure", 1, "provider_id"),
    (put("death", 1, person_id=9), "'9' is not in the table person", "death", 1, "person_id"),
    (put("death", 1, death_date="", death_datetime=""), "no date of death", "death", 1, "death_date"),
    (put("payer_plan_period", 1, person_id=9), "'9' is not in the table person", "payer_plan_period", 1, "person_id"),
]


@pytest.mark.parametrize(
    ("change", "message", "table", "row", "column"), BROKEN, ids=[entry[1] + " " + entry[2] for entry in BROKEN]
)
def test_what_is_wrong_is_said_or_set_aside(
    tmp_path: Path, made: ModuleType, change: Change, message: str, table: str, row: int, column: str
) -> None:
    tables = made.tables()
    change(tables)
    folder = made.write(tmp_path, tables)
    with pytest.raises(SourceError, match=message) as caught:
        OmopReader().read(folder)
    error = caught.value
    assert (error.file, error.table, error.row, error.column) == (str(folder / f"{table}.csv"), table, row, column)
    assert "leniently" in str(error.hint)
    records, report = OmopReader().read(folder, strict=False)
    assert records.check_keys() == []
    assert_accounted(report)
    said = [entry for entry in report.set_aside + report.adjusted if (entry.table, entry.column) == (table, column)]
    assert row in [entry.row for entry in said]


def drop(table: str, column: str) -> Change:
    def change(tables: dict[str, list[dict[str, Any]]]) -> None:
        for row in tables[table]:
            row.pop(column, None)

    return change


@pytest.mark.parametrize(
    ("table", "column"),
    [("person", "person_id"), ("visit_occurrence", "visit_occurrence_id"), ("visit_occurrence", "person_id")],
)
def test_a_missing_key_column_of_an_indispensable_table_is_always_an_error(
    tmp_path: Path, made: ModuleType, table: str, column: str
) -> None:
    tables = made.tables()
    drop(table, column)(tables)
    folder = made.write(tmp_path, tables)
    for strict in (True, False):
        with pytest.raises(SourceError, match=f"no column '{column}'") as caught:
            OmopReader().read(folder, strict=strict)
        assert (caught.value.table, caught.value.column) == (table, column)
        assert "It has: " in str(caught.value.hint)


def test_without_a_key_column_another_table_is_set_aside_leniently(tmp_path: Path, made: ModuleType) -> None:
    tables = made.tables()
    drop("condition_occurrence", "condition_occurrence_id")(tables)
    folder = made.write(tmp_path, tables)
    with pytest.raises(SourceError, match="no column 'condition_occurrence_id'"):
        OmopReader().read(folder)
    records, report = OmopReader().read(folder, strict=False)
    assert records["condition"].num_rows == 0
    assert_accounted(report)


@pytest.mark.parametrize("table", ["person", "visit_occurrence"])
def test_a_missing_indispensable_table(tmp_path: Path, made: ModuleType, table: str) -> None:
    tables = made.tables()
    del tables[table]
    with pytest.raises(SourceError, match=f"no table '{table}'") as caught:
        OmopReader().read(made.write(tmp_path, tables), strict=False)
    assert caught.value.table == table
    assert "measurement" in str(caught.value.hint)


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_no_source(tmp_path: Path, make: str) -> None:
    source = tmp_path / "s"
    if make == "empty":
        source.mkdir()
    with pytest.raises(SourceError) as caught:
        OmopReader().read(source)
    assert caught.value.file == str(source)
    assert caught.value.hint


def test_a_file_without_rows_is_a_table_without_rows(tmp_path: Path, made: ModuleType) -> None:
    tables = made.tables()
    folder = made.write(tmp_path, tables)
    for table, rows_of in tables.items():
        if table not in ("person", "visit_occurrence"):
            (folder / f"{table}.csv").write_text(",".join(dict.fromkeys(k for row in rows_of for k in row)) + "\n")
    records, report = OmopReader().read(folder)
    assert records.row_counts["encounter"] == 6
    assert records.row_counts["condition"] == records.row_counts["observation"] == 0
    assert_accounted(report)


def test_people_without_any_visit(tmp_path: Path, made: ModuleType) -> None:
    tables = {"person": made.tables()["person"], "condition_occurrence": made.tables()["condition_occurrence"]}
    for row in tables["condition_occurrence"]:
        row["visit_occurrence_id"] = ""
    folder = made.write(tmp_path, tables)
    (folder / "visit_occurrence.csv").write_text("visit_occurrence_id,person_id,visit_concept_id,visit_start_date\n")
    records, _ = OmopReader().read(folder)
    assert records["encounter"].num_rows == 0
    assert records["condition"].num_rows > 0
