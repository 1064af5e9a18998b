"""The mapping reader: every construct of the grammar on tiny sources."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.readers import ReadReport
from ehrsynth.readers.mapping_file import packaged_mappings, read_mapping
from ehrsynth.records import Records

PEOPLE = "id,born,sex\n1,1950-02-03,M\n2,1980-12-31,F\n"
PATIENT = """
[patient]
file = "people"
patient_id = "id"
birth_date = "born"
sex = { column = "sex", map = { M = "male", F = "female" } }
"""
VISITS = (
    "visit,id,begin,end\na,1,2020-01-05 10:30:00,2020-01-07 09:00:00\nb,1,2019-03-01 08:00:00,2019-03-01 09:00:00\n"
)
ENCOUNTER = """
[encounter]
file = "visits"
encounter_id = "visit"
patient_id = "id"
start_datetime = "begin"
end_datetime = "end"
encounter_class = { value = "IMP" }
"""


def load(tmp_path: Path, mapping: str, *, strict: bool = True, **files: str) -> tuple[Records, ReadReport]:
    """Read files (CSV text by table) through a mapping that lies beside them, and check the account."""
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    for name, content in {"people": PEOPLE, **files}.items():
        (folder / f"{name}.csv").write_text(content)
    (folder / "mapping.toml").write_text(mapping)
    records, report = read_with_report(folder, strict=strict)
    for table, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert read == report.rows_taken.get(table, 0) + aside, table
    assert records.check_keys() == []
    return records, report


def column(records: Records, table: str, name: str) -> list[Any]:
    """The values of a column."""
    values: list[Any] = records[table][name].to_pylist()
    return values


def aside(report: ReadReport) -> dict[tuple[str, str], int]:
    """Rows set aside by table and reason."""
    return {(entry.table, entry.reason): entry.count for entry in report.set_aside}


def test_ten_lines_make_records(tmp_path: Path) -> None:
    condition = """
[condition]
file = "diagnoses"
patient_id = "id"
encounter_id = "visit"
code_system = { value = "icd-10-cm" }
code = { column = "icd", as = "icd" }
"""
    records, report = load(
        tmp_path,
        PATIENT + ENCOUNTER + condition,
        visits=VISITS,
        diagnoses="id,visit,icd\n1,a,E119\n1,a,i10\n1,,D69.6\n",
    )
    assert column(records, "patient", "sex") == ["male", "female"]
    assert column(records, "patient", "birth_date") == [date(1950, 2, 3), date(1980, 12, 31)]
    assert column(records, "encounter", "encounter_id") == ["b", "a"]
    assert column(records, "encounter", "sequence") == [1, 2]
    assert column(records, "encounter", "time_precision") == ["minute", "minute"]
    assert column(records, "condition", "code") == ["E11.9", "I10", "D69.6"]
    assert set(column(records, "condition", "code_system")) == {"http://hl7.org/fhir/sid/icd-10-cm"}
    assert column(records, "condition", "encounter_id") == ["a", "a", None]
    assert column(records, "condition", "category") == ["encounter-diagnosis"] * 3
    assert records.provenance.time_basis == "calendar"
    assert records.provenance.details == {"mapping": "mapping"}
    assert "1 rows of diagnoses lie in no encounter." in report.notes
    assert report.rows_taken == {"people": 2, "visits": 2, "diagnoses": 3}


def test_several_columns_become_rows_of_their_own(tmp_path: Path) -> None:
    mapping = """
missing = ["?"]
[condition]
file = "wide"
each = ["diag_1", "diag_2", "Diag_3"]
one_per = ["visit", "@value"]
patient_id = "id"
encounter_id = "visit"
code_system = { value = "icd-9-cm" }
code = { column = "@value", as = "icd" }
rank = "@number"
display = "@name"
"""
    wide = "id,visit,diag_1,diag_2,diag_3\n1,a,25083,?,V45\n1,b,E9090,486,486\n"
    records, report = load(tmp_path, mapping + PATIENT + ENCOUNTER, visits=VISITS, wide=wide)
    assert column(records, "condition", "code") == ["250.83", "V45", "E909.0", "486"]
    assert column(records, "condition", "rank") == [1, 3, 1, 2]
    assert column(records, "condition", "display") == ["diag_1", "Diag_3", "diag_1", "diag_2"]
    assert report.rows_read["wide"] == 5
    assert aside(report) == {("wide", "a further row of the same visit, @value"): 1}
    assert len(set(column(records, "condition", "condition_id"))) == 4


def test_a_lookup_gives_code_unit_factor_and_range(tmp_path: Path) -> None:
    mapping = """
[observation]
file = "tests"
lookup = { column = "test", in = "tests" }
patient_id = "id"
effective_datetime = "day"
code_system = { value = "loinc" }
value_number = "value"
[lookups.tests]
lb = { code = "29463-7", category = "vital-signs", value_unit = "kg", factor = 0.5, between = [10, 90] }
7 = { code = "2093-3", category = "laboratory", value_unit = "mg/dL" }
"""
    tests = "id,day,test,value\n1,2020-01-05,lb,100\n1,2020-01-05,lb,400\n2,2020-01-05,7.0,180.5\n2,2020-01-05,x,1\n"
    records, report = load(tmp_path, mapping + PATIENT + ENCOUNTER, visits=VISITS, tests=tests)
    assert column(records, "observation", "value_number") == [50.0, 180.5]
    assert column(records, "observation", "code") == ["29463-7", "2093-3"]
    assert column(records, "observation", "value_unit") == ["kg", "mg/dL"]
    assert column(records, "observation", "encounter_id") == ["a", None]
    assert column(records, "observation", "time_precision") == ["day", "day"]
    assert aside(report) == {("tests", "not in the lookup tests"): 1, ("tests", "outside the range of the lookup"): 1}


def test_maps_and_lookups_may_be_csv_files(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "sexes.csv").write_text("word,value\nM,male\nF,female\n")
    (folder / "codes.csv").write_text("word,code_system,code,display,factor\nhb,loinc,718-7,Hemoglobin,0.1\n")
    mapping = (
        PATIENT.replace('{ M = "male", F = "female" }', '"sexes"')
        + """
[maps]
sexes = "sexes.csv"
[lookups]
codes = "codes.csv"
[observation]
file = "tests"
lookup = { column = "test", in = "codes" }
patient_id = "id"
value_number = "value"
category = { value = "laboratory" }
"""
    )
    records, _ = load(tmp_path, mapping, tests="id,test,value\n1,hb,140\n")
    assert column(records, "patient", "sex") == ["male", "female"]
    assert column(records, "observation", "code_system") == ["http://loinc.org"]
    assert column(records, "observation", "value_number") == [14.0]


def test_days_from_an_origin_and_encounters_made_of_days(tmp_path: Path) -> None:
    mapping = """
time_basis = "offset"
origin = 2010-01-01
[patient]
file = "people"
patient_id = "id"
birth_date = { column = "age", as = "age_years" }
sex = { value = "female" }
death_datetime = { column = "last", when = { column = "dead", in = ["1"] } }
record_end_date = "last"
[encounter]
from = ["condition", "observation"]
encounter_class = { value = "AMB" }
[condition]
file = "events"
lookup = { column = "event", in = "events" }
patient_id = "id"
recorded_date = "day"
code_system = { value = "icd-10-cm" }
[observation]
file = "values"
patient_id = "id"
effective_datetime = "day"
code_system = { value = "loinc" }
code = { value = "8480-6" }
category = { value = "vital-signs" }
value_number = "value"
[lookups.events]
mi = { code = "I21.9", encounter_class = "IMP" }
htn = { code = "I10" }
"""
    records, report = load(
        tmp_path,
        mapping,
        people="id,age,last,dead\n1,50,400,1\n2,61.5,900,0\n",
        events="id,day,event\n1,-3,htn\n1,10,mi\n1,10,htn\n1,500,mi\n2,0,htn\n",
        values="id,day,value\n1,10,150\n2,12,120\n",
    )
    assert column(records, "encounter", "encounter_id") == [
        "1:2009-12-29",
        "1:2010-01-11",
        "2:2010-01-01",
        "2:2010-01-13",
    ]
    assert column(records, "encounter", "encounter_class") == ["AMB", "IMP", "AMB", "AMB"]
    assert column(records, "observation", "encounter_id") == ["1:2010-01-11", "2:2010-01-13"]
    assert column(records, "patient", "death_datetime") == [datetime(2011, 2, 5), None]
    assert column(records, "patient", "death_precision") == ["day", None]
    assert column(records, "patient", "record_end_date") == [date(2011, 2, 5), date(2012, 6, 19)]
    ages = [(date(2010, 1, 1) - born).days / 365.2425 for born in column(records, "patient", "birth_date")]
    assert 50 <= ages[0] <= 51
    assert ages[1] == pytest.approx(61.5, abs=0.01)
    assert aside(report) == {("events", "after death"): 1}
    assert records.provenance.time_basis == "offset"


def test_order_without_dates(tmp_path: Path) -> None:
    mapping = """
time_basis = "order"
origin = 2004-01-01
[patient]
file = "stays"
one_per = ["pat"]
order_by = "enc"
patient_id = "pat"
birth_date = { column = "age", as = "age_band" }
sex = { value = "male" }
[encounter]
file = "stays"
order_by = "enc"
encounter_id = "enc"
patient_id = "pat"
encounter_class = { value = "IMP" }
"""
    stays = "enc,pat,age\n100,p,[70-80)\n9,p,[60-70)\n20,q,90+\n3,r,<1\n"
    records, report = load(tmp_path, mapping, stays=stays)
    # 9 comes before 100: numbers are ordered as numbers.
    assert column(records, "encounter", "encounter_id") == ["9", "100", "20", "3"]
    assert column(records, "encounter", "sequence") == [1, 2, 1, 1]
    assert column(records, "encounter", "start_datetime") == [None] * 4
    ages = dict(zip(column(records, "patient", "patient_id"), column(records, "patient", "birth_date"), strict=True))
    years = {key: (date(2004, 1, 1) - born).days / 365.2425 for key, born in ages.items()}
    assert 60 <= years["p"] < 70
    assert 90 <= years["q"] < 100.1
    assert 0 <= years["r"] < 1.1
    assert set(column(records, "patient", "record_start_date")) == {date(2004, 1, 1)}
    assert records.provenance.time_basis == "order"
    assert any("order of encounters" in note for note in report.notes)


def test_bands_of_age_are_filled_evenly(tmp_path: Path) -> None:
    mapping = """
[patient]
patient_id = "id"
birth_date = { column = "age", as = "age_band", at = "seen" }
sex = { value = "male" }
"""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = "".join(f"{i},40-49,2015-06-30\n" for i in range(1000))
    (folder / "people.csv").write_text(f"id,age,seen\n{rows}")
    (folder / "mapping.toml").write_text(mapping)
    births = ehrsynth.read(folder)["patient"]["birth_date"].to_pylist()
    ages = [(date(2015, 6, 30) - born).days / 365.2425 for born in births]
    counts = [sum(low <= age < low + 1 for age in ages) for low in range(40, 50)]
    assert sum(counts) >= 998
    assert min(counts) >= 95
    assert max(counts) <= 105


def test_other_rows_of_the_patient(tmp_path: Path) -> None:
    mapping = """
time_basis = "shifted"
[maps]
sexes = { F = "female", M = "male" }
[patient]
file = "events"
keep = { column = "code", in = ["BIRTH"] }
patient_id = "id"
birth_date = "time"
sex = { column = "code", where = { column = "code", starts = "SEX//" }, by = "//", part = 2, map = "sexes" }
death_datetime = { column = "time", where = { column = "code", in = ["DEATH"] } }
marital_status_code = { file = "more", column = "status", match = "id", pick = "last" }
[encounter]
file = "events"
keep = { column = "code", starts = "IN//" }
order_by = "time"
patient_id = "id"
start_datetime = "time"
end_datetime = { column = "time", pick = "next", where = { column = "code", in = ["OUT"] } }
encounter_class = { column = "code", by = "//", part = 2, map = { U = "IMP" }, other = "OBSENC" }
"""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = [
        (1, datetime(2128, 1, 1), "BIRTH"),
        (1, None, "SEX//F"),
        (1, datetime(2180, 5, 2, 12), "OUT"),
        (1, datetime(2180, 5, 1, 10, 30), "IN//U"),
        (2, datetime(2140, 1, 1), "BIRTH"),
        (2, None, "SEX//M"),
        (2, datetime(2190, 5, 1), "OUT"),
        (2, datetime(2190, 5, 1), "IN//X"),
        (1, datetime(2180, 7, 1, 8), "IN//Y"),
        (1, datetime(2180, 7, 2, 8), "OUT"),
        (1, datetime(2181, 1, 1), "DEATH"),
    ]
    ids, times, codes = zip(*rows, strict=True)
    pq.write_table(
        pa.table({"id": list(ids), "time": pa.array(times, pa.timestamp("us")), "code": list(codes)}),
        folder / "events.parquet",
    )
    (folder / "more.csv").write_text("id,status\n1,S\n1,M\n2,D\n")
    records, report = load(tmp_path, mapping)
    assert column(records, "patient", "sex") == ["female", "male"]
    assert column(records, "patient", "marital_status_code") == ["M", "D"]
    assert column(records, "patient", "death_datetime") == [datetime(2181, 1, 1), None]
    assert column(records, "encounter", "start_datetime") == [
        datetime(2180, 5, 1, 10, 30),
        datetime(2180, 7, 1, 8),
        datetime(2190, 5, 1),
    ]
    assert column(records, "encounter", "end_datetime") == [datetime(2180, 5, 2, 12), datetime(2180, 7, 2, 8), None]
    assert column(records, "encounter", "encounter_class") == ["IMP", "OBSENC", "OBSENC"]
    assert report.rows_read == {"events to patient": 11, "events to encounter": 11}


def test_dates_in_other_dress(tmp_path: Path) -> None:
    mapping = """
[patient]
patient_id = "id"
birth_date = { column = "age", as = "age_in_year", year = "in" }
sex = { column = "sex", other = "unknown", map = { m = "male" } }
[encounter]
file = "stays"
patient_id = "id"
start_datetime = { column = "day", format = "%d.%m.%Y" }
end_datetime = { column = "hours", as = "hours", from = "start_datetime" }
encounter_class = { value = "IMP" }
"""
    stays = "id,day,hours\n1,05.02.2020,30\n2,29.02.2020,\n"
    mapping = mapping.replace("[patient]", '[patient]\nfile = "people"')
    records, _ = load(tmp_path, mapping, people="id,age,in,sex\n1,70,2010,m\n2,20,2011,f\n", stays=stays)
    assert column(records, "patient", "birth_date") == [date(1940, 1, 1), date(1991, 1, 1)]
    assert column(records, "patient", "birth_date_precision") == ["year", "year"]
    assert column(records, "patient", "sex") == ["male", "unknown"]
    assert column(records, "encounter", "start_datetime") == [datetime(2020, 2, 5), datetime(2020, 2, 29)]
    # Only the day of the start is known: the end is cut to the day, too.
    assert column(records, "encounter", "end_datetime") == [datetime(2020, 2, 6), None]
    assert column(records, "encounter", "time_precision") == ["day", "day"]


def test_conditions(tmp_path: Path) -> None:
    mapping = (
        PATIENT
        + """
[observation]
file = "v"
keep = [
  { column = "value", between = [0, 10] },
  { column = "kind", by = "/", part = 2, in = ["b"] },
  { column = "kind", not_in = ["c/b"] },
  { column = "note", present = false },
]
patient_id = "id"
code_system = { value = "urn:mine" }
code = { column = "kind", by = "/", part = 1 }
category = { value = "exam" }
value_number = { column = "value", factor = 2.0 }
"""
    )
    v = "id,kind,value,note\n1,a/b,5,\n1,a/b,50,\n1,c/b,5,\n1,a/d,5,\n1,a/b,5,hm\n1,a,5,\n1,a/b,,\n"
    records, report = load(tmp_path, mapping, v=v)
    assert column(records, "observation", "value_number") == [10.0]
    assert column(records, "observation", "code") == ["a"]
    assert aside(report) == {
        ("v", "not kept: value lies in 0 to 10"): 2,
        ("v", "not kept: part 2 of kind is one of b"): 2,
        ("v", "not kept: kind is none of c/b"): 1,
        ("v", "not kept: note is empty"): 1,
    }


def test_lives_and_stays_bound_what_happens(tmp_path: Path) -> None:
    mapping = (
        PATIENT
        + """
death_datetime = "died"
"""
        + ENCOUNTER
        + """
[medication_request]
file = "drugs"
patient_id = "id"
encounter_id = "visit"
code_system = { value = "rxnorm" }
code = "code"
authored_datetime = "day"
start_date = "day"
end_date = "stop"
"""
    )
    drugs = (
        "id,visit,code,day,stop\n1,a,1,2020-01-06,2020-01-02\n1,a,2,2019-06-01,\n1,,3,1949-01-01,\n"
        "1,,4,2022-01-05,\n1,,5,2020-01-07,2023-01-01\n"
    )
    records, report = load(
        tmp_path,
        mapping,
        people="id,born,sex,died\n1,1950-02-03,M,2021-03-04\n2,1980-12-31,F,\n",
        visits=VISITS,
        drugs=drugs,
    )
    assert column(records, "medication_request", "code") == ["2", "1", "5"]
    assert column(records, "medication_request", "encounter_id") == [None, "a", "a"]
    assert column(records, "medication_request", "end_date") == [None, None, date(2021, 3, 4)]
    assert aside(report) == {("drugs", "before birth"): 1, ("drugs", "after death"): 1}
    assert {entry.reason: entry.count for entry in report.adjusted} == {
        "end_date after death: cut to it": 1,
        "start_date is later than end_date: end_date was left out": 1,
        "more than a day outside its encounter: the link to it was left out": 1,
    }


def test_shared_tables_and_payers(tmp_path: Path) -> None:
    mapping = (
        PATIENT
        + """
[payer]
file = "cover"
one_per = ["payer"]
payer_id = "payer"
name = "payer"
payer_type_code = { column = "payer", map = { MC = "1" }, other = "" }
[coverage]
file = "cover"
patient_id = "id"
payer_id = "payer"
"""
    )
    records, _ = load(tmp_path, mapping, cover="id,payer\n1,MC\n2,XX\n")
    assert column(records, "payer", "payer_type_code") == ["1", None]
    assert column(records, "coverage", "payer_id") == ["MC", "XX"]
    assert column(records, "coverage", "status") == ["active", "active"]


def test_the_example_of_the_readme_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    mapping = text.split("```toml")[1].split("```")[0]
    diagnoses = "ID,DATE,ICD\n1,2001-02-03,I10\n1,2001-02-03,E119\n2,2002-02-03,I10\n"
    records, _ = load(tmp_path, mapping, people="ID,AGE,SEX\n1,40,1\n2,50,2\n", diagnoses=diagnoses)
    assert records.row_counts["encounter"] == 2
    assert column(records, "condition", "code") == ["I10", "E11.9", "I10"]


def test_a_mapping_by_path_by_name_and_where_it_does_not_belong(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "people.csv").write_text(PEOPLE)
    mapping = tmp_path / "my.toml"
    mapping.write_text(PATIENT)
    assert ehrsynth.read(folder, mapping=mapping).n_patients == 2
    assert ehrsynth.read(folder, mapping=mapping, format="mapping").n_patients == 2
    with pytest.raises(UsageError, match="takes no mapping"):
        ehrsynth.read(folder, mapping=mapping, format="omop")
    with pytest.raises(UsageError, match="needs a mapping"):
        ehrsynth.read(folder, format="mapping")
    with pytest.raises(SourceError, match=r"There is no mapping 'nafl'.*Did you mean 'nafld'"):
        ehrsynth.read(folder, mapping="nafl")


@pytest.mark.parametrize("name", packaged_mappings())
def test_packaged_mappings_are_sound(name: str) -> None:
    mapping = read_mapping(name)
    assert mapping.name == name
    assert mapping.source
    assert mapping.time_basis
    assert mapping.of("patient")
    assert mapping.of("encounter")
