"""What is ordered with which conditions: whole sets of drugs and procedures, by sex, age and whether it is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_groups, distinct_patients
from ehrsynth.encoding.families import DONE
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.binned import strata_of
from ehrsynth.learning.choices import choices
from ehrsynth.learning.times import BACK_EDGES, days_to_end, last_day_of_all
from ehrsynth.model import CodeFamily, OrderSets, Strata
from ehrsynth.probability.ragged import padded, ranges

__all__ = ["learn_orders"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_REASONS, _MOST_ORDERS = 6, 12
_KEY = _MOST_REASONS + 1
"""Conditions of a reason, and codes of a set, at most."""
_LEAST_SHARE = 0.95
_LEAST_CERTAIN = 0.9
_LEAST_COVERED = 0.8
"""Share of a code's visits whose set is common enough; of other codes too much would be lost."""
_STRENGTH, _PULL, _ROUNDS = 5.0, 1.0, 12
_WIDE = 4
"""Bands of time in a wide one: what changes over ten years is told by it first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Additive counts of visits by (reason, set, cell), and of distinct people by (reason, set).

    Attributes
    ----------
    rows : int32[n, N + 1 + M + 1]
        Conditions, number of the choice, ordered codes, cell of the visit (see `_Cells`); distinct.
    visits : float64[n]
    pairs : int32[k, N + 1 + M]
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """Numbers of cells: whether a condition recurs, sex, band of age and band of the time before the end."""

    n_sexes: int
    groups: Ints
    back_edges: Ints

    @property
    def n_ages(self) -> int:
        return len(self.groups)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return 2, self.n_sexes, self.n_ages, len(self.back_edges)

    @property
    def n(self) -> int:
        return int(np.prod(self.shape))

    def levels(self, cell: Ints) -> list[Ints]:
        """Return the levels of cells by which there are factors: wide bands of age and time before narrow ones."""
        again, sex, age, period = np.unravel_index(cell, self.shape)
        return [again, sex, self.groups[age], age, period // _WIDE, period]

    @property
    def sizes(self) -> list[int]:
        """Return the number of levels of each factor."""
        periods = len(self.back_edges)
        return [2, self.n_sexes, int(self.groups.max()) + 1, self.n_ages, (periods - 1) // _WIDE + 1, periods]


def learn_orders(
    cohort: Cohort, families: tuple[CodeFamily, ...], strata: Strata, min_patients: int
) -> OrderSets | None:
    """Return the sets that are ordered with conditions, None if there are no codes that come only so.

    A code is of them if hardly any visit has it without a condition, and if about as many visits have it when sets that
    fewer than `min_patients` people had are taken for the most similar of those that more had. The chance of a set
    given its reason is in proportion to a product of factors: of the set and whether a condition recurs, of sex, of age
    and, where dates are those of the calendar, of the time before the end of all records; each is drawn to 1.

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
    allowed = np.concatenate([mine & (one.table in DONE) for one, mine in zip(families, free, strict=True)])
    visits, beside = cohort.total(partial(_with_conditions, n_conditions=n_conditions))
    # The posterior mean of the share must be high as well: of eight visits all must have a condition.
    led = allowed & (beside >= _LEAST_SHARE * visits) & ((beside + 1) / (visits + 2) >= _LEAST_CERTAIN)
    close = last_day_of_all(cohort, min_patients)
    cells = _Cells(
        n_sexes=len(strata.sexes),
        groups=age_groups(strata.age_edges),
        back_edges=BACK_EDGES[: None if close is not None else 1],
    )
    while led.any():
        count = partial(_seen, n_conditions=n_conditions, led=led, strata=strata, cells=cells, close=close)
        apart = choices(*_whole_sets(cohort.total(partial(count, apart={}))), min_patients)
        seen = cohort.total(partial(count, apart=apart))
        kept = seen.people >= min_patients
        told = _told(seen, kept)
        pair = _pair_of(seen)
        # What is ordered for conditions that come together too rarely is drawn for each of them.
        mine = told[pair] != _UNREASONED
        drawn = seen.pairs[np.maximum(told, 0)][pair][mine]
        covered = _by_code(drawn, seen.visits[mine] * (told[pair][mine] >= 0), len(led))
        true = _by_code(seen.rows[mine], seen.visits[mine], len(led))
        poor = led & ((covered < _LEAST_COVERED * true) | (covered > true / _LEAST_COVERED) | (true == 0))
        if not poor.any():
            return _learned(seen, kept, told, led, cells)
        led = led & ~poor
    return None


def _with_conditions(timelines: Timelines, n_conditions: int) -> Ints:
    """Return the visits with each code, and those of them that have a condition, int64[2, C]."""
    union = timelines.families[UNION]
    some = np.zeros(timelines.n_visits, dtype=bool)
    some[union.visits[union.codes < n_conditions]] = True
    beside = np.bincount(union.codes[some[union.visits]], minlength=union.n_codes)
    return np.stack([np.bincount(union.codes, minlength=union.n_codes), beside])


def _seen(
    timelines: Timelines,
    n_conditions: int,
    led: Bools,
    strata: Strata,
    cells: _Cells,
    close: int | None,
    apart: Mapping[tuple[int, ...], tuple[frozenset[int], ...]],
) -> _Seen:
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
    sex, age = np.divmod(strata_of(timelines, strata)[mine], cells.n_ages)
    back = (_to_last(timelines) + days_to_end(timelines, close)[owner])[mine]
    period = np.searchsorted(cells.back_edges, back, side="right") - 1
    cell = np.ravel_multi_index((again[mine].astype(np.int64), sex, age, period), cells.shape)
    wholes, whole_of = np.unique(np.hstack([reasons[mine], orders[mine]]), axis=0, return_inverse=True)
    split = [_split(row, apart) for row in wholes]
    length = np.array([len(one) for one in split], dtype=np.int64)
    flat = np.array([row for one in split for row in one], dtype=np.int32).reshape(-1, _KEY + _MOST_ORDERS)
    pairs, pair_of = np.unique(flat, axis=0, return_inverse=True)
    times = length[whole_of.reshape(-1)]
    pair = pair_of.reshape(-1)[ranges((np.cumsum(length) - length)[whole_of.reshape(-1)], times)]
    mine, cell = np.repeat(mine, times), np.repeat(cell, times)
    key, inverse = np.unique(pair * cells.n + cell, return_inverse=True)
    rows = np.column_stack([pairs[key // cells.n], key % cells.n]).astype(np.int32)
    weight = timelines.weight[owner[mine]]
    return _Seen(
        rows=rows,
        visits=np.bincount(inverse.reshape(-1), weight, len(rows)).astype(np.float64),
        pairs=pairs,
        people=distinct_patients(pair, owner[mine], len(pairs)),
    )


def _split(
    whole: npt.NDArray[np.int32], apart: Mapping[tuple[int, ...], tuple[frozenset[int], ...]]
) -> list[list[int]]:
    """Return the rows of conditions, number of the choice and codes that a whole set is made of."""
    conditions, codes = whole[:_MOST_REASONS].tolist(), [c for c in whole[_MOST_REASONS:].tolist() if c >= 0]
    found = []
    for number, choice in enumerate(apart.get(tuple(c for c in conditions if c >= 0), ()) or (frozenset(codes),)):
        mine = [code for code in codes if code in choice]
        found.append([*conditions, number, *mine, *([-1] * (_MOST_ORDERS - len(mine)))])
    return found


def _whole_sets(
    seen: _Seen,
) -> tuple[list[tuple[int, ...]], list[frozenset[int]], Ints, Doubles, Ints]:
    """Return the reason and set of each row, its cell, its visits, and the people of its pair."""
    reasons = [tuple(c for c in row if c >= 0) for row in seen.rows[:, :_MOST_REASONS].tolist()]
    sets = [frozenset(c for c in row if c >= 0) for row in seen.rows[:, _KEY:-1].tolist()]
    return reasons, sets, seen.rows[:, -1].astype(np.int64), seen.visits, seen.people[_pair_of(seen)]


def _to_last(timelines: Timelines) -> Ints:
    """Return the days from each visit to the patient's last one, int64[V]."""
    elapsed = timelines.elapsed_days
    result: Ints = elapsed[timelines.offsets[1:] - 1][timelines.patient_of_visit] - elapsed
    return result


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
    ordered = rows[:, _KEY : _KEY + _MOST_ORDERS]
    there = ordered >= 0
    weight = np.broadcast_to(visits[:, None], there.shape)[there]
    return np.bincount(ordered[there], weight, n_codes).astype(np.float64)


def _pair_of(seen: _Seen) -> Ints:
    """Return the pair of each row: both are sorted."""
    width = seen.pairs.shape[1]
    first = np.concatenate([[True], (seen.rows[1:, :width] != seen.rows[:-1, :width]).any(axis=1)])
    return np.cumsum(first[: len(seen.rows)]) - 1


_UNREASONED = -2


def _told(seen: _Seen, kept: Bools) -> Ints:
    """Return the pair that each pair of reason and set is taken for, int64[k].

    Itself if it is `kept`, else the most similar kept one of the reason (Jaccard), of equals the commonest; -1 if none
    has a code in common, `_UNREASONED` if the reason has none at all.
    """
    _, reason = np.unique(seen.pairs[:, :_KEY], axis=0, return_inverse=True)
    reason = reason.reshape(-1)
    sets = [frozenset(row[row >= 0].tolist()) for row in seen.pairs[:, _KEY:]]
    told = np.arange(len(kept))
    of_reason: dict[int, list[int]] = {}
    for pair in np.flatnonzero(kept).tolist():
        of_reason.setdefault(int(reason[pair]), []).append(pair)
    for pair in np.flatnonzero(~kept).tolist():
        known = of_reason.get(int(reason[pair]))
        if known is None:
            told[pair] = _UNREASONED
            continue
        mine = sets[pair]
        best = max(known, key=lambda one: (len(mine & sets[one]) / max(len(mine | sets[one]), 1), seen.people[one]))
        told[pair] = best if mine & sets[best] else -1
    return told


def _learned(seen: _Seen, kept: Bools, told: Ints, led: Bools, cells: _Cells) -> OrderSets | None:
    if not kept.any():
        return None
    common = told[_pair_of(seen)] >= 0
    row = (np.cumsum(kept) - 1)[told[_pair_of(seen)[common]]]
    pairs = seen.pairs[kept]
    reasons, reason = np.unique(pairs[:, :_KEY], axis=0, return_inverse=True)
    sets, of_row = np.unique(pairs[:, _KEY:], axis=0, return_inverse=True)
    # Pairs are sorted by reason already.
    reason = reason.reshape(-1)
    offsets = np.searchsorted(reason, np.arange(len(reasons) + 1)).astype(np.int64)
    again, sex, wide_age, age, wide_period, period = _factors(
        row, seen.rows[common, -1].astype(np.int64), seen.visits[common], offsets, cells
    )
    age = age * wide_age[:, cells.groups]
    period = period * wide_period[:, np.arange(period.shape[1]) // _WIDE]
    weight = again[:, :, None, None] * sex[:, None, :, None] * age[:, None, None, :]
    weight = weight.reshape(len(again), -1)
    weight /= np.add.reduceat(weight, offsets[:-1], axis=0)[reason]
    return OrderSets(
        led=np.flatnonzero(led).astype(np.int32),
        reasons=_trimmed(reasons[:, :_MOST_REASONS]),
        sets=_trimmed(sets),
        offsets=offsets,
        row_set=of_row.reshape(-1).astype(np.int32),
        group=np.arange(cells.n_sexes * cells.n_ages, dtype=np.int32),
        weight=weight,
        back_edges=cells.back_edges if period.shape[1] > 1 else None,
        period=period if period.shape[1] > 1 else None,
    )


def _factors(row: Ints, cell: Ints, visits: Doubles, offsets: Ints, cells: _Cells) -> list[Doubles]:
    """Return factors of rows by each level, float64[m, n] each: P(row | reason, levels) is in proportion to them.

    Conditional logits (McFadden 1974, "Conditional logit analysis of qualitative choice behavior"), fitted in turns:
    each factor so that as many visits are expected as seen, with `_PULL` more of either; the first, by whether a
    condition recurs, is a share and drawn to the reason's.

    Parameters
    ----------
    row : int64[n]
    cell : int64[n]
    visits : float64[n]
    offsets : int64[K + 1]
        Of the rows of each reason.
    """
    n_rows, sizes, levels = int(offsets[-1]), cells.sizes, cells.levels(cell)
    reason = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))

    def counted(row: Ints, level: Ints, weight: Doubles, n: int) -> Doubles:
        return np.bincount(row * n + level, weight, n_rows * n).astype(np.float64).reshape(n_rows, n)

    whole = counted(row, np.zeros_like(row), visits, 1)
    share = whole / np.add.reduceat(whole, offsets[:-1], axis=0)[reason]
    first = counted(row, levels[0], visits, sizes[0]) + _STRENGTH * share
    first /= np.add.reduceat(first, offsets[:-1], axis=0)[reason]
    factors = [first, *(np.ones((n_rows, n)) for n in sizes[1:])]
    # Every cell of a reason, with all its rows.
    distinct, inverse = np.unique(reason[row] * cells.n + cell, return_inverse=True)
    total = np.bincount(inverse.reshape(-1), visits, len(distinct))
    of_reason, of_cell = np.divmod(distinct, cells.n)
    length = np.diff(offsets)[of_reason]
    each = ranges(offsets[of_reason], length)
    owner = np.repeat(np.arange(len(distinct)), length)
    at = [level[owner] for level in cells.levels(of_cell)]
    begin = np.cumsum(length) - length
    for _ in range(_ROUNDS):
        for k in range(1, len(sizes)):
            if sizes[k] == 1:
                continue
            chance = np.prod([factor[each, level] for factor, level in zip(factors, at, strict=True)], axis=0)
            chance *= (total / np.add.reduceat(chance, begin))[owner]
            hoped = counted(each, at[k], chance / factors[k][each, at[k]], sizes[k])
            factors[k] = (counted(row, levels[k], visits, sizes[k]) + _PULL) / (hoped + _PULL)
    return factors


def _trimmed(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the columns that have a code."""
    return codes[:, : max(int((codes >= 0).sum(axis=1).max()), 1)]
