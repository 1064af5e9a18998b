"""How long people are followed, by the age they were first seen at: tried as whole records, and moved to the source."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.binned import age_days
from ehrsynth.learning.end_margins import ends_known
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["FollowMargins", "start_bands", "starts_of"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 4.0
_MOST_BANDS, _MOST_ELAPSED = 8, 8
_PEOPLE_A_BAND = 60


class FollowMargins:
    """How many records end in each band of days, of those that reach it, by the age at the first visit.

    Who is first seen as an infant was born when records began, who is first seen at seventy dies sooner: states do not
    say so, and hazards by days alone make all records equally long.

    Parameters
    ----------
    trajectory : Trajectory
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
        edges = np.asarray(trajectory.elapsed_edges, dtype=np.int64)
        # Of many bands each would be off by chance alone.
        self._of_edge = np.arange(len(edges)) * min(_MOST_ELAPSED, len(edges)) // len(edges)
        self._elapsed = edges[np.flatnonzero(np.diff(self._of_edge, prepend=-1))]
        self._first = start_bands(cohort.total(partial(starts_of, edges=trajectory.strata.first_days)), trajectory)
        self._shape = len(self._first), len(self._elapsed)
        self._seen = cohort.total(partial(_seen, margins=self))
        self._moved = np.zeros(self._shape)

    def count(self, age: Ints, days: Ints, last: npt.NDArray[np.bool_], weight: Doubles) -> Doubles:
        """Return (visits, ends) float64[2, S, D].

        Parameters
        ----------
        age, days : int64[v]
            Of each visit: the days of life at the first of the person, and since then.
        last : bool[v]
            Whether the record ended with the visit.
        weight : float64[v]
        """
        band = np.searchsorted(self._first, age, side="right") - 1
        cell = band * self._shape[1] + np.searchsorted(self._elapsed, days, side="right") - 1
        n = self._shape[0] * self._shape[1]
        counts: Doubles = np.stack([np.bincount(cell, weight, n), np.bincount(cell[last], weight[last], n)])
        return counts.reshape(2, *self._shape)

    def moved(self, trajectory: Trajectory, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory under which as many records end as seen; `made` under the last one."""
        if self._shape[0] == 1 or self._shape[1] == 1:
            return trajectory
        # What all of a band of days are off by is no matter of age.
        by_days = [tuple(one.sum(axis=0) for one in counts) for counts in (self._seen, made)]
        about = log_odds_error((by_days[0][0], by_days[0][1]), (by_days[1][0], by_days[1][1]))
        error = log_odds_error((self._seen[0], self._seen[1]), (made[0], made[1]), about=about) - about
        # As many as before end in each band of days, at other ages.
        ends = np.maximum(made[1], 1e-9)
        error -= np.log((ends * np.exp(error)).sum(axis=0) / ends.sum(axis=0))
        self._moved = np.clip(self._moved + step * error, -_LARGEST, _LARGEST)
        return replace(trajectory, start_edges=self._first, end_lift=np.exp(self._moved)[:, self._of_edge])


def start_bands(people: Ints, trajectory: Trajectory) -> Ints:
    """Return the first day of life of each band of ages at the first visit: bands of the strata, of enough people."""
    edges = trajectory.strata.first_days
    least = max(_PEOPLE_A_BAND, -(-int(people.sum()) // _MOST_BANDS))
    first, waiting = [0], 0
    for band, count in enumerate(people.tolist()):
        # A band of very many is not lent to those before it.
        if band and waiting and (waiting >= least or (count >= least and waiting >= _PEOPLE_A_BAND)):
            first.append(int(edges[band]))
            waiting = 0
        waiting += count
    if waiting < _PEOPLE_A_BAND and len(first) > 1:
        first.pop()
    return np.array(first, dtype=np.int64)


def starts_of(timelines: Timelines, edges: Ints) -> Ints:
    """Return how many people are first seen in each band of age, int64[A]."""
    return np.bincount(
        np.searchsorted(edges, age_days(timelines)[timelines.offsets[:-1]], side="right") - 1, minlength=len(edges)
    )


def _seen(timelines: Timelines, margins: FollowMargins) -> Doubles:
    """Return the counts of the source."""
    known, owner = ends_known(timelines), timelines.patient_of_visit
    return margins.count(
        age_days(timelines)[timelines.offsets[:-1]][owner[known]],
        timelines.elapsed_days[known].astype(np.int64),
        timelines.is_last[known],
        timelines.weight[owner[known]],
    )
