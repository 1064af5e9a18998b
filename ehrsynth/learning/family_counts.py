"""Counts of codes by stratum: of all chunks, and of one, which has few of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.maximisation import CodeCounts, code_counts

__all__ = ["ChunkCounts", "FamilyCounts"]

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyCounts:
    """Counts of rows of evidence of some codes, by stratum; additive.

    Attributes
    ----------
    rows : float64[R, n_rows, Q]
    unseen : float64[R, 3, C, Q]
    visits : float64[R, Q]
    patients : int64[R, C]
        Distinct patients who have a code in a stratum.
    """

    rows: Doubles
    unseen: Doubles
    visits: Doubles
    patients: npt.NDArray[np.int64]

    def __add__(self, other: FamilyCounts | ChunkCounts) -> FamilyCounts:
        total = FamilyCounts(
            rows=self.rows.copy(),
            unseen=self.unseen.copy(),
            visits=self.visits.copy(),
            patients=self.patients.copy(),
        )
        total += other
        return total

    def __iadd__(self, other: FamilyCounts | ChunkCounts) -> FamilyCounts:
        if isinstance(other, ChunkCounts):
            self.rows.reshape(-1, self.rows.shape[-1])[other.row] += other.sums
        else:
            np.add(self.rows, other.rows, out=self.rows)
        for mine, theirs in (
            (self.unseen, other.unseen),
            (self.visits, other.visits),
            (self.patients, other.patients),
        ):
            np.add(mine, theirs, out=mine)
        return self

    def of_stratum(self, r: int, layout: RowLayout, parent: npt.NDArray[np.int32]) -> CodeCounts:
        """Return presences and trials in one stratum."""
        return code_counts(self.rows[r], self.visits[r], layout, parent, self.unseen[r])


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkCounts:
    """Counts of a chunk, which has a few of the rows: a sum of all is made of them where it stands.

    Attributes
    ----------
    n_rows : int
        Rows of a stratum.
    row : int64[m]
        Ascending: stratum * n_rows + row.
    sums : float64[m, Q]
    unseen, visits, patients
        See `FamilyCounts`.
    """

    n_rows: int
    row: npt.NDArray[np.integer[Any]]
    sums: Doubles
    unseen: Doubles
    visits: Doubles
    patients: npt.NDArray[np.int64]

    def whole(self) -> FamilyCounts:
        """Return the counts with all rows."""
        rows = np.zeros((len(self.visits), self.n_rows, self.sums.shape[1]))
        rows.reshape(-1, rows.shape[-1])[self.row] = self.sums
        return FamilyCounts(
            rows=rows,
            unseen=self.unseen.copy(),
            visits=self.visits.copy(),
            patients=self.patients.copy(),
        )

    def __add__(self, other: FamilyCounts | ChunkCounts) -> FamilyCounts:
        total = self.whole()
        total += other
        return total
