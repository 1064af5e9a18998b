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
from ehrsynth.learning.changed_parts import changed
from ehrsynth.learning.climb import LAST_ON_ALL, first_on, start_of
from ehrsynth.learning.learner import choose_problem, describe
from ehrsynth.learning.near import Near, near_patients, provenance_of
from ehrsynth.learning.person import age_edges, network_of, person_counts
from ehrsynth.learning.rows import Part, Parts, RowCohort
from ehrsynth.learning.series_visits import choose_items, without_series
from ehrsynth.learning.settings import LearningProgress, LearningSettings, Progress, begun
from ehrsynth.learning.trajectory import Fitted, Problem, em
from ehrsynth.model import PatientModel
from ehrsynth.probability.bayesnet import BayesianNetwork
from ehrsynth.randomness import stream

__all__ = ["learn_parts"]


def learn_parts(
    raw: Parts[Raw],
    *,
    settings: LearningSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PatientModel:
    """Learn a patient model from parts; see `ehrsynth.learning.learn`.

    Parameters
    ----------
    raw : Parts of Raw
        Of different patients, in the order in which one table would have them: see `ehrsynth.learning.apart.raw_part`.
    settings, seed, progress
        As of `learn`.

    Raises
    ------
    LearningError
        Nothing can be learned: too few patients, no encounters, no ages.
    MissingExtraError
        The settings ask for pomegranate and it is not installed.
    """
    settings, tell = begun(settings, progress)
    whole, census, provenance = cohort_of(raw, settings.min_patients, settings.chunk_visits)
    items = choose_items(whole, settings.min_patients)
    cohort = whole
    if items is not None:
        cohort = changed(whole, partial(without_series, items=items), settings.chunk_visits)
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

    some, table = cohort.select_rows(near_patients(cohort), "observation")
    beside = PartPosteriors(
        cohort.parts.beside([Part(timelines=chunk, tables={}) for chunk in some.chunks(settings.chunk_visits)]),
        problem,
        fitted.tables,
        settings.chunk_visits,
    )
    try:
        return describe(
            cohort,
            items,
            RowCohort(cohort=whole, parts=whole.parts),
            posteriors,
            Near(
                timelines=some,
                posteriors=beside,
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
        beside.release()
        posteriors.release()
        cohort.parts.release()
        if cohort is not whole:
            whole.parts.release()


def _fit(
    problem: Problem,
    cohort: PartCohort,
    settings: LearningSettings,
    seed: int,
    tell: Progress,
) -> Fitted:
    """Climb as `ehrsynth.learning.learner` does: the start from patients that are gathered, the rest where they are."""
    every, most = first_on(cohort.n_patients, settings)
    few = cohort
    if every > 1:
        few = cohort.select_apart(np.arange(0, cohort.n_patients, every), settings.chunk_visits)
    start = start_of(problem, few, settings, stream(seed, "learning/start"))
    done = 0

    def report(iteration: int, likelihood: float) -> None:
        step = done + iteration
        tell(LearningProgress(stage="trajectory", step=step, steps=settings.iterations, log_likelihood=likelihood))

    in_bins = partial(binned_part, problem=problem, chunk_visits=settings.chunk_visits)
    binned = few.parts.map(in_bins)
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
        few.parts.release()
        binned = cohort.parts.map(in_bins)
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
