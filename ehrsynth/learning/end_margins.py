"""After which visits generated records end: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["EndMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 1.0
_MOST = 1.0 - 1e-6


class EndMargins:
    """How many records end in each band of visits and in each band of days, of those that reach it.

    Hazards are those of states that real histories predict; in generated records it is other states that reach a band.

    Parameters
    ----------
    trajectory : Trajectory
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
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
        for axis in range(2):
            error = log_odds_error(self._margin(self._seen, axis), self._margin(made, axis))
            # Both margins answer to one hazard.
            self._moved[axis] = np.clip(self._moved[axis] + 0.5 * step * error, -_LARGEST, _LARGEST)
        lift = np.exp(self._moved[0][:, None] + self._moved[1][None, :]).reshape(-1, 1)
        odds = self._hazard / (1.0 - self._hazard) * lift
        return replace(self._trajectory, end_hazard=odds / (1.0 + odds))

    def _margin(self, counts: Doubles, axis: int) -> tuple[Doubles, Doubles]:
        """Return (visits, ends) by the bands of one kind."""
        visits, ends = (one.reshape(self._shape).sum(axis=1 - axis) for one in counts)
        return visits, ends


def _seen(timelines: Timelines, margins: EndMargins) -> Doubles:
    """Return the counts of the source; the last kept visit of a patient who has more is none."""
    last, owner = timelines.is_last, timelines.patient_of_visit
    known = ~(last & timelines.cut[owner])
    return margins.count(
        timelines.number[known].astype(np.int64),
        timelines.elapsed_days[known],
        last[known],
        timelines.weight[owner[known]],
    )
