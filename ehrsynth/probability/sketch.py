"""An additive summary of the numbers that patients have: how often each occurs, and how many patients have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError

__all__ = ["MICRO", "Level", "ValueSketch"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

MICRO = 10**6
"""Values are counted in millionths."""

_WINDOWS = tuple(factor * 10**power for power in range(18) for factor in (1, 2))
"""1, 2, 10, 20, 100, ...: each window is made of whole windows before it."""

_LARGEST = 9e12
"""The largest value whose millionths fit 64 bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """The values by windows of one width.

    Attributes
    ----------
    window : int
        The width in millionths.
    nodes : int64[m]
        Ascending: node k is the values k * window <= value < (k + 1) * window.
    patients : int64[m]
        How many distinct patients have a value there.
    """

    window: int
    nodes: Ints
    patients: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class ValueSketch:
    """Counts of values, mergeable over disjoint sets of patients.

    Distinct patients of a union of values are not the sum over the values; they are counted at every window width
    instead, so that any range holds at least as many patients as any window inside it. The sum of `share` over a range
    is a second lower bound. Both are exact sums over patients, and a patient adds at most 1 to each node and 1 in all
    to the shares.

    Attributes
    ----------
    levels : tuple of Level
        From the base, the finest, to the coarsest.
    weight : float64[m]
        The summed weight of the values of each base node.
    share : float64[m]
        Each patient spreads one over their values: the summed shares.
    coarsened : int
        The least base window allowed, because finer ones were given up (`limit`); 1 if the base is exact.
    limit : int
        The most base nodes to keep.
    """

    levels: tuple[Level, ...]
    weight: Doubles
    share: Doubles
    coarsened: int
    limit: int

    @classmethod
    def of(
        cls,
        values: npt.NDArray[np.number],
        patient_ids: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating] | None = None,
        *,
        limit: int = 1 << 18,
    ) -> ValueSketch:
        """Summarise the values of some patients.

        Parameters
        ----------
        values : float[n] or int[n]
            Finite, at most 9e12 in size; rounded to millionths.
        patient_ids : int[n]
            Whose. All values of a patient must come in one call: sketches are merged over disjoint patients.
        weights : float[n], optional
            1 by default; values of weight 0 are left out.
        limit : int
            Distinct values to keep exactly; beyond, windows are widened until so many are left.

        Raises
        ------
        LearningError
            A value is not finite or too large, or a weight is negative or not finite.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all() or (np.abs(numbers) > _LARGEST).any():
            raise LearningError("A value is not a finite number, or larger than 9e12.")
        weight = np.ones(len(numbers)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise LearningError("A value has a negative or not finite weight.")
        units = np.rint(numbers * MICRO).astype(np.int64)
        order = np.lexsort((units, patient_ids))
        order = order[weight[order] > 0]
        patient, unit = np.asarray(patient_ids)[order], units[order]
        _, whose, held = np.unique(patient, return_inverse=True, return_counts=True)
        base = _granularity(unit)
        node, inverse = np.unique(unit // base, return_inverse=True)
        share = np.bincount(inverse, weights=1.0 / held[whose], minlength=len(node))
        summed = np.bincount(inverse, weights=weight[order], minlength=len(node))
        levels = []
        for window in _WINDOWS[_WINDOWS.index(base) :]:
            nodes = unit // window
            # Sorted by patient, then value: a patient's repeats of a node are neighbours.
            keep = np.ones(len(nodes), dtype=bool)
            keep[1:] = (nodes[1:] != nodes[:-1]) | (whose[1:] != whose[:-1])
            unit, whose = unit[keep], whose[keep]
            found, patients = np.unique(nodes[keep], return_counts=True)
            levels.append(Level(window=window, nodes=found, patients=patients.astype(np.int64)))
        made = cls(
            levels=tuple(levels),
            weight=summed.astype(np.float64),
            share=share.astype(np.float64),
            coarsened=1,
            limit=limit,
        )
        return made._within_limit()

    @property
    def base(self) -> int:
        """The window of the finest level, in millionths."""
        return self.levels[0].window

    @property
    def total(self) -> float:
        """The summed weight."""
        return float(self.weight.sum())

    @property
    def patients(self) -> float:
        """The number of patients."""
        return float(self.share.sum())

    def level(self, window: int) -> Level:
        """Return the level of a window; below the base the values of an exact sketch stay where they are."""
        if window >= self.base:
            return self.levels[_WINDOWS.index(window) - _WINDOWS.index(self.base)]
        first = self.levels[0]
        return Level(window=window, nodes=first.nodes * (self.base // window), patients=first.patients)

    def merge(self, other: ValueSketch) -> ValueSketch:
        """Return the sketch of the patients of both, who must be different people."""
        pair = (self, other)
        coarsened = max(sketch.coarsened for sketch in pair)
        base = max(min(sketch.base for sketch in pair), coarsened)
        levels = []
        for window in _WINDOWS[_WINDOWS.index(base) :]:
            parts = [sketch.level(window) for sketch in pair]
            nodes, inverse = np.unique(np.concatenate([part.nodes for part in parts]), return_inverse=True)
            patients = np.zeros(len(nodes), dtype=np.int64)
            np.add.at(patients, inverse, np.concatenate([part.patients for part in parts]))
            levels.append(Level(window=window, nodes=nodes, patients=patients))
        weight, share = (np.zeros(len(levels[0].nodes)) for _ in range(2))
        for sketch in pair:
            at = np.searchsorted(levels[0].nodes, sketch.levels[0].nodes * sketch.base // base)
            np.add.at(weight, at, sketch.weight)
            np.add.at(share, at, sketch.share)
        limit = min(sketch.limit for sketch in pair)
        merged = ValueSketch(levels=tuple(levels), weight=weight, share=share, coarsened=coarsened, limit=limit)
        return merged._within_limit()

    def widen(self, window: int) -> ValueSketch:
        """Return the sketch with base `window`, at least the present one."""
        drop = _WINDOWS.index(window) - _WINDOWS.index(self.base)
        levels = self.levels[drop:]
        at = np.searchsorted(levels[0].nodes, self.levels[0].nodes * self.base // window)
        size = len(levels[0].nodes)
        return ValueSketch(
            levels=levels,
            weight=np.bincount(at, weights=self.weight, minlength=size).astype(np.float64),
            share=np.bincount(at, weights=self.share, minlength=size).astype(np.float64),
            coarsened=max(self.coarsened, window),
            limit=self.limit,
        )

    def decimals(self, tolerance: float = 0.01) -> int:
        """Return the decimals, -3 .. 6, that the values have; a share of `tolerance` of the weight may have more."""
        units = self.levels[0].nodes * self.base
        for decimals in range(-3, 6):
            odd = units % 10 ** (6 - decimals) != 0
            if self.weight[odd].sum() <= tolerance * self.total:
                return decimals
        return 6

    def _within_limit(self) -> ValueSketch:
        fitting = next(
            level.window for level in self.levels if len(level.nodes) <= self.limit or level is self.levels[-1]
        )
        return self if fitting == self.base else self.widen(fitting)


def _granularity(units: Ints) -> int:
    """Return the largest power of ten up to 10**9 that divides all units."""
    distinct = np.unique(units)
    for power in range(9, 0, -1):
        if not (distinct % 10**power).any():
            return int(10**power)
    return 1
