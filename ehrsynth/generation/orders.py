"""Sets of drugs and procedures of visits with conditions: drawn whole, each for its reason."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.segments import first_of_each, first_times
from ehrsynth.model import OrderSets
from ehrsynth.probability.ragged import padded, ranges, starts

__all__ = ["OrderSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


class OrderSampler:
    """Order sets made ready for drawing many blocks.

    Parameters
    ----------
    orders : OrderSets
    n_codes : int
        Of all families.
    """

    def __init__(self, orders: OrderSets, n_codes: int) -> None:
        self._orders, self._n_codes = orders, n_codes
        self._sets = np.asarray(orders.sets, dtype=np.int64)
        self._row_set = np.asarray(orders.row_set, dtype=np.int64)
        self._offsets = np.asarray(orders.offsets, dtype=np.int64)
        self._group = np.asarray(orders.group, dtype=np.int64)
        self._n_groups = int(self._group.max()) + 1
        reasons = np.asarray(orders.reasons, dtype=np.int64)
        self._n_reasons = len(reasons)
        self._reasons: dict[tuple[int, ...], tuple[int, ...]] = {}
        for k, row in enumerate(reasons):
            conditions = tuple(row[row >= 0].tolist())
            self._reasons[conditions] = (*self._reasons.get(conditions, ()), k)
        # The largest first: what a visit's conditions are made of.
        self._by_size = sorted(self._reasons, key=lambda reason: -len(reason))
        # One ascending array of running sums of all cells and reasons, so that one search answers all draws.
        self._weight = np.asarray(orders.weight, dtype=np.float64)
        self._period = None if orders.period is None else np.asarray(orders.period, dtype=np.float64)
        weight = self._weight.T
        reason = np.repeat(np.arange(len(reasons)), np.diff(self._offsets))
        running = np.cumsum(weight, axis=1)
        before = np.concatenate([np.zeros((len(weight), 1)), running], axis=1)[:, self._offsets[:-1]]
        total = np.add.reduceat(weight, self._offsets[:-1], axis=1)
        place = (running - before[:, reason]) / total[:, reason]
        self._running = (np.minimum(place, 1.0) + reason + np.arange(len(weight))[:, None] * len(reasons)).reshape(-1)
        self._cover: dict[tuple[int, ...], tuple[int, ...]] = {}

    @property
    def led(self) -> Int:
        """The codes that are drawn here."""
        return np.asarray(self._orders.led, dtype=np.int64)

    def draw(self, visits: VisitContext, conditions: Present, rng: np.random.Generator) -> Present:
        """Return the ordered codes of visits with these `conditions`, numbered through all families."""
        start = np.flatnonzero(first_of_each(conditions.visit))
        count = np.diff(np.append(start, len(conditions)))
        visit = conditions.visit[start]
        owner = np.repeat(np.arange(len(start)), count)
        again = np.bincount(owner, conditions.recurs, len(start)) > 0
        codes = padded(owner, conditions.code, len(start), int(count.max(initial=1)))
        codes.sort(axis=1)
        distinct, which = np.unique(codes, axis=0, return_inverse=True)
        covers = [self._covered(tuple(row[row >= 0].tolist())) for row in distinct]
        which = which.reshape(-1)
        length = np.array([len(cover) for cover in covers], dtype=np.int64)
        first = starts(length)
        flat = np.array([k for cover in covers for k in cover], dtype=np.int64)
        times = length[which]
        row = np.repeat(np.arange(len(start)), times)
        reason = flat[ranges(first[which], times)]
        cell = self._group[visits.stratum[visit]] + np.where(again, self._n_groups, 0)
        u = rng.random(len(row))
        if self._period is not None:
            assert visits.days_left is not None
            drawn = self._by_period(self._period, reason, cell[row], visits.days_left[visit[row]], u)
        else:
            at = np.searchsorted(self._running, u + reason + cell[row] * self._n_reasons, side="right")
            drawn = np.clip(at - cell[row] * len(self._row_set), self._offsets[reason], self._offsets[reason + 1] - 1)
        sets = self._sets[self._row_set[drawn]]
        there = sets >= 0
        key = np.unique(np.repeat(visit[row], there.sum(axis=1)) * self._n_codes + sets[there])
        visit, code = np.divmod(key, self._n_codes)
        pair = visits.patient[visit] * self._n_codes + code
        return Present(visit=visit, code=code, recurs=~first_times(pair))

    def _by_period(self, period: Float, reason: Int, cell: Int, days_left: Int, u: Float) -> Int:
        """Return a row of each reason, drawn in proportion to weight and period."""
        assert self._orders.back_edges is not None
        band = np.searchsorted(np.asarray(self._orders.back_edges), days_left, side="right") - 1
        length = np.diff(self._offsets)[reason]
        row = ranges(self._offsets[reason], length)
        owner = np.repeat(np.arange(len(reason)), length)
        running = np.cumsum(self._weight[row, cell[owner]] * period[row, np.maximum(band, 0)[owner]])
        last = np.cumsum(length) - 1
        before = np.append(0.0, running[last[:-1]])[: len(last)]
        # Sums that are not below what was drawn, of all before too: one search answers all.
        place = np.searchsorted(running, before + u * (running[last] - before), side="right")
        return np.asarray(row[np.clip(place, last - length + 1, last)])

    def _covered(self, conditions: tuple[int, ...]) -> tuple[int, ...]:
        """Return the draws for some conditions: those of one reason, or of the largest ones that they are made of."""
        if conditions in self._reasons:
            return self._reasons[conditions]
        if conditions not in self._cover:
            found: list[int] = []
            rest = set(conditions)
            for reason in self._by_size:
                if rest.issuperset(reason):
                    found.extend(self._reasons[reason])
                    rest.difference_update(reason)
            self._cover[conditions] = tuple(found)
        return self._cover[conditions]
