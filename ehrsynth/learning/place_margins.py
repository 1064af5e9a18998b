"""Pairs of codes that compete for the places of visits: tried as whole records, and moved to what is likely."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort
from ehrsynth.learning.company_counts import Pairs
from ehrsynth.learning.pair_margins import (
    LARGEST,
    RECORD,
    PairTally,
    cells_of,
    joining,
    log_boost,
    seen_pairs,
    with_company,
)
from ehrsynth.model import CodeFamily
from ehrsynth.probability.sets import BEFORE, EARLIER, KINDS, SAME

__all__ = ["PlaceMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_STRENGTH = 30.0
"""A pair that was seen so often is believed half, and half what the model makes of it."""
_LEAST_PAIRS = 1.0
"""Pairs join the company that are to come at least so much more or less often."""
_ROUNDS_WIDER = 2


class PlaceMargins:
    """The company of a family of fixed places, and how often each of its pairs comes in the source.

    What is given to one pair is taken from others, so that a pair moves only as far as it was seen often enough: the
    logarithm of its odds has a normal prior about what `learn_company` found, of variance 1 / `_STRENGTH`, and moves to
    the mode of its posterior under Poisson counts, by damped Newton steps from one drawn cohort to the next. Counted
    are pairs of a visit, of the visit before, of earlier ones, and how many people ever have both codes.

    Parameters
    ----------
    family : CodeFamily
        With `company` and `sizes`.
    cohort : Cohort
        Of the source.
    min_patients : int
        Of pairs of fewer people it is known only that they are few.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort, min_patients: int) -> None:
        self._pairs = Pairs(len(family.codings))
        self._company = np.asarray(family.company, dtype=np.int64)
        self._first = log_boost(family)
        self._moved = np.zeros(len(self._first))
        self._seen, people = cohort.total(partial(seen_pairs, table=family.table, pairs=self._pairs, records=True))
        self._known = people >= min_patients
        self._few = min_patients / 2
        self._people = cohort.n_patients
        self._round = 0

    def tally(self) -> PairTally:
        """Return an empty count of pairs."""
        return PairTally(self._pairs, records=True)

    def moved(self, family: CodeFamily, made: Doubles, drawn: int, step: float) -> CodeFamily:
        """Return the family with boosts under which pairs come about as often as seen; `made` of so many `drawn`."""
        scale = drawn / self._people
        prior = _STRENGTH * scale
        seen = np.where(self._known, self._seen * scale, np.minimum(made, self._few * scale))
        if self._round < _ROUNDS_WIDER:
            self._widen(seen, made, prior)
        self._round += 1
        n = self._pairs.n
        cell = cells_of(self._company, n)
        both = RECORD, self._company[:, 1:].min(axis=1) * n + self._company[:, 1:].max(axis=1)
        # Of the people with both codes, those who have them in this way.
        share = np.minimum(made[cell] / np.maximum(_in_any_way(made, n)[both[1]], 1.0), 1.0)
        slope = seen[cell] - made[cell] + share * (seen[both] - made[both]) - prior * self._moved
        bend = (made[cell] + np.maximum(made[cell], seen[cell])) / 2 + prior + 1.0
        bend += share**2 * np.maximum(made[both], seen[both])
        self._moved = np.clip(self._moved + step * slope / bend, -LARGEST, LARGEST)
        return with_company(family, self._company, self._first + self._moved)

    def _widen(self, seen: Doubles, made: Doubles, prior: float) -> None:
        """Take in the pairs that are off and no company yet."""
        n = self._pairs.n
        most = np.maximum(seen, made)[:KINDS]
        kind, cell = np.nonzero(np.abs(seen - made)[:KINDS] * most >= _LEAST_PAIRS * (most + prior))
        pair = joining(kind, cell, self._company, n)
        self._company = np.concatenate([self._company, pair])
        self._first, self._moved = (np.concatenate([one, np.zeros(len(pair))]) for one in (self._first, self._moved))


def _in_any_way(made: Doubles, n: int) -> Doubles:
    """Return how often two codes come in one visit or one after the other, in either order, float64[T * T]."""
    apart = (made[BEFORE] + made[EARLIER]).reshape(n, n)
    result: Doubles = made[SAME] + (apart + apart.T).reshape(-1)
    return result
