"""Finished records against the model: codes come, come back and go together as its tables say, code by code."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ehrsynth.generation import Generator
from ehrsynth.records import Records

BLOCKS = 4
YEAR = 365.25


@pytest.fixture(scope="module")
def records(models: ModuleType) -> Records:
    generator = Generator(models.tiny_model(), seed=2024)
    return Records.concat(generator.block(index) for index in range(BLOCKS))


class Cohort:
    """Who had which code in which visit, from the tables alone."""

    def __init__(self, records: Records, table: str, codes: list[str]) -> None:
        encounters = records["encounter"]
        ids = encounters["encounter_id"].combine_chunks()
        people = records["patient"]["patient_id"].combine_chunks()
        self.patient = pc.index_in(encounters["patient_id"].combine_chunks(), value_set=people).to_numpy()
        visit = pc.index_in(records[table]["encounter_id"].combine_chunks(), value_set=ids).to_numpy()
        code = records[table]["code"].cast("string").combine_chunks()
        number = pc.index_in(code, value_set=pa.array(codes)).to_numpy()
        self.has = np.zeros((len(self.patient), len(codes)), dtype=bool)
        self.has[visit, number] = True
        opens = np.append(True, np.diff(self.patient) != 0)
        before = np.zeros_like(self.has)
        before[1:] = self.has[:-1]
        before[opens] = False
        self.before = before
        so_far = np.cumsum(self.has, axis=0) - self.has
        start = np.flatnonzero(opens)[np.cumsum(opens) - 1]
        self.ever = (so_far - so_far[start]) > 0
        sex = np.array(records["patient"]["sex"].to_pylist())[self.patient]
        birth = records["patient"]["birth_date"].combine_chunks().cast("int32").to_numpy()[self.patient]
        days = encounters["start_datetime"].combine_chunks().cast("int64").to_numpy() // 86400
        self.age = days - birth
        self.sex = (sex == "female").astype(int)


def lifted(p: float, lift: np.ndarray) -> np.ndarray:
    return p * lift / (1 - p + p * lift)


def assert_share(happened: np.ndarray, expected: np.ndarray) -> None:
    """The number of times it happened is within 4.5 standard errors of the sum of its probabilities."""
    error = np.sqrt((expected * (1 - expected)).sum())
    assert len(expected) > 100
    assert abs(happened.sum() - expected.sum()) <= 4.5 * error + 1e-9


@pytest.fixture(scope="module")
def conditions(models: ModuleType, records: Records) -> Cohort:
    return Cohort(records, "condition", [row[0] for row in models.CONDITIONS])


def lift_of(models: ModuleType, cohort: Cohort, code: int) -> np.ndarray:
    band = np.searchsorted(np.ceil(np.array(models.AGE_EDGES[1:-1]) * YEAR), cohort.age, side="right")
    return np.asarray(models.conditions().lift[cohort.sex * 3 + band, code], dtype=float)


@pytest.mark.parametrize("code", [0, 2, 4, 8])
def test_codes_come_back_as_often_as_the_model_says(models: ModuleType, conditions: Cohort, code: int) -> None:
    family = models.conditions()
    times = lift_of(models, conditions, code)
    previous = conditions.before[:, code]
    assert_share(conditions.has[previous, code], lifted(float(family.previous[0, code]), times[previous]))
    earlier = conditions.ever[:, code] & ~previous
    assert_share(conditions.has[earlier, code], lifted(float(family.earlier[0, code]), times[earlier]))


def test_a_delivery_is_done_where_it_is_recorded(models: ModuleType, records: Records, conditions: Cohort) -> None:
    procedures = Cohort(records, "procedure", ["4A023N7", "10E0XZZ"])
    new = conditions.has[:, 5] & ~procedures.ever[:, 1]
    assert (conditions.sex[conditions.has[:, 5]] == 1).all()
    expected = float(models.procedures().never_with_parent[0, 1])
    assert_share(procedures.has[new, 1], np.full(new.sum(), expected))


def test_a_drug_follows_its_condition(models: ModuleType, records: Records, conditions: Cohort) -> None:
    drugs = Cohort(records, "medication_request", ["314076", "861007", "198440"])
    family = models.medications()
    for code, parent in ((0, 0), (1, 2)):
        new = ~drugs.ever[:, code]
        for has_parent, table in ((True, family.never_with_parent), (False, family.never)):
            at = new & (conditions.has[:, parent] == has_parent)
            assert_share(drugs.has[at, code], np.full(at.sum(), float(table[0, code])))
        again = drugs.before[:, code]
        assert_share(drugs.has[again, code], np.full(again.sum(), float(family.previous[0, code])))


def test_rows_lie_where_in_the_stay_the_model_says(
    records: Records, score: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    encounters, rows = records["encounter"], records["observation"]
    ids = encounters["encounter_id"].combine_chunks()
    at = pc.index_in(rows["encounter_id"].combine_chunks(), value_set=ids).to_numpy()
    times = [t.combine_chunks().cast("int64") for t in (encounters["start_datetime"], encounters["end_datetime"])]
    start, end = (t.fill_null(0).to_numpy()[at] for t in times)
    place = rows["effective_datetime"].combine_chunks().cast("int64").to_numpy()
    # Long stays, and codes that are taken once, so that minutes do not blur the cells.
    once = np.isin(np.array(rows["code"].to_pylist()), ["29463-7", "4548-4"])
    long = once & (end - start > 2 * 86400)
    assert long.sum() > 500
    relative = (place[long] - start[long]) / (end[long] - start[long])
    assert score(np.histogram(relative, bins=[0, 1 / 3, 2 / 3, 1])[0], np.array([0.5, 0.3, 0.2])) < 3.5
