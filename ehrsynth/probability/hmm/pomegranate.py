"""Hidden Markov models as pomegranate's objects: for users who want them, and as the second oracle of the tests.

What is used of pomegranate 1.1.2, and what is not (each measured): `DenseHMM` with its own transitions and one's own
emission log-probabilities in `forward_backward` is right to float32. It cannot take sequences of one visit, nor ragged
ones in one call, nor strata, and knows no blocks; `sample` is 5,000 times slower than `sample_paths`. Learning
therefore uses `ehrsynth.probability.hmm.forward_backward`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.extra import learn_library
from ehrsynth.probability.hmm.infer import forward_backward
from ehrsynth.probability.hmm.model import HiddenMarkovModel
from ehrsynth.probability.hmm.posterior import Posterior

__all__ = ["forward_backward_with_pomegranate", "to_pomegranate"]

Floats = npt.NDArray[np.floating]


def to_pomegranate(model: HiddenMarkovModel, stratum: int = 0, emission: Floats | None = None) -> Any:
    """Return one stratum of a model as a `pomegranate.hmm.DenseHMM` (float32).

    Parameters
    ----------
    model : HiddenMarkovModel
        With hazards, transitions become (1 - hazard) * transition and the hazards the ends. Without, all ends are 1,
        so that the likelihood of a sequence says nothing of its length.
    stratum : int
    emission : float[Q, S], optional
        P(symbol | state); by default every state emits symbol 0 (for use with one's own emission log-probabilities).

    Raises
    ------
    MissingExtraError
        pomegranate is not installed.
    """
    library, distributions = learn_library("pomegranate.hmm"), learn_library("pomegranate.distributions")
    torch = learn_library("torch")

    def tensor(values: Floats) -> Any:
        return torch.as_tensor(np.asarray(values, dtype=np.float32))

    symbols = np.ones((model.states, 1)) if emission is None else emission
    end = np.ones(model.states) if model.end is None else model.end[stratum]
    go_on = np.ones(model.states) if model.end is None else 1 - end
    return library.DenseHMM(
        distributions=[distributions.Categorical(tensor(row[None])) for row in symbols],
        edges=tensor(model.dense(stratum) * go_on[:, None]),
        starts=tensor(model.initial[stratum]),
        ends=tensor(end),
    )


def forward_backward_with_pomegranate(
    model: HiddenMarkovModel,
    log_emission: Floats,
    offsets: npt.NDArray[np.integer],
    stratum: npt.NDArray[np.integer] | None = None,
) -> Posterior:
    """Return what `forward_backward` says of a model, computed by pomegranate, one call for each stratum and length.

    Sequences of one visit, which `DenseHMM` cannot take, are left to `forward_backward`.

    Parameters
    ----------
    model : HiddenMarkovModel
    log_emission : float[T_total, Q]
    offsets : int[n + 1]
    stratum : int[n], optional
        Of each sequence; default 0.

    Raises
    ------
    MissingExtraError
        pomegranate is not installed.
    """
    torch = learn_library("torch")
    lengths = np.diff(offsets)
    rows = np.zeros(len(lengths), dtype=np.int64) if stratum is None else stratum
    gamma = np.zeros(log_emission.shape, dtype=np.float32)
    xi = np.zeros(model.transition.shape)
    first = np.zeros(model.states)
    likelihood = np.zeros(len(lengths))
    block = model.initial[rows].reshape(len(lengths), model.groups, -1).sum(axis=2)
    for d, length in sorted({(int(d), int(n)) for d, n in zip(rows, lengths, strict=True) if n > 0}):
        chosen = np.flatnonzero((rows == d) & (lengths == length))
        visits = offsets[:-1][chosen][:, None] + np.arange(length)
        if length == 1:
            flat = visits[:, 0]
            ends = np.arange(len(flat) + 1)
            log_end = None if model.end is None else model.log_end(ends, np.full(len(flat), d))
            short = forward_backward(
                log_emission[flat], ends, model.initial[d], model.transition[d : d + 1], log_end=log_end
            )
            responsibility, moves = short.gamma[:, None], np.zeros((1, model.states, model.states))
            likelihood[chosen] = short.log_likelihood
        else:
            scores = torch.as_tensor(log_emission[visits].astype(np.float32))
            transitions, log_gamma, _, _, logp = to_pomegranate(model, d).forward_backward(emissions=scores)
            responsibility, moves = np.exp(log_gamma.numpy()), transitions.numpy().astype(np.float64)
            likelihood[chosen] = logp.numpy()
        gamma[visits] = responsibility
        first += responsibility[:, 0].sum(axis=0)
        block[chosen] = responsibility[:, 0].reshape(len(chosen), model.groups, -1).sum(axis=2)
        for g in range(model.groups):
            span = slice(g * model.width, (g + 1) * model.width)
            xi[d, g] += moves[:, span, span].sum(axis=0)
    return Posterior(gamma=gamma, xi_sum=xi, initial_counts=first, block_posterior=block, log_likelihood=likelihood)
