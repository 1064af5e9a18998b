"""The posterior of the hidden states of a hidden Markov model over ragged sequences: scaled forward-backward.

Rabiner (1989), "A tutorial on hidden Markov models", with the scaling of section V.A done block by block: blocks of a
block-diagonal transition never mix, so each carries its likelihood on its own scale, and a class that looks hopeless
for a thousand visits is not rounded to impossible. A sequence that still runs out of digits is done again in log space.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError
from ehrsynth.probability.hmm.layout import Chain, Layout
from ehrsynth.probability.hmm.log_space import forward_backward_log
from ehrsynth.probability.hmm.posterior import Posterior, mixture

__all__ = ["forward_backward"]

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FAINT = 1e-200
"""A scaled probability below this may have lost digits to underflow."""

_LOUD = 1e280
"""A backward ratio above this belongs to a state whose forward probability may have underflowed to zero."""


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

    Memory is some 40 bytes for each visit and state; call it on chunks of sequences and add the counts.

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
        Which matrix: of a sequence, or of the transition that leaves the visit (read as int[n] if n = T_total).
        Default 0.
    log_end : float[T_total, Q], optional
        Added to `log_emission`: log-probability, given the state, that the sequence ends after the visit (last visit)
        or goes on (others).
    weights : float[n], optional
        Weight of each sequence in `xi_sum` and `initial_counts`.

    Returns
    -------
    Posterior

    Raises
    ------
    LearningError
        Shapes that do not fit, or a log-probability that is not a number or plus infinity.
    """
    layout = Layout.of(offsets)
    chain = Chain(transition, stratum, offsets, layout)
    n, total = len(offsets) - 1, int(offsets[-1])
    if log_emission.shape != (total, chain.states) or (log_end is not None and log_end.shape != log_emission.shape):
        raise LearningError(
            f"Emissions of shape {log_emission.shape} do not fit {total} visits and {chain.states} states."
        )
    start = np.broadcast_to(np.asarray(initial, dtype=np.float64), (n, chain.states))
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)

    emission, peak = _emissions(log_emission, log_end, chain)
    alpha, scale = _forward(chain, emission, start)
    joint = _joint(chain, scale, peak, start, offsets)
    if np.isnan(joint).any() or np.isposinf(joint).any():
        raise LearningError("The log-probability of a visit is not a number, or infinite.")
    likelihood, block = mixture(joint)
    # From here on `emission` gives way to what each visit and all after it say of the transition into it.
    gamma = np.zeros((total, chain.states), dtype=np.float32)
    loud = _backward(chain, alpha, emission, scale, block, gamma)
    redo = np.union1d(loud, _faint(chain, scale, peak, start))

    first = offsets[:-1].astype(np.int64)
    seen = np.setdiff1d(layout.sequences, redo)
    initial_counts = (gamma[first[seen]] * weight[seen, None]).sum(axis=0)
    share = block * weight[:, None]
    share[redo] = 0.0
    emission *= share[layout.sequences].T[:, chain.rank, None]
    xi = chain.outer(alpha, emission) * chain.blocks

    for i in redo:
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        scores = log_emission[rows] if log_end is None else log_emission[rows] + log_end[rows]
        again = forward_backward_log(scores, start[i], chain.blocks, chain.visit_stratum[rows])
        likelihood[i], block[i], gamma[rows] = again.log_likelihood[0], again.block_posterior[0], again.gamma
        initial_counts += again.initial_counts * weight[i]
        xi += again.xi_sum * weight[i]
    return Posterior(
        gamma=gamma,
        xi_sum=xi.reshape(chain.shape),
        initial_counts=initial_counts,
        block_posterior=block,
        log_likelihood=likelihood,
    )


def _emissions(log_emission: Floats, log_end: Floats | None, chain: Chain) -> tuple[Doubles, Doubles]:
    """Return probabilities float64[G, T, K] by step, each block's best state at 1, and the log of what that was."""
    scores = log_emission[chain.layout.visits].astype(np.float64, copy=False)
    if log_end is not None:
        scores += log_end[chain.layout.visits]
    scores = np.ascontiguousarray(scores.reshape(len(scores), chain.groups, chain.width).transpose(1, 0, 2))
    peak = scores.max(axis=-1)
    scores -= np.where(np.isneginf(peak), 0.0, peak)[:, :, None]
    return np.exp(scores, out=scores), peak


def _forward(chain: Chain, emission: Doubles, start: Doubles) -> tuple[Doubles, Doubles]:
    """Return P(state | block, visits so far) float64[G, T, K] and the scale of each visit float64[G, T]."""
    layout = chain.layout
    alpha, scale = np.empty_like(emission), np.empty(emission.shape[:2])
    state = start[layout.sequences].reshape(-1, chain.groups, chain.width).transpose(1, 0, 2)
    for step in range(layout.steps):
        rows = slice(layout.starts[step], layout.starts[step + 1])
        here = alpha[:, rows]
        np.multiply(state, emission[:, rows], out=here)
        total = here.sum(axis=-1)
        scale[:, rows] = total
        here /= np.where(total > 0, total, 1.0)[:, :, None]
        state = chain.forward(step, here[:, : layout.running(step + 1)])
    return alpha, scale


def _joint(chain: Chain, scale: Doubles, peak: Doubles, start: Doubles, offsets: npt.NDArray[np.integer]) -> Doubles:
    """Return log P(sequence, block) float64[n, G]."""
    by_visit = np.empty((scale.shape[1], chain.groups))
    full = np.flatnonzero(np.diff(offsets))
    with np.errstate(divide="ignore"):
        by_visit[chain.layout.visits] = (np.log(scale) + peak).T
        joint: Doubles = np.log(start.reshape(-1, chain.groups, chain.width).sum(axis=-1))
    if len(full):
        joint[full] = np.add.reduceat(by_visit, offsets[:-1][full].astype(np.int64), axis=0)
    return joint


def _backward(
    chain: Chain, alpha: Doubles, emission: Doubles, scale: Doubles, block: Doubles, gamma: npt.NDArray[np.float32]
) -> Ints:
    """Fill `gamma`, turn `emission` into emission * beta / scale, and return the sequences that overflowed."""
    layout = chain.layout
    share = np.ascontiguousarray(block[layout.sequences].T)
    loud: list[Ints] = []
    later: Doubles = emission[:, :0]
    for step in range(layout.steps - 1, -1, -1):
        rows = slice(layout.starts[step], layout.starts[step + 1])
        here = emission[:, rows]
        running, going_on = layout.running(step), layout.running(step + 1)
        beta = np.ones(here.shape)
        beta[:, :going_on] = chain.backward(step, later)
        known = alpha[:, rows] * beta
        known *= share[:, :running, None]
        gamma[layout.visits[rows]] = known.transpose(1, 0, 2).reshape(running, -1)
        total = scale[:, rows]
        here *= beta
        with np.errstate(over="ignore"):
            here /= np.where(total > 0, total, 1.0)[:, :, None]
        if here.size and here.max() > _LOUD:
            loud.append(layout.sequences[np.flatnonzero((here > _LOUD).any(axis=(0, 2)))])
            np.minimum(here, _LOUD, out=here)
        later = here
    return np.concatenate(loud) if loud else np.empty(0, dtype=np.int64)


def _faint(chain: Chain, scale: Doubles, peak: Doubles, start: Doubles) -> Ints:
    """Return the sequences of which a block first fades at a visit that it does not plainly forbid."""
    layout = chain.layout
    found: list[Ints] = []
    prior = start.reshape(-1, chain.groups, chain.width).sum(axis=-1)[layout.sequences]
    for g in range(chain.groups):
        rows = np.flatnonzero(scale[g] < _FAINT)
        # Rows ascend with the step, so the first of each rank is where the block faded.
        rank, first = np.unique(chain.rank[rows], return_index=True)
        at = rows[first]
        forbidden = np.isneginf(peak[g, at]) | ((at < layout.running(0)) & (prior[rank, g] == 0))
        found.append(layout.sequences[rank[~forbidden]])
    return np.concatenate(found)
