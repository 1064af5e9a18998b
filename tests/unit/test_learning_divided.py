"""Learning in parts of patients from the source itself: the model, the account and the errors of learning whole."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from ehrsynth import api
from ehrsynth.engines.parts_learning import divided
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.learning import LearningProgress, LearningSettings
from ehrsynth.readers import ReadReport, part_keys
from ehrsynth.readers.parting import split
from ehrsynth.readers.report import SetAside
from ehrsynth.records import Records

SETTINGS = LearningSettings(states=2, classes=2, iterations=4, chunk_visits=300, estimator="numpy", min_patients=5)


@pytest.fixture
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where parts lie meanwhile."""
    folder = tmp_path / "spill"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def sorted_report(report: ReadReport) -> dict[str, Any]:
    told = report.to_dict()
    return {name: sorted(value, key=str) if isinstance(value, list) else value for name, value in told.items()}


@pytest.fixture
def same(learning_records: ModuleType) -> Callable[..., ReadReport]:
    """Learn at once and in parts, compare, and give the report."""

    def compare(source: Path | str, parts: int, **options: Any) -> ReadReport:
        whole, told = api.learn_from(source, settings=SETTINGS, seed=1, parts=1, **options)
        model, report = api.learn_from(source, settings=SETTINGS, seed=1, parts=parts, **options)
        assert max(learning_records.differences(whole, model).values(), default=0.0) < 1e-9
        assert model.provenance == whole.provenance
        assert sorted_report(report) == sorted_report(told)
        return report

    return compare


def tables(records: Records, folder: Path) -> Path:
    """The canonical tables as CSV."""
    api.export(records, folder / "out", formats=["csv"])
    return folder / "out" / "csv"


@pytest.mark.learn
@pytest.mark.parametrize("form", ["csv", "omop"])
def test_learned_in_parts_is_learned_at_once(same: Any, form: str, tmp_path: Path, spill: Path) -> None:
    records = api.generate("cardiometabolic_cohort", population=50, seed=3)
    api.export(records, tmp_path / "out", formats=[form])
    assert same(tmp_path / "out" / form, 4).rows_read
    assert list(spill.iterdir()) == []


def test_every_kind_of_source_falls_into_parts(tmp_path: Path) -> None:
    records = api.generate("cardiometabolic_cohort", population=40, seed=3)
    out = tmp_path / "out"
    api.export(records, out, formats=["csv", "parquet", "duckdb", "sqlite", "omop"])
    for name in ("observation", "condition"):
        (out / "csv" / f"{name}.csv.gz").write_bytes(gzip.compress((out / "csv" / f"{name}.csv").read_bytes()))
        (out / "csv" / f"{name}.csv").unlink()
    # Integers with gaps that went through floats, also where a part has no gap.
    path = out / "parquet" / "medication_request.parquet"
    orders = pq.read_table(path)
    gaps = pa.array([None if at == 7 else at for at in range(len(orders))], pa.float64())
    pq.write_table(orders.set_column(orders.column_names.index("days_supply"), "days_supply", gaps), path)
    events = tmp_path / "meds"
    events.mkdir()
    pq.write_table(meds(), events / "a.parquet", row_group_size=7)
    databases = [f"{kind}:///{out}/{kind}/records.{kind}" for kind in ("duckdb", "sqlite")]
    for source in (out / "csv", out / "parquet", out / "omop", events, *databases):
        (tmp_path / "spill").mkdir()
        division = divided(source, None, None, 3)
        assert division is not None
        parts = split(division.cut, tmp_path / "spill", 3)
        read = [division.reader.read(part)[0] for part in parts]
        assert all(part.n_patients for part in read)
        whole = api.read(source)
        for name, table in whole.tables.items():
            if whole.schema[name].has_patient:
                # Where two tables of OMOP become one, keys get another name only if they meet.
                columns = [one for one in table.column_names if one != "observation_id"]
                rows = [row for part in read for row in part[name].select(columns).to_pylist()]
                assert rows == table.select(columns).to_pylist()
        for part in parts:
            part.forget()
        (tmp_path / "spill").rmdir()


def meds() -> pa.Table:
    """Events of twelve subjects; a laboratory code has a number in one of them alone, and one birth is no new year."""
    rows: list[tuple[int, datetime | None, str, float | None]] = []
    for subject in range(12):
        born = datetime(1950 + subject, 1, 2 if subject == 9 else 1)
        rows.append((subject, born, "MEDS_BIRTH", None))
        for visit in range(3):
            when = datetime(2019, 1 + visit, 1 + subject, 8)
            rows.append((subject, when, "LAB//50912//mg/dL", 1.5 if subject == 4 else None))
            rows.append((subject, when, "WARD//7", 2.5 if subject == 8 else None))
            rows.append((subject, when, "ICD10CM/E119", None))
    subject, time_, code, number = zip(*rows, strict=True)
    return pa.table({"subject_id": subject, "time": time_, "code": code, "numeric_value": number})


MAPPING = """
[patient]
file = "visits"
one_per = ["patient_id"]
order_by = "start_datetime"
patient_id = "patient_id"
birth_date = { file = "people", column = "born", match = ["patient_id", "pid"] }

[encounter]
file = "visits"
encounter_id = "encounter_id"
patient_id = "patient_id"
start_datetime = "start_datetime"
encounter_class = { value = "AMB" }

[condition]
file = "dx"
patient_id = "patient_id"
encounter_id = "encounter_id"
code_system = { value = "icd-10-cm" }
code = "code"
"""


@pytest.mark.learn
def test_a_mapping_in_parts(same: Any, learning_records: ModuleType, tmp_path: Path, spill: Path) -> None:
    records = learning_records.cohort(80, visits=4, codes=12)
    visits = records["encounter"].select(["encounter_id", "patient_id", "start_datetime"])
    # The patients come in the order of the rows of their first visits.
    visits = visits.take(pa.array(np.random.default_rng(0).permutation(len(visits))))
    people = records["patient"].select(["patient_id", "birth_date"]).rename_columns(["pid", "born"])
    codes = records["condition"].select(["patient_id", "encounter_id", "code"])
    for name, table in (("visits", visits), ("people", people), ("dx", codes)):
        plain = {column: table[column].cast(pa.string()) for column in table.column_names}
        csv.write_csv(pa.table(plain), tmp_path / f"{name}.csv")
    (tmp_path / "mapping.toml").write_text(MAPPING)
    same(tmp_path, 3)
    assert list(spill.iterdir()) == []


def test_what_does_not_fall_into_parts(learning_records: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text("patient_id,id\n1,2\n")
    (tmp_path / "people.csv").write_text("pid,born\n1,1970-01-01\n")
    key = 'patient_id = "patient_id"\nbirth'
    piece = key.replace('"patient_id"', '{ column = "patient_id", by = "-", part = 1 }')
    (tmp_path / "mapping.toml").write_text(MAPPING.replace(key, piece).split("[cond")[0])
    with pytest.raises(UsageError, match=r"reader mapping .* does not fall into parts"):
        api.learn_from(tmp_path, parts=2)
    with pytest.raises(UsageError, match="1 or more"):
        api.learn_from(tmp_path, parts=0)


@pytest.mark.learn
def test_codes_of_few_and_parts_of_nobody(same: Any, learning_records: ModuleType, tmp_path: Path) -> None:
    # A code that five people have, two of them in one part and three in another, is learned; that of four is not.
    records = learning_records.cohort(30, visits=3, codes=4)
    system = "http://unknown.example.org/codes"
    rows = records["condition"].to_pylist()
    for code, people in (("five", (1, 2, 20, 21, 22)), ("four", (1, 2, 20, 21))):
        for i in people:
            rows.append(
                next(row for row in rows if row["patient_id"] == f"p{i}") | {"code_system": system, "code": code}
            )
    for number, row in enumerate(rows):
        row["condition_id"] = str(number)
    encounters = [row for row in records["encounter"].to_pylist() if row["patient_id"] not in ("p10", "p11", "p12")]
    kept = {row["encounter_id"] for row in encounters}
    records = records.replace(
        condition=pa.Table.from_pylist(
            [row for row in rows if row["encounter_id"] in kept], schema=records["condition"].schema
        ),
        encounter=pa.Table.from_pylist(encounters, schema=records["encounter"].schema),
    )
    source = tables(records, tmp_path)
    same(source, 10)
    model, _ = api.learn_from(source, settings=SETTINGS, seed=1, parts=10)
    codes = {coding.code for coding in model.families[0].codings}
    assert "five" in codes
    assert "four" not in codes
    assert model.disclosure.left_out["condition"] == 1
    assert model.disclosure.counts["patient"] == 30


def test_an_error_names_the_row_of_the_source(learning_records: ModuleType, tmp_path: Path, spill: Path) -> None:
    source = tables(learning_records.cohort(30), tmp_path)
    lines = (source / "encounter.csv").read_text().splitlines()
    at = lines[0].split(",").index("start_datetime")
    words = lines[70].split(",")
    lines[70] = ",".join([*words[:at], "someday", *words[at + 1 :]])
    (source / "encounter.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(SourceError) as whole:
        api.learn_from(source, settings=SETTINGS, parts=1)
    with pytest.raises(SourceError) as parts:
        api.learn_from(source, settings=SETTINGS, parts=4)
    assert str(parts.value) == str(whole.value)
    assert parts.value.row == 70
    assert list(spill.iterdir()) == []


def test_rows_of_nobody_are_said(learning_records: ModuleType, tmp_path: Path) -> None:
    source = tables(learning_records.cohort(30), tmp_path)
    text = (source / "condition.csv").read_text()
    (source / "condition.csv").write_text(text.replace(",p25,", ",stranger,"))
    with pytest.raises(SourceError, match="stranger"):
        api.learn_from(source, settings=SETTINGS, parts=4)


@pytest.mark.learn
def test_it_happens_by_size_and_is_told(
    learning_records: ModuleType, tmp_path: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tables(learning_records.cohort(60), tmp_path)
    told: list[LearningProgress] = []
    api.learn_from(source, settings=SETTINGS, progress=told.append)
    assert "reading" not in {one.stage for one in told}
    for name, value in (("_MANY_ROWS", 100), ("_PART_ROWS", 200)):
        monkeypatch.setattr(f"ehrsynth.engines.parts_learning.{name}", value)
    told.clear()
    api.learn_from(source, settings=SETTINGS, progress=told.append)
    read = [one.message for one in told if one.stage == "reading"]
    assert read[0] == "sorting rows by patient"
    assert read[1:] == [f"part {k} of {len(read) - 1}" for k in range(1, len(read))]
    assert len(read) > 2
    assert told[-1].stage == "done"


def test_reports_of_parts_are_one() -> None:
    def report(n: int, row: int, notes: list[str]) -> ReadReport:
        return ReadReport(
            source="s",
            format="f",
            rows_read={"a": n, "place": 7},
            rows_taken={"a": n - 1},
            set_aside=[
                SetAside(table="a", reason="r", count=1, row=row, example=str(row)),
                SetAside(table="place", reason="r", count=2),
            ],
            notes=notes,
        )

    one = report(3, 9, ["There is no x.", "3 rows of y lie in no encounter.", "Codes of z (5 rows): 5 by that."])
    two = report(
        1_000,
        4,
        ["There is no x.", "1,200 rows of y lie in no encounter.", "Codes of z (3 rows): 2 by this; 1 by that."],
    )
    both = one.together(two, frozenset({"place"}))
    assert both.rows_read == {"a": 1_003, "place": 7}
    assert both.rows_taken == {"a": 1_001}
    assert [(some.count, some.row, some.example) for some in both.set_aside] == [(2, 4, "4"), (2, None, "")]
    assert both.notes == [
        "There is no x.",
        "1,203 rows of y lie in no encounter.",
        "Codes of z (8 rows): 6 by that; 2 by this.",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(
    learning_records: ModuleType, tmp_path: Path, number: signal.Signals
) -> None:
    source = tables(learning_records.cohort(300, visits=8, codes=60), tmp_path)
    spill = tmp_path / "spill"
    spill.mkdir()
    # Many states: the learning lasts longer than a busy machine may let this process wait.
    words = ["learn", str(source), "-o", str(tmp_path / "m.ehrsynth"), "--parts", "9", "--states", "24"]
    command = [sys.executable, "-c", "from ehrsynth.cli.app import main; main()", *words]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(spill)}, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not list(spill.glob("ehrsynth-learn-*/*.part")) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode != 0, said.decode()
    assert list(spill.iterdir()) == []
    assert not (tmp_path / "m.ehrsynth").exists()


@pytest.fixture
def twice(learning_records: ModuleType, tmp_path: Path) -> Path:
    """Tables in which p25 has the encounter key of p3."""
    source = tables(learning_records.cohort(40), tmp_path)
    for table, old, new in (("encounter", "\n25-1,", "\n3-1,"), ("condition", ",25-1,", ",3-1,")):
        text = (source / f"{table}.csv").read_text()
        (source / f"{table}.csv").write_text(text.replace(old, new))
    return source


def test_a_key_of_two_parts_is_an_error(twice: Path, spill: Path) -> None:
    said = []
    for parts in (1, 4, 40):
        with pytest.raises(SourceError, match=r"'3-1' is there twice") as error:
            api.learn_from(twice, settings=SETTINGS, parts=parts)
        said.append((str(error.value), error.value.row, error.value.hint))
    assert said[0][1] == 77
    assert said[1:] == said[:1] * 2
    assert list(spill.iterdir()) == []


@pytest.mark.learn
def test_rows_of_a_key_of_two_parts_are_set_aside(twice: Path, spill: Path) -> None:
    # Rows of the encounter that is left out would be of another person's encounter, were it read at once.
    lines = [line for line in (twice / "condition.csv").read_text().splitlines() if ",p25,3-1," not in line]
    for at in (70, 150, 151):
        lines[at] = "10," + lines[at].partition(",")[2]
    (twice / "condition.csv").write_text("\n".join(lines) + "\n")
    whole, told = api.learn_from(twice, settings=SETTINGS, seed=1, parts=1, strict=False)
    model, report = api.learn_from(twice, settings=SETTINGS, seed=1, parts=5, strict=False)
    assert sorted_report(report) == sorted_report(told)
    assert {(one.table, one.count, one.row) for one in report.set_aside} == {("encounter", 1, 77), ("condition", 3, 70)}
    assert model.disclosure.counts == whole.disclosure.counts
    assert list(spill.iterdir()) == []


def test_keys_are_compared_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_keys, "_SLICE_ROWS", 50)
    files, rng = part_keys.KeyFiles(tmp_path), np.random.default_rng(0)
    words = [f"{'x' * int(rng.integers(0, 40))}{i}" for i in range(600)]
    # Every seventh row has the key of an earlier row, mostly of another part.
    keys = [words[int(rng.integers(0, i))] if i and i % 7 == 0 else words[i] for i in range(600)]
    part, first = rng.integers(0, 5, size=600), {}
    for i, key in enumerate(keys):
        first.setdefault((part[i], key), i)
    for number in range(5):
        mine = np.array([i for (p, _), i in first.items() if p == number])
        known = files.of(number).repeated("t", "t", pa.array([keys[i] for i in mine]), mine, lambda row, key: None)
        assert not known.any()
    found = set(files.find(strict=False))
    earliest = {key: min(i for (_, k), i in first.items() if k == key) for key in keys}
    wanted = {number: {i for (p, k), i in first.items() if p == number and i != earliest[k]} for number in range(5)}
    assert found == {number for number, rows in wanted.items() if rows}
    assert {n: set(files.again(n, "t")[0].tolist()) for n in found} == {n: r for n, r in wanted.items() if r}
    said: list[tuple[int, str]] = []
    for table in files._tables.values():
        table[:] = [replace(one, refuse=lambda row, key: said.append((row, key))) for one in table]
    files.find(strict=True)
    least = min(row for rows in wanted.values() for row in rows)
    assert said == [(least, keys[least])]
    files.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["omop", "mapping"])
def test_keys_of_two_parts_whatever_the_source(
    learning_records: ModuleType, tmp_path: Path, spill: Path, form: str
) -> None:
    if form == "omop":
        api.export(api.generate("cardiometabolic_cohort", population=30, seed=3), tmp_path / "out", formats=["omop"])
        folder, file = tmp_path / "out" / "omop", "condition_occurrence.csv"
    else:
        folder, file = tmp_path, "visits.csv"
        records = learning_records.cohort(30, visits=4)
        (folder / "mapping.toml").write_text(MAPPING.partition("[condition]")[0])
        for name, table, names in (
            ("visits", "encounter", ["encounter_id", "patient_id", "start_datetime"]),
            ("people", "patient", ["patient_id", "birth_date"]),
        ):
            columns = [records[table][one].cast(pa.string()) for one in names]
            renamed = ["pid", "born"] if name == "people" else names
            csv.write_csv(pa.table(columns, names=renamed), folder / f"{name}.csv")
    lines = (folder / file).read_text().splitlines()
    # The first column is the key.
    lines[-2] = ",".join([lines[3].split(",")[0], *lines[-2].split(",")[1:]])
    (folder / file).write_text("\n".join(lines) + "\n")
    said = []
    for parts in (1, 4):
        with pytest.raises(SourceError, match="is there twice") as error:
            api.learn_from(folder, settings=SETTINGS, parts=parts)
        said.append((str(error.value), error.value.row))
    assert said[0] == said[1]
    assert list(spill.iterdir()) == []
