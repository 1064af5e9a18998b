"""Which states people of an age are in: odds of the next state by the sex and age at which it is reached.

Transitions depend on wide bands of the age at which a visit is left, and years may pass until the next one. Where each
visit has a code, a state whose codes an age never has would be filled with what is least impossible.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.evidence import sum_by
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.lift import ratios

__all__ = ["learn_arrivals"]

Doubles = npt.NDArray[np.float64]

_ROUNDS = 8
_LARGEST = 50.0


def learn_arrivals(
    posteriors: Iterable[StatePosterior], *, n_strata: int, n_classes: int, groups: npt.NDArray[np.int64]
) -> Doubles | None:
    """Return the odds multipliers float64[R, Q] of the states that are reached in each stratum.

    In each stratum as many visits after the first are expected in each state, given what can be predicted, as there
    are. The ratio of these numbers is drawn to that of both sexes of an age, and this to that of the group of ages
    (empirical Bayes, as in `ehrsynth.learning.lift`); visits count as what they are of the people of a stratum.

    None if nobody has a second visit.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
        Of patients side by side; what they predict is kept in memory.
    n_strata, n_classes : int
    groups : int64[A]
        The group of age bands, 0, 1, ..., that each belongs to.
    """
    seen, people = np.zeros(0), np.zeros(n_strata)
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = []
    for chunk in posteriors:
        later = np.ones(len(chunk.stratum), dtype=bool)
        later[chunk.timelines.offsets[:-1]] = False
        stratum = chunk.stratum[later].astype(np.int64)
        of_chunk = sum_by(stratum, chunk.gamma[later], n_strata)
        seen = of_chunk if not len(seen) else seen + of_chunk
        key = np.unique(chunk.timelines.patient_of_visit[later].astype(np.int64) * n_strata + stratum)
        people += np.bincount(key % n_strata, minlength=n_strata)
        parts.append((stratum, chunk.predicted[later]))
    if not people.any():
        return None
    expected = _expected(parts, np.ones(seen.shape), n_classes)
    n_ages, n_states = len(groups), len(seen.T)
    n_sexes = n_strata // n_ages
    # Several visits of a person in a stratum are no more evidence than one.
    each = np.maximum(seen.sum(axis=1) / np.maximum(people, 1.0), 1.0)[:, None]
    o, e = seen / each, np.maximum(expected / each, 1e-9)
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    age_o, age_e = (one.reshape(n_sexes, n_ages, n_states).sum(axis=0) for one in (o, e))
    of_group = ratios(np.add.reduceat(age_o, first), np.add.reduceat(age_e, first))[groups]
    of_age = of_group * ratios(age_o, age_e * of_group)
    prior = e * np.tile(of_age, (n_sexes, 1))
    target = prior * ratios(o, prior) * each
    lift = np.ones((n_strata, n_states))
    for _ in range(_ROUNDS):
        lift = np.clip(lift * target / np.maximum(expected, 1e-9), 1.0 / _LARGEST, _LARGEST)
        expected = _expected(parts, lift, n_classes)
    return lift


def _expected(
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]], lift: Doubles, n_classes: int
) -> Doubles:
    """Return the visits that are expected in each stratum and state; what is predicted of each class stays its own."""
    total = np.zeros(lift.shape)
    single = lift.astype(np.float32)
    for stratum, predicted in parts:
        blocks = predicted.reshape(len(predicted), n_classes, -1)
        moved = blocks * single[stratum].reshape(blocks.shape)
        moved *= blocks.sum(axis=2, keepdims=True) / np.maximum(moved.sum(axis=2, keepdims=True), 1e-30)
        total += sum_by(stratum, moved.reshape(predicted.shape), len(lift))
    return total
