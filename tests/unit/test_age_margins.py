"""Who is old comes when the old come, is followed as long, and dies as often, whatever the states say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.errors import ModelError
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.generation.population import Population
from ehrsynth.generation.trajectory import TrajectorySampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.age_margins import AgeMargins
from ehrsynth.learning.death_margins import DeathMargins
from ehrsynth.learning.margins import with_margins
from ehrsynth.model import PatientModel
from ehrsynth.model.shapes import check_shapes
from ehrsynth.randomness import stream

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=3, classes=1, states=2)
N = 900


def _old(i: int) -> bool:
    return i % 3 == 0


@pytest.fixture(scope="module")
def learned() -> tuple[PatientModel, Timelines]:
    """The old come six times as often as the young, and three of five die: of the states nothing tells who is who."""
    records = cohort(N, visits=5, per_visit=1, codes=4)
    encounters = records["encounter"].to_pylist()
    first, last = {}, {}
    for row in encounters:
        i = int(row["patient_id"][1:])
        start = row["start_datetime"].replace(tzinfo=None)
        first.setdefault(i, start)
        if _old(i):
            start = first[i] + (start - first[i]) / 6
        row["start_datetime"], row["end_datetime"] = start, start + timedelta(hours=1)
        last[i] = row["end_datetime"]
    dies = [i % 15 in (0, 3, 6, 7) for i in range(N)]
    people = records["patient"].to_pydict() | {
        "birth_date": [date(1930 if _old(i) else 1985, 3, 1 + i % 28) for i in range(N)],
        "death_datetime": [last[i] + timedelta(days=20) if dies[i] else None for i in range(N)],
        "death_precision": ["day" if dies[i] else None for i in range(N)],
    }
    schema = records["patient"].schema
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(
        patient=pa.table({name: pa.array(people[name], schema.field(name).type) for name in schema.names}),
        encounter=pa.Table.from_pylist(encounters, schema=records["encounter"].schema),
        condition=records["condition"].filter(keep),
    )
    return learn(records, settings=SETTINGS, seed=1), unite(encode(records))


def _by_age(model: PatientModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the median days to the next visit and the share that dies, of the young and the old."""
    people = Population(model).draw(7, 0)
    visits = TrajectorySampler(model.trajectory, model.families).draw(people, stream(7, "a test"))
    old = people.age_days > 60 * 365
    gap = np.diff(visits.day)
    follows = visits.patient[1:] == visits.patient[:-1]
    gaps = [np.median(gap[follows & (old[visits.patient[1:]] == which)]) for which in (False, True)]
    deaths = [(visits.death_days[old == which] >= 0).mean() for which in (False, True)]
    return np.array(gaps), np.array(deaths)


def _blind(model: PatientModel) -> PatientModel:
    """Return the model without a word of age in gaps, ends and deaths."""
    t = model.trajectory
    death = np.asarray(t.death_given_end)
    nothing = np.zeros(1, dtype=np.int64)
    return replace(
        model,
        trajectory=replace(
            t,
            age_edges=nothing,
            age_gap=np.ones((1, 1)),
            age_end=np.ones(1),
            age_landing=np.ones((1, 1)),
            start_edges=nothing,
            end_lift=np.ones((1, 1)),
            death_given_end=np.full_like(death, 4 / 15),
        ),
    )


def test_days_between_visits_and_deaths_go_with_age(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    gaps, deaths = _by_age(model)
    assert gaps[0] > 4 * gaps[1]
    np.testing.assert_allclose(deaths, [0.1, 0.6], atol=0.06)
    blind = _blind(model)
    gaps, deaths = _by_age(blind)
    assert gaps[0] < 2 * gaps[1]
    assert abs(deaths[0] - deaths[1]) < 0.1
    gaps, deaths = _by_age(with_margins(blind, timelines, seed=4))
    assert gaps[0] > 3 * gaps[1]
    np.testing.assert_allclose(deaths, [0.1, 0.6], atol=0.08)


def test_what_is_as_seen_stays(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    margins = AgeMargins(model.trajectory, timelines)
    age = np.rint(timelines.age_years.astype(np.float64) * 365.2425).astype(np.int64)
    ones = np.ones(timelines.n_visits)
    seen = margins.count(age, np.maximum(timelines.gap_days, 0), timelines.is_last, ones)
    assert seen.sum() == timelines.n_visits
    assert seen[:, -1].sum() == timelines.n_patients
    same = margins.moved(model.trajectory, seen, 1.0)
    np.testing.assert_allclose(same.age_gap, 1.0)
    np.testing.assert_allclose(same.age_end, 1.0)
    # At one age too many records were made to end, and too many next visits came at once.
    one = int(np.argmax(seen.sum(axis=1)))
    seen[one, -1] *= 3.0
    seen[one, 0] += 0.5 * seen[one, :-1].sum()
    moved = margins.moved(model.trajectory, seen, 1.0)
    assert np.asarray(moved.age_end)[one] < 0.8
    assert np.asarray(moved.age_gap)[one, 0] < 0.8
    assert np.asarray(moved.age_gap)[one, 1:].min() > 0.99
    assert np.delete(np.asarray(moved.age_end), one).min() > 0.99


def test_deaths_that_are_as_seen_stay(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    t = model.trajectory
    margins = DeathMargins(t, timelines)
    outline, _ = OutlineSampler(model).draw(7, 0)
    last = outline.offsets[1:] - 1
    made = margins.count(outline.stratum[last], outline.state[last])
    assert made.sum() == len(last)
    moved = np.asarray(margins.moved(t, made, 1.0).death_given_end)
    np.testing.assert_allclose(moved, t.death_given_end, atol=0.06)
    nobody = replace(t, death_given_end=np.zeros_like(np.asarray(t.death_given_end)))
    assert DeathMargins(nobody, timelines).moved(nobody, made, 1.0) is nobody


def test_a_package_whose_ages_do_not_fit_is_refused(learned: tuple[PatientModel, Timelines]) -> None:
    model = learned[0]
    t = model.trajectory
    for name, broken in (("age_gap", replace(t, age_gap=np.ones((7, 3)))), ("age_end", replace(t, age_end=np.ones(7)))):
        with pytest.raises(ModelError, match=name):
            check_shapes(replace(model, trajectory=broken))
