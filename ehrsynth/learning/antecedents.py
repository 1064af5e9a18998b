"""What new codes follow from what a person has had: which earlier codes move the odds of the first onset of others.

States and classes are few; what life-long differences between people they do not tell, the codes that people have had
tell: a course of treatment follows a test, who had a vaccine as a child needs another one later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.beside import Beside
from ehrsynth.learning.families import StatePosterior, each, thinned
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.model import Measurements

__all__ = ["Antecedents", "in_panels", "learn_antecedents"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_MOST_CELLS = 16_000_000
"""Visits times codes that are looked at."""
_MOST_CODES = 300
"""The commonest codes are looked at."""
_ROUNDS = 3
"""Antecedents that a code may have."""
_MOST_LEVELS = 5
"""Codes are drawn after their antecedents, and those after theirs: so many times at most."""
_LEAST_GAIN = 10.0
"""Log-likelihood that an antecedent must bring."""
_SHRINK = 2.0
_LARGEST = 4.0
_NEWTON = 4
_MOST = 1.0 - 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Antecedents:
    """What moves the odds of codes that a person has not had.

    Attributes
    ----------
    beside_lift : float64[C, 2]
        In visits without the code's parent: without a condition, with some.
    code : int32[C, M]
        Code of any family, -1 for none.
    lift : float64[C, M, 2]
        For people who have not had it in an earlier visit, and for those who have.
    """

    beside_lift: Doubles
    code: npt.NDArray[np.int32]
    lift: Doubles

    def of(self, start: int, stop: int) -> Antecedents:
        """Return that of the codes start..stop-1."""
        some = slice(start, stop)
        return Antecedents(beside_lift=self.beside_lift[some], code=self.code[some], lift=self.lift[some])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Onsets:
    """Visits, what their people had before, the chance of each code that they have not had, and the onsets.

    Attributes
    ----------
    had : float32[V, C]
    chance : float32[V, C]
        0 where the person has had the code.
    beside : bool[V, C]
        The code's parent is in the visit.
    given : bool[V]
        The visit has conditions.
    row, code : int64[m]
        First onsets.
    onset_day : float64[m]
        Days since the first visit.
    """

    had: Singles
    chance: Singles
    beside: Bools
    given: Bools
    row: Ints
    code: Ints
    onset_day: Doubles

    @property
    def visits(self) -> int:
        return len(self.had)

    def __len__(self) -> int:
        return len(self.had)


def learn_antecedents(
    posteriors: Iterable[StatePosterior],
    tables: CodeTables,
    lift: Doubles,
    *,
    n_given: int,
    n_ghosts: int,
    n_visits: int,
    barred: Ints,
    min_patients: int,
) -> Antecedents:
    """Return which codes that people have had move the odds of first onsets, and by how much.

    For each code, one after the other, the earlier code is taken that makes the onsets likeliest, given the states that
    can be predicted and the antecedents taken before (forward selection; Poisson likelihood of onsets and of what was
    expected). A code's antecedents usually begin earlier in life than it does, so that codes can be drawn in order.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    tables : CodeTables
        Of all codes.
    lift : float64[R, C]
    n_given : int
        So many first codes (conditions) are drawn before all others, and have no antecedents here; 0: none.
    n_ghosts : int
        Every visit has one of so many first codes.
    n_visits : int
        Of all chunks; of many, some chunks are read.
    barred : int64[m]
        Codes that neither have nor are antecedents: they follow others of a panel.
    min_patients : int
        An antecedent that tells of fewer people is not taken.
    """
    c = tables.never.shape[1]
    none = Antecedents(beside_lift=np.ones((c, 2)), code=np.full((c, 0), -1, dtype=np.int32), lift=np.ones((c, 0, 2)))
    moves = np.ones(c, dtype=bool)
    moves[:n_given] = False
    moves[barred] = False
    if not moves.any():
        return none
    chunk = partial(_chunk, tables=tables, lift=lift, n_given=n_given, n_ghosts=n_ghosts)
    parts = thinned(each(posteriors, chunk), _MOST_CELLS // max(c, 1), n_visits)
    if not parts:
        return none
    had, chance, beside, given = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("had", "chance", "beside", "given")
    )
    base = np.cumsum([0, *(part.visits for part in parts[:-1])])
    row = np.concatenate([part.row + first for part, first in zip(parts, base.tolist(), strict=True)])
    code = np.concatenate([part.code for part in parts])
    day = np.concatenate([part.onset_day for part in parts])
    order = _order(tables.parent, np.bincount(code, day, c) / np.maximum(np.bincount(code, minlength=c), 1))
    beside_lift = np.ones((c, 2))
    if n_given:
        beside_lift[moves] = _by_conditions(chance, beside, given, row, code, min_patients)[moves]
        for band in range(2):
            _multiply(chance, (given == bool(band))[:, None] & ~beside, beside_lift[:, band])
    del beside
    usable = np.ones(c, dtype=bool)
    usable[barred] = False
    for k in order.tolist():
        # Children of what follows another of a panel are the leader's, which comes in an order of its own.
        usable[k] &= tables.parent[k] < 0 or bool(usable[tables.parent[k]])
    level = _levels(tables.parent, order)
    most = max(_MOST_LEVELS, int(level.max(initial=0)))
    place = np.empty(c, dtype=np.int64)
    place[order] = np.arange(c)
    allowed = usable[:, None] & moves[None, :] & (place[:, None] < place[None, :])
    chosen: list[npt.NDArray[np.int32]] = []
    lifts: list[Doubles] = []
    onset = had[row]
    for _ in range(_ROUNDS):
        after = np.stack([np.bincount(code, onset[:, h], c) for h in range(c)])
        seen = np.stack([np.bincount(code, minlength=c)[None, :] - after, after])
        expected_after = (had.T @ chance).astype(np.float64)
        expected = np.stack([chance.sum(axis=0, dtype=np.float64)[None, :] - expected_after, expected_after])
        gain = np.where(allowed, _gain(seen, expected, min_patients), 0.0)
        taken = np.full(c, -1, dtype=np.int32)
        level = _levels(tables.parent, order, chosen)
        for k in order.tolist():
            # Levels of all that come before in the order are those of this round.
            above = [
                int(level[one]) for one in (tables.parent[k], *(other[k] for other in (*chosen, taken))) if one >= 0
            ]
            level[k] = max([level[k], *(1 + one for one in above)])
            fits = np.where(level < most, gain[:, k], 0.0)
            best = int(np.argmax(fits))
            if fits[best] > _LEAST_GAIN:
                taken[k] = best
                allowed[best, k] = False
                level[k] = max(level[k], level[best] + 1)
        found = np.flatnonzero(taken >= 0)
        if not len(found):
            break
        moved = np.ones((c, 2))
        for k in found.tolist():
            h = int(taken[k])
            moved[k] = np.exp(_factors(chance[:, k], had[:, h] > 0, seen[:, h, k], min_patients))
            _multiply_column(chance, k, np.where(had[:, h] > 0, moved[k, 1], moved[k, 0]))
        chosen.append(taken)
        lifts.append(moved)
    if not chosen:
        return Antecedents(beside_lift=beside_lift, code=none.code, lift=none.lift)
    return Antecedents(beside_lift=beside_lift, code=np.stack(chosen, axis=1), lift=np.stack(lifts, axis=1))


def in_panels(told: Timelines, measurements: Measurements | None) -> npt.NDArray[np.int64]:
    """Return the codes of all families that may follow another of their panel: they are not drawn by themselves."""
    start = 0
    for name, family in told.families.items():
        if name == "observation" and measurements is not None:
            return start + np.unique(measurements.code[measurements.panel >= 0]).astype(np.int64)
        start += family.n_codes
    return np.zeros(0, dtype=np.int64)


def _order(parent: npt.NDArray[np.int32], onset: Doubles) -> Ints:
    """Return the codes in the order of their mean onset, but each after its parent."""
    placed = np.zeros(len(parent), dtype=bool)
    found: list[int] = []
    for code in np.argsort(onset, kind="stable").tolist():
        line = []
        while code >= 0 and not placed[code]:
            placed[code] = True
            line.append(code)
            code = int(parent[code])
        found += line[::-1]
    return np.array(found, dtype=np.int64)


def _levels(parent: npt.NDArray[np.int32], order: Ints, chosen: Iterable[npt.NDArray[np.int32]] = ()) -> Ints:
    """Return how many codes, one after the other, must be drawn before each."""
    level = np.zeros(len(parent), dtype=np.int64)
    above = np.stack([parent, *chosen], axis=1)
    for code in order.tolist():
        mine = above[code][above[code] >= 0]
        level[code] = 1 + level[mine].max() if len(mine) else 0
    return level


def _gain(seen: Doubles, expected: Doubles, least: int) -> Doubles:
    """Return the log-likelihood that each antecedent brings each code, float64[C, C]; 0 where it tells of too few."""
    total_seen, total = seen.sum(axis=0), np.maximum(expected.sum(axis=0), 1e-9)
    e = np.maximum(expected * (total_seen / total), 1e-9)
    gain = (seen * np.log(np.maximum(seen, 1e-9) / e) - (seen - e)).sum(axis=0)
    enough = (np.maximum(seen, e) >= least).all(axis=0) & (total_seen >= 2 * least)
    return np.where(enough, gain, 0.0)


def _factors(chance: Singles, had: Bools, seen: Doubles, least: int) -> Doubles:
    """Return the log odds multipliers float64[2] of visits before and after the antecedent."""
    found = np.zeros(2)
    for side in range(2):
        p = chance[had == bool(side)].astype(np.float64)
        p = p[p > 0]
        expected = float(p.sum())
        target = seen[side] if seen[side] >= least else min(expected, least / 2.0)
        target = expected * (target + _SHRINK) / (expected + _SHRINK)
        odds, log_lift = p / (1.0 - p), 0.0
        for _ in range(_NEWTON):
            moved = odds * np.exp(log_lift)
            q = moved / (1.0 + moved)
            slope = float((q * (1.0 - q)).sum())
            if slope <= 0:
                break
            log_lift = float(np.clip(log_lift + np.clip((target - q.sum()) / slope, -1.5, 1.5), -_LARGEST, _LARGEST))
        found[side] = log_lift
    return found


def _multiply_column(chance: Singles, k: int, factor: Doubles) -> None:
    p = chance[:, k].astype(np.float64)
    odds = p / (1.0 - p) * factor
    chance[:, k] = np.minimum(odds / (1.0 + odds), _MOST)


def _multiply(chance: Singles, where: Bools, factor: Doubles) -> None:
    for k in np.flatnonzero(factor != 1.0).tolist():
        _multiply_column(chance, k, np.where(where[:, k], factor[k], 1.0))


def _by_conditions(chance: Singles, beside: Bools, given: Bools, row: Ints, code: Ints, least: int) -> Doubles:
    """Return the odds multipliers of each code in visits without its parent that have no condition, or some."""
    c = chance.shape[1]
    alone = ~beside[row, code]
    result = np.ones((c, 2))
    seen = np.stack([np.bincount(code[alone & (given[row] == bool(band))], minlength=c) for band in range(2)], axis=1)
    for k in np.flatnonzero(seen.sum(axis=1) >= 2 * least).tolist():
        some = ~beside[:, k]
        result[k] = np.exp(_factors(chance[some, k], given[some], seen[k].astype(np.float64), least))
    return result


def _chunk(chunk: StatePosterior, tables: CodeTables, lift: Doubles, n_given: int, n_ghosts: int) -> _Onsets:
    timelines = chunk.timelines
    family = timelines.families[UNION]
    n, c = len(chunk.stratum), lift.shape[1]
    visit, code = family.visits.astype(np.int64), family.codes.astype(np.int64)
    here = np.zeros((n, c), dtype=bool)
    here[visit, code] = True
    had = _had_before(here, timelines)
    told = Beside.of(chunk, n_given, n_ghosts)
    child = np.flatnonzero(tables.parent >= 0)
    beside = np.zeros((n, c), dtype=bool)
    beside[:, child] = here[:, tables.parent[child]]
    unseen = told.alone if told.trials is None else told.alone * told.trials
    # Where the parent is, the state is one that has it.
    of_parent = told.presence[np.maximum(tables.parent, 0)].T
    chance = np.empty((n, c), dtype=np.float32)
    for r in np.unique(chunk.stratum).tolist():
        of = np.flatnonzero(chunk.stratum == r)
        alone, together = (_lifted(table, lift[r]) for table in (tables.never, tables.never_with_parent))
        predicted = chunk.predicted[of].astype(np.float32)
        with_parent = (predicted @ (of_parent * together)) / np.maximum(predicted @ of_parent, 1e-12)
        for some, share in ((slice(0, n_ghosts), unseen), (slice(n_ghosts, c), told.alone)):
            chance[of, some] = np.where(beside[of, some], with_parent[:, some], share[of] @ alone[:, some])
    np.clip(chance, 0.0, _MOST, out=chance)
    chance[had] = 0.0
    new = ~had[visit, code]
    return _Onsets(
        had=had.astype(np.float32),
        chance=chance,
        beside=beside,
        given=told.given,
        row=visit[new],
        code=code[new],
        onset_day=_elapsed(timelines)[visit[new]],
    )


def _elapsed(timelines: Timelines) -> Doubles:
    return np.asarray(timelines.elapsed_days, dtype=np.float64)


def _had_before(here: Bools, timelines: Timelines) -> Bools:
    """Return whether the person of each visit had each code in an earlier one, bool[V, C]."""
    offsets = np.asarray(timelines.offsets)
    # A running sum over all visits, less that of the visits before the person's first.
    running = np.zeros((len(here) + 1, here.shape[1]), dtype=np.int32)
    np.cumsum(here, axis=0, out=running[1:])
    first = np.repeat(offsets[:-1], np.diff(offsets))
    return np.asarray(running[:-1] > running[first])


def _lifted(table: npt.NDArray[np.floating[Any]], lift: Doubles) -> Singles:
    p = np.clip(np.asarray(table, dtype=np.float64), 0.0, _MOST)
    odds = p / (1.0 - p) * lift
    return np.asarray(odds / (1.0 + odds), dtype=np.float32)
