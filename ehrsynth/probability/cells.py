"""Cells of a numeric distribution: common values alone, others in ranges, each with enough patients behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError
from ehrsynth.probability.sketch import Level, ValueSketch

__all__ = ["Cells", "make_cells", "nearest"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_WIDE, _PLACE = 8, 0.05
"""Units of a cell in which values are not taken for equally likely, and what their mean place is rounded to."""

_TAIL = 0.25
"""The share of a tail that one of its cells may take: geometric cells, since a tail is not uniform."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Disjoint ranges of whole units.

    Attributes
    ----------
    lower, upper : int64[F]
        First and last unit of each, ascending.
    weight : float64[F]
        Positive.
    place : float64[F]
        Mean place of the weight between the ends of each, to a twentieth; 1/2 in narrow ones.
    """

    lower: Ints
    upper: Ints
    weight: Doubles
    place: Doubles


def make_cells(sketch: ValueSketch, *, min_patients: int, n_cells: int) -> Cells:
    """Cut the values of a sketch into about `n_cells` cells that at least `min_patients` distinct patients fall in.

    A value with a share of 1 / n_cells of the weight and enough patients is a cell by itself, so that atoms (a
    detection limit, a usual dose, seven days) stay atoms. Between atoms, neighbouring values are joined until the
    patients suffice and so does the weight: 1 / n_cells, or less in the tails, where a cell takes a quarter of what
    lies beyond it. What is left between two atoms, or at an end, with too few patients is counted in the nearest cell.
    The outer ends of a range are one person's values, so they are moved outward to two significant digits.

    Parameters
    ----------
    sketch : ValueSketch
        Units are its base windows.
    min_patients : int
    n_cells : int
        At least 1. Tails and atoms can make some more.

    Raises
    ------
    LearningError
        Fewer than `min_patients` patients have a value.
    """
    if sketch.patients < min_patients - 1e-6 or sketch.total <= 0:
        raise LearningError(f"Fewer than {min_patients} patients have a value.")
    base = sketch.levels[0]
    enough = _Enough(sketch, min_patients)
    target = sketch.total / n_cells
    atom = (base.patients >= min_patients) & (sketch.weight >= target)
    running = np.concatenate([[0.0], np.cumsum(sketch.weight)])
    ranges: list[tuple[int, int]] = []
    start = 0
    for stop in [*np.flatnonzero(atom).tolist(), len(atom)]:
        ranges += _join(start, stop, enough, running, target)
        if stop < len(atom):
            ranges.append((stop, stop + 1))
        start = stop + 1
    first, last = (np.array(side, dtype=np.int64) for side in zip(*ranges, strict=True))
    lower, upper = base.nodes[first], base.nodes[last - 1]
    if upper[0] > lower[0]:
        lower[0] = -_away(-int(lower[0]))
    if upper[-1] > lower[-1]:
        upper[-1] = _away(int(upper[-1]))
    weight = np.bincount(nearest(lower, upper, base.nodes), weights=sketch.weight, minlength=len(lower))
    return Cells(
        lower=lower,
        upper=upper,
        weight=weight.astype(np.float64),
        place=_places(lower, upper, base.nodes, sketch.weight, weight.astype(np.float64)),
    )


def _places(lower: Ints, upper: Ints, units: Ints, weights: Doubles, of_cell: Doubles) -> Doubles:
    cell = nearest(lower, upper, units)
    steps = upper - lower + 1
    inside = (np.clip(units, lower[cell], upper[cell]) - lower[cell] + 0.5) / steps[cell]
    mean = np.bincount(cell, weights=weights * inside, minlength=len(lower)) / np.maximum(of_cell, 1e-300)
    rounded = np.clip(np.round(mean / _PLACE) * _PLACE, _PLACE, 1.0 - _PLACE)
    return np.where(steps >= _WIDE, rounded, 0.5)


def nearest(lower: Ints, upper: Ints, units: Ints) -> Ints:
    """Return the cell of each unit; the nearest one (the lower of two) for a unit in none."""
    after = np.searchsorted(lower, units, side="right")
    below = np.maximum(after - 1, 0)
    above = np.minimum(after, len(lower) - 1)
    return np.where(np.maximum(units - upper[below], 0) <= np.abs(lower[above] - units), below, above)


class _Enough:
    """Answers where a range of base nodes that begins at a node first has enough patients."""

    def __init__(self, sketch: ValueSketch, min_patients: int) -> None:
        self._min = min_patients
        self._shares = np.concatenate([[0.0], np.cumsum(sketch.share)])
        begins = np.full(len(sketch.share), -1, dtype=np.int64)
        for level in sketch.levels:
            first, last = _span(sketch.levels[0], level)
            full = level.patients >= min_patients
            np.maximum.at(begins, last[full], first[full])
        # The latest beginning of a window with enough patients that ends at or before each node.
        self._begins = np.maximum.accumulate(begins)

    def stop(self, start: int) -> int:
        """Return the least stop such that nodes start .. stop - 1 have enough patients; beyond the end if none."""
        by_window = int(np.searchsorted(self._begins, start)) + 1
        # The tolerance is for sums of fractions like 1/3 + 1/3 + 1/3.
        by_share = int(np.searchsorted(self._shares, self._shares[start] + self._min - 1e-6))
        return min(by_window, by_share)


def _span(base: Level, level: Level) -> tuple[Ints, Ints]:
    """Return the first and last base node inside each node of a coarser level."""
    of_node = np.searchsorted(level.nodes, base.nodes * base.window // level.window)
    first = np.searchsorted(of_node, np.arange(len(level.nodes)))
    return first, np.append(first[1:], len(base.nodes)) - 1


def _join(start: int, end: int, enough: _Enough, running: Doubles, target: float) -> list[tuple[int, int]]:
    """Return ranges of nodes (first, stop) from `start` up to `end`; none if even all together are too few."""
    ranges: list[tuple[int, int]] = []
    while start < end:
        beyond = min(running[start], running[-1] - running[start])
        heavy = int(np.searchsorted(running, running[start] + min(target, _TAIL * beyond) * (1 - 1e-9)))
        stop = max(enough.stop(start), heavy)
        if stop > end:
            break
        ranges.append((start, stop))
        start = stop
    if start < end:
        if ranges:
            ranges[-1] = (ranges[-1][0], end)
        elif enough.stop(start) <= end:
            ranges.append((start, end))
    return ranges


def _away(unit: int) -> int:
    """Return `unit` rounded upward to two significant digits."""
    scale: int = 10 ** max(len(str(abs(unit))) - 2, 0)
    return -(-unit // scale) * scale
