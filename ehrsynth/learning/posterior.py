"""The states of all visits under the learned tables, chunk by chunk, computed again when there are too many to keep."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.learning.binned import BinnedVisits
from ehrsynth.learning.expectation import emit, infer, predict
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.parameters import TrajectoryTables
from ehrsynth.learning.trajectory import Problem

__all__ = ["Posteriors"]

_MOST_KEPT = 120_000_000
"""Numbers of four bytes that are kept in memory (480 MB)."""


class Posteriors:
    """An iterable, as often as needed, over chunks of patients with the posterior of their states.

    Parameters
    ----------
    problem : Problem
    tables : TrajectoryTables
    timelines : Timelines
    chunk_visits : int

    Attributes
    ----------
    classes : float64[n, G]
        P(trajectory class | record) of each patient; filled by the first pass.
    """

    def __init__(self, problem: Problem, tables: TrajectoryTables, timelines: Timelines, chunk_visits: int) -> None:
        self._problem = problem
        self._weights = problem.weights(tables)
        self._timelines = timelines
        self._chunk_visits = chunk_visits
        cells = timelines.n_visits * problem.n_classes * problem.n_states
        # Posterior, prediction, and what is kept of the emissions.
        kinds = 2 + (problem.layout.n_slots or int(problem.layout.n_truncated > 0))
        self._keep = cells * kinds <= _MOST_KEPT
        self._kept: list[StatePosterior] | None = None
        self.classes: npt.NDArray[np.float64] = np.zeros((timelines.n_patients, problem.n_classes))

    def __iter__(self) -> Iterator[StatePosterior]:
        if self._kept is not None:
            yield from self._kept
            return
        made: list[StatePosterior] = []
        patient = 0
        for part in self._timelines.chunks(self._chunk_visits):
            binned = self._problem.binned(part)
            chunk, classes = self._infer(part, binned)
            self.classes[patient : patient + part.n_patients] = classes
            patient += part.n_patients
            if self._keep:
                made.append(chunk)
            yield chunk
        if self._keep:
            self._kept = made

    def _infer(self, part: Timelines, binned: BinnedVisits) -> tuple[StatePosterior, npt.NDArray[np.float64]]:
        emission = emit(binned, self._weights)
        posterior = infer(binned, self._weights, emission.log)
        weight = binned.visit_weight[:, None]
        chunk = StatePosterior(
            timelines=part,
            stratum=binned.stratum,
            gamma=posterior.gamma * weight,
            predicted=predict(binned, self._weights, emission.log) * weight,
            ratios=emission.ratios,
            weights=self._weights,
        )
        return chunk, posterior.block_posterior
