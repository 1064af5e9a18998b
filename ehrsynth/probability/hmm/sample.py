"""Sampling paths of hidden states, one step of all sequences at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import UsageError
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.probability.hmm.model import HiddenMarkovModel

__all__ = ["sample_paths"]

Ints = npt.NDArray[np.int64]


def sample_paths(
    model: HiddenMarkovModel,
    n: int,
    rng: np.random.Generator,
    *,
    stratum: npt.NDArray[np.integer] | None = None,
    lengths: npt.NDArray[np.integer] | None = None,
    max_length: int = 10_000,
) -> tuple[Ints, Ints]:
    """Draw paths of hidden states.

    Parameters
    ----------
    model : HiddenMarkovModel
    n : int
        Sequences.
    rng : numpy.random.Generator
        Gives n uniforms for the first states, then two for each sequence that is still running, step by step.
    stratum : int[n], optional
        Of each sequence; default 0.
    lengths : int[n], optional
        The number of visits of each. Without it a sequence ends by the model's hazard.
    max_length : int
        Where a sequence is cut that the hazard has not ended.

    Returns
    -------
    states : int64[T_total]
    offsets : int64[n + 1]

    Raises
    ------
    UsageError
        Neither lengths nor hazards are there.
    """
    if lengths is None and model.end is None:
        raise UsageError("Sequences need lengths, or a model with hazards of ending.")
    row = np.zeros(n, dtype=np.int64) if stratum is None else stratum.astype(np.int64)
    first, move = cumulative(model.initial), cumulative(model.transition)
    state = sample_rows(first, row, rng.random(n))
    limit = np.full(n, max_length) if lengths is None else lengths
    alive = np.flatnonzero(limit > 0)
    visits: list[tuple[Ints, Ints]] = []
    while len(alive):
        visits.append((alive, state[alive]))
        u_end, u_move = rng.random(len(alive)), rng.random(len(alive))
        stay = len(visits) < limit[alive]
        if lengths is None and model.end is not None:
            stay &= u_end >= model.end[row[alive], state[alive]]
        alive, u_move = alive[stay], u_move[stay]
        now = state[alive]
        block = now // model.width * model.width
        state[alive] = block + sample_rows(move, row[alive] * model.states + now, u_move)
    count = np.zeros(n, dtype=np.int64)
    for step, (who, _) in enumerate(visits):
        count[who] = step + 1
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    path = np.empty(int(offsets[-1]), dtype=np.int64)
    for step, (who, where) in enumerate(visits):
        path[offsets[who] + step] = where
    return path, offsets
