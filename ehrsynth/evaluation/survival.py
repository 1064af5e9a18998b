"""Fidelity of how records end: survival curves and lengths of records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ehrsynth.evaluation.cohort import Cohort
from ehrsynth.evaluation.distance import ks, survival_curve
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, tally

__all__ = ["SurvivalMetric"]

AT_RISK = 0.1
"""Curves are compared while at least this share of the reference is at risk: beyond, they rest on few."""


class SurvivalMetric:
    """Kaplan-Meier curves of death, and the distribution of the length of records, from the first encounter.

    ``death``: greatest difference of the survival curves while 10 % of the reference are at risk; a patient who is not
    known to have died leaves at the end of the record. ``record_length``: the Kolmogorov-Smirnov distance of the days
    from the first encounter to the end of the record or death.
    """

    name = "survival"
    order = 35
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the two distances."""
        dated = all(cohort.dated for cohort in comparison.cohorts)
        return comparison.score(lambda cohort: _count(cohort, dated), lambda keys, reference: _scorer(keys, dated))


def _count(cohort: Cohort, dated: bool) -> Mapping[str, Tally]:
    patients = np.arange(cohort.n_patients if dated else 0)
    # One key for both tallies: death 1, else 0, in the last bit.
    key = np.maximum(cohort.follow_days[patients], 0) * 2 + cohort.died[patients]
    return {"exits": tally(cohort, patients, key)}


def _scorer(keys: Keys, dated: bool) -> Scorer:
    time, position = np.unique(keys["exits"] // 2, return_inverse=True)
    position = position.reshape(-1)
    dead = keys["exits"] % 2 == 1
    one = np.zeros(len(time), dtype=np.int64)

    def parts(totals: Totals) -> tuple[np.ndarray, np.ndarray]:
        exits = np.bincount(position, totals["exits"], len(time))
        return np.bincount(position[dead], totals["exits"][dead], len(time)), exits

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        (deaths_a, exits_a), (deaths_b, exits_b) = parts(a), parts(b)
        gap = np.nan
        if deaths_a.sum() + deaths_b.sum() > 0 and exits_a.sum() > 0 and exits_b.sum() > 0:
            first, at_risk = survival_curve(deaths_a, exits_a)
            second, _ = survival_curve(deaths_b, exits_b)
            gap = float(np.abs(first - second)[at_risk >= AT_RISK * exits_a.sum()].max())
        return {
            "survival.death.sup": gap,
            "survival.record_length.ks": float(ks(exits_a, exits_b, one, 1)[0]) if len(time) else np.nan,
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        (deaths_a, exits_a), (deaths_b, exits_b) = parts(a), parts(b)
        if not exits_a.sum() or not exits_b.sum():
            return {}
        died = f"{deaths_b.sum() / exits_b.sum():.3f} against {deaths_a.sum() / exits_a.sum():.3f} die"
        mean = [float((exits * time).sum() / exits.sum()) for exits in (exits_b, exits_a)]
        return {
            "survival.death.sup": died,
            "survival.record_length.ks": f"on average {mean[0]:,.0f} against {mean[1]:,.0f} days",
        }

    undated = "records of order only have no dates"
    scores = {
        "survival.death.sup": Score(
            title="survival curve, greatest difference", reason="nobody is known to have died" if dated else undated
        ),
        "survival.record_length.ks": Score(title="length of record, KS", reason=undated),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)
