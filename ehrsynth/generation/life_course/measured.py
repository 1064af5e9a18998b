"""What is measured when: panels asked for by situation and by illness, once in each encounter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.demands import BIRTH, FIRST_PRENATAL, PRENATAL, WELL_CHILD
from ehrsynth.generation.life_course.diagnoses import first_after
from ehrsynth.generation.life_course.people import AGES_MOST, Lives
from ehrsynth.generation.life_course.schedule import EMERGENCY, STAY, Schedule
from ehrsynth.generation.life_course.segments import RowIndex, distinct, expand, first_in_each, starts
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["Measured", "PanelSampler"]

Int = npt.NDArray[np.int64]

_ADULT, _CHILD, _PREGNANCY, _INPATIENT, _EMERGENCY, _SCREENING = -2, -3, -4, -5, -6, -7
_GROWN = 18
_MOST_DUE = 400
_TURN_OF_ROW = 104_729

Measured = tuple[Int, Int, Int]
"""Encounter, row of the labs, and number of the panel's report of each observation, sorted by encounter."""


class PanelSampler:
    """The monitoring of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        rows, labs = model.listing("monitoring"), model.listing("labs")
        owner = rows.integers("owner")
        n_problems = len(model.listing("chronic")) + len(model.listing("acute"))
        self._panel, self._share = rows.integers("panel_number"), rows.number["share"] / 100.0
        self._interval = rows.integers("interval_days")
        self._low, self._high = rows.number["age_min"], rows.number["age_max"]
        self._sex = rows.integers("sex_limit")
        known = self._panel >= 0
        self._situations = [
            (situation, np.flatnonzero((owner == situation) & known)) for situation in range(_ADULT, _SCREENING - 1, -1)
        ]
        self._by_problem = RowIndex(np.where(known, owner, -1), n_problems)
        self._n_panels = int(max(self._panel.max(initial=-1), labs.integers("panel_number").max(initial=-1))) + 1
        # The labs of each panel by sex and age: what is for others is not looked at.
        ages = np.arange(AGES_MOST)
        low, high, limit = labs.number["age_min"], labs.number["age_max"], labs.integers("sex_limit")
        fits = ((low[:, None] <= ages) & (ages <= high[:, None]))[:, None, :] & (
            (limit[:, None] == 0) | (limit[:, None] == np.array([1, 2]))
        )[:, :, None]
        row, sex, age = np.nonzero(fits & (labs.integers("panel_number") >= 0)[:, None, None])
        owner = (labs.integers("panel_number")[row] * 2 + sex) * AGES_MOST + age
        self._labs = RowIndex(owner, self._n_panels * 2 * AGES_MOST, row)
        self._missing = labs.number["missing"]
        self._code = labs.integers("code_number")

    def draw(
        self, lives: Lives, episodes: Episodes, schedule: Schedule, seen: Int, rng: np.random.Generator
    ) -> Measured:
        """Return what is measured in each encounter."""
        parts = [self._by_situation(schedule, rng), self._by_illness(lives, episodes, schedule, seen, rng)]
        visit = np.concatenate([part[0] for part in parts])
        panel = np.concatenate([part[1] for part in parts])
        key = distinct(visit * self._n_panels + panel)
        visit, panel = key // self._n_panels, key % self._n_panels
        age = np.clip(schedule.age[visit], 0, AGES_MOST - 1)
        report, row = self._labs.pairs((panel * 2 + lives.sex[schedule.patient[visit]]) * AGES_MOST + age)
        done = np.flatnonzero(rng.random(len(row)) >= self._missing[row])
        report, row = report[done], row[done]
        # What two panels ask for is measured once.
        once = first_in_each(visit[report], self._code[row])
        report, row = report[once], row[once]
        return visit[report], row, report

    def _by_situation(self, schedule: Schedule, rng: np.random.Generator) -> tuple[Int, Int]:
        age, kind, setting = schedule.age, schedule.kind, schedule.setting
        practice = setting < EMERGENCY
        pregnant = (kind == FIRST_PRENATAL) | (kind == PRENATAL)
        where = {
            _ADULT: practice & (age >= _GROWN),
            _CHILD: practice & (age < _GROWN),
            _PREGNANCY: pregnant & practice,
            _INPATIENT: (setting == STAY) & (kind != BIRTH),
            _EMERGENCY: setting == EMERGENCY,
            _SCREENING: practice & (kind != WELL_CHILD),
        }
        visits, panels = [], []
        for situation, rows in self._situations:
            here = np.flatnonzero(where[situation])
            for row in rows:
                fits = self._due(int(row), here, schedule)
                taken = fits[np.flatnonzero(rng.random(len(fits)) < self._share[row])]
                visits.append(taken)
                panels.append(np.full(len(taken), self._panel[row]))
        if not visits:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return np.concatenate(visits), np.concatenate(panels)

    def _due(self, row: int, here: Int, schedule: Schedule) -> Int:
        """Return those of the encounters `here` at which people have the age, the first in each interval."""
        age, days = schedule.age, schedule.encounters.visits.age_days
        interval = int(self._interval[row])
        native = compiled()
        if native is not None:
            found = np.empty(len(here), dtype=np.int64)
            ages = np.array([self._low[row], self._high[row]])
            arrays = map(np.ascontiguousarray, (age, schedule.patient, days))
            count = native.due(here, *arrays, ages, np.array([interval, row * _TURN_OF_ROW]), found)
            return found[:count]
        old = age[here]
        fits: Int = here[(self._low[row] <= old) & (old <= self._high[row])]
        if interval > 0 and len(fits):
            patient = schedule.patient[fits]
            # Each person's years begin on another day.
            turn = (patient * 7919 + row * _TURN_OF_ROW) % interval
            period = (days[fits] + turn) // interval
            fits = fits[starts(patient * (1 << 16) + period)]
        return fits

    def _by_illness(
        self, lives: Lives, episodes: Episodes, schedule: Schedule, seen: Int, rng: np.random.Generator
    ) -> tuple[Int, Int]:
        known = np.flatnonzero(seen >= 0)
        item, row = self._by_problem.pairs(episodes.problem[known])
        episode = known[item]
        first = schedule.day[seen[episode]]
        patient = episodes.patient[episode]
        age = schedule.age[seen[episode]]
        interval = self._interval[row]
        once = interval <= 0
        fits = once & (self._low[row] <= age) & (age <= self._high[row]) & (rng.random(len(row)) < self._share[row])
        taken = np.flatnonzero(fits)
        visit, panel = [seen[episode[taken]]], [self._panel[row[taken]]]
        again = np.flatnonzero(~once)
        until = np.minimum(episodes.end[episode[again]], lives.last_day[patient[again]])
        count = np.clip((until - first[again]) // np.maximum(interval[again], 1) + 1, 0, _MOST_DUE)
        copy, number = expand(count)
        # Whether it is done is drawn before the encounter is looked for: most cost is saved.
        done = np.flatnonzero(rng.random(len(copy)) < self._share[row[again[copy]]])
        copy, number = copy[done], number[done]
        at = again[copy]
        due = first[at] + number * interval[at]
        found = first_after(schedule, lives, patient[at], due, np.flatnonzero(schedule.setting < EMERGENCY))
        day = schedule.day[np.maximum(found, 0)]
        age = schedule.age[np.maximum(found, 0)]
        fits = (found >= 0) & (day < due + interval[at]) & (self._low[row[at]] <= age) & (age <= self._high[row[at]])
        taken = np.flatnonzero(fits)
        visit.append(found[taken])
        panel.append(self._panel[row[at[taken]]])
        return np.concatenate(visit), np.concatenate(panel)
