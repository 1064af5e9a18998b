"""Vaccinations: who takes which vaccine, and the first encounter at which it can be given."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.demands import BIRTH
from ehrsynth.generation.life_course.diagnoses import Agenda
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.schedule import EMERGENCY, Schedule
from ehrsynth.generation.life_course.segments import expand, first_in_each, order_of
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled
from ehrsynth.probability import normal

__all__ = ["VaccineSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_SPREAD = 0.55
_APART = 28
_OWN = 0.7
"""How much the taking of a yearly vaccine is the person's; the rest is the year's."""
_IN_SEASON = 100
_LATEST = 1500
_EPOCH = date(1970, 1, 1).toordinal()


class VaccineSampler:
    """The vaccines of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        rows = model.listing("immunizations")
        self._rows = rows
        # Of those that come with a season: its days, and the score below which people take it.
        self._seasons = [
            _season(int(first), int(last)) if seasonal > 0 else None
            for seasonal, first, last in zip(
                *(rows.number[name] for name in ("seasonal", "from_year", "to_year")), strict=True
            )
        ]
        self._taken_below = normal.quantile(rows.number["coverage"] / 100.0)
        self._once = np.array([row for row, season in enumerate(self._seasons) if season is None], dtype=np.int64)
        self._sex, self._code = rows.integers("sex_limit"), rows.integers("code_number")
        # Series in the order in which they are first met.
        series = rows.integers("series").tolist()
        number = {one: at for at, one in enumerate(dict.fromkeys(series))}
        self._series = np.array([number[one] for one in series], dtype=np.int64)
        apart = rows.number["apart"] if "apart" in rows.number else np.full(len(rows), _APART)
        self._apart = apart.astype(np.int64)
        latest = np.minimum(rows.number["age_months_latest"], _LATEST)
        self._due = (rows.number["age_months_due"] * DAYS_PER_YEAR / 12).astype(np.int64)
        self._latest = (latest * DAYS_PER_YEAR / 12).astype(np.int64)

    def draw(self, lives: Lives, schedule: Schedule, rng: np.random.Generator) -> tuple[Int, Int]:
        """Return encounter and vaccine row of each vaccination, sorted by encounter."""
        row, patient, day, until = self._wanted(lives, rng)
        # Vaccines are given at practices and after birth, not in emergencies.
        offered = np.flatnonzero((schedule.setting < EMERGENCY) | (schedule.kind == BIRTH))
        visit = self._given(lives, schedule, Agenda(schedule, lives, offered), row, patient, day, until)
        found = np.flatnonzero(visit >= 0)
        order = found[order_of(visit[found])]
        # One dose of a vaccine in one encounter.
        kept = order[first_in_each(visit[order], self._code[row[order]])]
        return visit[kept], row[kept]

    def _wanted(self, lives: Lives, rng: np.random.Generator) -> tuple[Int, Int, Int, Int]:
        """Return row, person, first and last day of all that is wanted, sorted by row."""
        rows, n = self._rows, len(lives)
        willing = rng.standard_normal(n)
        scores: list[Float] = []
        parts: list[tuple[Int, Int, Int, Int]] = []
        fits = (self._sex[:, None] == 0) | (self._sex[:, None] == lives.sex + 1)
        begin = lives.birth_day + self._due[:, None]
        stop = np.minimum(lives.birth_day + self._latest[:, None], lives.last_day)
        for row, season in enumerate(self._seasons):
            # Who has the third dose of a series has had the second.
            if self._series[row] == len(scores):
                scores.append(np.sqrt(_SPREAD) * willing + np.sqrt(1 - _SPREAD) * rng.standard_normal(n))
            if season is None:
                continue
            first = np.searchsorted(season, begin[row])
            many = np.searchsorted(season, stop[row] - 30, side="right") - first
            patient, number = expand(np.where(fits[row], np.maximum(many, 0), 0))
            own = _OWN * scores[self._series[row]][patient]
            own += np.sqrt(1 - 0.49) * rng.standard_normal(len(patient))
            kept = np.flatnonzero(own < self._taken_below[row])
            patient = patient[kept]
            day = season[first[patient] + number[kept]]
            parts.append((np.full(len(kept), row), patient, day, day + _IN_SEASON))
        # Some rows are of those alone who had not the one before: a series that is begun late.
        if len(self._once):
            rank = (100.0 * normal.cdf(np.array(scores)))[self._series[self._once]]
            takes = fits[self._once] & (begin[self._once] <= lives.last_day)
            takes &= rank < rows.number["coverage"][self._once, None]
            takes &= rank >= rows.number["from_coverage"][self._once, None]
            which, patient = np.nonzero(takes)
            row_of = self._once[which]
            parts.append((row_of, patient, begin[row_of, patient], stop[row_of, patient]))
        if not parts:
            return (np.zeros(0, dtype=np.int64),) * 4
        row_of, patient, day, until = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = order_of(row_of)
        return row_of[order], patient[order], day[order], until[order]

    def _given(
        self, lives: Lives, schedule: Schedule, agenda: Agenda, row: Int, patient: Int, day: Int, until: Int
    ) -> Int:
        """Return the encounter at which each wanted dose is given; -1 for none.

        Not before the least interval after the dose before, which an earlier row of the same series is.
        """
        years = (self._rows.number["from_year"], self._rows.number["to_year"])
        edges = np.searchsorted(row, np.arange(len(self._rows) + 1))
        visit = np.full(len(row), -1, dtype=np.int64)
        before = np.full((int(self._series.max(initial=-1)) + 1, len(lives)), -NEVER, dtype=np.int64)
        native = compiled()
        if native is not None:
            native.vaccinated(
                *agenda.windows(),
                *(edges, patient, day, until, self._series, self._apart, *map(np.ascontiguousarray, years)),
                *(np.ascontiguousarray(lives.first_day), before, visit),
            )
            return visit
        year = schedule.encounters.start.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
        for at, series in enumerate(self._series):
            here = np.arange(edges[at], edges[at + 1])
            here = here[day[here] >= lives.first_day[patient[here]]]
            whose = patient[here]
            found = agenda.first_after(whose, np.maximum(day[here], before[series, whose] + self._apart[at]))
            known = np.maximum(found, 0)
            fits = (found >= 0) & (schedule.day[known] <= until[here])
            fits &= (year[known] >= years[0][at]) & (year[known] <= years[1][at])
            visit[here[fits]] = found[fits]
            np.maximum.at(before[series], whose[fits], schedule.day[found[fits]])
        return visit


def _season(first: int, last: int) -> Int:
    """Return the day on which the season of each year begins, of these years."""
    return np.array([date(year, 1, 1).toordinal() - _EPOCH for year in range(first, last + 1)], dtype=np.int64) + 250
