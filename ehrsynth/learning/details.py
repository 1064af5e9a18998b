"""Code families of the model: the tables of codes by state, and how the rows of each code look."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, FamilyTimeline, Timelines
from ehrsynth.learning.attributes import learn_attributes
from ehrsynth.learning.company import LearnedCompany
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.recurrence import Again
from ehrsynth.learning.rows import RowCohort
from ehrsynth.learning.tallies import KnownValues
from ehrsynth.learning.times import even_days, histogram_of
from ehrsynth.learning.tree import condition_parents
from ehrsynth.model import EVERY_TABLE, CodeFamily
from ehrsynth.probability.histogram import Histogram
from ehrsynth.terminology import limits

__all__ = ["learn_family"]

Doubles = npt.NDArray[np.float64]

_POSITIONS = 8
_REPEAT_STRENGTH = 5.0
_DURATION_STRENGTH = 20.0
_SEEN = 0.5
_INDICATION = 5.0
"""A condition is taken for the reason of a code whose odds it multiplies by so much at least: the most telling
condition of a visit is not always why something is done."""


def learn_family(
    rows: RowCohort,
    name: str,
    *,
    tables: CodeTables,
    lift: Doubles,
    zero_truncated: bool = False,
    sizes: Doubles | None = None,
    company: LearnedCompany | None = None,
    again: Again | None = None,
    min_patients: int,
    blank: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> CodeFamily:
    """Return the family of the table `name`.

    Parameters
    ----------
    rows : RowCohort
    name : str
        A family of the timelines.
    tables : CodeTables
        The family's part of what EM learned; parents are numbers among the codes of all families.
    lift : float64[R, C]
    zero_truncated : bool
        Every visit has a code of the families so marked.
    sizes : float64[Q, N + 1], optional
        P(number of codes in a visit | state), where visits have slots.
    company : LearnedCompany, optional
        Of the conditions, where visits have few of them.
    again : Again, optional
        Of codes that a person has had.
    min_patients : int
    blank
        See `learn_attributes`.
    """
    cohort = rows.cohort
    family = cohort.vocabulary.families[name]
    sex_limit, age_min, age_max = _limits(family)
    repeats = _repeats(cohort.total(partial(_further, name=name)))
    count_lift = since_lift = None
    never = tables.never.astype(np.float32)
    if company is not None:
        count_lift = company.count_lift
        satellite = tables.parent >= 0
        # A satellite that was never seen alone is never drawn alone: what is left is the prior's.
        never[:, satellite & (never.max(axis=0, initial=0.0) * cohort.n_visits < _SEEN)] = 0.0
        if again is not None and satellite.any():
            width = max(count_lift.shape[1], again.count_lift.shape[1])
            count_lift = np.where(satellite[:, None], _widened(again.count_lift, width), _widened(count_lift, width))
    elif again is not None:
        count_lift, since_lift = again.count_lift, again.since_lift
    duration, duration_days, duration_known = _durations(cohort, name, min_patients)
    return CodeFamily(
        table=name,
        codings=family.codings,
        never=never,
        never_with_parent=tables.never_with_parent.astype(np.float32),
        previous=tables.previous.astype(np.float32),
        earlier=tables.earlier.astype(np.float32),
        parent_table=EVERY_TABLE,
        parent=tables.parent,
        lift=lift.astype(np.float32),
        sex_limit=sex_limit,
        age_min=age_min,
        age_max=age_max,
        zero_truncated=zero_truncated,
        sizes=sizes,
        tilt=None if company is None or company.tilt is None else company.tilt.astype(np.float32),
        size_after=None if company is None else company.size_after.astype(np.float32),
        size_lift=None if company is None else company.size_lift.astype(np.float32),
        company=None if company is None else company.company,
        boost=None if company is None else company.boost.astype(np.float32),
        count_lift=None if count_lift is None else count_lift.astype(np.float32),
        since_edges=None if again is None or since_lift is None else again.since_edges,
        since_lift=None if since_lift is None else since_lift.astype(np.float32),
        repeats=repeats.astype(np.float32),
        position=_positions(cohort.total(partial(_cells, name=name)), min_patients),
        duration=duration,
        duration_days=duration_days,
        duration_known=duration_known.astype(np.float32),
        attributes=learn_attributes(rows, name, min_patients=min_patients, blank=blank),
        reason=_reasons(cohort, family),
        unlinked=round(family.unlinked, 3),
    )


def _widened(count_lift: Doubles, width: int) -> Doubles:
    """Return odds multipliers by the number of earlier visits, for more of them."""
    return count_lift[:, np.minimum(np.arange(width), count_lift.shape[1] - 1)]


def _reasons(cohort: Cohort, family: FamilyTimeline) -> npt.NDArray[np.int32]:
    """Return the condition each code is for, -1 for none: the most telling one, if it makes the code much likelier."""
    conditions = cohort.vocabulary.families.get("condition")
    if conditions is None or family.table == "condition":
        return np.full(family.n_codes, -1, dtype=np.int32)
    return condition_parents(cohort, family, conditions, least_odds_ratio=_INDICATION)


def _limits(family: FamilyTimeline) -> tuple[npt.NDArray[np.int8], Doubles, Doubles]:
    """Return (sex, first and last completed year of age) that each code is possible for."""
    sex = np.zeros(family.n_codes, dtype=np.int8)
    first, last = np.zeros(family.n_codes), np.full(family.n_codes, np.inf)
    systems = np.array([coding.system for coding in family.codings])
    for system in dict.fromkeys(systems.tolist()):
        at = np.flatnonzero(systems == system)
        of_sex, low, high = limits(system, [family.codings[i].code for i in at])
        # The vocabulary's ages are half-open; completed years below 1 are the year 0.
        sex[at], first[at], last[at] = of_sex, np.floor(low), np.ceil(high) - 1
    return sex, first, last


def _further(timelines: Timelines, name: str) -> Doubles:
    """Return the further rows of each code in visits that have it, and these visits, float64[2, C]."""
    family = timelines.families[name]
    further = np.bincount(family.codes, weights=family.counts - 1, minlength=family.n_codes)
    return np.stack([further, np.bincount(family.codes, minlength=family.n_codes)]).astype(np.float64)


def _repeats(counts: Doubles) -> Doubles:
    """Return the mean number of further rows of each code in a visit that has it, shrunk toward the family's."""
    further, visits = counts
    mean = float(further.sum()) / max(float(visits.sum()), 1.0)
    result: Doubles = (further + _REPEAT_STRENGTH * mean) / (visits + _REPEAT_STRENGTH)
    return result if mean > 0 else np.zeros(len(visits))


def _cells(timelines: Timelines, name: str) -> npt.NDArray[np.int64]:
    """Return the rows in each cell of the stay, and last how many patients have such rows, int64[P + 1]."""
    family = timelines.families[name]
    stay = timelines.stay_minutes[family.row_visit]
    known = (family.row_minutes >= 0) & (stay > 0)
    people = len(np.unique(timelines.patient_of_visit[family.row_visit[known]]))
    share = np.minimum(family.row_minutes[known] / stay[known], 1.0)
    cell = np.minimum((share * _POSITIONS).astype(np.int64), _POSITIONS - 1)
    return np.append(np.bincount(cell, minlength=_POSITIONS), people)


def _positions(cells: npt.NDArray[np.int64], min_patients: int) -> Doubles:
    """Return P(cell of the stay) float64[P]: all in the first cell where nothing is known."""
    first_cell = np.zeros(_POSITIONS)
    first_cell[0] = 1.0
    if cells[-1] < min_patients:
        return first_cell
    counts = cells[:-1] + 1.0 / _POSITIONS
    result: Doubles = counts / counts.sum()
    return result


def _lasting(timelines: Timelines, name: str) -> KnownValues:
    family = timelines.families[name]
    return KnownValues.of(family.row_days, timelines.patient_of_visit[family.row_visit])


def _lasting_by_code(timelines: Timelines, name: str, days: Histogram) -> npt.NDArray[np.int64]:
    """Return the rows of each code by bin of their days, and last those of unknown end, int64[C, B + 1]."""
    family = timelines.families[name]
    bins = np.where(family.row_days >= 0, days.coarse_of(family.row_days), days.n_coarse)
    width = days.n_coarse + 1
    cell = family.row_code.astype(np.int64) * width + bins
    return np.bincount(cell, minlength=family.n_codes * width).reshape(family.n_codes, width)


def _durations(cohort: Cohort, name: str, min_patients: int) -> tuple[Doubles, Histogram, Doubles]:
    """Return (P(bin | code), days of the bins, P(an end is recorded | code))."""
    lasting = cohort.total(partial(_lasting, name=name))
    days = histogram_of(lasting, min_patients=min_patients, n_coarse=8, n_fine=256)
    if days is None:
        return np.zeros((1, 0)), even_days(0, 0), np.zeros(cohort.vocabulary.families[name].n_codes)
    table = cohort.total(partial(_lasting_by_code, name=name, days=days))
    counts = table[:, :-1].astype(np.float64)
    margin = counts.sum(axis=0) / counts.sum()
    duration = counts + _DURATION_STRENGTH * margin
    duration /= duration.sum(axis=1, keepdims=True)
    rows, ended = table.sum(axis=1), table[:, :-1].sum(axis=1)
    share = float(ended.sum()) / float(rows.sum())
    return duration, days, (ended + _REPEAT_STRENGTH * share) / (rows + _REPEAT_STRENGTH)
