"""Whole numbers (days, minutes) as uniform fine cells inside coarse bins, each cell backed by enough patients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.probability.categorical import Cumulative, cumulative, sample_rows
from ehrsynth.probability.cells import make_cells
from ehrsynth.probability.sketch import MICRO, ValueSketch

__all__ = ["Histogram"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


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

    Raises
    ------
    ModelError
        Edges that do not ascend, bins that are skipped or empty, or weights that are negative or not finite.
    """

    edges: Ints
    coarse: Ints
    weight: Doubles

    def __post_init__(self) -> None:
        if not len(self.edges) - 1 == len(self.coarse) == len(self.weight) > 0:
            raise ModelError("A histogram needs a coarse bin and a weight for each cell between two edges.")
        if (np.diff(self.edges) <= 0).any():
            raise ModelError("The edges of a histogram must ascend.")
        if self.coarse[0] != 0 or not np.isin(np.diff(self.coarse), (0, 1)).all():
            raise ModelError("The coarse bins of a histogram must be 0, 1, 2, ... in the order of the cells.")
        if not np.isfinite(self.weight).all() or (self.weight < 0).any():
            raise ModelError("A cell of a histogram has a negative or not finite weight.")
        if (np.bincount(self.coarse, weights=self.weight) <= 0).any():
            raise ModelError("A coarse bin of a histogram has no weight.")

    @property
    def n_coarse(self) -> int:
        """The number of coarse bins."""
        return int(self.coarse[-1]) + 1

    @property
    def coarse_edges(self) -> Ints:
        """The edges of the coarse bins, int64[n_coarse + 1]."""
        first = np.searchsorted(self.coarse, np.arange(self.n_coarse))
        return np.append(self.edges[first], self.edges[-1]).astype(np.int64)

    @property
    def middle(self) -> int:
        """The first number of the cell in which half of the weight is reached."""
        return int(self.edges[np.searchsorted(np.cumsum(self.weight), self.weight.sum() / 2)])

    def coarse_of(self, values: npt.NDArray[np.number]) -> Ints:
        """Return the coarse bin of each value, int64[n]; values beyond the edges belong to the outer bins."""
        return np.searchsorted(self.coarse_edges[1:-1], values, side="right").astype(np.int64)

    @cached_property
    def _cdf(self) -> Cumulative:
        inside = self.coarse[None, :] == np.arange(self.n_coarse)[:, None]
        return cumulative(np.where(inside, self.weight, 0.0))

    def sample(self, coarse_bin: npt.NDArray[np.integer], u1: Doubles, u2: Doubles) -> Ints:
        """Draw an integer in each coarse bin: u1 chooses the cell by weight, u2 the place in it (both in [0, 1))."""
        cell = sample_rows(self._cdf, coarse_bin, u1)
        return self.edges[cell] + (u2 * (self.edges[cell + 1] - self.edges[cell])).astype(np.int64)

    @classmethod
    def of_sketch(
        cls, sketch: ValueSketch, *, min_patients: int = 5, n_coarse: int = 8, n_fine: int = 256
    ) -> Histogram:
        """Make the histogram of the whole-number values of a sketch (fractions are cut off).

        Cells are those of `make_cells`; the empty ranges between them are cells of weight 0, which are never drawn.
        Coarse bins are whole cells of about equal weight; where atoms are heavier there are fewer bins than asked.

        Raises
        ------
        LearningError
            Fewer than `min_patients` patients have a value.
        """
        wide = sketch.widen(max(MICRO, sketch.base))
        cells = make_cells(wide, min_patients=min_patients, n_cells=n_fine)
        factor = wide.base // MICRO
        # The base of an exact sketch is the largest power of ten that divides all values: its windows hold one value.
        width = factor if sketch.coarsened > MICRO else 1
        lower, stop = cells.lower * factor, cells.upper * factor + width
        gap = np.flatnonzero(lower[1:] > stop[:-1])
        bins = _coarse(cells.weight, n_coarse)
        return cls(
            edges=np.append(np.insert(lower, gap + 1, stop[gap]), stop[-1]),
            coarse=np.insert(bins, gap + 1, bins[gap]),
            weight=np.insert(cells.weight / cells.weight.sum(), gap + 1, 0.0),
        )

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
        """Make the histogram of (value, patient) pairs; see `of_sketch` for data that comes in chunks.

        Parameters
        ----------
        values : int[n]
        patient_ids : int[n]
        weights : float[n], optional
        min_patients : int
            Distinct patients behind every cell with weight, at least.
        n_coarse, n_fine : int
            Coarse bins and cells, about.

        Raises
        ------
        LearningError
            Fewer than `min_patients` patients have a value.
        """
        sketch = ValueSketch.of(values, patient_ids, weights)
        return cls.of_sketch(sketch, min_patients=min_patients, n_coarse=n_coarse, n_fine=n_fine)


def _coarse(weight: Doubles, n_coarse: int) -> Ints:
    """Return the bin of each cell: a new one begins where the middle of a cell passes the next share of weight."""
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    share = np.floor(middle * n_coarse).astype(np.int64)
    return np.cumsum(np.append(0, np.diff(share) > 0)).astype(np.int64)
