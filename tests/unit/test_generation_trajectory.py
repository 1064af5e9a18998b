"""The mechanics of visits and encounters: cells, guards, order within a day, stays that follow each other, deaths."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.generation.encounters import DAY, PRECISIONS, Encounters, EncounterSampler, completed_years
from ehrsynth.generation.population import DAYS_PER_YEAR, Population
from ehrsynth.generation.trajectory import MAX_AGE_YEARS, CellTable, TrajectorySampler, Visits
from ehrsynth.model import PatientModel
from ehrsynth.randomness import stream


def test_cells_are_drawn_by_row_bin_and_place(models: ModuleType) -> None:
    table = CellTable(
        np.array([[1.0, 0.0], [0.0, 1.0]]), models.histogram((0, 10, 0, 1.0), (10, 12, 0, 3.0), (12, 20, 1, 1.0))
    )
    rows = np.array([0, 0, 0, 1, 1])
    u_cell = np.array([0.0, 0.2499, 0.25, 0.0, 0.999999])
    u_place = np.array([0.0, 0.99, 0.5, 0.0, 0.999999])
    assert table.draw(rows, u_cell, u_place).tolist() == [0, 9, 11, 12, 19]


def test_cells_at_most_are_the_law_given_that(models: ModuleType) -> None:
    table = CellTable(np.array([[0.5, 0.5]]), models.histogram((0, 10, 0, 1.0), (10, 20, 1, 1.0)))
    n = 20_000
    u = stream(1, "cells").random((2, n))
    drawn = table.draw_at_most(np.zeros(n, dtype=np.int64), np.full(n, 14), u[0], u[1])
    counts = np.bincount(drawn, minlength=20)
    assert counts[15:].sum() == 0
    assert np.abs(counts[:15] / n - 1 / 15).max() < 0.01
    low = CellTable(np.array([[1.0]]), models.histogram((5, 9, 0, 1.0)))
    assert low.draw_at_most(np.array([0]), np.array([3]), np.array([0.5]), np.array([0.5])).tolist() == [3]


def test_a_table_that_does_not_fit_its_histogram_is_refused(models: ModuleType) -> None:
    with pytest.raises(ModelError, match="3 bins"):
        CellTable(np.full((2, 3), 1 / 3), models.histogram((0, 1, 0, 1.0)))


def draw(model: PatientModel, seed: int = 5) -> Visits:
    return TrajectorySampler(model.trajectory).draw(Population(model).draw(seed, 0), stream(seed, "trajectory"))


def encounters_of(model: PatientModel, seed: int = 5) -> Encounters:
    people = Population(model).draw(seed, 0)
    visits = TrajectorySampler(model.trajectory).draw(people, stream(seed, "trajectory"))
    return EncounterSampler(model, date(2024, 6, 30)).draw(visits, people.age_days, stream(seed, "encounter"))


def test_visits_of_a_person_are_together_and_in_order(models: ModuleType) -> None:
    visits = draw(models.tiny_model())
    assert (np.diff(visits.patient) >= 0).all()
    assert np.array_equal(np.bincount(visits.patient), np.diff(visits.offsets))
    same = np.diff(visits.patient) == 0
    assert (np.diff(visits.day)[same] >= 0).all()
    assert (visits.day[visits.offsets[:-1]] == 0).all()
    assert (visits.number[visits.offsets[:-1]] == 1).all()
    strata = models.tiny_model().trajectory.strata
    assert ((visits.state >= 0) & (visits.state < models.Q)).all()
    assert (visits.stratum // strata.n_ages == Population(models.tiny_model()).draw(5, 0).sex[visits.patient]).all()


def test_gaps_lead_where_visits_fall(models: ModuleType) -> None:
    model = models.tiny_model()
    day = int(np.quantile(draw(model).day, 0.8))
    landing = np.array([[1.0, 0.02], [1.0, 1.0]])
    bounded = replace(
        model.trajectory,
        elapsed_edges=np.array([0, day]),
        end_hazard=np.repeat(np.asarray(model.trajectory.end_hazard), 2, axis=0),
        landing=landing,
    )
    free = replace(bounded, landing=np.ones((1, 1)))
    late = [draw(replace(model, trajectory=one)).day >= day for one in (free, bounded)]
    assert late[0].sum() > 200
    # Those who are not past the day hardly get there; how many visits there are is another matter.
    assert late[1].sum() < 0.5 * late[0].sum()
    assert np.array_equal(draw(replace(model, trajectory=free)).day, draw(model).day)


def test_a_record_without_hazard_ends_all_the_same(models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.generation.trajectory.MAX_VISITS", 50)
    trajectory = replace(
        models.trajectory(), end_hazard=np.zeros((2, models.Q)), gap=np.tile([1.0, 0.0, 0.0], (models.Q, 1))
    )
    visits = draw(models.tiny_model(trajectory=trajectory))
    assert (np.diff(visits.offsets) == 50).all()


def test_nobody_is_seen_at_an_age_that_nobody_reaches(models: ModuleType) -> None:
    trajectory = replace(
        models.trajectory(), end_hazard=np.zeros((2, models.Q)), gap=np.tile([0.0, 0.0, 1.0], (models.Q, 1))
    )
    visits = draw(models.tiny_model(trajectory=trajectory))
    assert visits.age_days.max() < MAX_AGE_YEARS * DAYS_PER_YEAR
    assert (visits.age_days[visits.offsets[1:] - 1] > (MAX_AGE_YEARS - 5) * DAYS_PER_YEAR).all()


def test_completed_years_are_birthdays() -> None:
    epoch = date(1970, 1, 1)
    rng = np.random.default_rng(3)
    birth = [
        date(1904, 2, 29),
        date(2000, 2, 29),
        date(2000, 12, 31),
        *(epoch + timedelta(days=int(d)) for d in rng.integers(-20000, 15000, 300)),
    ]
    now = [b + timedelta(days=int(d)) for b, d in zip(birth, rng.integers(0, 40000, len(birth)), strict=True)]
    now[0], now[1], now[2] = date(1905, 2, 28), date(2001, 3, 1), date(2001, 12, 31)
    found = completed_years(np.array([(b - epoch).days for b in birth]), np.array([(d - epoch).days for d in now]))
    expected = [d.year - b.year - ((d.month, d.day) < (b.month, b.day)) for b, d in zip(birth, now, strict=True)]
    assert found.tolist() == expected
    assert found[:3].tolist() == [0, 1, 1]


def crowded(models: ModuleType, **changes: object) -> PatientModel:
    """All visits of a person on one day or the next."""
    trajectory = replace(
        models.trajectory(),
        gap=np.tile([1.0, 0.0, 0.0], (models.Q, 1)),
        encounter_class=np.full((models.Q, 3), 1 / 3),
        **changes,
    )
    return models.tiny_model(trajectory=trajectory)


def test_visits_of_one_day_are_in_order_of_time(models: ModuleType) -> None:
    found = encounters_of(crowded(models, precision=("day", "second", "minute")))
    same = np.diff(found.visits.patient) == 0
    assert (np.diff(found.start)[same] >= 0).all()
    unit = np.array([DAY, 60, 1])[found.precision]
    assert (found.start % unit == 0).all()
    assert (found.end % unit == 0).all()
    # Before an encounter of which only the day is known none of the same day has a time.
    for i in np.flatnonzero(found.precision == 0):
        before = (found.visits.patient[:i] == found.visits.patient[i]) & (
            found.start[:i] // DAY == found.start[i] // DAY
        )
        assert (found.precision[:i][before] == 0).all()
    assert set(np.unique(found.precision)) == {0, 1, 2}
    assert PRECISIONS[1] == "minute"


def test_stays_follow_each_other(models: ModuleType) -> None:
    found = encounters_of(
        models.tiny_model(trajectory=replace(models.trajectory(), encounter_class=np.full((models.Q, 3), 1 / 3)))
    )
    stay = np.flatnonzero(found.kind == 2)
    same = np.diff(found.visits.patient[stay]) == 0
    assert same.sum() > 100
    assert (found.end[stay[:-1]][same] <= found.start[stay[1:]][same]).all()
    assert (found.end >= found.start).all()


def test_a_death_in_an_encounter_is_at_the_end_of_the_last_to_end(models: ModuleType) -> None:
    model = crowded(models, death_given_end=np.ones((models.R, models.Q)), stay_known=np.ones(3))
    found = encounters_of(model)
    visits = found.visits
    assert (found.death_precision >= 0).all()
    last_end = np.maximum.reduceat(found.end, visits.offsets[:-1])
    inside = visits.death_days == 0
    assert 300 < inside.sum() < 700
    assert (found.death[inside] == last_end[inside]).all()
    assert (found.death[~inside] > last_end[~inside]).all()
    days = found.death[~inside] // DAY - last_end[~inside] // DAY
    assert np.array_equal(days, visits.death_days[~inside])
    assert (found.record_end_day == found.death // DAY).all()
    died = found.disposition == 2
    assert np.bincount(visits.patient[died], minlength=len(inside)).max() == 1
    # The class AMB never has the disposition; EMER and IMP always have it where the person dies.
    at = np.flatnonzero(died)
    assert (found.end[at] == found.death[visits.patient[at]]).all()
    assert (found.kind[at] > 0).all()
    final = np.array(
        [
            visits.offsets[i] + np.flatnonzero(found.end[visits.offsets[i] : visits.offsets[i + 1]] == last_end[i])[-1]
            for i in np.flatnonzero(inside)
        ]
    )
    assert np.array_equal(died[final], found.kind[final] > 0)


def test_nobody_stays_or_dies_at_an_age_that_nobody_reaches(models: ModuleType) -> None:
    century = models.histogram((0, 10, 0, 1.0), (10, 60 * 24, 1, 1.0), (60 * 24, 60 * 24 * 40000, 2, 1.0))
    trajectory = replace(
        models.trajectory(),
        stay_minutes=century,
        death_given_end=np.ones((models.R, models.Q)),
        death_days=models.histogram((0, 1, 0, 0.1), (1, 40000, 0, 0.9)),
        stay_known=np.ones(3),
    )
    found = encounters_of(models.tiny_model(trajectory=trajectory))
    birth = found.birth_day[found.visits.patient]
    assert completed_years(birth, found.end // DAY).max() == 118
    assert completed_years(found.birth_day, found.death // DAY).max() == 118
    assert (found.death >= np.maximum.reduceat(found.end, found.visits.offsets[:-1])).all()


def test_ends_that_nobody_wrote_down_stay_on_the_first_day(models: ModuleType) -> None:
    found = encounters_of(crowded(models, stay_known=np.zeros(3)))
    assert not found.end_known.any()
    assert (found.end // DAY == found.start // DAY).all()


def test_a_source_without_times_has_days(models: ModuleType) -> None:
    trajectory = replace(models.trajectory(), start_minute=np.zeros((models.E, 1, 0)))
    found = encounters_of(models.tiny_model(trajectory=trajectory))
    assert (found.precision == 0).all()
    assert (found.start % DAY == 0).all()
    assert (found.end % DAY == 0).all()


def test_states_that_always_end_in_death_lend_the_dispositions_of_others(models: ModuleType) -> None:
    trajectory = models.trajectory()
    always = np.array(trajectory.disposition)
    always[:, 5] = [0.0, 0.0, 1.0, 0.0]
    found = encounters_of(
        models.tiny_model(
            trajectory=replace(trajectory, disposition=always, death_given_end=np.zeros((models.R, models.Q)))
        )
    )
    assert not (found.disposition == 2).any()
    assert set(found.disposition[found.visits.state == 5].tolist()) == {0, 1, 3}
