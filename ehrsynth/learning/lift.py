"""Odds multipliers by sex and age, raked so that the model expects in each stratum what was observed there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.maximisation import CodeCounts
from ehrsynth.learning.parameters import CodeTables

__all__ = ["odds_lift"]

Doubles = npt.NDArray[np.float64]

_LARGEST = 1e3


def odds_lift(
    counts: CodeCounts,
    tables: CodeTables,
    patients: npt.NDArray[np.int64],
    *,
    strength: float,
    min_patients: int,
    iterations: int = 12,
) -> Doubles:
    """Return the odds multiplier of each code in one stratum, float64[C].

    The multiplier l solves sum over states and histories of trials * l p / (1 - p + l p) = the observed number of
    visits, shrunk toward the expected one; by Newton's method in log l, kept in brackets.

    Parameters
    ----------
    counts : CodeCounts
        Of the stratum's visits.
    tables : CodeTables
        Of the family.
    patients : int64[C]
        Distinct patients of the stratum who have the code there.
    strength : float
        Weight of the expected number, in visits.
    min_patients : int
        Where fewer patients have the code, the observed number is not used but half of that bound (if less than
        expected): the multiplier then says only that they are few.
    """
    kinds = counts.items()
    probability = np.concatenate([np.clip(getattr(tables, name), 1e-12, 1 - 1e-9) for name in kinds])
    trials = np.concatenate([trials for _, trials in kinds.values()])
    observed = sum((present.sum(axis=0) for present, _ in kinds.values()), start=np.zeros(trials.shape[1]))
    expected = (trials * probability).sum(axis=0)
    few = patients < min_patients
    observed = np.where(few, np.minimum(expected, min_patients / 2), observed)
    target = expected * (observed + strength) / (expected + strength)
    odds = probability / (1 - probability)
    low, high = np.full(len(expected), -np.log(_LARGEST)), np.full(len(expected), np.log(_LARGEST))
    log_lift = np.zeros(len(expected))
    active = np.flatnonzero(expected > 1e-9)
    for _ in range(iterations):
        lifted = odds[:, active] * np.exp(log_lift[active])
        p = lifted / (1 + lifted)
        n = trials[:, active]
        error = (n * p).sum(axis=0) - target[active]
        off = np.abs(error) > 1e-4 * np.maximum(target[active], 1e-3)
        active, p, n, error = active[off], p[:, off], n[:, off], error[off]
        if not len(active):
            break
        above = error > 0
        high[active] = np.where(above, log_lift[active], high[active])
        low[active] = np.where(above, low[active], log_lift[active])
        step = log_lift[active] - error / np.maximum((n * p * (1 - p)).sum(axis=0), 1e-12)
        inside = (step > low[active]) & (step < high[active])
        log_lift[active] = np.where(inside, step, (low[active] + high[active]) / 2)
    result: Doubles = np.exp(log_lift)
    return result
