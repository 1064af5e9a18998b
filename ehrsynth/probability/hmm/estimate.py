"""Initial and transition probabilities from expected counts, shrunk toward their margins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError
from ehrsynth.probability.shrinkage import shrink

__all__ = ["estimate_initial", "estimate_transition"]


def estimate_initial(counts: npt.NDArray[np.floating], strength: float = 0.0) -> npt.NDArray[np.float64]:
    """Return P(first state | row) from expected counts.

    Parameters
    ----------
    counts : float[Q] or float[..., Q]
        Additive: the sums of `Posterior.initial_counts` over chunks, one row a stratum.
    strength : float
        Observations' worth of the margin over all rows that is added to each row.

    Returns
    -------
    float64, the shape of `counts`
        Rows sum to 1; a row without counts is the margin.
    """
    return shrink(counts, strength)


def estimate_transition(
    counts: npt.NDArray[np.floating], *, strength: float = 0.0, stratum_strength: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return transition probabilities from expected counts.

    Two levels of Dirichlet smoothing: the row of a state, pooled over the strata, is shrunk toward the margin of the
    next state in its block; the row of a stratum is shrunk toward that pooled row. Strengths of 0 give the maximum
    likelihood step of EM.

    Parameters
    ----------
    counts : float[Q, Q], float[D, Q, Q] or float[D, G, K, K]
        Additive: the sums of `Posterior.xi_sum` over chunks.
    strength, stratum_strength : float
        Observations' worth of the margin, and of the pooled row.

    Returns
    -------
    float64, the shape of `counts`
        Rows sum to 1; a row without counts is the pooled row, or the margin.

    Raises
    ------
    LearningError
        `counts` has another number of axes.
    """
    if counts.ndim not in (2, 3, 4):
        raise LearningError(f"Counts of shape {counts.shape} are not those of a transition.")
    width = counts.shape[-1]
    strata = 1 if counts.ndim == 2 else counts.shape[0]
    blocks = counts.reshape(strata, -1, width, width)
    pooled = np.stack([shrink(block, strength) for block in blocks.sum(axis=0)])
    if strata == 1:
        return pooled.reshape(counts.shape)
    return shrink(blocks, stratum_strength, pooled[None]).reshape(counts.shape)
