"""Numeric values through their quantiles: atoms, decimals and range kept, each cell backed by enough patients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.probability import normal
from ehrsynth.probability.cells import make_cells, nearest
from ehrsynth.probability.sketch import ValueSketch

__all__ = ["QuantileDistribution"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantileDistribution:
    """A distribution of numbers with a fixed number of decimals.

    Attributes
    ----------
    lower, upper : int64[F]
        Cell f holds the values lower[f] / 10**decimals .. upper[f] / 10**decimals, both included, in steps of one unit
        of the last decimal, equally likely but for `place`; an atom has lower == upper. Cells ascend, apart.
    weight : float64[F]
        Probabilities, positive, sum to 1.
    decimals : int
        -3 .. 6; negative for values that are all multiples of a power of ten.
    place : float64[F] or None
        Mean place of a cell's values between its ends, inside (0, 1): the values of a wide cell of a tail lie near its
        inner end. None: in the middle of all cells, values being equally likely.

    Raises
    ------
    ModelError
        Cells that overlap or do not ascend, or weights that are no distribution.
    """

    lower: Ints
    upper: Ints
    weight: Doubles
    decimals: int
    place: Doubles | None = None

    def __post_init__(self) -> None:
        if not len(self.lower) == len(self.upper) == len(self.weight) > 0:
            raise ModelError("A distribution of numbers needs one lower end, upper end and weight for each cell.")
        if (self.upper < self.lower).any() or (self.lower[1:] <= self.upper[:-1]).any():
            raise ModelError("The cells of a distribution of numbers overlap or do not ascend.")
        if not (self.weight > 0).all() or not abs(self.weight.sum() - 1) <= 1e-6:
            raise ModelError("The weights of the cells of a distribution of numbers do not sum to 1.")
        if not -3 <= self.decimals <= 6:
            raise ModelError(f"A distribution of numbers cannot have {self.decimals} decimals.")
        if self.place is not None and (
            len(self.place) != len(self.lower) or not ((self.place > 0) & (self.place < 1)).all()
        ):
            raise ModelError("The mean places of a distribution of numbers are one for each cell, inside (0, 1).")

    @cached_property
    def _below(self) -> Doubles:
        """The probability below each cell, and 1 at the end: float64[F + 1]."""
        running = np.concatenate([[0.0], np.cumsum(self.weight)])
        running[-1] = 1.0
        return running

    def _power(self, cell: Ints) -> Doubles:
        """Return k of u**k, u uniform, whose mean is the place of each cell."""
        if self.place is None:
            return np.ones(len(cell))
        result: Doubles = 1.0 / self.place[cell] - 1.0
        return result

    def transform(self, values: npt.NDArray[np.floating], u: Doubles) -> Doubles:
        """Return standard normal scores of values by the randomised probability integral transform.

        The scores of data with this distribution are standard normal, atoms or not (Rüschendorf 2009, "On the
        distributional transform, Sklar's theorem, and the empirical copula process").

        Parameters
        ----------
        values : float[n]
            A value in no cell is taken to the nearest.
        u : float64[n]
            Uniforms in [0, 1): the place of a value inside its unit.
        """
        units = np.rint(np.asarray(values, dtype=np.float64) * 10.0**self.decimals).astype(np.int64)
        cell = nearest(self.lower, self.upper, units)
        inside = np.clip(units, self.lower[cell], self.upper[cell]) - self.lower[cell]
        steps = self.upper[cell] - self.lower[cell] + 1
        part = (inside + u) / steps
        if self.place is not None:
            part = part ** (1.0 / self._power(cell))
        p = self._below[cell] + (self._below[cell + 1] - self._below[cell]) * part
        return normal.quantile(np.clip(p, 1e-12, 1 - 1e-12))

    def inverse(self, z: npt.NDArray[np.floating]) -> Doubles:
        """Return the values of standard normal scores: in the cells, hence in range and with the right decimals."""
        p = normal.cdf(z)
        cell = np.clip(np.searchsorted(self._below, p, side="right") - 1, 0, len(self.lower) - 1)
        steps = self.upper[cell] - self.lower[cell] + 1
        place = (p - self._below[cell]) / (self._below[cell + 1] - self._below[cell])
        if self.place is not None:
            place = np.clip(place, 0.0, 1.0) ** self._power(cell)
        unit = self.lower[cell] + np.clip((place * steps).astype(np.int64), 0, steps - 1)
        # Dividing by a power of ten gives the double nearest to the decimal number; multiplying by its inverse may not.
        if self.decimals >= 0:
            return np.asarray(unit / 10.0**self.decimals)
        return np.asarray(unit * 10.0**-self.decimals, dtype=np.float64)

    @classmethod
    def of_sketch(cls, sketch: ValueSketch, *, min_patients: int = 5, n_cells: int = 512) -> QuantileDistribution:
        """Make the distribution of the values of a sketch.

        Values with more decimals than all but one in a hundred have lose them.

        Raises
        ------
        LearningError
            Fewer than `min_patients` patients have a value.
        """
        decimals = sketch.decimals()
        wide = sketch.widen(max(10 ** (6 - decimals), sketch.base))
        cells = make_cells(wide, min_patients=min_patients, n_cells=n_cells)
        factor = wide.base // 10 ** (6 - decimals)
        return cls(
            lower=cells.lower * factor,
            upper=cells.upper * factor,
            weight=cells.weight / cells.weight.sum(),
            decimals=decimals,
            place=cells.place if (cells.place != 0.5).any() else None,
        )

    @classmethod
    def learn(
        cls,
        values: npt.NDArray[np.floating],
        patient_ids: npt.NDArray[np.integer],
        *,
        weights: npt.NDArray[np.floating] | None = None,
        min_patients: int = 5,
        n_cells: int = 512,
    ) -> QuantileDistribution:
        """Make the distribution of (value, patient) pairs; see `of_sketch` for data that comes in chunks.

        Parameters
        ----------
        values : float[n]
            Finite.
        patient_ids : int[n]
        weights : float[n], optional
        min_patients : int
            Distinct patients behind every cell, at least.
        n_cells : int
            Cells, about.

        Raises
        ------
        LearningError
            Fewer than `min_patients` patients have a value, or a value is not finite.
        """
        return cls.of_sketch(ValueSketch.of(values, patient_ids, weights), min_patients=min_patients, n_cells=n_cells)
