"""The generator of life-course models: whole blocks of patients, the same whatever is asked for beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.generation.block_maker import BlockMaker
from ehrsynth.generation.columns import id_column, labels
from ehrsynth.generation.details import BlockContext
from ehrsynth.generation.life_course.background import BackgroundSampler
from ehrsynth.generation.life_course.courses import Births, CourseSampler, Episodes, deliveries, person_years
from ehrsynth.generation.life_course.coverage import coverages
from ehrsynth.generation.life_course.demands import FOLLOW_UP, PROBLEM, Demands, DemandSampler
from ehrsynth.generation.life_course.diagnoses import EXTRA_CODES, CodeSampler, Diagnoses, diagnose
from ehrsynth.generation.life_course.interventions import InterventionSampler
from ehrsynth.generation.life_course.measured import PanelSampler
from ehrsynth.generation.life_course.observations import ValueSampler
from ehrsynth.generation.life_course.observed import ObservedColumns
from ehrsynth.generation.life_course.orders import OrderSampler
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives, LivesSampler
from ehrsynth.generation.life_course.pregnancies import Pregnancies, PregnancySampler
from ehrsynth.generation.life_course.readings import ReadingSampler
from ehrsynth.generation.life_course.schedule import ADMIT_SOURCES, CLASSES, DISPOSITIONS, TYPES, Schedule, settle
from ehrsynth.generation.life_course.segments import order_of
from ehrsynth.generation.life_course.tables import Writer
from ehrsynth.generation.life_course.vaccinations import VaccineSampler
from ehrsynth.generation.tables import encounter_columns, patient_columns
from ehrsynth.model import Coding
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.randomness import BLOCK_SIZE, identifier_bytes, stream
from ehrsynth.records import Records
from ehrsynth.terminology import ICD10CM, SNOMED

__all__ = ["LifeCourseGenerator"]

Int = npt.NDArray[np.int64]

PART_SIZE = 128
"""Patients drawn together: few enough for the caches and the memory of one core, enough to draw by columns."""


class _Labels:
    """What the numbers of encounters mean."""

    encounter_classes: tuple[str, ...] = CLASSES
    encounter_types: tuple[Coding, ...] = tuple(Coding(system=SNOMED, code=code, display=text) for code, text in TYPES)
    admit_sources: tuple[str, ...] = ADMIT_SOURCES
    dispositions: tuple[str, ...] = DISPOSITIONS


@dataclass(frozen=True, kw_only=True)
class OfficeVisits:
    """Visits to practices and years lived.

    Attributes
    ----------
    visits : float64[3, 2, AGES]
        For check-ups, pregnancies and procedures; for follow-up; for acute illness.
    years : float64[2, AGES]
    """

    visits: npt.NDArray[np.float64]
    years: npt.NDArray[np.float64]


class LifeCourseGenerator(BlockMaker):
    """Makes patients of a life-course model, in blocks of `BLOCK_SIZE`; see `ehrsynth.generation.Generator`.

    A block is made of parts of `PART_SIZE` patients with their own streams: a lifelong block is hundreds of megabytes.
    """

    def __init__(
        self,
        model: LifeCourseModel,
        *,
        seed: int,
        reference_date: date | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        day = reference_date or date.fromisoformat(model.reference_date)
        super().__init__(model, seed=seed, reference_date=day, time_basis="calendar")
        self.model = model
        self._lives = LivesSampler(model, self.reference_date, evidence)
        scenario = self._lives.scenario
        self._min_visits = scenario.min_visits
        self._courses = CourseSampler(model)
        self._codes = CodeSampler(model, scenario.codes)
        self._demands = DemandSampler(model)
        self._interventions = InterventionSampler(model)
        self._vaccines = VaccineSampler(model)
        self._pregnancies = PregnancySampler(model)
        self._orders = OrderSampler(model)
        self._panels = PanelSampler(model)
        self._values = ValueSampler(model)
        self._readings = ReadingSampler(model)
        self._background = BackgroundSampler(model)
        self._observed = ObservedColumns(model)
        self._births = model.array("births")
        listed = model.listing("codes").text
        self._reasons = (
            *(
                Coding(system=ICD10CM, code=code, display=text)
                for code, text in zip(listed["code"], listed["display"], strict=True)
            ),
            *(Coding(system=ICD10CM, code=code, display=text) for code, text in EXTRA_CODES),
        )

    def block(self, index: int, n: int = BLOCK_SIZE) -> Records:
        """Return the first `n` patients of block `index` and their rows; shared tables are empty.

        Raises
        ------
        UsageError
            `index` is negative or `n` is not between 1 and `BLOCK_SIZE`.
        """
        return Records.concat(self.parts(index, n))

    @property
    def part_size(self) -> int:
        """How many patients are drawn together."""
        return PART_SIZE

    def parts(self, index: int, n: int = BLOCK_SIZE, start: int = 0) -> Iterator[Records]:
        """Yield the patients of block `index` from `start` to `n` (excluded), `PART_SIZE` at a time.

        Every part is drawn whole from its own streams, so what comes before or after need not be drawn, and the memory
        that is needed is that of one part.

        Raises
        ------
        UsageError
            `index` is negative, `n` is not between 1 and `BLOCK_SIZE`, or no part begins at `start`.
        """
        self._check(index, n)
        if start % PART_SIZE:
            raise UsageError(f"No part of a block begins at patient {start}.")
        for first in range(start, n, PART_SIZE):
            yield self._part((index * BLOCK_SIZE + first) // PART_SIZE, min(PART_SIZE, n - first))

    def _part(self, index: int, n: int) -> Records:
        """Return the first `n` patients of the part `index`, counted over all blocks."""

        def rng(name: str) -> np.random.Generator:
            return stream(self.seed, f"life/{name}", index)

        lives = self._lives.draw(self.seed, index, PART_SIZE)
        onset = self._courses.onsets(lives, rng("onset"))
        onset, births = self._courses.around_births(lives, onset, deliveries(lives, self._births, rng("births")))
        episodes, codes = self._illnesses(lives, onset, births, rng)
        planned = self._interventions.plan(lives, episodes, codes, rng("procedure"))
        more = planned.complications
        more_codes = self._codes.draw(lives, more, onset, rng("complication/code"))
        episodes = Episodes.concat(episodes, more.take(more_codes >= 0))
        codes = np.concatenate([codes, more_codes[more_codes >= 0]])
        cause = self._background.causes(lives, onset, rng("cause"))
        episodes, codes, deaths = self._deaths(lives, episodes, onset, codes, cause, rng)
        own = self._interventions.demands(lives, planned)
        drawn = self._demands.draw(lives, episodes, births, deaths, self._min_visits, rng("demand"))
        demands = Demands.concat([own, drawn])
        schedule = settle(lives, demands, rng("schedule"))
        later = self._codes.later(lives, episodes, onset, codes, rng("code/later"))
        pregnancies = Pregnancies.find(births, schedule)
        findings = self._pregnancies.draw(lives, pregnancies, schedule, onset, rng("pregnancy"))
        diagnoses, seen = diagnose(
            *(lives, episodes, demands, schedule, codes, later),
            *(pregnancies, findings, self.model, rng("diagnosis")),
        )
        context = self._context(index, lives, schedule)
        writer = Writer(model=self.model, lives=lives, context=context, observed=self._observed)
        allergies = self._background.allergic(lives, schedule, rng("allergy"))
        since = self._background.allergic_since(lives, schedule, allergies)
        orders = self._orders.draw(lives, episodes, schedule, seen, births, since, rng("order"))
        during = (pregnancies, findings)
        measured = self._panels.draw(lives, episodes, schedule, seen, rng("panel"))
        value = self._values.draw(lives, episodes, onset, schedule, seen, orders, measured, *during, rng("value"))
        answers = self._background.answers(lives, schedule, rng("social"))
        done = self._interventions.done(
            *(lives, planned, schedule, pregnancies, seen),
            *(schedule.of_demand[: len(own)], rng("procedure/done")),
        )
        shots = self._vaccines.draw(lives, schedule, rng("immunization"))
        kinds = self.model.listing("procedures").integers("key_number")[done[1]]
        devices = self._background.devices(
            episodes, seen, (done[0], kinds), self.model.listing("devices").integers("procedure"), rng("device")
        )
        conditions, ids = writer.conditions(diagnoses)
        find = _Finder(diagnoses, schedule, len(self.model.listing("chronic")) + len(self.model.listing("acute")))
        tables: dict[str, tuple[pa.Table, Int]] = {"condition": (conditions, diagnoses.visit)}
        reason = find(orders.visit, orders.problem)
        tables["medication_request"] = (writer.medications(orders, reason, ids), orders.visit)
        read = self._readings.draw(measured, value, rng("reading"))
        # Only what is asked for is made into rows: most of them are observations.
        wanted = schedule.encounters.visits.offsets[n]
        stop, asked = int(np.searchsorted(measured[0], wanted)), answers[0] < wanted
        tables["observation"] = writer.observations(
            (measured[0][:stop], measured[1][:stop], measured[2][:stop]),
            *(value[:stop], read[:stop], (answers[0][asked], answers[1][asked])),
        )
        reason = find(done[0], np.where(done[2] >= 0, episodes.problem[np.maximum(done[2], 0)], -1))
        tables["procedure"] = (writer.procedures(done[0], done[1], reason, ids), done[0])
        tables["immunization"] = (writer.immunizations(*shots), shots[0])
        tables["allergy_intolerance"] = (writer.allergies(*allergies), allergies[0])
        tables["device"] = (writer.devices(*devices), devices[0])
        whole, cuts = self._people(lives, schedule, context, diagnoses, cause, n)
        for name, (table, visit) in tables.items():
            whole[name] = table
            cuts[name] = int(np.searchsorted(visit, schedule.encounters.visits.offsets[n]))
        return self._records(
            {name: table.slice(0, cuts[name]) for name, table in whole.items()}, first_patient=index * PART_SIZE
        )

    def office_visits(self, index: int) -> OfficeVisits:
        """Return what brings the people of a block to practices, by sex and age: what a recipe calibrates."""

        def rng(name: str) -> np.random.Generator:
            return stream(self.seed, f"life/{name}", index)

        lives = self._lives.draw(self.seed, index)
        onset = self._courses.onsets(lives, rng("onset"))
        onset, births = self._courses.around_births(lives, onset, deliveries(lives, self._births, rng("births")))
        episodes, codes = self._illnesses(lives, onset, births, rng)
        planned = self._interventions.plan(lives, episodes, codes, rng("procedure"))
        demands = Demands.concat(
            [
                self._interventions.demands(lives, planned),
                self._demands.draw(
                    lives, episodes, births, Demands.of(births.mother[:0], births.due[:0], 0), 0, rng("demand")
                ),
            ]
        )
        schedule = settle(lives, demands, rng("schedule"))
        office = np.flatnonzero(schedule.setting == 0)
        part = np.where(schedule.kind[office] == FOLLOW_UP, 1, np.where(schedule.kind[office] == PROBLEM, 2, 0))
        visits = np.zeros((3, 2, AGES))
        np.add.at(visits, (part, lives.sex[schedule.patient[office]], np.minimum(schedule.age[office], AGES - 1)), 1.0)
        patient, age, _, length = person_years(lives)
        years = np.zeros((2, AGES))
        np.add.at(years, (lives.sex[patient], age), length / DAYS_PER_YEAR)
        return OfficeVisits(visits=visits, years=years)

    def _illnesses(self, lives: Lives, onset: Int, births: Births, rng: Any) -> tuple[Episodes, Int]:
        """Return all episodes, chronic conditions first, and the code of each; what no code fits does not occur."""
        patient, key = np.nonzero(onset < NEVER)
        lasting = Episodes(
            patient=patient,
            problem=key,
            day=onset[patient, key],
            end=np.full(len(patient), NEVER),
            place=np.zeros(len(patient), dtype=np.int64),
        )
        passing = self._courses.episodes(lives, onset, rng("episode"))
        episodes = Episodes.concat(lasting, passing.take(~self._courses.hindered(passing, births)))
        codes = self._codes.draw(lives, episodes, onset, rng("code"))
        before = self._courses.preceding(lives, lasting, codes[: len(lasting)], rng("before"))
        episodes = Episodes.concat(episodes, before)
        codes = np.concatenate([codes, self._codes.draw(lives, before, onset, rng("before/code"))])
        return episodes.take(codes >= 0), codes[codes >= 0]

    def _deaths(
        self, lives: Lives, episodes: Episodes, onset: Int, codes: Int, cause: Int, rng: Any
    ) -> tuple[Episodes, Int, Demands]:
        """Return the episodes and codes with those of which people die in hospital, and the demands of these."""
        causes = self.model.listing("causes")
        known = np.maximum(cause, 0)
        lethal = np.where(cause >= 0, causes.number["in_hospital"][known], 1.0) if len(causes) else np.ones(len(lives))
        deaths = self._demands.deaths(lives, lethal, rng("death"))
        if not len(causes):
            return episodes, codes, deaths
        problem = np.where(cause >= 0, causes.integers("terminal")[known], -1)[deaths.patient]
        with_one = np.flatnonzero(problem >= 0)
        last = Episodes(
            patient=deaths.patient[with_one],
            problem=problem[with_one],
            day=deaths.day[with_one],
            end=np.full(len(with_one), NEVER),
            place=deaths.setting[with_one],
        )
        code = self._codes.draw(lives, last, onset, rng("death/code"))
        fits = code >= 0
        of = np.full(len(deaths), -1, dtype=np.int64)
        of[with_one[fits]] = len(episodes) + np.arange(fits.sum())
        return (
            Episodes.concat(episodes, last.take(fits)),
            np.concatenate([codes, code[fits]]),
            replace(deaths, episode=of),
        )

    def _context(self, index: int, lives: Lives, schedule: Schedule) -> BlockContext:
        return BlockContext(
            seed=self.seed,
            block=index,
            encounters=schedule.encounters,
            dated=True,
            patient_ids=identifier_bytes(self.seed, "patient", index, PART_SIZE),
            encounter_ids=identifier_bytes(self.seed, "encounter", index, len(schedule)),
            shared_ids=self._surroundings.ids,
            surroundings=self._surroundings.of(
                lives.people, schedule.encounters, CLASSES, index, self.reference_date.year
            ),
        )

    def _people(
        self, lives: Lives, schedule: Schedule, context: BlockContext, diagnoses: Diagnoses, cause: Int, n: int
    ) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Return patient, coverage and encounter tables, and how many rows the first `n` people have."""
        names = [variable.name for variable in self.model.person.variables]
        payer = self.model.person.tables[names.index("payer")]
        fifties = payer[self.model.person.variables[names.index("band")].states.index("50-54")]
        table, ids, whose, covered = coverages(lives, context, self._surroundings.assignment, fifties)
        patients = patient_columns(lives.people, context)
        codes = self.model.listing("causes").text
        patients["cause_of_death_system"] = labels(np.where(cause >= 0, 0, -1), [ICD10CM])
        patients["cause_of_death_code"] = labels(cause, codes["code"])
        patients["cause_of_death_display"] = labels(cause, codes["display"])
        own = np.arange(len(lives))
        encounters = encounter_columns(
            context, _Labels(), (ids, np.full(len(own), -1)), (diagnoses.reason, self._reasons)
        )
        encounters["coverage_id"] = id_column(ids, covered)
        offsets = schedule.encounters.visits.offsets
        first = {"patient": n, "encounter": int(offsets[n])}
        whole = {"patient": pa.table(patients), "coverage": table, "encounter": pa.table(encounters)}
        first["coverage"] = int(np.searchsorted(whose, n))
        return whole, first


class _Finder:
    """Finds the row of a condition that is the reason at an encounter: of its problem, begun before and not over."""

    def __init__(self, diagnoses: Diagnoses, schedule: Schedule, n_problems: int) -> None:
        self._schedule, self._n, self._found = schedule, n_problems, diagnoses
        known = np.flatnonzero(diagnoses.problem >= 0)
        key = schedule.patient[diagnoses.visit[known]] * n_problems + diagnoses.problem[known]
        order = order_of(key, diagnoses.visit[known])
        self._keys, self._rows = key[order], known[order]
        self._place = self._keys * len(schedule) + diagnoses.visit[self._rows]

    def __call__(self, visit: Int, problem: Int) -> Int:
        """Return a row of the condition table for each encounter and problem; -1 where there is none.

        The first that the person has of the problem; where that is over by then (what comes back), the last.
        """
        if not len(self._keys):
            return np.full(len(visit), -1, dtype=np.int64)
        key = self._schedule.patient[visit] * self._n + problem
        day = self._schedule.encounters.start[visit] // 86_400
        found = np.full(len(visit), -1, dtype=np.int64)
        last = np.searchsorted(self._place, key * len(self._schedule) + visit, side="right") - 1
        for at in (last, np.searchsorted(self._keys, key)):
            at = np.clip(at, 0, len(self._keys) - 1)
            row = self._rows[at]
            fits = (problem >= 0) & (self._keys[at] == key) & (self._found.visit[row] <= visit)
            fits &= (self._found.end[row] >= day) | (self._found.visit[row] == visit)
            found = np.where(fits, row, found)
        return found
