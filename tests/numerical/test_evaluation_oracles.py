"""Distances against scikit-learn, SciPy and pandas on random numbers, and counts against loops over rows."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ehrsynth.evaluation.assembly import assemble
from ehrsynth.evaluation.codes import log_r2
from ehrsynth.evaluation.distance import auc, cramers_v, ks, r2, v_table
from ehrsynth.evaluation.report import evaluate
from ehrsynth.evaluation.tally import align, tally, total
from ehrsynth.randomness import stream
from ehrsynth.records import Records


def test_r2_and_auc_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = stream(1, "test.r2")
    for _ in range(20):
        real, other = random.random(30), random.random(30)
        assert r2(real, other) == pytest.approx(metrics.r2_score(real, other))
        scores, positive = random.integers(0, 6, 50).astype(float), random.random(50) < 0.4
        weights = random.poisson(1.0, 50).astype(float)
        expected = metrics.roc_auc_score(positive, scores, sample_weight=weights)
        assert auc(scores, positive, weights) == pytest.approx(expected)


def test_ks_and_cramers_v_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = stream(1, "test.ks")
    for _ in range(20):
        first, second = random.integers(0, 9, 40), random.integers(2, 12, 25)
        a, b = (np.bincount(x, minlength=12).astype(float) for x in (first, second))
        found = ks(a, b, np.zeros(12, dtype=np.int64), 1)[0]
        assert found == pytest.approx(stats.ks_2samp(first, second).statistic)
        table = random.integers(1, 9, (3, 4)).astype(float)
        row, column = np.indices(table.shape).reshape(2, -1)
        v = cramers_v(table.ravel(), v_table(np.zeros(12, dtype=np.int64), row, column), 1)[0]
        assert v == pytest.approx(stats.contingency.association(table.astype(int), method="cramer"))


def rows_of(records: Records, table: str) -> list[dict[str, Any]]:
    return records[table].to_pylist()


class Brute:
    """The records of a cohort as nested Python lists: patients, their visits in order, the codes of each as a set."""

    def __init__(self, records: Records) -> None:
        self.visits: dict[str, list[str]] = {}
        self.start: dict[str, Any] = {}
        for row in rows_of(records, "encounter"):
            self.visits.setdefault(row["patient_id"], []).append(row["encounter_id"])
            self.start[row["encounter_id"]] = row["start_datetime"]
        self.codes: dict[str, set[str]] = {visit: set() for visits in self.visits.values() for visit in visits}
        for row in rows_of(records, "condition"):
            self.codes[row["encounter_id"]].add(row["code"])

    def probabilities(self, kind: str) -> dict[Any, float]:
        counts: Counter[Any] = Counter()
        units = 0
        for visits in self.visits.values():
            ever = set().union(*(self.codes[visit] for visit in visits))
            if kind == "unigram":
                units += len(visits)
                counts.update(code for visit in visits for code in self.codes[visit])
            elif kind == "ever":
                units += 1
                counts.update(ever)
            elif kind == "same_visit_pairs":
                units += len(visits)
                counts.update(pair for visit in visits for pair in combinations(sorted(self.codes[visit]), 2))
            elif kind == "same_record_pairs":
                units += 1
                counts.update(combinations(sorted(ever), 2))
            else:
                units += len(visits) - 1
                for one, two in pairwise(visits):
                    counts.update((a, b) for a in self.codes[one] for b in self.codes[two])
        return {key: count / units for key, count in counts.items()}


@pytest.fixture(scope="module")
def cohorts(evaluated: ModuleType) -> tuple[Records, Records]:
    """Two small cohorts of different make."""
    return evaluated.population(1, 150), evaluated.population(2, 130, independent=True)


@pytest.mark.parametrize("kind", ["unigram", "ever", "same_visit_pairs", "same_record_pairs", "sequential_pairs"])
def test_r2_of_codes_is_that_of_loops_over_rows(cohorts: tuple[Records, Records], kind: str) -> None:
    report = evaluate(*cohorts, metrics=["codes"], bootstrap=0)
    first, second = (Brute(records).probabilities(kind) for records in cohorts)
    keys = sorted(first.keys() | second.keys())
    real, other = (np.array([one.get(key, 0.0) for key in keys]) for one in (first, second))
    assert report[f"codes.condition.{kind}.r2"].value == pytest.approx(r2(real, other))
    rows = cohorts[0]["encounter"].num_rows
    units = [
        {"unigram": r, "same_visit_pairs": r, "sequential_pairs": r - n}.get(kind, n)
        for r, n in ((rows, 150), (cohorts[1]["encounter"].num_rows, 130))
    ]
    common = np.flatnonzero(np.round(real * units[0]) >= 5)
    expected = log_r2(np.round(real[common] * units[0]), np.round(other[common] * units[1]), units[0], units[1])
    assert report[f"codes.condition.{kind}.log_r2"].value == pytest.approx(expected)


def test_times_are_those_of_loops_over_rows(cohorts: tuple[Records, Records]) -> None:
    report = evaluate(*cohorts, metrics=["temporal"], bootstrap=0)
    stats = pytest.importorskip("scipy.stats")
    gaps, recurrence, lengths, transitions = [], [], [], []
    for records in cohorts:
        brute = Brute(records)
        kind = {row["encounter_id"]: row["encounter_class"] for row in rows_of(records, "encounter")}
        pairs = [pair for visits in brute.visits.values() for pair in pairwise(visits)]
        gaps.append([(brute.start[b] - brute.start[a]).days for a, b in pairs])
        transitions.append(Counter((kind[a], kind[b]) for a, b in pairs))
        lengths.append(np.mean([len(visits) for visits in brute.visits.values()]))
        could: Counter[str] = Counter()
        again: Counter[str] = Counter()
        for visits in brute.visits.values():
            for code in set().union(*(brute.codes[visit] for visit in visits)):
                at = [i for i, visit in enumerate(visits) if code in brute.codes[visit]]
                if at[0] < len(visits) - 1:
                    could[code] += 1
                    again[code] += len(at) > 1
        recurrence.append((could, again))
    assert report["temporal.gaps.ks"].value == pytest.approx(stats.ks_2samp(*gaps).statistic)
    assert report["temporal.visits.mean_error"].value == pytest.approx(abs(lengths[1] - lengths[0]) / lengths[0])
    shares = [{key: n / sum(one.values()) for key, n in one.items()} for one in transitions]
    keys = shares[0].keys() | shares[1].keys()
    expected = 0.5 * sum(abs(shares[0].get(key, 0) - shares[1].get(key, 0)) for key in keys)
    assert report["temporal.transitions.tvd"].value == pytest.approx(expected)
    inpatient = [
        one[("IMP", "IMP")] / sum(n for (before, _), n in one.items() if before == "IMP") for one in transitions
    ]
    error = report["temporal.inpatient_after_inpatient.error"].value
    assert error == pytest.approx(abs(inpatient[0] - inpatient[1]))
    chronic = ["E11.9", "I10"]  # by the vocabulary; the complaints of this population are not
    used = [code for code in chronic if recurrence[0][0][code] >= 20]
    weight = np.array([recurrence[0][0][code] for code in used], dtype=float)
    share = [np.array([again[code] / could[code] for code in used]) for could, again in recurrence]
    expected = float((np.abs(share[0] - share[1]) * weight).sum() / weight.sum())
    assert report["temporal.chronic_recurrence.error"].value == pytest.approx(expected)


def test_numbers_are_those_of_pandas_and_scipy(cohorts: tuple[Records, Records]) -> None:
    stats = pytest.importorskip("scipy.stats")
    report = evaluate(*cohorts, metrics=["numeric"], bootstrap=0)
    wide = []
    for records in cohorts:
        frame = records["observation"].to_pandas()
        wide.append(frame.pivot_table(index="encounter_id", columns="code", values="value_number", observed=True))
    for code in ("2345-7", "4548-4"):
        expected = stats.ks_2samp(wide[0][code], wide[1][code]).statistic
        assert report[f"numeric.{code} 1.ks"].value == pytest.approx(expected)
    # Against itself the ranks are the cohort's own: Spearman's correlation.
    spearman = stats.spearmanr(wide[0]["2345-7"], wide[0]["4548-4"]).statistic
    note = report["numeric.correlation.max_error"].note
    assert f"against {spearman:.2f}" in note


def test_weighted_totals_are_those_of_repeated_patients(evaluated: ModuleType) -> None:
    (cohort,) = assemble({"real": evaluated.population(3, 40)}, seed=0)
    counted = tally(cohort, cohort.visit_patient[cohort.code_visit], cohort.code)
    keys, (aligned,) = align([counted])
    weights = stream(5, "test.weights").poisson(1.0, cohort.n_groups).astype(float)
    found = total(aligned, len(keys), weights)
    patient = cohort.visit_patient[cohort.code_visit]
    for key, value in zip(keys, found, strict=True):
        assert value == weights[cohort.group[patient[cohort.code == key]]].sum()
    assert total(aligned, len(keys)).sum() == len(cohort.code)
