"""The hidden Markov model's chain: first state, transitions, and the hazard of ending, whatever the states emit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError

__all__ = ["HiddenMarkovModel"]

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenMarkovModel:
    """A hidden Markov chain over Q = G * K states in D strata; the blocks (classes) never mix.

    Attributes
    ----------
    initial : float64[D, Q]
        P(first state | stratum).
    transition : float64[D, G, K, K]
        P(next state | state, stratum) inside each block; state q = g * K + k.
    end : float64[D, Q], optional
        Hazard: P(the sequence ends after a visit | state of the visit, stratum).

    Raises
    ------
    ModelError
        Shapes that do not fit, rows that do not sum to 1 within 1e-9, or hazards outside 0..1.
    """

    initial: Doubles
    transition: Doubles
    end: Doubles | None = None

    def __post_init__(self) -> None:
        if self.transition.ndim != 4 or self.transition.shape[2] != self.transition.shape[3]:
            raise ModelError(f"A transition must have the shape [D, G, K, K], not {list(self.transition.shape)}.")
        shape = (self.strata, self.states)
        if self.initial.shape != shape or (self.end is not None and self.end.shape != shape):
            raise ModelError(f"First states and hazards must have the shape {list(shape)} of strata and states.")
        for name, table in (("first states", self.initial), ("transitions", self.transition)):
            sums = np.abs(table.sum(axis=-1) - 1)
            if not np.isfinite(table).all() or (table < 0).any() or (sums > 1e-9).any():
                raise ModelError(f"A row of the {name} is not a distribution.")
        if self.end is not None and not ((self.end >= 0) & (self.end <= 1)).all():
            raise ModelError("A hazard of ending is outside 0..1.")

    @property
    def strata(self) -> int:
        """D, the number of strata."""
        return int(self.transition.shape[0])

    @property
    def groups(self) -> int:
        """G, the number of blocks."""
        return int(self.transition.shape[1])

    @property
    def width(self) -> int:
        """K, the states of a block."""
        return int(self.transition.shape[2])

    @property
    def states(self) -> int:
        """Q = G * K."""
        return self.groups * self.width

    def dense(self, stratum: int = 0) -> Doubles:
        """Return the block-diagonal matrix float64[Q, Q] of a stratum."""
        matrix = np.zeros((self.states, self.states))
        for g in range(self.groups):
            span = slice(g * self.width, (g + 1) * self.width)
            matrix[span, span] = self.transition[stratum, g]
        return matrix

    def log_end(self, offsets: npt.NDArray[np.integer], stratum: npt.NDArray[np.integer] | None = None) -> Doubles:
        """Return float64[T_total, Q]: log P(end | state) at the last visit of each sequence, log P(go on) elsewhere.

        Parameters
        ----------
        offsets : int[n + 1]
        stratum : int[T_total], optional
            Of each visit; default 0.

        Raises
        ------
        ModelError
            The model has no hazards.
        """
        if self.end is None:
            raise ModelError("This model has no hazards of ending.")
        total = int(offsets[-1])
        last = np.zeros(total, dtype=bool)
        last[offsets[1:][np.diff(offsets) > 0] - 1] = True
        rows = np.zeros(total, dtype=np.int64) if stratum is None else stratum
        with np.errstate(divide="ignore"):
            stop, go_on = np.log(self.end), np.log1p(-self.end)
        return np.where(last[:, None], stop[rows], go_on[rows])
