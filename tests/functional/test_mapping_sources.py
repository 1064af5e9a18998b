"""Every real source through its packaged mapping, and from two of them to generated patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.readers import ReadReport
from ehrsynth.records import Records

pytestmark = pytest.mark.shared

SOURCES = {
    # mapping: folder, time basis, rows of the tables
    "nafld": (
        "nafld",
        "offset",
        {"patient": 12226, "encounter": 160716, "condition": 24217, "observation": 167717},
    ),
    "uci_diabetes130": (
        "uci_diabetes130",
        "order",
        {
            "payer": 17,
            "patient": 50041,
            "coverage": 29156,
            "encounter": 71192,
            "condition": 208345,
            "observation": 15725,
            "medication_request": 84160,
        },
    ),
    "nhanes_adults": (
        "nhanes",
        "offset",
        {"patient": 54064, "encounter": 54064, "condition": 42712, "observation": 398046, "medication_request": 33724},
    ),
    "mimic4_native": (
        "mimic4_demo_native",
        "shifted",
        {
            "location": 31,
            "payer": 3,
            "patient": 100,
            "coverage": 100,
            "encounter": 1406,
            "condition": 4506,
            "observation": 5574,
            "medication_request": 10060,
            "procedure": 722,
        },
    ),
    "meds_mimic4_demo": (
        "mimic4_demo_meds",
        "shifted",
        {
            "patient": 100,
            "encounter": 275,
            "condition": 4506,
            "observation": 352606,
            "medication_request": 23655,
            "procedure": 718,
        },
    ),
    "synthea_csv": (
        "synthea_csv_27",
        "calendar",
        {
            "organization": 63,
            "practitioner": 166,
            "payer": 10,
            "patient": 27,
            "coverage": 1051,
            "encounter": 602,
            "condition": 438,
            "observation": 913,
            "medication_request": 663,
            "procedure": 249,
            "immunization": 29,
            "allergy_intolerance": 40,
            "device": 75,
        },
    ),
}
_READ: dict[str, tuple[Records, ReadReport]] = {}


def source(shared: Path, name: str) -> tuple[Records, ReadReport]:
    """A source read through its mapping, once."""
    if name not in _READ:
        _READ[name] = read_with_report(shared / "data" / SOURCES[name][0], mapping=name)
    return _READ[name]


@pytest.mark.parametrize("name", SOURCES)
def test_a_real_source_is_read_whole(shared: Path, name: str) -> None:
    records, report = source(shared, name)
    _, basis, rows = SOURCES[name]
    assert {table: count for table, count in records.row_counts.items() if count} == rows
    assert records.provenance.time_basis == basis
    assert records.check_keys() == []
    for table, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert read == report.rows_taken[table] + aside, table


def test_nafld_has_what_the_source_says(shared: Path) -> None:
    records, _ = source(shared, "nafld")
    patient, observation = records["patient"], records["observation"]
    ages = (np.datetime64("2006-07-01") - patient["birth_date"].to_numpy()).astype(int) / 365.2425
    assert ages.min() >= 18
    assert ages.max() < 99
    assert patient["death_datetime"].length() - patient["death_datetime"].null_count == 957
    assert set(pc.unique(observation["code"].cast("string")).to_pylist()) == {
        "2085-9",
        "8480-6",
        "72166-2",
        "29463-7",
        "8302-2",
        "39156-5",
    }
    systolic = observation.filter(pc.equal(observation["code"].cast("string"), "8480-6"))["value_number"].to_numpy()
    assert systolic.min() >= 60
    assert systolic.max() <= 300
    classes = pc.value_counts(records["encounter"]["encounter_class"].cast("string")).to_pylist()
    assert {entry["values"] for entry in classes} == {"AMB", "IMP"}


def test_uci_has_dots_dispositions_and_no_dates(shared: Path) -> None:
    records, _ = source(shared, "uci_diabetes130")
    codes = set(pc.unique(records["condition"]["code"].cast("string")).to_pylist())
    assert {"250.83", "V45", "E878", "428"} <= codes
    dispositions = records["encounter"]["discharge_disposition_code"].cast("string")
    assert pc.sum(pc.equal(dispositions, "exp")).as_py() == 1154 + 7 + 1
    assert records["encounter"]["start_datetime"].null_count == 71192
    assert pc.max(records["encounter"]["sequence"]).as_py() > 5


def test_stays_of_meds_end_with_their_discharge(shared: Path) -> None:
    encounters = source(shared, "meds_mimic4_demo")[0]["encounter"]
    native = source(shared, "mimic4_native")[0]["encounter"]
    stays = native.filter(pc.is_in(native["encounter_class"].cast("string"), pa.array(["IMP", "OBSENC"])))
    assert encounters["end_datetime"].null_count == 0
    assert stays.num_rows == encounters.num_rows
    lengths = []
    for table in (encounters, stays):
        table = table.sort_by([("patient_id", "ascending"), ("sequence", "ascending")])
        lengths.append(pc.subtract(table["end_datetime"], table["start_datetime"]).cast("int64").to_numpy())
    # The same stays under another shift of dates: four of them lose or gain a 29 February by it.
    differ = lengths[0] - lengths[1]
    assert (differ != 0).sum() == 4
    assert set(np.abs(differ[differ != 0]).tolist()) == {86_400}


@pytest.mark.learn
@pytest.mark.parametrize("name", ["nafld", "uci_diabetes130"])
def test_from_a_mapping_to_generated_patients(shared: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("pomegranate")
    from ehrsynth.learning import LearningSettings

    settings = LearningSettings(states=3, classes=1, name=name)
    records = source(shared, name)[0].head(1200)
    model = ehrsynth.learn(records, seed=3, settings=settings)
    assert model.calendar.basis == SOURCES[name][1]
    made = ehrsynth.generate(model, population=300, seed=1)
    formats = ["csv", "fhir-ndjson", "fhir-bundle"]
    ehrsynth.export(made, tmp_path / "out", formats=formats)
    for name_of_format in formats:
        report = ehrsynth.validate(tmp_path / "out" / name_of_format)
        assert [issue for issue in report.issues if issue.severity == "error"] == [], name_of_format
    # What was generated can be learned from in its turn, with the ages that the model had.
    again = ehrsynth.learn(made, seed=3, settings=settings)
    assert again.calendar.basis == model.calendar.basis
    means = [_mean_age(tables) for tables in (records, made)]
    assert abs(means[0] - means[1]) < 3
    assert made["encounter"]["start_datetime"].null_count == (
        made["encounter"].num_rows if model.calendar.basis == "order" else 0
    )


def _mean_age(records: Records) -> float:
    """The mean age in years at the first encounter, or where the record begins."""
    patient, encounter = records["patient"], records["encounter"]
    first = encounter.filter(pc.equal(encounter["sequence"], 1))
    at = pc.index_in(patient["patient_id"], value_set=first["patient_id"].combine_chunks())
    start = pc.coalesce(first["start_datetime"].take(at).cast("date32"), patient["record_start_date"])
    days = pc.subtract(start.cast("int32"), patient["birth_date"].cast("int32"))
    return float(pc.mean(days).as_py()) / 365.2425
