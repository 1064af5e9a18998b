"""A model whose parts do not fit each other is refused with words, before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.model import AttributeTable, PatientModel
from ehrsynth.model.shapes import check_shapes


def trajectory(**changes: Any) -> Callable[[PatientModel], PatientModel]:
    return lambda model: replace(model, trajectory=replace(model.trajectory, **changes))


def family(number: int, **changes: Any) -> Callable[[PatientModel], PatientModel]:
    def change(model: PatientModel) -> PatientModel:
        families = list(model.families)
        families[number] = replace(families[number], **changes)
        return replace(model, families=tuple(families))

    return change


def measurements(**changes: Any) -> Callable[[PatientModel], PatientModel]:
    def change(model: PatientModel) -> PatientModel:
        assert model.measurements is not None
        return replace(model, measurements=replace(model.measurements, **changes))

    return change


BROKEN = {
    "two families of a table": (lambda m: replace(m, families=(*m.families, m.families[0])), "one for each table"),
    "initial shape": (trajectory(initial=np.ones((2, 6)) / 3), "trajectory.initial has the shape"),
    "initial sums": (trajectory(initial=np.full((6, 6), 0.5)), "trajectory.initial does not sum"),
    "transition sums": (trajectory(transition=np.full((2, 2, 3, 3), 0.2)), "transition does not sum"),
    "transition stratum": (trajectory(transition_stratum=np.array([0, 0, 2, 0, 0, 1])), "points outside"),
    "hazard": (trajectory(end_hazard=np.full((2, 6), 1.2)), "no probability"),
    "hazard is nan": (trajectory(end_hazard=np.full((2, 6), np.nan)), "no number"),
    "gap bins": (trajectory(gap=np.full((6, 2), 0.5)), "trajectory.gap has the shape"),
    "start of other states": (trajectory(start_minute=np.full((3, 2, 3), 1 / 3)), r"\[3, 1 or 6, 3\]"),
    "precision": (trajectory(precision=("day", "hour", "minute")), "hour"),
    "lift": (family(0, lift=np.ones((5, 9))), "condition.lift"),
    "parent": (family(1, parent=np.array([9, 0, 0])), "medication_request.parent points"),
    "own parent": (family(0, parent=np.full(9, 9)), "condition.parent points"),
    "never": (family(0, never=np.full((6, 9), -0.1)), "no probability"),
    "attributes": (
        family(
            1, attributes=AttributeTable(columns=("sig",), rows=(), offsets=np.array([0, 1, 1, 1]), weight=np.ones(0))
        ),
        "do not part",
    ),
    "shift": (measurements(shift=np.zeros((6, 4))), "measurements.shift"),
    "measured code": (measurements(code=np.array([0, 1, 2, 3, 6])), "measurements.code points"),
    "no observations": (lambda m: replace(m, families=m.families[:3]), "no family of observations"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_parts_that_do_not_fit_are_refused(models: ModuleType, name: str) -> None:
    change, message = BROKEN[name]
    model = change(models.tiny_model())
    with pytest.raises(ModelError, match=message):
        check_shapes(model)
    with pytest.raises(ModelError, match=message):
        Generator(model, seed=1)


def test_a_model_that_fits_passes(models: ModuleType) -> None:
    check_shapes(models.tiny_model())
    check_shapes(models.tiny_model(families=(), measurements=None))
