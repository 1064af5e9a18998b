"""How many codes generated visits have after the visit before: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.company_counts import SIZES_BEFORE
from ehrsynth.learning.steps import beyond_chance
from ehrsynth.model import CodeFamily

__all__ = ["SizeMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 3.0


class SizeMargins:
    """In how many visits of each number of codes the next one has each number, of a family of few codes a visit.

    `learn_company` matches them given the states that true histories predict. In whole records states are drawn, and
    what one visit lacks the next one lacks too.

    Parameters
    ----------
    family : CodeFamily
        With `sizes` or `tilt`.
    cohort : Cohort
        Of the source.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort) -> None:
        table = family.sizes if family.tilt is None else family.tilt
        self._most = np.asarray(table).shape[1] - 1
        after = np.ones((SIZES_BEFORE, self._most + 1)) if family.size_after is None else np.asarray(family.size_after)
        self._first = np.asarray(after, dtype=np.float64)
        self._moved = np.zeros(self._first.shape)
        self._seen = cohort.total(partial(_seen, table=family.table, margins=self))

    def count(self, visit: Ints, offsets: Ints) -> Doubles:
        """Return visits by the number of codes of the visit before and of its own, float64[SIZES_BEFORE, N + 1].

        Parameters
        ----------
        visit : int64[nnz]
            Of each code.
        offsets : int64[n + 1]
            Of patients.
        """
        size = np.minimum(np.bincount(visit, minlength=int(offsets[-1])), self._most)
        before = np.zeros(len(size), dtype=np.int64)
        before[1:] = 1 + np.minimum(size[:-1], SIZES_BEFORE - 2)
        before[offsets[:-1]] = 0
        n = self._most + 1
        return np.bincount(before * n + size, minlength=SIZES_BEFORE * n).reshape(-1, n).astype(np.float64)

    def moved(self, family: CodeFamily, made: Doubles, step: float) -> CodeFamily:
        """Return the family whose visits have about as many codes as seen after each other; `made` under the last."""
        seen_share, made_share = (one / np.maximum(one.sum(axis=1, keepdims=True), 1.0) for one in (self._seen, made))
        # Half a count of both: what never came once may come yet, and the other way round.
        error = np.log((self._seen + 0.5) / (made + 0.5)) - np.log(
            (self._seen.sum(axis=1, keepdims=True) + 0.5) / (made.sum(axis=1, keepdims=True) + 0.5)
        )
        error = beyond_chance(error, (1.0 - seen_share) / (self._seen + 0.5) + (1.0 - made_share) / (made + 0.5))
        # A number that no visit can have stays so.
        error[:, self._seen.sum(axis=0) == 0] = 0.0
        self._moved = np.clip(self._moved + step * error, -_LARGEST, _LARGEST)
        return replace(family, size_after=(self._first * np.exp(self._moved)).astype(np.float32))


def _seen(timelines: Timelines, table: str, margins: SizeMargins) -> Doubles:
    """Return the counts of some patients of the source."""
    return margins.count(timelines.families[table].visits.astype(np.int64), timelines.offsets)
