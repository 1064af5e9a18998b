"""What holds of readers for any input: text comes back, dates agree with Python's, every row is accounted for."""

from __future__ import annotations

import csv
import io
import random
import sys
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ehrsynth.errors import SourceError
from ehrsynth.readers.assembly import encounter_sequence
from ehrsynth.readers.delimited import read_delimited
from ehrsynth.readers.omop import OmopReader
from ehrsynth.readers.values import parse
from ehrsynth.records import Records

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


@RELAXED
@example(rows=[("", "", "\r"), ("x\ry", "\r\n", "")], mark=",", bom=False, end="\n")
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8),
    mark=st.sampled_from(",\t;|"),
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_text_comes_back(tmp_path: Path, rows: list[tuple[str, ...]], mark: str, bom: bool, end: str) -> None:
    out = io.StringIO()
    # Python before 3.13 leaves a lone carriage return bare, and such a file has no one reading.
    bare = any("\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if mark == "\t" or bare else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    path = tmp_path / "t.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode())
    found = read_delimited(path, table="t")
    assert [tuple(row.values()) for row in found.columns.to_pylist()] == [
        tuple(cell or None for cell in row) for row in rows
    ]
    assert found.rows.tolist() == list(range(1, len(rows) + 1))
    assert found.ragged == []


MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2400, 1, 1)).map(lambda t: t.replace(microsecond=0))
WAYS = st.sampled_from(
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%SZ", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y%m%d"]
)
BAD = st.sampled_from(["2019-13-45", "2019-02-30", "x", "12", "2019-01-01 24:30:00", "1.1.2019"])


@RELAXED
@given(cells=st.lists(st.one_of(st.none(), st.tuples(MOMENTS, WAYS), BAD), max_size=12))
def test_dates_and_times_agree_with_python(cells: list[Any]) -> None:
    texts = [cell if cell is None or isinstance(cell, str) else cell[0].strftime(cell[1]) for cell in cells]
    moments: list[datetime | None] = [
        datetime.strptime(text, cell[1]) if isinstance(cell, tuple) and text else None
        for cell, text in zip(cells, texts, strict=True)
    ]
    column = pa.chunked_array([pa.array(texts, pa.string())])
    bad = [isinstance(cell, str) for cell in cells]
    for kind, expected in (("datetime", moments), ("date", [m and m.date() for m in moments])):
        parsed = parse(column, kind)
        assert parsed.values.to_pylist() == expected
        assert (parsed.bad.tolist() if parsed.bad is not None else [False] * len(cells)) == bad


@RELAXED
@given(visits=st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 3))), max_size=12))
def test_the_sequence_is_the_place_in_a_stable_sort(visits: list[tuple[int, int | None]]) -> None:
    kind = pa.timestamp("s")
    start = pa.chunked_array([pa.array([s for _, s in visits], pa.int64()).cast(kind)])
    found = encounter_sequence(np.array([p for p, _ in visits], dtype=np.int64), start, start)
    for person in range(3):
        mine = [at for at, (p, _) in enumerate(visits) if p == person]
        mine.sort(key=lambda at: (visits[at][1] is None, visits[at][1] or 0))
        assert [int(found[at]) for at in mine] == list(range(1, len(mine) + 1))


CELLS = (
    "",
    "garbage",
    "-1",
    "0",
    "NULL",
    "12",
    "10",
    "2",
    "2019-13-45",
    "1700-01-01",
    "2300-01-01 10:00:00",
    "1e3",
    "é\n,",
)


def spoil(tables: dict[str, list[dict[str, Any]]], seed: int) -> None:
    """Break cells, double and take away rows, as bad exports do."""
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 12)):
        rows = tables[dice.choice(sorted(tables))]
        if not rows:
            continue
        row = dice.choice(rows)
        match dice.randint(0, 5):
            case 0:
                rows.append(dict(row))
            case 1:
                if len(rows) > 1:  # a table without rows has no header here
                    rows.remove(row)
            case _:
                row[dice.choice(sorted(row))] = dice.choice(CELLS)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_leniently_anything_is_read_and_every_row_accounted_for(tmp_path: Path, made: ModuleType, seed: int) -> None:
    tables = made.tables()
    spoil(tables, seed)
    folder = made.write(tmp_path / str(seed), tables)
    records, report = OmopReader().read(folder, strict=False)
    for table, count in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert report.rows_taken[table] + aside == count, table
    assert records.check_keys() == []
    assert_plausible(records)
    try:
        strict, _ = OmopReader().read(folder)
    except SourceError as error:
        assert error.table
        assert error.file
    else:
        assert strict.row_counts == records.row_counts


def assert_plausible(records: Records) -> None:
    """Nothing starts before birth or after death or ends before it starts; no required value is empty."""
    people = {row["patient_id"]: row for row in records["patient"].to_pylist()}

    def day(value: Any) -> date | None:
        return value.date() if isinstance(value, datetime) else value

    for table in records.schema.tables:
        for row in records[table.name].to_pylist():
            for column in table.columns:
                assert not (column.required and row[column.name] is None), (table.name, column.name)
                assert not column.enum or row[column.name] in (None, *column.enum)
            for first, second in table.order:
                assert row[first] is None or row[second] is None or row[first] <= day_like(row[second], row[first])
            for name in table.within_life:
                person, value = people[row["patient_id"]], day(row[name])
                assert value is None or person["birth_date"] <= value
                assert value is None or person["death_datetime"] is None or value <= person["death_datetime"].date()


def day_like(value: Any, like: Any) -> Any:
    return value.date() if isinstance(value, datetime) and not isinstance(like, datetime) else value
