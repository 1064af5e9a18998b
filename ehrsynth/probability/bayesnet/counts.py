"""Additive counts of discrete data: its distinct rows with their weights, and the contingency tables of families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import LearningError

__all__ = ["FamilyCounts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyCounts:
    """A sparse contingency table over all variables; what structure search and estimation read.

    Counts of two sets of patients merge into the counts of both together, so they stream, spread over machines and
    travel between sites; their size is that of the distinct rows, not of the patients.

    Attributes
    ----------
    cardinalities : tuple of int
    rows : int32[m, d]
        The distinct rows of the data, in lexicographic order.
    weights : float64[m]
        The summed weight of each.
    """

    cardinalities: tuple[int, ...]
    rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        data: npt.NDArray[np.integer],
        cardinalities: Sequence[int],
        weights: npt.NDArray[np.floating] | None = None,
    ) -> FamilyCounts:
        """Count the rows of a chunk of data.

        Parameters
        ----------
        data : int[n, d]
            State numbers; n may be 0.
        cardinalities : sequence of d int
        weights : float[n], optional
            Non-negative weight of each row, 1 by default. A row with a soft latent state is counted once for each
            state, with the state's posterior as weight.

        Raises
        ------
        LearningError
            A state number is outside its variable's states, a weight is negative or not finite, or the shapes differ.
        """
        cards = tuple(int(card) for card in cardinalities)
        weight = np.ones(len(data)) if weights is None else np.asarray(weights, dtype=np.float64)
        if data.ndim != 2 or data.shape[1] != len(cards) or weight.shape != (len(data),):
            raise LearningError(f"Data of shape {data.shape} does not fit {len(cards)} variables and its weights.")
        for j, card in enumerate(cards):
            if len(data) and not (data[:, j].min() >= 0 and data[:, j].max() < card):
                raise LearningError(f"Variable {j} has a state number outside 0..{card - 1}.")
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise LearningError("A row has a negative or not finite weight.")
        return cls._distinct(cards, data.astype(np.int32), weight)

    @classmethod
    def _distinct(
        cls, cards: tuple[int, ...], rows: npt.NDArray[np.int32], weights: npt.NDArray[np.float64]
    ) -> FamilyCounts:
        key = np.zeros(len(rows), dtype=np.int64)
        span = 1
        for j, card in enumerate(cards):
            if span * card >= 1 << 62:
                # Ranks keep the order of the keys and start the mixed radix anew: any number of variables fits.
                distinct, key = np.unique(key, return_inverse=True)
                span = max(len(distinct), 1)
            key = key * card + rows[:, j]
            span *= card
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        summed: npt.NDArray[np.float64] = np.bincount(inverse, weights=weights, minlength=len(first)).astype(np.float64)
        return cls(cardinalities=cards, rows=rows[first], weights=summed)

    def merge(self, other: FamilyCounts) -> FamilyCounts:
        """Return the counts of both data sets together.

        Raises
        ------
        LearningError
            They count different variables.
        """
        if self.cardinalities != other.cardinalities:
            raise LearningError("Counts over different variables cannot be merged.")
        return self._distinct(
            self.cardinalities,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.weights, other.weights]),
        )

    @property
    def total(self) -> float:
        """The summed weight."""
        return float(self.weights.sum())

    def counts(self, child: int, parents: Sequence[int] = ()) -> npt.NDArray[np.float64]:
        """Return the contingency table of a family.

        Returns
        -------
        float64[*cardinalities of the parents, cardinality of the child]
        """
        shape = tuple(self.cardinalities[j] for j in (*parents, child))
        key = np.zeros(len(self.rows), dtype=np.int64)
        for j in (*parents, child):
            key *= self.cardinalities[j]
            key += self.rows[:, j]
        table = np.bincount(key, weights=self.weights, minlength=math.prod(shape)).astype(np.float64)
        return table.reshape(shape)
