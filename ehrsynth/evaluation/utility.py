"""Utility: does what is learned from synthetic records hold on real ones?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.classifier import logistic_scores, require
from ehrsynth.evaluation.cohort import AnyCohort, Bools, Cohort, Floats, Ints
from ehrsynth.evaluation.distance import auc
from ehrsynth.evaluation.features import code_counts, commonest_codes, of_patients
from ehrsynth.evaluation.metric import Comparison, MetricResult, Score
from ehrsynth.randomness import stream

__all__ = ["UtilityMetric"]

LABELS = 20
FEATURES = 200
MOST = 20_000
FEWEST_PATIENTS = 40
FEWEST_EACH = 10
"""A code is a label if at least so many patients of the test have it in the later half, and as many do not."""


class UtilityMetric:
    """Train on synthetic, test on real (TSTR): Esteban, Hyland and Ratsch (2017), arXiv 1706.02633.

    From the first half of a record (rounding down; patients of at least two visits) predict for each of the 20
    conditions commonest in the later half whether the later half has it, by logistic regression on: whether and in how
    many visits (log) the first half has each of the 200 commonest codes, its number of visits, age and sex.
    Trained once on synthetic and once on as many real patients, both tested on the same real patients neither has seen:
    the control's; without a control the real patients are split in two at random, one half to train, one to test.

    ``tstr.auc`` is the mean AUC over the conditions, its baseline the AUC of the training on real patients;
    ``tstr.gap`` is the difference. Intervals resample the tested patients.
    """

    name = "utility"
    order = 70
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the AUC of training on synthetic and on real patients, and the gap."""
        require()
        scores = _scores()
        if not comparison.vocabulary.n_codes:
            return []
        task, reason = _task(comparison)
        if task is None:
            return [Comparison.result(name, _because(score, reason), [np.nan], [[]]) for name, score in scores.items()]
        synthetic, real = (
            logistic_scores(features, labels, task.test_features) for features, labels in (task.synthetic, task.real)
        )
        counts = comparison.weights(comparison.reference)
        weights: list[Floats | None] = [None, *(counts[b][task.test_group] for b in range(comparison.bootstrap))]
        drawn = [[_mean_auc(one, task.test_labels, weight) for one in (synthetic, real)] for weight in weights]
        size, tested = len(task.synthetic[0]), len(task.test_features)
        note = f"{task.test_labels.shape[1]} conditions, trained on {size:,} patients, tested on {tested:,}"
        lost = [on_real - on_synthetic for on_synthetic, on_real in drawn]
        replicates = [[pair[k] for pair in drawn[1:]] for k in range(2)]
        return [
            Comparison.result("utility.tstr.auc", scores["utility.tstr.auc"], drawn[0], replicates, note),
            Comparison.result("utility.tstr.gap", scores["utility.tstr.gap"], lost[:1], [lost[1:]], note),
        ]


def _scores() -> dict[str, Score]:
    return {
        "utility.tstr.auc": Score(title="later codes predicted, trained on synthetic, AUC", better="higher"),
        "utility.tstr.gap": Score(title="later codes predicted, AUC lost", low=-1.0),
    }


def _because(score: Score, reason: str) -> Score:
    return Score(title=score.title, better=score.better, reason=reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """Features and labels to train on and to test on; `test_group` are the bootstrap groups of the tested patients."""

    synthetic: tuple[Floats, Bools]
    real: tuple[Floats, Bools]
    test_features: Floats
    test_labels: Bools
    test_group: Ints


def _task(comparison: Comparison) -> tuple[_Task | None, str]:
    vocabulary, tested = comparison.vocabulary, comparison.reference
    seed = comparison.seed
    test, synthetic = _eligible(tested, seed), _eligible(comparison.synthetic, seed)
    if comparison.real is None:
        trained, train, test = tested, test[: len(test) // 2], test[len(test) // 2 :]
    else:
        trained = comparison.real
        train = _eligible(trained, seed)
    size = min(len(train), len(synthetic), MOST)
    test = test[:MOST]
    if min(size, len(test)) < FEWEST_PATIENTS:
        return None, f"fewer than {FEWEST_PATIENTS} patients with two visits in a cohort"
    conditions = vocabulary.codes_of("condition")
    candidates = np.flatnonzero(conditions if conditions.any() else np.ones(vocabulary.n_codes, dtype=bool))
    support = _people_with_later(tested, candidates, test)
    usable = np.flatnonzero((support >= FEWEST_EACH) & (len(test) - support >= FEWEST_EACH))
    labels = candidates[usable[np.argsort(-support[usable], kind="stable")[:LABELS]]]
    if not len(labels):
        return None, f"no condition is in the later half of {FEWEST_EACH} records and not in {FEWEST_EACH} others"
    codes = commonest_codes([trained, comparison.synthetic], FEATURES)
    made = {
        name: _features(cohort, codes, labels, patients)
        for name, cohort, patients in (
            ("synthetic", comparison.synthetic, synthetic[:size]),
            ("real", trained, train[:size]),
            ("test", tested, test),
        )
    }
    return _Task(
        synthetic=made["synthetic"],
        real=made["real"],
        test_features=made["test"][0],
        test_labels=made["test"][1],
        test_group=tested.group[test],
    ), ""


def _people_with_later(cohort: AnyCohort, codes: Ints, patients: Ints) -> Ints:
    """Return how many of some patients have each code in the later half of their records, int64[codes]."""
    chosen = np.zeros(cohort.n_patients, dtype=bool)
    chosen[patients] = True
    support = np.zeros(cohort.vocabulary.n_codes, dtype=np.int64)
    first = 0
    for part in cohort.parts:
        owner = part.visit_patient[part.code_visit]
        later = ~_first_half(part)[part.code_visit] & chosen[first : first + part.n_patients][owner]
        pairs = np.unique(part.code[later] * max(part.n_patients, 1) + owner[later])
        support += np.bincount(pairs // max(part.n_patients, 1), minlength=len(support))
        first += part.n_patients
    return support[codes]


def _eligible(cohort: AnyCohort, seed: int) -> Ints:
    """Return the patients with at least two visits, in random order."""
    order = stream(seed, f"evaluation.utility.{cohort.name}").permutation(cohort.n_patients)
    return order[cohort.visits_per_patient[order] >= 2]


def _first_half(cohort: Cohort) -> Bools:
    number = np.arange(cohort.n_visits) - np.repeat(cohort.offsets[:-1], cohort.visits_per_patient)
    return number < np.repeat(cohort.visits_per_patient // 2, cohort.visits_per_patient)


def _features(cohort: AnyCohort, codes: Ints, labels: Ints, patients: Ints) -> tuple[Floats, Bools]:
    made = of_patients(cohort, patients, lambda part, mine: np.hstack(_of_part(part, codes, labels, mine)))
    return made[:, : made.shape[1] - len(labels)], made[:, made.shape[1] - len(labels) :] > 0


def _of_part(cohort: Cohort, codes: Ints, labels: Ints, patients: Ints) -> tuple[Floats, Floats]:
    first = _first_half(cohort)
    counts = code_counts(cohort, codes, patients, first)
    visits = np.log1p(cohort.visits_per_patient[patients] // 2)
    age = np.nan_to_num(cohort.age_at_start[patients]) / 100.0
    sex = np.eye(max(len(cohort.vocabulary.person["sex"]), 1))[cohort.person["sex"][patients]]
    features = np.hstack([counts > 0, np.log1p(counts), visits[:, None], age[:, None], age[:, None] ** 2, sex])
    return features, code_counts(cohort, labels, patients, ~first)


def _mean_auc(scores: Floats, labels: Bools, weights: Floats | None) -> float:
    found = np.array([auc(scores[:, k], labels[:, k], weights) for k in range(labels.shape[1])])
    return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")
