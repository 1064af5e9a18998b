"""Whatever the seed and the calendar, generated records are possible: keys, order, life, encounter, sex and age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from types import ModuleType

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehrsynth.generation import Generator
from ehrsynth.model import PatientModel
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema

N = 300


def gentle(models: ModuleType) -> PatientModel:
    return models.tiny_model()


def crowded(models: ModuleType) -> PatientModel:
    """Everything on few days: stays that outlast the next visit, deaths, days and seconds side by side."""
    model = models.tiny_model()
    trajectory = replace(
        model.trajectory,
        gap=np.tile([0.8, 0.2, 0.0], (models.Q, 1)),
        encounter_class=np.full((models.Q, 3), 1 / 3),
        end_hazard=model.trajectory.end_hazard * 0.5,
        death_given_end=np.full((models.R, models.Q), 0.8),
        precision=("day", "second", "minute"),
        stay_known=np.array([0.5, 0.5, 0.5]),
    )
    return replace(model, trajectory=trajectory)


def dayless(models: ModuleType) -> PatientModel:
    """A source that knows days only, and whose dates were shifted."""
    model = models.tiny_model()
    trajectory = replace(
        model.trajectory,
        start_minute=np.zeros((models.E, 1, 0)),
        precision=("day", "day", "day"),
    )
    calendar = replace(model.calendar, basis="shifted", spread_days=1000)
    return replace(model, trajectory=trajectory, calendar=calendar)


def undated(models: ModuleType) -> PatientModel:
    model = models.tiny_model()
    return replace(model, calendar=replace(model.calendar, basis="order"))


def without_sex(models: ModuleType) -> PatientModel:
    model = models.tiny_model()
    person = model.person
    number = person.index("trajectory_class")
    tables = list(person.tables)
    tables[number] = tables[number].mean(axis=0)
    parents = list(person.parents)
    parents[number] = (1,)
    keep = range(1, len(person.variables))
    smaller = type(person)(
        variables=tuple(person.variables[i] for i in keep),
        parents=tuple(tuple(p - 1 for p in parents[i]) for i in keep),
        tables=tuple(tables[i] for i in keep),
    )
    return replace(model, person=smaller)


KINDS: dict[str, Callable[[ModuleType], PatientModel]] = {
    "gentle": gentle,
    "crowded": crowded,
    "dayless": dayless,
    "undated": undated,
    "without_sex": without_sex,
}


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**63), block=st.integers(0, 1000))
def test_nothing_impossible_is_generated(models: ModuleType, kind: str, seed: int, block: int) -> None:
    model = KINDS[kind](models)
    reference = date(2023, 3, 1)
    generator = Generator(model, seed=seed, reference_date=reference)
    part = generator.block(block, N)
    shared = generator.shared()
    tables = {t.name: shared[t.name] if t.shared else part[t.name] for t in part.schema.tables}
    records = Records(tables=tables, schema=part.schema, provenance=part.provenance)
    assert records.n_patients == N
    assert records.check_keys() == []
    for table in records.schema.tables:
        if records[table.name].num_rows:
            check_values(records, table)
            check_order(records, table)
            if table.has_patient:
                check_sorted(records, table)
                check_life(records, table, reference)
            if "encounter_id" in table and table.name != "encounter":
                check_encounter(records, table)
    check_limits(records, model)
    check_encounters(records, dated=kind != "undated")


def check_values(records: Records, table: TableSchema) -> None:
    rows = records[table.name]
    for column in table.columns:
        values = rows[column.name]
        place = f"{table.name}.{column.name}"
        if column.required:
            assert values.null_count == 0, place
        if column.enum:
            assert set(pc.unique(values.cast("string")).to_pylist()) <= {*column.enum, None}, place
        if column.unique:
            assert pc.count_distinct(values).as_py() == rows.num_rows - values.null_count, place
        if column.minimum is not None and values.null_count < rows.num_rows:
            assert pc.min(values).as_py() >= column.minimum, place


def seconds(records: Records, table: str, column: str) -> np.ndarray:
    """Return times in seconds, dates at midnight, as float with NaN for none."""
    values = records[table][column].combine_chunks()
    unit = 86400 if str(values.type) == "date32[day]" else 1
    numbers = values.cast("int32" if unit > 1 else "int64").cast("float64")
    return numbers.fill_null(float("nan")).to_numpy() * unit


def is_date(records: Records, table: str, column: str) -> bool:
    return str(records[table][column].type) == "date32[day]"


def not_later(first: np.ndarray, second: np.ndarray, *, by_day: bool = False) -> np.ndarray:
    if by_day:
        first, second = np.floor(first / 86400), np.floor(second / 86400)
    return (first <= second) | np.isnan(first) | np.isnan(second)


def check_order(records: Records, table: TableSchema) -> None:
    for first, second in table.order:
        if table[first].type in ("date", "datetime"):
            by_day = is_date(records, table.name, first) or is_date(records, table.name, second)
            a, b = seconds(records, table.name, first), seconds(records, table.name, second)
            assert not_later(a, b, by_day=by_day).all(), f"{table.name}: {first} <= {second}"


def patient_rows(records: Records, table: str) -> np.ndarray:
    ids = records["patient"]["patient_id"].combine_chunks()
    return pc.index_in(records[table]["patient_id"].combine_chunks(), value_set=ids).to_numpy(zero_copy_only=False)


def check_sorted(records: Records, table: TableSchema) -> None:
    assert (np.diff(patient_rows(records, table.name)) >= 0).all(), table.name


def check_life(records: Records, table: TableSchema, reference: date) -> None:
    at = patient_rows(records, table.name)
    birth, death = seconds(records, "patient", "birth_date")[at], seconds(records, "patient", "death_datetime")[at]
    stop = (reference - date(1970, 1, 1)).days * 86400 + 86399
    for column in table.columns:
        if column.type not in ("date", "datetime") or column.name == "birth_date":
            continue
        times = seconds(records, table.name, column.name)
        place = f"{table.name}.{column.name}"
        assert not_later(times, np.full(len(times), stop)).all(), place
        assert not_later(birth, times).all(), place
        if column.name in table.within_life:
            coarse = column.type == "date"
            assert not_later(times, death, by_day=coarse).all(), place


def encounter_rows(records: Records, table: str) -> np.ndarray:
    ids = records["encounter"]["encounter_id"].combine_chunks()
    return pc.index_in(records[table]["encounter_id"].combine_chunks(), value_set=ids).to_numpy(zero_copy_only=False)


def check_encounter(records: Records, table: TableSchema) -> None:
    at = encounter_rows(records, table.name)
    assert (patient_rows(records, "encounter")[at] == patient_rows(records, table.name)).all()
    start, end = seconds(records, "encounter", "start_datetime")[at], seconds(records, "encounter", "end_datetime")[at]
    # An end that is not recorded says nothing: then on the day of the start.
    end = np.where(np.isnan(end), np.floor(start / 86400) * 86400 + 86399, end)
    for name in table.within_encounter:
        times = seconds(records, table.name, name)
        by_day = is_date(records, table.name, name)
        place = f"{table.name}.{name}"
        assert not_later(start, times, by_day=by_day).all(), place
        assert not_later(times, end, by_day=by_day).all(), place


def age_at(birth: np.ndarray, when: np.ndarray) -> np.ndarray:
    birth_days, days = (
        np.floor(x / 86400).astype("int64").astype("datetime64[D]").astype(object) for x in (birth, when)
    )
    return np.array(
        [d.year - b.year - ((d.month, d.day) < (b.month, b.day)) for b, d in zip(birth_days, days, strict=True)]
    )


def check_limits(records: Records, model: PatientModel) -> None:
    """No code in a person whose sex, or age on the day of the row, cannot have it."""
    sex = np.array(records["patient"]["sex"].to_pylist())
    birth = seconds(records, "patient", "birth_date")
    times = {"condition": "recorded_date", "procedure": "start_datetime", "observation": "effective_datetime"}
    for family in model.families:
        rows = records[family.table]
        code = np.array(rows["code"].to_pylist())
        at = patient_rows(records, family.table)
        limits = zip(family.codings, family.sex_limit, family.age_min, family.age_max, strict=True)
        for coding, limit, least, most in limits:
            of_code = code == coding.code
            if limit:
                assert not (of_code & (sex[at] == ("male" if limit == 1 else "female"))).any(), coding.code
            if family.table in times and of_code.any():
                when = seconds(records, family.table, times[family.table])[of_code]
                if not np.isnan(when).any():
                    age = age_at(birth[at][of_code], when)
                    assert age.min() >= least, coding.code
                    assert age.max() <= most, coding.code


def check_encounters(records: Records, *, dated: bool) -> None:
    encounters = records["encounter"]
    patient = patient_rows(records, "encounter")
    opens = np.append(True, np.diff(patient) > 0)
    first = np.flatnonzero(opens)
    expected = np.arange(len(patient)) - first[np.cumsum(opens) - 1] + 1
    assert np.array_equal(encounters["sequence"].to_numpy(), expected)
    start, end = seconds(records, "encounter", "start_datetime"), seconds(records, "encounter", "end_datetime")
    assert np.isnan(start).all() != dated
    if not dated:
        assert np.isnan(end).all()
        assert encounters["time_precision"].null_count == len(encounters)
        assert records["patient"]["record_end_date"].null_count == records.n_patients
        return
    same = ~opens[1:]
    assert (start[1:][same] >= start[:-1][same]).all()
    unit = np.array(
        [{"day": 86400, "minute": 60, "second": 1}[name] for name in encounters["time_precision"].to_pylist()]
    )
    assert (start % unit == 0).all()
    assert (np.nan_to_num(end) % unit == 0).all()
    stay = np.array(encounters["encounter_class"].to_pylist()) == "IMP"
    inside = np.flatnonzero(stay)
    both = patient[inside[1:]] == patient[inside[:-1]]
    assert not_later(end[inside[:-1]][both], start[inside[1:]][both]).all()
    # Death in hospital: the disposition says so exactly where the encounter ends with the person's life.
    death = seconds(records, "patient", "death_datetime")[patient]
    died = np.array(encounters["discharge_disposition_code"].to_pylist()) == "exp"
    assert (death[died] == np.where(np.isnan(end), death, end)[died]).all()
    assert np.bincount(patient[died], minlength=1).max(initial=0) <= 1
