"""Which codes of a reason are alternatives, and which choices are made apart."""

from __future__ import annotations

import numpy as np

from ehrsynth.learning.choices import choices

PAIN, OTHER_PAIN, GERM, OTHER_GERM, CAST, FILM = range(6)
REASON = (100,)


def _rows(
    sets: list[frozenset[int]], cell: np.ndarray, people: int = 3
) -> dict[tuple[int, ...], tuple[frozenset[int], ...]]:
    n = len(sets)
    return choices([REASON] * n, sets, cell.astype(np.int64), np.ones(n), np.full(n, people), 5)


def test_alternatives_are_one_choice_and_others_are_apart() -> None:
    rng = np.random.default_rng(1)
    sets = [frozenset({int(rng.choice([PAIN, OTHER_PAIN])), int(rng.choice([GERM, OTHER_GERM]))}) for _ in range(400)]
    found = _rows(sets, np.zeros(400))
    assert set(found[REASON]) == {frozenset({PAIN, OTHER_PAIN}), frozenset({GERM, OTHER_GERM})}


def test_what_depends_on_each_other_is_one_choice() -> None:
    rng = np.random.default_rng(2)
    both = rng.random(400) < 0.5
    sets = [frozenset({CAST, FILM} if one else {PAIN}) for one in both]
    assert REASON not in {reason: parts for reason, parts in _rows(sets, np.zeros(400)).items() if len(parts) > 1}


def test_what_changes_with_time_alone_is_apart() -> None:
    """One pain killer and one antibiotic before, the others after: within a time they do not depend on each other."""
    rng = np.random.default_rng(3)
    late = rng.random(1000) < 0.5
    sets = []
    for one in late.tolist():
        share = 0.85 if one else 0.15
        pain = OTHER_PAIN if rng.random() < share else PAIN
        sets.append(frozenset({pain, OTHER_GERM if rng.random() < share else GERM}))
    apart = {frozenset({PAIN, OTHER_PAIN}), frozenset({GERM, OTHER_GERM})}
    assert set(_rows(sets, late)[REASON]) == apart
    # Without the time they would be taken for dependent.
    assert REASON not in _rows(sets, np.zeros(1000))


def test_sets_that_enough_people_had_stay_whole() -> None:
    rng = np.random.default_rng(1)
    sets = [frozenset({int(rng.choice([PAIN, OTHER_PAIN])), int(rng.choice([GERM, OTHER_GERM]))}) for _ in range(400)]
    assert not _rows(sets, np.zeros(400), people=5)
