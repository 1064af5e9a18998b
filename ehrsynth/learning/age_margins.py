"""How long until the next visit, and whether a record ends and in death, by age: tried as whole records, and moved.

States are few and what tells them apart is mostly codes: people of seventy and of twenty share them, though one comes
twice as often as the other. What the states do not say of an age is said here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.binned import age_days
from ehrsynth.learning.end_margins import ends_known
from ehrsynth.learning.steps import beyond_chance, log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["AgeMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 3.0
_MOST_BANDS = 12
_PEOPLE_A_BAND = 60
_CAUTION = 2.0
"""Times the variance of counts: visits of one person are no independent evidence."""


class AgeMargins:
    """How many visits another follows after so many days, and after how many the record ends, by age at the visit.

    Parameters
    ----------
    trajectory : Trajectory
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
        strata = trajectory.strata
        visits, people = cohort.total(partial(_by_band, edges=strata.first_days))
        self._edges = _bands(visits, people, strata.first_days)
        self._gap_days = trajectory.gap_days
        self._shape = len(self._edges), trajectory.gap_days.n_coarse
        self._seen = cohort.total(partial(_seen, margins=self))
        self._gap, self._end = np.zeros(self._shape), np.zeros(self._shape[0])

    def count(self, age: Ints, gap: Ints, last: npt.NDArray[np.bool_], weight: Doubles) -> Doubles:
        """Return next visits by bin of days, and last the ends, float64[A', B + 1].

        Parameters
        ----------
        age : int64[v]
            Days of life at each visit.
        gap : int64[v]
            Days until the next one; of the last visit of a record any number.
        last : bool[v]
            Whether the record ended with the visit.
        weight : float64[v]
        """
        n = self._shape[1]
        band = np.searchsorted(self._edges, age, side="right") - 1
        what = np.where(last, n, self._gap_days.coarse_of(gap))
        counts: Doubles = np.bincount(band * (n + 1) + what, weight, self._shape[0] * (n + 1)).astype(np.float64)
        return counts.reshape(-1, n + 1)

    def moved(self, trajectory: Trajectory, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory under which as many are seen; `made` under the last one."""
        if self._shape[0] == 1:
            return trajectory
        seen = self._seen
        ends = [(one.sum(axis=1), one[:, -1]) for one in (seen, made)]
        error = log_odds_error(*ends)
        self._end = np.clip(self._end + step * error, -_LARGEST, _LARGEST)
        result = replace(trajectory, age_edges=self._edges, age_end=np.exp(self._end))
        if self._shape[1] == 1:
            return replace(result, age_gap=np.ones((self._shape[0], 1)))
        seen_gap, made_gap = seen[:, :-1], made[:, :-1]
        hoped = made_gap * (seen_gap.sum(axis=1) / np.maximum(made_gap.sum(axis=1), 1e-9))[:, None]
        off = np.log((seen_gap + 0.5) / (hoped + 0.5))
        # What is off at every age is no matter of age.
        everywhere = np.log((seen_gap.sum(axis=0) + 0.5) / (hoped.sum(axis=0) + 0.5))
        noise = _CAUTION * (1.0 / (seen_gap + 0.5) + 1.0 / (made_gap + 0.5))
        self._gap = np.clip(self._gap + step * beyond_chance(off - everywhere, noise), -_LARGEST, _LARGEST)
        return replace(result, age_gap=np.exp(self._gap))


def _bands(visits: Ints, people: Ints, edges: Ints) -> Ints:
    """Return the first day of life of each band: bands of the strata together, of enough people and visits."""
    least = -(-int(visits.sum()) // _MOST_BANDS)
    first, waiting, met = [0], 0, 0
    for band, (count, who) in enumerate(zip(visits.tolist(), people.tolist(), strict=True)):
        if band and met >= _PEOPLE_A_BAND and (waiting >= least or (who >= _PEOPLE_A_BAND and count >= least)):
            first.append(int(edges[band]))
            waiting = met = 0
        waiting, met = waiting + count, max(met, who)
    if met < _PEOPLE_A_BAND and len(first) > 1:
        first.pop()
    return np.array(first, dtype=np.int64)


def _by_band(timelines: Timelines, edges: Ints) -> Ints:
    """Return the visits, and the people who have one, by band of age, int64[2, A]."""
    band = np.searchsorted(edges, age_days(timelines), side="right") - 1
    people = distinct_patients(band, timelines.patient_of_visit.astype(np.int64), len(edges))
    return np.stack([np.bincount(band, minlength=len(edges)), people])


def _seen(timelines: Timelines, margins: AgeMargins) -> Doubles:
    """Return the counts of the source."""
    known, owner = np.flatnonzero(ends_known(timelines)), timelines.patient_of_visit
    last = timelines.is_last[known]
    # Days are told of visits that another follows.
    gap = np.where(last, 0, timelines.gap_days[known]).astype(np.int64)
    return margins.count(age_days(timelines)[known], gap, last, timelines.weight[owner[known]])
