"""The tables of a code family made ready for sampling: parents first, rates in running sums, structural zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.model import CodeFamily, Strata
from ehrsynth.terminology import sex_numbers

__all__ = ["CodeTables", "depths", "lifted", "odds_of", "possible_strata", "rate"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

# Running sums that the tables of one family may hold (8 bytes each).
_CELLS = 2_000_000
# A code that is certain would need infinitely many arrivals; 2**-40 is the resolution of all our draws.
_CERTAIN = 1 - 2.0**-40
_MOST = 1.0 - 1e-6


class CodeTables:
    """The tables of a family as sampling reads them: flat, parents first, impossible ones zero.

    Attributes
    ----------
    n_codes, n_parents : int
        C; codes that may be parents (of the family itself or of another one).
    own_tree : bool
        Whether parents are codes of the family itself.
    code : int64[C]
        The family's number of the code of each rank; ranks put parents first.
    level : int64[C]
        How many ancestors each rank has; ascending.
    n_levels : int
    parent : int64[C]
        Rank of the parent (its number, if of another family); -1 for none.
    children, child_start, child_count : int64
        Ranks of the children of parent p: ``children[child_start[p] : child_start[p] + child_count[p]]``.
    never, with_parent : float32[Q * C]
    again : float32[Q * C, 2]
        In the previous visit, earlier.
    count_lift : float64[C, B]
        Odds multiplier by the number of earlier visits with the code: 1..B, the last for more.
    steady : int64[C]
        The number from which on it stays the same.
    since_edges : int64[T]
    since_lift : float64[C, T]
        See `ehrsynth.model.CodeFamily`; one band where time plays no part.
    timed : bool[C]
        Whether it does.
    most_again : float64[C]
        The greatest odds multiplier of both.
    comes_again : bool[C]
        Whether a code that a person has had can come at all.
    truncated : bool[C]
        Of which every visit has one.
    lift : float32[R * C]
        Zero where the stratum cannot have the code.
    group : int64[R]
        Strata share tables of rates by group.
    highest : float32[groups * C]
        The highest lift of each group.
    running : float64[groups * Q * C]
        Running sum of the rates of new codes at the highest lift of the group.
    row_start, row_total : float64[groups * Q]
        Where the row of a group and state begins in `running`, and its rate in all.
    """

    def __init__(self, family: CodeFamily, strata: Strata, truncated: Bool | None = None) -> None:
        n_states, n_codes = np.asarray(family.never).shape
        self.n_codes = n_codes
        self.own_tree = family.parent_table == family.table
        parent = np.asarray(family.parent, dtype=np.int64)
        depth = depths(parent) if self.own_tree else np.zeros(n_codes, dtype=np.int64)
        # Inside, codes are numbered parents first.
        self.code = np.argsort(depth, kind="stable")
        self.truncated = np.zeros(n_codes, dtype=bool) if truncated is None else truncated[self.code]
        rank = np.empty(n_codes, dtype=np.int64)
        rank[self.code] = np.arange(n_codes)
        self.level: Int = depth[self.code]
        self.n_levels = int(depth.max(initial=-1)) + 1
        parent = parent[self.code]
        self.parent = np.where(parent >= 0, rank[parent], -1) if self.own_tree else parent
        self.n_parents = n_codes if self.own_tree else int(parent.max(initial=-1)) + 1
        with_parent = np.flatnonzero(self.parent >= 0)
        self.children = with_parent[np.argsort(self.parent[with_parent], kind="stable")]
        self.child_count = np.bincount(self.parent[with_parent], minlength=self.n_parents)
        self.child_start = np.cumsum(self.child_count) - self.child_count
        self.never, self.with_parent, previous, earlier = (
            np.ascontiguousarray(np.asarray(table, dtype=np.float32)[:, self.code]).reshape(-1)
            for table in (family.never, family.never_with_parent, family.previous, family.earlier)
        )
        self.again = np.stack([previous, earlier], axis=1)
        of_count = np.ones((n_codes, 1)) if family.count_lift is None else np.asarray(family.count_lift)
        self.count_lift: Float = of_count[self.code].astype(np.float64)
        self.steady = _steady(self.count_lift)
        self.since_edges = np.zeros(1, dtype=np.int64)
        self.since_lift: Float = np.ones((n_codes, 1))
        if family.since_lift is not None and family.since_edges is not None:
            self.since_edges = np.asarray(family.since_edges, dtype=np.int64)
            self.since_lift = np.asarray(family.since_lift, dtype=np.float64)[self.code]
        self.timed: Bool = np.asarray((self.since_lift != 1.0).any(axis=1))
        self.most_again: Float = self.count_lift.max(axis=1) * self.since_lift.max(axis=1)
        self.comes_again: Bool = np.asarray((self.again.reshape(n_states, n_codes, 2) > 0).any(axis=(0, 2)))
        lift = np.asarray(family.lift, dtype=np.float32)[:, self.code]
        self.sex_limit = np.asarray(family.sex_limit, dtype=np.int64)[self.code]
        self.age_min = np.asarray(family.age_min, dtype=np.float64)[self.code]
        self.age_max = np.asarray(family.age_max, dtype=np.float64)[self.code]
        possible = possible_strata(strata, self.sex_limit, self.age_min, self.age_max)
        lift = np.where(possible, lift, np.float32(0))
        self.lift = lift.reshape(-1)
        self._make_rates(lift, strata, n_states)

    def of_count(self, rank: Int, times: Int) -> Float:
        """Return the odds multipliers of codes had in so many visits before."""
        return np.asarray(self.count_lift[rank, np.minimum(times, self.count_lift.shape[1]) - 1])

    def of_days(self, rank: Int, days: Int) -> Float:
        """Return the odds multipliers of codes last had so many days ago."""
        return np.asarray(self.since_lift[rank, np.searchsorted(self.since_edges, days, side="right") - 1])

    def _make_rates(self, lift: npt.NDArray[np.float32], strata: Strata, n_states: int) -> None:
        """Make the running sums of the highest rates of new codes, for groups of strata that are small enough."""
        ages = strata.n_ages
        groups = _CELLS // max(1, n_states * self.n_codes)
        per_sex = min(ages, max(1, groups // len(strata.sexes)))
        of_age = np.arange(ages) * per_sex // ages
        of_sex = np.arange(len(strata.sexes)) if groups >= len(strata.sexes) else np.zeros(len(strata.sexes), np.int64)
        self.group = (of_sex[:, None] * per_sex + of_age[None, :]).reshape(-1)
        n_groups = int(self.group.max()) + 1
        highest = np.zeros((n_groups, self.n_codes), dtype=np.float32)
        np.maximum.at(highest, self.group, lift)
        self.highest = highest.reshape(-1)
        never = self.never.reshape(n_states, self.n_codes)
        rates = np.empty((n_groups, n_states, self.n_codes))
        for g in range(n_groups):
            rates[g] = rate(lifted(never, highest[g]))
        self.running: Float = np.cumsum(rates.reshape(-1), out=rates.reshape(-1))
        ends = self.running.reshape(-1, self.n_codes)[:, -1] if self.n_codes else np.zeros(n_groups * n_states)
        self.row_start = np.concatenate([[0.0], ends[:-1]])
        self.row_total = ends - self.row_start


def _steady(count_lift: Float) -> Int:
    """Return from which number of earlier visits on each code's odds multiplier stays the same, int64[C]."""
    differs = count_lift != count_lift[:, -1:]
    return np.where(differs.any(axis=1), count_lift.shape[1] - np.argmax(differs[:, ::-1], axis=1), 0) + 1


def lifted(p: npt.NDArray[np.floating[Any]], lift: npt.NDArray[np.floating[Any]]) -> Float:
    """Return the probabilities `p` with their odds multiplied by `lift`; a certain one stays certain if lift > 0."""
    p, lift = np.asarray(p, dtype=np.float64), np.asarray(lift, dtype=np.float64)
    raised = p * lift
    # 1 - p + p * lift is zero only for a certain code with lift zero, which is impossible.
    return np.asarray(raised / np.maximum(1.0 - p + raised, 1e-300))


def odds_of(table: npt.ArrayLike) -> Float:
    """Return the odds of probabilities; those of a certain one are finite."""
    p = np.minimum(np.asarray(table, dtype=np.float64), _MOST)
    return np.asarray(p / (1.0 - p))


def rate(p: Float) -> Float:
    """Return the rate at which a code arrives that is present with probability `p`."""
    return np.asarray(-np.log1p(-np.minimum(p, _CERTAIN)))


def depths(parent: Int) -> Int:
    """Return the number of ancestors of each code; a circle of parents is a `ModelError`."""
    depth = np.zeros(len(parent), dtype=np.int64)
    ancestor = parent.copy()
    for _ in range(len(parent) + 1):
        alive = ancestor >= 0
        if not alive.any():
            return depth
        depth[alive] += 1
        ancestor[alive] = parent[ancestor[alive]]
    raise ModelError("The tree of codes has a circle: a code is among its own ancestors.")


def possible_strata(strata: Strata, sex_limit: Int, age_min: Float, age_max: Float) -> Bool:
    """Return whether each code is possible anywhere in each stratum, bool[R, C]."""
    sex = sex_numbers(strata.sexes).repeat(strata.n_ages)
    edges = np.asarray(strata.age_edges, dtype=np.float64)
    # The outer bands take the ages beyond them; a day of grace for ages counted in days instead of birthdays.
    low = np.concatenate([[-np.inf], edges[1:-1]]) - 0.01
    high = np.concatenate([edges[1:-1], [np.inf]]) + 0.01
    fits_sex = (sex_limit == 0) | (sex[:, None] == 0) | (sex[:, None] == sex_limit)
    fits_age = (high[:, None] > age_min) & (low[:, None] < age_max + 1)
    return np.asarray(fits_sex & np.tile(fits_age, (len(strata.sexes), 1)))
