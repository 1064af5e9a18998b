"""At which ages people have each condition for the first time: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_groups, stratum_groups
from ehrsynth.learning.binned import strata_of
from ehrsynth.learning.steps import beyond_chance
from ehrsynth.model import CodeFamily, Strata

__all__ = ["OnsetAgeMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 5.0


class OnsetAgeMargins:
    """First visits with each code of a family, by sex and usual band of age.

    Odds by age are those of states that real histories predict. Where a state is gone to at other ages than in the
    source, they say nothing: nobody was expected there, and nobody seen.

    Parameters
    ----------
    family : CodeFamily
    strata : Strata
    cohort : Cohort
        Of the source; patients count by their weight.
    drawn : int
        People who are drawn in each round.
    """

    def __init__(self, family: CodeFamily, strata: Strata, cohort: Cohort, drawn: int) -> None:
        self._groups = stratum_groups(len(strata), age_groups(strata.age_edges))
        self._shape = int(self._groups.max()) + 1, len(family.codings)
        count = partial(_onsets, table=family.table, strata=strata, groups=self._groups, shape=self._shape)
        self._times = drawn / cohort.n_patients
        self._wanted = cohort.total(count) * self._times
        self._lift = np.asarray(family.lift, dtype=np.float64)
        self._moved = np.zeros(self._shape)

    def count(self, strata: Ints, onsets: Ints) -> Doubles:
        """Return how many people have each code first in each group, flat, from their strata and codes."""
        key = self._groups[strata] * self._shape[1] + onsets
        return np.bincount(key, minlength=self._shape[0] * self._shape[1]).astype(np.float64)

    def moved(self, family: CodeFamily, made: Doubles, step: float) -> CodeFamily:
        """Return the family with odds by sex and age under which onsets are as seen."""
        made = made.reshape(self._shape)
        error = np.log((self._wanted + 1.0) / (made + 1.0))
        noise = self._times / (self._wanted + 1.0) + 1.0 / (made + 1.0)
        self._moved = np.clip(self._moved + step * beyond_chance(error, noise), -_LARGEST, _LARGEST)
        return replace(family, lift=(self._lift * np.exp(self._moved[self._groups])).astype(np.float32))


def _onsets(timelines: Timelines, table: str, strata: Strata, groups: Ints, shape: tuple[int, int]) -> Doubles:
    """Return the weight of the people who have each code first in each group, float64[G, C]."""
    family = timelines.families[table]
    owner = timelines.patient_of_visit[family.visits].astype(np.int64)
    _, first = np.unique(owner * shape[1] + family.codes, return_index=True)
    group = groups[strata_of(timelines, strata)[family.visits[first]]]
    key = group * shape[1] + family.codes[first]
    counts = np.bincount(key, timelines.weight[owner[first]], shape[0] * shape[1])
    return counts.astype(np.float64).reshape(shape)
