"""The Bayesian network of the person: who people are, and which trajectory class they belong to."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import age_bins_of
from ehrsynth.learning.tallies import PaddedCounts
from ehrsynth.probability.bayesnet import (
    MISSING,
    BayesianNetwork,
    FamilyCounts,
    Variable,
    estimate_network,
    hill_climb,
)

__all__ = ["age_edges", "learn_person", "network_of", "person_counts"]

TIERS = {
    "sex": 0,
    "age_at_start": 0,
    "race": 0,
    "ethnicity": 0,
    "state": 0,
    "language": 1,
    "marital_status": 1,
    "payer": 1,
    "trajectory_class": 2,
}
"""Causes do not come after their consequences: birth, then society, then the course of illness."""

_STRENGTH = 5.0
_FLOAT32_WHOLE = 1 << 24


def _ages(timelines: Timelines) -> PaddedCounts:
    return PaddedCounts(np.bincount(np.floor(timelines.age_at_start).astype(np.int64)))


def age_edges(cohort: Cohort, min_patients: int) -> npt.NDArray[np.float64]:
    """Return the edges of the bins of the age at the first visit.

    Bins hold about the square root of the patients: fine where there are many, and never few.
    """
    counts = cohort.total(_ages).counts
    return age_bins_of(counts, max(min_patients, int(np.sqrt(cohort.n_patients) + 0.5)))


def _variables(
    timelines: Timelines, n_classes: int, edges: npt.NDArray[np.float64]
) -> tuple[list[Variable], list[npt.NDArray[np.int64]]]:
    """Return the variables but for the class, with the state of each patient."""
    variables, data = [], []
    for name in TIERS:
        if name == "age_at_start":
            ages = timelines.age_at_start
            labels = tuple(f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges))
            variables.append(Variable(name=name, states=labels, edges=tuple(edges.tolist())))
            data.append(np.clip(np.searchsorted(edges, ages, side="right") - 1, 0, len(labels) - 1).astype(np.int64))
        elif name == "trajectory_class":
            variables.append(Variable(name=name, states=tuple(str(g) for g in range(n_classes))))
        elif name in timelines.person:
            column = timelines.person[name]
            variables.append(Variable(name=name, states=tuple(label or MISSING for label in column.labels)))
            data.append(column.index.astype(np.int64))
    return variables, data


def person_counts(
    timelines: Timelines, classes: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> tuple[list[Variable], FamilyCounts]:
    """Return the variables and their joint counts; a patient counts once for each class, with its posterior.

    Parameters
    ----------
    timelines : Timelines
    classes : float64[n, G]
        P(trajectory class | record).
    edges : float64[bins + 1]
        Of ages.
    """
    n, n_classes = classes.shape
    variables, data = _variables(timelines, n_classes, edges)
    known = np.column_stack(data)
    rows = np.column_stack([np.repeat(known, n_classes, axis=0), np.tile(np.arange(n_classes), n)])
    weights = (np.clip(classes, 0.0, 1.0) * timelines.weight[:, None]).reshape(-1)
    counts = FamilyCounts.of(rows, [variable.cardinality for variable in variables], weights)
    return variables, counts


def learn_person(
    timelines: Timelines,
    classes: npt.NDArray[np.float64],
    *,
    min_patients: int,
    max_parents: int,
    with_pomegranate: bool = False,
) -> BayesianNetwork:
    """Return the network of the person.

    The graph is found by hill climbing on BIC under `TIERS`; the latent class enters as soft counts. Tables are shrunk
    toward their margins, and states that never come with their parents' states keep a small probability.

    Parameters
    ----------
    timelines : Timelines
    classes : float64[n, G]
        P(trajectory class | record).
    min_patients : int
    max_parents : int
        See `network_of`.
    with_pomegranate : bool
        Sum up the tables by pomegranate's distributions instead of numpy.

    Raises
    ------
    MissingExtraError
        pomegranate is asked for and not installed.
    """
    variables, counts = person_counts(timelines, classes, age_edges(timelines, min_patients))
    return network_of(
        variables,
        counts,
        n_patients=timelines.n_patients,
        max_parents=max_parents,
        with_pomegranate=with_pomegranate,
    )


def network_of(
    variables: list[Variable],
    counts: FamilyCounts,
    *,
    n_patients: int,
    max_parents: int,
    with_pomegranate: bool = False,
) -> BayesianNetwork:
    """Return the network from the joint counts of `person_counts`; for the rest see `learn_person`."""
    dag = hill_climb(
        counts,
        tiers=[TIERS[variable.name] for variable in variables],
        max_parents=max_parents,
        max_cells=_most_cells(n_patients),
    )
    # pomegranate sums in single precision: more observations than it can count go to numpy.
    if with_pomegranate and counts.total < _FLOAT32_WHOLE:
        from ehrsynth.probability.bayesnet.pomegranate import estimate_with_pomegranate

        return estimate_with_pomegranate(counts, variables, dag, strength=_STRENGTH)
    return estimate_network(counts, variables, dag, strength=_STRENGTH)


def _most_cells(n_patients: int) -> int:
    # A table of more cells than patients is noise, whatever its score.
    return max(64, n_patients)
