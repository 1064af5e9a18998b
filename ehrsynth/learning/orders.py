"""What is ordered with which conditions: whole sets of drugs and procedures, by sex, age and whether it is new."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_groups, distinct_patients, stratum_groups
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.binned import strata_of
from ehrsynth.model import CodeFamily, OrderSets, Strata
from ehrsynth.probability.ragged import padded

__all__ = ["learn_orders"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_REASONS, _MOST_ORDERS = 6, 12
"""Conditions of a reason, and codes of a set, at most."""
_LEAST_SHARE = 0.95
_LEAST_CERTAIN = 0.9
_LEAST_COVERED = 0.8
"""Share of a code's visits whose set is common enough; of other codes too much would be lost."""
_STRENGTH = 5.0
_TABLES = ("medication_request", "procedure", "device", "immunization")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Additive counts of visits by (reason, set, cell), and of distinct people by (reason, set).

    Attributes
    ----------
    rows : int32[n, N + M + 1]
        Conditions, ordered codes, 2 * group + whether a condition recurs; distinct.
    visits : float64[n]
    pairs : int32[k, N + M]
    people : int64[k]
    """

    rows: npt.NDArray[np.int32]
    visits: Doubles
    pairs: npt.NDArray[np.int32]
    people: Ints

    def __add__(self, other: _Seen) -> _Seen:
        rows, visits = _added((self.rows, self.visits), (other.rows, other.visits))
        pairs, people = _added((self.pairs, self.people), (other.pairs, other.people))
        return _Seen(rows=rows, visits=visits, pairs=pairs, people=people.astype(np.int64))


def _added(
    one: tuple[npt.NDArray[np.int32], npt.NDArray[Any]], other: tuple[npt.NDArray[np.int32], npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.int32], Doubles]:
    rows, inverse = np.unique(np.concatenate([one[0], other[0]]), axis=0, return_inverse=True)
    total: Doubles = np.bincount(inverse.reshape(-1), np.concatenate([one[1], other[1]]), len(rows)).astype(np.float64)
    return rows, total


def learn_orders(
    cohort: Cohort, families: tuple[CodeFamily, ...], strata: Strata, min_patients: int
) -> OrderSets | None:
    """Return the sets that are ordered with conditions, None if there are no codes that come only so.

    A code is of them if hardly any visit has it without a condition, and if most of its visits have one of the sets
    that at least `min_patients` people had. The chance of a set given its reason is drawn from sex and band of age to
    the reason's own.

    Parameters
    ----------
    cohort : Cohort
    families : tuple of CodeFamily
        Of the model; conditions first, of a few a visit.
    strata : Strata
    min_patients : int
    """
    if not families or families[0].table != "condition" or families[0].tilt is None:
        return None
    n_conditions = len(families[0].codings)
    free = [
        (np.asarray(one.sex_limit) == 0) & (np.asarray(one.age_min) <= 0) & ~np.isfinite(np.asarray(one.age_max))
        for one in families
    ]
    allowed = np.concatenate([mine & (one.table in _TABLES) for one, mine in zip(families, free, strict=True)])
    visits, beside = cohort.total(partial(_with_conditions, n_conditions=n_conditions))
    # The posterior mean of the share must be high as well: of eight visits all must have a condition.
    led = allowed & (beside >= _LEAST_SHARE * visits) & ((beside + 1) / (visits + 2) >= _LEAST_CERTAIN)
    groups = stratum_groups(len(strata), age_groups(strata.age_edges))
    while led.any():
        seen = cohort.total(partial(_seen, n_conditions=n_conditions, led=led, strata=strata, groups=groups))
        kept = seen.people >= min_patients
        common = kept[_pair_of(seen)]
        covered = _by_code(seen.rows[common], seen.visits[common], len(led))
        poor = led & (covered < _LEAST_COVERED * _by_code(seen.rows, seen.visits, len(led)))
        if not poor.any():
            return _learned(seen, kept, led, groups)
        led = led & ~poor
    return None


def _with_conditions(timelines: Timelines, n_conditions: int) -> Ints:
    """Return the visits with each code, and those of them that have a condition, int64[2, C]."""
    union = timelines.families[UNION]
    some = np.zeros(timelines.n_visits, dtype=bool)
    some[union.visits[union.codes < n_conditions]] = True
    beside = np.bincount(union.codes[some[union.visits]], minlength=union.n_codes)
    return np.stack([np.bincount(union.codes, minlength=union.n_codes), beside])


def _seen(timelines: Timelines, n_conditions: int, led: Bools, strata: Strata, groups: Ints) -> _Seen:
    union, owner = timelines.families[UNION], timelines.patient_of_visit.astype(np.int64)
    visit, code = union.visits.astype(np.int64), union.codes.astype(np.int64)
    order = np.lexsort((code, visit))
    visit, code = visit[order], code[order]
    condition = code < n_conditions
    reasons, whole = _by_visit(visit[condition], code[condition], timelines.n_visits, _MOST_REASONS)
    orders, few = _by_visit(visit[led[code]], code[led[code]], timelines.n_visits, _MOST_ORDERS)
    again = np.zeros(timelines.n_visits, dtype=bool)
    again[_recurring(owner[visit[condition]], visit[condition], code[condition], n_conditions)] = True
    mine = np.flatnonzero((reasons[:, 0] >= 0) & whole & few)
    cell = 2 * groups[strata_of(timelines, strata)[mine]] + again[mine]
    pairs, pair = np.unique(np.hstack([reasons[mine], orders[mine]]), axis=0, return_inverse=True)
    pair = pair.reshape(-1)
    cells = 2 * (int(groups.max()) + 1)
    key, inverse = np.unique(pair * cells + cell, return_inverse=True)
    rows = np.column_stack([pairs[key // cells], key % cells]).astype(np.int32)
    weight = timelines.weight[owner[mine]]
    return _Seen(
        rows=rows,
        visits=np.bincount(inverse.reshape(-1), weight, len(rows)).astype(np.float64),
        pairs=pairs,
        people=distinct_patients(pair, owner[mine], len(pairs)),
    )


def _by_visit(visit: Ints, code: Ints, n_visits: int, most: int) -> tuple[npt.NDArray[np.int32], Bools]:
    """Return the codes of each visit int32[V, most], -1 at the end, and whether they are all; sorted by both."""
    codes = padded(visit, code, n_visits, most).astype(np.int32)
    return codes, np.bincount(visit, minlength=n_visits) <= most


def _recurring(patient: Ints, visit: Ints, code: Ints, n_codes: int) -> Ints:
    """Return the visits with a code that the person has had before."""
    order = np.lexsort((visit, patient * n_codes + code))
    pair = (patient * n_codes + code)[order]
    later = np.concatenate([[False], pair[1:] == pair[:-1]])[: len(pair)]
    return np.asarray(visit[order][later])


def _by_code(rows: npt.NDArray[np.int32], visits: Doubles, n_codes: int) -> Doubles:
    ordered = rows[:, _MOST_REASONS : _MOST_REASONS + _MOST_ORDERS]
    there = ordered >= 0
    weight = np.broadcast_to(visits[:, None], there.shape)[there]
    return np.bincount(ordered[there], weight, n_codes).astype(np.float64)


def _pair_of(seen: _Seen) -> Ints:
    """Return the pair of each row: both are sorted."""
    width = seen.pairs.shape[1]
    first = np.concatenate([[True], (seen.rows[1:, :width] != seen.rows[:-1, :width]).any(axis=1)])
    return np.cumsum(first[: len(seen.rows)]) - 1


def _learned(seen: _Seen, kept: Bools, led: Bools, groups: Ints) -> OrderSets | None:
    if not kept.any():
        return None
    pair, cells = _pair_of(seen), 2 * (int(groups.max()) + 1)
    counts = np.zeros((len(seen.pairs), cells))
    counts[pair, seen.rows[:, -1]] = seen.visits
    pairs, counts = seen.pairs[kept], counts[kept]
    reasons, reason = np.unique(pairs[:, :_MOST_REASONS], axis=0, return_inverse=True)
    sets, of_row = np.unique(pairs[:, _MOST_REASONS:], axis=0, return_inverse=True)
    # Pairs are sorted by reason already.
    reason = reason.reshape(-1)
    offsets = np.searchsorted(reason, np.arange(len(reasons) + 1))

    def toward(count: Doubles, prior: Doubles) -> Doubles:
        total = np.add.reduceat(count, offsets[:-1], axis=0)[reason]
        return np.asarray((count + _STRENGTH * prior) / (total + _STRENGTH))

    whole = counts.sum(axis=1, keepdims=True)
    share = whole / np.add.reduceat(whole, offsets[:-1], axis=0)[reason]
    by_new = toward(np.stack([counts[:, 0::2].sum(axis=1), counts[:, 1::2].sum(axis=1)], axis=1), share)
    weight = toward(counts, np.tile(by_new, (1, cells // 2)))
    # Groups of new conditions first, then of recurring ones.
    weight = np.hstack([weight[:, 0::2], weight[:, 1::2]])
    return OrderSets(
        led=np.flatnonzero(led).astype(np.int32),
        reasons=_trimmed(reasons),
        sets=_trimmed(sets),
        offsets=offsets.astype(np.int64),
        row_set=of_row.reshape(-1).astype(np.int32),
        group=groups.astype(np.int32),
        weight=weight,
    )


def _trimmed(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the columns that have a code."""
    return codes[:, : max(int((codes >= 0).sum(axis=1).max()), 1)]
