"""People with their visits and the codes of these alone, without identities or tables: what learning counts."""

from __future__ import annotations

from datetime import date

import numpy as np

from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.encounters import EncounterSampler
from ehrsynth.generation.insertion import SeriesInsertion
from ehrsynth.generation.joint import JointSampler
from ehrsynth.generation.population import Population
from ehrsynth.generation.series import Course, Horizon
from ehrsynth.generation.trajectory import TrajectorySampler
from ehrsynth.generation.visits import visit_context
from ehrsynth.model import PatientModel
from ehrsynth.randomness import stream
from ehrsynth.terminology import sex_numbers

__all__ = ["CourseOutline", "OutlineSampler"]


class OutlineSampler:
    """The samplers of a model's people, visits and codes, made ready for drawing many blocks."""

    def __init__(self, model: PatientModel) -> None:
        strata = model.trajectory.strata
        self._population, self._trajectory = Population(model), TrajectorySampler(model.trajectory, model.families)
        self._codes = JointSampler.of(model) if model.families else None
        self._sexes = sex_numbers(strata.sexes)
        self._by_years = model.orders is not None and model.orders.period is not None

    def draw(self, seed: int, block: int, *, purpose: str = "") -> tuple[VisitContext, dict[str, Present]]:
        """Return the visits of a block of people and their codes by family.

        `purpose` begins the names of the random streams.
        """
        people = self._population.draw(seed, block)
        visits = self._trajectory.draw(people, stream(seed, f"{purpose}trajectory", block))
        years = (visits.age_days / 365.25).astype(np.int64)
        context = VisitContext(
            patient=visits.patient,
            offsets=visits.offsets,
            state=visits.state,
            stratum=visits.stratum,
            sex=self._sexes[people.sex][visits.patient],
            years_at_start=years,
            years_at_end=years,
            day=visits.day,
            leads=visits.leads,
            age_days=visits.age_days,
            # Nothing is known here of how long the record goes on after the last visit.
            days_left=visits.day[visits.offsets[1:] - 1][visits.patient] - visits.day if self._by_years else None,
        )
        if self._codes is None:
            return context, {}
        return context, self._codes.draw(context, stream(seed, f"{purpose}code", block))


class CourseOutline:
    """The visits of a model's series, made ready for drawing many blocks."""

    def __init__(self, model: PatientModel) -> None:
        self._population, self._trajectory = Population(model), TrajectorySampler(model.trajectory, model.families)
        self._encounters = EncounterSampler(model, date.fromisoformat(model.calendar.reference_date))
        self._codes = JointSampler.of(model)
        self._series = SeriesInsertion(model)

    def draw(self, seed: int, block: int, *, purpose: str) -> tuple[Horizon, Course]:
        """Return what the series of a block of people depend on, and their visits.

        `purpose` begins the names of the random streams.
        """
        people = self._population.draw(seed, block)
        visits = self._trajectory.draw(people, stream(seed, f"{purpose}trajectory", block))
        encounters = self._encounters.draw(visits, people.age_days, stream(seed, f"{purpose}encounter", block))
        context = visit_context(people, encounters)
        codes = self._codes.draw(context, stream(seed, f"{purpose}code", block))
        return self._series.course(people, encounters, codes, stream(seed, f"{purpose}series", block))
