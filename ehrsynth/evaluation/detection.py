"""Detection: can a classifier tell synthetic records from real ones?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ehrsynth.evaluation.classifier import boosted_scores, require
from ehrsynth.evaluation.cohort import AnyCohort, Bools, Cohort, Floats, Ints
from ehrsynth.evaluation.distance import auc
from ehrsynth.evaluation.features import commonest_codes, of_patients, record_features
from ehrsynth.evaluation.metric import Comparison, MetricResult, Score
from ehrsynth.randomness import stream

__all__ = ["DetectionMetric"]

FOLDS = 3
FEWEST = 30
MOST = 10_000
TOP_CODES = 200
TOP_MEASURES = 30
TELLING = 5
_NAME = "detection.auc"


class DetectionMetric:
    """Area under the ROC curve of gradient-boosted trees that tell another cohort's records from the reference's.

    0.5: cannot be told apart; 1: told apart without error; clearly less than 0.5: near copies of the reference. Each
    record is a row of numbers (`ehrsynth.evaluation.features.record_features`; variables of the person that the
    reference never records are left out); as many records of each cohort (at most 10,000, drawn at random); threefold
    cross-validation, mean over the folds. The interval resamples the judged records, not the training of the trees. The
    classifier two-sample test of Lopez-Paz and Oquab (2017), ICLR.
    """

    name = "detection"
    order = 80
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the AUC of the synthetic records, and of the real ones as the baseline."""
        require()
        reference, others = comparison.reference, comparison.cohorts[1:]
        size = min([cohort.n_patients for cohort in comparison.cohorts] + [MOST])
        score = Score(title="gradient-boosting detector, AUC", reason=f"fewer than {FEWEST} patients in a cohort")
        if size < FEWEST:
            return [Comparison.result(_NAME, score, [np.nan] * len(others), [[] for _ in others])]
        found = [_detect(comparison, reference, other, size) for other in others]
        points, replicates = [one[0] for one in found], [one[1] for one in found]
        return [Comparison.result(_NAME, score, points, replicates, found[0][2])]


def _detect(comparison: Comparison, first: AnyCohort, second: AnyCohort, size: int) -> tuple[float, list[float], str]:
    cohorts = [first, second]
    codes = commonest_codes(cohorts, TOP_CODES)
    n_measures = len(first.vocabulary.measures)
    per_measure = [
        np.sum([np.bincount(part.value_measure, minlength=n_measures) for part in cohort.parts], axis=0)
        / cohort.n_visits
        for cohort in cohorts
    ]
    measures = np.argsort(-(per_measure[0] + per_measure[1]), kind="stable")[:TOP_MEASURES]
    dated = all(cohort.dated for cohort in cohorts)
    rows, groups, names = [], [], [""]
    for cohort in cohorts:
        random = stream(comparison.seed, f"evaluation.detection.{cohort.name}")
        chosen = random.permutation(cohort.n_patients)[:size]
        made, names = _features(cohort, chosen, codes, measures, first.recorded, dated)
        rows.append(made)
        groups.append(cohort.group[chosen])
    features, other = np.vstack(rows), np.repeat([False, True], size)
    fold = _folds(features, stream(comparison.seed, f"evaluation.detection.folds.{second.name}"))
    scores = np.zeros(len(other))
    for k in range(FOLDS):
        train = fold != k
        scores[~train] = boosted_scores(features[train], other[train], features[~train], seed=k)

    def mean_auc(weights: Floats | None) -> float:
        folds_of = (fold == k for k in range(FOLDS))
        found = [auc(scores[one], other[one], None if weights is None else weights[one]) for one in folds_of]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    drawn = [
        mean_auc(
            np.concatenate(
                [comparison.weights(cohort)[b][group] for cohort, group in zip(cohorts, groups, strict=True)]
            )
        )
        for b in range(comparison.bootstrap)
    ]
    return mean_auc(None), drawn, f"{size:,} records of each, {len(names)} features; {_telling(features, other, names)}"


def _features(
    cohort: AnyCohort, patients: Ints, codes: Ints, measures: Ints, variables: tuple[str, ...], dated: bool
) -> tuple[Floats, list[str]]:
    names: list[str] = []

    def rows(part: Cohort, mine: Ints) -> Floats:
        made, names[:] = record_features(part, codes, measures, mine, variables=variables, dated=dated)
        return made

    return of_patients(cohort, patients, rows), names


def _folds(features: Floats, random: np.random.Generator) -> Ints:
    """Return the fold of each row, at random but the same for equal rows.

    The copy of a record, trained on with the other label, would teach the trees the opposite of what is asked.
    """
    rows = np.ascontiguousarray(features).view(np.dtype((np.void, features.itemsize * features.shape[1])))
    inverse = np.unique(rows.reshape(-1), return_inverse=True)[1].reshape(-1)
    return (random.permutation(int(inverse.max()) + 1) % FOLDS)[inverse]


def _telling(features: Floats, other: Bools, names: list[str]) -> str:
    """Return which features alone tell most, with their AUC (missing values as the least)."""
    lowest = np.nanmin(features, initial=0.0) - 1.0
    alone = np.array([auc(np.nan_to_num(column, nan=lowest), other) for column in features.T])
    alone = np.maximum(alone, 1.0 - alone)
    best = np.argsort(-alone, kind="stable")[:TELLING]
    return "alone: " + ", ".join(f"{names[k]} {alone[k]:.2f}" for k in best.tolist())
