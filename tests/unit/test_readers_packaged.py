"""MIMIC-IV and Synthea's CSV under their own names: recognised, in sub-folders, with tables missing; and the grammar
that makes it possible."""

from __future__ import annotations

from pathlib import Path

import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.errors import SourceError
from ehrsynth.readers import ReadReport
from ehrsynth.records import Records

ADMISSIONS = (
    "subject_id,hadm_id,admittime,dischtime,admission_type,admission_location,discharge_location,insurance,language,"
    "marital_status,race\n"
)
HOSP = {
    "patients": "subject_id,gender,anchor_age,anchor_year,dod\n1,F,50,2150,\n2,M,60,2140,2143-01-01\n",
    "admissions": ADMISSIONS
    + "1,10,2150-03-01 08:00:00,2150-03-04 09:00:00,URGENT,PHYSICIAN REFERRAL,HOME,Medicare,ENGLISH,MARRIED,WHITE\n"
    + "2,20,2141-05-01 08:00:00,2141-05-02 09:00:00,EW EMER.,EMERGENCY ROOM,DIED,Other,?,,BLACK/AFRICAN AMERICAN\n",
    "diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version\n1,10,1,4019,9\n2,20,1,I10,10\n",
    "transfers": "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime\n"
    "2,20,901,ED,Emergency Department,2141-05-01 03:00:00,2141-05-01 08:00:00\n"
    "2,20,902,admit,Medicine,2141-05-01 08:00:00,2141-05-02 09:00:00\n"
    "2,20,903,discharge,,2141-05-02 09:00:00,\n",
    "labevents": "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,ref_range_lower,"
    "ref_range_upper,flag\n"
    "1,1,10,50912,2150-03-01 10:00:00,1.1,1.1,mg/dL,0.4,1.1,\n"
    "2,1,10,50912,2150-03-02 10:00:00,___,,mg/dL,0.4,1.1,\n"
    "3,2,,50912,2141-05-01 10:00:00,3.4,3.4,mg/dL,0.4,1.1,abnormal\n",
    "d_labitems": "itemid,label\n50912,Creatinine\n",
    "hcpcsevents": "subject_id,hadm_id,chartdate,hcpcs_cd,seq_num\n1,10,2150-03-02,99218,1\n2,20,2141-05-01,G0378,1\n",
}
ED = {
    "edstays": "subject_id,hadm_id,stay_id,intime,outtime,gender,race,arrival_transport,disposition\n"
    "2,20,901,2141-05-01 03:00:00,2141-05-01 08:00:00,M,WHITE,AMBULANCE,ADMITTED\n"
    "1,,902,2150-07-01 10:00:00,2150-07-01 12:00:00,F,WHITE,WALK IN,HOME\n",
    "triage": "subject_id,stay_id,temperature,heartrate,resprate,o2sat,sbp,dbp,pain,acuity,chiefcomplaint\n"
    "2,901,98.6,80,16,99,120,80,unable,2,Chest pain\n1,902,986,,,,,,3,3,Fall\n",
    "vitalsign": "subject_id,stay_id,charttime,temperature,heartrate,resprate,o2sat,sbp,dbp,rhythm,pain\n"
    "2,901,2141-05-01 04:00:00,,90,,,,,SR,0\n",
    "diagnosis": "subject_id,stay_id,seq_num,icd_code,icd_version,icd_title\n1,902,1,W19XXXA,10,FALL\n",
    "medrecon": "subject_id,stay_id,charttime,name,gsn,ndc,etc_rn,etccode,etcdescription\n"
    "1,902,2150-07-01 10:30:00,aspirin,1,00904516561,1,,\n1,902,2150-07-01 10:30:00,aspirin,1,00904516561,2,,\n",
    "pyxis": "subject_id,stay_id,charttime,med_rn,name,gsn_rn,gsn\n1,902,2150-07-01 11:00:00,1,Aspirin,1,004380\n",
}


def write(folder: Path, tables: dict[str, str]) -> None:
    """Write tables as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        (folder / f"{name}.csv").write_text(content)


def counted(records: Records, report: ReadReport) -> dict[str, int]:
    """Rows of the tables that have any, after checking keys and account."""
    assert records.check_keys() == []
    for table, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert read == report.rows_taken.get(table, 0) + aside, table
    return {name: count for name, count in records.row_counts.items() if count}


def test_mimic_with_its_emergency_department_in_the_folders_of_physionet(tmp_path: Path) -> None:
    write(tmp_path / "hosp", HOSP)
    write(tmp_path / "ed", ED)
    records, report = read_with_report(tmp_path)
    assert report.format == "mimic-iv"
    assert counted(records, report) == {
        "location": 2,
        "payer": 2,
        "patient": 2,
        "coverage": 2,
        "encounter": 4,
        "condition": 3,
        "observation": 13,
        "medication_request": 2,
        "procedure": 2,
    }
    encounter = records["encounter"]
    assert dict(
        zip(encounter["encounter_id"].to_pylist(), encounter["encounter_class"].cast("string").to_pylist(), strict=True)
    ) == {"10": "IMP", "20": "IMP", "901": "EMER", "902": "EMER"}
    assert dict(zip(encounter["encounter_id"].to_pylist(), encounter["location_id"].to_pylist(), strict=True))[
        "20"
    ] == ("Medicine")
    observation = records["observation"].to_pylist()
    creatinine = [row for row in observation if row["code"] == "50912"]
    assert [(row["display"], row["value_number"], row["interpretation_code"]) for row in creatinine] == [
        ("Creatinine", 1.1, None),
        ("Creatinine", 3.4, "A"),
    ]
    # Triage has no time of its own: it is when the stay begins.
    pressure = next(row for row in observation if row["code"] == "8480-6")
    assert str(pressure["effective_datetime"]) == "2141-05-01 03:00:00"
    assert [row["value_number"] for row in observation if row["code"] == "72514-3"] == [3.0, 0.0]
    reasons = {(entry.table, entry.reason.split(":")[0]): entry.count for entry in report.set_aside}
    assert reasons[("triage to observation (6)", "outside the range of the lookup")] == 1
    systems = set(records["procedure"]["code_system"].cast("string").to_pylist())
    assert systems == {
        "http://www.ama-assn.org/go/cpt",
        "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    }


def test_without_its_emergency_department_the_visits_there_come_from_transfers(tmp_path: Path) -> None:
    write(tmp_path, {name: HOSP[name] for name in ("patients", "admissions", "diagnoses_icd", "transfers")})
    records, report = read_with_report(tmp_path, format="mimic-iv")
    assert counted(records, report)["encounter"] == 3
    assert any("Not there, and not needed: edstays" in note for note in report.notes)


def test_the_emergency_department_alone_has_no_ages(tmp_path: Path) -> None:
    write(tmp_path, ED)
    with pytest.raises(SourceError, match="no ages") as raised:
        ehrsynth.read(tmp_path)
    assert "hosp/" in str(raised.value.hint)


def test_what_is_indispensable_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"patients": HOSP["patients"], "diagnoses_icd": HOSP["diagnoses_icd"]})
    with pytest.raises(SourceError, match="no table 'admissions'"):
        ehrsynth.read(tmp_path, format="mimic-iv")


SYNTHEA = {
    "patients": "Id,BIRTHDATE,DEATHDATE,MARITAL,RACE,ETHNICITY,GENDER,CITY,ZIP\n"
    "a,1950-01-02,,M,white,nonhispanic,F,Boston,02138\n",
    "encounters": "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,ENCOUNTERCLASS,CODE,DESCRIPTION,REASONCODE,"
    "REASONDESCRIPTION\n"
    "e,2020-01-02T10:00:00Z,2020-01-02T10:15:00Z,a,,,wellness,162673000,General examination,,\n",
    "supplies": "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,QUANTITY\n2020-01-02,a,e,409534002,Respirator,2\n",
}


def test_synthea_with_tables_missing_and_columns_in_another_order(tmp_path: Path) -> None:
    turned = {
        name: "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()) + "\n"
        for name, text in SYNTHEA.items()
    }
    write(tmp_path / "straight", SYNTHEA)
    write(tmp_path / "turned", turned)
    first, report = read_with_report(tmp_path / "straight", format="synthea-csv")
    assert counted(first, report) == {"patient": 1, "encounter": 1, "device": 1}
    assert first["device"]["quantity"].to_pylist() == [2.0]
    second = ehrsynth.read(tmp_path / "turned", format="synthea-csv")
    assert all(first[name].equals(second[name]) for name in ("patient", "encounter", "device"))


def test_synthea_is_recognised_by_its_tables(tmp_path: Path) -> None:
    empty = {
        "providers": "Id,ORGANIZATION,NAME,GENDER,SPECIALITY\n",
        "payers": "Id,NAME,ADDRESS,CITY,STATE_HEADQUARTERED,PHONE\n",
        "payer_transitions": "PATIENT,MEMBERID,START_YEAR,END_YEAR,PAYER\n",
    }
    write(tmp_path, {**SYNTHEA, **empty})
    assert read_with_report(tmp_path)[1].format == "synthea-csv"


MAPPING = """
folders = ["more"]
[patient]
file = "people"
patient_id = "id"
birth_date = "born"
sex = { file = "sexes", column = "sex", map = { M = "male" }, optional = true }

[[condition]]
file = "first"
optional = true
patient_id = "id"
code_system = { column = "code", as = "system", other = "urn:mine" }
code = { column = "code", as = "icd" }
display = { file = "codes", column = "says", match = ["code", "key"], optional = true }

[[condition]]
file = "second"
without = "first"
patient_id = "id"
code_system = { value = "urn:mine" }
code = "code"
"""
CODES = "id,code\n1,I10\n1,4019\n1,44054006\n1,zzz\n"


@pytest.mark.parametrize("first", [True, False])
def test_optional_rules_rules_without_and_tables_in_folders(tmp_path: Path, first: bool) -> None:
    write(tmp_path, {"people": "id,born\n1,1950-01-01\n"})
    write(
        tmp_path / "more",
        {"second": "id,code\n1,x\n", **({"first": CODES, "codes": "key,says\nI10,Pressure\n"} if first else {})},
    )
    (tmp_path / "mapping.toml").write_text(MAPPING)
    records, report = read_with_report(tmp_path)
    counted(records, report)
    conditions = records["condition"].to_pylist()
    if first:
        assert [(row["code_system"].rsplit("/", 1)[-1], row["code"], row["display"]) for row in conditions] == [
            ("icd-10-cm", "I10", "Pressure"),
            ("icd-9-cm", "401.9", None),
            ("sct", "44054006", None),
            ("urn:mine", "zzz", None),
        ]
        assert any("No rule reads: second" in note for note in report.notes)
    else:
        assert [row["code"] for row in conditions] == ["x"]
        assert any("first" in note and "not needed" in note for note in report.notes)
    assert records["patient"]["sex"].cast("string").to_pylist() == ["unknown"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("optional = true\npatient", 'optional = "yes"\npatient', "true or false"),
        ('match = ["code", "key"]', 'match = ["a", "b", "c"]', "Two columns match"),
        ('code = { column = "code", as = "icd" }', 'code = { column = "code", as = "system" }', "Only a code system"),
        ('folders = ["more"]', "folders = true", "list of words"),
    ],
)
def test_the_new_keys_are_checked(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MAPPING
    write(tmp_path, {"people": "id,born\n1,1950-01-01\n", "second": "id,code\n1,x\n"})
    (tmp_path / "mapping.toml").write_text(MAPPING.replace(old, new))
    with pytest.raises(SourceError, match=said):
        ehrsynth.read(tmp_path)
