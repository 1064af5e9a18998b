"""Patients as rows of numbers, for classifiers that tell cohorts apart or predict what comes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrsynth.evaluation.cohort import AnyCohort, Bools, Cohort, Floats, Ints

__all__ = ["code_counts", "commonest_codes", "of_patients", "people_with", "record_features"]


def people_with(cohort: AnyCohort) -> Ints:
    """Return how many patients have each code, int64[C]."""
    n_codes = cohort.vocabulary.n_codes
    total = np.zeros(n_codes, dtype=np.int64)
    for part in cohort.parts:
        total += np.bincount(part.ever_code, minlength=n_codes)
    return total


def of_patients(cohort: AnyCohort, patients: Ints, rows: Callable[[Cohort, Ints], Floats]) -> Floats:
    """Return what `rows` makes of each of some patients, float64[patients, columns], in the order of `patients`.

    Parameters
    ----------
    cohort : AnyCohort
    patients : int64[n]
        Numbers among all.
    rows : callable
        (part, patients of the part) -> a row of numbers for each.
    """
    result: Floats | None = None
    first = 0
    for part in cohort.parts:
        mine = np.flatnonzero((patients >= first) & (patients < first + part.n_patients))
        if len(mine) or result is None:
            made = rows(part, patients[mine] - first)
            result = np.zeros((len(patients), made.shape[1])) if result is None else result
            result[mine] = made
        first += part.n_patients
    assert result is not None  # a cohort has a part
    return result


def commonest_codes(cohorts: list[AnyCohort], limit: int) -> Ints:
    """Return the codes that most patients have, by the mean of the cohorts' shares; ties in the vocabulary's order."""
    n_codes = cohorts[0].vocabulary.n_codes
    support = np.zeros(n_codes)
    for cohort in cohorts:
        support += people_with(cohort) / max(cohort.n_patients, 1)
    order = np.argsort(-support, kind="stable")[:limit]
    return order[support[order] > 0]


def code_counts(cohort: Cohort, codes: Ints, patients: Ints, visits: Bools | None = None) -> Floats:
    """Return in how many visits each patient has each code, float64[patients, codes].

    Parameters
    ----------
    cohort : Cohort
    codes : int64[c]
    patients : int64[n]
    visits : bool[V], optional
        Only these visits count; default all.
    """
    place = np.full(max(cohort.vocabulary.n_codes, 1), -1, dtype=np.int64)
    place[codes] = np.arange(len(codes))
    row = np.full(cohort.n_patients, -1, dtype=np.int64)
    row[patients] = np.arange(len(patients))
    column, at = place[cohort.code], row[cohort.visit_patient[cohort.code_visit]]
    used = (column >= 0) & (at >= 0)
    if visits is not None:
        used &= visits[cohort.code_visit]
    flat = np.bincount(at[used] * len(codes) + column[used], minlength=len(patients) * len(codes))
    return flat.astype(np.float64).reshape(len(patients), len(codes))


def record_features(
    cohort: Cohort, codes: Ints, measures: Ints, patients: Ints, *, variables: tuple[str, ...], dated: bool
) -> tuple[Floats, list[str]]:
    """Return one row per patient, float64[patients, features], NaN where unknown, and the names of the features.

    Age at start, the `variables` of the person, visits, (if `dated`) length of the record and greatest and mean gap,
    mean stay, visits by class, distinct codes and codes per visit of each family, mean of each of `measures`, visits
    with each of `codes`.
    """
    n, vocabulary = cohort.n_patients, cohort.vocabulary
    owner = cohort.visit_patient
    visits = cohort.visits_per_patient.astype(np.float64)
    columns: dict[str, Floats] = {"age at start": cohort.age_at_start}
    columns |= {name: cohort.person[name].astype(np.float64) for name in variables}
    columns["visits"] = visits
    if dated:
        gap = np.zeros(cohort.n_visits)
        gap[1:] = np.diff(cohort.start_day)
        gap[cohort.offsets[:-1]] = 0.0
        columns["length of record"] = cohort.follow_days.astype(np.float64)
        columns["greatest gap"] = np.maximum.reduceat(gap, cohort.offsets[:-1])
        columns["mean gap"] = np.bincount(owner, gap, n) / np.maximum(visits - 1, 1)
    stays = cohort.stay_minutes >= 0
    columns["mean stay"] = _mean(owner[stays], cohort.stay_minutes[stays].astype(np.float64), n)
    for k, name in enumerate(vocabulary.classes):
        columns[f"visits {name}"] = np.bincount(owner[cohort.encounter_class == k], minlength=n).astype(np.float64)
    family = vocabulary.family_of
    for k, name in enumerate(vocabulary.families):
        ever = cohort.ever_patient[family[cohort.ever_code] == k]
        columns[f"codes of {name}"] = np.bincount(ever, minlength=n).astype(np.float64)
        each = owner[cohort.code_visit[family[cohort.code] == k]]
        columns[f"{name} per visit"] = np.bincount(each, minlength=n) / visits
    for one in measures.tolist():
        mine = cohort.value_measure == one
        columns[f"mean {vocabulary.measures[one][1]}"] = _mean(owner[cohort.value_visit[mine]], cohort.value[mine], n)
    names = [*columns, *(f"visits with {vocabulary.codings[code][1]}" for code in codes.tolist())]
    return np.hstack([np.column_stack(list(columns.values()))[patients], code_counts(cohort, codes, patients)]), names


def _mean(owner: Ints, value: Floats, n: int) -> Floats:
    count = np.bincount(owner, minlength=n)
    return np.where(count > 0, np.bincount(owner, value, n) / np.maximum(count, 1), np.nan)
