"""After which visits generated records end: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["EndMargins", "ends_known"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 1.0
_MOST = 1.0 - 1e-6
_EDGES = np.array((1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 240, 320, 480))
"""First visits of the bands whose ends are matched: EM, which tells them apart by state too, can afford fewer."""
_FEWEST = 30
"""People who must have so many visits for a band of their own."""


class EndMargins:
    """How many records end in each band of visits and in each band of days, of those that reach it.

    Hazards are those of states that real histories predict; in generated records it is other states that reach a band.

    What the latent class does not say of how many visits people have, bands of the visit's number say that are finer
    than those of the trajectory learned: most of the tail of very long records.

    Parameters
    ----------
    trajectory : Trajectory
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
        reached = cohort.total(_reached)
        trajectory = _with_bands(trajectory, _EDGES[reached >= _FEWEST])
        self._trajectory = trajectory
        self._shape = len(np.asarray(trajectory.visit_edges)), len(np.asarray(trajectory.elapsed_edges))
        self._hazard = np.clip(np.asarray(trajectory.end_hazard, dtype=np.float64), 0.0, _MOST)
        self._seen = cohort.total(partial(_seen, margins=self))
        self._moved = [np.zeros(n) for n in self._shape]

    def count(self, number: Ints, days: Ints, last: npt.NDArray[np.bool_], weight: Doubles) -> Doubles:
        """Return (visits, ends) float64[2, V] of each band.

        Parameters
        ----------
        number, days : int64[v]
            Of each visit: from 1, and since the first.
        last : bool[v]
            Whether the record ended with the visit.
        weight : float64[v]
        """
        band, n = self._trajectory.end_band(number, days), self._shape[0] * self._shape[1]
        return np.stack([np.bincount(band, weight, n), np.bincount(band[last], weight[last], n)])

    def moved(self, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory with hazards under which as many records end as seen; `made` under the last ones."""
        # What each of many bands is off by may be chance, and yet all together be more: it would move the mean.
        seen_all, made_all = (tuple(one.sum(axis=1)) for one in (self._seen, made))
        overall = float(log_odds_error(seen_all, made_all))
        for axis in range(2):
            error = log_odds_error(self._margin(self._seen, axis), self._margin(made, axis), about=overall)
            # Both margins answer to one hazard.
            self._moved[axis] = np.clip(self._moved[axis] + 0.5 * step * error, -_LARGEST, _LARGEST)
        lift = np.exp(self._moved[0][:, None] + self._moved[1][None, :]).reshape(-1, 1)
        odds = self._hazard / (1.0 - self._hazard) * lift
        return replace(self._trajectory, end_hazard=odds / (1.0 + odds))

    def _margin(self, counts: Doubles, axis: int) -> tuple[Doubles, Doubles]:
        """Return (visits, ends) by the bands of one kind."""
        visits, ends = (one.reshape(self._shape).sum(axis=1 - axis) for one in counts)
        return visits, ends


def ends_known(timelines: Timelines) -> npt.NDArray[np.bool_]:
    """Return of which visits it is known whether the record ends; not of the last kept one of who has more, bool[V]."""
    return np.asarray(~(timelines.is_last & timelines.cut[timelines.patient_of_visit]))


def _reached(timelines: Timelines) -> npt.NDArray[np.int64]:
    """Return how many people have a visit of each number of `_EDGES`."""
    visits = np.sort(np.diff(timelines.offsets))
    return np.asarray(len(visits) - np.searchsorted(visits, _EDGES))


def _with_bands(trajectory: Trajectory, edges: npt.NDArray[np.int64]) -> Trajectory:
    """Return the same trajectory, with bands of visits that begin at `edges` too."""
    old = np.asarray(trajectory.visit_edges, dtype=np.int64)
    new = np.union1d(old, edges)
    hazard = np.asarray(trajectory.end_hazard)
    hazard = hazard.reshape(len(old), -1, hazard.shape[-1])[np.searchsorted(old, new, side="right") - 1]
    return replace(trajectory, visit_edges=new, end_hazard=hazard.reshape(-1, hazard.shape[-1]))


def _seen(timelines: Timelines, margins: EndMargins) -> Doubles:
    """Return the counts of the source."""
    known, owner = ends_known(timelines), timelines.patient_of_visit
    return margins.count(
        timelines.number[known].astype(np.int64),
        timelines.elapsed_days[known],
        timelines.is_last[known],
        timelines.weight[owner[known]],
    )
