"""Put the visits of series among the others: as visits of their own, or into those of the same day."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.codes import Present
from ehrsynth.generation.encounters import DAY, PRECISIONS, UNIT_SECONDS, Encounters
from ehrsynth.generation.population import People
from ehrsynth.generation.segments import first_times
from ehrsynth.generation.series import NEVER, Course, Horizon, SeriesSampler
from ehrsynth.generation.trajectory import CellTable, Visits
from ehrsynth.generation.visits import limits_of_sex
from ehrsynth.model import PatientModel
from ehrsynth.model.series import day_key
from ehrsynth.probability.categorical import cumulative, sample_rows

__all__ = ["SeriesInsertion"]

Int = npt.NDArray[np.int64]


class SeriesInsertion:
    """Draws the series of a model and adds them to what the chain of visits gave."""

    def __init__(self, model: PatientModel) -> None:
        assert model.series is not None
        self._sampler = SeriesSampler(model)
        trajectory, series = model.trajectory, model.series
        self._strata = trajectory.strata
        self._names = [family.table for family in model.families]
        self._start = np.cumsum([0, *(len(family.codings) for family in model.families)])
        self._kind = cumulative(np.asarray(series.encounter_class, dtype=np.float64))
        types = np.asarray(series.encounter_type, dtype=np.float64)
        self._type = cumulative(types) if types.shape[1] else None
        self._stay = CellTable(series.stay, series.stay_minutes)
        self._stay_known = np.asarray(series.stay_known, dtype=np.float64)
        self._minute = CellTable(series.start_minute, series.start_minutes)
        self._precision = np.array([PRECISIONS.index(name) for name in trajectory.precision], dtype=np.int64)

    def add(
        self,
        people: People,
        encounters: Encounters,
        codes: dict[str, Present],
        rng: np.random.Generator,
    ) -> tuple[Encounters, dict[str, Present]]:
        """Return the encounters with those of series among them, and all codes by table.

        Parameters
        ----------
        people : People
        encounters : Encounters
            Of the chain.
        codes : mapping of table to Present
            Of the chain's encounters.
        rng : numpy.random.Generator
        """
        _, course = self.course(people, encounters, codes, rng)
        into = _of_that_day(encounters, course)
        alone = np.flatnonzero(into < 0)
        merged, place, place_alone = self._merged(encounters, course, alone, people, rng)
        into = np.where(into < 0, 0, place[into])
        into[alone] = place_alone
        return merged, self._codes(merged.visits, codes, place, into[course.visit], course.code)

    def course(
        self,
        people: People,
        encounters: Encounters,
        codes: dict[str, Present],
        rng: np.random.Generator,
    ) -> tuple[Horizon, Course]:
        """Return what series depend on, and their visits; see `add`."""
        horizon, had = self._before(people, encounters, codes)
        return horizon, self._sampler.draw(horizon, had, rng)

    def _before(
        self, people: People, encounters: Encounters, codes: dict[str, Present]
    ) -> tuple[Horizon, dict[int, Int]]:
        """Return what series depend on: ages, and when the people first had what series follow."""
        visits = encounters.visits
        dead = encounters.death_precision >= 0
        latest = np.where(dead, encounters.death // DAY - 1, encounters.record_end_day) - encounters.birth_day
        caught_up = [self._visits_with(code, codes) for code in self._sampler.beside]
        visit = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *caught_up]))
        horizon = Horizon(
            sex=people.sex,
            limit=limits_of_sex(people),
            first=visits.age_days[visits.offsets[:-1]],
            last=visits.age_days[visits.offsets[1:] - 1],
            latest=latest,
            clock=encounters.record_end_day - encounters.birth_day,
            dead=dead,
            beside_patient=visits.patient[visit],
            beside_age=visits.age_days[visit],
        )
        had = {}
        for code in self._sampler.followed:
            visit = self._visits_with(code, codes)
            first = np.full(len(people), NEVER)
            np.minimum.at(first, visits.patient[visit], visits.age_days[visit])
            had[code] = first
        return horizon, had

    def _visits_with(self, code: int, codes: dict[str, Present]) -> Int:
        """Return the visits with a code, numbered through all families."""
        family = int(np.searchsorted(self._start, code, side="right")) - 1
        present = codes[self._names[family]]
        return np.asarray(present.visit[present.code == code - self._start[family]])

    def _merged(
        self, encounters: Encounters, course: Course, alone: Int, people: People, rng: np.random.Generator
    ) -> tuple[Encounters, Int, Int]:
        """Return all encounters, and where those of the chain and those of series are among them."""
        chain = encounters.visits
        patient = np.concatenate((chain.patient, course.patient[alone]))
        age = np.concatenate((chain.age_days, course.age[alone]))
        # A series has no visit on a day of another encounter: the order of the days is that of the starts.
        order = np.lexsort((age, patient))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        day = encounters.birth_day[course.patient[alone]] + course.age[alone]
        drawn = self._encounters(day, course.item[alone], rng)
        columns = {name: np.concatenate((getattr(encounters, name), column))[order] for name, column in drawn.items()}
        offsets = np.concatenate(([0], np.cumsum(np.bincount(patient, minlength=len(people)))))
        patient, age = patient[order], age[order]
        first = np.minimum(encounters.record_start_day, encounters.birth_day + age[offsets[:-1]])
        visits = Visits(
            patient=patient,
            offsets=offsets,
            state=_state(chain, order, patient, offsets),
            age_days=age,
            day=age - age[offsets[:-1]][patient],
            stratum=people.sex[patient] * self._strata.n_ages
            + np.searchsorted(self._strata.first_days[1:], age, side="right"),
            death_days=chain.death_days,
        )
        merged = replace(encounters, visits=visits, record_start_day=first, **columns)
        return merged, place[: len(chain)], place[len(chain) :]

    def _encounters(self, day: Int, item: Int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.generic]]:
        """Return the columns of encounters of items on these days since 1970; they end on the day they begin."""
        n = len(day)
        u = rng.random((8, n))
        kind = sample_rows(self._kind, item, u[0])
        precision = self._precision[kind]
        second = self._minute.draw(kind, u[1], u[2]) * 60
        second = np.where(precision == 2, second + (u[3] * 60).astype(np.int64), np.where(precision == 1, second, 0))
        start = day * DAY + second
        unit = UNIT_SECONDS[precision]
        length = self._stay.draw(kind, u[4], u[5]) * 60 // unit * unit
        known = u[6] < self._stay_known[kind]
        end = np.where(known, np.minimum(start + length, ((day + 1) * DAY - 1) // unit * unit), start)
        none = np.full(n, -1, dtype=np.int64)
        return {
            "kind": kind,
            "precision": precision,
            "start": start,
            "end": np.maximum(end, start),
            "end_known": known,
            "disposition": none,
            "admit_source": none,
            "encounter_type": none if self._type is None else sample_rows(self._type, kind, u[7]),
        }

    def _codes(
        self, visits: Visits, codes: dict[str, Present], place: Int, visit: Int, code: Int
    ) -> dict[str, Present]:
        """Return the codes of all visits by table: those of the chain, and `code` of `visit` of series."""
        found = {}
        for name, low, high in zip(self._names, self._start[:-1].tolist(), self._start[1:].tolist(), strict=True):
            mine = (code >= low) & (code < high)
            own = codes[name]
            every = np.concatenate((place[own.visit], visit[mine]))
            which = np.concatenate((own.code, code[mine] - low))
            # Parents come first in a visit: a stable sort leaves the chain's codes in their order.
            order = np.argsort(every, kind="stable")
            every, which = every[order], which[order]
            kept = first_times(every * (high - low) + which)
            every, which = every[kept], which[kept]
            found[name] = Present(
                visit=every, code=which, recurs=~first_times(visits.patient[every] * (high - low) + which)
            )
        return found


def _state(chain: Visits, order: Int, patient: Int, offsets: Int) -> Int:
    """Return the state at each visit: of a visit of a series that of the visit before, or of the person's first."""
    own = order < len(chain)
    before = np.maximum.accumulate(np.where(own, np.arange(len(order)), -1))
    first = chain.state[chain.offsets[:-1]]
    known = before >= offsets[patient]
    state = chain.state[order[np.maximum(before, 0)] % max(len(chain), 1)]
    return np.where(known, state, first[patient])


def _of_that_day(encounters: Encounters, course: Course) -> Int:
    """Return the encounter of the chain in which each visit of a series falls, int64[m]; -1: in none."""
    patient = encounters.visits.patient
    opened = day_key(patient, encounters.start // DAY)
    closed = day_key(patient, np.maximum(encounters.end, encounters.start) // DAY)
    day = day_key(course.patient, encounters.birth_day[course.patient] + course.age)
    # Which encounter, of those that began, ends last.
    reach = np.maximum.accumulate(closed)
    longest = np.maximum.accumulate(np.where(closed == reach, np.arange(len(closed)), 0))
    place = np.searchsorted(opened, day, side="right") - 1
    last = longest[np.maximum(place, 0)]
    inside = (place >= 0) & (patient[last] == course.patient) & (closed[last] >= day)
    return np.where(inside, last, -1)
