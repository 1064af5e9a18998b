"""What is done once in a life, and that the visits after it go another way: the code that transitions remember.

Examinations that most people have once are where illness is found. States stand for such visits; without memory the
chain comes back to them, when the examination cannot be had again, and what is found is found without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth import terminology
from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.families import FarPosteriors, StatePosterior, summed
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.steps import FEWEST_PEOPLE

__all__ = ["find_lead", "first_with", "had_before", "with_lead"]

Ints = npt.NDArray[np.int64]

_TABLE = "observation"
_ONCE = 1.05
"""Visits with the code of each person who has it, at most."""
_STRENGTH = 8.0


def find_lead(cohort: Cohort, parent: npt.NDArray[np.integer[Any]]) -> int:
    """Return the code that leads, as a number among the codes of all families; -1: none.

    An observation that hangs from a condition, comes once in a life, and that more people have than the condition; of
    several the one that most people have.

    Parameters
    ----------
    cohort : Cohort
    parent : int[C]
        The within-visit forest of all codes.
    """
    families = cohort.vocabulary.families
    if _TABLE not in families or "condition" not in families or cohort.n_patients < FEWEST_PEOPLE:
        return -1
    names = [name for name in families if name != UNION]
    start = sum(families[name].n_codes for name in names[: names.index(_TABLE)])
    code = np.arange(start, start + families[_TABLE].n_codes)
    visits, people = cohort.total(partial(_often, n_codes=len(parent)))
    of = parent[code]
    leads = (of >= 0) & (of < families["condition"].n_codes) & (visits[code] <= _ONCE * people[code])
    leads &= people[code] > people[np.maximum(of, 0)]
    for one in np.flatnonzero(leads).tolist():
        coding = families[_TABLE].codings[one]
        sex, low, high = (limit[0] for limit in terminology.limits(coding.system, [coding.code]))
        # Whose sex and age are limited is drawn where these are known exactly.
        leads[one] = sex == 0 and low <= 0 and np.isinf(high)
    found = code[leads]
    return int(found[np.argmax(people[found])]) if len(found) else -1


def had_before(timelines: Timelines, lead: int) -> npt.NDArray[np.bool_]:
    """Return of each visit whether the person had the code `lead` in an earlier one, bool[V]; -1: nobody had."""
    if lead < 0:
        return np.zeros(timelines.n_visits, dtype=bool)
    return np.asarray(np.arange(timelines.n_visits) > first_with(timelines, lead)[timelines.patient_of_visit])


def first_with(timelines: Timelines, lead: int) -> Ints:
    """Return the first visit with the code of each patient; that after all visits where there is none."""
    family = timelines.families[UNION]
    visit = family.visits[family.codes == lead].astype(np.int64)
    first = np.full(timelines.n_patients, timelines.n_visits, dtype=np.int64)
    np.minimum.at(first, timelines.patient_of_visit[visit], visit)
    return first


def with_lead(posteriors: Iterable[StatePosterior] | FarPosteriors, tables: CodeTables, lead: int) -> CodeTables:
    """Return the tables with the chance of `lead` in the visits of who has not had it as it is.

    That of EM is of visits that may be empty, and empty visits are not drawn: before it is known what else a visit has
    the chance is greater.
    """
    if lead < 0:
        return tables
    new, trials = summed(posteriors, partial(_first_times, lead=lead))
    overall = new.sum() / max(trials.sum(), 1e-9)
    never = np.array(tables.never)
    never[:, lead] = (new + _STRENGTH * overall) / (trials + _STRENGTH)
    return replace(tables, never=never)


def _first_times(chunk: StatePosterior, lead: int) -> npt.NDArray[np.float64]:
    """Return (visits with the code for the first time, visits of who has not had it before) by state, float64[2, Q]."""
    timelines, gamma = chunk.timelines, chunk.gamma
    first = first_with(timelines, lead)[timelines.patient_of_visit]
    place = np.arange(timelines.n_visits)
    return np.stack([gamma[mine].sum(axis=0, dtype=np.float64) for mine in (place == first, place <= first)])


def _often(timelines: Timelines, n_codes: int) -> Ints:
    """Return (visits, people) with each code, int64[2, C]."""
    family = timelines.families[UNION]
    codes, owner = family.codes.astype(np.int64), timelines.patient_of_visit[family.visits].astype(np.int64)
    return np.stack([np.bincount(codes, minlength=n_codes), distinct_patients(codes, owner, n_codes)])
