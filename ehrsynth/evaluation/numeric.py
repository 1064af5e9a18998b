"""Fidelity of numbers: their distributions, and how they go together within visits and within people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Literal

import numpy as np

from ehrsynth.evaluation.cohort import AnyCohort, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.distance import correlation, ks, mean_of, quantiles
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, pairs, tally

__all__ = ["NumericMetric"]

FEWEST_VALUES = 50
FEWEST_PATIENTS = 5
LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
TOP_MEASURES = 60
"""Correlations are of pairs of so many measures, the commonest of the reference."""
_SPAN = 1 << 32
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_MOMENTS = ("n", "x", "y", "xx", "yy", "xy")


class NumericMetric:
    """Distributions and correlations of numeric observations with at least 50 values of 5 patients in the reference.

    - ``ks``: Kolmogorov-Smirnov distance of the values of each measure (code and unit); mean over measures weighted by
      the reference's values, and greatest;
    - ``quantiles``: mean |quantile - that of the reference| / interquartile range of the reference, at 5, 25, 50, 75
      and 95 %;
    - ``correlation``: |difference| of the correlations of pairs of measures of one visit, over pairs with at least 50
      visits in the reference, weighted by them;
    - ``lag``: |difference| of the correlations of a person's successive values of one measure (in different visits).

    Correlations are of the values' ranks in the reference (the mid-distribution function of the reference's values,
    applied to all cohorts), as Spearman's: outliers and units do not matter. In a visit with several values of a
    measure the first counts. A pair that a cohort never has correlates 0 there.
    """

    name = "numeric"
    order = 40
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the distances of distributions and correlations."""
        vocabulary = comparison.vocabulary
        kept = _common(comparison.reference)
        if not len(vocabulary.measures):
            return []
        parts = (part for cohort in comparison.cohorts for part in cohort.parts)
        levels = reduce(np.union1d, (_kept_values(part, kept)[2] for part in parts), np.zeros(0))
        tables = _distributions(comparison.reference, kept)

        def count(cohort: Cohort) -> Mapping[str, Tally]:
            visit, measure, value = _kept_values(cohort, kept)
            key = measure * _SPAN + np.searchsorted(levels, value)
            return {"values": tally(cohort, cohort.visit_patient[visit], key)}

        def count_pairs(cohort: Cohort) -> Mapping[str, Tally]:
            return _count_pairs(cohort, _kept_values(cohort, kept), tables)

        labels = [_label(vocabulary, one) for one in kept.tolist()]
        results = comparison.score(count, lambda keys, totals: _values_scorer(labels, levels, keys, totals))
        results += comparison.score(count_pairs, lambda keys, totals: _pairs_scorer(labels, keys, totals))
        return results


def _label(vocabulary: Vocabulary, measure: int) -> str:
    _, code, unit = vocabulary.measures[measure]
    return f"{code} {unit}".strip()


def _common(cohort: AnyCohort) -> Ints:
    """Return the measures with enough values and patients, the commonest first."""
    n = len(cohort.vocabulary.measures)
    values, patients = np.zeros((2, n), dtype=np.int64)
    for part in cohort.parts:
        values += np.bincount(part.value_measure, minlength=n)
        owner = part.visit_patient[part.value_visit]
        pairs_of = np.unique(part.value_measure * max(part.n_patients, 1) + owner) // max(part.n_patients, 1)
        patients += np.bincount(pairs_of, minlength=n)
    order = np.argsort(-values, kind="stable")
    return order[(values[order] >= FEWEST_VALUES) & (patients[order] >= FEWEST_PATIENTS)]


def _kept_values(cohort: Cohort, kept: Ints) -> tuple[Ints, Ints, Floats]:
    place = np.full(len(cohort.vocabulary.measures), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    measure = place[cohort.value_measure]
    mine = measure >= 0
    return cohort.value_visit[mine], measure[mine], cohort.value[mine]


def _distributions(cohort: AnyCohort, kept: Ints) -> list[tuple[Floats, Ints]]:
    """Return for each measure its distinct values, ascending, and how many values lie below each and below no more."""
    found = [(np.zeros(0), np.zeros(0, dtype=np.int64)) for _ in kept]
    for part in cohort.parts:
        _, measure, value = _kept_values(part, kept)
        order = np.argsort(measure, kind="stable")
        bounds = np.searchsorted(measure[order], np.arange(len(kept) + 1))
        for one, (known, counts) in enumerate(found):
            mine = value[order[bounds[one] : bounds[one + 1]]]
            both, place = np.unique(np.concatenate((known, mine)), return_inverse=True)
            weight = np.concatenate((counts, np.ones(len(mine), dtype=np.int64)))
            found[one] = both, np.bincount(place.reshape(-1), weight, len(both)).astype(np.int64)
    return [(known, np.concatenate(([0], np.cumsum(counts)))) for known, counts in found]


def _values_scorer(labels: list[str], levels: Floats, keys: Keys, reference: Totals) -> Scorer:
    measure, value = keys["values"] // _SPAN, levels[keys["values"] % _SPAN]
    n = len(labels)
    weight = np.bincount(measure, reference["values"], n)
    quarter, middle, three = quantiles(reference["values"], value, measure, n, np.array([0.25, 0.5, 0.75])).T
    # A measure of few distinct values may have no interquartile range: then its mean is the unit.
    unit = np.where(three > quarter, three - quarter, np.where(np.abs(middle) > 0, np.abs(middle), 1.0))

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        distance = ks(a["values"], b["values"], measure, n)
        known = np.where(np.isnan(distance), 0.0, weight)
        first, second = (quantiles(one["values"], value, measure, n, LEVELS) for one in (a, b))
        shift = np.abs(first - second).mean(axis=1) / unit
        result = {f"numeric.{labels[k]}.ks": float(distance[k]) for k in range(n)}
        result["numeric.ks.mean"] = mean_of(distance, known)
        result["numeric.ks.max"] = float(np.nanmax(distance)) if (known > 0).any() else np.nan
        result["numeric.quantiles.error"] = mean_of(shift, np.where(np.isnan(shift), 0.0, weight))
        return result

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        distance = ks(a["values"], b["values"], measure, n)
        first, second = (quantiles(one["values"], value, measure, n, np.array([0.5]))[:, 0] for one in (a, b))
        notes = {
            f"numeric.{labels[k]}.ks": f"median {second[k]:g} against {first[k]:g}, {weight[k]:,.0f} values"
            for k in range(n)
        }
        if n:
            notes["numeric.ks.mean"] = f"{n} measures"
            notes["numeric.ks.max"] = labels[int(np.nanargmax(distance))]
            notes["numeric.quantiles.error"] = "in interquartile ranges"
        return notes

    reason = f"no measure has {FEWEST_VALUES} values of {FEWEST_PATIENTS} patients in the reference"
    scores = {
        "numeric.ks.mean": Score(title="numbers by measure, mean KS", reason=reason),
        "numeric.ks.max": Score(title="numbers by measure, greatest KS", reason=reason),
        "numeric.quantiles.error": Score(title="quantiles of numbers, mean error", high=np.inf, reason=reason),
    }
    scores |= {f"numeric.{label}.ks": Score(title=f"{label}, KS", detail=True) for label in labels}
    return Scorer(scores=scores, compare=compare, explain=explain)


def _ranks(measure: Ints, value: Floats, tables: list[tuple[Floats, Ints]]) -> Floats:
    """Return the mid-distribution function of the reference at each value, 0 to 1, minus one half."""
    rank = np.zeros(len(value))
    order = np.argsort(measure, kind="stable")
    bounds = np.searchsorted(measure[order], np.arange(len(tables) + 1))
    for one, (known, below) in enumerate(tables):
        mine = order[bounds[one] : bounds[one + 1]]
        # Values equal to it count half.
        twice = sum(below[np.searchsorted(known, value[mine], side)] for side in _SIDES)
        rank[mine] = twice / (2.0 * below[-1]) - 0.5
    return rank


def _count_pairs(
    cohort: Cohort, values: tuple[Ints, Ints, Floats], tables: list[tuple[Floats, Ints]]
) -> Mapping[str, Tally]:
    visit, measure, value = values
    n = max(len(tables), 1)
    # Values of one visit lie together as they stood: the first of each (visit, measure) counts.
    _, first = np.unique(visit * n + measure, return_index=True)
    visit, measure, rank = visit[first], measure[first], _ranks(measure[first], value[first], tables)
    owner = cohort.visit_patient[visit]
    chosen = np.flatnonzero(measure < TOP_MEASURES)
    count = np.searchsorted(visit[chosen], visit[chosen], side="right") - np.arange(len(chosen)) - 1
    parts = [(chosen[i], chosen[j]) for i, j in pairs(np.arange(len(chosen)) + 1, count)]
    left, right = (np.concatenate([part[k] for part in parts] or [np.zeros(0, np.int64)]) for k in range(2))
    found = _moments(cohort, "visit", owner[left], measure[left] * n + measure[right], rank[left], rank[right])
    order = np.lexsort((visit, measure, owner))
    same = (owner[order][1:] == owner[order][:-1]) & (measure[order][1:] == measure[order][:-1])
    before, after = order[:-1][same], order[1:][same]
    return found | _moments(cohort, "lag", owner[before], measure[before], rank[before], rank[after])


def _moments(cohort: Cohort, name: str, patient: Ints, key: Ints, x: Floats, y: Floats) -> dict[str, Tally]:
    products = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    return {
        f"{name}.{moment}": tally(cohort, patient, key, amount)
        for moment, amount in zip(_MOMENTS, products, strict=True)
    }


def _pairs_scorer(labels: list[str], keys: Keys, reference: Totals) -> Scorer:
    n = max(len(labels), 1)
    enough = {name: np.flatnonzero(reference[f"{name}.n"] >= FEWEST_VALUES) for name in ("visit", "lag")}

    def correlations(totals: Totals, name: str) -> Floats:
        moments = [totals[f"{name}.{moment}"][enough[name]] for moment in _MOMENTS]
        return correlation(*moments)

    def names_of(name: str) -> list[str]:
        found = keys[f"{name}.n"][enough[name]].tolist()
        return [f"{labels[key // n]} and {labels[key % n]}" if name == "visit" else labels[key] for key in found]

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        result = {}
        for name, title in (("visit", "correlation"), ("lag", "lag")):
            error = np.abs(correlations(a, name) - correlations(b, name))
            result[f"numeric.{title}.mean_error"] = mean_of(error, reference[f"{name}.n"][enough[name]])
            result[f"numeric.{title}.max_error"] = float(error.max()) if len(error) else np.nan
        return result

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        notes = {}
        for name, title in (("visit", "correlation"), ("lag", "lag")):
            first, second = correlations(a, name), correlations(b, name)
            if len(first):
                worst = int(np.abs(first - second).argmax())
                notes[f"numeric.{title}.mean_error"] = f"{len(first)} {'pairs' if name == 'visit' else 'measures'}"
                notes[f"numeric.{title}.max_error"] = (
                    f"{names_of(name)[worst]}: {second[worst]:.2f} against {first[worst]:.2f}"
                )
        return notes

    reason = f"no two measures are together in {FEWEST_VALUES} visits of the reference"
    lag = f"no measure is repeated {FEWEST_VALUES} times within people of the reference"
    scores = {
        "numeric.correlation.mean_error": Score(
            title="correlations within a visit, mean error", high=2.0, reason=reason
        ),
        "numeric.correlation.max_error": Score(
            title="correlations within a visit, greatest error", high=2.0, reason=reason
        ),
        "numeric.lag.mean_error": Score(title="correlations with the value before, mean error", high=2.0, reason=lag),
        "numeric.lag.max_error": Score(
            title="correlations with the value before, greatest error", high=2.0, reason=lag
        ),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)
