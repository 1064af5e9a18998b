"""Learn: records in, a patient model out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines, encode
from ehrsynth.encoding.discretise import age_groups, stratum_groups
from ehrsynth.encoding.union import UNION, unite
from ehrsynth.learning.age_spans import possible_ages
from ehrsynth.learning.apart import PartCohort
from ehrsynth.learning.climb import climb
from ehrsynth.learning.company import LearnedCompany, learn_company
from ehrsynth.learning.details import learn_family
from ehrsynth.learning.disclosure import learn_disclosure
from ehrsynth.learning.encounters import learn_trajectory
from ehrsynth.learning.families import FarPosteriors, StatePosterior, code_lift, slot_sizes
from ehrsynth.learning.lead import find_lead, with_lead
from ehrsynth.learning.margins import with_margins
from ehrsynth.learning.measurements import learn_measurements
from ehrsynth.learning.near import Near, near_of, provenance_of
from ehrsynth.learning.number_margins import with_number_margins
from ehrsynth.learning.orders import learn_orders
from ehrsynth.learning.person import learn_person
from ehrsynth.learning.posterior import Posteriors
from ehrsynth.learning.reachable import with_reachable_states
from ehrsynth.learning.recurrence import learn_again
from ehrsynth.learning.rows import RowCohort
from ehrsynth.learning.satellites import satellite_parents
from ehrsynth.learning.series import learn_series
from ehrsynth.learning.series_margins import with_series_margins
from ehrsynth.learning.series_visits import Items, choose_items, without_series
from ehrsynth.learning.settings import LearningProgress, LearningSettings, Progress, begun, silent
from ehrsynth.learning.sizes import Sizes, choose_sizes
from ehrsynth.learning.times import learn_bins, learn_calendar
from ehrsynth.learning.trajectory import Fitted, Problem, Spread, held_out
from ehrsynth.learning.tree import within_visit_forest
from ehrsynth.model import PatientModel
from ehrsynth.probability.bayesnet import BayesianNetwork
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["choose_problem", "describe", "learn"]

_STRATUM_PATIENTS, _STRATUM_VISITS = 5_000, 30_000
"""Below so many patients and visits transitions do not depend on sex and age: their tables would be noise."""


def learn(
    records: Records,
    *,
    settings: LearningSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    spread: Spread | None = None,
    weights: npt.NDArray[np.float64] | None = None,
) -> PatientModel:
    """Learn a patient model from records.

    A Bayesian network of the person with a latent trajectory class; for each class an autoregressive hidden Markov
    model of the visits and the codes of all tables (EM with exact expectations); given the states, the measurements and
    the dates. Everything that is read from the data is a sum over patients.

    Parameters
    ----------
    records : Records
    settings : LearningSettings, optional
    seed : int
        Of the start of EM and of the validation fold. The same records, settings and seed make the same model.
    progress : callable, optional
        Called with a `LearningProgress` now and then.
    spread : callable, optional
        Where the expectations of EM are taken, nearly all of the time: see `ehrsynth.engines.spark.spread`.
    weights : float64[patients], optional
        Of the patients of the records, 0..1: who stands for how many of a population. They count in the network of the
        person and in EM; margins of numbers and what codes say of each other are of the records as they are.

    Raises
    ------
    LearningError
        Nothing can be learned: too few patients, no encounters, no ages.
    MissingExtraError
        The settings ask for pomegranate and it is not installed.
    """
    settings, tell = begun(settings, progress)
    encoded = encode(records, min_patients=settings.min_patients, max_visits=settings.max_visits, weights=weights)
    notes = list(encoded.notes)
    whole = timelines = unite(encoded)
    items = choose_items(whole, settings.min_patients)
    if items is not None:
        timelines = without_series(whole, items)
    problem, sizes = choose_problem(timelines, settings, seed, tell, notes, spread)
    fitted = climb(problem, timelines, settings, stream(seed, "learning/start"), tell, spread)
    posteriors = Posteriors(problem, fitted.tables, timelines, settings.chunk_visits)

    def person() -> BayesianNetwork:
        return learn_person(
            timelines,
            posteriors.classes,
            min_patients=settings.min_patients,
            max_parents=settings.max_parents,
            with_pomegranate=settings.estimator == "pomegranate",
        )

    return describe(
        timelines,
        items,
        RowCohort.here(whole, records.tables),
        posteriors,
        near_of(timelines, posteriors, records["observation"], problem, fitted, settings),
        problem,
        fitted,
        settings,
        seed,
        tell,
        notes,
        person,
        provenance_of(records.provenance, settings, seed, sizes, fitted),
    )


def describe(
    cohort: Cohort,
    items: Items | None,
    rows: RowCohort,
    posteriors: Iterable[StatePosterior] | FarPosteriors,
    near: Near,
    problem: Problem,
    fitted: Fitted,
    settings: LearningSettings,
    seed: int,
    tell: Progress,
    notes: list[str],
    person: Callable[[], BayesianNetwork],
    provenance: dict[str, object],
) -> PatientModel:
    """Return the model, given what EM reached.

    What needs people side by side (numbers of observations, what codes of a visit say of each other) is learned from
    `near`; all else is sums over `cohort` and `posteriors`. Where there are series, `cohort` is without their visits;
    `rows` are of all.
    """
    told = cohort.vocabulary
    series = None
    if items is not None:
        tell(LearningProgress(stage="series", message="visits at which something is only given or done"))
        series = learn_series(rows.cohort, items, settings.min_patients)
    trajectory = learn_trajectory(
        cohort, problem, fitted.tables, posteriors, min_patients=settings.min_patients, notes=notes
    )
    tell(LearningProgress(stage="person", message="network of the person"))
    network = person()
    measurements = None
    blank = None
    if "observation" in told.families and near.observations is not None:
        tell(LearningProgress(stage="measurements", message="numbers of the observations"))
        measurements = learn_measurements(
            near.observations,
            near.timelines,
            near.posteriors,
            strata=problem.bins.strata,
            min_patients=settings.min_patients,
            generator=stream(seed, "learning/measurements"),
        )
    if measurements is not None:
        # Whether a number is high follows from the number; drawn apart it would contradict it.
        numeric = np.zeros(told.families["observation"].n_codes, dtype=bool)
        numeric[measurements.code] = True
        blank = {"interpretation_code": numeric}
    tell(LearningProgress(stage="details", message="sex and age"))
    lift = code_lift(
        posteriors,
        fitted.tables.codes,
        n_strata=len(problem.bins.strata),
        groups=age_groups(problem.bins.strata.age_edges),
        n_grouped=told.families["condition"].n_codes if problem.bins.n_slots else 0,
        n_truncated=problem.bins.n_truncated,
        n_led=problem.layout.n_led,
        min_patients=settings.min_patients,
    )
    if not problem.bins.n_slots:
        lift = _at_possible_ages(lift, cohort, problem, settings.min_patients, few=items is not None)
    slots = slot_sizes(posteriors, problem.bins.n_slots) if problem.bins.n_slots else None
    company = _company(problem, fitted, near, lift, slots, settings, seed)
    again = (
        learn_again(
            posteriors,
            fitted.tables.codes,
            lift,
            first=0 if company is None else told.families["condition"].n_codes,
            n_visits=cohort.n_visits,
            n_ghosts=0 if problem.bins.n_slots else problem.bins.n_truncated,
            dated=problem.bins.gap_days is not None,
            min_patients=settings.min_patients,
        )
        if told.families
        else None
    )
    codes = with_lead(posteriors, fitted.tables.codes, problem.lead)
    families = []
    start = 0
    tables = {name: family for name, family in told.families.items() if name != UNION}
    for step, (name, family) in enumerate(tables.items(), start=1):
        tell(LearningProgress(stage="details", step=step, steps=len(tables), message=name))
        stop = start + family.n_codes
        families.append(
            learn_family(
                rows,
                name,
                tables=codes.of(start, stop),
                lift=lift[:, start:stop],
                zero_truncated=problem.bins.n_truncated >= stop,
                sizes=slots if name == "condition" else None,
                company=company if name == "condition" else None,
                again=None if again is None else again.of(start, stop),
                min_patients=settings.min_patients,
                blank=blank if name == "observation" else None,
            )
        )
        start = stop
    calendar = learn_calendar(
        cohort,
        problem.bins,
        reference_date=settings.reference_date,
        min_patients=settings.min_patients,
        notes=notes,
    )
    model = PatientModel(
        name=settings.name,
        title=settings.title,
        description=settings.description,
        licence=settings.licence,
        provenance=provenance,
        person=network,
        calendar=calendar,
        trajectory=trajectory,
        families=tuple(families),
        measurements=measurements,
        orders=learn_orders(cohort, tuple(families), problem.bins.strata, settings.min_patients),
        series=series,
        disclosure=learn_disclosure(rows.cohort, settings, notes),
    )
    tell(LearningProgress(stage="details", message="people who ever have each condition"))
    if items is not None:
        model = with_reachable_states(model)
    model = with_margins(model, cohort, seed, settings.min_patients, by_age=items is not None)
    model = with_number_margins(model, cohort, seed)
    if items is not None:
        tell(LearningProgress(stage="series", message="people who have each series"))
        model = with_series_margins(model, rows.cohort, items, seed)
    tell(LearningProgress(stage="done", log_likelihood=fitted.log_likelihood[-1]))
    return model


def _at_possible_ages(
    lift: npt.NDArray[np.float64], cohort: Cohort, problem: Problem, min_patients: int, *, few: bool
) -> npt.NDArray[np.float64]:
    """Return the odds multipliers, 0 at ages at which hardly anybody has what is found, or is vaccinated."""
    result = lift.copy()
    start = 0
    for name, family in cohort.vocabulary.families.items():
        stop = start + family.n_codes
        if name in ("condition", "immunization"):
            result[:, start:stop] *= possible_ages(cohort, name, problem.bins.strata, min_patients, few=few)
        start = stop if name != UNION else start
    return result


def _company(
    problem: Problem,
    fitted: Fitted,
    near: Near,
    lift: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64] | None,
    settings: LearningSettings,
    seed: int,
) -> LearnedCompany | None:
    """Return what codes of a visit say of each other, where visits have few conditions."""
    bins = problem.bins
    if not (bins.n_slots or bins.n_open):
        return None
    n_conditions = near.timelines.families["condition"].n_codes
    return learn_company(
        near.posteriors,
        fitted.tables.codes.of(0, n_conditions),
        lift[:, :n_conditions],
        n_visits=near.timelines.n_visits,
        n_slots=bins.n_slots or bins.n_open,
        sizes=sizes,
        min_patients=settings.min_patients,
        generator=stream(seed, "learning/company"),
    )


def choose_problem(
    cohort: Timelines | PartCohort,
    settings: LearningSettings,
    seed: int,
    tell: Progress,
    notes: list[str],
    spread: Spread | None,
) -> tuple[Problem, Sizes]:
    """Return what is fixed during EM, and the sizes that were chosen for it."""
    bins, told = learn_bins(cohort, settings.min_patients, notes), cohort.vocabulary
    union, conditions = told.families.get(UNION), told.families.get("condition")
    n_codes = 0 if union is None else union.n_codes
    n_conditions = 0 if conditions is None else conditions.n_codes
    parent, lead = np.zeros(0, dtype=np.int32), -1
    if union is not None:
        first = None
        if bins.n_slots:
            first = np.full(n_conditions, -1, dtype=np.int32)
        elif bins.n_open:
            first = satellite_parents(
                cohort,
                most=bins.n_open,
                min_patients=settings.min_patients,
                without_exception=bins.n_truncated == n_conditions,
            )
        parent = within_visit_forest(cohort, union, n_conditions, first=first)
        lead = find_lead(cohort, parent) if bins.n_open else -1
        if lead >= 0:
            parent = within_visit_forest(cohort, union, n_conditions, first=first, lead=lead)
    n_strata = len(bins.strata)
    by_stratum = cohort.n_patients >= _STRATUM_PATIENTS or cohort.n_visits >= _STRATUM_VISITS
    problem = Problem(
        bins=bins,
        layout=bins.layout(n_codes, n_led=n_conditions if bins.n_open else 0),
        parent=parent,
        lead=lead,
        # One matrix for each sex and usual band of age.
        transition_stratum=np.arange(n_strata) if by_stratum else np.zeros(n_strata, dtype=np.int64),
        matrix_groups=stratum_groups(n_strata, age_groups(bins.strata.age_edges)) if by_stratum else None,
        n_classes=1,
        n_states=1,
    )

    def score(rest: Timelines, held: Timelines, classes: int, states: int) -> float:
        sized = replace(
            problem,
            n_classes=classes,
            n_states=states,
            transition_stratum=np.zeros(n_strata, dtype=np.int64),
            matrix_groups=None,
        )
        quiet = replace(settings, iterations=min(settings.iterations, 12))
        fitted = climb(sized, rest, quiet, stream(seed, "learning/sizes"), silent, spread)
        return held_out(sized, sized.chunks(held, settings.chunk_visits), fitted.tables)

    def report(step: int, steps: int, message: str, value: float | None) -> None:
        tell(LearningProgress(stage="sizes", step=step, steps=steps, message=message, log_likelihood=value))

    sizes = choose_sizes(cohort, settings, stream(seed, "learning/fold"), score, report)
    return replace(problem, n_classes=sizes.classes, n_states=sizes.states), sizes
