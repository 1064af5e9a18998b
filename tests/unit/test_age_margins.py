"""Codes that generated people have at other ages than the source's are moved to these, and others are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.age_margins import AgeMargins
from ehrsynth.learning.margins import with_margins
from ehrsynth.model import PatientModel

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=2, classes=1, states=2)


@pytest.fixture(scope="module")
def learned() -> tuple[PatientModel, Timelines]:
    # Half of the visits have no condition: they need not.
    records = cohort(900, visits=4, per_visit=1, codes=4)
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.5
    records = records.replace(condition=records["condition"].filter(keep))
    model = learn(records, settings=SETTINGS, seed=1)
    family = replace(model.families[0], tilt=None, company=None, boost=None, size_after=None, size_lift=None)
    return replace(model, families=(family, *model.families[1:])), unite(encode(records))


def _margins(learned: tuple[PatientModel, Timelines]) -> tuple[AgeMargins, np.ndarray]:
    model, timelines = learned
    family, strata = model.families[0], model.trajectory.strata
    margins = AgeMargins(family, strata, timelines, 5)
    codes = timelines.families["condition"]
    owner = timelines.patient_of_visit[codes.visits]
    stratum = strata.index(timelines.person["sex"].index[owner], timelines.age_years[codes.visits].astype(np.float64))
    return margins, margins.count(stratum.astype(np.int64), codes.codes.astype(np.int64), np.ones(len(owner)))


def test_shares_by_age_move_the_odds_of_their_bands_only(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    family = model.families[0]
    margins, seen = _margins(learned)
    assert seen.sum() == len(timelines.families["condition"].codes)
    # Twice as many of each, at the same ages: that is no matter of age.
    np.testing.assert_array_equal(margins.moved(family, 2 * seen, 1.0).lift, np.asarray(family.lift, dtype=np.float32))
    made = seen.copy()
    half = len(seen) // 2
    made[:half, 0] *= 0.1
    moved = np.log(np.asarray(margins.moved(family, made, 1.0).lift) / np.asarray(family.lift))
    assert (moved[:half, 0] > 0.3).all()
    assert (moved[half : len(seen), 0] < 0).any()
    np.testing.assert_array_equal(moved[:, 1:], 0.0)


def test_what_is_a_little_off_is_left(learned: tuple[PatientModel, Timelines]) -> None:
    family = learned[0].families[0]
    margins, seen = _margins(learned)
    made = seen.copy()
    made[: len(seen) // 2, 0] *= 0.8
    np.testing.assert_array_equal(margins.moved(family, made, 1.0).lift, np.asarray(family.lift, dtype=np.float32))


def test_whole_records_have_codes_at_the_ages_of_the_source(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    family, strata = model.families[0], model.trajectory.strata
    lift = np.array(family.lift)
    young = np.arange(len(lift)) % strata.n_ages < strata.n_ages // 2
    lift[young] *= 12.0
    wrong = replace(model, families=(replace(family, lift=lift), *model.families[1:]))
    right = with_margins(wrong, timelines, seed=2)
    _, seen = _margins(learned)

    def apart(one: PatientModel) -> float:
        visits, present = OutlineSampler(one).draw(7, 0)
        mine = present["condition"]
        made = np.bincount(visits.stratum[mine.visit] % strata.n_ages, minlength=strata.n_ages)
        return float(np.abs(made / made.sum() - seen.sum(axis=1) / seen.sum()).sum() / 2)

    assert apart(wrong) > 0.25
    assert apart(right) < 0.4 * apart(wrong)
