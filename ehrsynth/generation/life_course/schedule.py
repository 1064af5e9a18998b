"""From demands to encounters: one a day and person, none within a stay elsewhere, with times, lengths and places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.encounters import DAY, Encounters, completed_years
from ehrsynth.generation.life_course.demands import (
    BIRTH,
    CHECK_UP,
    DEATH,
    DELIVERY,
    FIRST_PRENATAL,
    KINDS,
    SETTINGS,
    Demands,
)
from ehrsynth.generation.life_course.people import Lives
from ehrsynth.generation.life_course.segments import order_of, starts
from ehrsynth.generation.life_course.working_days import nearest_working_day
from ehrsynth.generation.trajectory import Visits

__all__ = ["ADMIT_SOURCES", "CLASSES", "DISPOSITIONS", "TYPES", "Schedule", "settle"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

CLASSES = ("AMB", "EMER", "IMP", "VR")
_CLASS_OF_SETTING = np.array([0, 0, 1, 2])
PRACTICE, URGENT, EMERGENCY, STAY = range(len(SETTINGS))

TYPES = (
    ("185349003", "Encounter for check up"),
    ("410620009", "Well child visit"),
    ("185347001", "Encounter for problem"),
    ("390906007", "Follow-up encounter"),
    ("424441002", "Prenatal initial visit"),
    ("424619006", "Prenatal visit"),
    ("169762003", "Postnatal visit"),
    ("371883000", "Outpatient procedure"),
    ("4525004", "Emergency department patient visit"),
    ("32485007", "Hospital admission"),
    ("183452005", "Emergency hospital admission"),
)
"""SNOMED CT, of the value set of encounter types."""
# By kind of visit, in the order of `KINDS`, for visits to a practice.
_TYPE_OF_KIND = np.array([3, 2, 0, 1, 4, 5, 6, 7, 9, 9, 2])

DISPOSITIONS = ("home", "exp", "snf", "rehab", "hosp", "aadvice")
_LEAVES = (0.80, 0.0, 0.11, 0.05, 0.03, 0.01)
ADMIT_SOURCES = ("emd", "gp", "hosp-trans", "outp", "born")
_ADMITTED = (0.62, 0.2, 0.06, 0.12)

_MINUTES = np.array([(24.0, 0.42, 5, 150), (41.0, 0.5, 8, 240), (172.0, 0.62, 15, 1380), (0.0, 0.0, 0, 0)]).T
"""Median, sigma, least and most minutes of visits, by setting; stays last until a day."""
_OPEN_HOURS = np.array([9, 12, 0, 0])
"""Hours from eight in the morning, by setting."""
_LONGER = np.ones(len(KINDS))
_LONGER[[CHECK_UP, FIRST_PRENATAL]] = 1.35, 1.6
_RESTS, _RESTS_LONGER = 4, 20
_LONG_AGO = -(1 << 40)
_TELEHEALTH = 0.07
_TELEHEALTH_SINCE = int(np.datetime64("2020-03-20", "D").astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The encounters of a block, sorted by person and time.

    Attributes
    ----------
    encounters : Encounters
    kind : int64[v]
        Index into `KINDS`.
    setting : int64[v]
        Index into `SETTINGS`.
    of_demand : int64[d]
        Encounter of each demand.
    age : int64[v]
        Completed years.
    """

    encounters: Encounters
    kind: Int
    setting: Int
    of_demand: Int
    age: Int

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def patient(self) -> Int:
        """Row of each encounter's person."""
        return self.encounters.visits.patient

    @cached_property
    def day(self) -> Int:
        """Day of each encounter's start."""
        return self.encounters.start // DAY


def settle(lives: Lives, demands: Demands, rng: np.random.Generator) -> Schedule:
    """Return the encounters that meet the demands.

    Demands of one person and day are one encounter, in the weightiest setting. What falls within a stay in hospital
    happens there.
    """
    stay = np.where((demands.setting == STAY) & (demands.stay == 0), rng.geometric(0.24, len(demands)), demands.stay)
    stay = np.where((demands.setting == STAY) | (demands.stay > 0), stay, 0)
    demands = _postponed(lives, demands, stay)
    last = lives.last_day[demands.patient] - np.where(lives.dead[demands.patient] & (demands.kind != DEATH), 1, 0)
    end = np.minimum(demands.day + stay, last)
    order = order_of(demands.patient, demands.day, -demands.setting, -demands.kind)
    patient, day, until = demands.patient[order], demands.day[order], end[order]
    setting, kind = demands.setting[order], demands.kind[order]
    # Days that the person has been in hospital until, among earlier demands: a running maximum within the person.
    base = patient * (1 << 22)
    in_stay = np.where(setting == STAY, until - lives.birth_day[patient], -1)
    reach = np.maximum.accumulate(base + in_stay + 1)
    before = np.concatenate([[-1], reach[:-1]])
    relative = base + day - lives.birth_day[patient] + 1
    inside = relative <= before
    same_day = ~starts(patient * (1 << 22) + day - lives.birth_day.min())
    new = ~(inside | same_day)
    if len(new):
        new[0] = True
    number = np.cumsum(new) - 1
    of_demand = np.empty(len(demands), dtype=np.int64)
    of_demand[order] = number
    at = np.flatnonzero(new)
    # A death within a stay makes it the last one.
    kind_of = kind[at].copy()
    np.maximum.at(kind_of, number, np.where(kind == DEATH, DEATH, 0))
    until_of = until[at].copy()
    np.maximum.at(until_of, number, np.where((kind == DEATH) | (setting == STAY), until, _LONG_AGO))
    encounters = _times(lives, patient[at], day[at], until_of, setting[at], kind_of, rng)
    age = completed_years(lives.birth_day[patient[at]], day[at])
    return Schedule(encounters=encounters, kind=kind_of, setting=setting[at], of_demand=of_demand, age=age)


def _postponed(lives: Lives, demands: Demands, stay: Int) -> Demands:
    """Return the demands with visits to practices that fall into a stay in hospital some days after it."""
    order = order_of(demands.patient, demands.day, -demands.setting)
    patient, day = demands.patient[order], demands.day[order]
    base = patient * (1 << 22) - lives.birth_day[patient] + 1
    reach = np.maximum.accumulate(np.where(demands.setting[order] == STAY, base + day + stay[order], -1))
    before = np.concatenate([[-1], reach[:-1]])
    late = np.flatnonzero(
        (base + day <= before) & (demands.setting[order] == PRACTICE) & (demands.kind[order] < DELIVERY)
    )
    after = nearest_working_day(before[late] - base[late] + _RESTS + order[late] * 7919 % _RESTS_LONGER)
    last = lives.last_day[patient[late]] - lives.dead[patient[late]]
    moved = demands.day.copy()
    moved[order[late]] = np.where(after <= last, after, day[late])
    return replace(demands, day=moved)


def _times(
    lives: Lives, patient: Int, day: Int, until: Int, setting: Int, kind: Int, rng: np.random.Generator
) -> Encounters:
    v, n = len(patient), len(lives)
    u, w = rng.random((2, v))
    shape = rng.beta(1.35, 1.5, v)
    night = rng.beta(1.6, 1.3, v)
    minute = 8 * 60 + shape * _OPEN_HOURS[setting] * 60
    # Emergencies come at all hours, fewest before dawn.
    at = np.flatnonzero(setting == EMERGENCY)
    minute[at] = np.where(u[at] < 0.22, w[at] * 24 * 60, 8 * 60 + night[at] * 15.5 * 60)
    stays = np.flatnonzero(setting == STAY)
    minute[stays] = np.where(w[stays] < 0.25, u[stays] * 24 * 60, 6 * 60 + shape[stays] * 15 * 60)
    start = day * DAY + np.minimum(minute, 1430).astype(np.int64) * 60
    median, sigma, least, most = (column[setting] for column in _MINUTES)
    length = np.clip(median * np.exp(sigma * rng.standard_normal(v)), least, most)
    length *= np.where(setting < EMERGENCY, _LONGER[kind], 1.0)
    end = start + np.maximum(length, 3).astype(np.int64) * 60
    leaving = rng.beta(2, 2.2, v)[stays]
    leaves = until[stays] * DAY + (9 * 60 + leaving * 10 * 60).astype(np.int64) * 60
    end[stays] = np.maximum(leaves, start[stays] + 3600 + (w[stays] * 7200).astype(np.int64) // 60 * 60)
    limit = lives.last_day[patient] * DAY + DAY - 60
    dead = lives.dead[patient]
    before_death = lives.last_day[patient] * DAY - 60
    end = np.minimum(end, np.where(dead & (kind != DEATH), before_death, limit))
    start = np.minimum(start, end - 60)
    dies_here = dead & (kind == DEATH)
    death = lives.last_day * DAY + (rng.random(n) * 1430).astype(np.int64) * 60
    at = np.flatnonzero(dies_here)
    end[at] = np.maximum(death[patient[at]], start[at] + 60)
    death[patient[at]] = end[at]
    video = (setting == PRACTICE) & (kind == 0) & (day >= _TELEHEALTH_SINCE) & (rng.random(v) < _TELEHEALTH)
    disposition, source = _hospital(setting, kind, dies_here, rng)
    kind_type = _TYPE_OF_KIND[kind]
    kind_type = np.where(setting == EMERGENCY, 8, np.where(setting == STAY, np.where(source == 0, 10, 9), kind_type))
    offsets = np.searchsorted(patient, np.arange(n + 1))
    visits = Visits(
        patient=patient,
        offsets=offsets,
        state=np.zeros(v, dtype=np.int64),
        age_days=day - lives.birth_day[patient],
        day=day - lives.first_day[patient],
        stratum=np.zeros(v, dtype=np.int64),
        death_days=np.where(lives.dead, 0, -1),
    )
    return Encounters(
        visits=visits,
        kind=np.where(video, 3, _CLASS_OF_SETTING[setting]),
        precision=np.ones(v, dtype=np.int64),
        start=start,
        end=end,
        end_known=np.ones(v, dtype=bool),
        disposition=disposition,
        admit_source=source,
        encounter_type=kind_type,
        birth_day=lives.birth_day,
        record_start_day=lives.first_day,
        record_end_day=lives.last_day,
        death=death,
        death_precision=np.where(lives.dead, 1, -1),
    )


def _hospital(setting: Int, kind: Int, dies_here: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[Int, Int]:
    """Return discharge disposition and source of admission; -1 where there is none."""
    u = rng.random((2, len(setting)))
    leaves = np.searchsorted(np.cumsum(_LEAVES), u[0])
    leaves = np.where((kind == DELIVERY) | (kind == BIRTH) | (setting == EMERGENCY), 0, np.minimum(leaves, 5))
    leaves = np.where(dies_here, 1, leaves)
    leaves = np.where(setting >= EMERGENCY, leaves, -1)
    source = np.minimum(np.searchsorted(np.cumsum(_ADMITTED), u[1]), 3)
    source = np.where(kind == BIRTH, 4, np.where(kind == DELIVERY, 3, source))
    return leaves, np.where(setting == STAY, source, -1)
