"""The sufficient statistics of trajectories: additive counts, from which alone the tables are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["TrajectoryStatistics"]

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryStatistics:
    """Expected counts under the current tables. Those of two sets of patients add up to those of both together.

    Chunks of one cohort, shards on several machines and sites that may not share records all go through this sum; each
    patient adds at most `max_visits` visits, each of weight at most 1.

    Attributes
    ----------
    rows : float64[layout.n_rows, Q]
        Visits in a state that have a row of evidence (`RowLayout`).
    unseen : float64[3, C, Q]
        Trials of each code that no recorded visit stands for, by history: previous, earlier, never (`unseen_trials`).
    ratio : float64[Q]
        Slots: the ratio r_1 (`slot_ratios`) summed over the visits. Otherwise empty.
    visits : float64[Q]
        Visits in each state.
    initial : float64[R, Q]
        First visits by stratum.
    transition : float64[D, G, K, K]
    log_likelihood : float
    patients : float
        Summed weight.
    """

    rows: Doubles
    unseen: Doubles
    ratio: Doubles
    visits: Doubles
    initial: Doubles
    transition: Doubles
    log_likelihood: float
    patients: float

    def __add__(self, other: TrajectoryStatistics) -> TrajectoryStatistics:
        return TrajectoryStatistics(
            rows=self.rows + other.rows,
            unseen=self.unseen + other.unseen,
            ratio=self.ratio + other.ratio,
            visits=self.visits + other.visits,
            initial=self.initial + other.initial,
            transition=self.transition + other.transition,
            log_likelihood=self.log_likelihood + other.log_likelihood,
            patients=self.patients + other.patients,
        )
