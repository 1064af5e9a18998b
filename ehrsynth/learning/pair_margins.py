"""How often generated people have the pairs that keep company: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.company_counts import Pairs, history_of
from ehrsynth.learning.steps import beyond_chance, longer
from ehrsynth.model import CodeFamily
from ehrsynth.probability.sets import BEFORE, EARLIER, KINDS, SAME

__all__ = [
    "LARGEST",
    "RECORD",
    "PairMargins",
    "PairTally",
    "cells_of",
    "joining",
    "log_boost",
    "seen_pairs",
    "with_company",
]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LOWEST, _HIGHEST = -5.0, 12.0
"""Of log(1 + boost)."""
LARGEST = 6.0
"""How far it moves."""
RECORD = KINDS
"""Beside the kinds of company: both codes in one record, at any time, once for each person."""
_LONGER, _MOST_GAIN, _LONGEST = 1.5, 4.0, 2.0
_LEAST_Z2 = 4.0
_MOST_WAITING = 2_000_000
_ROUNDS_WIDER = 2
"""Rounds after which other pairs are taken in."""


class PairMargins:
    """The company of a family of few codes a visit, whose number follows from their odds, and how often pairs come.

    `learn_company` matches pairs given the true history of each visit. In whole generated records the history is drawn
    too, and what is off in one visit is off in those that follow. So pairs that are off in whole records only join the
    company here.

    Parameters
    ----------
    family : CodeFamily
        With `company`.
    cohort : Cohort
        Of the source.
    min_patients : int
        Of pairs of fewer people it is known only that they are few.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort, min_patients: int) -> None:
        self._pairs = Pairs(len(family.codings))
        self._company = np.asarray(family.company, dtype=np.int64)
        self._first = log_boost(family)
        self._moved, self._gain, self._before = (np.full(len(self._first), start) for start in (0.0, 1.0, 0.0))
        self._seen, people = cohort.total(partial(seen_pairs, table=family.table, pairs=self._pairs))
        self._known = people >= min_patients
        self._few = min_patients / 2
        self._satellites = family.satellites
        self._people = cohort.n_patients
        self._round = 0

    def tally(self) -> PairTally:
        """Return an empty count of pairs."""
        return PairTally(self._pairs)

    def moved(self, family: CodeFamily, made: Doubles, drawn: int, step: float) -> CodeFamily:
        """Return the family with boosts under which pairs come about as often as seen; `made` of so many `drawn`."""
        scale = drawn / self._people
        seen = np.where(self._known, self._seen, np.minimum(made / scale, self._few))
        if self._round < _ROUNDS_WIDER:
            self._widen(seen, made, scale)
        self._round += 1
        cell = cells_of(self._company, self._pairs.n)
        error = np.log((seen[cell] * scale + 1.0) / (made[cell] + 1.0))
        noise = scale / (seen[cell] * scale + 1.0) + 1.0 / (made[cell] + 1.0)
        error = beyond_chance(error, noise)
        # Pairs that hardly answer to their odds, as those that nearly always come together: longer steps.
        self._gain = longer(self._gain, self._before, error, _LONGER, _MOST_GAIN)
        self._before = error
        self._moved = np.clip(self._moved + np.minimum(step * self._gain, _LONGEST) * error, -LARGEST, LARGEST)
        return with_company(family, self._company, self._first + self._moved)

    def _widen(self, seen: Doubles, made: Doubles, scale: float) -> None:
        """Take in the pairs that come more or less often than chance lets them, and are no company yet."""
        n = self._pairs.n
        z2 = (seen * scale - made) ** 2 / (seen * scale**2 + made + 1.0)
        # Codes of long ago add up over a record; they make a code likelier at all, and visits would have more.
        z2[EARLIER] = 0.0
        kind, cell = np.nonzero(z2 >= _LEAST_Z2)
        pair = joining(kind, cell, self._company, n)
        pair = pair[pair[:, 1] != pair[:, 2]]
        # Satellites keep no company.
        pair = pair[~np.isin(pair[:, 1:], self._satellites).any(axis=1)]
        self._company = np.concatenate([self._company, pair])
        self._first, self._moved, self._gain, self._before = (
            np.concatenate([one, np.full(len(pair), start)])
            for one, start in ((self._first, 0.0), (self._moved, 0.0), (self._gain, 1.0), (self._before, 0.0))
        )


def log_boost(family: CodeFamily) -> Doubles:
    """Return log(1 + boost) of the company of a family, float64[m]."""
    return np.log1p(np.maximum(np.asarray(family.boost, dtype=np.float64), np.expm1(_LOWEST)))


def with_company(family: CodeFamily, company: Ints, log_boost: Doubles) -> CodeFamily:
    """Return the family with other company; `log_boost` is kept within bounds."""
    boost = np.expm1(np.clip(log_boost, _LOWEST, _HIGHEST))
    return replace(family, company=company.astype(np.int32), boost=boost.astype(np.float32))


def cells_of(company: Ints, n: int) -> tuple[Ints, Ints]:
    """Return (kind, pair) of each row of `company` in counts of pairs of `n` codes."""
    kind, given, code = company.T
    # Company in a visit is mutual: both directions have one count.
    same = kind == SAME
    low, high = np.where(same, np.minimum(given, code), given), np.where(same, np.maximum(given, code), code)
    return kind, low * n + high


def joining(kind: Ints, cell: Ints, company: Ints, n: int) -> Ints:
    """Return the rows int64[m, 3] of counted pairs that are no `company` yet, of a visit in both directions."""
    pair = np.column_stack([kind, cell // n, cell % n])
    pair = np.concatenate([pair, pair[kind == SAME][:, [0, 2, 1]]])
    key, old = (one @ [n**2, n, 1] for one in (pair, company))
    return np.asarray(pair[~np.isin(key, old)])


class PairTally:
    """How often each pair comes in records: of the same visit, of the visit before, of an earlier one.

    Parameters
    ----------
    pairs : Pairs
    records : bool
        Whether those of whole records are counted, too.
    """

    def __init__(self, pairs: Pairs, *, records: bool = False) -> None:
        self._pairs, self._records = pairs, records
        self._total = np.zeros((KINDS + records) * pairs.n**2)
        self._waiting: list[Ints] = []

    def add(self, visit: Ints, code: Ints, offsets: Ints, patient: Ints) -> None:
        """Count the pairs of some records.

        Parameters
        ----------
        visit, code : int64[nnz]
            Codes of the visits, visits ascending.
        offsets : int64[n + 1]
            Of patients.
        patient : int64[V]
        """
        for kind, (_, pair) in enumerate(_each(visit, code, offsets, patient, self._pairs, self._records)):
            self._waiting.append(kind * self._pairs.n**2 + pair)
        # Of many codes there are many more pairs than come in a few records.
        if sum(map(len, self._waiting)) > _MOST_WAITING:
            self._count()

    def total(self) -> Doubles:
        """Return float64[3, T * T]; with those of records, last, float64[4, T * T]."""
        self._count()
        return self._total.reshape(KINDS + self._records, -1)

    def _count(self) -> None:
        if self._waiting:
            self._total += np.bincount(np.concatenate(self._waiting), minlength=len(self._total))
            self._waiting = []


def seen_pairs(timelines: Timelines, table: str, pairs: Pairs, *, records: bool = False) -> npt.NDArray[np.float64]:
    """Return how often each pair comes in some records, and in how many of them, float64[2, 3, T * T].

    With `records` those of whole records are the last of four kinds.
    """
    codes = timelines.families[table]
    visits, code = codes.visits.astype(np.int64), codes.codes.astype(np.int64)
    owner = timelines.patient_of_visit
    total = np.zeros((2, KINDS + records, pairs.n**2))
    for kind, (person, pair) in enumerate(_each(visits, code, timelines.offsets, owner, pairs, records)):
        total[0, kind] = np.bincount(pair, minlength=pairs.n**2)
        total[1, kind] = distinct_patients(pair, person, pairs.n**2)
    return total


def _each(
    visit: Ints, code: Ints, offsets: Ints, patient: Ints, pairs: Pairs, records: bool
) -> Iterator[tuple[Ints, Ints]]:
    """Yield (patient, pair) of each kind; codes of the visits, visits ascending."""
    n = pairs.n
    row, pair = pairs.same(visit, code)
    yield patient[row], pair
    row, lead, last, _ = history_of(visit, code, offsets, patient, max(n, int(code.max(initial=0)) + 1))
    just = row == last + 1
    for kind in range(BEFORE, KINDS):
        mine = just if kind == BEFORE else ~just
        # How often a code comes again is another count, but not whether it does so in the very next visit.
        found, pair = pairs.after(visit, code, row[mine], lead[mine], itself=kind == BEFORE)
        yield patient[found], pair
    if records:
        kept = code < n
        person, had = np.divmod(np.unique(patient[visit[kept]] * n + code[kept]), n)
        yield pairs.same(person, had)
