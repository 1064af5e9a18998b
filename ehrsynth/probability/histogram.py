"""Whole numbers (days, minutes) as uniform fine cells inside coarse bins, each cell backed by enough patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """Fine cells inside coarse bins.

    Attributes
    ----------
    edges : int64[F + 1]
        Ascending; cell f is the integers edges[f] <= x < edges[f + 1], all equally likely inside a cell.
    coarse : int64[F]
        The coarse bin of each cell; 0 .. n_coarse - 1, ascending, none skipped.
    weight : float64[F]
        Non-negative weight of each cell; positive in total in each coarse bin.
    """

    edges: npt.NDArray[np.int64]
    coarse: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    @property
    def n_coarse(self) -> int:
        """The number of coarse bins."""
        return int(self.coarse[-1]) + 1

    @property
    def coarse_edges(self) -> npt.NDArray[np.int64]:
        """The edges of the coarse bins, int64[n_coarse + 1]."""
        raise NotImplementedError

    def coarse_of(self, values: npt.NDArray[np.number]) -> npt.NDArray[np.int64]:
        """Return the coarse bin of each value; values beyond the edges belong to the outer bins."""
        raise NotImplementedError

    def sample(
        self, coarse_bin: npt.NDArray[np.integer], u1: npt.NDArray[np.float64], u2: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        """Draw an integer in each coarse bin: u1 chooses the cell by weight, u2 the place in it (both in [0, 1))."""
        raise NotImplementedError

    @classmethod
    def learn(
        cls,
        values: npt.NDArray[np.integer],
        patient_ids: npt.NDArray[np.integer],
        *,
        weights: npt.NDArray[np.floating] | None = None,
        min_patients: int = 5,
        n_coarse: int = 8,
        n_fine: int = 256,
    ) -> Histogram:
        """Make cells that at least `min_patients` distinct patients fall in, and coarse bins of about equal weight."""
        raise NotImplementedError
