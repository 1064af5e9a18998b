"""What befalls people: when a chronic condition that they have began, and episodes of illness by age and sex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.segments import expand, number_within, order_of
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.probability.categorical import cumulative, sample_rows

__all__ = ["PLACES", "Births", "CourseSampler", "Episodes", "deliveries", "person_years"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

PLACES = ("amb", "urgent", "emer", "imp")
_FRAILTY_SHAPE = 2.5
_SEASONAL = 0.5
_NOBODY = -2
_SPREAD = 0.6
_SHORTEST = 45.0
"""Days that a long condition lasts at least."""
_RESTED = 42
"""Days after a delivery."""
_FIRST_CESAREAN, _CESAREAN_AGAIN, _CESAREAN_LATER = 0.27, 0.86, 0.11
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
        if rows.dtype == bool:
            # Found once for all columns; numpy also is many times slower at taking by what is so or not.
            rows = np.flatnonzero(rows)
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
        earliest = chronic.number["earliest"]
        self._earliest = np.where(earliest > 0, np.ceil(earliest * DAYS_PER_YEAR) + 2, 0).astype(np.int64)
        self._longest = np.minimum(chronic.number["longest_years"], 200.0) * DAYS_PER_YEAR
        self._at_birth = chronic.number["at_birth"] > 0
        # Who may have had it and no more: anybody (-1), nobody (-2), or those who have what such people have.
        self._past = chronic.integers("past_of")
        past[:, self._past == _NOBODY] = 0.0
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
        self._not_pregnant = np.concatenate([chronic.number["not_pregnant"] > 0, acute.number["not_pregnant"] > 0])
        self._preceded = model.listing("codes").integers("preceded_by")
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
        # Few outlive what kills: who would have had it longer began some time within those years.
        longest = self._longest[key]
        lifelong = np.where(lived - lifelong > longest, lived - longest * rng.random(len(key)), lifelong)
        days = np.where(self._lifelong[key], lifelong, lived - since).astype(np.int64)
        onset = np.full(lives.has.shape, NEVER, dtype=np.int64)
        # Nothing begins before the age at which there is a code for it.
        days = np.where(self._at_birth[key], 0, np.maximum(days, self._earliest[key]))
        onset[patient, key] = np.clip(
            lives.birth_day[patient] + days, lives.birth_day[patient], lives.last_day[patient]
        )
        spread = rng.random(len(lives)) * _SPREAD
        for first, then in self._after:
            both = np.flatnonzero(lives.has[:, first] & lives.has[:, then])
            cause = onset[both, first]
            # What would come too early comes some time after.
            later = cause + (spread[both] * np.maximum(lives.last_day[both] - cause, 0)).astype(np.int64)
            onset[both, then] = np.where(onset[both, then] <= cause, later, onset[both, then])
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
        days = np.where(chronic, np.maximum(rng.gamma(2.0, 0.5, len(problem)) * mean, _SHORTEST), days)
        end = day + np.maximum(days, 1).astype(np.int64)
        found = Episodes(patient=who, problem=problem, day=day, end=end, place=place)
        # Who has a chronic condition now has had it since its onset; earlier episodes ended before, and nobody else
        # has it now.
        now = np.full(len(problem), NEVER, dtype=np.int64)
        now[chronic] = onset[who[chronic], problem[chronic]]
        kept = ~chronic | (end < np.minimum(now, lives.last_day[who]))
        of = np.append(self._past, np.full(self.n_problems - self.n_chronic, -1))[problem]
        kept &= (of < 0) | (onset[who, np.maximum(of, 0)] < NEVER)
        kept &= (day >= self._from_day[problem]) & (born | ~newborn) & (day >= lives.first_day[who])
        found = found.take(kept)
        # Nobody has the same thing twice at a time.
        order = order_of(found.patient, found.problem, found.day)
        found = found.take(order)
        same = (found.patient[1:] == found.patient[:-1]) & (found.problem[1:] == found.problem[:-1])
        again = np.append(False, same & (found.day[1:] <= found.end[:-1]))
        return found.take(~again)

    def hindered(self, episodes: Episodes, births: Births) -> npt.NDArray[np.bool_]:
        """Return which episodes a pregnancy makes impossible: contraception, periods, the loss of another one."""
        at = np.flatnonzero(self._not_pregnant[episodes.problem])
        found = np.zeros(len(episodes), dtype=bool)
        patient, day, end = episodes.patient[at], episodes.day[at], episodes.end[at]
        # From 40 weeks before a delivery to six weeks after; what lasts longer must end before.
        last = np.minimum(end, day + 4000)
        within = births.during(patient, day, 310, 42) | births.during(patient, last, 280, 42)
        before, after = (np.searchsorted(births.key, patient * (1 << 22) + when + (1 << 21)) for when in (day, last))
        found[at] = within | (before != after)
        return found

    def around_births(self, lives: Lives, onset: Int, births: Births) -> tuple[Int, Births]:
        """Return onsets and births without those that cannot go together: contraception begins after the last birth."""
        patient, key = np.nonzero((onset < NEVER) & (self._not_pregnant[: self.n_chronic] & ~self._lifelong))
        expecting = births.due > lives.last_day[births.mother] - _RESTED
        prevented = np.zeros(len(lives), dtype=bool)
        prevented[patient] = True
        kept = ~(expecting & prevented[births.mother])
        births = Births(mother=births.mother[kept], due=births.due[kept], cesarean=births.cesarean[kept])
        last = np.full(len(lives), -NEVER, dtype=np.int64)
        np.maximum.at(last, births.mother, births.due)
        onset = onset.copy()
        onset[patient, key] = np.maximum(onset[patient, key], last[patient] + _RESTED)
        return onset, births

    def preceding(self, lives: Lives, episodes: Episodes, codes: Int, rng: np.random.Generator) -> Episodes:
        """Return what went before the conditions whose code tells it: the cancer before a history of that cancer."""
        problem = np.where(codes >= 0, self._preceded[np.maximum(codes, 0)], -1)
        at = np.flatnonzero(problem >= 0)
        patient, problem, end = episodes.patient[at], problem[at], episodes.day[at]
        lasted = np.clip(rng.gamma(2.0, 0.5, len(at)) * self._mean_days[problem], 120, None).astype(np.int64)
        day = np.maximum(end - lasted, lives.first_day[patient])
        known = day < end - 30
        found = Episodes(patient=patient, problem=problem, day=day, end=end, place=np.zeros(len(at), dtype=np.int64))
        return found.take(known)

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


@dataclass(frozen=True, kw_only=True)
class Births:
    """Deliveries, sorted by mother and day; days may lie up to 40 weeks after the record (the child is expected).

    Attributes
    ----------
    mother, due : int64[b]
    cesarean : bool[b]
    """

    mother: Int
    due: Int
    cesarean: npt.NDArray[np.bool_]

    @property
    def key(self) -> Int:
        """One number a delivery, ascending by mother and day."""
        return np.asarray(self.mother * (1 << 22) + self.due + (1 << 21))

    def during(self, patient: Int, day: Int, before: int, after: int) -> npt.NDArray[np.bool_]:
        """Return whether each day lies within so many days before and after a delivery of the person."""
        if not len(self.mother):
            return np.zeros(len(patient), dtype=bool)
        place = np.searchsorted(self.key, patient * (1 << 22) + day - after + (1 << 21))
        at = np.minimum(place, len(self.mother) - 1)
        return np.asarray((place < len(self.mother)) & (self.mother[at] == patient) & (self.due[at] - before <= day))


def deliveries(lives: Lives, births: Float, rng: np.random.Generator) -> Births:
    """Return the deliveries of a block, by age; who had a cesarean mostly has one again."""
    patient, age, start, length = person_years(lives)
    # Pregnancies that are under way on the last day end after it.
    rate = np.where(lives.sex[patient] == 0, births[age], 0.0)
    willing = rng.gamma(1.5, 1 / 1.5, len(lives))
    last_year = start + length > lives.last_day[patient]
    stretch = length + np.where(last_year & ~lives.dead[patient], 280, 0)
    item, _ = expand(rng.poisson(rate * stretch / DAYS_PER_YEAR * willing[patient]))
    day = start[item] + (rng.random(len(item)) * stretch[item]).astype(np.int64)
    who = patient[item]
    order = order_of(who, day)
    who, day = who[order], day[order]
    first = number_within(who) == 0
    apart = np.diff(day, prepend=day[:1]) >= _MIN_SPACING
    who, day = who[first | apart], day[first | apart]
    # NCHS births 2022: 26 % of first births, 86 % after a cesarean, 32 % of all.
    cesarean = rng.random(len(who)) < _FIRST_CESAREAN
    number = number_within(who)
    for turn in range(1, int(number.max(initial=0)) + 1):
        at = np.flatnonzero(number == turn)
        cesarean[at] = rng.random(len(at)) < np.where(cesarean[at - 1], _CESAREAN_AGAIN, _CESAREAN_LATER)
    return Births(mother=who, due=day, cesarean=cesarean)
