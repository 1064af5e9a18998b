"""Codes that hardly ever come without another one of the visit: drawn where that one is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.code_tables import depths, odds_of, rate
from ehrsynth.generation.codes import VisitContext
from ehrsynth.generation.segments import first_of_each
from ehrsynth.model import CodeFamily
from ehrsynth.probability.ragged import ranges

__all__ = ["SatelliteSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class SatelliteSampler:
    """The satellites of a family (`CodeFamily.satellites`), made ready for drawing many blocks.

    Parameters
    ----------
    family : CodeFamily
    lift : float64[R, C]
        Odds multipliers of strata, zero where a stratum cannot have the code.
    count_lift : float64[C, B]
        Odds multipliers by the number of earlier visits with the code.

    Raises
    ------
    ModelError
        The tree of parents has a circle.
    """

    def __init__(self, family: CodeFamily, lift: Float, count_lift: Float) -> None:
        self._parent = np.asarray(family.parent, dtype=np.int64)
        self._depth = depths(self._parent)
        own = family.satellites
        self._children = own[np.argsort(self._parent[own], kind="stable")]
        self._count = np.bincount(self._parent[own], minlength=len(self._parent))
        self._start = np.cumsum(self._count) - self._count
        # New, in the visit before, earlier: the odds beside the parent.
        self._odds = np.stack([odds_of(table) for table in (family.never_with_parent, family.previous, family.earlier)])
        self._lift, self._count_lift = lift, count_lift
        self._limits = tuple(np.asarray(getattr(family, name)) for name in ("sex_limit", "age_min", "age_max"))
        # Most never come without their parent.
        never = odds_of(family.never)[:, own]
        self._ever_alone = own[never.any(axis=0)]
        odds = lift[:, None, self._ever_alone] * never[:, never.any(axis=0)]
        rates = rate(odds / (1.0 + odds)).reshape(len(lift) * len(never), len(self._ever_alone))
        self._n_states = len(never)
        self._total = rates.sum(axis=1)
        # One ascending array, so that one search answers all rows.
        self._running = np.cumsum(rates.reshape(-1))
        self._first = np.concatenate([[0.0], np.cumsum(self._total)[:-1]])

    def draw(
        self,
        visits: VisitContext,
        visit: Int,
        people: Int,
        present: tuple[Int, Int],
        last: npt.NDArray[np.int32],
        times: npt.NDArray[np.int16],
        number: int,
        rng: np.random.Generator,
    ) -> list[tuple[Int, Int, Bool]]:
        """Draw the satellites of one visit of each of some people, and write them into their histories.

        Parameters
        ----------
        visits : VisitContext
        visit, people : int64[n]
            The visits, and whose they are.
        present : (int64[m], int64[m])
            Row among these and code of what the visits have already.
        last, times : int[people, C]
            Visit of each person in which a code last was, and in how many; with those already there.
        number : int
            The visit's number in the record, from 0.
        rng : numpy.random.Generator

        Returns
        -------
        list of (visit, code, whether the person had it before)
        """
        found = []
        alone_row, alone = self._alone(visits, visit, rng)
        row, code = present
        for depth in range(1, int(self._depth.max()) + 1):
            row, code = self._beside(visits, visit, people, row, code, last, times, number, rng)
            # Without the parent: it is not in the visit whose last time is another one.
            mine = self._depth[alone] == depth
            mine &= last[people[alone_row], self._parent[alone]] != number
            row, code = np.concatenate([row, alone_row[mine]]), np.concatenate([code, alone[mine]])
            sex, low, high = self._limits
            kept = visits.allows(visit[row], sex[code], low[code], high[code])
            row, code = row[kept], code[kept]
            who = people[row]
            found.append((visit[row], code, last[who, code] >= 0))
            last[who, code] = number
            times[who, code] += 1
        return found

    def _alone(self, visits: VisitContext, visit: Int, rng: np.random.Generator) -> tuple[Int, Int]:
        """Draw (row, code) at the rates of satellites without their parent, each once."""
        if not len(self._ever_alone):
            none = np.zeros(0, dtype=np.int64)
            return none, none
        key = visits.stratum[visit] * self._n_states + visits.state[visit]
        count = rng.poisson(self._total[key])
        row = np.repeat(np.arange(len(visit)), count)
        wanted = self._first[key[row]] + rng.random(len(row)) * self._total[key[row]]
        n = len(self._ever_alone)
        place = np.searchsorted(self._running, wanted, side="right") - key[row] * n
        cell = np.sort(row * n + np.clip(place, 0, n - 1))
        row, place = np.divmod(cell[first_of_each(cell)], n)
        return row.astype(np.int64), self._ever_alone[place].astype(np.int64)

    def _beside(
        self,
        visits: VisitContext,
        visit: Int,
        people: Int,
        row: Int,
        code: Int,
        last: npt.NDArray[np.int32],
        times: npt.NDArray[np.int16],
        number: int,
        rng: np.random.Generator,
    ) -> tuple[Int, Int]:
        """Draw (row, code) of the children of codes that are there."""
        count = self._count[code]
        child = self._children[ranges(self._start[code], count)]
        row = np.repeat(row, count)
        who, at = people[row], visit[row]
        before = last[who, child]
        kind = np.where(before < 0, 0, np.where(before == number - 1, 1, 2))
        odds = self._odds[kind, visits.state[at], child] * self._lift[visits.stratum[at], child]
        band = np.minimum(times[who, child], self._count_lift.shape[1]) - 1
        odds *= np.where(before < 0, 1.0, self._count_lift[child, band])
        kept = rng.random(len(row)) * (1.0 + odds) < odds
        return row[kept].astype(np.int64), child[kept].astype(np.int64)
