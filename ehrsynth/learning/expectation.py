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
from ehrsynth.probability.hmm.layout import Chain, Layout

__all__ = ["Weights", "expectation", "infer", "log_emission", "predict"]

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


def predict(binned: BinnedVisits, weights: Weights, emission: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return P(state of a visit | all earlier visits of the patient, and that there is one more) float32[V, Q].

    By the chain rule of probability, expectations under it are those of the generating process: the sum over visits of
    P(code | earlier visits) is what the model expects of patients with these histories.
    """
    layout = Layout.of(binned.offsets)
    chain = Chain(weights.tables.transition, weights.transition_stratum[binned.stratum], binned.offsets, layout)
    first = binned.stratum[binned.offsets[:-1]]
    state = weights.tables.initial[first][layout.sequences]
    state = np.ascontiguousarray(state.reshape(len(state), chain.groups, chain.width).transpose(1, 0, 2))
    result = np.zeros(emission.shape, dtype=np.float32)
    for step in range(layout.steps):
        visits = layout.visits[layout.starts[step] : layout.starts[step + 1]]
        state /= np.maximum(state.sum(axis=(0, 2)), 1e-300)[None, :, None]
        result[visits] = state.transpose(1, 0, 2).reshape(len(visits), -1)
        going_on = layout.running(step + 1)
        here = emission[visits[:going_on]].astype(np.float64)
        here = np.exp(here - here.max(axis=1, keepdims=True))
        filtered = state[:, :going_on] * here.reshape(going_on, chain.groups, chain.width).transpose(1, 0, 2)
        state = chain.forward(step, filtered)
    return result


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
