"""At what ages generated people have a code: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.binned import strata_of
from ehrsynth.learning.steps import beyond_chance
from ehrsynth.model import CodeFamily, Strata

__all__ = ["AgeMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 6.0
_LONGEST = 2.5
_APART = 0.25
"""Share of a code's visits that are at other ages than seen from which on it is moved: else more is lost than won."""
_FEWEST = 50


class AgeMargins:
    """Which share of the visits with a code falls into each band of age, in whole records of the source.

    `code_lift` matches codes by sex and age at the visits of true histories, whose states real histories predict. In
    generated records other states are met at an age: a vaccine of one birthday would be given at any.

    Only the shares are moved: how many people have the code, and how often, are margins of their own.

    Parameters
    ----------
    family : CodeFamily
    strata : Strata
    cohort : Cohort
        Of the source.
    min_patients : int
        Of bands with fewer people who have the code it is known only that they are few.
    led : int64[n], optional
        Codes that are not drawn by themselves, and are left as they are.
    """

    def __init__(
        self, family: CodeFamily, strata: Strata, cohort: Cohort, min_patients: int, led: Ints | None = None
    ) -> None:
        self._strata, self._n_codes = strata, len(family.codings)
        self._lift = np.asarray(family.lift, dtype=np.float64)
        seen, people = cohort.total(partial(_seen, table=family.table, strata=strata, n_codes=self._n_codes))
        self._seen, self._people, self._few = seen, people, people < min_patients
        # All bands of few people together are no more than those seen there, or few again.
        pooled = np.where(self._few, people, 0.0).sum(axis=0)
        each = seen.sum(axis=0) / np.maximum(people.sum(axis=0), 1.0)
        self._rest = np.where(
            pooled < min_patients, min_patients / 2 * np.maximum(each, 1.0), np.where(self._few, seen, 0.0).sum(axis=0)
        )
        self._moved, self._off = np.zeros(seen.shape), np.zeros(self._n_codes, dtype=bool)
        # Ages of codes that come with another one are those of the other one.
        beside = cohort.total(partial(_beside, table=family.table, parent=np.asarray(family.parent)))
        self._led = 2.0 * beside > np.maximum(
            cohort.total(partial(_counted, table=family.table, n_codes=self._n_codes)), 1.0
        )
        if led is not None:
            self._led[led] = True

    def count(self, stratum: Ints, code: Ints, weight: Doubles) -> Doubles:
        """Return the visits with each code by band of age, float64[A, C]; of each visit with a code."""
        cell = stratum % self._strata.n_ages * self._n_codes + code
        counts: Doubles = np.bincount(cell, weight, self._strata.n_ages * self._n_codes).astype(np.float64)
        return counts.reshape(-1, self._n_codes)

    def moved(self, family: CodeFamily, made: Doubles, step: float) -> CodeFamily:
        """Return the family with odds under which codes come at the ages seen; `made` under the last ones."""
        total = np.maximum(self._seen.sum(axis=0), 1.0)
        scale = made.sum(axis=0) / total
        few = np.where(self._few, made, 0.0)
        rest = few * np.minimum(self._rest * scale / np.maximum(few.sum(axis=0), 1e-9), 1.0)
        seen = np.where(self._few, rest, self._seen * scale)
        error = np.log((seen + 1.0) / (made + 1.0))
        # Visits of one person are no independent evidence.
        each = np.maximum(self._seen, 1.0) / np.maximum(self._people, 1.0)
        noise = np.where(self._few, 0.0, 1.0 / (self._people + 1.0)) + each / (made + 1.0)
        error = beyond_chance(error, noise)
        apart = np.abs(self._seen / total - made / np.maximum(made.sum(axis=0), 1.0)).sum(axis=0) / 2
        self._off |= (apart >= _APART) & (self._people.sum(axis=0) >= _FEWEST)
        error[:, self._led | ~self._off] = 0.0
        self._moved = np.clip(self._moved + np.clip(step * error, -_LONGEST, _LONGEST), -_LARGEST, _LARGEST)
        lift = self._lift * np.exp(np.tile(self._moved, (len(self._strata.sexes), 1)))
        return replace(family, lift=lift.astype(np.float32))


def _counted(timelines: Timelines, table: str, n_codes: int) -> Doubles:
    return np.bincount(timelines.families[table].codes, minlength=n_codes).astype(np.float64)


def _beside(timelines: Timelines, table: str, parent: Ints) -> Doubles:
    """Return in how many visits each code is beside its parent, float64[C]."""
    codes, every = timelines.families[table], timelines.families[UNION]
    pairs = np.sort(every.visits.astype(np.int64) * every.n_codes + every.codes)
    mine = parent[codes.codes].astype(np.int64)
    wanted = codes.visits.astype(np.int64) * every.n_codes + mine
    found = pairs[np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)] == wanted
    return np.bincount(codes.codes, found & (mine >= 0), len(parent)).astype(np.float64)


def _seen(timelines: Timelines, table: str, strata: Strata, n_codes: int) -> Doubles:
    """Return (visits, people) float64[2, A, C] with each code in each band of age."""
    codes, n_ages = timelines.families[table], strata.n_ages
    owner = timelines.patient_of_visit[codes.visits].astype(np.int64)
    cell = strata_of(timelines, strata)[codes.visits] % n_ages * n_codes + codes.codes
    visits = np.bincount(cell, timelines.weight[owner], n_ages * n_codes)
    return np.stack([visits, distinct_patients(cell, owner, n_ages * n_codes)]).reshape(2, n_ages, n_codes)
