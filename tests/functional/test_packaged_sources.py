"""The public formats under their own names, from the folders as they are published to generated patients."""

from __future__ import annotations

import csv
import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.readers import ReadReport
from ehrsynth.records import Records

pytestmark = pytest.mark.shared

FOLDERS = {"mimic-iv": "mimic4_demo_native", "meds": "mimic4_demo_meds", "synthea-csv": "synthea_csv_27"}
_READ: dict[str, tuple[Records, ReadReport]] = {}


def source(shared: Path, name: str) -> tuple[Records, ReadReport]:
    """A source read without naming its format, once."""
    if name not in _READ:
        _READ[name] = read_with_report(shared / "data" / FOLDERS[name])
    return _READ[name]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_format_is_recognised_and_every_row_counted(shared: Path, name: str) -> None:
    records, report = source(shared, name)
    assert report.format == records.provenance.source_format == name
    assert records.check_keys() == []
    for table, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert read == report.rows_taken.get(table, 0) + aside, table
    if name == "meds":
        # Each of the 916,166 events once, and a row for each of the hundred subjects.
        assert sum(report.rows_read.values()) == 916_166 + 100
        assert records.row_counts["observation"] == 394_198
        assert records.row_counts["condition"] == 4_506


def with_emergency_department(shared: Path, folder: Path) -> Path:
    """Put the emergency stays beside the hospital's tables, their years moved as those of each patient's admissions.

    The two demonstration sets have different shifts of the same patients; a stay that led to an admission is in both.
    """
    shutil.copytree(shared / "data" / "mimic4_demo_native", folder / "hosp")
    (folder / "ed").mkdir()
    with gzip.open(folder / "hosp" / "admissions.csv.gz", "rt") as lines:
        registered = {row["hadm_id"]: row["edregtime"] for row in csv.DictReader(lines)}
    shift: dict[str, int] = {}
    with gzip.open(shared / "data" / "mimic4_ed_demo" / "edstays.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            if there := registered.get(row["hadm_id"]):
                shift.setdefault(row["subject_id"], int(row["intime"][:4]) - int(there[:4]))
    for path in (shared / "data" / "mimic4_ed_demo").glob("*.csv.gz"):
        with gzip.open(path, "rt") as lines, gzip.open(folder / "ed" / path.name, "wt") as moved:
            reader = csv.DictReader(lines)
            writer = csv.DictWriter(moved, reader.fieldnames or ())
            writer.writeheader()
            for row in reader:
                if row["subject_id"] not in shift:
                    continue
                for column in ("intime", "outtime", "charttime"):
                    if row.get(column):
                        row[column] = f"{int(row[column][:4]) - shift[row['subject_id']]}{row[column][4:]}"
                        row[column] = row[column].replace("-02-29", "-02-28")
                writer.writerow(row)
    return folder


def test_mimic_with_its_emergency_department(shared: Path, tmp_path: Path) -> None:
    records, report = read_with_report(with_emergency_department(shared, tmp_path / "mimic"))
    assert report.format == "mimic-iv"
    assert records.check_keys() == []
    encounter = records["encounter"]
    classes = encounter["encounter_class"].cast("string")
    emergency = encounter.filter(pc.equal(classes, "EMER"))
    assert emergency.num_rows > 150
    # Its vital signs and diagnoses are of these stays, by their key.
    stays = pa.array(emergency["encounter_id"].to_pylist())
    vitals = records["observation"].filter(pc.equal(records["observation"]["code"].cast("string"), "8867-4"))
    assert vitals.num_rows > 600
    assert pc.sum(pc.is_in(vitals["encounter_id"], value_set=stays)).as_py() > 0.95 * vitals.num_rows
    linked = pc.sum(pc.is_in(records["condition"]["encounter_id"], value_set=stays)).as_py()
    assert linked > 300
    # They last hours, the longest three days.
    hours = pc.divide(pc.subtract(emergency["end_datetime"], emergency["start_datetime"]).cast("int64"), 3600)
    assert pc.mean(hours).as_py() < 12
    assert pc.max(hours).as_py() < 96


@pytest.mark.learn
@pytest.mark.parametrize("name", FOLDERS)
def test_from_the_source_to_generated_patients(shared: Path, name: str) -> None:
    pytest.importorskip("pomegranate")
    from ehrsynth.learning import LearningSettings

    # A patient of the intensive care unit has thousands of measurements: a few patients, and a few codes, are enough.
    records = source(shared, name)[0].head({"meds": 8, "mimic-iv": 6, "synthea-csv": 27}[name])
    observation = records["observation"]
    counts = pc.value_counts(observation["code"].cast("string"))
    often = counts.take(pc.sort_indices(counts.field(1), sort_keys=[("", "descending")])[:5]).field(0)
    few = observation.filter(pc.is_in(observation["code"].cast("string"), value_set=often))
    records = Records(
        tables={**records.tables, "observation": few}, schema=records.schema, provenance=records.provenance
    )
    settings = LearningSettings(states=2, classes=1, name=name, min_patients=2)
    model = ehrsynth.learn(records, seed=1, settings=settings)
    made = ehrsynth.generate(model, population=25, seed=1)
    for table in ("encounter", "condition", "observation", "medication_request", "procedure"):
        assert made.row_counts[table] > 0, table
    assert made.check_keys() == []
