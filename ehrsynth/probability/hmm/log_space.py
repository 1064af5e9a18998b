"""Forward-backward of one sequence in log space: slow, and right where the scaled recursion runs out of digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.hmm.posterior import Posterior, mixture

__all__ = ["forward_backward_log"]

Doubles = npt.NDArray[np.float64]


def forward_backward_log(
    scores: npt.NDArray[np.floating],
    initial: Doubles,
    blocks: Doubles,
    stratum: npt.NDArray[np.int64],
) -> Posterior:
    """Return the posterior of one sequence.

    Parameters
    ----------
    scores : float[T, Q]
        log P(visit | state), T >= 1.
    initial : float64[Q]
    blocks : float64[D, G, K, K]
        Transition probabilities, Q = G * K.
    stratum : int64[T]
        Of the transition that leaves each visit.

    Returns
    -------
    Posterior
        Of n = 1; xi_sum has the shape of `blocks`.
    """
    strata, groups, width, _ = blocks.shape
    steps = len(scores)
    emission = np.asarray(scores, dtype=np.float64).reshape(steps, groups, width)
    with np.errstate(divide="ignore"):
        log_move, log_start = np.log(blocks), np.log(initial).reshape(groups, width)
    alpha, beta = np.empty_like(emission), np.zeros_like(emission)
    alpha[0] = log_start + emission[0]
    for t in range(1, steps):
        alpha[t] = _log_sum(alpha[t - 1][:, :, None] + log_move[stratum[t - 1]], axis=1) + emission[t]
    for t in range(steps - 2, -1, -1):
        beta[t] = _log_sum(log_move[stratum[t]] + (emission[t + 1] + beta[t + 1])[:, None, :], axis=2)
    likelihood, block = mixture(_log_sum(alpha[-1], axis=1)[None])
    level = likelihood[0] if np.isfinite(likelihood[0]) else 0.0
    xi = np.zeros((strata, groups, width, width))
    for t in range(steps - 1):
        arrive = (emission[t + 1] + beta[t + 1])[:, None, :]
        xi[stratum[t]] += np.exp(alpha[t][:, :, None] + log_move[stratum[t]] + arrive - level)
    gamma = np.exp(alpha + beta - level).reshape(steps, -1)
    return Posterior(
        gamma=gamma.astype(np.float32),
        xi_sum=xi,
        initial_counts=gamma[0],
        block_posterior=block,
        log_likelihood=likelihood,
    )


def _log_sum(values: Doubles, axis: int) -> Doubles:
    peak = values.max(axis=axis, keepdims=True)
    peak[np.isneginf(peak)] = 0.0
    with np.errstate(divide="ignore"):
        result: Doubles = np.log(np.exp(values - peak).sum(axis=axis)) + peak.squeeze(axis)
    return result
