"""First onsets of conditions are moved until as many people have each as in the source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.margins import with_margins
from ehrsynth.model import PatientModel
from ehrsynth.randomness import BLOCK_SIZE

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=4, classes=1, states=2)


def share(model: PatientModel) -> np.ndarray:
    from ehrsynth.generation import Generator

    rows = Generator(model, seed=5).block(0)["condition"]
    labels = [coding.code for coding in model.families[0].codings]
    people = set(zip(rows["patient_id"].to_pylist(), rows["code"].to_pylist(), strict=True))
    return np.array([sum(code == label for _, code in people) for label in labels]) / BLOCK_SIZE


def test_onsets_that_are_too_many_are_moved_to_what_was_seen() -> None:
    # Two of three visits have no condition: they need not.
    records = cohort(600, visits=3, per_visit=1, codes=6)
    keep = np.random.default_rng(1).random(records["condition"].num_rows) < 0.3
    records = records.replace(condition=records["condition"].filter(keep))
    model = learn(records, settings=SETTINGS, seed=1)
    family = model.families[0]
    assert not family.zero_truncated
    wrong = np.minimum(np.asarray(family.never) * 1.6, 0.9)
    wrong = replace(model, families=(replace(family, never=wrong, never_with_parent=wrong), *model.families[1:]))
    rows = records["condition"]
    seen = (
        np.array(
            [
                len(
                    {
                        p
                        for p, c in zip(rows["patient_id"].to_pylist(), rows["code"].to_pylist(), strict=True)
                        if c == one
                    }
                )
                for one in (coding.code for coding in family.codings)
            ]
        )
        / 600
    )
    right = with_margins(wrong, unite(encode(records)), seed=2)
    before, after = (np.abs(share(one) / seen - 1.0).mean() for one in (wrong, right))
    assert before > 0.3
    assert after < 0.15


def test_visits_that_all_have_a_condition_are_left_as_they_are() -> None:
    records = cohort(240)
    model = learn(records, settings=SETTINGS, seed=1)
    (family,) = model.families
    assert family.zero_truncated
    model = replace(model, families=(replace(family, sizes=None, tilt=None, company=None, boost=None),))
    assert with_margins(model, unite(encode(records)), seed=2) is model
