"""Codes of visits that have room for a fixed number of them: so many, drawn by their odds without repetition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.model import CodeFamily
from ehrsynth.probability.categorical import cumulative, sample_rows

__all__ = ["SlotSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_TRIES = 40
"""Draws with replacement until all codes of a visit differ; then without."""
_MOST = 1.0 - 1e-6


class SlotSampler:
    """A family with `CodeFamily.sizes`, made ready for drawing many blocks.

    Given its number n, P(codes of a visit) is the product of their odds over the sum of such products over all sets of
    n codes. Independent draws with probabilities in proportion to the odds, given that no two are the same, have
    exactly this distribution.
    """

    def __init__(self, family: CodeFamily) -> None:
        never, previous, earlier = (
            np.minimum(np.asarray(table, dtype=np.float64), _MOST)
            for table in (family.never, family.previous, family.earlier)
        )
        self._never, self._previous, self._earlier = (table / (1.0 - table) for table in (never, previous, earlier))
        self._lift = np.asarray(family.lift, dtype=np.float64)
        self._sizes = cumulative(np.asarray(family.sizes))
        sex, low, high = (np.asarray(getattr(family, name)) for name in ("sex_limit", "age_min", "age_max"))
        self._limited = np.flatnonzero((sex != 0) | (low > 0) | np.isfinite(high))
        self._limits = sex[self._limited], low[self._limited], high[self._limited]

    def draw(self, visits: VisitContext, rng: np.random.Generator) -> Present:
        """Return the codes of `visits`, as `CodeSampler.draw`; the k-th visits of all people at a time."""
        n_codes = self._never.shape[1]
        first, length = visits.offsets[:-1], np.diff(visits.offsets)
        size = sample_rows(self._sizes, visits.state, rng.random(len(visits)))
        last = np.full((len(length), n_codes), -1, dtype=np.int32)
        found: list[tuple[Int, Int, Bool]] = []
        for number in range(int(length.max(initial=0))):
            people = np.flatnonzero(length > number)
            visit = first[people] + number
            odds = self._odds(visits, visit, last[people] if number else None, number)
            row, code = _without_repetition(odds, size[visit], rng)
            order = np.lexsort((code, row))
            row, code = row[order], code[order]
            found.append((visit[row], code, last[people[row], code] >= 0))
            last[people[row], code] = number
        visit, code, recurs = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(visit, kind="stable")
        return Present(visit=visit[order], code=code[order], recurs=recurs[order])

    def _odds(self, visits: VisitContext, visit: Int, last: npt.NDArray[np.int32] | None, number: int) -> Float:
        """Return the odds of each code in each of `visit`, float64[n, C]; 0 where it is impossible."""
        state, stratum = visits.state[visit], visits.stratum[visit]
        odds: Float = self._never[state]
        if last is not None:
            row, code = np.nonzero(last >= 0)
            just = last[row, code] == number - 1
            odds[row, code] = np.where(just, self._previous[state[row], code], self._earlier[state[row], code])
        odds *= self._lift[stratum]
        k = len(self._limited)
        if k:
            n = len(visit)
            limits = [np.tile(limit, n) for limit in self._limits]
            possible = visits.allows(np.repeat(visit, k), limits[0], limits[1], limits[2]).reshape(n, k)
            odds[:, self._limited] *= possible
        return odds


def _without_repetition(odds: Float, size: Int, rng: np.random.Generator) -> tuple[Int, Int]:
    """Return (row, code) of `size` different codes for each row of `odds`; fewer where fewer are possible."""
    size = np.minimum(size, (odds > 0).sum(axis=1))
    width = int(size.max(initial=0))
    chosen = np.full((len(odds), width), -1, dtype=np.int64)
    todo = np.flatnonzero(size > 0)
    slots = np.arange(width)
    for _ in range(_TRIES):
        if not len(todo):
            break
        drawn = np.sort(np.where(slots < size[todo, None], _draw(odds[todo], width, rng), -1 - slots), axis=1)
        fine = ~(drawn[:, 1:] == drawn[:, :-1]).any(axis=1)
        chosen[todo[fine]] = drawn[fine]
        todo = todo[~fine]
    if len(todo):
        rest = odds[todo].copy()
        for place in range(width):
            active = np.flatnonzero(size[todo] > place)
            code = _draw(rest[active], 1, rng)[:, 0]
            chosen[todo[active], place] = code
            rest[active, code] = 0.0
    row, slot = np.nonzero(chosen >= 0)
    return row, chosen[row, slot]


def _draw(odds: Float, width: int, rng: np.random.Generator) -> Int:
    """Return `width` codes for each row in proportion to its odds, with replacement, int64[n, width]."""
    n, c = odds.shape
    running = np.cumsum(odds, axis=1)
    total = running[:, -1:]
    # Rows one after the other make one ascending array, so that one search answers all.
    flat = (running / total + np.arange(n)[:, None]).reshape(-1)
    u = rng.random((n, width)) + np.arange(n)[:, None]
    found = np.searchsorted(flat, u.reshape(-1), side="right").reshape(n, width) - np.arange(n)[:, None] * c
    # Rounding may point past the last possible code, or to an impossible one beside it.
    last = c - 1 - np.argmax(odds[:, ::-1] > 0, axis=1)
    return np.asarray(np.minimum(np.maximum(found, 0), last[:, None]), dtype=np.int64)
