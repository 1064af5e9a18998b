"""How often a code comes again: by how often a person has had it, and by how long ago that was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.company_counts import history_of
from ehrsynth.learning.families import FarPosteriors, StatePosterior, each, thinned
from ehrsynth.learning.parameters import CodeTables

__all__ = ["COUNTS", "Again", "learn_again"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MOST_ROWS = 3_000_000
_BLOCK = 32_768
_SHRINK = 3.0
_ROUNDS = 3
_LARGEST = 6.0
_HARDLY, _MANY = 6.0, 20
"""Log odds of what hardly anybody reaches, of codes that so many times the least people have."""
_MOST = 1.0 - 1e-6

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
    """

    count_lift: Doubles
    since_edges: Ints
    since_lift: Doubles | None

    def of(self, start: int, stop: int) -> Again:
        """Return that of the codes start..stop-1."""
        return Again(
            count_lift=self.count_lift[start:stop],
            since_edges=self.since_edges,
            since_lift=None if self.since_lift is None else self.since_lift[start:stop],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """Visits of people who have had a code, by code and band; and how many of them have it again.

    Attributes
    ----------
    count_cell, since_cell : int64[n]
    chance : float64[n]
        What the tables say.
    seen, people : tuple of float64[cells], int64[cells]
        Presences, and distinct people: by number, and by days.
    visits : int
    """

    count_cell: Ints
    since_cell: Ints
    chance: Doubles
    seen: tuple[Doubles, Doubles]
    people: tuple[Ints, Ints]
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
    min_patients: int,
) -> Again:
    """Return the odds multipliers of the codes from `first` on, and of satellites before; 1 for the others.

    Of each code, of each number of earlier visits with it and of each band of days since the last of them, as many
    visits with the code are expected as were observed, given the states that can be predicted; drawn to what the tables
    alone expect. Both multiply (a renewal process in discrete time, within the states).

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
    min_patients : int
        A number of earlier visits that fewer people reach is treated as the one below it (of codes that very many
        people have, as one after which hardly anybody has it again), days after which fewer people
        are seen as if they said nothing.
    """
    c = tables.never.shape[1]
    again = np.clip(np.stack([tables.previous, tables.earlier]), 0.0, _MOST)
    odds = again / (1.0 - again)
    led = np.where(np.arange(c) < first, tables.parent, -1)
    mine = (np.arange(c) >= first) | (led >= 0)
    chunks = each(posteriors, partial(_chunk, odds=odds, lift=lift, mine=mine, led=led, n_ghosts=n_ghosts))
    parts = thinned(chunks, _MOST_ROWS, n_visits)
    widths = len(COUNTS), len(_SINCE)
    if not parts:
        return Again(count_lift=np.ones((c, 1)), since_edges=_SINCE, since_lift=None)
    seen = [sum((part.seen[k] for part in parts[1:]), parts[0].seen[k]) for k in range(2)]
    people = [
        sum((part.people[k] for part in parts[1:]), parts[0].people[k]).reshape(c, width)
        for k, width in enumerate(widths)
    ]
    few = [one < min_patients for one in people]
    # That hardly any of very many people have a code once more says something; that none of twenty do says nothing.
    hardly = np.where(people[0][:, 0] >= _MANY * min_patients, _HARDLY, 0.0)
    by_count, by_since, chance = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("count_cell", "since_cell", "chance")
    )
    log_count, log_since = np.zeros((c, widths[0])), np.zeros((c, widths[1]))
    for _ in range(_ROUNDS if dated else 1):
        moved = _lifted(chance, log_since.reshape(-1)[by_since])
        log_count = _solved(by_count, moved, seen[0]).reshape(c, -1)
        for band in range(widths[0]):
            before = log_count[:, band - 1] - hardly if band else 0.0
            log_count[:, band] = np.where(few[0][:, band], np.maximum(before, -_LARGEST - _HARDLY), log_count[:, band])
        if dated:
            moved = _lifted(chance, log_count.reshape(-1)[by_count])
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
    )


def _lifted(chance: Doubles, log_odds: Doubles) -> Doubles:
    """Return the chances with their odds multiplied."""
    odds = chance / (1.0 - chance) * np.exp(log_odds)
    result: Doubles = np.clip(odds / (1.0 + odds), 0.0, _MOST)
    return result


def _chunk(
    chunk: StatePosterior, odds: Doubles, lift: Doubles, mine: npt.NDArray[np.bool_], led: Ints, n_ghosts: int
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
        told = (led[what] < 0) | _among(every, at * c + led[what])
        at, what, last, times = (one[told] for one in (at, what, last, times))
    just = at == last + 1
    count_cell = what * len(COUNTS) + np.searchsorted(COUNTS, times, side="right") - 1
    since_cell = what * len(_SINCE) + np.searchsorted(_SINCE, day[at] - day[last], side="right") - 1
    present = _among(np.sort(visit * c + code), at * c + what)
    chance = np.empty(len(at))
    weight = np.maximum(chunk.predicted.sum(axis=1), 1e-12)
    for start in range(0, len(at), _BLOCK):
        some = slice(start, start + _BLOCK)
        v, k = at[some], what[some]
        o = odds[np.where(just[some], 0, 1), :, k] * lift[chunk.stratum[v], k][:, None]
        p = o / (1.0 + o)
        if n_ghosts:
            # A visit with the leader of a satellite stands for no empty one.
            p *= 1.0 + np.where(((k < n_ghosts) & (led[k] < 0))[:, None], chunk.ratios[0][v], 0.0)
        chance[some] = (chunk.predicted[v] * p).sum(axis=1) / weight[v]
    cells = (count_cell, c * len(COUNTS)), (since_cell, c * len(_SINCE))
    by_count, by_since = (np.bincount(cell[present], minlength=n).astype(np.float64) for cell, n in cells)
    of_count, of_since = (distinct_patients(cell, patient[at], n) for cell, n in cells)
    return _Trials(
        count_cell=count_cell,
        since_cell=since_cell,
        chance=np.clip(chance, 0.0, _MOST),
        seen=(by_count, by_since),
        people=(of_count, of_since),
        visits=len(chunk.stratum),
    )


def _among(within: Ints, keys: Ints) -> npt.NDArray[np.bool_]:
    """Return whether each of `keys` is among the sorted numbers `within`."""
    if not len(within):
        return np.zeros(len(keys), dtype=bool)
    found = np.minimum(np.searchsorted(within, keys), len(within) - 1)
    return np.asarray(within[found] == keys)


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
