"""Additive counts of discrete data: the distinct rows with their weights, mergeable, and the contingency tables of families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FamilyCounts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyCounts:
    """A sparse contingency table over all variables; what structure search and estimation read.

    Attributes
    ----------
    cardinalities : tuple of int
    cells : int64[m]
        The distinct rows of the data, ascending, as mixed-radix numbers of their states (first variable slowest).
    weights : float64[m]
        The summed weight of each.
    """

    cardinalities: tuple[int, ...]
    cells: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        data: npt.NDArray[np.integer],
        cardinalities: Sequence[int],
        weights: npt.NDArray[np.floating] | None = None,
    ) -> FamilyCounts:
        """Count the rows of `data` (int[n, d]), each with its weight (float[n], default 1)."""
        raise NotImplementedError

    def merge(self, other: FamilyCounts) -> FamilyCounts:
        """Return the counts of both data sets together."""
        raise NotImplementedError

    @property
    def total(self) -> float:
        """The summed weight."""
        return float(self.weights.sum())

    def counts(self, child: int, parents: Sequence[int] = ()) -> npt.NDArray[np.float64]:
        """Return the contingency table float64[*cardinalities of parents, cardinality of child]."""
        raise NotImplementedError
