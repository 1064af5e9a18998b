"""Ages of first conditions in whole records, and states that are not gone to where nothing of them is possible."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning.onset_age_margins import OnsetAgeMargins
from ehrsynth.learning.reachable import with_reachable_states
from ehrsynth.model import PatientModel, Strata

from .learning_records import cohort


def test_odds_move_to_where_people_first_have_a_condition(models: ModuleType) -> None:
    timelines = unite(encode(cohort(400, visits=4, codes=6)))
    strata = Strata(sexes=timelines.person["sex"].labels, age_edges=(0.0, 30.0, 60.0, np.inf))
    family = models.tiny_model().families[0]
    n = len(timelines.families["condition"].codings)
    family = replace(family, codings=timelines.families["condition"].codings, lift=np.ones((len(strata), n)))
    margins = OnsetAgeMargins(family, strata, timelines, 400)
    wanted = margins._wanted
    assert wanted.sum() == len(
        np.unique(
            timelines.patient_of_visit[timelines.families["condition"].visits] * n
            + timelines.families["condition"].codes
        )
    )
    # What was made as often as seen stays; what never was made comes more often, what was made too often less.
    made = wanted.copy()
    common = np.unravel_index(wanted.argmax(), wanted.shape)
    made[common] = 0.0
    moved = margins.moved(family, made.reshape(-1), 1.0)
    lift = np.asarray(moved.lift).reshape(len(strata.sexes), 3, n)
    assert lift.max() > 10
    assert (np.isclose(lift, 1.0)).sum() >= lift.size - 3
    again = OnsetAgeMargins(family, strata, timelines, 400).moved(family, wanted.reshape(-1) * 9, 1.0)
    assert (np.asarray(again.lift)[:, wanted.sum(axis=0).argmax()] < 1).any()


def _impossible(model: PatientModel, codes: slice) -> PatientModel:
    lift = np.asarray(model.families[0].lift).copy()
    # In the first stratum.
    lift[0, codes] = 0.0
    family = replace(model.families[0], lift=lift, zero_truncated=True)
    return replace(model, families=(family, *model.families[1:]))


def test_states_are_gone_to_as_far_as_their_codes_are_possible(models: ModuleType) -> None:
    model = models.tiny_model()
    t = model.trajectory
    matrices = np.repeat(np.asarray(t.transition)[:1], len(t.strata), axis=0)
    model = replace(
        model, trajectory=replace(t, transition=matrices, transition_stratum=np.arange(len(t.strata), dtype=np.int32))
    )
    never = np.full_like(np.asarray(model.families[0].never), 1e-4)
    # All that the first state ever has are the first three codes.
    never[0, :3] = 0.3
    never[1:, 3:] = 0.3
    model = replace(model, families=(replace(model.families[0], never=never), *model.families[1:]))
    moved = with_reachable_states(_impossible(model, slice(0, 3))).trajectory
    k = t.n_states
    before, after = matrices[:, 0], np.asarray(moved.transition)[:, 0]
    np.testing.assert_allclose(after.sum(axis=-1), 1.0)
    assert (after[0, :, 0] < 0.1 * before[0, :, 0] + 1e-12).all()
    # Elsewhere, and of other classes' states whose codes are possible, nothing changes.
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)
    assert np.asarray(moved.initial)[0, 0] < np.asarray(t.initial)[0, 0]
    np.testing.assert_allclose(np.asarray(moved.initial)[0, :k].sum(), 1.0)
