"""The first code of visits drawn given that they have one, all codes of such a visit at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.code_tables import CodeTables, lifted, rate
from ehrsynth.generation.recurrences import VisitContext
from ehrsynth.generation.segments import first_of_each, ranges

__all__ = ["FirstCodes"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_WORK_CELLS = 2_000_000  # of any array that is made while drawing


class FirstCodes:
    """Draws the first code of visits that would be empty otherwise.

    Parameters
    ----------
    tables : CodeTables
    visits : VisitContext
    rng : numpy.random.Generator
    parents : int64[m]
        visit * n_parents + parent of codes of another family that are parents, ascending.
    """

    def __init__(self, tables: CodeTables, visits: VisitContext, rng: np.random.Generator, parents: Int) -> None:
        self._t, self._visits, self._rng, self._parents = tables, visits, rng, parents

    def draw(self, visits: Int, before: Int) -> Int:
        """Draw the first code of each of `visits` (at most one a person) given that it has one; -1: none is possible.

        With all lower ranks absent, a code's own parent is absent too: the chance that rank c is the first is
        p_c * prod_{b < c} (1 - p_b), with the probabilities of codes without parents (but for parents elsewhere).
        """
        t = self._t
        chosen = np.full(len(visits), -1, dtype=np.int64)
        step = max(1, _WORK_CELLS // t.n_codes)
        for low in range(0, len(visits), step):
            some = visits[low : low + step]
            running = np.cumsum(rate(self._dense(some, before) * t.truncated), axis=1)
            total = running[:, -1]
            arrival = -np.log1p(self._rng.random(len(some)) * np.expm1(-total))
            rank = (running <= arrival[:, None]).sum(axis=1)
            # A rounding past the end is the last code that is possible.
            last = (running < total[:, None]).sum(axis=1)
            chosen[low : low + step] = np.where(total > 0, np.minimum(rank, last), -1)
        return chosen

    def _dense(self, visits: Int, before: Int) -> Float:
        """Return P(rank | history, no lower rank) of all codes in each of `visits`, float64[n, C]."""
        t = self._t
        n, c = len(visits), t.n_codes
        table = t.never.reshape(-1, c)[self._visits.state[visits]]
        row_of_patient = np.full(len(self._visits.offsets) - 1, -1, dtype=np.int64)
        row_of_patient[self._visits.patient[visits]] = np.arange(n)
        if len(self._parents):
            visit, parent = np.divmod(self._parents, t.n_parents)
            row = row_of_patient[self._visits.patient[visit]]
            here = np.flatnonzero((row >= 0) & (visits[row] == visit))
            count, first = t.child_count[parent[here]], t.child_start[parent[here]]
            child, row = t.children[ranges(first, first + count)], np.repeat(row[here], count)
            table[row, child] = t.with_parent[self._visits.state[visits[row]] * c + child]
        visit, rank = np.divmod(before >> 1, c)
        row = row_of_patient[self._visits.patient[visit]]
        for just_before, column in ((False, 1), (True, 0)):
            had = np.flatnonzero((row >= 0) & ((visit == visits[row] - 1) | (not just_before)))
            table[row[had], rank[had]] = t.again[self._visits.state[visits[row[had]]] * c + rank[had], column]
        lift = t.lift.reshape(-1, c)[self._visits.stratum[visits]].astype(np.float64)
        self._of_antecedents(lift, row, rank)
        self._of_history(lift, visits, visit, rank, row)
        possible = self._visits.allows(
            np.repeat(visits, c), np.tile(t.sex_limit, n), np.tile(t.age_min, n), np.tile(t.age_max, n)
        ).reshape(n, c)
        return np.where(possible, lifted(table, lift), 0.0)

    def _of_antecedents(self, lift: Float, row: Int, rank: Int) -> None:
        """Multiply the odds multipliers of codes without history by what the codes (row, rank) of all before say."""
        t = self._t
        had = np.zeros(lift.shape, dtype=bool)
        had[row[row >= 0], rank[row >= 0]] = True
        new = t.beside_new[:, 0]
        for antecedent, by in zip(t.antecedent.T, t.antecedent_lift.transpose(1, 2, 0), strict=True):
            new = new * np.where(antecedent < 0, 1.0, np.where(had[:, antecedent], by[1], by[0]))
        lift *= np.where(had, 1.0, new)

    def _of_history(self, lift: Float, visits: Int, visit: Int, rank: Int, row: Int) -> None:
        """Multiply the odds multipliers of codes in `visits` by what the codes (visit, rank) of all before say."""
        t = self._t
        mine = np.flatnonzero(row >= 0)
        pair = row[mine] * t.n_codes + rank[mine]
        order = np.argsort(pair, kind="stable")
        pair, latest = pair[order], visit[mine][order]
        first = np.flatnonzero(first_of_each(pair))
        times = np.diff(np.append(first, len(pair)))
        cell, latest = pair[first], latest[first + times - 1]
        at, code = np.divmod(cell, t.n_codes)
        factor = t.of_count(code, times)
        if self._visits.day is not None:
            factor *= t.of_days(code, self._visits.day[visits[at]] - self._visits.day[latest])
        # A visit that has no code yet has no parent of any.
        factor *= t.beside_lift[code, 0]
        lift.reshape(-1)[cell] *= factor
