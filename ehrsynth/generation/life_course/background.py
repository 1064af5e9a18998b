"""What a person lives with: allergies, answers to social questions, devices; and of what a person dies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.diagnoses import first_after
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.questions import GIVEN_UP, NEVER_SMOKED, SMOKES, Question
from ehrsynth.generation.life_course.schedule import EMERGENCY, Schedule
from ehrsynth.generation.life_course.segments import order_of, starts
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["BackgroundSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_ASKED_EVERY = 1100
_DISEASE_COUNTS = 40.0


class BackgroundSampler:
    """Allergies, social questions, devices and causes of death, made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        self._allergies, self._social = model.listing("allergies"), model.listing("social")
        self._devices, self._causes = model.listing("devices"), model.listing("causes")
        questions = self._social.text["question_code"]
        self._questions = [
            Question(self._social, np.array([at for at, one in enumerate(questions) if one == code]))
            for code in dict.fromkeys(questions)
        ]
        self._n_chronic = len(model.listing("chronic"))

    def allergic(self, lives: Lives, schedule: Schedule, rng: np.random.Generator) -> tuple[Int, Int, Int]:
        """Return encounter, allergy row and day of onset, sorted by encounter."""
        rows = self._allergies
        share = rows.number["percent"] / 100.0
        patient, row = np.nonzero(rng.random((len(lives), len(rows))) < share)
        lived = lives.last_day[patient] - lives.birth_day[patient]
        # Most allergies show in childhood and youth.
        day = lives.birth_day[patient] + (lived * rng.beta(1.0, 2.2, len(patient))).astype(np.int64)
        met = lives.birth_day[patient] + np.ceil(rows.number["age_min"][row] * DAYS_PER_YEAR + 1).astype(np.int64)
        day = np.maximum(day, met)
        visit = first_after(schedule, lives, patient, np.maximum(day, lives.first_day[patient]))
        known = visit >= 0
        patient, row, day, visit = patient[known], row[known], day[known], visit[known]
        fits = (rows.number["age_min"][row] <= schedule.age[visit]) & (
            schedule.age[visit] <= rows.number["age_max"][row]
        )
        row, day, visit = row[fits], day[fits], visit[fits]
        order = order_of(visit)
        return visit[order], row[order], day[order]

    def allergic_since(self, lives: Lives, schedule: Schedule, found: tuple[Int, Int, Int]) -> Int:
        """Return the first day of each allergy of each person, int64[n, allergies]; `NEVER` for none."""
        visit, row, day = found
        since = np.full((len(lives), len(self._allergies)), NEVER, dtype=np.int64)
        np.minimum.at(since, (schedule.patient[visit], row), day)
        return since

    def answers(self, lives: Lives, schedule: Schedule, rng: np.random.Generator) -> tuple[Int, Int]:
        """Return encounter and row of the social answers: each question every few years, answers that last."""
        n = len(lives)
        smoking = lives.people.states["smoking"]
        practice = np.flatnonzero(schedule.setting < EMERGENCY)
        visits, answers = [], []
        whose, old = schedule.patient[practice], schedule.encounters.visits.age_days[practice]
        for question in self._questions:
            turn = rng.integers(0, _ASKED_EVERY, n)
            own = rng.random(n)
            first = np.flatnonzero(starts(whose * (1 << 16) + (old + turn[whose]) // _ASKED_EVERY))
            visit = practice[first]
            patient, age, status = schedule.patient[visit], schedule.age[visit], None
            if question.smoking:
                # Nobody smokes as a child; who gave up did so in the second half of the years since.
                begun = age >= 17
                status = np.where(begun, smoking[patient], NEVER_SMOKED)
                late = age < 17 + (lives.age[patient] - 17) * 0.5
                status = np.where((status == GIVEN_UP) & late, SMOKES, status)
            # An answer depends on the person: it is the same again while the shares are.
            asked, answer = question.draw(lives.sex[patient], age, status, own[patient])
            visits.append(visit[asked])
            answers.append(answer)
        if not visits:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return np.concatenate(visits), np.concatenate(answers)

    def devices(
        self, episodes: Episodes, seen: Int, procedure: tuple[Int, Int], procedure_code: Int, rng: np.random.Generator
    ) -> tuple[Int, Int]:
        """Return encounter and row of the devices: of illnesses and of procedures, sorted by encounter.

        `procedure` is encounter and row of each procedure, `procedure_code` what each device row asks for.
        """
        rows = self._devices
        share, owner = rows.number["share"] / 100.0, rows.integers("owner")
        visits, what = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for row in range(len(rows)):
            if owner[row] >= 0:
                at = seen[np.flatnonzero((episodes.problem == owner[row]) & (seen >= 0))]
            else:
                at = procedure[0][procedure[1] == procedure_code[row]]
            taken = at[rng.random(len(at)) < share[row]]
            visits.append(taken)
            what.append(np.full(len(taken), row))
        visit, row_of = np.concatenate(visits), np.concatenate(what)
        order = order_of(visit)
        return visit[order], row_of[order]

    def causes(self, lives: Lives, onset: Int, rng: np.random.Generator) -> Int:
        """Return the row of the cause of each person's death, -1 for the living."""
        rows = self._causes
        dead = np.flatnonzero(lives.dead)
        found = np.full(len(lives), -1, dtype=np.int64)
        if not len(rows) or not len(dead):
            return found
        age, sex = lives.age[dead][:, None], lives.sex[dead][:, None]
        fits = (rows.number["age_min"] <= age) & (age <= rows.number["age_max"])
        fits &= (rows.integers("sex_limit") == 0) | (rows.integers("sex_limit") == sex + 1)
        owner = rows.integers("owner")
        disease = (owner >= 0) & (owner < self._n_chronic)
        has = np.zeros(fits.shape, dtype=bool)
        has[:, disease] = onset[dead][:, owner[disease]] < NEVER
        weight = np.where(fits, rows.number["weight"], 0.0) * np.where(
            disease, np.where(has, _DISEASE_COUNTS, 0.0), 4.0
        )
        total = weight.sum(axis=1)
        running = np.cumsum(weight, axis=1) / np.maximum(total, 1e-12)[:, None]
        chosen = (rng.random(len(dead))[:, None] >= running).sum(axis=1)
        found[dead] = np.where(total > 0, np.minimum(chosen, len(rows) - 1), -1)
        return found
