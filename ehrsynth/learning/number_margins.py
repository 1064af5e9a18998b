"""Numbers of generated people have the margins of the source, whoever among these it is that has them.

A number is read through the mixture of the levels (of state, sex and age, conditions) of those who have it in the
source. In generated records it is others: where more of the heavy are weighed, too many would be heavy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort
from ehrsynth.learning.steps import FEWEST_PEOPLE, blocks_to_draw
from ehrsynth.model import PatientModel

__all__ = ["CENTERS", "equal_parts", "with_number_margins"]

Doubles = npt.NDArray[np.float64]

CENTERS = 64
"""Equal parts of the levels that a measurement's values have."""
_FEWEST_VALUES = 1000
"""Of fewer values in generated records the parts of those of the source are no worse."""


def equal_parts(values: Doubles, weights: Doubles) -> Doubles:
    """Return the means float64[N] of N equal parts of a weighted distribution of values, ascending."""
    order = np.argsort(values, kind="stable")
    cumulative = np.concatenate(([0.0], np.cumsum(weights[order])))
    if cumulative[-1] <= 0:
        return np.zeros(CENTERS)
    # The running integral of the quantile function, read at the borders of the parts.
    integral = np.concatenate(([0.0], np.cumsum(weights[order] * values[order])))
    borders = np.linspace(0.0, cumulative[-1], CENTERS + 1)
    result: Doubles = np.diff(np.interp(borders, cumulative, integral)) / np.diff(borders)
    return result


def with_number_margins(model: PatientModel, cohort: Cohort, seed: int) -> PatientModel:
    """Return the model with numbers that are read through the mixture of the levels in whole generated records.

    Parameters
    ----------
    model : PatientModel
        Without measurements by sex and age it is returned as it is.
    cohort : Cohort
        Of the source: twice as many people are drawn (fewer if they have very many visits), of few people none.
    seed : int
        Of the people that are drawn.
    """
    from ehrsynth.generation.measurements import MeasurementSampler
    from ehrsynth.generation.outline import OutlineSampler
    from ehrsynth.generation.rows import followers

    observed, numbers = model.family("observation"), model.measurements
    if observed is None or numbers is None or not np.size(numbers.center) or cohort.n_patients < FEWEST_PEOPLE:
        return model
    m = len(numbers.code)
    sampler, outline = MeasurementSampler(numbers), OutlineSampler(model)
    led = followers(observed, numbers)
    number = np.full(len(observed.codings), -1, dtype=np.int64)
    number[numbers.code] = np.arange(m)
    found: list[list[Doubles]] = [[] for _ in range(m)]
    for block in range(blocks_to_draw(cohort, 2)):
        visits, present = outline.draw(seed, block, purpose="learning/numbers/")
        conditions, mine = present.get("condition"), present["observation"]
        added = np.zeros((m, len(visits.offsets) - 1))
        if conditions is not None:
            added = sampler.of_conditions(added.shape[1], visits.patient[conditions.visit], conditions.code)
        for leader in np.unique(mine.code).tolist():
            visit = mine.visit[mine.code == leader]
            for one in [number[code] for code in (leader, *led.get(leader, ())) if number[code] >= 0]:
                found[one].append(sampler.center(visits.state[visit], one, visits.stratum[visit]))
                found[one][-1] += added[one, visits.patient[visit]]
    center = np.array(numbers.center, dtype=np.float64)
    for one, values in enumerate(found):
        level = np.concatenate([np.zeros(0), *values])
        if len(level) >= _FEWEST_VALUES:
            center[:, one] = equal_parts(level, np.ones(len(level)))
    return replace(model, measurements=replace(numbers, center=center.astype(np.float32)))
