"""Fidelity in subgroups: codes by sex and age, prevalence by sex, age and race, and what is impossible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ehrsynth.evaluation.assembly import AGE_BANDS, age_band
from ehrsynth.evaluation.cohort import AnyCohort, Cohort, Ints, Vocabulary
from ehrsynth.evaluation.features import people_with
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, tally
from ehrsynth.terminology import limits, sex_numbers

__all__ = ["SubgroupsMetric", "impossible"]

TOP_CODES = 100
FEWEST_VISITS = 100
FEWEST_PATIENTS = 50
_CELLS = 1 << 12
_WIDE = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
"""Bands of age for the smaller subgroups: under 18, 18-39, 40-69, 70 and over."""


class SubgroupsMetric:
    """How wrong the frequencies of common codes are in parts of the population.

    - ``subgroups.sex_age``: |P(code in a visit | sex, age band) - that of the reference|, over the 100 codes that most
      patients of the reference have and the cells in which it has at least 100 visits;
    - ``subgroups.prevalence``: |P(code ever | sex, age, race) - that of the reference|, over its 100 commonest
      conditions and the subgroups of at least 50 of its patients (ages under 18, 18-39, 40-69, 70 and over);
    - ``subgroups.impossible``: how often a visit has a code that the vocabulary rules out for the patient's sex or age.
    """

    name = "subgroups"
    order = 50
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return mean and greatest errors, and the counts of impossible codes."""
        if not comparison.vocabulary.n_codes:
            return []
        top = _commonest(comparison.reference, np.ones(comparison.vocabulary.n_codes, dtype=bool))
        conditions = _commonest(comparison.reference, comparison.vocabulary.codes_of("condition"))
        results = comparison.score(
            lambda cohort: _by_visit(cohort, top),
            lambda keys, reference: _scorer(
                "sex_age", "codes by sex and age band", top, comparison.vocabulary, keys, reference, FEWEST_VISITS
            ),
        )
        if len(conditions):
            results += comparison.score(
                lambda cohort: _by_patient(cohort, conditions),
                lambda keys, reference: _scorer(
                    "prevalence",
                    "prevalence by sex, age and race",
                    conditions,
                    comparison.vocabulary,
                    keys,
                    reference,
                    FEWEST_PATIENTS,
                ),
            )
        return [*results, _impossible_result(comparison)]


def _commonest(cohort: AnyCohort, allowed: np.ndarray) -> Ints:
    support = np.where(allowed, people_with(cohort), 0)
    order = np.argsort(-support, kind="stable")[:TOP_CODES]
    return order[support[order] > 0]


def _position(codes: Ints, n_codes: int) -> Ints:
    place = np.full(n_codes, -1, dtype=np.int64)
    place[codes] = np.arange(len(codes))
    return place


def _by_visit(cohort: Cohort, codes: Ints) -> Mapping[str, Tally]:
    patient_of = cohort.visit_patient
    cell = cohort.person["sex"][patient_of] * len(AGE_BANDS) + age_band(cohort.age_years)
    place = _position(codes, cohort.vocabulary.n_codes)[cohort.code]
    rows = np.flatnonzero((place >= 0) & ~np.isnan(cohort.age_years)[cohort.code_visit])
    visit = cohort.code_visit[rows]
    aged = np.flatnonzero(~np.isnan(cohort.age_years))
    return {
        "cells": tally(cohort, patient_of[aged], cell[aged]),
        "codes": tally(cohort, patient_of[visit], place[rows] * _CELLS + cell[visit]),
    }


def _by_patient(cohort: Cohort, codes: Ints) -> Mapping[str, Tally]:
    band = _WIDE[age_band(cohort.age_at_start)]
    races = len(cohort.vocabulary.person["race"])
    cell = (cohort.person["sex"] * 4 + band) * races + cohort.person["race"]
    place = _position(codes, cohort.vocabulary.n_codes)[cohort.ever_code]
    known = ~np.isnan(cohort.age_at_start)
    rows = np.flatnonzero((place >= 0) & known[cohort.ever_patient])
    patient = cohort.ever_patient[rows]
    return {
        "cells": tally(cohort, np.flatnonzero(known), cell[known]),
        "codes": tally(cohort, patient, place[rows] * _CELLS + cell[patient]),
    }


def _scorer(
    name: str, title: str, codes: Ints, vocabulary: Vocabulary, keys: Keys, reference: Totals, fewest: int
) -> Scorer:
    cells = np.flatnonzero(reference["cells"] >= fewest)
    number = np.full(_CELLS, -1, dtype=np.int64)
    number[keys["cells"][cells]] = np.arange(len(cells))
    place, cell = keys["codes"] // _CELLS, number[keys["codes"] % _CELLS]
    used = np.flatnonzero(cell >= 0)
    target = place[used] * max(len(cells), 1) + cell[used]

    def frequencies(totals: Totals) -> np.ndarray:
        counted = np.zeros(len(codes) * len(cells))
        counted[target] = totals["codes"][used]
        units = totals["cells"][cells]
        # A cell that nobody is in has none of the codes.
        return counted.reshape(len(codes), len(cells)) / np.where(units > 0, units, 1.0)

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        if not len(cells) or not b["cells"].any():
            return {f"subgroups.{name}.mean_error": np.nan, f"subgroups.{name}.max_error": np.nan}
        error = np.abs(frequencies(a) - frequencies(b))
        return {
            f"subgroups.{name}.mean_error": float(error.mean()),
            f"subgroups.{name}.max_error": float(error.max()),
        }

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        if not len(cells):
            return {}
        first, second = frequencies(a), frequencies(b)
        worst = int(np.abs(first - second).argmax())
        code = vocabulary.codings[codes[worst // len(cells)]][1]
        return {
            f"subgroups.{name}.mean_error": f"{len(codes)} codes in {len(cells)} subgroups",
            f"subgroups.{name}.max_error": f"{code}: {second.flat[worst]:.3f} against {first.flat[worst]:.3f}",
        }

    unit = "visits" if name == "sex_age" else "patients"
    reason = f"ages are not known, or no subgroup of the reference has {fewest} {unit}"
    scores = {
        f"subgroups.{name}.mean_error": Score(title=f"{title}, mean error", reason=reason),
        f"subgroups.{name}.max_error": Score(title=f"{title}, greatest error", reason=reason),
    }
    return Scorer(scores=scores, compare=compare, explain=explain)


def impossible(cohort: Cohort) -> Ints:
    """Return the positions in `Cohort.code` of codes that are impossible for the patient's sex or age.

    Limits are the vocabularies' (`ehrsynth.terminology.limits`). An age known only to the year is given the benefit of
    the doubt; so is the age at later visits of records without dates, which is known only to be no less than that at
    the first.
    """
    vocabulary = cohort.vocabulary
    sex = np.zeros(vocabulary.n_codes, dtype=np.int64)
    low, high = np.zeros(vocabulary.n_codes), np.full(vocabulary.n_codes, np.inf)
    systems = np.array([system for system, _ in vocabulary.codings], dtype=object)
    for system in sorted(set(systems.tolist())):
        mine = np.flatnonzero(systems == system)
        sex[mine], low[mine], high[mine] = limits(system, [vocabulary.codings[i][1] for i in mine.tolist()])
    patient = cohort.visit_patient[cohort.code_visit]
    of_patient = sex_numbers(vocabulary.person["sex"])[cohort.person["sex"]][patient]
    wrong_sex = (sex[cohort.code] > 0) & (of_patient > 0) & (sex[cohort.code] != of_patient)
    age, slack = cohort.age_years[cohort.code_visit], cohort.age_slack[patient]
    with np.errstate(invalid="ignore"):
        too_young = age + slack < low[cohort.code]
        if not cohort.dated:
            too_young &= cohort.code_visit == cohort.offsets[patient]
        wrong_age = too_young | (age - slack >= high[cohort.code])
    return np.flatnonzero(wrong_sex | wrong_age)


def _described(cohort: Cohort, at: int) -> str:
    visit = cohort.code_visit[at]
    sex = cohort.vocabulary.person["sex"][cohort.person["sex"][cohort.visit_patient[visit]]]
    return f"{cohort.vocabulary.codings[cohort.code[at]][1]}, {sex}, {cohort.age_years[visit]:.1f} years"


def _impossible_result(comparison: Comparison) -> MetricResult:
    found, codes = [0] * len(comparison.cohorts), [0] * len(comparison.cohorts)
    instance = ""
    for number, cohort in enumerate(comparison.cohorts):
        for part in cohort.parts:
            wrong = impossible(part)
            found[number] += len(wrong)
            codes[number] += len(part.code)
            if number == 1 and len(wrong) and not instance:
                instance = f"; for instance {_described(part, int(wrong[0]))}"
    note = f"of {codes[1]:,}; {found[0]:,} of {codes[0]:,} in the reference{instance}"
    return MetricResult(
        name="subgroups.impossible.count",
        title="codes impossible for sex or age",
        value=float(found[1]),
        baseline=float(found[2]) if comparison.real is not None else None,
        better="lower",
        note=note,
    )
