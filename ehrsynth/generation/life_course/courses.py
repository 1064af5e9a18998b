"""What befalls people: when a chronic condition that they have began, and episodes of illness by age and sex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.segments import expand, number_within
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.probability.categorical import cumulative, sample_rows

__all__ = ["PLACES", "CourseSampler", "Episodes"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

PLACES = ("amb", "urgent", "emer", "imp")
_FRAILTY_SHAPE = 2.5
_SEASONAL = 0.5
_MIN_SPACING = 330


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Illnesses, each with its beginning and end.

    Attributes
    ----------
    patient, problem : int64[e]
        Row of the person; number of the problem (chronic ones first).
    day, end : int64[e]
        End is `NEVER` where it goes on.
    place : int64[e]
        Index into `PLACES`: where it is first seen.
    """

    patient: Int
    problem: Int
    day: Int
    end: Int
    place: Int

    def __len__(self) -> int:
        return len(self.patient)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Episodes:
        """Return some of them."""
        return Episodes(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    @staticmethod
    def concat(*parts: Episodes) -> Episodes:
        """Return all of them."""
        return Episodes(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Episodes.__dataclass_fields__}
        )


class CourseSampler:
    """The rates of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        chronic, acute = model.listing("chronic"), model.listing("acute")
        self.n_chronic, self.n_problems = len(chronic), len(chronic) + len(acute)
        prevalence, incidence = model.array("prevalence"), model.array("incidence")
        self._lifelong = chronic.number["lifelong"] > 0
        self._mean_days = np.maximum(chronic.number["mean_years"], 0.1) * DAYS_PER_YEAR
        # P(begun by age a | has it by age A) = prevalence(a) / prevalence(A), never falling with a.
        envelope = np.maximum.accumulate(prevalence, axis=2)
        self._top = np.maximum(envelope[:, :, -1], 1e-12)
        self._share = envelope / self._top[:, :, None]
        rows = np.arange(2 * self.n_chronic).reshape(2, self.n_chronic, 1)
        self._ladder = (rows * 2.0 + self._share).ravel()
        self._first_age = (prevalence > 0).argmax(axis=2)
        self._after = model.array("begins_after").astype(np.int64).reshape(-1, 2)
        requires = acute.integers("requires")
        ratio = acute.number["rate_ratio"]
        needs = np.flatnonzero(requires >= 0)
        with_it = prevalence[:, requires[needs]]
        stated = acute.number["rate_with"][needs]
        # People with the condition have `ratio` times the rate of those without; together the published rate.
        without = incidence[:, needs] / (1 + with_it * (ratio[needs][None, :, None] - 1))
        rate = incidence.copy()
        rate[:, needs] = without
        self._needs, self._requires = needs, requires[needs]
        extra = without * (ratio[needs] - 1)[None, :, None]
        self._extra = np.where(np.isnan(stated)[None, :, None], extra, np.nan_to_num(stated)[None, :, None] - without)
        past = np.where(
            self._lifelong[None, :, None], 0.0, prevalence / (self._mean_days / DAYS_PER_YEAR)[None, :, None]
        )
        both = np.concatenate([past, rate], axis=1)
        self._total = both.sum(axis=1)
        self._which = cumulative(
            np.where(self._total.reshape(-1, 1) > 0, both.transpose(0, 2, 1).reshape(-1, self.n_problems), 1.0)
        )
        places = np.stack([acute.number[name] for name in PLACES], axis=1)
        places[places.sum(axis=1) <= 0, 0] = 1.0
        # A chronic condition is found at a practice.
        at_practice = np.tile([1.0, 0.0, 0.0, 0.0], (self.n_chronic, 1))
        self._place = cumulative(np.concatenate([at_practice, places]))
        self._days = np.concatenate([np.full(self.n_chronic, 30.0), np.maximum(acute.number["days"], 1.0)])
        self._first_days = np.concatenate([np.full(self.n_chronic, np.inf), acute.number["first_days"]])
        year = np.concatenate([np.full(self.n_chronic, 1800.0), acute.number["from_year"]])
        self._from_day = ((year - 1970) * DAYS_PER_YEAR).astype(np.int64)
        self._season = np.concatenate([np.zeros(self.n_chronic), acute.number["season"]])

    def onsets(self, lives: Lives, rng: np.random.Generator) -> Int:
        """Return the day on which each chronic condition began that a person has on the last day; else `NEVER`."""
        patient, key = np.nonzero(lives.has)
        u = rng.random((2, len(patient)))
        sex, age = lives.sex[patient], lives.age[patient]
        row = sex * self.n_chronic + key
        # 1 - u: never zero, so that nothing begins at an age at which nobody has it.
        reached = self._share[sex, key, age] * (1 - u[0])
        begun = np.searchsorted(self._ladder, row * 2.0 + reached, side="left") - row * AGES
        begun = np.minimum(begun, age)
        lived = lives.last_day[patient] - lives.birth_day[patient]
        low = begun * DAYS_PER_YEAR
        high = np.minimum(low + DAYS_PER_YEAR, lived)
        lifelong = low + u[1] * np.maximum(high - low, 0)
        mean = self._mean_days[key]
        span = np.maximum(lived - np.minimum(self._first_age[sex, key], age) * DAYS_PER_YEAR, 0)
        since = -mean * np.log1p(-u[0] * -np.expm1(-span / mean))
        days = np.where(self._lifelong[key], lifelong, lived - since).astype(np.int64)
        onset = np.full(lives.has.shape, NEVER, dtype=np.int64)
        onset[patient, key] = np.clip(
            lives.birth_day[patient] + days, lives.birth_day[patient], lives.last_day[patient]
        )
        for first, then in self._after:
            both = lives.has[:, first] & lives.has[:, then]
            onset[both, then] = np.maximum(onset[both, first], onset[both, then])
        return onset

    def episodes(self, lives: Lives, onset: Int, rng: np.random.Generator) -> Episodes:
        """Return past episodes and acute illnesses within the record."""
        patient, age, start, length = person_years(lives)
        frailty = rng.gamma(_FRAILTY_SHAPE, 1 / _FRAILTY_SHAPE, len(lives))
        row = lives.sex[patient] * AGES + age
        expected = self._total.reshape(-1)[row] * (length / DAYS_PER_YEAR) * frailty[patient]
        item, _ = expand(rng.poisson(expected))
        problem = sample_rows(self._which, row[item], rng.random(len(item)))
        day = start[item] + (rng.random(len(item)) * length[item]).astype(np.int64)
        extra = self._of_the_ill(lives, onset, rng)
        who = np.concatenate([patient[item], extra[0]])
        problem, day = np.concatenate([problem, extra[1]]), np.concatenate([day, extra[2]])
        # What newborns have begins in their first days, or not at all.
        window = self._first_days[problem]
        newborn = np.isfinite(window)
        after = np.floor(rng.random(len(day)) * np.where(newborn, window, 0.0)).astype(np.int64)
        born = newborn & (lives.age_at(who, day) == 0)
        day = np.where(born, np.minimum(lives.birth_day[who] + after, lives.last_day[who]), day)
        day = self._in_season(day, problem, lives.first_day[who], lives.last_day[who], rng)
        place = sample_rows(self._place, problem, rng.random(len(problem)))
        days = self._days[problem] * np.exp(0.5 * rng.standard_normal(len(problem)))
        chronic = problem < self.n_chronic
        mean = self._mean_days[np.minimum(problem, self.n_chronic - 1)]
        days = np.where(chronic, rng.exponential(1.0, len(problem)) * mean, days)
        end = day + np.maximum(days, 1).astype(np.int64)
        found = Episodes(patient=who, problem=problem, day=day, end=end, place=place)
        # Who has a chronic condition now has had it since its onset; earlier episodes ended before, and nobody else
        # has it now.
        now = np.full(len(problem), NEVER, dtype=np.int64)
        now[chronic] = onset[who[chronic], problem[chronic]]
        kept = ~chronic | (end < np.minimum(now, lives.last_day[who]))
        kept &= (day >= self._from_day[problem]) & (born | ~newborn) & (day >= lives.first_day[who])
        found = found.take(kept)
        # Nobody has the same thing twice at a time.
        order = np.lexsort((found.day, found.problem, found.patient))
        found = found.take(order)
        same = (found.patient[1:] == found.patient[:-1]) & (found.problem[1:] == found.problem[:-1])
        again = np.append(False, same & (found.day[1:] <= found.end[:-1]))
        return found.take(~again)

    def _of_the_ill(self, lives: Lives, onset: Int, rng: np.random.Generator) -> tuple[Int, Int, Int]:
        """Return patient, problem and day of the further episodes of those with a condition that brings them."""
        person, need = np.nonzero(lives.has[:, self._requires])
        begun = onset[person, self._requires[need]]
        from_day = np.maximum(begun, lives.first_day[person])
        years = np.maximum((lives.last_day[person] - from_day) / DAYS_PER_YEAR, 0)
        item, number = expand(np.ceil(years).astype(np.int64))
        who, what = person[item], need[item]
        at = from_day[item] + (number * DAYS_PER_YEAR).astype(np.int64)
        age = lives.age_at(who, at)
        fraction = np.minimum(years[item] - number, 1.0)
        copies, _ = expand(rng.poisson(np.maximum(self._extra[lives.sex[who], what, age], 0) * fraction))
        day = at[copies] + (rng.random(len(copies)) * fraction[copies] * DAYS_PER_YEAR).astype(np.int64)
        return who[copies], self.n_chronic + self._needs[what[copies]], np.minimum(day, lives.last_day[who[copies]])

    def _in_season(self, day: Int, problem: Int, first: Int, last: Int, rng: np.random.Generator) -> Int:
        """Move half of the episodes of an illness of winter or summer into the middle of that season."""
        season = self._season[problem]
        moved = np.flatnonzero((season > 0) & (rng.random(len(day)) < _SEASONAL))
        year = day[moved].astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        middle = np.where(season[moved] == 1, 15, 196) + rng.normal(0, 28, len(moved)).astype(np.int64)
        new = year + middle
        inside = (new >= first[moved]) & (new <= last[moved])
        result = day.copy()
        result[moved[inside]] = new[inside]
        return result


def person_years(lives: Lives) -> tuple[Int, Int, Int, Int]:
    """Return patient, age, first day and days of each year of life that the record covers."""
    first_age = lives.age_at(np.arange(len(lives)), lives.first_day)
    patient, number = expand(lives.age - first_age + 1)
    age = first_age[patient] + number
    begin = lives.birth_day[patient] + np.ceil(age * DAYS_PER_YEAR).astype(np.int64)
    end = lives.birth_day[patient] + np.ceil((age + 1) * DAYS_PER_YEAR).astype(np.int64)
    begin = np.maximum(begin, lives.first_day[patient])
    end = np.minimum(end, lives.last_day[patient] + 1)
    return patient, age, begin, np.maximum(end - begin, 0)


def deliveries(lives: Lives, births: Float, rng: np.random.Generator) -> tuple[Int, Int]:
    """Return patient and day of each delivery; days may lie up to 40 weeks after the record (the child is expected)."""
    patient, age, start, length = person_years(lives)
    # Pregnancies that are under way on the last day end after it.
    rate = np.where(lives.sex[patient] == 0, births[age], 0.0)
    willing = rng.gamma(1.5, 1 / 1.5, len(lives))
    last_year = start + length > lives.last_day[patient]
    stretch = length + np.where(last_year & ~lives.dead[patient], 280, 0)
    item, _ = expand(rng.poisson(rate * stretch / DAYS_PER_YEAR * willing[patient]))
    day = start[item] + (rng.random(len(item)) * stretch[item]).astype(np.int64)
    who = patient[item]
    order = np.lexsort((day, who))
    who, day = who[order], day[order]
    first = number_within(who) == 0
    apart = np.diff(day, prepend=day[:1]) >= _MIN_SPACING
    return who[first | apart], day[first | apart]
