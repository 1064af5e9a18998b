"""The E-step: expected counts of a chunk of patients under the current tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.binned import BinnedVisits
from ehrsynth.learning.evidence import sum_by
from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.parameters import TrajectoryTables, code_weights, visit_weights
from ehrsynth.learning.slots import SlotPowers, ratio_sums, slot_ratios
from ehrsynth.learning.statistics import TrajectoryStatistics
from ehrsynth.probability.hmm import Posterior, forward_backward
from ehrsynth.probability.hmm.layout import Chain, Layout

__all__ = ["Emission", "Weights", "arrival", "emit", "expectation", "infer", "predict", "unseen_trials"]

Doubles = npt.NDArray[np.float64]

_MOST_EMPTY = 0.999
"""A visit that is almost surely empty stands for no more than a thousand unseen ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Tables turned into log-weights, once for all chunks."""

    tables: TrajectoryTables
    base: npt.NDArray[np.float32]
    truncated_base: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    transition_stratum: npt.NDArray[np.int64]
    n_truncated: int
    n_codes: int
    slots: SlotPowers | None

    @classmethod
    def of(
        cls,
        tables: TrajectoryTables,
        layout: RowLayout,
        transition_stratum: npt.NDArray[np.int64],
    ) -> Weights:
        """Turn `tables` into log-weights of the rows of `layout`."""
        base, truncated_base, rows = code_weights(tables.codes, layout)
        visit_weights(tables, layout, rows)
        return cls(
            tables=tables,
            base=base.astype(np.float32),
            truncated_base=truncated_base.astype(np.float32),
            rows=rows,
            transition_stratum=transition_stratum,
            n_truncated=layout.n_truncated,
            n_codes=layout.n_codes,
            slots=SlotPowers.of(tables.codes, layout.n_truncated, layout.n_slots, layout.n_history)
            if layout.n_slots
            else None,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Emission:
    """How visits speak for states.

    Attributes
    ----------
    log : float32[V, Q]
        log P(visit | state).
    ratios : float32[K, V, Q]
        Slots: e_(n-k) / e_n for k = 1..N. Without, if every visit has a code: the expected empty visits of the same
        history for each recorded one (K = 1). Otherwise K = 0.
    """

    log: npt.NDArray[np.float32]
    ratios: npt.NDArray[np.float32]


def emit(binned: BinnedVisits, weights: Weights) -> Emission:
    """Return how the visits of a chunk speak for the states."""
    history = weights.rows[: binned.history.n_rows]
    emission = binned.present.gather(weights.rows)
    none = binned.history.gather(history)
    none += weights.base
    emission += none
    if not weights.n_truncated:
        return Emission(log=emission, ratios=none[None][:0])
    if weights.n_truncated < weights.n_codes:
        none = binned.truncated_history.gather(history)
        none += weights.truncated_base
    if weights.slots is not None:
        log_sum, ratios = slot_ratios(weights.slots.polynomials(binned.truncated_history), binned.size)
        emission -= none
        emission -= log_sum
        return Emission(log=emission, ratios=ratios)
    empty = np.minimum(np.exp(none), np.float32(_MOST_EMPTY))
    emission -= np.log1p(-empty)
    # For each recorded visit, P0 / (1 - P0) empty ones of the same state and history went unrecorded.
    ghosts = (empty / (1.0 - empty)).astype(np.float32)
    return Emission(log=emission, ratios=ghosts[None])


def infer(binned: BinnedVisits, weights: Weights, emission: npt.NDArray[np.float32]) -> Posterior:
    """Return the posterior of the hidden states of the chunk."""
    first = binned.stratum[binned.offsets[:-1]]
    return forward_backward(
        emission,
        binned.offsets,
        weights.tables.initial[first],
        weights.tables.transition,
        stratum=arrival(binned.matrix(weights.transition_stratum)),
        weights=binned.weight,
    )


def arrival(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the matrix of the transition to the visit that follows each, int64[V]; after a last one any."""
    return np.append(matrix[1:], matrix[-1:])


def predict(binned: BinnedVisits, weights: Weights, emission: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return P(state of a visit | all earlier visits of the patient, and that there is one more) float32[V, Q].

    By the chain rule of probability, expectations under it are those of the generating process: the sum over visits of
    P(code | earlier visits) is what the model expects of patients with these histories.
    """
    layout = Layout.of(binned.offsets)
    matrix = arrival(binned.matrix(weights.transition_stratum))
    chain = Chain(weights.tables.transition, matrix, binned.offsets, layout)
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
    emission = emit(binned, weights)
    posterior = infer(binned, weights, emission.log)
    gamma = posterior.gamma * binned.visit_weight[:, None]
    n_strata = len(weights.tables.initial)
    first = binned.offsets[:-1]
    initial = sum_by(binned.stratum[first], gamma[first], n_strata)
    rows = binned.present.scatter(gamma)
    rows[: binned.history.n_rows] += binned.history.scatter(gamma)
    history = [binned.truncated_history.scatter(gamma * ratio) for ratio in emission.ratios]
    visits = [(gamma * ratio).sum(axis=0, dtype=np.float64) for ratio in emission.ratios]
    unseen = unseen_trials(rows, gamma.sum(axis=0, dtype=np.float64), history, visits, weights)
    return TrajectoryStatistics(
        rows=rows,
        unseen=unseen,
        ratio=visits[0] if weights.slots is not None else np.zeros(0),
        visits=gamma.sum(axis=0, dtype=np.float64),
        initial=initial,
        transition=posterior.xi_sum,
        log_likelihood=float(posterior.log_likelihood @ binned.weight),
        patients=float(binned.weight.sum()),
    )


def unseen_trials(
    rows: Doubles,
    visits: Doubles,
    history: list[Doubles],
    all_visits: list[Doubles],
    weights: Weights,
    *,
    first: int = 0,
    count: int | None = None,
    at_tables: bool = False,
) -> Doubles:
    """Return the trials of codes that no recorded visit stands for, float64[3, C, Q]: previous, earlier, never.

    Where every visit has a code: those of the empty visits that went unrecorded. With slots: what makes the share of
    presences among trials the odds over one plus the odds. That holds for the odds that the presences ask for (the step
    of EM), or with `at_tables` for those of the tables.

    Parameters
    ----------
    rows : float64[n_rows, Q]
        Counts of rows of evidence.
    visits : float64[Q]
    history : list of float64[2 * C, Q]
        Sum of each ratio of `Emission` over the visits that have a history row.
    all_visits : list of float64[Q]
        The same over all visits.
    weights : Weights
    first, count : int
        The counts are of so many codes from `first` on; default all.
    at_tables : bool
    """
    c = weights.n_codes if count is None else count
    n_truncated = min(max(weights.n_truncated - first, 0), c)
    unseen = np.zeros((3, c, len(visits)))
    if not n_truncated:
        return unseen
    of = slice(0, n_truncated)
    if weights.slots is None:
        unseen[0, of], unseen[1, of] = history[0][:c][of], history[0][c:][of]
        unseen[2, of] = all_visits[0] - unseen[0, of] - unseen[1, of]
        return unseen
    odds = weights.slots.odds[:, first : first + n_truncated]
    mine = np.stack([np.concatenate([part[:c][of], part[c:][of]]) for part in history])
    divisor = ratio_sums(mine, np.stack(all_visits), odds)
    trials = np.stack([rows[:c][of], rows[c : 2 * c][of], visits - rows[:c][of] - rows[c : 2 * c][of]])
    present = np.stack([rows[k * c : (k + 1) * c][of] for k in (4, 5, 2)])
    unseen[:, of] = (divisor * (1.0 + odds) if at_tables else divisor + present) - trials
    return unseen
