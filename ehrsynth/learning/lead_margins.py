"""When in their records people have the code that transitions remember: tried as whole records, and moved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.binned import age_days
from ehrsynth.learning.end_margins import ends_known
from ehrsynth.learning.follow_margins import start_bands, starts_of
from ehrsynth.learning.lead import first_with
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import Trajectory

__all__ = ["LeadMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 6.0
_MOST_BANDS = 10


class LeadMargins:
    """How many of the visits of who has not had the code have it, by the days since the first visit.

    A chain of states comes to those that stand for it as soon late in a record as early, and to some people never.

    Parameters
    ----------
    trajectory : Trajectory
        With `lead`.
    cohort : Cohort
        Of the source.
    """

    def __init__(self, trajectory: Trajectory, cohort: Cohort) -> None:
        edges = np.asarray(trajectory.elapsed_edges, dtype=np.int64)
        first = np.arange(min(_MOST_BANDS, len(edges))) * len(edges) // min(_MOST_BANDS, len(edges))
        self._edges = edges[first]
        self._starts = start_bands(cohort.total(partial(starts_of, edges=trajectory.strata.first_days)), trajectory)
        self._shape = len(self._starts), len(first)
        self._seen = cohort.total(partial(_seen, margins=self, lead=trajectory.lead))
        self._moved, self._end = np.zeros(self._shape), np.zeros((self._shape[0], 2))

    def count(
        self,
        number: Ints,
        first_age: Ints,
        days: Ints,
        before: npt.NDArray[np.bool_],
        leads: npt.NDArray[np.bool_],
        last: npt.NDArray[np.bool_],
        weight: Doubles,
    ) -> Doubles:
        """Return (visits, of those) float64[2, S' * (B + 2)].

        By ages at the first visit and days since: the visits of who has not had the code before, and those that have
        it, first visits left out. Then, by ages at the first visit: the visits of who has not had it by then and of who
        has, and those with which the record ends.

        Parameters
        ----------
        number, first_age, days : int64[v]
            Of each visit: from 1, days of life at the first, and since then.
        before, leads : bool[v]
            Whether the person has had the code in an earlier visit; whether the visit has it.
        last : bool[v]
            Whether the record ended with the visit.
        weight : float64[v]
        """
        s, n = self._shape
        start = np.searchsorted(self._starts, first_age, side="right") - 1
        asked = np.flatnonzero(~before & (number > 1))
        band, new = np.searchsorted(self._edges, days[asked], side="right") - 1 + start[asked] * n, leads[asked]
        had = start * 2 + (before | leads)
        counts = [
            [np.bincount(band[mine], weight[asked[mine]], s * n) for mine in (slice(None), new)],
            [np.bincount(had[mine], weight[mine], s * 2) for mine in (slice(None), last)],
        ]
        return np.concatenate([np.stack(one) for one in counts], axis=1)

    def moved(self, trajectory: Trajectory, made: Doubles, step: float) -> Trajectory:
        """Return the trajectory under which as many have it as seen; `made` under the last one."""
        n = self._moved.size
        self._moved, self._end = (
            np.clip(before + step * _error(seen, found).reshape(before.shape), -_LARGEST, _LARGEST)
            for before, seen, found in (
                (self._moved, self._seen[:, :n], made[:, :n]),
                (self._end, self._seen[:, n:], made[:, n:]),
            )
        )
        return replace(
            trajectory,
            lead_edges=self._edges,
            lead_starts=self._starts,
            lead_tilt=self._moved,
            lead_end=np.exp(self._end),
        )


def _error(seen: Doubles, made: Doubles) -> Doubles:
    return log_odds_error((seen[0], seen[1]), (made[0], made[1]))


def _seen(timelines: Timelines, margins: LeadMargins, lead: int) -> Doubles:
    """Return the counts of the source."""
    known, owner = ends_known(timelines), timelines.patient_of_visit
    first = first_with(timelines, lead)[owner]
    place = np.arange(timelines.n_visits)
    return margins.count(
        timelines.number[known].astype(np.int64),
        age_days(timelines)[timelines.offsets[:-1]][owner[known]],
        timelines.elapsed_days[known].astype(np.int64),
        (place > first)[known],
        (place == first)[known],
        timelines.is_last[known],
        timelines.weight[owner[known]],
    )
