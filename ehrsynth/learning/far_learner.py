"""Learn from parts of the patients that are elsewhere: the model that `ehrsynth.learning.learn` makes of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from ehrsynth.learning.apart import (
    PartCohort,
    PartPosteriors,
    Raw,
    binned_part,
    cohort_of,
    expectations,
    spread_over,
)
from ehrsynth.learning.binned import BinnedVisits
from ehrsynth.learning.learner import LAST_ON_ALL, Near, choose_problem, describe, first_on, provenance_of
from ehrsynth.learning.person import age_edges, network_of, person_counts
from ehrsynth.learning.posterior import Posteriors
from ehrsynth.learning.rows import Parts, RowCohort
from ehrsynth.learning.settings import LearningProgress, LearningSettings, Progress, begun
from ehrsynth.learning.trajectory import Fitted, Problem, em, start_statistics
from ehrsynth.model import PatientModel
from ehrsynth.probability.bayesnet import BayesianNetwork
from ehrsynth.randomness import stream

__all__ = ["MOST_NEAR", "learn_parts"]

MOST_NEAR = 150_000
"""Visits that are gathered, at most, to learn what codes say of each other and how numbers go together."""


def learn_parts(
    raw: Parts[Raw],
    *,
    settings: LearningSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    most_near: int = MOST_NEAR,
) -> PatientModel:
    """Learn a patient model from parts; see `ehrsynth.learning.learn`.

    Parameters
    ----------
    raw : Parts of Raw
        Of different patients, in the order in which one table would have them: see `ehrsynth.learning.apart.raw_part`.
    settings, seed, progress
        As of `learn`.
    most_near : int
        Visits that are gathered at most. Up to so many in all, the model is the local one but for rounding; of more,
        company and numbers are learned from every k-th patient.

    Raises
    ------
    LearningError
        Nothing can be learned: too few patients, no encounters, no ages.
    MissingExtraError
        The settings ask for pomegranate and it is not installed.
    """
    settings, tell = begun(settings, progress)
    cohort, census, provenance = cohort_of(raw, settings.min_patients, settings.chunk_visits)
    notes = list(census.all_notes())
    problem, sizes = choose_problem(cohort, settings, seed, tell, notes, None)
    fitted = _fit(problem, cohort, settings, seed, tell)
    posteriors = PartPosteriors(cohort.parts, problem, fitted.tables, settings.chunk_visits)

    def person() -> BayesianNetwork:
        edges = age_edges(cohort, settings.min_patients)
        return network_of(
            person_counts(cohort.vocabulary, np.zeros((0, problem.n_classes)), edges)[0],
            posteriors.person(edges),
            n_patients=cohort.n_patients,
            max_parents=settings.max_parents,
            with_pomegranate=settings.estimator == "pomegranate",
        )

    every = -(-cohort.n_visits // most_near)
    some, table = cohort.select_rows(np.arange(0, cohort.n_patients, every), "observation")
    try:
        return describe(
            RowCohort(cohort=cohort, parts=cohort.parts),
            posteriors,
            Near(
                timelines=some,
                posteriors=Posteriors(problem, fitted.tables, some, settings.chunk_visits),
                observations=table,
            ),
            problem,
            fitted,
            settings,
            seed,
            tell,
            notes,
            person,
            provenance_of(provenance, settings, seed, sizes, fitted),
        )
    finally:
        posteriors.release()
        cohort.parts.release()


def _fit(
    problem: Problem,
    cohort: PartCohort,
    settings: LearningSettings,
    seed: int,
    tell: Progress,
) -> Fitted:
    """Climb as `ehrsynth.learning.learner` does: the start from patients that are gathered, the rest where they are."""
    every, most = first_on(cohort.n_patients, settings)
    few = cohort.select_patients(np.arange(0, cohort.n_patients, every))
    chunks = problem.chunks(few, settings.chunk_visits)
    start = start_statistics(problem, few, chunks, stream(seed, "learning/start"))
    done = 0

    def report(iteration: int, likelihood: float) -> None:
        step = done + iteration
        tell(LearningProgress(stage="trajectory", step=step, steps=settings.iterations, log_likelihood=likelihood))

    binned: Parts[list[BinnedVisits]] = cohort.parts.scatter([[chunk] for chunk in chunks])
    fitted = em(
        problem,
        (),
        start,
        iterations=most,
        tolerance=settings.tolerance,
        report=report,
        spread=spread_over(binned),
    )
    if every > 1:
        done = len(fitted.objective)
        binned.release()
        binned = cohort.parts.map(partial(binned_part, problem=problem, chunk_visits=settings.chunk_visits))
        fitted = em(
            problem,
            (),
            expectations(binned, problem, fitted.tables),
            iterations=LAST_ON_ALL,
            tolerance=settings.tolerance,
            report=report,
            spread=spread_over(binned),
        )
    binned.release()
    return fitted
