"""What the codes that are drawn first say of a visit's state, and of whether it had to have another code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.union import UNION
from ehrsynth.learning.evidence import SparseRows, sum_by
from ehrsynth.learning.families import StatePosterior

__all__ = ["Beside"]

Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_PRIOR = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """How the visits of a chunk go with the codes that are there before others are drawn.

    Attributes
    ----------
    given : bool[V]
        The visit has one of the first codes (conditions).
    alone : float32[V, Q]
        P(state | earlier visits, and whether a first code is there).
    trials : float32[V, Q] or None
        By how much a code is likelier since every visit has one: not at all where a first code is there, and the more
        where none is. None: visits may be empty.
    presence : float32[C, Q]
        Share of the visits of each state that have each code.
    """

    given: Bools
    alone: Singles
    trials: Singles | None
    presence: Singles

    @classmethod
    def of(cls, chunk: StatePosterior, n_given: int, n_ghosts: int) -> Beside:
        """Return that of a chunk; parameters as of `ehrsynth.learning.antecedents.learn_antecedents`."""
        family = chunk.timelines.families[UNION]
        visit, code = family.visits.astype(np.int64), family.codes.astype(np.int64)
        n_visits, n_states = chunk.predicted.shape
        given = np.zeros(n_visits, dtype=bool)
        given[visit[code < n_given]] = True
        total = chunk.gamma.sum(axis=0, dtype=np.float64)
        seen = SparseRows(visit, code, n_visits, family.n_codes).scatter(chunk.gamma)
        presence = (seen + _PRIOR / max(n_states, 1)) / (total + 1.0)
        alone = np.asarray(chunk.predicted, dtype=np.float32)
        trials = 1.0 + chunk.ratios[0] if n_ghosts else None
        if n_given:
            with_, without = sum_by((~given).astype(np.int64), chunk.gamma, 2)
            bare = (without + _PRIOR) / (with_ + without + 2 * _PRIOR)
            alone = alone * np.where(given[:, None], 1.0 - bare, bare).astype(np.float32)
            if n_ghosts:
                # P0 = P(no first code) * P(no other): of a state's visits without a first code, as many again per
                # visit as all unseen ones of the state.
                trials = 1.0 + np.where(given[:, None], 0.0, chunk.ratios[0] / bare).astype(np.float32)
        alone = alone / np.maximum(alone.sum(axis=1, keepdims=True), np.float32(1e-12))
        return cls(given=given, alone=alone, trials=trials, presence=presence.astype(np.float32))
