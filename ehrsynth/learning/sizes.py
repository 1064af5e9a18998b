"""How many classes and states: the sizes under which patients not learned from are likeliest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.selection import split_patients
from ehrsynth.learning.settings import LearningSettings

__all__ = ["Sizes", "candidates", "choose_sizes"]

_MOST_PATIENTS, _MOST_VISITS = 8_000, 20_000
"""Patients and visits that sizes are chosen on; more do not change the choice among so few candidates."""

_FEW_PATIENTS, _FEW_VISITS = 2_000, 5_000
"""Below both, three validation folds instead of one: a small fold tells little."""


_NEAR = 2e-3
"""Part of the log-likelihood by which a larger size may be worse when the choice is made on a sample."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Classes and states of each, and the held-out log-likelihood by patient of every pair that was tried."""

    classes: int
    states: int
    tried: dict[str, float]


class Patients(Protocol):
    """Patients of whom some can be asked for: `Timelines`, here or in parts elsewhere."""

    @property
    def n_patients(self) -> int:
        """Patients."""

    @property
    def n_visits(self) -> int:
        """Visits."""

    def select_patients(self, patients: npt.NDArray[np.int64]) -> Timelines:
        """Return the timelines of some patients, by number, ascending."""


def candidates(n_patients: int, n_visits: int, settings: LearningSettings) -> list[tuple[int, int]]:
    """Return the pairs (classes, states) to try, the smallest first; a given size is not varied."""
    if n_patients < 300:
        pairs = [(1, 1), (1, 2), (1, 4), (1, 6), (1, 8)]
    elif n_patients < 2_000:
        pairs = [(1, 4), (1, 8), (1, 12), (2, 8), (2, 12), (3, 8)]
    elif n_patients < 10_000:
        pairs = [(1, 16), (2, 12), (3, 12), (4, 12), (4, 16)]
    else:
        pairs = [(1, 32), (4, 16), (6, 16)]
    if n_visits < 2 * n_patients:
        # Single visits tell a class from a state by nothing.
        pairs = pairs if n_patients >= 2_000 else [(1, k) for _, k in pairs]
    classes = settings.classes
    states = settings.states
    fixed = [(g if classes == "auto" else int(classes), k if states == "auto" else int(states)) for g, k in pairs]
    return list(dict.fromkeys(fixed))


def choose_sizes(
    timelines: Patients,
    settings: LearningSettings,
    generator: np.random.Generator,
    score: Callable[[Timelines, Timelines, int, int], float],
    report: Callable[[int, int, str, float | None], None],
) -> Sizes:
    """Return the sizes of the best held-out score.

    Parameters
    ----------
    timelines : Patients
    settings : LearningSettings
    generator : numpy Generator
        Draws the validation fold.
    score : callable (learn from, hold out, classes, states) -> log-likelihood by patient
    report : callable (step, steps, message, score)
    """
    pairs = candidates(timelines.n_patients, timelines.n_visits, settings)
    if len(pairs) == 1:
        return Sizes(classes=pairs[0][0], states=pairs[0][1], tried={})
    n = timelines.n_patients
    most = min(_MOST_PATIENTS, max(_FEW_VISITS // 10, round(n * _MOST_VISITS / timelines.n_visits)))
    pool: Patients = timelines
    if n > most:
        pool = timelines.select_patients(np.sort(generator.choice(n, most, replace=False)))
    folds = 3 if pool.n_patients < _FEW_PATIENTS and pool.n_visits < _FEW_VISITS else 1
    splits = [split_patients(pool.n_patients, settings.validation_fraction, generator) for _ in range(folds)]
    tried: dict[str, float] = {}
    for step, (g, k) in enumerate(pairs, start=1):
        value = float(
            np.mean([score(pool.select_patients(rest), pool.select_patients(held), g, k) for rest, held in splits])
        )
        tried[f"{g}x{k}"] = round(value, 4)
        report(step, len(pairs), f"{g} classes of {k} states", value)
    scores = list(tried.values())
    best = max(range(len(pairs)), key=scores.__getitem__)
    if pool is not timelines:
        # All patients carry more states than the few that the choice was made on.
        near = [i for i, value in enumerate(scores) if value >= scores[best] - _NEAR * abs(scores[best])]
        best = max(near, key=lambda i: pairs[i][0] * pairs[i][1])
    return Sizes(classes=pairs[best][0], states=pairs[best][1], tried=tried)
