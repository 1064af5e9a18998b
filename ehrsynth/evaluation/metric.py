"""What a metric is, what it says, and the comparison of cohorts that it says it about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ehrsynth.evaluation.cohort import AnyCohort, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.tally import Tally, align, merged, total
from ehrsynth.randomness import stream

__all__ = ["Comparison", "Keys", "Metric", "MetricResult", "Score", "Scorer", "Totals"]

Keys = Mapping[str, Ints]
"""The keys of each tally of a metric."""
Totals = Mapping[str, Floats]
"""The amounts of each tally of a metric, in the order of its keys."""

LEVEL = 0.95
FEWEST_REPLICATES = 10


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """What one metric says.

    Attributes
    ----------
    name : str
        Stable machine name with dots: group, subject, measure: ``codes.condition.same_visit_pairs.r2``.
    title : str
        What it measures, for people.
    value : float or None
        Of the synthetic records; None if it does not apply, and `note` says why.
    interval : (float, float) or None
        95 % bootstrap interval of the value over patients.
    baseline : float or None
        The same metric of real records in place of the synthetic ones: what another sample of the same people would
        reach. Only with a control.
    baseline_interval : (float, float) or None
    better : str
        ``higher`` or ``lower``.
    detail : bool
        A part of what another result sums up.
    note : str
        What lies behind the figure.
    """

    name: str
    title: str
    value: float | None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    baseline_interval: tuple[float, float] | None = None
    better: str
    detail: bool = False
    note: str = ""

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.split(".")[0]

    @property
    def behind(self) -> float | None:
        """How far the value is worse than the baseline (negative if better); None without one."""
        if self.value is None or self.baseline is None:
            return None
        return self.value - self.baseline if self.better == "lower" else self.baseline - self.value

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return {
            "name": self.name,
            "title": self.title,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "baseline": self.baseline,
            "baseline_interval": None if self.baseline_interval is None else list(self.baseline_interval),
            "better": self.better,
            "detail": self.detail,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a number of a metric is: see `MetricResult`; `reason` is the note if the number is NaN."""

    title: str
    better: str = "lower"
    low: float = 0.0
    high: float = 1.0
    detail: bool = False
    reason: str = "nothing to compare"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """Numbers computed from two sets of totals.

    Attributes
    ----------
    scores : mapping of name to Score
    compare : callable
        (reference totals, other totals) -> number by name; NaN where it does not apply.
    explain : callable, optional
        Likewise -> note by name.
    """

    scores: Mapping[str, Score]
    compare: Callable[[Totals, Totals], Mapping[str, float]]
    explain: Callable[[Totals, Totals], Mapping[str, str]] | None = None


class Metric(Protocol):
    """Something to say about two cohorts. Registered under the entry-point group ``ehrsynth.metrics``.

    Attributes
    ----------
    name : str
        Group of its results.
    order : int
        Results stand in ascending order.
    in_parts : bool
        Whether it looks at the patients of a cohort only through `AnyCohort` (a metric that does not say so is given
        cohorts that are in memory).
    """

    name: str
    order: int

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the results; none where neither cohort has what it is about."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The cohorts that are compared.

    Attributes
    ----------
    reference : AnyCohort
        What the others are judged against: the control if there is one, else the real records.
    synthetic : AnyCohort
    real : AnyCohort or None
        The real records, judged like the synthetic ones, if there is a control: the ceiling.
    seed : int
    bootstrap : int
        Replicates; 0 for no intervals.
    """

    reference: AnyCohort
    synthetic: AnyCohort
    real: AnyCohort | None = None
    seed: int = 0
    bootstrap: int = 100
    _weights: dict[str, Floats] = field(default_factory=dict, repr=False)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of all cohorts."""
        return self.reference.vocabulary

    @property
    def cohorts(self) -> list[AnyCohort]:
        """The reference, the synthetic and, with a control, the real cohort."""
        return [self.reference, self.synthetic] + ([] if self.real is None else [self.real])

    def weights(self, cohort: AnyCohort) -> Floats:
        """Return how often each group of patients counts in each replicate, float64[bootstrap, groups].

        Poisson bootstrap: independent Poisson(1) counts in place of multinomial ones (Hanley and MacGibbon 2006,
        Computer Methods and Programs in Biomedicine 83). The same for all metrics.
        """
        if cohort.name not in self._weights:
            drawn = stream(self.seed, f"evaluation.bootstrap.{cohort.name}").poisson(
                1.0, (self.bootstrap, cohort.n_groups)
            )
            self._weights[cohort.name] = drawn.astype(np.float64)
        return self._weights[cohort.name]

    def score(
        self, tally: Callable[[Cohort], Mapping[str, Tally]], prepare: Callable[[Keys, Totals], Scorer]
    ) -> list[MetricResult]:
        """Return the results of numbers that are functions of tallies, with their intervals.

        Parameters
        ----------
        tally : callable
            The tallies of a part of a cohort, by name: the same names for each. They are sums over patients.
        prepare : callable
            (keys, totals of the reference) -> Scorer. Called once: whatever is chosen by the reference (the codes that
            are common enough) is the same for the synthetic cohort, the baseline and every replicate.
        """
        tallies = [merged(map(tally, cohort.parts)) for cohort in self.cohorts]
        keys: dict[str, Ints] = {}
        aligned: list[dict[str, Tally]] = [{} for _ in tallies]
        for name in tallies[0]:
            keys[name], ones = align([each[name] for each in tallies])
            for target, one in zip(aligned, ones, strict=True):
                target[name] = one

        def totals(which: int, replicate: int | None = None) -> Totals:
            weights = None if replicate is None else self.weights(self.cohorts[which])[replicate]
            return {name: total(one, len(keys[name]), weights) for name, one in aligned[which].items()}

        reference = totals(0)
        scorer = prepare(keys, reference)
        others = list(range(1, len(tallies)))
        points = [scorer.compare(reference, totals(k)) for k in others]
        notes = scorer.explain(reference, totals(1)) if scorer.explain is not None else {}
        replicates: list[dict[str, list[float]]] = [{name: [] for name in scorer.scores} for _ in others]
        for b in range(self.bootstrap):
            drawn = totals(0, b)
            for k, kept in zip(others, replicates, strict=True):
                for name, number in scorer.compare(drawn, totals(k, b)).items():
                    kept[name].append(number)
        return [
            self.result(
                name,
                score,
                [float(point[name]) for point in points],
                [kept[name] for kept in replicates],
                notes.get(name, ""),
            )
            for name, score in scorer.scores.items()
        ]

    @staticmethod
    def result(
        name: str, score: Score, points: Sequence[float], replicates: Sequence[Sequence[float]], note: str = ""
    ) -> MetricResult:
        """Return a result from the number of the synthetic cohort and, with a control, of the real one."""
        value = points[0] if np.isfinite(points[0]) else None
        baseline = points[1] if len(points) > 1 and np.isfinite(points[1]) else None
        intervals = [
            _interval(point, drawn, score) if np.isfinite(point) else None
            for point, drawn in zip(points, replicates, strict=True)
        ]
        return MetricResult(
            name=name,
            title=score.title,
            value=value,
            interval=intervals[0],
            baseline=baseline,
            baseline_interval=intervals[1] if len(points) > 1 else None,
            better=score.better,
            detail=score.detail,
            note=note if value is not None else f"not applicable: {score.reason}",
        )


def _interval(point: float, drawn: Sequence[float], score: Score) -> tuple[float, float] | None:
    """Return the percentile interval of the replicates, moved so that their median is the point, inside the range.

    A distance between resampled cohorts is greater than that of the cohorts themselves, because both are noisier; left
    where it is the interval would not hold the value. Moving it by the bias is the first-order correction of Efron and
    Tibshirani (1993), An Introduction to the Bootstrap, chapter 10.
    """
    finite = np.array([number for number in drawn if np.isfinite(number)])
    if len(finite) < FEWEST_REPLICATES:
        return None
    low, middle, high = np.quantile(finite, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    moved = np.clip([point + low - middle, point + high - middle], score.low, score.high)
    return float(moved[0]), float(moved[1])
