"""Learning the trajectory: start, EM over chunks of patients, early stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.learning.binned import BinnedVisits, Bins, bin_visits
from ehrsynth.learning.evidence import sum_by
from ehrsynth.learning.expectation import Weights, emit, expectation, infer
from ehrsynth.learning.layout import RowLayout
from ehrsynth.learning.lead import had_before
from ehrsynth.learning.maximisation import Strengths, choose_strengths, log_prior, maximise
from ehrsynth.learning.parameters import TrajectoryTables
from ehrsynth.learning.start import start_states
from ehrsynth.learning.statistics import TrajectoryStatistics

__all__ = ["Fitted", "Problem", "Spread", "em", "held_out", "start_statistics", "summed_here"]

Total = Callable[[Callable[[BinnedVisits], TrajectoryStatistics]], TrajectoryStatistics]
Spread = Callable[[Sequence[BinnedVisits]], AbstractContextManager[Total]]
"""From chunks of patients to what applies a function to each of them, wherever they are, and adds up the results."""

_WARM_UP = 3
"""Iterations after which the strengths of shrinkage are chosen for the last time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Everything that is fixed during EM.

    Attributes
    ----------
    bins : Bins
    layout : RowLayout
    parent : int32[C]
        Within-visit forest of the codes.
    transition_stratum : int64[R]
        The matrix of each stratum, of the visit that a transition leads to.
    n_classes, n_states : int
    lead : int
        Code, numbered through all families, that transitions remember: matrices of who has had it follow those of who
        has not. -1: none.
    matrix_groups : int64[D], optional
        Sex and usual band of age of each matrix, which it is drawn to; None: there is one matrix.
    """

    bins: Bins
    layout: RowLayout
    parent: npt.NDArray[np.int32]
    transition_stratum: npt.NDArray[np.int64]
    n_classes: int
    n_states: int
    lead: int = -1
    matrix_groups: npt.NDArray[np.int64] | None = None

    def weights(self, tables: TrajectoryTables) -> Weights:
        """Turn tables into log-weights."""
        return Weights.of(tables, self.layout, self.transition_stratum)

    def chunks(self, timelines: Timelines, chunk_visits: int) -> list[BinnedVisits]:
        """Return the timelines in bins, chunk by chunk."""
        return [self.binned(part) for part in timelines.chunks(chunk_visits)]

    def binned(self, part: Timelines) -> BinnedVisits:
        """Return a chunk of the timelines in bins."""
        return bin_visits(part, self.bins, self.layout, self.parent, had_before(part, self.lead))

    @property
    def n_matrices(self) -> int:
        """D, of who has had the lead and of who has not."""
        return (int(self.transition_stratum.max()) + 1) * (1 + (self.lead >= 0))

    @property
    def groups(self) -> npt.NDArray[np.int64] | None:
        """The groups of all matrices, see `matrix_groups`."""
        if self.lead < 0:
            return self.matrix_groups
        once = np.arange(self.n_matrices // 2) if self.matrix_groups is None else self.matrix_groups
        return np.concatenate([once, once + int(once.max()) + 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What EM reached.

    Attributes
    ----------
    tables : TrajectoryTables
    strengths : Strengths
    log_likelihood : tuple of float
        Of the data under the tables before each step, by patient.
    objective : tuple of float
        The same plus the log-prior, which is what the steps ascend. The prior changes at the start and once more after
        three iterations, so only what follows can be compared.
    """

    tables: TrajectoryTables
    strengths: Strengths
    log_likelihood: tuple[float, ...]
    objective: tuple[float, ...]


def start_statistics(
    problem: Problem, timelines: Timelines, chunks: Sequence[BinnedVisits], generator: np.random.Generator
) -> TrajectoryStatistics:
    """Return counts of visits that are clustered instead of inferred."""
    classes, states = start_states(timelines, problem.n_classes, problem.n_states, generator)
    flat = classes[timelines.patient_of_visit] * problem.n_states + states
    parts = []
    position = 0
    for chunk in chunks:
        n = int(chunk.offsets[-1])
        parts.append(_hard_counts(problem, chunk, flat[position : position + n]))
        position += n
    return reduce(add, parts)


def _hard_counts(problem: Problem, chunk: BinnedVisits, flat: npt.NDArray[np.int64]) -> TrajectoryStatistics:
    g, k = problem.n_classes, problem.n_states
    gamma = np.zeros((len(flat), g * k), dtype=np.float32)
    gamma[np.arange(len(flat)), flat] = chunk.visit_weight
    n_strata = len(problem.bins.strata)
    first = chunk.offsets[:-1]
    initial = sum_by(chunk.stratum[first], gamma[first], n_strata)
    going = np.ones(len(flat), dtype=bool)
    going[chunk.offsets[1:] - 1] = False
    left = np.flatnonzero(going)
    transition = np.zeros((problem.n_matrices, g, k, k))
    where = (chunk.matrix(problem.transition_stratum)[left + 1], flat[left] // k, flat[left] % k, flat[left + 1] % k)
    np.add.at(transition, where, chunk.visit_weight[left])
    rows = chunk.present.scatter(gamma)
    rows[: chunk.history.n_rows] += chunk.history.scatter(gamma)
    return TrajectoryStatistics(
        rows=rows,
        unseen=np.zeros((3, problem.layout.n_codes, g * k)),
        ratio=gamma.sum(axis=0, dtype=np.float64) if problem.layout.n_slots else np.zeros(0),
        visits=gamma.sum(axis=0, dtype=np.float64),
        initial=initial,
        transition=transition,
        log_likelihood=0.0,
        patients=float(chunk.weight.sum()),
    )


def em(
    problem: Problem,
    chunks: Sequence[BinnedVisits],
    start: TrajectoryStatistics,
    *,
    iterations: int,
    tolerance: float,
    report: Callable[[int, float], None] | None = None,
    spread: Spread | None = None,
) -> Fitted:
    """Climb from the tables of `start`.

    Parameters
    ----------
    problem : Problem
    chunks : sequence of BinnedVisits
        Of the same problem.
    start : TrajectoryStatistics
    iterations : int
        At most so many.
    tolerance : float
        Stop when the objective improves by less than this part of the log-likelihood.
    report : callable (iteration from 1, log-likelihood by patient), optional
    spread : callable, optional
        Where the expectations are taken; default: in this process.
    """
    with (spread or summed_here)(chunks) as total:
        return _climb(problem, total, start, iterations, tolerance, report)


@contextmanager
def summed_here(chunks: Sequence[BinnedVisits]) -> Iterator[Total]:
    """Give what adds up a function of all `chunks` in this process."""
    yield lambda function: reduce(add, map(function, chunks))


def _climb(
    problem: Problem,
    total: Total,
    start: TrajectoryStatistics,
    iterations: int,
    tolerance: float,
    report: Callable[[int, float], None] | None,
) -> Fitted:
    strengths = choose_strengths(start, problem.layout, problem.parent, Strengths(), problem.groups)
    tables = maximise(start, problem.layout, problem.parent, strengths, problem.groups)
    objective: list[float] = []
    likelihood: list[float] = []
    for iteration in range(1, iterations + 1):
        weights = problem.weights(tables)
        statistics = total(partial(expectation, weights=weights))
        likelihood.append(statistics.log_likelihood / statistics.patients)
        prior = log_prior(tables, statistics, problem.layout, strengths)
        objective.append(likelihood[-1] + prior / statistics.patients)
        if report is not None:
            report(iteration, likelihood[-1])
        if iteration == _WARM_UP:
            strengths = choose_strengths(statistics, problem.layout, problem.parent, strengths, problem.groups)
        tables = maximise(statistics, problem.layout, problem.parent, strengths, problem.groups)
        if iteration > _WARM_UP + 1 and objective[-1] - objective[-2] < tolerance * abs(likelihood[-1]):
            break
    return Fitted(tables=tables, strengths=strengths, log_likelihood=tuple(likelihood), objective=tuple(objective))


def held_out(problem: Problem, chunks: Sequence[BinnedVisits], tables: TrajectoryTables) -> float:
    """Return the log-likelihood by patient of patients not learned from."""
    weights = problem.weights(tables)
    likelihood = patients = 0.0
    for chunk in chunks:
        emission = emit(chunk, weights).log
        likelihood += float(infer(chunk, weights, emission).log_likelihood @ chunk.weight)
        patients += float(chunk.weight.sum())
    return likelihood / patients
