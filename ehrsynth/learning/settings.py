"""What a learner may be told, and what it tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from ehrsynth.errors import UsageError
from ehrsynth.probability.extra import learn_library

__all__ = ["LearningProgress", "LearningSettings", "Progress", "begun", "silent"]


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How to learn.

    Attributes
    ----------
    min_patients : int
        No code, category, date or histogram cell of fewer people is in the model.
    states, classes : int or "auto"
        States of each trajectory class, and classes; "auto" chooses by held-out log-likelihood.
    iterations : int
        At most so many EM iterations.
    tolerance : float
        EM stops when an iteration improves the log-likelihood by less than this part of it.
    max_visits : int
        Visits of one patient that are learned from at most.
    validation_fraction : float
        Share of the patients held out to choose the sizes; they are learned from afterwards.
    max_parents : int
        Parents of a variable of the person network.
    estimator : {"pomegranate", "numpy"}
        What sums up the tables of the person network: pomegranate's distributions (needs the ``learn`` extra; up to
        2**24 patients, which is what its single precision can count) or numpy. They agree to 1e-6.
    chunk_visits : int
        Visits handled at a time: bounds memory, does not change the result (beyond rounding).
    reference_date : str or None
        ISO date at which generated records end. By default the first of the month after the last day of the source
        where that has true dates, else 2025-01-01.
    rounding : int
        Counts in the package are rounded to multiples of this.
    name, title, description, licence : str
        Of the model package.

    Raises
    ------
    UsageError
        A setting that cannot be.
    """

    min_patients: int = 5
    states: int | Literal["auto"] = "auto"
    classes: int | Literal["auto"] = "auto"
    iterations: int = 50
    tolerance: float = 1e-4
    max_visits: int = 500
    validation_fraction: float = 0.15
    max_parents: int = 3
    estimator: Literal["pomegranate", "numpy"] = "pomegranate"
    chunk_visits: int = 25_000
    reference_date: str | None = None
    rounding: int = 10
    name: str = "learned"
    title: str = ""
    description: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name, least in (
            ("min_patients", 1),
            ("iterations", 1),
            ("max_visits", 1),
            ("max_parents", 0),
            ("chunk_visits", 1),
            ("rounding", 1),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("states", "classes"):
            value = getattr(self, name)
            if value != "auto" and not (isinstance(value, int) and value >= 1):
                raise UsageError(f"{name} is {value!r}; give a whole number from 1, or 'auto'.")
        if self.estimator not in ("pomegranate", "numpy"):
            raise UsageError(f"There is no estimator {self.estimator!r}.", hint="Give 'pomegranate' or 'numpy'.")
        if not 0 < self.validation_fraction < 1:
            raise UsageError(f"validation_fraction is {self.validation_fraction}; it must lie between 0 and 1.")
        if self.reference_date is not None:
            try:
                date.fromisoformat(self.reference_date)
            except ValueError:
                raise UsageError(
                    f"{self.reference_date!r} is no date.", hint="Give reference_date as YYYY-MM-DD."
                ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LearningProgress:
    """How far a learner is.

    Attributes
    ----------
    stage : str
        ``encoding``, ``sizes``, ``trajectory``, ``person``, ``details``, ``measurements`` or ``done``.
    step, steps : int
        Step of so many in the stage, from 1.
    log_likelihood : float or None
        Of the trajectories, natural logarithm, by patient: of those learned from, or (stage ``sizes``) held out.
    message : str
        A few words for a person.
    """

    stage: str
    step: int = 1
    steps: int = 1
    log_likelihood: float | None = None
    message: str = ""


Progress = Callable[[LearningProgress], None]


def begun(settings: LearningSettings | None, progress: Progress | None) -> tuple[LearningSettings, Progress]:
    """Return the settings and whom to tell, told that visits are being read.

    Raises
    ------
    MissingExtraError
        The settings ask for pomegranate and it is not installed.
    """
    settings = settings or LearningSettings()
    if settings.estimator == "pomegranate":
        # Asked for at once, not after minutes of work.
        learn_library("pomegranate")
    tell = progress or silent
    tell(LearningProgress(stage="encoding", message="reading visits"))
    return settings, tell


def silent(progress: LearningProgress) -> None:
    """Tell nobody."""
