"""The evaluation as a whole: every metric of two or three sets of records, and the report they add up to."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ehrsynth import plugins
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.evaluation.assembly import assemble
from ehrsynth.evaluation.cohort import AnyCohort
from ehrsynth.evaluation.metric import Comparison, Metric, MetricResult
from ehrsynth.evaluation.parted import RecordParts, cohorts_in_parts
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["EvaluationReport", "can_be_in_parts", "evaluate", "evaluate_parts"]

GROUP = "ehrsynth.metrics"
Progress = Callable[[int, int, str], None]

_COLUMNS = (
    "name",
    "title",
    "better",
    "value",
    "interval_low",
    "interval_high",
    "baseline",
    "baseline_interval_low",
    "baseline_interval_high",
    "detail",
    "note",
)


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What all metrics say.

    Attributes
    ----------
    results : tuple of MetricResult
    reference : str
        What the synthetic records were judged against: ``control`` or ``real``.
    patients : mapping of cohort to int
        Patients that were compared.
    seed, bootstrap : int
    notes : tuple of str
        What was left out, and what to mind.
    """

    results: tuple[MetricResult, ...]
    reference: str
    patients: dict[str, int]
    seed: int
    bootstrap: int
    notes: tuple[str, ...] = ()
    _by_name: dict[str, MetricResult] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name.update({result.name: result for result in self.results})

    def __getitem__(self, name: str) -> MetricResult:
        try:
            return self._by_name[name]
        except KeyError:
            raise UsageError(f"There is no result {name!r}.", hint=plugins.nearest(name, self._by_name)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return {
            "reference": self.reference,
            "patients": dict(self.patients),
            "seed": self.seed,
            "bootstrap": self.bootstrap,
            "notes": list(self.notes),
            "results": [result.to_dict() for result in self.results],
        }

    def to_csv(self) -> str:
        """Return the results as CSV (RFC 4180), one row each; what does not apply is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(_COLUMNS)
        for result in self.results:
            interval, of_baseline = result.interval or (None, None), result.baseline_interval or (None, None)
            numbers = [result.value, *interval, result.baseline, *of_baseline]
            cells = ["" if number is None else repr(float(number)) for number in numbers]
            writer.writerow(
                [result.name, result.title, result.better, *cells, "true" if result.detail else "false", result.note]
            )
        return text.getvalue()


def evaluate(
    real: Records,
    synthetic: Records,
    *,
    control: Records | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    bootstrap: int = 100,
    sample: int | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Say how near synthetic records are to real ones.

    Parameters
    ----------
    real : Records
        What the generator learned from.
    synthetic : Records
    control : Records, optional
        Real records of other patients of the same kind, not learned from. With them everything is judged against the
        control, and each result has a baseline: the same figure for `real`, the ceiling for any generator. (Judged
        against the records it learned from, a generator that copies them would look better than real.)
    metrics : sequence of str, optional
        Names registered under ``ehrsynth.metrics``; default all.
    seed : int
        Same records, seed and settings: same report.
    bootstrap : int
        Replicates of the bootstrap over patients, for 95 % intervals; 0 for none.
    sample : int, optional
        At most so many patients of each, drawn at random.
    progress : callable, optional
        Called with (metrics done, metrics in all, name of the next).

    Raises
    ------
    UsageError
        An unknown metric; a negative number of replicates; a sample below 1.
    SourceError
        Records without a patient that has an encounter.
    MissingExtraError
        A metric needs the extra ``evaluate`` (scikit-learn), which is not installed.
    """
    chosen = _checked(metrics, bootstrap, sample)
    parts = {"real": real, "synthetic": synthetic} | ({} if control is None else {"control": control})
    if sample is not None:
        parts = {name: _sample(name, records, sample, seed) for name, records in parts.items()}
    cohorts = dict(zip(parts, assemble(parts, seed=seed), strict=True))
    return _judged(cohorts, chosen, seed, bootstrap, progress)


def evaluate_parts(
    real: RecordParts,
    synthetic: RecordParts,
    *,
    control: RecordParts | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    bootstrap: int = 100,
    sample: int | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Say how near synthetic records are to real ones, of which one part is in memory at a time.

    The figures are those of `evaluate`, but for sums of measured values, which are added up in another order. All
    metrics must be able to look at parts (`can_be_in_parts`).
    """
    chosen = _checked(metrics, bootstrap, sample)
    parts = {"real": real, "synthetic": synthetic} | ({} if control is None else {"control": control})
    return _judged(cohorts_in_parts(parts, seed=seed, sample=sample), chosen, seed, bootstrap, progress)


def can_be_in_parts(metrics: Sequence[str] | None) -> bool:
    """Whether the metrics of these names (default: all) can look at cohorts part by part."""
    return all(getattr(metric, "in_parts", False) for metric in _metrics(metrics))


def _checked(metrics: Sequence[str] | None, bootstrap: int, sample: int | None) -> list[Metric]:
    if bootstrap < 0:
        raise UsageError(f"The bootstrap has {bootstrap} replicates; it must be at least 0.")
    if sample is not None and sample < 1:
        raise UsageError(f"The sample is {sample}; it must be at least 1.")
    return _metrics(metrics)


def _judged(
    cohorts: Mapping[str, AnyCohort], chosen: list[Metric], seed: int, bootstrap: int, progress: Progress | None
) -> EvaluationReport:
    for cohort in cohorts.values():
        if not cohort.n_patients:
            raise SourceError(
                f"The {cohort.name} records have no patient with an encounter.",
                table="encounter",
                hint="Evaluation compares patients by their encounters.",
            )
    judged = "control" in cohorts
    comparison = Comparison(
        reference=cohorts["control" if judged else "real"],
        synthetic=cohorts["synthetic"],
        real=cohorts["real"] if judged else None,
        seed=seed,
        bootstrap=bootstrap,
    )
    results: list[MetricResult] = []
    for done, metric in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen), metric.name)
        results += metric.evaluate(comparison)
    if progress is not None:
        progress(len(chosen), len(chosen), "")
    return EvaluationReport(
        results=tuple(results),
        reference=comparison.reference.name,
        patients={name: cohort.n_patients for name, cohort in cohorts.items()},
        seed=seed,
        bootstrap=bootstrap,
        notes=tuple(_notes(list(cohorts.values()))),
    )


def _metrics(wanted: Sequence[str] | None) -> list[Metric]:
    names = plugins.names(GROUP) if wanted is None else list(dict.fromkeys(wanted))
    found: list[Metric] = [plugins.load(GROUP, name)() for name in names]
    return sorted(found, key=lambda metric: (metric.order, metric.name))


def _sample(name: str, records: Records, sample: int, seed: int) -> Records:
    if records.n_patients <= sample:
        return records
    drawn = stream(seed, f"evaluation.sample.{name}").permutation(records.n_patients)[:sample]
    drawn.sort()
    return records.select_patients(records["patient"]["patient_id"].take(drawn).combine_chunks())


def _notes(cohorts: list[AnyCohort]) -> list[str]:
    notes = []
    for cohort in cohorts:
        if cohort.n_without_visits:
            share = 100 * cohort.n_without_visits / (cohort.n_patients + cohort.n_without_visits)
            notes.append(
                f"{cohort.n_without_visits:,} of the {cohort.name} patients ({share:.1f} %) have no encounter and were "
                "not compared."
            )
    sizes = [cohort.n_patients for cohort in cohorts]
    if max(sizes) > 2 * min(sizes):
        notes.append(
            "The cohorts differ in size by more than a factor of two: distances of a smaller cohort are greater by "
            "chance alone."
        )
    if len({cohort.dated for cohort in cohorts}) > 1:
        notes.append("Only some of the records have dates: what needs dates was not compared.")
    return notes
