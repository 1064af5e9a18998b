"""The most probable path of hidden states of each of many ragged sequences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError
from ehrsynth.probability.hmm.layout import Chain, Layout

__all__ = ["viterbi"]

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CELLS = 1 << 22
"""Scores of transitions held at once: sequences are done in batches of as many as fit."""


def viterbi(
    log_emission: Floats,
    offsets: npt.NDArray[np.integer],
    initial: Floats,
    transition: Floats,
    *,
    stratum: npt.NDArray[np.integer] | None = None,
    log_end: Floats | None = None,
) -> tuple[npt.NDArray[np.int32], Doubles]:
    """Return the most probable states of n ragged sequences (Viterbi 1967).

    Parameters
    ----------
    log_emission, offsets, initial, transition, stratum, log_end
        As in `forward_backward`.

    Returns
    -------
    states : int32[T_total]
        Ties go to the lowest state. Zeros for a sequence that the model cannot produce.
    log_probability : float64[n]
        Of the path and the sequence together; -inf if the model cannot produce it, 0 for an empty sequence.

    Raises
    ------
    LearningError
        Shapes that do not fit.
    """
    layout = Layout.of(offsets)
    chain = Chain(transition, stratum, offsets, layout)
    n, total = len(offsets) - 1, int(offsets[-1])
    if log_emission.shape != (total, chain.states) or (log_end is not None and log_end.shape != log_emission.shape):
        raise LearningError(
            f"Emissions of shape {log_emission.shape} do not fit {total} visits and {chain.states} states."
        )
    with np.errstate(divide="ignore"):
        start = np.broadcast_to(np.log(np.asarray(initial, dtype=np.float64)), (n, chain.states))
        move = np.log(chain.blocks)

    def score(visits: Ints) -> Doubles:
        found = log_emission[visits].astype(np.float64)
        if log_end is not None:
            found += log_end[visits]
        return found.reshape(-1, chain.groups, chain.width)

    states = np.zeros(total, dtype=np.int32)
    log_probability = np.zeros(n)
    batch = max(1, _CELLS // (chain.states * chain.width))
    # Batches in order of length, so that only the first has the long ones and their many steps.
    for at in range(0, len(layout.sequences), batch):
        chosen = layout.sequences[at : at + batch]
        begin, length = offsets[chosen].astype(np.int64), np.diff(offsets)[chosen].astype(np.int64)
        # running[t]: how many of the batch have a visit at step t; they are its first.
        running = np.searchsorted(-length, -np.arange(1, int(length[0]) + 2), side="right")
        best = start[chosen].reshape(-1, chain.groups, chain.width) + score(begin)
        back: list[npt.NDArray[np.int32]] = []
        last = np.zeros(len(chosen), dtype=np.int64)
        for step in range(int(length[0])):
            here, onward = int(running[step]), int(running[step + 1])
            ending = best[onward:here].reshape(here - onward, chain.states)
            last[onward:here] = ending.argmax(axis=1)
            log_probability[chosen[onward:here]] = ending.max(axis=1)
            visits = begin[:onward] + step
            candidates = best[:onward, :, :, None] + move[chain.visit_stratum[visits]]
            back.append(candidates.argmax(axis=2).astype(np.int32))
            best = candidates.max(axis=2) + score(visits + 1)
        group, inside = np.divmod(last, chain.width)
        reached = np.isfinite(log_probability[chosen])
        for step in range(int(length[0]) - 1, -1, -1):
            here, onward = int(running[step]), int(running[step + 1])
            inside[:onward] = back[step][np.arange(onward), group[:onward], inside[:onward]]
            found = group[:here] * chain.width + inside[:here]
            states[begin[:here] + step] = np.where(reached[:here], found, 0)
    return states, log_probability
