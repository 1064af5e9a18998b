"""How often generated people have the pairs that keep company: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.company_counts import Pairs, history_of
from ehrsynth.learning.steps import beyond_chance, longer
from ehrsynth.model import CodeFamily
from ehrsynth.probability.ragged import ranges
from ehrsynth.probability.sets import BEFORE, KINDS, SAME

__all__ = ["PairMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LOWEST, _HIGHEST = -5.0, 12.0
_LARGEST = 6.0
_LONGER, _MOST_GAIN, _LONGEST = 1.5, 4.0, 2.0


class PairMargins:
    """The company of a family of few codes a visit, and how often each of its pairs comes in the source.

    `learn_company` matches pairs given the true history of each visit. In whole generated records the history is drawn
    too, and what is off in one visit is off in those that follow.

    Parameters
    ----------
    family : CodeFamily
        With `company`.
    cohort : Cohort
        Of the source.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort) -> None:
        self._pairs = Pairs(len(family.codings))
        company = np.asarray(family.company, dtype=np.int64)
        kind, given, code = company.T
        low, high = np.minimum(given, code), np.maximum(given, code)
        # Company in a visit is mutual: both directions have one count.
        same = kind == SAME
        self._cell = kind, np.where(same, low, given) * self._pairs.n + np.where(same, high, code)
        self._first = np.log1p(np.maximum(np.asarray(family.boost, dtype=np.float64), np.expm1(_LOWEST)))
        self._moved, self._gain, self._before = (np.full(len(self._first), start) for start in (0.0, 1.0, 0.0))
        self._seen = cohort.total(partial(_seen, table=family.table, pairs=self._pairs, cell=self._cell))
        self._people = cohort.n_patients

    def count(self, visit: Ints, code: Ints, offsets: Ints, patient: Ints) -> Doubles:
        """Return how often each pair of the company comes in records, float64[m].

        Parameters
        ----------
        visit, code : int64[nnz]
            Codes of the visits, visits ascending.
        offsets : int64[n + 1]
            Of patients.
        patient : int64[V]
        """
        return _count(visit, code, offsets, patient, self._pairs, self._cell)

    def moved(self, family: CodeFamily, made: Doubles, drawn: int, step: float) -> CodeFamily:
        """Return the family with boosts under which pairs come about as often as seen; `made` of so many `drawn`."""
        scale = drawn / self._people
        error = np.log((self._seen * scale + 1.0) / (made + 1.0))
        noise = scale / (self._seen * scale + 1.0) + 1.0 / (made + 1.0)
        error = beyond_chance(error, noise)
        # Pairs that hardly answer to their odds, as those that nearly always come together: longer steps.
        self._gain = longer(self._gain, self._before, error, _LONGER, _MOST_GAIN)
        self._before = error
        self._moved = np.clip(self._moved + np.minimum(step * self._gain, _LONGEST) * error, -_LARGEST, _LARGEST)
        boost = np.expm1(np.clip(self._first + self._moved, _LOWEST, _HIGHEST))
        return replace(family, boost=boost.astype(np.float32))


def _seen(timelines: Timelines, table: str, pairs: Pairs, cell: tuple[Ints, Ints]) -> Doubles:
    """Return how often each pair comes in the records of some patients."""
    codes = timelines.families[table]
    return _count(
        codes.visits.astype(np.int64),
        codes.codes.astype(np.int64),
        timelines.offsets,
        timelines.patient_of_visit,
        pairs,
        cell,
    )


def _count(visit: Ints, code: Ints, offsets: Ints, patient: Ints, pairs: Pairs, cell: tuple[Ints, Ints]) -> Doubles:
    """Return how often each pair comes, float64[m], see `PairMargins.count`; `cell` has the kind and number of each."""
    n = pairs.n
    total = np.zeros((KINDS, n**2))
    total[SAME] = np.bincount(pairs.same(visit, code)[1], minlength=n**2)
    row, lead, last, _ = history_of(visit, code, offsets, patient, max(n, int(code.max(initial=0)) + 1))
    just = row == last + 1
    for kind in range(BEFORE, KINDS):
        mine = (just if kind == BEFORE else ~just) & (lead < n)
        start = np.searchsorted(visit, row[mine])
        length = np.searchsorted(visit, row[mine], side="right") - start
        other, given = code[ranges(start, length)], np.repeat(lead[mine], length)
        kept = (other != given) & (other < n)
        total[kind] = np.bincount(given[kept] * n + other[kept], minlength=n**2)
    return np.asarray(total[cell])
