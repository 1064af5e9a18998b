"""Code families of the model: the tables of codes by state, and how the rows of each code look."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding import FamilyTimeline, Timelines
from ehrsynth.learning.attributes import learn_attributes
from ehrsynth.learning.company import LearnedCompany
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.times import even_days, learn_histogram
from ehrsynth.learning.tree import condition_parents
from ehrsynth.model import EVERY_TABLE, CodeFamily
from ehrsynth.probability.histogram import Histogram
from ehrsynth.terminology import limits

__all__ = ["learn_family"]

Doubles = npt.NDArray[np.float64]

_POSITIONS = 8
_REPEAT_STRENGTH = 5.0
_DURATION_STRENGTH = 20.0
_INDICATION = 5.0
"""A condition is taken for the reason of a code whose odds it multiplies by so much at least: the most telling
condition of a visit is not always why something is done."""


def learn_family(
    table: pa.Table,
    timelines: Timelines,
    name: str,
    *,
    tables: CodeTables,
    lift: Doubles,
    zero_truncated: bool = False,
    sizes: Doubles | None = None,
    company: LearnedCompany | None = None,
    count_lift: Doubles | None = None,
    min_patients: int,
    blank: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> CodeFamily:
    """Return the family of the table `name`.

    Parameters
    ----------
    table : pyarrow.Table
        The table of the records.
    timelines : Timelines
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
    count_lift : float64[C, B], optional
    min_patients : int
    blank
        See `learn_attributes`.
    """
    family = timelines.families[name]
    sex_limit, age_min, age_max = _limits(family)
    repeats = _repeats(family)
    if company is not None:
        count_lift = company.count_lift
    duration, duration_days, duration_known = _durations(timelines, family, min_patients)
    return CodeFamily(
        table=name,
        codings=family.codings,
        never=tables.never.astype(np.float32),
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
        repeats=repeats.astype(np.float32),
        position=_positions(timelines, family, min_patients),
        duration=duration,
        duration_days=duration_days,
        duration_known=duration_known.astype(np.float32),
        attributes=learn_attributes(table, family, timelines, min_patients=min_patients, blank=blank),
        reason=_reasons(timelines, family),
        unlinked=round(family.unlinked, 3),
    )


def _reasons(timelines: Timelines, family: FamilyTimeline) -> npt.NDArray[np.int32]:
    """Return the condition each code is for, -1 for none: the most telling one, if it makes the code much likelier."""
    conditions = timelines.families.get("condition")
    if conditions is None or family.table == "condition":
        return np.full(family.n_codes, -1, dtype=np.int32)
    return condition_parents(timelines, family, conditions, least_odds_ratio=_INDICATION)


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


def _repeats(family: FamilyTimeline) -> Doubles:
    """Return the mean number of further rows of each code in a visit that has it, shrunk toward the family's."""
    further = np.bincount(family.codes, weights=family.counts - 1, minlength=family.n_codes)
    visits = np.bincount(family.codes, minlength=family.n_codes)
    mean = float(further.sum()) / max(float(visits.sum()), 1.0)
    result: Doubles = (further + _REPEAT_STRENGTH * mean) / (visits + _REPEAT_STRENGTH)
    return result if mean > 0 else np.zeros(family.n_codes)


def _positions(timelines: Timelines, family: FamilyTimeline, min_patients: int) -> Doubles:
    """Return P(cell of the stay) float64[P]: all in the first cell where nothing is known."""
    stay = timelines.stay_minutes[family.row_visit]
    known = (family.row_minutes >= 0) & (stay > 0)
    first_cell = np.zeros(_POSITIONS)
    first_cell[0] = 1.0
    if len(np.unique(timelines.patient_of_visit[family.row_visit[known]])) < min_patients:
        return first_cell
    share = np.minimum(family.row_minutes[known] / stay[known], 1.0)
    cell = np.minimum((share * _POSITIONS).astype(np.int64), _POSITIONS - 1)
    counts = np.bincount(cell, minlength=_POSITIONS) + 1.0 / _POSITIONS
    result: Doubles = counts / counts.sum()
    return result


def _durations(timelines: Timelines, family: FamilyTimeline, min_patients: int) -> tuple[Doubles, Histogram, Doubles]:
    """Return (P(bin | code), days of the bins, P(an end is recorded | code))."""
    patients = timelines.patient_of_visit[family.row_visit]
    days = learn_histogram(family.row_days, patients, min_patients=min_patients, n_coarse=8, n_fine=256)
    if days is None:
        return np.zeros((1, 0)), even_days(0, 0), np.zeros(family.n_codes)
    known = family.row_days >= 0
    bins = days.coarse_of(family.row_days[known])
    code = family.row_code.astype(np.int64)
    table = np.bincount(code[known] * days.n_coarse + bins, minlength=family.n_codes * days.n_coarse)
    counts = table.reshape(family.n_codes, days.n_coarse).astype(np.float64)
    margin = counts.sum(axis=0) / counts.sum()
    duration = counts + _DURATION_STRENGTH * margin
    duration /= duration.sum(axis=1, keepdims=True)
    rows = np.bincount(code, minlength=family.n_codes)
    ended = np.bincount(code[known], minlength=family.n_codes)
    share = float(known.mean())
    return duration, days, (ended + _REPEAT_STRENGTH * share) / (rows + _REPEAT_STRENGTH)
