"""What moves the odds of codes: what people had before, and what else a visit has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ehrsynth.encoding.union import UNION
from ehrsynth.errors import ModelError
from ehrsynth.learning.antecedents import Antecedents, learn_antecedents
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.recurrence import learn_again
from ehrsynth.model import PatientModel
from ehrsynth.model.documents import to_document
from ehrsynth.model.package import load, save
from ehrsynth.model.shapes import check_shapes

N, T = 3_000, 6
NOTHING = np.zeros(0, dtype=np.int64)


def chunk(had: np.ndarray, stratum: np.ndarray | None = None) -> Any:
    """Return people of T visits, of one state, as learning sees them; `had` bool[N, T, C]."""
    n, t, c = had.shape
    visit, code = np.nonzero(had.reshape(n * t, c))
    family = SimpleNamespace(visits=visit.astype(np.int32), codes=code.astype(np.int32), n_codes=c)
    timelines = SimpleNamespace(
        families={UNION: family},
        offsets=np.arange(n + 1) * t,
        patient_of_visit=np.repeat(np.arange(n), t),
        elapsed_days=np.tile(np.arange(t) * 100, n),
    )
    one = np.ones((n * t, 1), dtype=np.float32)
    return SimpleNamespace(
        timelines=timelines,
        stratum=np.zeros(n * t, dtype=np.int64) if stratum is None else stratum,
        gamma=one,
        predicted=one,
        ratios=one[None][:0],
    )


def tables(p: list[float], parent: list[int]) -> CodeTables:
    """Return tables of one state in which every code has the same chance whatever its history."""
    row = np.array([p])
    return CodeTables(
        never=row, never_with_parent=row, previous=row, earlier=row, parent=np.array(parent, dtype=np.int32)
    )


def learned(had: np.ndarray, p: list[float], *, n_given: int = 0, parent: list[int] | None = None) -> Antecedents:
    c = had.shape[2]
    return learn_antecedents(
        [chunk(had)],
        tables(p, parent or [-1] * c),
        np.ones((1, c)),
        n_given=n_given,
        n_ghosts=0,
        n_visits=N * T,
        barred=NOTHING,
        min_patients=11,
    )


def test_a_code_that_waits_for_another_has_it_as_its_antecedent() -> None:
    rng = np.random.default_rng(1)
    had = np.zeros((N, T, 3), dtype=bool)
    had[:, 0, 0] = rng.random(N) < 0.5  # A test, at the first visit.
    had[:, :, 2] = rng.random((N, T)) < 0.1  # What has nothing to do with it.
    after = had[:, 0, 0][:, None] & (np.arange(T) > 0)
    had[:, :, 1] = rng.random((N, T)) < np.where(after, 0.3, 0.01)
    chance = float(had[:, :, 1].mean())
    found = learned(had, [0.09, chance, 0.1])
    assert found.code[1].tolist()[0] == 0
    assert found.code[2].tolist().count(-1) == found.code.shape[1]
    before_it, after_it = found.lift[1, 0] * chance / (1 - chance)
    assert abs(after_it / (1 + after_it) - 0.3) < 0.03
    assert abs(before_it / (1 + before_it) - 0.01) < 0.005
    # Nothing is the antecedent of what comes before it.
    assert (found.code[0] != 1).all()


def test_codes_of_a_panel_and_rare_ones_are_left_alone() -> None:
    rng = np.random.default_rng(2)
    had = np.zeros((N, T, 2), dtype=bool)
    had[:8, 0, 0] = True
    had[:8, 1:, 1] = True
    assert not learned(had, [0.001, 0.002]).code.size
    had[:, 0, 0] = rng.random(N) < 0.5
    had[:, 3, 1] = had[:, 0, 0]
    one = learn_antecedents(
        [chunk(had)],
        tables([0.1, 0.1], [-1, -1]),
        np.ones((1, 2)),
        n_given=0,
        n_ghosts=0,
        n_visits=N * T,
        barred=np.array([0]),
        min_patients=11,
    )
    assert not one.code.size


def test_codes_that_keep_from_conditions_are_learned_to() -> None:
    rng = np.random.default_rng(3)
    had = np.zeros((N, T, 2), dtype=bool)
    had[:, :, 0] = rng.random((N, T)) < 0.5
    had[:, :, 1] = ~had[:, :, 0] & (rng.random((N, T)) < 0.2)
    found = learned(had, [0.5, 0.1], n_given=1)
    assert found.beside_lift[1, 0] > 1.5
    assert found.beside_lift[1, 1] < 0.1
    assert found.beside_lift[0].tolist() == [1.0, 1.0]


def test_what_is_given_for_a_condition_comes_again_with_it() -> None:
    rng = np.random.default_rng(4)
    had = np.zeros((N, T, 2), dtype=bool)
    had[:, :, 0] = rng.random((N, T)) < 0.4
    had[:, :, 1] = had[:, :, 0] & (rng.random((N, T)) < 0.9)
    again = learn_again(
        [chunk(had)],
        tables([0.4, 0.36], [-1, 0]),
        np.ones((1, 2)),
        first=1,
        n_visits=N * T,
        n_ghosts=0,
        dated=False,
        n_given=1,
        min_patients=11,
    )
    odds = 0.36 / 0.64 * again.beside_lift[1] * again.count_lift[1, 0]
    assert abs(odds[2] / (1 + odds[2]) - 0.9) < 0.02
    assert odds[0] < 0.02
    # A condition that was never there without its drug says nothing.
    assert again.beside_lift[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("width", [2, 3])
def test_tables_of_another_width_are_refused(models: Any, width: int) -> None:
    model = models.tiny_model()
    family = model.families[0]
    wrong = replace(family, beside_lift=np.ones((len(family.codings), width)))
    changed = replace(model, families=(wrong, *model.families[1:]))
    if width == 3:
        check_shapes(changed)
    else:
        with pytest.raises(ModelError, match="beside_lift"):
            check_shapes(changed)


def test_packages_keep_what_moves_odds(models: Any, tmp_path: Path) -> None:
    model = models.tiny_model()
    family = model.families[0]
    c = len(family.codings)
    moved = {
        "beside_lift": np.full((c, 3), 2.0, dtype=np.float32),
        "beside_new": np.full((c, 2), 0.5, dtype=np.float32),
        "antecedent": np.full((c, 1), -1, dtype=np.int32),
        "antecedent_lift": np.full((c, 1, 2), 3.0, dtype=np.float32),
    }
    save(replace(model, families=(replace(family, **moved), *model.families[1:])), tmp_path / "model.ehrsynth")
    found = load(tmp_path / "model.ehrsynth")
    assert isinstance(found, PatientModel)
    for name, table in moved.items():
        np.testing.assert_array_equal(getattr(found.families[0], name), table)
        # Written before these fields were there.
        assert getattr(found.families[1], name) is None
    assert "beside_lift" not in to_document(model.families[0], {}, "family")
