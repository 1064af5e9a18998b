"""Numeric values through their quantiles: atoms, decimals and range kept, each cell backed by enough patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["QuantileDistribution"]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantileDistribution:
    """A distribution of numbers with a fixed number of decimals.

    Attributes
    ----------
    lower, upper : int64[F]
        Cell f holds the values lower[f] / 10**decimals .. upper[f] / 10**decimals, both included, in steps of one unit
        of the last decimal, equally likely; an atom has lower == upper. Cells ascend and do not overlap.
    weight : float64[F]
        Probabilities, sum to 1.
    decimals : int
        -3 .. 6; negative for values that are all multiples of a power of ten.
    """

    lower: npt.NDArray[np.int64]
    upper: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    decimals: int

    def transform(self, values: npt.NDArray[np.floating], u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return standard normal scores of values: the randomised probability integral transform (u in [0, 1))."""
        raise NotImplementedError

    def inverse(self, z: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return the values of standard normal scores, rounded to the decimals, inside the range of the cells."""
        raise NotImplementedError

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
        """Make cells that at least `min_patients` distinct patients fall in, from (value, patient) pairs."""
        raise NotImplementedError
