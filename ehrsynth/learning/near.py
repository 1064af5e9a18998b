"""What is learned from people side by side, and where a model comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding import Timelines
from ehrsynth.learning.apart import PartCohort
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.posterior import Posteriors
from ehrsynth.learning.settings import LearningSettings
from ehrsynth.learning.sizes import Sizes
from ehrsynth.learning.trajectory import Fitted, Problem
from ehrsynth.provenance import Provenance, versions

__all__ = ["MOST_NEAR", "Near", "near_of", "near_patients", "provenance_of"]

MOST_NEAR = 110_000
"""Visits, at most, from which it is learned what codes say of each other and how numbers go together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Near:
    """Patients in this process: all of them, or a sample of patients that are elsewhere.

    Attributes
    ----------
    timelines : Timelines
    posteriors : iterable of StatePosterior
    observations : pyarrow.Table or None
        The table of the observations.
    """

    timelines: Timelines
    posteriors: Iterable[StatePosterior]
    observations: pa.Table | None


def near_patients(cohort: Timelines | PartCohort) -> npt.NDArray[np.int64]:
    """Return the patients to learn from side by side: all, or every k-th of those who have very many visits."""
    return np.arange(0, cohort.n_patients, -(-cohort.n_visits // MOST_NEAR))


def near_of(
    timelines: Timelines,
    posteriors: Posteriors,
    observations: pa.Table,
    problem: Problem,
    fitted: Fitted,
    settings: LearningSettings,
) -> Near:
    chosen = near_patients(timelines)
    if len(chosen) < timelines.n_patients:
        timelines = timelines.select_patients(chosen)
        posteriors = Posteriors(problem, fitted.tables, timelines, settings.chunk_visits)
    return Near(timelines=timelines, posteriors=posteriors, observations=observations)


def provenance_of(
    origin: Provenance, settings: LearningSettings, seed: int, sizes: Sizes, fitted: Fitted
) -> dict[str, object]:
    return {
        "source": origin.source,
        "source_format": origin.source_format,
        "source_licence": origin.licence,
        "source_synthetic": origin.synthetic,
        "time_basis": origin.time_basis,
        "settings": settings.to_dict(),
        "seed": seed,
        "sizes_tried": sizes.tried,
        "log_likelihood_by_patient": round(fitted.log_likelihood[-1], 3),
        "iterations": len(fitted.objective),
        "versions": versions(
            "numpy", "pyarrow", *(("pomegranate", "torch") if settings.estimator == "pomegranate" else ())
        ),
    }
