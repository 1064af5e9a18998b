"""Records are as long as those of people who were first seen at the same age."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.errors import ModelError
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.follow_margins import FollowMargins, start_bands
from ehrsynth.learning.margins import with_margins
from ehrsynth.model import PatientModel
from ehrsynth.model.shapes import check_shapes

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=3, classes=1, states=2)


def _old(i: int) -> bool:
    return i % 3 == 0


@pytest.fixture(scope="module")
def learned() -> tuple[PatientModel, Timelines]:
    """The old have two visits, the young six: of the states nothing tells who is who."""
    records = cohort(900, visits=lambda i: 2 if _old(i) else 6, per_visit=1, codes=4)
    born = [date(1930 if _old(i) else 1985, 3, 1 + i % 28) for i in range(900)]
    people = records["patient"].set_column(
        records["patient"].column_names.index("birth_date"), "birth_date", pa.array(born)
    )
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(patient=people, condition=records["condition"].filter(keep))
    return learn(records, settings=SETTINGS, seed=1), unite(encode(records))


def _length(model: PatientModel) -> tuple[float, float]:
    """Return the mean number of visits of the young and the old."""
    visits, _ = OutlineSampler(model).draw(7, 0)
    assert visits.age_days is not None
    old = visits.age_days[visits.offsets[:-1]] > 60 * 365
    number = np.diff(visits.offsets)
    return float(number[~old].mean()), float(number[old].mean())


def test_records_of_the_old_are_as_short_as_they_are(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    trajectory = model.trajectory
    nothing = np.zeros(1, dtype=np.int64)
    blind = replace(
        model,
        trajectory=replace(
            trajectory,
            start_edges=nothing,
            end_lift=np.ones((1, 1)),
            # The age at each visit says it as well.
            age_edges=nothing,
            age_end=np.ones(1),
            age_gap=np.ones((1, 1)),
        ),
    )
    young, old = _length(model)
    assert len(trajectory.start_edges) > 1
    # By the days since the first visit two of the old are as two of the young.
    assert _length(blind)[1] > 1.25 * old
    assert young > 1.5 * old
    again = with_margins(blind, timelines, seed=4)
    assert _length(again)[1] < 1.15 * old


def test_ends_that_are_as_seen_stay(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    margins = FollowMargins(model.trajectory, timelines)
    first = timelines.age_years[timelines.offsets[:-1]].astype(np.float64) * 365.2425
    age = np.rint(first).astype(np.int64)[timelines.patient_of_visit]
    days = timelines.elapsed_days.astype(np.int64)
    seen = margins.count(age, days, timelines.is_last, np.ones(timelines.n_visits))
    assert seen[0].sum() == timelines.n_visits
    assert seen[1].sum() == timelines.n_patients
    np.testing.assert_allclose(margins.moved(model.trajectory, seen, 1.0).end_lift, 1.0)
    # Where the old end, too many of the young were made to end: these end less, and the old do not.
    young, old = 0, len(seen[1]) - 1
    where = int(np.argmax(seen[1, old]))
    seen[1, young, where] += 0.3 * seen[0, young, where]
    lift = np.asarray(margins.moved(model.trajectory, seen, 1.0).end_lift)
    assert lift[young].min() < 0.6
    assert lift[old].min() > 0.9


def test_bands_of_ages_have_enough_people(learned: tuple[PatientModel, Timelines]) -> None:
    trajectory = learned[0].trajectory
    people = np.zeros(trajectory.strata.n_ages, dtype=np.int64)
    people[0], people[-1] = 500, 3
    assert start_bands(people, trajectory).tolist() == [0]
    people[-1] = 400
    found = start_bands(people, trajectory)
    assert len(found) == 2


def test_a_package_whose_ends_do_not_fit_is_refused(learned: tuple[PatientModel, Timelines]) -> None:
    model = learned[0]
    broken = replace(model.trajectory, end_lift=np.ones((7, 3)))
    with pytest.raises(ModelError, match="end_lift"):
        check_shapes(replace(model, trajectory=broken))
