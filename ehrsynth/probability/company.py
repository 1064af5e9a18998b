"""What is given to sets of things: the company that raises or lowers odds, things had before, and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.ragged import starts

__all__ = ["BEFORE", "EARLIER", "KINDS", "SAME", "Allowed", "Company", "Given"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

SAME, BEFORE, EARLIER = 0, 1, 2
"""Kinds of company: a thing of the same set; of the set before; of an earlier one, and not of that before."""
KINDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Allowed:
    """Which things rows may have besides their odds.

    Attributes
    ----------
    things : int64[l]
        Those that some rows may not have.
    check : callable (row int64[...], thing int64[...]) -> bool[...], as numpy broadcasts them
        Whether a row may have a thing.
    """

    things: Int
    check: Callable[[Int, Int], Bool]


class Company:
    """Which thing raises or lowers the odds of which.

    Thing c has weight odds(c) * (1 + sum of positive boosts) * product of (1 + negative boosts) over the things given.

    Parameters
    ----------
    n_things : int
    kind, given, thing : int[m]
        `SAME`, `BEFORE` or `EARLIER`; the one that is there; the one whose odds change. Each triple once.
    boost : float[m]
        Above -1.
    """

    def __init__(self, n_things: int, kind: Any, given: Any, thing: Any, boost: Any) -> None:
        kind, given, thing = (np.asarray(one, dtype=np.int64) for one in (kind, given, thing))
        boost = np.asarray(boost, dtype=np.float64)
        self.n_things = n_things
        order = np.lexsort((thing, given, kind))
        source, self.thing, self.boost = (kind * n_things + given)[order], thing[order], boost[order]
        # Givens that move anything are numbered through; -1: nothing.
        known, index = np.unique(source, return_inverse=True)
        self.source = np.full(KINDS * n_things, -1, dtype=np.int64)
        self.source[known] = np.arange(len(known))
        self.count = np.bincount(index, minlength=len(known)).astype(np.int64)
        self.start = starts(self.count)
        self.keys = source * n_things + self.thing
        self._known = known
        self.lowers = bool((self.boost < 0).any())
        self.lowering = np.zeros(max(len(known), 1), dtype=bool)
        self.lowering[index[self.boost < 0]] = True

    @classmethod
    def none(cls, n_things: int) -> Company:
        """Return the company in which nobody moves anybody."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(n_things, nothing, nothing, nothing, nothing)

    def __len__(self) -> int:
        return len(self.boost)

    @property
    def n_sources(self) -> int:
        """Givens that move anything."""
        return len(self.count)

    def between(self, source: Int, thing: Int) -> Float:
        """Return the boost of `thing` by each source (its number, -1 for none); 0 where there is none."""
        result = np.zeros(len(source))
        at = (source >= 0).nonzero()[0]
        if len(at) and len(self.keys):
            wanted = self._known[source[at]] * self.n_things + thing[at]
            found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            result[at] = np.where(self.keys[found] == wanted, self.boost[found], 0.0)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What is given to each set: things with odds of their own, and the company it starts with.

    Attributes
    ----------
    row, thing : int64[h]
        Ascending by row, then thing.
    odds : float64[h]
    context_row, context : int64[x]
        Rows ascending; numbers of sources of the company, -1 not among them.
    """

    row: Int
    thing: Int
    odds: Float
    context_row: Int
    context: Int

    def times(self, factor: Float) -> Given:
        """Return the same with odds times `factor`, float64[h]."""
        return replace(self, odds=self.odds * factor)

    def of(self, rows: Int, n_rows: int, factor: Float | None = None) -> Given:
        """Return what is given to some rows (ascending, of `n_rows`), odds times the factor float64[C] of the thing."""
        place = np.full(n_rows, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        mine, there = place[self.row], place[self.context_row]
        kept, near = mine >= 0, there >= 0
        return Given(
            row=mine[kept],
            thing=self.thing[kept],
            odds=self.odds[kept] if factor is None else self.odds[kept] * factor[self.thing[kept]],
            context_row=there[near],
            context=self.context[near],
        )
