"""How far into the record the next visits of generated people fall: tried as whole records, and moved to what was seen.

`learn_landing` matches pairs of bands at the visits of true histories. Of a pair of bands that few people make it is
known only that they are few, and many such pairs lead late into a record; small errors of each visit add up as well.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.steps import beyond_chance, log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["LandingMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 4.0
_LEAST = 1e-6


class LandingMargins:
    """How many next visits stay in each band of days since the first visit, and how many reach it from an earlier one.

    Parameters
    ----------
    trajectory : Trajectory
        With `landing`; without, nothing is moved.
    cohort : Cohort
        Of the source.
    min_patients : int
        Of a band that fewer people reach it is known only that they are few.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort, min_patients: int) -> None:
        self._landing = np.asarray(trajectory.landing, dtype=np.float64)
        self._edges = np.asarray(trajectory.elapsed_edges, dtype=np.int64)
        self._n_bands = len(self._landing)
        self._moves = self._n_bands > 1
        self._few = np.zeros(self._n_bands, dtype=bool)
        if self._moves:
            seen = cohort.total(partial(_seen, margins=self)).reshape(-1, self._n_bands)
            self._seen, self._few = seen[:-1], seen[-1] < min_patients
        self._most_of_few = min_patients / 2.0
        self._stay, self._reach = np.zeros(self._n_bands), np.zeros(self._n_bands)

    def bands(self, days: Ints) -> Ints:
        """Return the band of each number of days since the first visit."""
        return np.asarray(np.searchsorted(self._edges, days, side="right") - 1)

    def count(self, days: Ints, following: Ints, weight: Doubles) -> Doubles:
        """Return the visits that another follows by its band and that of the next one, float64[D, D].

        Parameters
        ----------
        days, following : int64[n]
            Days since the first visit: of each such visit, and of the next one.
        weight : float64[n]
        """
        if not self._moves:
            return np.zeros((1, 1))
        cell = self.bands(days) * self._n_bands + self.bands(following)
        counts: Doubles = np.bincount(cell, weight, self._n_bands**2).astype(np.float64)
        return counts.reshape(self._n_bands, -1)

    def moved(self, trajectory: Trajectory, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory with weights under which next visits fall as seen; `made` under the last ones."""
        if not self._moves:
            return trajectory
        stays = [(one.sum(axis=1), np.diagonal(one)) for one in (self._seen, made)]
        self._stay = self._stay + step * np.where(self._few, 0.0, log_odds_error(*stays))
        seen, reached = (np.triu(one, 1).sum(axis=0) for one in (self._seen, made))
        if seen.sum() and reached.sum():
            hoped = reached * (seen.sum() / reached.sum())
            seen = np.where(self._few, np.minimum(self._most_of_few, hoped), seen)
            # Shares of all that leave their band: how many these are the others say.
            error = np.log((seen + 0.5) / (hoped + 0.5))
            self._reach = self._reach + step * beyond_chance(error, 1.0 / (seen + 0.5) + 1.0 / (reached + 0.5))
        self._stay, self._reach = (np.clip(one, -_LARGEST, _LARGEST) for one in (self._stay, self._reach))
        weight = self._landing * np.exp(self._reach)
        np.fill_diagonal(weight, np.diagonal(self._landing) * np.exp(self._stay))
        weight /= weight.max(axis=1, keepdims=True)
        return replace(trajectory, landing=np.maximum(weight, np.where(self._landing > 0, _LEAST, 0.0)))


def _seen(timelines: Timelines, margins: LandingMargins) -> Doubles:
    """Return the counts of the source, and last how many people reach each band from an earlier one."""
    known = np.flatnonzero(timelines.gap_days >= 0)
    days = timelines.elapsed_days[known].astype(np.int64)
    following = days + timelines.gap_days[known]
    owner = timelines.patient_of_visit[known].astype(np.int64)
    counts = margins.count(days, following, timelines.weight[owner])
    band = margins.bands(following)
    leaves = band > margins.bands(days)
    people = distinct_patients(band[leaves], owner[leaves], len(counts))
    return np.concatenate([counts.reshape(-1), people.astype(np.float64)])
