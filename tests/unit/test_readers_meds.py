"""The MEDS reader: any data set of the standard, by its codes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.errors import SourceError
from ehrsynth.readers.meds_codes import OWN, Meaning, meaning

ICD10, ICD9 = "http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-9-cm"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
LOINC, RXNORM = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm"

Event = tuple[int, str | None, str, float | None, str | None]

EVENTS: list[Event] = [
    (1, None, "GENDER//F", None, None),
    (1, None, "RACE//BLACK/AFRICAN AMERICAN", None, None),
    (1, "1950-01-01 00:00", "MEDS_BIRTH", None, None),
    (1, "2020-03-01 08:00", "HOSPITAL_ADMISSION//URGENT//CLINIC", None, None),
    (1, "2020-03-01 09:00", "LAB//50912//mg/dL", 1.1, None),
    (1, "2020-03-02 09:00", "LAB//50912//mg/dL", 1.3, None),
    (1, "2020-03-02 10:00", "LAB//UA//Color", None, "yellow"),
    (1, "2020-03-02 11:00", "LAB//50912//mg/dL", None, None),
    (1, "2020-03-04 12:00", "DIAGNOSIS//ICD//9//4019", None, None),
    (1, "2020-03-04 12:00", "ICD10CM/E119", None, None),
    (1, "2020-03-04 12:00", "HOSPITAL_DISCHARGE//HOME", None, None),
    (1, "2021-01-10 10:00", "LOINC/8480-6", 131.0, None),
    (1, "2021-06-01 00:00", "MEDS_DEATH", None, None),
    (2, None, "SEX//Male", None, None),
    (2, "1980-01-01 00:00", "MEDS_BIRTH", None, None),
    (2, "2019-05-05 10:00", "MEDICATION//Aspirin//Administered", None, None),
    (2, "2019-05-05 10:00", "MEDICATION//Heparin//Not Given", None, None),
    (2, "2019-05-05 11:00", "CVX/140", None, None),
    (2, "2019-05-05 12:00", "WARD//7", None, None),
    (2, "2019-05-06 12:00", "PROCEDURE//START//224275", None, None),
    (2, "2019-05-06 13:00", "PROCEDURE//END//224275", None, None),
    (3, "2019-05-05 10:00", "LOINC/8480-6", 120.0, None),
]


def table(events: list[Event], **renamed: str) -> pa.Table:
    """Events as the standard has them."""
    times = [None if event[1] is None else datetime.strptime(event[1], "%Y-%m-%d %H:%M") for event in events]
    columns = {
        "subject_id": pa.array([event[0] for event in events], pa.int64()),
        "time": pa.array(times, pa.timestamp("us")),
        "code": pa.array([event[2] for event in events], pa.string()),
        "numeric_value": pa.array([event[3] for event in events], pa.float32()),
        "text_value": pa.array([event[4] for event in events], pa.large_string()),
    }
    return pa.table({renamed.get(name, name): values for name, values in columns.items()})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set of two shards and its metadata."""
    for split, events in (("train", EVENTS[:13]), ("tuning", EVENTS[13:])):
        (tmp_path / "data" / split).mkdir(parents=True)
        pq.write_table(table(events), tmp_path / "data" / split / "0.parquet")
    (tmp_path / "metadata").mkdir()
    codes = [
        {"code": "LAB//50912//mg/dL", "description": "Creatinine", "parent_codes": ["LOINC/2160-0"]},
        {"code": "MEDICATION//Aspirin//Administered", "description": "aspirin", "parent_codes": ["RxNorm/1191"]},
    ]
    pq.write_table(pa.Table.from_pylist(codes), tmp_path / "metadata" / "codes.parquet")
    return tmp_path


def rows(records: Any, name: str, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of a table, row by row."""
    found = records[name]
    return list(
        zip(
            *(
                (found[one].cast("string") if pa.types.is_dictionary(found[one].type) else found[one]).to_pylist()
                for one in columns
            ),
            strict=True,
        )
    )


def test_a_data_set_is_recognised_and_read(dataset: Path) -> None:
    records, report = read_with_report(dataset)
    assert report.format == "meds"
    assert records.check_keys() == []
    assert rows(records, "patient", "patient_id", "sex", "race_code", "birth_date_precision") == [
        ("1", "female", "2054-5", "year"),
        ("2", "male", None, "year"),
    ]
    assert records["patient"]["death_datetime"][0].as_py() == datetime(2021, 6, 1)
    assert rows(records, "condition", "code_system", "code") == [(ICD9, "401.9"), (ICD10, "E11.9")]
    assert sorted(rows(records, "observation", "code_system", "code", "value_number", "value_text", "category")) == [
        (LOINC, "2160-0", pytest.approx(1.1), None, "laboratory"),
        (LOINC, "2160-0", pytest.approx(1.3), None, "laboratory"),
        (LOINC, "8480-6", 131.0, None, "vital-signs"),
        (OWN, "UA", None, "yellow", "laboratory"),
    ]
    assert {unit for (unit,) in rows(records, "observation", "value_unit")} == {"mg/dL", None}
    assert rows(records, "medication_request", "code_system", "code", "display") == [(RXNORM, "1191", "aspirin")]
    assert rows(records, "immunization", "code") == [("140",)]
    assert rows(records, "procedure", "code") == [("224275",)]
    encounters = rows(records, "encounter", "patient_id", "encounter_class", "start_datetime", "end_datetime")
    assert encounters[0] == ("1", "IMP", datetime(2020, 3, 1, 8), datetime(2020, 3, 4, 12))
    assert [row[:2] for row in encounters[1:]] == [("1", "AMB"), ("2", "AMB"), ("2", "AMB")]


def test_everything_is_counted(dataset: Path) -> None:
    _, report = read_with_report(dataset)
    for name, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == name)
        assert read == report.rows_taken.get(name, 0) + aside, name
    # Every event once, and a row for each subject.
    assert sum(report.rows_read.values()) == len(EVENTS) + 3
    reasons = {entry.reason: entry.count for entry in report.set_aside}
    assert reasons == {
        "the kind of its code is not known: WARD": 1,
        "a drug that was stopped, held or not given": 1,
        "the end of a drug or procedure, whose beginning is read": 1,
        "an observation without a value": 1,
        "not kept: birth is there": 1,
        "its row of patient was set aside": 1,
    }


def test_files_in_the_folder_and_the_older_name_of_the_value(tmp_path: Path) -> None:
    pq.write_table(table(EVENTS, numeric_value="value").drop_columns(["text_value"]), tmp_path / "events.parquet")
    pq.write_table(pa.table({"subject_id": [1], "label": [True]}), tmp_path / "labels.parquet")
    records = ehrsynth.read(tmp_path, format="meds")
    assert records.row_counts["observation"] == 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ICD9CM/4019", Meaning(kind="condition", system=ICD9, code="401.9")),
        ("ICD10CM//I10", Meaning(kind="condition", system=ICD10, code="I10")),
        ("DIAGNOSIS//ICD10CM//E119", Meaning(kind="condition", system=ICD10, code="E11.9")),
        ("ICD9Proc/3961", Meaning(kind="procedure", system=ICD9, code="39.61")),
        ("RxNorm/1191", Meaning(kind="medication_request", system=RXNORM, code="1191")),
        ("HCPCS//G0378", Meaning(kind="procedure", system=HCPCS, code="G0378")),
        ("HCPCS//Hospital observation", Meaning(kind="procedure", system=OWN, code="Hospital observation")),
        ("Visit/IP", Meaning(kind="visit", code="IMP")),
        ("Visit/OP", Meaning(kind="visit", code="AMB")),
        ("Gender/F", Meaning(kind="sex", code="f")),
        ("SNOMED/3950001", Meaning(kind="birth")),
        ("MEDICATION//STOP//Heparin", Meaning(kind="ended")),
        ("MEDICATION//UNK//Administered", Meaning(kind="")),
        ("TRANSFER_TO//ED//Emergency", Meaning(kind="")),
    ],
)  # fmt: skip
def test_meanings_of_codes(code: str, expected: Meaning) -> None:
    assert meaning(code, numeric=False) == expected


def test_an_unknown_word_with_numbers_is_a_measurement() -> None:
    found = meaning("SUBJECT_FLUID_OUTPUT//226559//ml", numeric=True)
    assert (found.kind, found.system, found.code, found.unit) == (
        "observation",
        OWN,
        "SUBJECT_FLUID_OUTPUT//226559",
        "mL",
    )


def test_visits_with_an_end(tmp_path: Path) -> None:
    events = table([(1, "1950-01-01 00:00", "MEDS_BIRTH", None, None), (1, "2020-01-01 08:00", "Visit/IP", None, None)])
    end = pa.array([None, datetime(2020, 1, 5)], pa.timestamp("us"))
    pq.write_table(events.append_column("end", end), tmp_path / "events.parquet")
    encounter = ehrsynth.read(tmp_path)["encounter"]
    assert encounter["end_datetime"].to_pylist() == [datetime(2020, 1, 5)]


def test_what_is_no_meds(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file of MEDS events"):
        ehrsynth.read(tmp_path, format="meds")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"subject_id": [1], "code": ["x"]}), tmp_path / "data" / "0.parquet")
    with pytest.raises(SourceError, match="no column 'time'"):
        ehrsynth.read(tmp_path, format="meds")
    (tmp_path / "data" / "0.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(SourceError, match="cannot be read"):
        ehrsynth.read(tmp_path, format="meds")
    pq.write_table(
        pa.table({"subject_id": [None, 1], "time": ["x", "y"], "code": ["a", "b"]}), tmp_path / "data" / "0.parquet"
    )
    with pytest.raises(SourceError, match=r"cannot be read as timestamp"):
        ehrsynth.read(tmp_path, format="meds")
