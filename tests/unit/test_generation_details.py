"""What happened in the encounters: panels, repeats, doses that last, statuses that the dates bear out, reasons."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import date
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.generation.code_tables import CodeTables
from ehrsynth.generation.details import ConditionIndex, _interpret
from ehrsynth.generation.rows import AttributeSampler, FamilySampler, Rows
from ehrsynth.model import AttributeTable, Strata
from ehrsynth.randomness import stream
from ehrsynth.records import Records
from ehrsynth.schema import clinical

REFERENCE = date(2024, 6, 30)


@pytest.fixture(scope="module")
def block(models: ModuleType) -> Records:
    return Generator(models.tiny_model(), seed=9).block(0)


def rows(records: Records, table: str) -> list[dict[str, Any]]:
    return records[table].to_pylist()


def test_a_panel_is_reported_together(block: Records) -> None:
    panels: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(block, "observation"):
        if row["code"] in ("8480-6", "8462-4"):
            panels[row["panel_id"]].append(row)
        else:
            assert row["panel_id"] is None
    assert None not in panels
    assert len(panels) > 5000
    for both in panels.values():
        assert [row["code"] for row in both] == ["8480-6", "8462-4"]
        assert len({(row["encounter_id"], row["effective_datetime"]) for row in both}) == 1


def test_pressures_of_a_panel_correlate(block: Records) -> None:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows(block, "observation"):
        if row["panel_id"] and row["value_number"] is not None:
            values[row["panel_id"]][row["code"]] = row["value_number"]
    both = np.array([list(pair.values()) for pair in values.values() if len(pair) == 2])
    assert 0.35 < np.corrcoef(both.T)[0, 1] < 0.7
    assert both.min(axis=0).tolist() >= [85, 45]


def test_repeats_have_their_mean_and_others_none(block: Records) -> None:
    per_visit: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows(block, "observation"):
        per_visit[row["encounter_id"], row["code"]] += 1
    by_code = defaultdict(list)
    for (_, code), count in per_visit.items():
        by_code[code].append(count)
    # Two that fall on the same minute are one: a little less than 1 and 0.5 more.
    assert 1.8 < np.mean(by_code["8480-6"]) < 2.05
    assert 1.4 < np.mean(by_code["2345-7"]) < 1.55
    assert max(by_code["29463-7"]) == 1


def test_every_number_has_its_unit_and_every_blank_a_reason(block: Records) -> None:
    blank = 0
    for row in rows(block, "observation"):
        if row["code"] == "72166-2":
            assert row["value_code"] in ("266919005", "8517006")
            assert row["value_number"] is None
            assert row["value_unit"] is None
            assert row["category"] == "social-history"
        empty = row["value_number"] is None and row["value_code"] is None
        assert (row["value_unit"] is None) == (row["value_number"] is None)
        assert row["absent_reason_code"] == ("unknown" if empty else None)
        blank += empty
    assert blank > 0


def test_a_continued_drug_keeps_its_dose(block: Records) -> None:
    doses: dict[tuple[str, str], set[Any]] = defaultdict(set)
    times: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows(block, "medication_request"):
        key = row["patient_id"], row["code"]
        doses[key].add((row["dose_value"], row["sig"], row["route_code"]))
        times[key] += 1
    again = [key for key, count in times.items() if count > 1]
    assert len(again) > 300
    assert all(len(doses[key]) == 1 for key in again)
    assert {dose[0] for key in times if key[1] == "314076" for dose in doses[key]} == {10.0, 20.0}
    assert {dose for key in times if key[1] == "198440" for dose in doses[key]} == {(None, None, None)}


def test_the_status_of_a_drug_is_what_its_dates_say(block: Records) -> None:
    patients = {row["patient_id"]: row for row in rows(block, "patient")}
    encounters = {row["encounter_id"]: row for row in rows(block, "encounter")}
    last = {row["patient_id"]: row["encounter_id"] for row in rows(block, "encounter")}
    seen = defaultdict(int)
    for row in rows(block, "medication_request"):
        patient = patients[row["patient_id"]]
        dead = patient["death_datetime"] is not None
        seen[row["status"]] += 1
        assert row["start_date"] == row["authored_datetime"].date()
        if row["status"] == "active":
            assert not dead
            assert row["end_date"] is None
        if row["end_date"] is not None:
            assert row["status"] in ("completed", "stopped")
            assert row["end_date"] <= patient["record_end_date"]
            if row["status"] == "stopped":
                assert row["end_date"] == patient["death_datetime"].date()
        elif row["encounter_id"] == last[row["patient_id"]] and not dead:
            assert row["status"] == "active"
    assert set(seen) == {"active", "completed", "stopped"}
    assert encounters


def test_conditions_begin_once_and_are_ranked(block: Records) -> None:
    onset: dict[tuple[str, str], set[date]] = defaultdict(set)
    recorded: dict[tuple[str, str], list[date]] = defaultdict(list)
    ranks: dict[str, list[int]] = defaultdict(list)
    status: dict[str, set[str]] = defaultdict(set)
    encounters = {row["encounter_id"]: row for row in rows(block, "encounter")}
    leading = {}
    for row in rows(block, "condition"):
        key = row["patient_id"], row["code"]
        onset[key].add(row["onset_date"])
        recorded[key].append(row["recorded_date"])
        ranks[row["encounter_id"]].append(row["rank"])
        status[row["code"]].add(row["clinical_status"])
        assert row["recorded_date"] == encounters[row["encounter_id"]]["start_datetime"].date()
        if row["abatement_date"] is not None:
            assert row["clinical_status"] == "resolved"
        if row["rank"] == 1:
            leading[row["encounter_id"]] = row["code"]
    for key, days in onset.items():
        assert days == {min(recorded[key])}
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in ranks.values())
    assert status["I10"] == {"active"}
    assert status["J06.9"] == {"active", "resolved"}
    for key, row in encounters.items():
        assert row["reason_code"] == leading.get(key)


def test_a_reason_is_a_condition_of_the_same_visit(block: Records) -> None:
    conditions = {row["condition_id"]: row for row in rows(block, "condition")}
    wanted = {"314076": "I10", "861007": "E11.9", "10E0XZZ": "O80"}
    found = 0
    for table in ("medication_request", "procedure"):
        for row in rows(block, table):
            if row["reason_condition_id"] is None:
                continue
            condition = conditions[row["reason_condition_id"]]
            assert condition["encounter_id"] == row["encounter_id"]
            assert condition["code"] == wanted[row["code"]]
            found += 1
    assert found > 1000


def test_a_procedure_ends_with_its_encounter_at_the_latest(block: Records) -> None:
    encounters = {row["encounter_id"]: row for row in rows(block, "encounter")}
    ended = 0
    for row in rows(block, "procedure"):
        if row["end_datetime"] is None:
            continue
        ended += 1
        assert row["start_datetime"] <= row["end_datetime"]
        last = encounters[row["encounter_id"]]["end_datetime"]
        if last is not None:
            assert row["end_datetime"] <= last
        else:
            assert row["end_datetime"].date() == row["start_datetime"].date()
    assert ended > 100


def test_doses_of_a_vaccine_are_counted(block: Records) -> None:
    doses: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows(block, "immunization"):
        doses[row["patient_id"], row["code"]].append(row["dose_number"])
        assert row["primary_source"] is True
    assert all(found == list(range(1, len(found) + 1)) for found in doses.values())


def test_where_only_the_order_is_known_nothing_is_dated(models: ModuleType) -> None:
    model = models.tiny_model()
    records = Generator(replace(model, calendar=replace(model.calendar, basis="order")), seed=9).block(0)
    undated = {
        "patient": ("death_datetime", "record_end_date"),
        "encounter": ("start_datetime", "end_datetime", "time_precision"),
        "condition": ("onset_date", "abatement_date", "recorded_date"),
        "medication_request": ("authored_datetime", "start_date", "end_date", "time_precision"),
        "observation": ("effective_datetime", "time_precision"),
        "procedure": ("start_datetime", "end_datetime", "time_precision"),
        "coverage": ("start_date", "end_date"),
    }
    for table, columns in undated.items():
        assert records[table].num_rows
        for column in columns:
            assert records[table][column].null_count == records[table].num_rows
    # The age that a birth date tells holds on the day on which the record starts.
    assert records["patient"]["birth_date"].null_count == records["patient"]["record_start_date"].null_count == 0


def test_nothing_is_recorded_twice(models: ModuleType) -> None:
    """In encounters of no length all repeats of a code fall on one instant: those that differ in nothing are one."""
    model = models.tiny_model()
    instant = replace(model.trajectory, stay_minutes=models.histogram((0, 1, 0, 1.0), (1, 2, 1, 1.0), (2, 3, 2, 1.0)))
    families = tuple(replace(f, repeats=np.full(len(f.codings), 3.0)) for f in model.families)
    records = Generator(replace(model, trajectory=instant, families=families), seed=9).block(0)
    for family in model.families:
        table = records[family.table]
        key = [table.schema.field(0).name, "rank", "dose_number", "panel_id", "reason_condition_id", "value_number"]
        kept = table.drop_columns([name for name in key if name in table.column_names])
        distinct = kept.group_by(kept.column_names).aggregate([])
        assert distinct.num_rows == kept.num_rows, family.table
    assert records["medication_request"].num_rows > records["encounter"].num_rows / 10


def test_repeats_are_numbered_in_order_of_time(models: ModuleType) -> None:
    from ehrsynth.generation.generator import Generator as OfTrajectories
    from ehrsynth.generation.visits import visit_context

    model = models.tiny_model()
    generator = OfTrajectories(model, seed=9)
    people = generator._population.draw(9, 0)
    visits = generator._trajectory.draw(people, stream(9, "trajectory", 0))
    encounters = generator._encounters.draw(visits, people.age_days, stream(9, "encounter", 0))
    sampler = next(s for s in generator._families if s.family.table == "observation")
    _, found = sampler.draw(visit_context(people, encounters), encounters, stream(9, "observation", 0), None)
    order = np.lexsort((found.repeat, found.code, found.visit))
    same = (np.diff(found.visit[order]) == 0) & (np.diff(found.code[order]) == 0)
    assert same.sum() > 5000
    assert (np.diff(found.time[order])[same] > 0).all()


# -- parts -------------------------------------------------------------------------------------------------------------


def test_attributes_are_drawn_jointly_by_weight() -> None:
    table = AttributeTable(
        columns=("dose_value", "sig", "refills"),
        rows=((1.0, "a", 1), (2.0, None, None), (3.5, "b", 2)),
        offsets=np.array([0, 2, 2, 3]),
        weight=np.array([0.25, 0.75, 1.0]),
    )
    sampler = AttributeSampler(table)
    found = sampler.draw(np.repeat([0, 1, 2], 4000), stream(1, "attributes"))
    assert abs((found[:4000] == 0).mean() - 0.25) < 0.03
    assert set(found[:4000].tolist()) == {0, 1}
    assert (found[4000:8000] == -1).all()
    assert (found[8000:] == 2).all()
    columns = sampler.columns(np.array([0, 1, 2, -1]), clinical()["medication_request"])
    assert columns["dose_value"].to_pylist() == [1.0, 2.0, 3.5, None]
    assert columns["sig"].to_pylist() == ["a", None, "b", None]
    assert columns["refills"].to_pylist() == [1, None, 2, None]
    assert columns["refills"].type == pa.int64()


@pytest.mark.parametrize(("column", "value"), [("colour", "red"), ("dose_value", "much")])
def test_attributes_that_do_not_fit_the_table_are_refused(column: str, value: str) -> None:
    table = AttributeTable(columns=(column,), rows=((value,),), offsets=np.array([0, 1]), weight=np.ones(1))
    with pytest.raises(ModelError, match=r"column|fit"):
        AttributeSampler(table).columns(np.array([0]), clinical()["medication_request"])


def test_a_condition_is_found_by_visit_and_code() -> None:
    none = np.zeros(4, dtype=np.int64)
    found = Rows(
        visit=np.array([2, 2, 3, 5]),
        code=np.array([4, 1, 4, 0]),
        repeat=none,
        recurs=none.astype(bool),
        time=none,
        days=none,
        first_visit=none,
        last_visit=none,
        next_visit=none,
        attribute=none,
    )
    index = ConditionIndex.of(found, 6, np.zeros(4, dtype="S36"))
    assert index.find(np.array([2, 2, 3, 5, 9, 2]), np.array([1, 4, 4, 0, 0, -1])).tolist() == [1, 0, 2, 3, -1, -1]
    nothing = ConditionIndex(keys=none[:0], rows=none[:0], n_codes=6, ids=np.zeros(0, dtype="S36"))
    assert nothing.find(np.array([1]), np.array([1])).tolist() == [-1]


def test_numbers_are_interpreted_by_their_range_only() -> None:
    columns = {
        "value_number": pa.array([1.0, 5.0, 9.0, 5.0, None]),
        "reference_low": pa.array([4.0, 4.0, 4.0, None, None]),
        "reference_high": pa.array([6.0, 6.0, 6.0, None, None]),
        "interpretation_code": pa.array(["H", "H", "H", "H", "POS"]),
    }
    _interpret(columns)
    assert columns["interpretation_code"].to_pylist() == ["L", "N", "H", None, "POS"]


def test_a_leader_that_was_its_followers_child_has_no_parent(models: ModuleType) -> None:
    family = models.observations()
    parent = np.array([1, -1, -1, 1, -1, 0], dtype=np.int32)
    within = replace(family, parent_table="observation", parent=parent)
    sampler = FamilySampler(within, models.trajectory().strata, models.measurements())
    tables = sampler.codes._tables
    named = {int(tables.code[rank]): int(tables.parent[rank]) for rank in range(6)}
    assert named[0] == -1
    assert named[1] == -1
    assert tables.code[named[3]] == 0
    assert tables.code[named[5]] == 0


def test_a_tree_with_a_circle_is_refused(models: ModuleType) -> None:
    family = replace(models.conditions(), parent=np.array([1, 2, 0, -1, -1, -1, -1, -1, -1], dtype=np.int32))
    with pytest.raises(ModelError, match="circle"):
        CodeTables(family, Strata(sexes=models.SEXES, age_edges=models.AGE_EDGES))
