"""Exact inference in hidden Markov models over ragged sequences: forward-backward and Viterbi, batched by time step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Posterior", "forward_backward", "viterbi"]

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """What forward-backward knows of the hidden states.

    Attributes
    ----------
    gamma : float32[T_total, Q]
        P(state | whole sequence) of each visit; not weighted.
    xi_sum : float64, the shape of `transition`
        Expected counts of the transitions, weighted.
    initial_counts : float64[Q]
        Expected counts of the first state, weighted.
    block_posterior : float64[n, G]
        P(block | sequence): the class of a mixture when the transition is block diagonal; all ones for G = 1.
    log_likelihood : float64[n]
        log P(sequence), not weighted; -inf for a sequence that the model cannot produce (its gamma, block posterior and
        counts are zero) and 0 for an empty one.
    """

    gamma: npt.NDArray[np.float32]
    xi_sum: npt.NDArray[np.float64]
    initial_counts: npt.NDArray[np.float64]
    block_posterior: npt.NDArray[np.float64]
    log_likelihood: npt.NDArray[np.float64]


def forward_backward(
    log_emission: Floats,
    offsets: npt.NDArray[np.integer],
    initial: Floats,
    transition: Floats,
    *,
    stratum: npt.NDArray[np.integer] | None = None,
    log_end: Floats | None = None,
    weights: Floats | None = None,
) -> Posterior:
    """Return the posterior of the hidden states of n ragged sequences.

    Parameters
    ----------
    log_emission : float[T_total, Q]
        log P(visit | state) of all visits, sequence after sequence; -inf allowed.
    offsets : int[n + 1]
        Sequence i holds the visits offsets[i] .. offsets[i + 1] - 1. Any length, 0 and 1 included.
    initial : float[Q] or float[n, Q]
        P(first state), the same for all or one row a sequence.
    transition : float[Q, Q], float[D, Q, Q] or float[D, G, K, K]
        P(next state | state), rows sum to 1; dense, one matrix a stratum, or one block-diagonal matrix a stratum with
        Q = G * K and state q = g * K + k (the blocks never mix; cost and memory are those of the blocks).
    stratum : int[n] or int[T_total], optional
        Which matrix: of a sequence, or of the transition that leaves the visit. Default 0.
    log_end : float[T_total, Q], optional
        Added to `log_emission`: log-probability, given the state, that the sequence ends after the visit (last visit)
        or goes on (others).
    weights : float[n], optional
        Weight of each sequence in `xi_sum` and `initial_counts`.
    """
    raise NotImplementedError


def viterbi(
    log_emission: Floats,
    offsets: npt.NDArray[np.integer],
    initial: Floats,
    transition: Floats,
    *,
    stratum: npt.NDArray[np.integer] | None = None,
    log_end: Floats | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the most probable states int32[T_total] and their log-probability with the data float64[n].

    Arguments as in `forward_backward`. Ties go to the lowest state.
    """
    raise NotImplementedError
