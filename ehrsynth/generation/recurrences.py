"""When codes that a person has had come again: all visits of a block at once, by how often they came before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.code_tables import CodeTables
from ehrsynth.generation.segments import ranges

__all__ = ["Recurrences", "VisitContext"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_AHEAD = 32  # visits looked through for one recurrence at a time


@dataclass(frozen=True, kw_only=True)
class VisitContext:
    """What the codes of the visits of a block depend on; visits of one person are together and in order.

    Attributes
    ----------
    patient, state, stratum : int64[v]
    offsets : int64[n + 1]
    sex : int64[v]
        1 female, 2 male, 0 neither or unknown: as a family's `sex_limit`.
    years_at_start, years_at_end : int64[v]
        Completed years on the first and on the last day of the encounter: a code has to be possible on both.
    day : int64[v], optional
        Days since the person's first visit; None: not known, and nothing depends on them.
    leads : bool[v], optional
        Whether the visit has the code that transitions remember (`ehrsynth.model.Trajectory.lead`).
    age_days : int64[v], optional
        Age on the day of the visit's start, where somebody asks for it.
    days_left : int64[v], optional
        Days from the visit's start to the end of the record, where what is prescribed depends on it.
    """

    patient: Int
    offsets: Int
    state: Int
    stratum: Int
    sex: Int
    years_at_start: Int
    years_at_end: Int
    day: Int | None = None
    leads: Bool | None = None
    age_days: Int | None = None
    days_left: Int | None = None

    def __len__(self) -> int:
        return len(self.patient)

    def allows(self, visit: Int, sex_limit: Int, age_min: Float, age_max: Float) -> Bool:
        """Return whether the person's sex and exact age in each visit are within limits of a code."""
        sex = self.sex[visit]
        return np.asarray(
            ((sex_limit == 0) | (sex == 0) | (sex == sex_limit))
            & (self.years_at_start[visit] >= age_min)
            & (self.years_at_end[visit] <= age_max)
        )


class Recurrences:
    """Draws in which later visits the codes recur that people have had.

    Parameters
    ----------
    tables : CodeTables
    visits : VisitContext
    rng : numpy.random.Generator
    first_rank : int64[v]
        Of visits drawn given that they are not empty: the first rank present; -1 of others. May change between draws.
    """

    def __init__(self, tables: CodeTables, visits: VisitContext, rng: np.random.Generator, first_rank: Int) -> None:
        self._tables, self._visits, self._rng, self._first_rank = tables, visits, rng, first_rank

    def draw(self, visit: Int, rank: Int, present: Bool, times: Int, last: Int, later: Int) -> list[Int]:
        """Draw in which of the `later` visits after `visit` each code recurs.

        Until then it was had in so many visits (`times`), the last of them `last`.
        """
        t = self._tables
        total = int(later.sum())
        if not total:
            return []
        v, r = ranges(visit + 1, visit + 1 + later), np.repeat(rank, later)
        if_present, if_absent = self._bars(v, r)
        at = np.cumsum(later) - later
        end = at + later
        position = at.copy()
        times, last, present = times.copy(), last.copy(), present.copy()
        found: list[Int] = []
        timed = t.timed[rank] if self._visits.day is not None else np.zeros(len(rank), dtype=bool)
        open_ = np.flatnonzero(((times < t.steady[rank]) | timed) & (position < end))
        # One recurrence of everybody at a time, until neither how often nor how long ago matters.
        while len(open_):
            length = np.minimum(end[open_] - position[open_], _AHEAD)
            cells = ranges(position[open_], position[open_] + length)
            begin = np.cumsum(length) - length
            lift = np.repeat(t.of_count(rank[open_], times[open_]), length)
            if timed.any():
                lift *= self._of_time(r[cells], v[cells], np.repeat(last[open_], length))
            bar = if_absent[cells]
            after = begin[present[open_]]
            bar[after] = if_present[cells[after]]
            hits = np.flatnonzero(bar < lift)
            place = np.searchsorted(hits, begin)
            there = np.minimum(place, max(len(hits) - 1, 0))
            comes = (place < len(hits)) & (hits[there] < begin + length) if len(hits) else np.zeros(len(open_), bool)
            gone = open_[~comes]
            position[gone] += length[~comes]
            present[gone] = False
            came = open_[comes]
            if len(came):
                cell = cells[hits[there[comes]]]
                found.append(((v[cell] * t.n_codes + r[cell]) << 1) | 1)
                position[came], present[came], last[came] = cell + 1, True, v[cell]
                times[came] += 1
            open_ = open_[((times[open_] < t.steady[rank[open_]]) | timed[open_]) & (position[open_] < end[open_])]
        rest = np.flatnonzero(position < end)
        if len(rest):
            cells = ranges(position[rest], end[rest])
            length = end[rest] - position[rest]
            lift = np.repeat(t.count_lift[rank[rest], -1], length)
            value = _composed(if_present[cells] < lift, if_absent[cells] < lift, present[rest], length)
            cell = cells[value]
            found.append(((v[cell] * t.n_codes + r[cell]) << 1) | 1)
        return found

    def _of_time(self, rank: Int, visit: Int, last: Int) -> Float:
        """Return what the days since the visit `last` multiply the odds of each code in `visit` by."""
        day = self._visits.day
        assert day is not None
        return self._tables.of_days(rank, day[visit] - day[last])

    def _bars(self, v: Int, r: Int) -> tuple[Float, Float]:
        """Return what an odds multiplier must exceed for each code to come: if it was in the visit before, if not."""
        t = self._tables
        lift = t.lift[self._visits.stratum[v] * t.n_codes + r].astype(np.float64)
        again = t.again[self._visits.state[v] * t.n_codes + r].astype(np.float64)
        u = self._rng.random(len(v))
        with np.errstate(divide="ignore"):
            bars = (u / (1.0 - u) / np.maximum(lift, 1e-30))[:, None] * ((1.0 - again) / np.maximum(again, 1e-30))
        bars[again <= 0] = np.inf
        bars[lift <= 0] = np.inf
        low = np.flatnonzero(bars.min(axis=1) < t.most_again[r])
        bars[low[~self._visits.allows(v[low], t.sex_limit[r[low]], t.age_min[r[low]], t.age_max[r[low]])]] = np.inf
        forced = self._first_rank[v]
        bars[(r < forced) & t.truncated[r]] = np.inf
        bars[r == forced] = -1.0
        return bars[:, 0], bars[:, 1]


def _composed(if_present: Bool, if_absent: Bool, present: Bool, length: Int) -> Bool:
    """Return whether a code is in each visit, of segments of `length`, each a function of the visit before.

    `present` says it of the visits before the segments. Where both functions agree the value is known; after the last
    such visit it is turned round as often as a visit turns it.
    """
    total = len(if_present)
    position = np.arange(total)
    segment = np.repeat(np.cumsum(length) - length, length)
    constant = np.maximum.accumulate(np.where(if_present == if_absent, position, -1))
    known = constant >= segment
    value = np.where(known, if_present[constant], np.repeat(present, length))
    flips = np.cumsum(if_absent & ~if_present)
    if total and flips[-1]:
        opening = np.where(segment > 0, flips[segment - 1], 0)
        value ^= (flips - np.where(known, flips[constant], opening)) % 2 == 1
    return np.asarray(value)
