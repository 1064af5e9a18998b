"""Fidelity of how records run: visits, gaps, stays, transitions and the return of chronic codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ehrsynth.evaluation.codes import COMBINED
from ehrsynth.evaluation.cohort import Bools, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.distance import ks, mean_of, relative_error, tvd, tvd_by_segment
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, tally
from ehrsynth.terminology import chronic

__all__ = ["COUNT_EDGES", "GAP_EDGES", "STAY_EDGES", "TemporalMetric", "chronic_codes"]

COUNT_EDGES = np.array([*range(11), 15, 20, 30, 50, 75, 100, 200, 500])
"""Upper ends (inclusive) of the bins of visits per patient and of codes per visit; beyond is one more bin."""
GAP_EDGES = np.array(
    [*range(8), 10, 14, 21, 28, 42, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330, 365, 450, 540, 730, 1095, 1825]
)
"""Upper ends (inclusive, days) of the bins of gaps between the starts of consecutive visits."""
STAY_EDGES = np.array([0, 15, 30, 60, 120, 240, 480, 720, *(1440 * day for day in range(1, 15)), 30240, 43200, 86400])
"""Upper ends (inclusive, minutes) of the bins of lengths of stay."""
FEWEST = 20
CHRONIC = 0.5
"""Where a vocabulary does not say, a code that returns in at least half of those who can have it again is chronic."""
_SPAN = 1 << 20


class TemporalMetric:
    """Distributions over time.

    - ``visits``: visits per patient: relative error of the mean, and TVD over `COUNT_EDGES`;
    - ``codes_per_visit``: the same of distinct codes per visit, per family and combined;
    - ``gaps``: days between the starts of consecutive visits: TVD over `GAP_EDGES`, and Kolmogorov-Smirnov distance;
    - ``stay``: length of stay given the encounter class: TVD over `STAY_EDGES`, averaged over the reference's classes;
    - ``classes``, ``transitions``: TVD of encounter classes and of pairs of classes of consecutive visits (bigrams);
      ``inpatient_after_inpatient``: error of P(inpatient | the previous visit was inpatient);
    - ``recurrence``: error of P(code again in a later visit | had it before the last visit), averaged over conditions,
      medications and procedures with at least 20 such patients in the reference, weighted by them;
      ``chronic_recurrence`` over chronic conditions only.
    """

    name = "temporal"
    order = 30
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return the distances of counts, times, transitions and recurrences."""
        vocabulary = comparison.vocabulary
        families = {name: vocabulary.codes_of(name) for name in vocabulary.families}
        if sum(name in COMBINED for name in families) > 1:
            families["combined"] = vocabulary.codes_of(*COMBINED)
        dated = all(cohort.dated for cohort in comparison.cohorts)
        results = comparison.score(
            lambda cohort: _count_visits(cohort, families), lambda keys, _: _visits_scorer(list(families), keys)
        )
        results += comparison.score(
            lambda cohort: _count_times(cohort, dated), lambda keys, _: _times_scorer(vocabulary, keys, dated)
        )
        if vocabulary.n_codes:
            results += comparison.score(
                _count_recurrence, lambda keys, reference: _recurrence_scorer(vocabulary, keys, reference)
            )
        return results


def _count_visits(cohort: Cohort, families: Mapping[str, Bools]) -> Mapping[str, Tally]:
    everyone, visits = np.arange(cohort.n_patients), cohort.visits_per_patient
    found = {
        "patients": tally(cohort, everyone, np.searchsorted(COUNT_EDGES, visits).astype(np.int64)),
        "visits": tally(cohort, everyone, np.zeros(len(everyone), np.int64), visits.astype(np.float64)),
    }
    patient_of = cohort.visit_patient
    for name, of_family in families.items():
        per_visit = np.bincount(cohort.code_visit[of_family[cohort.code]], minlength=cohort.n_visits)
        found[f"{name}.bins"] = tally(cohort, patient_of, np.searchsorted(COUNT_EDGES, per_visit).astype(np.int64))
        nothing = np.zeros(len(patient_of), dtype=np.int64)
        found[f"{name}.codes"] = tally(cohort, patient_of, nothing, per_visit.astype(np.float64))
    return found


def _visits_scorer(families: list[str], keys: Keys) -> Scorer:
    def means(totals: Totals) -> dict[str, float]:
        patients, visits = totals["patients"].sum(), totals["visits"].sum()
        found = {"temporal.visits": float(visits / patients) if patients else np.nan}
        for name in families:
            found[f"temporal.codes_per_visit.{name}"] = (
                float(totals[f"{name}.codes"].sum() / visits) if visits else np.nan
            )
        return found

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        first, second = means(a), means(b)
        result = {"temporal.visits.tvd": tvd(a["patients"], b["patients"])}
        for name in families:
            result[f"temporal.codes_per_visit.{name}.tvd"] = tvd(a[f"{name}.bins"], b[f"{name}.bins"])
        for name, mean in first.items():
            result[f"{name}.mean_error"] = relative_error(mean, second[name])
        return result

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        first, second = means(a), means(b)
        return {f"{name}.mean_error": f"{second[name]:.3f} against {mean:.3f}" for name, mean in first.items()}

    scores: dict[str, Score] = {}
    titles = {"temporal.visits": "visits per patient"}
    titles |= {f"temporal.codes_per_visit.{name}": f"{name}: codes per visit" for name in families}
    for name, title in titles.items():
        scores[f"{name}.mean_error"] = Score(
            title=f"{title}, relative error of the mean", high=np.inf, reason="the reference has none"
        )
        scores[f"{name}.tvd"] = Score(title=f"{title}, TVD")
    return Scorer(scores=scores, compare=compare, explain=explain)


def _count_times(cohort: Cohort, dated: bool) -> Mapping[str, Tally]:
    patient_of = cohort.visit_patient
    before = np.flatnonzero(cohort.has_next)
    pair = cohort.encounter_class[before] * _SPAN + cohort.encounter_class[before + 1]
    gap = cohort.start_day[before + 1] - cohort.start_day[before] if dated else np.zeros(0, dtype=np.int64)
    gap_owner = patient_of[before] if dated else gap
    stays = np.flatnonzero(cohort.stay_minutes >= 0)
    stay = np.searchsorted(STAY_EDGES, cohort.stay_minutes[stays]).astype(np.int64)
    return {
        "classes": tally(cohort, patient_of, cohort.encounter_class),
        "transitions": tally(cohort, patient_of[before], pair),
        "gaps": tally(cohort, gap_owner, np.minimum(gap, _SPAN)),
        "stays": tally(cohort, patient_of[stays], cohort.encounter_class[stays] * _SPAN + stay),
    }


def _times_scorer(vocabulary: Vocabulary, keys: Keys, dated: bool) -> Scorer:
    bins = np.searchsorted(GAP_EDGES, keys["gaps"])
    one = np.zeros(len(bins), dtype=np.int64)
    of_class, classes = keys["stays"] // _SPAN, len(vocabulary.classes)
    first_class, then_class = keys["transitions"] // _SPAN, keys["transitions"] % _SPAN
    inpatient = np.array([name in ("IMP", "ACUTE", "NONAC") for name in vocabulary.classes])

    def binned(totals: Totals) -> Floats:
        return np.asarray(np.bincount(bins, totals["gaps"], len(GAP_EDGES) + 1), dtype=np.float64)

    def readmitted(totals: Totals) -> float:
        before = inpatient[first_class]
        return mean_of(inpatient[then_class[before]].astype(np.float64), totals["transitions"][before])

    def stay(a: Totals, b: Totals) -> float:
        distance = tvd_by_segment(a["stays"], b["stays"], of_class, classes)
        known = np.asarray(np.bincount(of_class, a["stays"], classes), dtype=np.float64)
        # A class of which the other cohort has no stay is as wrong as can be; what the reference lacks has no weight.
        return mean_of(np.where(np.isnan(distance), 1.0, distance), known)

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        return {
            "temporal.gaps.tvd": tvd(binned(a), binned(b)),
            "temporal.gaps.ks": float(ks(a["gaps"], b["gaps"], one, 1)[0]),
            "temporal.stay.tvd": stay(a, b),
            "temporal.classes.tvd": tvd(a["classes"], b["classes"]),
            "temporal.transitions.tvd": tvd(a["transitions"], b["transitions"]),
            "temporal.inpatient_after_inpatient.error": abs(readmitted(a) - readmitted(b)),
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        return {
            "temporal.inpatient_after_inpatient.error": f"{readmitted(b):.3f} against {readmitted(a):.3f}",
            "temporal.stay.tvd": f"{b['stays'].sum():,.0f} against {a['stays'].sum():,.0f} stays",
        }

    gaps = "no patient has two visits" if dated else "records of order only have no dates"
    scores = {
        "temporal.gaps.tvd": Score(title="gaps between visits, TVD", reason=gaps),
        "temporal.gaps.ks": Score(title="gaps between visits, KS", reason=gaps),
        "temporal.stay.tvd": Score(title="length of stay given class, TVD", reason="no length of stay is known"),
        "temporal.classes.tvd": Score(title="encounter classes, TVD"),
        "temporal.transitions.tvd": Score(title="class transitions, TVD", reason="no patient has two visits"),
        "temporal.inpatient_after_inpatient.error": Score(
            title="P(inpatient after inpatient), error", reason="no visit follows an inpatient visit"
        ),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)


def _count_recurrence(cohort: Cohort) -> Mapping[str, Tally]:
    chosen = np.flatnonzero(cohort.vocabulary.codes_of(*COMBINED)[cohort.code])
    code, visit = cohort.code[chosen], cohort.code_visit[chosen]
    patient = cohort.visit_patient[visit]
    order = np.lexsort((visit, code, patient))
    patient, code, visit = patient[order], code[order], visit[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (patient[1:] != patient[:-1]) | (code[1:] != code[:-1])
    starts = np.flatnonzero(first)
    again = np.diff(np.append(starts, len(order))) > 1
    patient, code, visit = patient[starts], code[starts], visit[starts]
    could = cohort.has_next[visit]
    return {
        "could": tally(cohort, patient[could], code[could]),
        "again": tally(cohort, patient[could & again], code[could & again]),
    }


def chronic_codes(vocabulary: Vocabulary, codes: Ints, recurrence: Floats) -> Bools:
    """Return which conditions are chronic: as the vocabulary says, or, where it says nothing, those that recur."""
    result = np.zeros(len(codes), dtype=bool)
    systems = np.array([vocabulary.codings[code][0] for code in codes.tolist()], dtype=object)
    condition = vocabulary.codes_of("condition")[codes]
    for system in sorted(set(systems.tolist())):
        mine = np.flatnonzero((systems == system) & condition)
        told = chronic(system, [vocabulary.codings[codes[i]][1] for i in mine.tolist()])
        result[mine] = told if told.any() else recurrence[mine] >= CHRONIC
    return result


def _recurrence_scorer(vocabulary: Vocabulary, keys: Keys, reference: Totals) -> Scorer:
    place = np.searchsorted(keys["could"], keys["again"])
    enough = np.flatnonzero(reference["could"] >= FEWEST)

    def probability(totals: Totals) -> Floats:
        again = np.zeros(len(keys["could"]))
        again[place] = totals["again"]
        could = totals["could"]
        # Whoever never has the code never has it again.
        return (again / np.where(could > 0, could, 1.0))[enough]

    lasting = chronic_codes(vocabulary, keys["could"][enough], probability(reference))

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        error, weight = np.abs(probability(a) - probability(b)), a["could"][enough]
        return {
            "temporal.recurrence.error": mean_of(error, weight),
            "temporal.chronic_recurrence.error": mean_of(error[lasting], weight[lasting]),
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        weight = a["could"][enough]
        notes = {}
        for name, mine in (("recurrence", np.ones(len(enough), dtype=bool)), ("chronic_recurrence", lasting)):
            first, second = (mean_of(probability(one)[mine], weight[mine]) for one in (a, b))
            notes[f"temporal.{name}.error"] = f"{int(mine.sum())} codes; on average {second:.3f} against {first:.3f}"
        return notes

    reason = f"no such code in {FEWEST} patients of the reference who have a later visit"
    scores = {
        "temporal.recurrence.error": Score(title="recurrence of codes, error", reason=reason),
        "temporal.chronic_recurrence.error": Score(title="recurrence of chronic conditions, error", reason=reason),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)
