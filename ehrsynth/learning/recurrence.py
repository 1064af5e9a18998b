"""How often a code comes again, by how often a person has had it: once in a life, four doses, or ever more often."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.company_counts import COUNT_BANDS, history_of
from ehrsynth.learning.families import FarPosteriors, StatePosterior, each
from ehrsynth.learning.parameters import CodeTables

__all__ = ["learn_count_lift"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MOST_ROWS = 3_000_000
_BLOCK = 32_768
_SHRINK = 3.0
_LARGEST = 6.0
_MOST = 1.0 - 1e-6


def learn_count_lift(
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    tables: CodeTables,
    lift: Doubles,
    *,
    first: int,
    n_visits: int,
    n_ghosts: int,
    min_patients: int,
) -> Doubles:
    """Return the odds multipliers float64[C, B] of the codes from `first` on; 1 for those before.

    Of each code, and of each number of earlier visits with it, as many visits with the code are expected as were
    observed, given the states that can be predicted; drawn to what the tables alone expect.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    tables : CodeTables
        Of all codes.
    lift : float64[R, C]
    first : int
    n_visits : int
        Of all chunks. Of very many, every so manieth chunk is read.
    n_ghosts : int
        Every visit has one of so many first codes: probabilities are given that.
    min_patients : int
        A number of earlier visits that fewer people reach is treated as the one below it.
    """
    c = tables.never.shape[1]
    again = np.stack([tables.previous, tables.earlier])
    again = np.clip(again, 0.0, _MOST)
    odds = again / (1.0 - again)
    cells, expected = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    seen, people = np.zeros(c * COUNT_BANDS), np.zeros(c * COUNT_BANDS, dtype=np.int64)
    rows = visits = 0
    for found in each(posteriors, partial(_chunk, odds=odds, lift=lift, first=first, n_ghosts=n_ghosts)):
        visits += found[4]
        # In step with the visits that went by.
        if rows > _MOST_ROWS * visits / n_visits:
            continue
        rows += len(found[0])
        cells.append(found[0])
        expected.append(found[1])
        seen += found[2]
        people += found[3]
    log_lift = _solved(np.concatenate(cells), np.concatenate(expected), seen)
    log_lift = log_lift.reshape(c, COUNT_BANDS)
    few = people.reshape(c, COUNT_BANDS) < min_patients
    for band in range(COUNT_BANDS):
        log_lift[:, band] = np.where(few[:, band], log_lift[:, band - 1] if band else 0.0, log_lift[:, band])
    return np.exp(log_lift)


def _chunk(
    chunk: StatePosterior, odds: Doubles, lift: Doubles, first: int, n_ghosts: int
) -> tuple[Ints, Doubles, Doubles, Ints, int]:
    """Return (cell and P(code) of each visit and code with history; presences and people of each cell; visits)."""
    timelines = chunk.timelines
    family, c = timelines.families[UNION], lift.shape[1]
    mine = family.codes >= first
    visit, code = family.visits[mine].astype(np.int64), family.codes[mine].astype(np.int64)
    patient = timelines.patient_of_visit
    at, what, just, times = history_of(visit, code, timelines.offsets, patient, c)
    cell = what * COUNT_BANDS + np.minimum(times, COUNT_BANDS) - 1
    key = np.sort(visit * c + code)
    wanted = at * c + what
    found = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
    present = key[found] == wanted if len(key) else np.zeros(0, dtype=bool)
    chance = np.empty(len(at))
    weight = np.maximum(chunk.predicted.sum(axis=1), 1e-12)
    for start in range(0, len(at), _BLOCK):
        some = slice(start, start + _BLOCK)
        v, k = at[some], what[some]
        o = odds[np.where(just[some], 0, 1), :, k] * lift[chunk.stratum[v], k][:, None]
        p = o / (1.0 + o)
        if n_ghosts:
            p *= 1.0 + np.where((k < n_ghosts)[:, None], chunk.ratios[0][v], 0.0)
        chance[some] = (chunk.predicted[v] * p).sum(axis=1) / weight[v]
    n = c * COUNT_BANDS
    seen = np.bincount(cell[present], minlength=n).astype(np.float64)
    return cell, np.clip(chance, 0.0, _MOST), seen, distinct_patients(cell, patient[at], n), len(chunk.stratum)


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
