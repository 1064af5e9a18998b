"""Procedures and what they bring with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.demands import BIRTH, DELIVERY, PROCEDURE, Demands, on_working_days
from ehrsynth.generation.life_course.diagnoses import first_after
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, Lives
from ehrsynth.generation.life_course.pregnancies import Pregnancies
from ehrsynth.generation.life_course.schedule import EMERGENCY, Schedule
from ehrsynth.generation.life_course.segments import RowIndex, expand, first_in_each, order_of, starts
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.probability import normal

__all__ = ["InterventionSampler", "Planned"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_SCREENING, _PREGNANCY, _NEWBORN = -7, -4, -8
_DELAY = 500.0
_SPREAD = 0.55
_SETTING = {"amb": 0, "urgent": 1, "emer": 2, "imp": 3}
_LATEST_COMPLICATION = 60
_OTHER_SIDE = 290
"""Days between the operations of both sides."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Procedures before anybody has seen the person.

    Attributes
    ----------
    patient, procedure, day : int64[r]
    episode : int64[r]
        What it is for; -1 for none.
    own : bool[r]
        It has an encounter of its own (else it happens where the illness is first seen, or at the next visit).
    complications : Episodes
        What some of them bring.
    """

    patient: Int
    procedure: Int
    day: Int
    episode: Int
    own: Bool
    complications: Episodes


class InterventionSampler:
    """The procedures of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        rows = model.listing("procedures")
        self._n_chronic = len(model.listing("chronic"))
        n_problems = self._n_chronic + len(model.listing("acute"))
        owner = rows.integers("owner")
        by_status = rows.number["by_status"] > 0
        self._by_problem = RowIndex(np.where(by_status, -1, owner), n_problems)
        self._side = rows.integers("side")
        codes = model.listing("codes")
        self._code_side = codes.integers("side")
        self._operation = (codes.integers("operation"), codes.integers("other_operation"))
        self._share, self._interval = rows.number["share"] / 100.0, rows.number["interval_years"]
        self._sex, self._low, self._high = rows.integers("sex_limit"), rows.number["age_min"], rows.number["age_max"]
        self.setting = np.array([_SETTING.get(place, 0) for place in rows.text["place"]], dtype=np.int64)
        self._complication = rows.integers("complication")
        self._complicates = rows.number["complication_percent"] / 100.0
        self._family = rows.integers("family")
        self._screening = np.flatnonzero(owner == _SCREENING)
        self._at_birth = {
            kind: np.flatnonzero(owner == situation) for kind, situation in ((DELIVERY, _PREGNANCY), (BIRTH, _NEWBORN))
        }
        self._weeks = np.stack([rows.number["week_from"], rows.number["week_to"]], axis=1)
        self._mode, self._closing = rows.integers("mode"), rows.number["closing"] > 0
        self._complication_days = np.concatenate(
            [np.full(self._n_chronic, 30.0), model.listing("acute").number["days"]]
        )

    def plan(self, lives: Lives, episodes: Episodes, codes: Int, rng: np.random.Generator) -> Planned:
        """Return the procedures of a block; `codes` is the code of each episode."""
        item, row = self._by_problem.pairs(episodes.problem)
        chronic = episodes.problem[item] < self._n_chronic
        # What is done on a side is done on the side that the code says, or on one of them.
        side, its = self._code_side[codes[item]], self._side[row]
        chance = 1 + (episodes.patient[item] * 31 + episodes.problem[item]) % 2
        one = np.where(side == 0, chance, side)
        share = np.where((its > 0) & (one < 3), np.where(one == its, 2.0, 0.0) * self._share[row], self._share[row])
        done = np.flatnonzero(rng.random(len(row)) < share)
        delay = np.where(chronic, rng.exponential(_DELAY, len(row)), rng.exponential(1.0, len(row)))
        # What is repeated (a yearly eye examination) is done again after its interval.
        item, row, chronic, delay = item[done], row[done], chronic[done], delay[done]
        patient = episodes.patient[item]
        start = np.maximum(episodes.day[item], lives.first_day[patient])
        until = np.minimum(episodes.end[item], lives.last_day[patient] - 1)
        interval = np.where(chronic, self._interval[row], 0) * DAYS_PER_YEAR
        first = start + delay.astype(np.int64)
        room = np.maximum(until - first, 0)
        times = np.where(interval > 0, np.minimum(room / np.maximum(interval, 1), 60).astype(np.int64), 0) + 1
        copy, number = expand(times)
        day = first[copy] + (number * interval[copy]).astype(np.int64)
        # An own encounter for what a chronic condition needs; an acute illness is treated where it is seen.
        acute = ~chronic[copy]
        day = np.where(acute, episodes.day[item[copy]], day)
        kept = (day <= lives.last_day[patient[copy]] - 1) | acute
        # What is done in an emergency department or a hospital is not done where somebody is seen in the office.
        kept &= ~acute | (self.setting[row[copy]] < EMERGENCY) | (episodes.place[item[copy]] >= EMERGENCY)
        at = np.flatnonzero(kept)
        copy, day, acute = copy[at], day[at], acute[at]
        own = ~acute & ((self._interval[row[copy]] <= 0) | (self.setting[row[copy]] > 0))
        parts = [
            (patient[copy], row[copy], day, item[copy], own),
            self._screened(lives, rng),
            self._of_status(lives, episodes, codes),
        ]
        who, what, when, of, apart = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        age = lives.age_at(who, when)
        fits = (self._low[what] <= age) & (age <= self._high[what])
        fits &= (self._sex[what] == 0) | (self._sex[what] == lives.sex[who] + 1)
        at = np.flatnonzero(fits)
        who, what, when, of, apart = who[at], what[at], when[at], of[at], apart[at]
        brings = self._complication[what] >= 0
        hit = np.flatnonzero(brings & (rng.random(len(what)) < self._complicates[what]))
        after = when[hit] + 1 + np.minimum(rng.exponential(14.0, len(hit)), _LATEST_COMPLICATION).astype(np.int64)
        in_time = after < lives.last_day[who[hit]]
        hit, after = hit[in_time], after[in_time]
        problem = self._complication[what[hit]]
        complications = Episodes(
            patient=who[hit],
            problem=problem,
            day=after,
            end=after + np.maximum(self._complication_days[problem], 1).astype(np.int64),
            place=np.where(rng.random(len(hit)) < 0.6, 3, 2),
        )
        return Planned(patient=who, procedure=what, day=when, episode=of, own=apart, complications=complications)

    def _of_status(self, lives: Lives, episodes: Episodes, codes: Int) -> tuple[Int, Int, Int, Int, Bool]:
        """Return the operations that left what some codes state: an artificial joint, a pacemaker, another's kidney."""
        parts = []
        for turn, before in ((0, 0), (1, _OTHER_SIDE)):
            row = self._operation[turn][codes]
            at = np.flatnonzero((row >= 0) & (episodes.problem < self._n_chronic))
            day = episodes.day[at] - before
            known = day > lives.first_day[episodes.patient[at]]
            at, day = at[known], day[known]
            parts.append((episodes.patient[at], row[at], day, at, np.ones(len(at), dtype=bool)))
        who, what, when, of, own = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return who, what, when, of, own

    def _screened(self, lives: Lives, rng: np.random.Generator) -> tuple[Int, Int, Int, Int, Bool]:
        """Return screening procedures: a person either keeps to a schedule or not."""
        n = len(lives)
        careful = rng.standard_normal(n)
        parts = []
        rank: dict[int, Float] = {}
        below: dict[int, float] = {}
        for row in self._screening:
            # Ways of screening for one thing exclude each other: each has its part of the same ranks.
            family = int(self._family[row])
            if family not in rank:
                score = np.sqrt(_SPREAD) * careful + np.sqrt(1 - _SPREAD) * rng.standard_normal(n)
                rank[family], below[family] = normal.cdf(score), 0.0
            goes = (rank[family] >= below[family]) & (rank[family] < below[family] + self._share[row])
            below[family] += float(self._share[row])
            goes &= (self._sex[row] == 0) | (self._sex[row] == lives.sex + 1)
            interval = max(self._interval[row], 0.5) * DAYS_PER_YEAR
            begin = lives.birth_day + (max(self._low[row], 0) * DAYS_PER_YEAR + rng.exponential(200.0, n)).astype(
                np.int64
            )
            stop = np.minimum(lives.birth_day + int(self._high[row] * DAYS_PER_YEAR), lives.last_day - 1)
            count = np.where(goes, np.floor((stop - begin) / interval) + 1, 0)
            patient, number = expand(np.maximum(count, 0).astype(np.int64))
            day = begin[patient] + (number * interval).astype(np.int64) + rng.integers(0, 40, len(patient))
            kept = np.flatnonzero((day >= lives.first_day[patient]) & (day <= stop[patient]))
            parts.append((patient[kept], np.full(len(kept), row), day[kept]))
        if not parts:
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, empty, empty, empty.astype(bool)
        who, what, when = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        own = self._interval[what] >= 2
        return who, what, when, np.full(len(who), -1), own

    def demands(self, lives: Lives, planned: Planned) -> Demands:
        """Return the encounters that procedures have of their own."""
        own = planned.own
        setting = self.setting[planned.procedure[own]]
        return on_working_days(lives, Demands.of(planned.patient[own], planned.day[own], PROCEDURE, setting))

    def done(
        self,
        lives: Lives,
        planned: Planned,
        schedule: Schedule,
        pregnancies: Pregnancies,
        seen: Int,
        own_visit: Int,
        rng: np.random.Generator,
    ) -> tuple[Int, Int, Int]:
        """Return encounter, procedure and episode (-1: none) of each procedure, sorted by encounter.

        `own_visit` is the encounter of each procedure that has its own, in order.
        """
        visit = np.full(len(planned.patient), -1, dtype=np.int64)
        visit[planned.own] = own_visit
        acute = np.flatnonzero(~planned.own & (planned.episode >= 0))
        visit[acute] = seen[planned.episode[acute]]
        other = np.flatnonzero((visit < 0) & ~planned.own)
        practice = np.flatnonzero(schedule.setting < EMERGENCY)
        later = first_after(schedule, lives, planned.patient[other], planned.day[other], practice)
        near = (later >= 0) & (schedule.day[np.maximum(later, 0)] < planned.day[other] + 300)
        visit[other] = np.where(near, later, -1)
        what, of = planned.procedure, planned.episode
        for kind, rows in self._at_birth.items():
            birth = np.flatnonzero(schedule.kind == kind)
            item, row = np.repeat(birth, len(rows)), np.tile(rows, len(birth))
            if kind == DELIVERY:
                item, row = self._in_pregnancy(pregnancies)
            sex = lives.sex[schedule.patient[item]]
            taken = (rng.random(len(row)) < self._share[row]) & ((self._sex[row] == 0) | (self._sex[row] == sex + 1))
            visit = np.concatenate([visit, item[taken]])
            what, of = np.concatenate([what, row[taken]]), np.concatenate([of, np.full(taken.sum(), -1)])
        age = schedule.age[np.maximum(visit, 0)]
        fits = (visit >= 0) & (self._low[what] <= age) & (age <= self._high[what])
        visit, what, of = visit[fits], what[fits], of[fits]
        kept = first_in_each(visit, what)
        visit, what, of = visit[kept], what[kept], of[kept]
        order = order_of(visit)
        return visit[order], what[order], of[order]

    def _in_pregnancy(self, found: Pregnancies) -> tuple[Int, Int]:
        """Return encounter and procedure of all that may be done for a pregnancy, each once and in its weeks."""
        visits, what = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for row in self._at_birth[DELIVERY]:
            fits = (found.week >= self._weeks[row, 0]) & (found.week < self._weeks[row, 1])
            fits &= (self._mode[row] < 0) | (found.births.cesarean[found.of] == (self._mode[row] == 1))
            at = np.flatnonzero(fits)
            at = at[starts(found.of[at])]
            if self._closing[row]:
                # Nobody bears a child after it.
                mother, of = found.births.mother, found.of[at]
                at = at[np.append(mother[1:] != mother[:-1], True)[of]]
            visits.append(found.visit[at])
            what.append(np.full(len(at), row))
        return np.concatenate(visits), np.concatenate(what)
