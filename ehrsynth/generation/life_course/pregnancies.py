"""Pregnancies: their visits by week, what complicates them, and how they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Births
from ehrsynth.generation.life_course.demands import DELIVERY, FIRST_PRENATAL, POSTNATAL, PRENATAL
from ehrsynth.generation.life_course.people import Lives
from ehrsynth.generation.life_course.requirements import Requirements
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.generation.life_course.segments import starts
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["Findings", "Pregnancies", "PregnancySampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_TERM = 40.0
_AFTER = 70
_BORN_WEEK, _LATER_WEEK = 42.0, 46.0
_AGAIN = 0.6
_WEEKS, _GAINED = (0.0, 12.0, 40.0), (0.0, 1.2, 12.0)
_DAYS, _LEFT = (0.0, 7.0, 42.0, 200.0), (6.5, 6.0, 3.0, 0.0)
_MODES = {"any": -1, "vaginal": 0, "cesarean": 1}
_OVER_AFTER, _OVER = 42, 14


@dataclass(frozen=True, kw_only=True)
class Pregnancies:
    """The visits of pregnancies, ascending.

    Attributes
    ----------
    births : Births
    visit, of : int64[v]
        Encounter, and row of the births.
    week : float64[v]
        Weeks of gestation; 42 at the delivery and 46 after it.
    """

    births: Births
    visit: Int
    of: Int
    week: Float

    @staticmethod
    def find(births: Births, schedule: Schedule) -> Pregnancies:
        """Return the visits of the pregnancies in a schedule."""
        visit = np.flatnonzero(np.isin(schedule.kind, (FIRST_PRENATAL, PRENATAL, DELIVERY, POSTNATAL)))
        patient, day = schedule.patient[visit], schedule.day[visit]
        base = 1 << 22
        key = births.mother * base + births.due + base // 2
        of = np.searchsorted(key, patient * base + day - _AFTER + base // 2)
        known = of < len(births.mother)
        known[known] = births.mother[of[known]] == patient[known]
        visit, of = visit[known], of[known]
        week = _TERM - (births.due[of] - schedule.day[visit]) / 7.0
        kind = schedule.kind[visit]
        week = np.where(kind == DELIVERY, _BORN_WEEK, np.where(kind == POSTNATAL, _LATER_WEEK, week))
        return Pregnancies(births=births, visit=visit, of=of, week=week)

    def weight(self, lives: Lives, patient: Int, day: Int) -> Float:
        """Return the kilograms that a pregnancy adds on each day (IOM 2009: 12 kg at term, gone in half a year)."""
        births = self.births
        if not len(births.mother):
            return np.zeros(len(patient))
        key = patient * (1 << 22) + day + (1 << 21)
        place = np.searchsorted(births.key, key)
        ahead = np.minimum(place, len(births.mother) - 1)
        week = _TERM - (births.due[ahead] - day) / 7.0
        carrying = (place < len(births.mother)) & (births.mother[ahead] == patient) & (week > 0)
        gained = np.where(carrying, np.interp(week, _WEEKS, _GAINED), 0.0)
        behind = np.maximum(place - 1, 0)
        since = day - births.due[behind]
        had = (place > 0) & (births.mother[behind] == patient) & ~carrying
        return np.asarray(np.where(had, np.interp(since, _DAYS, _LEFT), gained))

    def week_of(self, n_visits: int) -> Float:
        """Return the week of gestation at each of the `n_visits` encounters; NaN where there is none."""
        found = np.full(n_visits, np.nan)
        found[self.visit] = self.week
        return found


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is written down of pregnancies: encounter, row of the codes, first day, end; whether it is high pressure."""

    visit: Int
    code: Int
    onset: Int
    end: Int
    pressure: npt.NDArray[np.bool_]

    def high_pressure(self, n_visits: int) -> npt.NDArray[np.bool_]:
        """Return at which of the `n_visits` encounters a high pressure of pregnancy is seen."""
        found = np.zeros(n_visits, dtype=bool)
        found[self.visit[self.pressure]] = True
        return found


class PregnancySampler:
    """The complications of pregnancies of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        rows = model.listing("pregnancy")
        self._code = rows.integers("code_row")
        self._from, self._to = rows.number["week_from"], rows.number["week_to"]
        self._share, self._lasting = rows.number["percent"] / 100.0, rows.number["lasting"] > 0
        self._mode = np.array([_MODES[text] for text in rows.text["mode"]], dtype=np.int64)
        self._low, self._high = rows.number["age_min"], rows.number["age_max"]
        groups = [text or str(at) for at, text in enumerate(rows.text["group"])]
        self._groups = [np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)]
        self._requirements = Requirements(model)
        self._pressure = np.array([text.startswith(("O13", "O14")) for text in rows.text["code"]], dtype=bool)

    def draw(
        self, lives: Lives, found: Pregnancies, schedule: Schedule, onset: Int, rng: np.random.Generator
    ) -> Findings:
        """Return what is found in the pregnancies, sorted by row of the listing, pregnancy and encounter."""
        births = found.births
        n = len(births.mother)
        early = births.due - 200
        age = lives.age_at(births.mother, births.due)
        none = np.zeros(0, dtype=np.int64)
        parts: list[tuple[Int, Int, Int, Int]] = [(none, none, none, none)]
        for group in self._groups:
            u, begin = rng.random(n), np.zeros(n)
            for row in group:
                has = (u >= begin) & (u < begin + self._share[row])
                begin += self._share[row]
                has &= (self._low[row] <= age) & (age <= self._high[row])
                has &= (self._mode[row] < 0) | (births.cesarean == (self._mode[row] == 1))
                has &= self._requirements.fits(lives, onset, np.full(n, self._code[row]), births.mother, early)
                again = rng.random(len(found.visit)) < _AGAIN
                if not has.any():
                    continue
                late = found.week >= self._from[row]
                mine = np.flatnonzero(
                    has[found.of] & late & (found.week <= _BORN_WEEK if self._from[row] < 44 else late)
                )
                first = starts(found.of[mine])
                first_week = found.week[mine][first][np.cumsum(first) - 1] if len(mine) else np.zeros(0)
                fits = first_week < self._to[row] + 1
                kept = fits & (first | (again[mine] & self._lasting[row]))
                at = mine[kept]
                begun = schedule.day[found.visit[mine]][first][np.cumsum(first) - 1][kept] if len(mine) else at
                day = schedule.day[found.visit[at]]
                # What lasts is over some weeks after the delivery, the rest in two.
                end = np.maximum(births.due[found.of[at]], day) + _OVER_AFTER if self._lasting[row] else day + _OVER
                parts.append((found.visit[at], np.full(len(at), row), begun, end))
        visit, row_of, begun, end = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Findings(visit=visit, code=self._code[row_of], onset=begun, end=end, pressure=self._pressure[row_of])
