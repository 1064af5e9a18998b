"""States whose codes cannot be at an age are not gone to at it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.model import CodeFamily, PatientModel

__all__ = ["with_reachable_states"]

Doubles = npt.NDArray[np.float64]

_LEAST = 0.02
"""Of what was learned, however little of a state is possible."""


def with_reachable_states(model: PatientModel) -> PatientModel:
    """Return the model with chances of the next state in proportion to what is possible in it.

    Every visit has a code. Where most of a state's codes are impossible at an age, a visit in it would have one of the
    few others, or of what hardly ever comes: as unlikely as it was that the state had a visit of these at all.
    """
    t = model.trajectory
    n_strata, shape = len(t.strata), (t.n_classes, t.n_states)
    with_all, possible = np.zeros((n_strata, t.n_classes * t.n_states)), np.zeros((n_strata, t.n_classes * t.n_states))
    for family in model.families:
        if family.zero_truncated:
            every, some = _log_empty(family)
            with_all, possible = with_all + every, possible + some
    share = np.clip(np.expm1(possible) / np.minimum(np.expm1(with_all), -1e-12), _LEAST, 1.0)
    matrices = np.asarray(t.transition, dtype=np.float64)
    stratum = np.asarray(t.transition_stratum, dtype=np.int64)
    sets = 2 if t.lead >= 0 else 1
    n_matrices = len(matrices) // sets
    counts = np.bincount(stratum, minlength=n_matrices)[:, None]
    of_matrix = np.zeros((n_matrices, share.shape[1]))
    np.add.at(of_matrix, stratum, share)
    of_matrix = np.where(counts > 0, of_matrix / np.maximum(counts, 1), 1.0)
    moved = matrices * np.concatenate([of_matrix] * sets).reshape(len(matrices), shape[0], 1, shape[1])
    initial = np.asarray(t.initial, dtype=np.float64).reshape(n_strata, *shape) * share.reshape(n_strata, *shape)
    changes: dict[str, Any] = {
        "transition": (moved / moved.sum(axis=-1, keepdims=True)).astype(np.asarray(t.transition).dtype),
        "initial": (initial / initial.sum(axis=-1, keepdims=True)).reshape(n_strata, -1),
    }
    return replace(model, trajectory=replace(t, **changes))


def _log_empty(family: CodeFamily) -> tuple[Doubles, Doubles]:
    """Return the log-probability that a visit of a person without history has no code, float64[R, Q] each.

    First if all codes were possible, then as they are.
    """
    never = np.clip(np.asarray(family.never, dtype=np.float64), 0.0, 1.0 - 1e-6)
    odds, lift = never / (1.0 - never), np.asarray(family.lift, dtype=np.float64)
    found = []
    for factor in (np.where(lift > 0, lift, 1.0), lift):
        found.append(-np.array([np.log1p(odds * row).sum(axis=1) for row in factor]))
    return found[0], found[1]
