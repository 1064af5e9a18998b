"""What conditions add to numbers, against a written-down truth; and numbers that meet their margins when generated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.learning.condition_levels import Burden
from ehrsynth.learning.number_margins import CENTERS, with_number_margins
from ehrsynth.model import PatientModel
from ehrsynth.model.package import load, save


def _burden(people: int, rng: np.random.Generator) -> Burden:
    """Two conditions that go together: half of those with the first have the second, a tenth of the others."""
    first = rng.random(people) < 0.4
    second = rng.random(people) < np.where(first, 0.5, 0.1)
    return Burden(condition=np.array([3, 7]), ever=np.column_stack([first, second]).astype(np.float64))


def test_each_condition_adds_its_own() -> None:
    rng = np.random.default_rng(1)
    burden = _burden(4000, rng)
    # Who has the first condition is measured ten times as often: persons count, not their numbers.
    times = np.where(burden.ever[:, 0] > 0, 10, 1)
    patients = np.repeat(np.arange(4000), times)
    measurement = np.zeros(len(patients), dtype=np.int64)
    person = rng.standard_normal(4000)
    value = 2.0 + person[patients] + burden.ever[patients] @ [0.6, 0.0]
    found = burden.levels(value, measurement, patients, 2, 5)
    np.testing.assert_allclose(found[:, 0], [0.6, 0.0], atol=0.1)
    assert (found[:, 1] == 0).all()


def test_a_condition_of_few_adds_nothing() -> None:
    rng = np.random.default_rng(2)
    burden = _burden(400, rng)
    burden.ever[20:, 1] = 0.0
    who = np.arange(400)
    found = burden.levels(burden.ever @ [0.5, 3.0], np.zeros(400, dtype=np.int64), who, 1, 5)
    assert found[0, 0] > 0.2
    assert found[1, 0] == 0.0


def test_parts_have_the_mean_of_what_is_added() -> None:
    rng = np.random.default_rng(3)
    burden = _burden(1000, rng)
    added = rng.standard_normal(1000)
    measurement = np.repeat([0, 1], 500)
    part, mean = burden.parts(added, measurement, 2)
    for one in range(2):
        mine = measurement == one
        assert (np.bincount(part[mine]) == 125).all()
        np.testing.assert_allclose(mean[part[mine], one].mean(), added[mine].mean())
        assert (np.diff(mean[:, one]) > 0).all()


def test_who_has_a_condition_in_any_visit_has_it(learning_records: ModuleType) -> None:
    timelines = unite(encode(learning_records.cohort(300, codes=4, per_visit=1)))
    family = timelines.families["condition"]
    burden = Burden.of(timelines, np.arange(300), 5)
    assert burden.condition.tolist() == [0, 1, 2, 3]
    has = np.zeros((300, 4))
    has[timelines.patient_of_visit[family.visits], family.codes] = 1.0
    np.testing.assert_array_equal(burden.ever, has)


def _numbers(model: PatientModel, code: int, condition: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of an observation in a block, and whether their people ever have a condition."""
    block = Generator(model, seed=3).block(0)
    wanted = [model.families[k].codings[one].code for k, one in ((0, condition), (_observed(model), code))]
    conditions, rows = block["condition"].to_pydict(), block["observation"].to_pydict()
    has = {
        who for who, code in zip(conditions["patient_id"], conditions["code"], strict=True) if str(code) == wanted[0]
    }
    columns = (rows["patient_id"], rows["code"], rows["value_number"])
    mine = [(who in has, value) for who, code, value in zip(*columns, strict=True) if str(code) == wanted[1]]
    return np.array([np.nan if value is None else value for _, value in mine]), np.array([one for one, _ in mine])


def _observed(model: PatientModel) -> int:
    return [family.table for family in model.families].index("observation")


def test_people_with_a_condition_have_its_level_and_others_the_same_numbers(models: ModuleType) -> None:
    model = models.tiny_model()
    numbers = model.measurements
    effect = np.zeros((1, len(numbers.code)))
    effect[0, 2] = 2.0
    moved = replace(model, measurements=replace(numbers, condition=np.array([0], dtype=np.int32), of_condition=effect))
    code = int(numbers.code[2])
    (old, has), (new, same) = (_numbers(one, code, 0) for one in (model, moved))
    np.testing.assert_array_equal(has, same)
    assert 30 < has.sum() < len(has) - 30
    np.testing.assert_array_equal(new[~has], old[~has])
    assert np.nanmedian(new[has]) > np.nanmedian(old[has]) + 20


def test_what_conditions_add_is_in_the_package(models: ModuleType, tmp_path: Path) -> None:
    model = models.tiny_model()
    effect = np.arange(10, dtype=np.float32).reshape(2, 5)
    condition = np.array([0, 1], dtype=np.int32)
    numbers = replace(model.measurements, condition=condition, of_condition=effect)
    save(replace(model, measurements=numbers), tmp_path / "with.ehrsynth")
    found = load(tmp_path / "with.ehrsynth").measurements
    np.testing.assert_array_equal(found.condition, condition)
    np.testing.assert_array_equal(found.of_condition, effect)


def test_conditions_that_do_not_exist_are_refused(models: ModuleType) -> None:
    model = models.tiny_model()
    numbers = replace(model.measurements, condition=np.array([99]), of_condition=np.zeros((1, 5)))
    with pytest.raises(ModelError, match=r"measurements\.condition"):
        Generator(replace(model, measurements=numbers), seed=1)
    numbers = replace(model.measurements, condition=np.array([0]), of_condition=np.zeros((1, 4)))
    with pytest.raises(ModelError, match=r"measurements\.of_condition"):
        Generator(replace(model, measurements=numbers), seed=1)


def test_numbers_meet_their_margins_whoever_has_them(models: ModuleType, learning_records: ModuleType) -> None:
    """Read through the mixture of other people all are too high; through that of generated ones they are as told."""
    model = models.tiny_model()
    alone = [
        replace(family, parent_table="*", parent=np.full(len(family.codings), -1, dtype=np.int32))
        for family in model.families
    ]
    model = replace(model, families=tuple(alone))
    numbers = model.measurements
    effect = np.full((1, len(numbers.code)), 1.5)
    wrong = replace(
        model,
        measurements=replace(
            numbers,
            level=np.zeros((len(model.trajectory.strata), len(numbers.code))),
            center=np.zeros((CENTERS, len(numbers.code))),
            condition=np.array([0]),
            of_condition=effect,
        ),
    )
    cohort = unite(encode(learning_records.cohort(2000)))
    right = with_number_margins(wrong, cohort, seed=1)

    def off(one: PatientModel, m: int) -> float:
        value = _numbers(one, int(numbers.code[m]), 0)[0]
        margin = numbers.margins[m]
        cell = np.searchsorted(margin.upper, np.round(value[np.isfinite(value)] * 10**margin.decimals))
        made = np.bincount(cell, minlength=len(margin.weight)) / len(cell)
        return float(np.abs(np.cumsum(made - margin.weight)).max())

    assert off(wrong, 0) > 0.15 and off(wrong, 1) > 0.15
    # The second follows the first of its panel.
    assert off(right, 0) < 0.05 and off(right, 1) < 0.05
