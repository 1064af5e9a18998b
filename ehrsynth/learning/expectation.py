"""The E-step: expected counts of a chunk of patients under the current tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.binned import BinnedVisits
from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.parameters import TrajectoryTables, code_weights, visit_weights
from ehrsynth.learning.statistics import TrajectoryStatistics
from ehrsynth.probability.hmm import Posterior, forward_backward

__all__ = ["Weights", "expectation", "infer", "log_emission"]

_MOST_EMPTY = 0.999
"""A visit that is almost surely empty stands for no more than a thousand unseen ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Tables turned into log-weights, once for all chunks."""

    tables: TrajectoryTables
    base: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    transition_stratum: npt.NDArray[np.int64]
    zero_truncated: bool

    @classmethod
    def of(
        cls,
        tables: TrajectoryTables,
        layout: RowLayout,
        transition_stratum: npt.NDArray[np.int64],
        zero_truncated: bool,
    ) -> Weights:
        """Turn `tables` into log-weights of the rows of `layout`."""
        base, rows = code_weights(tables.codes, layout)
        visit_weights(tables, layout, rows)
        return cls(
            tables=tables,
            base=base.astype(np.float32),
            rows=rows,
            transition_stratum=transition_stratum,
            zero_truncated=zero_truncated,
        )


def log_emission(binned: BinnedVisits, weights: Weights) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return log P(visit | state) float32[V, Q], and P(a visit with this history has no code | state) float32[V, Q].

    The second is empty ([0, Q]) unless the family is zero-truncated.
    """
    none = binned.history.gather(weights.rows[: binned.history.n_rows])
    none += weights.base
    emission = binned.present.gather(weights.rows)
    emission += none
    if not weights.zero_truncated:
        return emission, none[:0]
    empty = np.minimum(np.exp(none), np.float32(_MOST_EMPTY))
    emission -= np.log1p(-empty)
    return emission, empty


def infer(binned: BinnedVisits, weights: Weights, emission: npt.NDArray[np.float32]) -> Posterior:
    """Return the posterior of the hidden states of the chunk."""
    first = binned.stratum[binned.offsets[:-1]]
    return forward_backward(
        emission,
        binned.offsets,
        weights.tables.initial[first],
        weights.tables.transition,
        stratum=weights.transition_stratum[binned.stratum],
        weights=binned.weight,
    )


def expectation(binned: BinnedVisits, weights: Weights) -> TrajectoryStatistics:
    """Return the expected counts of a chunk."""
    emission, empty = log_emission(binned, weights)
    posterior = infer(binned, weights, emission)
    gamma = posterior.gamma * binned.visit_weight[:, None]
    n_strata, n_states = weights.tables.initial.shape
    initial = np.zeros((n_strata, n_states))
    first = binned.offsets[:-1]
    np.add.at(initial, binned.stratum[first], gamma[first])
    unseen = np.zeros((binned.history.n_rows, n_states))
    unseen_visits = np.zeros(n_states)
    rows = binned.present.scatter(gamma)
    rows[: binned.history.n_rows] = binned.history.scatter(gamma)
    if weights.zero_truncated:
        # For each recorded visit, P0 / (1 - P0) empty ones of the same state and history went unrecorded.
        ghosts = gamma * (empty / (1.0 - empty))
        unseen = binned.history.scatter(ghosts)
        unseen_visits = ghosts.sum(axis=0, dtype=np.float64)
    return TrajectoryStatistics(
        rows=rows,
        unseen=unseen,
        visits=gamma.sum(axis=0, dtype=np.float64),
        unseen_visits=unseen_visits,
        initial=initial,
        transition=posterior.xi_sum,
        log_likelihood=float(posterior.log_likelihood @ binned.weight),
        patients=float(binned.weight.sum()),
    )
