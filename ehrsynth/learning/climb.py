"""Which patients EM climbs with: with some of very many first, and last with all."""

from __future__ import annotations

from functools import partial

import numpy as np

from ehrsynth.encoding import Timelines
from ehrsynth.learning.apart import PartCohort
from ehrsynth.learning.expectation import expectation
from ehrsynth.learning.settings import LearningProgress, LearningSettings, Progress
from ehrsynth.learning.statistics import TrajectoryStatistics
from ehrsynth.learning.trajectory import Fitted, Problem, Spread, em, start_statistics, summed_here

__all__ = ["LAST_ON_ALL", "climb", "first_on", "start_of"]

_FIRST_ON_FEW, _EVERY, LAST_ON_ALL = 10_000, 3, 9
"""Of so many patients, every third is climbed with first; the last iterations are of all."""

_FIRST_ON_MOST = 100_000
"""And of very many patients fewer: about so many."""

_START_VISITS = 40_000
"""Visits that EM starts from, at most: those that are climbed with, or of more some."""


def climb(
    problem: Problem,
    timelines: Timelines,
    settings: LearningSettings,
    generator: np.random.Generator,
    tell: Progress,
    spread: Spread | None,
) -> Fitted:
    """Find the tables of patients who are in this process; parameters as of `ehrsynth.learning.learn`."""
    done = 0

    def report(iteration: int, likelihood: float) -> None:
        step = done + iteration
        tell(LearningProgress(stage="trajectory", step=step, steps=settings.iterations, log_likelihood=likelihood))

    def ascend(some: Timelines, start: TrajectoryStatistics, most: int) -> Fitted:
        return em(
            problem,
            problem.chunks(some, settings.chunk_visits),
            start,
            iterations=most,
            tolerance=settings.tolerance,
            report=report,
            spread=spread if some is timelines else None,
        )

    every, most = first_on(timelines.n_patients, settings)
    few = timelines if every == 1 else timelines.select_patients(np.arange(0, timelines.n_patients, every))
    fitted = ascend(few, start_of(problem, few, settings, generator), most)
    if few is timelines:
        return fitted
    done = len(fitted.objective)
    weights = problem.weights(fitted.tables)
    with summed_here(problem.chunks(timelines, settings.chunk_visits)) as total:
        counts = total(partial(expectation, weights=weights))
    return ascend(timelines, counts, LAST_ON_ALL)


def start_of(
    problem: Problem, patients: Timelines | PartCohort, settings: LearningSettings, generator: np.random.Generator
) -> TrajectoryStatistics:
    """Return the counts that EM starts from when it climbs with `patients`."""
    every = -(-patients.n_visits // _START_VISITS)
    some = patients
    if every > 1 or not isinstance(some, Timelines):
        some = some.select_patients(np.arange(0, patients.n_patients, every))
    return start_statistics(problem, some, problem.chunks(some, settings.chunk_visits), generator)


def first_on(n_patients: int, settings: LearningSettings) -> tuple[int, int]:
    """Return (every which patient is climbed with first, with how many iterations at most)."""
    if n_patients < _FIRST_ON_FEW or settings.iterations <= LAST_ON_ALL:
        return 1, settings.iterations
    return max(_EVERY, -(-n_patients // _FIRST_ON_MOST)), settings.iterations - LAST_ON_ALL
