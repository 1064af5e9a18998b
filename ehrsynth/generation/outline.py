"""People with their visits and the codes of these alone, without days, identities or tables: what learning counts."""

from __future__ import annotations

import numpy as np

from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.joint import JointSampler
from ehrsynth.generation.population import Population
from ehrsynth.generation.trajectory import TrajectorySampler
from ehrsynth.model import PatientModel
from ehrsynth.randomness import stream
from ehrsynth.terminology import sex_numbers

__all__ = ["OutlineSampler"]


class OutlineSampler:
    """The samplers of a model's people, visits and codes, made ready for drawing many blocks."""

    def __init__(self, model: PatientModel) -> None:
        strata = model.trajectory.strata
        self._population, self._trajectory = Population(model), TrajectorySampler(model.trajectory, model.families)
        self._codes = JointSampler.of(model) if model.families else None
        self._sexes = sex_numbers(strata.sexes)

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
        )
        if self._codes is None:
            return context, {}
        return context, self._codes.draw(context, stream(seed, f"{purpose}code", block))
