"""Inspection on small sources: what is found, how sure it is, and that a guess is no more than that."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.errors import SourceError
from ehrsynth.inspection import Inspection, level
from ehrsynth.inspection.codes import recognise
from ehrsynth.inspection.columns import look_at
from ehrsynth.inspection.names import ends_in, entities, entity_of, is_key_name, singular

PEOPLE = "".join(f"{n};{1 + n % 28:02}.{1 + n % 12:02}.{1930 + n};{'MW'[n % 2]}\n" for n in range(1, 41))
VISITS = "".join(f"{900 + n};{1 + n % 40};2020-01-{1 + n % 28:02} 10:00;{'ABC'[n % 3]}\n" for n in range(80))
DIAGNOSES = "".join(f"{900 + n // 2};{1 + n % 2};{['I10', 'E11.9', 'J45.909', 'N18.3'][n % 4]}\n" for n in range(160))


def write(folder: Path, **tables: str) -> Path:
    """Write tables of text as CSV."""
    folder.mkdir(exist_ok=True)
    for name, content in tables.items():
        (folder / f"{name}.csv").write_bytes(content.encode())
    return folder


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A clinic's export: semicolons, a mark at the beginning, dates of the country, names of nobody's standard."""
    return write(
        tmp_path / "clinic",
        tbl_patient="\ufeffpatient_no_id;geburtsdatum;geschlecht\n".replace("patient_no_id", "patient_id")
        .replace("geburtsdatum", "birth_date")
        .replace("geschlecht", "sex")
        + PEOPLE,
        tbl_visit="visit_key;patient_id;begin;ward\n" + VISITS,
        tbl_diagnosis="visit_key;line;icd10\n" + DIAGNOSES,
    )


def references(found: Inspection) -> dict[str, str]:
    """The references as column to column."""
    return {f"{one.table}.{one.column}": f"{one.to_table}.{one.to_column}" for one in found.references}


def test_keys_references_dates_and_codes_of_a_clinic(clinic: Path) -> None:
    found, _ = ehrsynth.inspect(clinic)
    assert found.primary_keys == {
        "tbl_patient": ("patient_id",),
        "tbl_visit": ("visit_key",),
        "tbl_diagnosis": ("visit_key", "line"),
    }
    assert references(found) == {
        "tbl_visit.patient_id": "tbl_patient.patient_id",
        "tbl_diagnosis.visit_key": "tbl_visit.visit_key",
    }
    born = found["tbl_patient"]["birth_date"]
    assert (born.kind, born.date_format, born.sure_of_format) == ("date", "%d.%m.%Y", True)
    codes = found["tbl_diagnosis"]["icd10"].codes
    assert codes is not None
    assert codes.system == "icd-10-cm"
    assert "4 of 4" in codes.evidence
    roles = {table.name: table.role.table for table in found.tables if table.role is not None}
    assert roles == {"tbl_patient": "patient", "tbl_visit": "encounter", "tbl_diagnosis": "condition"}
    assert json.loads(json.dumps(found.to_dict(), default=str))["time_basis"] == "calendar"


def test_what_is_proposed_for_the_clinic_is_read(clinic: Path, tmp_path: Path) -> None:
    text = ehrsynth.inspect(clinic)[1]
    (tmp_path / "m.toml").write_text(text)
    records, report = read_with_report(clinic, mapping=tmp_path / "m.toml")
    assert records.row_counts["patient"] == 40
    assert records.row_counts["encounter"] == 80
    assert records["patient"]["birth_date"][0].as_py().isoformat() == "1931-02-02"
    assert set(records["patient"]["sex"].cast("string").to_pylist()) == {"male", "female"}
    # A diagnosis names only its visit, whose patient it has.
    assert records.row_counts["condition"] == 160
    assert records["condition"]["patient_id"].null_count == 0
    assert report.rows_taken["tbl_diagnosis"] == 160


def test_order_of_columns_does_not_matter(tmp_path: Path) -> None:
    rows = "".join(f"{n % 5},X{n},{n}\n" for n in range(30))
    turned = "".join(f"{n},{n % 5},X{n}\n" for n in range(30))
    first = ehrsynth.inspect(write(tmp_path / "a", visits="ward,label,visit_id\n" + rows))[0]
    second = ehrsynth.inspect(write(tmp_path / "b", visits="visit_id,ward,label\n" + turned))[0]
    assert first.primary_keys == second.primary_keys == {"visits": ("visit_id",)}


def test_unique_is_not_yet_a_key(tmp_path: Path) -> None:
    rows = "".join(f"2020-01-01 00:{n:02}:00,{n / 7},note {n}\n" for n in range(50))
    found = ehrsynth.inspect(write(tmp_path / "s", events="time,value,text\n" + rows))[0]
    assert found["events"]["time"].unique
    assert found["events"].key is None


def test_a_code_seen_once_in_a_visit_is_only_perhaps_a_key(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "s",
        patients="id,sex\n" + "".join(f"{n},M\n" for n in range(30)),
        allergies="patient_id,code\n" + "".join(f"{n % 30},C{n // 30}\n" for n in range(60)),
    )
    key = ehrsynth.inspect(folder)[0]["allergies"].key
    assert key is not None
    assert key.columns == ("patient_id", "code")
    assert level(key.confidence) == "perhaps"


def test_inclusion_by_chance_is_no_reference(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "s",
        rooms="room_id,beds\n" + "".join(f"{n},{n % 4}\n" for n in range(1, 41)),
        staff="staff_id,team\n" + "".join(f"{n},{1 + n % 3}\n" for n in range(1, 31)),
    )
    assert references(ehrsynth.inspect(folder)[0]) == {}


def test_orphans_and_words_for_none(tmp_path: Path) -> None:
    uuid = "00000000-0000-4000-8000-0000000000{:02}".format
    folder = write(
        tmp_path / "s",
        payers="Id,NAME\n" + "".join(f"{uuid(n)},p{n}\n" for n in range(10, 40)),
        visits="Id,PAYED_BY,PAYER\n"
        + "".join(f"{n},{'0' if n % 3 else uuid(10 + n % 9)},{uuid(10 + n % 28)}\n" for n in range(90))
        + f"90,0,{uuid(99)}\n",
    )
    found = ehrsynth.inspect(folder)[0]
    assert references(found) == {"visits.payed_by": "payers.id", "visits.payer": "payers.id"}
    assert [one.orphans for one in found.references] == [0, 1]
    assert [level(one.confidence) for one in found.references] == ["sure", "sure"]


def test_a_key_of_mixed_types_is_one_of_text(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "s",
        patients="mrn,sex\n" + "".join(f"{'A' if n % 2 else ''}{n},F\n" for n in range(30)),
        visits="visit_id,mrn\n" + "".join(f"{n},{'A' if n % 2 else ''}{n}\n" for n in range(30)),
    )
    found = ehrsynth.inspect(folder)[0]
    assert found["patients"]["mrn"].kind == "text"
    assert found.primary_keys["patients"] == ("mrn",)
    assert references(found) == {"visits.mrn": "patients.mrn"}


@pytest.mark.parametrize(
    ("values", "kind", "written", "sure"),
    [
        (["2020-01-02", "1999-12-31"], "date", "", True),
        (["2020-01-02T03:04:05Z", "2020-01-02 03:04"], "datetime", "", True),
        (["31.12.1999", "1.2.2000"], "date", "%d.%m.%Y", True),
        (["12/31/1999", "01/02/2000"], "date", "%m/%d/%Y", True),
        (["31/12/1999", "01/02/2000"], "date", "%d/%m/%Y", True),
        (["03/04/2000", "01/02/2000"], "date", "%m/%d/%Y", False),
        (["03-Apr-2000"], "date", "%d-%b-%Y", True),
        (["1", "2.0", " 3"], "integer", "", True),
        (["1", "2.5", "-3e4"], "number", "", True),
        (["007", "012"], "text", "", True),
        (["-3210373572193940939", "5"], "text", "", True),
        (["yes", "no"], "boolean", "", True),
        (["NA", "", "?"], "empty", "", True),
    ],
)
def test_kinds_of_columns(values: list[str], kind: str, written: str, sure: bool) -> None:
    found = look_at("x", pa.chunked_array([pa.array(values)]), ("?",)).found
    assert (found.kind, found.date_format, found.sure_of_format) == (kind, written, sure)


@pytest.mark.parametrize(
    ("table", "column", "values", "system"),
    [
        ("dx", "code", ["E11.9", "I10", "J45.909", "Z87.891", "A00.0"], "icd-10-cm"),
        ("dx", "icd", ["4019", "25000", "V707", "E8788", "4280"], "icd-9-cm"),
        ("dx", "icd", ["4019", "25000", "I10", "E119", "4280", "J45909"], "icd"),
        ("labs", "test", ["2160-0", "718-7", "4548-4", "2345-7", "8480-6"], "loinc"),
        ("labs", "test", ["2160-1", "718-8", "4548-5", "2345-8", "8480-7"], None),
        ("x", "finding", ["44054006", "38341003", "195967001", "73211009", "22298006"], "snomed"),
        ("vaccines", "code", [140, 10, 83, 113, 62], "cvx"),
        ("visits", "days", [140, 10, 83, 113, 62], None),
        ("prescriptions", "ndc", ["00338011704", "63323026201", "00904516561", "51079025520", "0"], "ndc"),
        ("people", "postcode", ["02138", "02139", "10001", "90210", "60601"], None),
    ],
)
def test_code_systems(table: str, column: str, values: list[object], system: str | None) -> None:
    found = recognise(table, column, pa.array(values))
    assert (found.system if found else None) == system


def test_codes_of_several_systems_are_told_apart_row_by_row(tmp_path: Path) -> None:
    codes = ["2160-0", "718-7", "4548-4", "73211009", "38341003", "22298006"]
    folder = write(
        tmp_path / "s",
        patient_list="patient_id,birth_date,sex\n" + "".join(f"{n},1950-01-01,F\n" for n in range(30)),
        measurement="measurement_id,patient_id,date,code,value\n"
        + "".join(f"{n},{n % 30},2020-01-02,{codes[n % 6]},{n}\n" for n in range(60)),
    )
    text = ehrsynth.inspect(folder)[1]
    (tmp_path / "m.toml").write_text(text)
    records = read_with_report(folder, mapping=tmp_path / "m.toml")[0]
    systems = records["observation"]["code_system"].cast("string").to_pylist()
    assert systems.count("http://loinc.org") == systems.count("http://snomed.info/sct") == 30


def test_only_order_only_days(tmp_path: Path) -> None:
    order = write(
        tmp_path / "o", stays="visit_id,patient_id,age,sex\n" + "".join(f"{n},{n % 9},70,M\n" for n in range(30))
    )
    days = write(tmp_path / "d", base="id,age,sex,futime\n" + "".join(f"{n},{40 + n},F,{n * 9}\n" for n in range(30)))
    found, text = ehrsynth.inspect(order)
    assert found.time_basis == "order"
    (tmp_path / "m.toml").write_text(text)
    records = read_with_report(order, mapping=tmp_path / "m.toml")[0]
    assert (records.row_counts["patient"], records.row_counts["encounter"]) == (9, 30)
    assert 'time_basis = "order"' in text
    assert ehrsynth.inspect(days)[0].time_basis != "calendar"


def test_what_a_code_says_is_taken_from_the_table_it_leads_to(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "s",
        patients="id,birth_date,sex\n" + "".join(f"{n},1950-01-01,F\n" for n in range(30)),
        d_items="itemid,label\n" + "".join(f"{500 + n},Test {n}\n" for n in range(40)),
        labs="lab_id,patient_id,itemid,charttime,value\n"
        + "".join(f"{n},{n % 30},{500 + n % 40},2020-01-02 10:00:00,{n / 3}\n" for n in range(90)),
    )
    text = ehrsynth.inspect(folder)[1]
    (tmp_path / "m.toml").write_text(text)
    observations = read_with_report(folder, mapping=tmp_path / "m.toml")[0]["observation"]
    said = dict(zip(observations["code"].to_pylist(), observations["display"].to_pylist(), strict=True))
    assert said == {str(500 + n): f"Test {n}" for n in range(40)}


def test_words_of_the_source_cannot_break_the_mapping(tmp_path: Path) -> None:
    strange = ['a "quoted" # word', "line\nbreak", "back\\slash", "Ünï"]
    quoted = ['"' + word.replace('"', '""') + '"' for word in strange]
    folder = write(
        tmp_path / "s",
        patients="id,birth_date,sex,race\n"
        + "".join(f"{n},1950-01-01,{'MF'[n % 2]},{quoted[n % 4]}\n" for n in range(30)),
    )
    text = ehrsynth.inspect(folder)[1]
    (tmp_path / "m.toml").write_text(text)
    assert read_with_report(folder, mapping=tmp_path / "m.toml")[0].row_counts["patient"] == 30


def test_without_people_the_mapping_says_what_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", prices="item,price\na,1\nb,2\n")
    text = ehrsynth.inspect(folder)[1]
    assert "No table of patients was found" in text
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(SourceError, match=r"patient|sex"):
        read_with_report(folder, mapping=tmp_path / "m.toml")


def test_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no table"):
        ehrsynth.inspect(tmp_path)
    (tmp_path / "bad.csv").write_bytes(b"id,name\n1,M\xfcller\n")
    with pytest.raises(SourceError, match="not UTF-8") as raised:
        ehrsynth.inspect(tmp_path)
    assert (raised.value.table, raised.value.row, raised.value.column) == ("bad", 1, "name")


def test_names() -> None:
    assert [singular(word) for word in ("diagnoses", "allergies", "patients", "visits", "status", "people")] == [
        "diagnosis",
        "allergy",
        "patient",
        "visit",
        "status",
        "person",
    ]
    assert entities("dim_patients", "patient_sk") == ("patient",)
    assert entity_of("supervising_provider_id") == "supervising_provider"
    assert is_key_name("hadm_id")
    assert not any(map(is_key_name, ("fluid", "paid", "covid", "name")))
    assert ends_in("secondary_payer", "payer")
    assert ends_in("supervisingprovider", "provider")
    assert not ends_in("stamp", "amp")
