"""How often a code comes again: by how often a person has had it, how long ago that was, and what is beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.beside import Beside
from ehrsynth.learning.company_counts import history_of
from ehrsynth.learning.families import FarPosteriors, StatePosterior, each, thinned
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.probability.ragged import contains

__all__ = ["COUNTS", "Again", "learn_again"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MOST_ROWS = 3_000_000
_BLOCK = 32_768
_SHRINK = 3.0
_ROUNDS = 3
_LARGEST = 6.0
_MOST = 1.0 - 1e-6
_BESIDE = 3

COUNTS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 30, 36, 48, 60, 61, 80, 100])
"""First number of earlier visits of each band."""

_SINCE = np.unique(np.concatenate([[0, 7], np.rint(14 * 1.12 ** np.arange(59))])).astype(np.int64)
"""First day of each band of the days since a code was last there: from two weeks to thirty years, a ninth longer each.

Two weeks, three and four are bands apart, and so are a year and a half, and two."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Again:
    """What moves the odds of codes that a person has had.

    Attributes
    ----------
    count_lift : float64[C, B]
        By the number of earlier visits with the code.
    since_edges : int64[T]
    since_lift : float64[C, T] or None
        By the days since the last of them; None where there are no dates.
    beside_lift : float64[C, 3]
        By what else the visit has: no condition, conditions but not the code's parent, the parent.
    """

    count_lift: Doubles
    since_edges: Ints
    since_lift: Doubles | None
    beside_lift: Doubles

    def of(self, start: int, stop: int) -> Again:
        """Return that of the codes start..stop-1."""
        return Again(
            count_lift=self.count_lift[start:stop],
            since_edges=self.since_edges,
            since_lift=None if self.since_lift is None else self.since_lift[start:stop],
            beside_lift=self.beside_lift[start:stop],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """Visits of people who have had a code, by code and band; and how many of them have it again.

    Attributes
    ----------
    count_cell, since_cell, beside_cell : int64[n]
    chance : float64[n]
        What the tables say.
    seen, people : tuple of float64[cells], int64[cells]
        Presences, and distinct people: by number, by days, by what is beside.
    visits : int
    """

    count_cell: Ints
    since_cell: Ints
    beside_cell: Ints
    chance: Doubles
    seen: tuple[Doubles, ...]
    people: tuple[Ints, ...]
    visits: int

    def __len__(self) -> int:
        return len(self.chance)


def learn_again(
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    tables: CodeTables,
    lift: Doubles,
    *,
    first: int,
    n_visits: int,
    n_ghosts: int,
    dated: bool,
    n_given: int,
    min_patients: int,
) -> Again:
    """Return the odds multipliers of the codes from `first` on, and of satellites before; 1 for the others.

    Of each code, of each number of earlier visits with it, of each band of days since the last of them and of visits
    with and without its parent, as many visits with the code are expected as were observed, given the states that can
    be predicted; drawn to what the tables alone expect. All multiply (a renewal process in discrete time, within the
    states): what was given for a condition is given again when the condition comes again, and seldom without it.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    tables : CodeTables
        Of all codes.
    lift : float64[R, C]
    first : int
        Codes before that have a parent are satellites: of them only visits with the parent tell, and not by days.
    n_visits : int
        Of all chunks. Of very many, every so manieth chunk is read.
    n_ghosts : int
        Every visit has one of so many first codes: probabilities are given that.
    dated : bool
        Whether days between visits are known.
    n_given : int
        So many first codes (conditions) are drawn before all others; 0: none, and of what is beside a code only its
        parent tells.
    min_patients : int
        A number of earlier visits that fewer people reach is treated as the one below it, days after which fewer people
        are seen as if they said nothing.
    """
    c = tables.never.shape[1]
    again = np.clip(np.stack([tables.previous, tables.earlier]), 0.0, _MOST)
    odds = again / (1.0 - again)
    led = np.where(np.arange(c) < first, tables.parent, -1)
    mine = (np.arange(c) >= first) | (led >= 0)
    chunks = each(
        posteriors,
        partial(
            _chunk,
            odds=odds,
            lift=lift,
            mine=mine,
            led=led,
            parent=tables.parent,
            n_ghosts=n_ghosts,
            n_given=n_given,
        ),
    )
    parts = thinned(chunks, _MOST_ROWS, n_visits)
    widths = len(COUNTS), len(_SINCE), _BESIDE
    if not parts:
        return Again(count_lift=np.ones((c, 1)), since_edges=_SINCE, since_lift=None, beside_lift=np.ones((c, _BESIDE)))
    seen = [sum((part.seen[k] for part in parts[1:]), parts[0].seen[k]) for k in range(3)]
    few = [
        sum((part.people[k] for part in parts[1:]), parts[0].people[k]).reshape(c, width) < min_patients
        for k, width in enumerate(widths)
    ]
    by_count, by_since, by_beside, chance = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("count_cell", "since_cell", "beside_cell", "chance")
    )
    log_count, log_since, log_beside = (np.zeros((c, width)) for width in widths)
    for _ in range(_ROUNDS):
        of_others = log_since.reshape(-1)[by_since]
        moved = _lifted(chance, of_others + log_count.reshape(-1)[by_count])
        log_beside = np.where(few[2], 0.0, _solved(by_beside, moved, seen[2]).reshape(c, -1))
        log_beside[led >= 0] = 0.0
        of_beside = log_beside.reshape(-1)[by_beside]
        moved = _lifted(chance, of_others + of_beside)
        log_count = _solved(by_count, moved, seen[0]).reshape(c, -1)
        for band in range(widths[0]):
            log_count[:, band] = np.where(few[0][:, band], log_count[:, band - 1] if band else 0.0, log_count[:, band])
        if dated:
            moved = _lifted(chance, log_count.reshape(-1)[by_count] + of_beside)
            log_since = np.where(few[1], 0.0, _solved(by_since, moved, seen[1]).reshape(c, -1))
            log_since[led >= 0] = 0.0
    # From bands to numbers, as far as they differ.
    number = np.searchsorted(COUNTS, np.arange(1, COUNTS[-1] + 1), side="right") - 1
    differs = np.flatnonzero((log_count != log_count[:, -1:]).any(axis=0))
    most = COUNTS[min(int(differs.max(initial=-1)) + 1, widths[0] - 1)]
    return Again(
        count_lift=np.exp(log_count[:, number[:most]]),
        since_edges=_SINCE,
        since_lift=np.exp(log_since) if dated else None,
        beside_lift=np.exp(log_beside),
    )


def _lifted(chance: Doubles, log_odds: Doubles) -> Doubles:
    """Return the chances with their odds multiplied."""
    odds = chance / (1.0 - chance) * np.exp(log_odds)
    result: Doubles = np.clip(odds / (1.0 + odds), 0.0, _MOST)
    return result


def _chunk(
    chunk: StatePosterior,
    odds: Doubles,
    lift: Doubles,
    mine: npt.NDArray[np.bool_],
    led: Ints,
    parent: npt.NDArray[np.int32],
    n_ghosts: int,
    n_given: int,
) -> _Trials:
    """Return what the visits of a chunk say of codes, bool[C], that people have had; `led` int64[C] are by whom."""
    timelines = chunk.timelines
    family, c = timelines.families[UNION], lift.shape[1]
    kept = mine[family.codes]
    visit, code = family.visits[kept].astype(np.int64), family.codes[kept].astype(np.int64)
    patient, day = timelines.patient_of_visit, timelines.elapsed_days
    at, what, last, times = history_of(visit, code, timelines.offsets, patient, c)
    if (led >= 0).any():
        every = family.visits.astype(np.int64) * c + family.codes
        with_leader = (led[what] < 0) | contains(every, at * c + led[what])
        at, what, last, times = (one[with_leader] for one in (at, what, last, times))
    just = at == last + 1
    count_cell = what * len(COUNTS) + np.searchsorted(COUNTS, times, side="right") - 1
    since_cell = what * len(_SINCE) + np.searchsorted(_SINCE, day[at] - day[last], side="right") - 1
    key = np.sort(family.visits.astype(np.int64) * c + family.codes)
    present = contains(key, at * c + what)
    told = Beside.of(chunk, n_given, n_ghosts)
    together = (parent[what] >= 0) & contains(key, at * c + np.maximum(parent[what], 0))
    beside = np.where(together, 2, told.given[at])
    beside_cell = what * _BESIDE + beside
    chance = np.empty(len(at))
    for start in range(0, len(at), _BLOCK):
        some = slice(start, start + _BLOCK)
        v, k = at[some], what[some]
        o = odds[np.where(just[some], 0, 1), :, k] * lift[chunk.stratum[v], k][:, None]
        p = o / (1.0 + o)
        if told.trials is not None:
            # A visit with the leader of a satellite stands for no empty one.
            p *= np.where(((k < n_ghosts) & (led[k] < 0))[:, None], told.trials[v], 1.0)
        # Where the parent is, the state is one that has it.
        share = np.where(
            together[some][:, None], chunk.predicted[v] * told.presence[np.maximum(parent[k], 0)], told.alone[v]
        )
        chance[some] = (share * p).sum(axis=1) / np.maximum(share.sum(axis=1), 1e-12)
    cells = (count_cell, c * len(COUNTS)), (since_cell, c * len(_SINCE)), (beside_cell, c * _BESIDE)
    return _Trials(
        count_cell=count_cell,
        since_cell=since_cell,
        beside_cell=beside_cell,
        chance=np.clip(chance, 0.0, _MOST),
        seen=tuple(np.bincount(cell[present], minlength=n).astype(np.float64) for cell, n in cells),
        people=tuple(distinct_patients(cell, patient[at], n) for cell, n in cells),
        visits=len(chunk.stratum),
    )


def _solved(cell: Ints, chance: Doubles, seen: Doubles) -> Doubles:
    """Return the log odds multiplier of each cell under which as many presences are expected as aimed at."""
    n = len(seen)
    expected = np.bincount(cell, chance, n)
    target = expected * (seen + _SHRINK) / (expected + _SHRINK)
    trials = np.bincount(cell, minlength=n)
    target = np.minimum(target, 0.999 * trials)
    odds = chance / (1.0 - chance)
    log_lift = np.zeros(n)
    for _ in range(12):
        lifted = odds * np.exp(log_lift)[cell]
        p = lifted / (1.0 + lifted)
        error = target - np.bincount(cell, p, n)
        slope = np.maximum(np.bincount(cell, p * (1 - p), n), 1e-9)
        log_lift = np.clip(log_lift + np.clip(error / slope, -1.5, 1.5), -_LARGEST, _LARGEST)
    return np.where(expected > 1e-9, log_lift, 0.0)
