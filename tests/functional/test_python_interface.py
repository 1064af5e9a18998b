"""What a user of the Python interface may pass."""

from __future__ import annotations

from pathlib import Path

import pytest

import ehrsynth
from ehrsynth.errors import EhrsynthError


def test_a_model_is_given_as_such_by_name_or_by_path(tmp_path: Path) -> None:
    name = "cardiometabolic_cohort"
    model = ehrsynth.load_model(name)
    ehrsynth.save_model(model, tmp_path / "mine.ehrsynth")
    made = [
        ehrsynth.generate(given, population=3, seed=4)["encounter"]
        for given in (model, name, tmp_path / "mine.ehrsynth", str(tmp_path / "mine.ehrsynth"))
    ]
    assert made[0].num_rows > 3
    assert all(one.equals(made[0]) for one in made)


def test_a_model_that_is_not_there_is_an_error_with_the_names_that_are() -> None:
    with pytest.raises(EhrsynthError, match="cardiometabolic_cohort"):
        ehrsynth.generate("cardiometabolic_cohrt", population=3)
