"""Ragged sequences laid out by time step, and the shapes that a transition may have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError

__all__ = ["Chain", "Layout"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Visits in the order of their step, sequences from long to short.

    The sequences that still run at a step are then the first rows of every earlier step: one time step of all
    sequences is one contiguous slice, and no padding is stored.

    Attributes
    ----------
    sequences : int64[m]
        The sequences that have visits, longest first (stable).
    starts : int64[L + 1]
        Step t of all sequences is the rows starts[t] .. starts[t + 1] - 1; row starts[t] + r is of sequences[r].
    visits : int64[T]
        The visit (position in the ragged values) of each row.
    """

    sequences: Ints
    starts: Ints
    visits: Ints

    @classmethod
    def of(cls, offsets: npt.NDArray[np.integer]) -> Layout:
        """Lay out the sequences whose visits are offsets[i] .. offsets[i + 1] - 1."""
        begin = offsets[:-1].astype(np.int64)
        lengths = np.diff(offsets.astype(np.int64))
        order = np.argsort(-lengths, kind="stable")
        sequences = order[lengths[order] > 0]
        ended = np.bincount(lengths[sequences], minlength=1)
        running = len(sequences) - np.cumsum(ended)[:-1]
        starts = np.concatenate([[0], np.cumsum(running)]).astype(np.int64)
        step = np.repeat(np.arange(len(running)), running)
        rank = np.arange(starts[-1]) - starts[step]
        return cls(sequences=sequences, starts=starts, visits=begin[sequences[rank]] + step)

    @property
    def steps(self) -> int:
        """The length of the longest sequence."""
        return len(self.starts) - 1

    def running(self, step: int) -> int:
        """Return how many sequences have a visit at `step`."""
        if step >= self.steps:
            return 0
        return int(self.starts[step + 1]) - int(self.starts[step])


class Chain:
    """A transition of any allowed shape over a layout, stepped forward and backward.

    Parameters
    ----------
    transition : float[Q, Q], float[D, Q, Q] or float[D, G, K, K]
    stratum : int[n], int[T] or None
        Of each sequence, or of each visit (of the transition that leaves it).
    offsets : int[n + 1]
    layout : Layout

    Raises
    ------
    LearningError
        The shapes do not fit each other.
    """

    def __init__(
        self,
        transition: npt.NDArray[np.floating],
        stratum: npt.NDArray[np.integer] | None,
        offsets: npt.NDArray[np.integer],
        layout: Layout,
    ) -> None:
        self.shape = transition.shape
        blocks = np.asarray(transition, dtype=np.float64)
        match transition.ndim:
            case 2:
                blocks = blocks[None, None]
            case 3:
                blocks = blocks[:, None]
            case 4:
                pass
            case _:
                raise LearningError(f"A transition of shape {transition.shape} is neither dense, stacked nor blocks.")
        self.blocks: Doubles = np.ascontiguousarray(blocks)
        self._backward: Doubles = np.ascontiguousarray(blocks.swapaxes(-1, -2))
        self.strata, self.groups, self.width = (int(size) for size in blocks.shape[:3])
        if blocks.shape[3] != self.width:
            raise LearningError(f"A transition of shape {transition.shape} is not square.")
        self.layout = layout
        self.visit_stratum: Ints = self._per_visit(stratum, offsets)
        stratum_of_row = self.visit_stratum[layout.visits]
        running = np.diff(layout.starts)
        # The place of each row's sequence in layout.sequences.
        self.rank: Ints = np.arange(layout.starts[-1]) - np.repeat(layout.starts[:-1], running)
        # Row r of step t goes on as row r of step t + 1: the rows that have a successor, and the successors.
        follow = np.append(running[1:], 0)[: layout.steps]
        step = np.repeat(np.arange(layout.steps), follow)
        self.before: Ints = np.flatnonzero(self.rank < np.repeat(follow, running))
        self.after: Ints = self.before + running[step]
        if self.strata > 1:
            key = step * self.strata + stratum_of_row[self.before]
            by_stratum = np.argsort(key, kind="stable")
            self._bounds = np.searchsorted(key[by_stratum], np.arange(layout.steps * self.strata + 1))
            self._rows = self.rank[self.before][by_stratum]
        self._stratum_before = stratum_of_row[self.before]

    @property
    def states(self) -> int:
        """Q, the number of states."""
        return self.groups * self.width

    def _per_visit(self, stratum: npt.NDArray[np.integer] | None, offsets: npt.NDArray[np.integer]) -> Ints:
        total = int(offsets[-1])
        if stratum is None:
            return np.zeros(total, dtype=np.int64)
        if len(stratum) and not (stratum.min() >= 0 and stratum.max() < self.strata):
            raise LearningError(f"A stratum is outside 0..{self.strata - 1}.")
        if len(stratum) == len(offsets) - 1:
            stratum = np.repeat(stratum, np.diff(offsets))
        elif len(stratum) != total:
            raise LearningError(f"There are {len(stratum)} strata for {len(offsets) - 1} sequences of {total} visits.")
        return stratum.astype(np.int64)

    def forward(self, step: int, state: Doubles) -> Doubles:
        """Return float64[G, m, K]: the m sequences that go on after `step`, one transition later."""
        return self._step(step, state, self.blocks)

    def backward(self, step: int, state: Doubles) -> Doubles:
        """Return float64[G, m, K]: what the successors of `step` say of `step`."""
        return self._step(step, state, self._backward)

    def _step(self, step: int, state: Doubles, blocks: Doubles) -> Doubles:
        if self.strata == 1:
            return _multiply(state, blocks[0])
        out = np.empty(state.shape)
        for d in range(self.strata):
            lo, hi = self._bounds[step * self.strata + d], self._bounds[step * self.strata + d + 1]
            if hi > lo:
                rows = self._rows[lo:hi]
                out[:, rows] = _multiply(state[:, rows], blocks[d])
        return out

    def outer(self, left: Doubles, right: Doubles) -> Doubles:
        """Return float64[D, G, K, K]: for each stratum and block the sum over transitions of left (before) x right."""
        total = np.zeros(self.blocks.shape)
        for d in range(self.strata):
            chosen = slice(None) if self.strata == 1 else np.flatnonzero(self._stratum_before == d)
            before, after = self.before[chosen], self.after[chosen]
            for g in range(self.groups):
                total[d, g] = _cross(left[g, before], right[g, after])
        return total


def _rows_at_once(width: int) -> int:
    """Return how many rows to multiply by a square matrix in one go.

    OpenBLAS hands products of more than 2**18 multiplications to threads, which costs ten times the product where it is
    narrow, and on a busy machine far more; and the bits of a sum should not depend on how many cores there are.
    """
    return max(8, (1 << 18) // (width * width))


def _multiply(state: Doubles, blocks: Doubles) -> Doubles:
    """Return state[G, m, K] @ blocks[G, K, K]."""
    groups, count, width = state.shape
    rows = _rows_at_once(width)
    whole = count // rows * rows
    out = np.empty((groups, count, width))
    if whole:
        pieces = (groups, whole // rows, rows, width)
        out[:, :whole] = np.matmul(state[:, :whole].reshape(pieces), blocks[:, None]).reshape(groups, whole, width)
    np.matmul(state[:, whole:], blocks, out=out[:, whole:])
    return out


def _cross(left: Doubles, right: Doubles) -> Doubles:
    """Return left[m, K].T @ right[m, K]."""
    count, width = left.shape
    rows = _rows_at_once(width)
    whole = count // rows * rows
    pieces = (whole // rows, rows, width)
    parts = np.matmul(left[:whole].reshape(pieces).transpose(0, 2, 1), right[:whole].reshape(pieces))
    total: Doubles = parts.sum(axis=0) + left[whole:].T @ right[whole:]
    return total
