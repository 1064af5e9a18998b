"""What the codes of visits depend on, of people whose encounters are drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.codes import VisitContext
from ehrsynth.generation.encounters import DAY, Encounters, completed_years
from ehrsynth.generation.population import People
from ehrsynth.terminology import sex_numbers

__all__ = ["limits_of_sex", "visit_context"]

Int = npt.NDArray[np.int64]


def limits_of_sex(people: People) -> Int:
    """Return the sex of each person by which codes are possible."""
    labels_of_sex = people.labels.get("sex", ())
    limit = sex_numbers([*labels_of_sex, None])
    return np.asarray(limit[people.states["sex"]] if labels_of_sex else np.zeros(len(people), dtype=np.int64))


def visit_context(people: People, encounters: Encounters) -> VisitContext:
    """Return what the codes of the visits depend on."""
    visits = encounters.visits
    sex = limits_of_sex(people)
    birth, day = encounters.birth_day[visits.patient], encounters.start // DAY
    return VisitContext(
        patient=visits.patient,
        offsets=visits.offsets,
        state=visits.state,
        stratum=visits.stratum,
        sex=sex[visits.patient],
        years_at_start=completed_years(birth, day),
        years_at_end=completed_years(birth, encounters.end // DAY),
        day=visits.day,
        leads=visits.leads,
        days_left=encounters.record_end_day[visits.patient] - day,
    )
