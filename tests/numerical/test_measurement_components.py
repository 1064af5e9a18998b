"""Correlations of a person's numbers, of persons and of visits, against a written-down truth."""

from __future__ import annotations

import numpy as np

from ehrsynth.learning.measurements import _components, _Levels
from ehrsynth.learning.values import NumericRows

N = 4000


def _rows(visits: list[tuple[int, ...]]) -> tuple[NumericRows, np.ndarray]:
    """Return the rows of `N` people who have such visits, each with such measurements, and the owner of each row."""
    measurement = np.tile(np.concatenate(visits), N)
    visit_of = np.concatenate([np.full(len(one), k) for k, one in enumerate(visits)])
    patients = np.repeat(np.arange(N), len(visit_of))
    visit = patients * len(visits) + np.tile(visit_of, N)
    m = int(measurement.max()) + 1
    rows = NumericRows(
        code=np.arange(m),
        unit=("1",) * m,
        value_known=np.ones(m),
        measurement=measurement,
        value=np.zeros(len(visit)),
        visit=visit,
        occasion=visit,
    )
    return rows, patients


def _found(rows: NumericRows, patients: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, ...]:
    none = np.zeros((1, 1))
    levels = _Levels(shift=none, level=none, of_condition=none, state_share=none, center=none, residual=residual)
    return _components(rows, levels, patients, 5)


def test_what_is_measured_once_goes_with_other_days_as_it_does() -> None:
    """Height once, pressure on three other days: they have a fifth in common, not nearly all (nor its opposite)."""
    rng = np.random.default_rng(3)
    rows, patients = _rows([(0,), (1,), (1,), (1,)])
    height, pressure = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.2], [0.2, 1.0]], N).T
    once = rows.measurement == 0
    residual = np.where(once, height[patients], np.sqrt(0.6) * pressure[patients])
    residual += np.where(once, 0.0, np.sqrt(0.4) * rng.standard_normal(len(residual)))
    share, _, person, visit = _found(rows, patients, residual)
    # Of height nothing tells what is the person's: half, by convention. What goes with other days is that half's.
    assert share[0] == 0.5 and abs(share[1] - 0.6) < 0.05
    across = np.sqrt(share[0] * share[1]) * person[0, 1]
    assert abs(across - 0.2 * np.sqrt(0.6)) < 0.03
    assert visit[0, 1] == 0.0


def test_days_of_both_are_split_between_person_and_visit() -> None:
    rng = np.random.default_rng(4)
    rows, patients = _rows([(0, 1)] * 4)
    u = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.7], [0.7, 1.0]], N)
    e = rng.multivariate_normal([0.0, 0.0], [[1.0, -0.4], [-0.4, 1.0]], 4 * N)
    visit_of = rows.visit
    residual = np.sqrt(0.5) * (u[patients, rows.measurement] + e[visit_of, rows.measurement])
    share, _, person, visit = _found(rows, patients, residual)
    np.testing.assert_allclose(share, 0.5, atol=0.05)
    assert abs(person[0, 1] - 0.7) < 0.05
    assert abs(visit[0, 1] + 0.4) < 0.05


def test_a_few_days_of_both_say_little_of_visits() -> None:
    """Ten days on which two measurements happen to agree: most of it is taken for chance."""
    rng = np.random.default_rng(5)
    rows, patients = _rows([(0,), (1,)])
    residual = rng.standard_normal(len(patients))
    occasion = rows.occasion.copy()
    joined = np.arange(10)
    occasion[2 * joined + 1] = occasion[2 * joined]
    residual[2 * joined + 1] = residual[2 * joined]
    few = NumericRows(**{**vars(rows), "occasion": occasion})
    _, _, _, visit = _found(few, patients, residual)
    assert 0.0 < visit[0, 1] < 0.35
