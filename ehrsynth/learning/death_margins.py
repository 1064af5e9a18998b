"""How many records end in death, by sex and age: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_groups, stratum_groups
from ehrsynth.learning.binned import strata_of
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import Strata, Trajectory

__all__ = ["DeathMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 4.0


class DeathMargins:
    """How many of the records that end at an age end in death.

    Parameters
    ----------
    trajectory : Trajectory
        In which somebody dies; otherwise nothing is moved.
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
        strata = trajectory.strata
        self._death = np.asarray(trajectory.death_given_end, dtype=np.float64)
        self._group = stratum_groups(len(strata), age_groups(strata.age_edges))
        self._seen = cohort.total(partial(_seen, strata=strata))
        self._moved = np.zeros(int(self._group.max()) + 1)
        self._now = self._death

    def count(self, stratum: Ints, state: Ints) -> Doubles:
        """Return the records that end by stratum and state, float64[R, Q], of the last visits."""
        r, q = self._death.shape
        return np.bincount(stratum * q + state, minlength=r * q).astype(np.float64).reshape(r, q)

    def moved(self, trajectory: Trajectory, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory under which as many die as seen; `made` under the last one."""
        if not self._death.any():
            return trajectory
        deaths = (made * self._now).sum(axis=1)
        ended, died, made_ends, made_deaths = (
            np.bincount(self._group, weights=one).astype(np.float64) for one in (*self._seen, made.sum(axis=1), deaths)
        )
        error = log_odds_error((ended, died), (made_ends, made_deaths))
        self._moved = np.clip(self._moved + step * error, -_LARGEST, _LARGEST)
        odds = self._death / np.maximum(1.0 - self._death, 1e-9) * np.exp(self._moved)[self._group][:, None]
        self._now = odds / (1.0 + odds)
        return replace(trajectory, death_given_end=self._now)


def _seen(timelines: Timelines, strata: Strata) -> Doubles:
    """Return (records that end, those in death) by stratum of the last visit, float64[2, R]."""
    kept = np.flatnonzero(~timelines.cut)
    last = timelines.offsets[1:][kept] - 1
    stratum, weight = strata_of(timelines, strata)[last], timelines.weight[kept]
    deaths = weight * timelines.died[kept]
    return np.stack([np.bincount(stratum, one, len(strata)) for one in (weight, deaths)])
