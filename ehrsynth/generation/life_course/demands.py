"""Why people see somebody: illnesses, follow-up of what they have, check-ups, pregnancies, birth and death."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Births, Episodes, person_years
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.segments import expand
from ehrsynth.generation.life_course.working_days import nearest_working_day
from ehrsynth.model.life_course import AGES, LifeCourseModel

__all__ = ["KINDS", "SETTINGS", "DemandSampler", "Demands", "on_working_days", "statuses"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

SETTINGS = ("practice", "urgent", "emergency", "stay")
"""In the order of `courses.PLACES`; the later ones win where two fall on one day."""

KINDS = (
    "follow-up",
    "problem",
    "check-up",
    "well child",
    "first prenatal",
    "prenatal",
    "postnatal",
    "procedure",
    "delivery",
    "birth",
    "death",
)
"""What a visit is for; the later ones give a merged visit its kind."""

FOLLOW_UP, PROBLEM, CHECK_UP, WELL_CHILD, FIRST_PRENATAL, PRENATAL, POSTNATAL, PROCEDURE, DELIVERY, BIRTH, DEATH = (
    range(11)
)

# AAP Bright Futures periodicity schedule: days of age; then every birthday.
_WELL_CHILD = np.array([4, 30, 61, 122, 183, 274, 365, 457, 548, 731, 913, 1096])
_CHILD = 18
# ACOG Guidelines for Perinatal Care: weeks of gestation of prenatal visits.
_PRENATAL_WEEKS = np.array([9, 13, 17, 21, 25, 28, 30, 32, 34, 36, 37, 38, 39])
_LATE = 1.2
_NEW_VISITS = 3


@dataclass(frozen=True, kw_only=True)
class Demands:
    """Wishes to be seen.

    Attributes
    ----------
    patient, day, setting, kind : int64[d]
    episode : int64[d]
        Row of the episode it is for, -1 for none.
    stay : int64[d]
        Nights in hospital; 0 for others.
    """

    patient: Int
    day: Int
    setting: Int
    kind: Int
    episode: Int
    stay: Int

    def __len__(self) -> int:
        return len(self.patient)

    @staticmethod
    def of(patient: Int, day: Int, kind: int, setting: Int | int = 0, episode: Int | int = -1) -> Demands:
        """Return demands of one kind; stays last no night yet."""
        n = len(patient)
        return Demands(
            patient=np.asarray(patient, dtype=np.int64),
            day=np.asarray(day, dtype=np.int64),
            setting=np.broadcast_to(np.asarray(setting, dtype=np.int64), n),
            kind=np.full(n, kind, dtype=np.int64),
            episode=np.broadcast_to(np.asarray(episode, dtype=np.int64), n),
            stay=np.zeros(n, dtype=np.int64),
        )

    @staticmethod
    def concat(parts: list[Demands]) -> Demands:
        """Return all of them."""
        return Demands(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Demands.__dataclass_fields__}
        )

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Demands:
        """Return some of them."""
        return Demands(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def statuses(model: LifeCourseModel) -> npt.NDArray[np.bool_]:
    """Return which problems, chronic and acute, are mere statuses: told, but no reason to see somebody."""
    chronic = model.listing("chronic")
    found = chronic.number["status"] > 0 if "status" in chronic.number else np.zeros(len(chronic), dtype=bool)
    return np.append(found, np.zeros(len(model.listing("acute")), dtype=bool))


class DemandSampler:
    """What brings people to see somebody, made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        chronic = model.listing("chronic")
        self._per_year = chronic.number["visits_per_year"]
        self._n_chronic = len(chronic)
        self._status = statuses(model)
        self._base = model.array("visits")
        self._scale = model.array("follow_up_scale")
        self._acute_scale = model.array("acute_scale")
        self._check_up = model.array("check_ups")
        self._hospital_death = model.array("place_of_death")

    def draw(
        self,
        lives: Lives,
        episodes: Episodes,
        births: Births,
        deaths: Demands,
        min_visits: int,
        rng: np.random.Generator,
    ) -> Demands:
        """Return every demand of a block within the records, in no order; `deaths` is of `deaths`."""
        parts = [
            self._problems(lives, episodes, deaths, rng),
            self._follow_ups(lives, episodes, rng),
            self._check_ups(lives, rng),
            self._children(lives, rng),
            self._pregnancies(lives, births, rng),
            self._born(lives, rng),
            deaths,
        ]
        found = Demands.concat(parts)
        found = on_working_days(lives, found)
        last = lives.last_day[found.patient]
        inside = (found.day >= lives.first_day[found.patient]) & (found.day <= last)
        # On the day of death nothing else is planned.
        inside &= ~lives.dead[found.patient] | (found.day < last) | (found.kind == DEATH)
        found = found.take(inside)
        return self._at_least(lives, found, min_visits, rng)

    def _problems(self, lives: Lives, episodes: Episodes, deaths: Demands, rng: np.random.Generator) -> Demands:
        """Every illness is seen; of those for the practice as many as people have visits there."""
        rows = np.arange(len(episodes))
        dies_of = np.zeros(len(rows), dtype=bool)
        dies_of[deaths.episode[deaths.episode >= 0]] = True
        delay = rng.exponential(2.0, len(rows)).astype(np.int64)
        first = lives.first_day[episodes.patient]
        # What began before the record does is taken down in its first months, several at a visit.
        before = episodes.day < first
        visit = rng.integers(_NEW_VISITS, size=len(rows)) + rng.random(len(lives))[episodes.patient]
        entry = first + (visit / _NEW_VISITS * 150).astype(np.int64)
        day = np.where(before, entry, episodes.day + np.where(episodes.place >= 2, 0, delay))
        day = np.minimum(day, lives.last_day[episodes.patient] - lives.dead[episodes.patient])
        age = lives.age_at(episodes.patient, episodes.day)
        acute = episodes.problem >= self._n_chronic
        kept = rng.random(len(rows)) < np.where(
            acute & (episodes.place < 2), self._acute_scale[lives.sex[episodes.patient], age], 1.0
        )
        # Nobody comes to say that they have a new hip.
        kept &= ~dies_of & ~self._status[episodes.problem]
        at = np.flatnonzero(kept)
        return Demands.of(episodes.patient[at], day[at], PROBLEM, episodes.place[at], rows[at])

    def _follow_ups(self, lives: Lives, episodes: Episodes, rng: np.random.Generator) -> Demands:
        load = np.zeros((len(lives), AGES + 1))
        chronic = np.flatnonzero(episodes.problem < self._n_chronic)
        patient = episodes.patient[chronic]
        per_year = self._per_year[episodes.problem[chronic]]
        np.add.at(
            load,
            (patient, lives.age_at(patient, np.maximum(episodes.day[chronic], lives.birth_day[patient]))),
            per_year,
        )
        over = episodes.end[chronic] < NEVER
        np.add.at(load, (patient[over], lives.age_at(patient, episodes.end[chronic])[over] + 1), -per_year[over])
        load = np.maximum(np.cumsum(load, axis=1), 0)
        who, age, start, length = person_years(lives)
        sex = lives.sex[who]
        # Several conditions are seen to in one visit: visits grow less than in proportion.
        wanted = (self._base[sex, age] + load[who, age] ** 0.8) * self._scale[sex, age]
        wanted *= rng.gamma(4.0, 0.25, len(lives))[who] * length / DAYS_PER_YEAR
        number = np.floor(wanted + rng.random(len(who))).astype(np.int64)
        item, at = expand(np.minimum(number, 40))
        share = (at + rng.random(len(item))) / np.maximum(number[item], 1)
        return Demands.of(who[item], start[item] + (share * length[item]).astype(np.int64), FOLLOW_UP)

    def _check_ups(self, lives: Lives, rng: np.random.Generator) -> Demands:
        patient, age, start, length = person_years(lives)
        keeps = rng.beta(1.5, 1.0, len(lives)) * (2.5 / 1.5)
        goes = rng.random(len(patient)) < self._check_up[lives.sex[patient], age] * keeps[patient]
        goes &= (age >= _CHILD) & (length > 0)
        who = patient[goes]
        habit = rng.random(len(lives))[who]
        day = start[goes] + (habit * length[goes]).astype(np.int64) + rng.normal(0, 30, len(who)).astype(np.int64)
        return Demands.of(who, day, CHECK_UP)

    def _children(self, lives: Lives, rng: np.random.Generator) -> Demands:
        days = np.concatenate([_WELL_CHILD, (np.arange(4, _CHILD) * DAYS_PER_YEAR).astype(np.int64)])
        keeps = 1.0 - np.where(days < 1000, 0.02, 0.35)
        own = np.clip(rng.normal(1.05, 0.1, len(lives)), 0.5, 1.2)
        patient, number = expand(np.full(len(lives), len(days)))
        goes = rng.random(len(patient)) < keeps[number] * own[patient]
        patient, number = patient[goes], number[goes]
        late = rng.exponential(1.0, len(patient)) * np.where(days[number] < 1000, 6.0, 60.0)
        late = np.minimum(late, np.where(days[number] < 100, 20, 150))
        return Demands.of(patient, lives.birth_day[patient] + days[number] + late.astype(np.int64), WELL_CHILD)

    def _pregnancies(self, lives: Lives, births: Births, rng: np.random.Generator) -> Demands:
        mother, due = births.mother, births.due
        begun = due - 280 + rng.normal(3, 9, len(due)).astype(np.int64)
        item, number = expand(np.full(len(mother), len(_PRENATAL_WEEKS)))
        day = begun[item] + _PRENATAL_WEEKS[number] * 7 + rng.integers(-3, 4, len(item))
        goes = (rng.random(len(item)) < 0.92) & (day < due[item])
        kinds = [
            Demands.of(mother[item[goes & (number == 0)]], day[goes & (number == 0)], FIRST_PRENATAL),
            Demands.of(mother[item[goes & (number > 0)]], day[goes & (number > 0)], PRENATAL),
            Demands.of(mother, due, DELIVERY, SETTINGS.index("stay")),
        ]
        comes = rng.random(len(mother)) < 0.85
        kinds.append(Demands.of(mother[comes], (due + 42 + rng.integers(-9, 15, len(due)))[comes], POSTNATAL))
        found = Demands.concat(kinds)
        nights = np.where(found.kind == DELIVERY, 1 + rng.poisson(0.9, len(found)), 0)
        return replace(found, stay=nights)

    def _born(self, lives: Lives, rng: np.random.Generator) -> Demands:
        born = Demands.of(np.arange(len(lives)), lives.birth_day, BIRTH, SETTINGS.index("stay"))
        return replace(born, stay=1 + rng.poisson(0.8, len(lives)))

    def deaths(self, lives: Lives, lethal: Float, rng: np.random.Generator) -> Demands:
        """Return the last stay or emergency of those who die in one.

        `lethal` [n] is how much likelier than others a person dies in hospital.
        """
        u = rng.random(len(lives))
        hospital, emergency, _ = self._hospital_death
        hospital = np.minimum(hospital * lethal, 0.97)
        dying = np.flatnonzero(lives.dead & (u < np.minimum(hospital + emergency, 1.0)))
        in_hospital = u[dying] < hospital[dying]
        nights = np.where(in_hospital, np.minimum(rng.geometric(0.16, len(dying)), 28), 0)
        first = np.maximum(lives.first_day[dying], lives.birth_day[dying] + 1)
        nights = np.clip(nights, 0, np.maximum(lives.last_day[dying] - first, 0))
        setting = np.where(in_hospital, SETTINGS.index("stay"), SETTINGS.index("emergency"))
        return replace(Demands.of(dying, lives.last_day[dying] - nights, DEATH, setting), stay=nights)

    def _at_least(self, lives: Lives, found: Demands, least: int, rng: np.random.Generator) -> Demands:
        """Give who has fewer than `least` visits further ones, anywhere in the record."""
        if not least:
            return found
        days = np.unique(found.patient * NEVER + found.day) // NEVER
        lacking = np.maximum(int(np.ceil(least * _LATE)) - np.bincount(days, minlength=len(lives)), 0)
        room = np.maximum(lives.last_day - lives.dead - lives.first_day, 0)
        patient, _ = expand(np.minimum(lacking, room))
        day = lives.first_day[patient] + (rng.random(len(patient)) * room[patient]).astype(np.int64)
        return Demands.concat([found, on_working_days(lives, Demands.of(patient, day, FOLLOW_UP))])


def on_working_days(lives: Lives, found: Demands) -> Demands:
    """Return the demands with what practices do, and planned operations, on days on which these are open."""
    moved = np.where((found.setting == 0) | (found.kind == PROCEDURE), nearest_working_day(found.day), found.day)
    last = lives.last_day[found.patient] - lives.dead[found.patient]
    inside = (moved >= lives.first_day[found.patient]) & (moved <= last)
    return replace(found, day=np.where(inside, moved, found.day))
