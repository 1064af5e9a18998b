"""What is known of the hidden states once the sequences are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Posterior", "mixture"]


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
        P(block | sequence): the class of a mixture when the transition is block diagonal; ones for G = 1.
    log_likelihood : float64[n]
        log P(sequence), not weighted; -inf for a sequence that the model cannot produce (its gamma, block posterior and
        counts are zero). An empty sequence has 0, and the block prior as its block posterior.
    """

    gamma: npt.NDArray[np.float32]
    xi_sum: npt.NDArray[np.float64]
    initial_counts: npt.NDArray[np.float64]
    block_posterior: npt.NDArray[np.float64]
    log_likelihood: npt.NDArray[np.float64]


def mixture(joint: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return log P(sequence) float64[n] and P(block | sequence) float64[n, G] from log P(sequence, block) [n, G].

    A sequence that no block can produce has -inf and zeros.
    """
    peak = joint.max(axis=1, keepdims=True)
    peak[np.isneginf(peak)] = 0.0
    share = np.exp(joint - peak)
    total = share.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        likelihood = (np.log(total) + peak)[:, 0]
    share /= np.where(total > 0, total, 1.0)
    return likelihood, share
