"""The people of a block: drawn from the network, given any evidence, and placed in the calendar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.evidence import Scenario
from ehrsynth.generation.life_course.quantiles import CoreQuantiles
from ehrsynth.generation.population import People
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.probability.bayesnet import Sampler
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.randomness import BLOCK_SIZE, stream

__all__ = ["AGES_MOST", "DAYS_PER_YEAR", "NEVER", "Lives", "LivesSampler"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

DAYS_PER_YEAR = 365.2425
_KIDNEY = ("low_gfr", "albuminuria")
_TYPICAL = 0.9
"""Of a person's own score of the filtration rate, how much shows in what is measured at one time."""
NEVER = np.int64(1 << 40)
"""A day that does not come."""
AGES_MOST = 160
"""Years: nobody is as old as that."""
FIRST_RECORD = int(np.datetime64("1950-01-01").astype(np.int64))
"""No record of care begins earlier: who reads records (the OHDSI checks among them) takes such dates for errors."""


@dataclass(frozen=True, kw_only=True)
class Lives:
    """The people of one block; days are days since 1970.

    Attributes
    ----------
    people : People
        What the network says of them, by variable.
    sex : int64[n]
        0 female, 1 male.
    birth_day, first_day, last_day : int64[n]
        Birth; first day of the record; the reference date, or the day of death.
    dead : bool[n]
    age : int64[n]
        Completed years on the last day.
    has : bool[n, chronic]
    takes : bool[n, classes]
    kidney : bool[n, 2]
        Whose filtration rate is low, and who has albuminuria.
    filtration : float64[n]
        The person's own score of the filtration rate among people of the same sex, age and kind of kidney.
    stages : bool[n, 8]
        See `requirements.STATES`.
    """

    people: People
    sex: Int
    birth_day: Int
    first_day: Int
    last_day: Int
    dead: Bool
    age: Int
    has: Bool
    takes: Bool
    kidney: Bool
    filtration: npt.NDArray[np.float64]
    stages: Bool

    def __len__(self) -> int:
        return len(self.sex)

    def age_at(self, patient: Int, day: Int) -> Int:
        """Return completed years, to within a day, within 0..AGES-1."""
        years = ((day - self.birth_day[patient]) / DAYS_PER_YEAR).astype(np.int64)
        return np.clip(years, 0, AGES - 1)


class LivesSampler:
    """A model made ready for drawing people.

    Parameters
    ----------
    model : LifeCourseModel
    reference_date : date
    evidence : mapping, optional
        See `Scenario`.
    """

    def __init__(self, model: LifeCourseModel, reference_date: date, evidence: Mapping[str, Any] | None) -> None:
        self.scenario = Scenario(model, evidence)
        self._network = self.scenario.network
        self._sampler = Sampler(self._network)
        self._reference = int(np.datetime64(reference_date, "D").astype(np.int64))
        self._variables = {variable.name: at for at, variable in enumerate(self._network.variables)}
        keys = model.listing("chronic").text["key"]
        self._has = np.array([self._variables[f"has:{key}"] for key in keys], dtype=np.int64)
        classes = model.listing("classes").text["key"]
        self._takes = np.array([self._variables[f"takes:{key}"] for key in classes], dtype=np.int64)
        self._kidney = np.array([self._variables[f"kidney:{key}"] for key in _KIDNEY], dtype=np.int64)
        self._core = CoreQuantiles(model)
        lag = model.array("death_lag").reshape(-1, model.deceased_years)
        self._lag = cumulative(np.where(lag.sum(axis=1, keepdims=True) > 0, lag, 1.0))

    def draw(self, seed: int, block: int, n: int = BLOCK_SIZE) -> Lives:
        """Return the people of `block`, all `n` of them."""
        data = self._sampler.draw(stream(seed, "life/person", block).random((n, len(self._variables))))
        plain = {name: np.ascontiguousarray(data[:, at]) for name, at in self._variables.items() if ":" not in name}
        labels = {variable.name: variable.states for variable in self._network.variables if ":" not in variable.name}
        dead = plain["deceased"] == 1
        sex, age = plain["sex"], plain["age"]
        u = stream(seed, "life/dates", block).random((3, n))
        lag = sample_rows(self._lag, sex * AGES + age, u[0])
        since = ((lag + u[1]) * DAYS_PER_YEAR).astype(np.int64) + 1
        last = np.where(dead, self._reference - since, self._reference)
        birth = _birth(last, age, u[2])
        first = np.maximum(birth, np.minimum(FIRST_RECORD, last))
        if self.scenario.history_years is not None:
            first = np.maximum(first, last - int(self.scenario.history_years * DAYS_PER_YEAR))
        filtration = stream(seed, "life/filtration", block).standard_normal(n)
        kidney = data[:, self._kidney] == 1
        people = People(sex=sex, group=np.zeros_like(sex), age_days=last - birth, states=plain, labels=labels)
        return Lives(
            people=people,
            sex=sex,
            birth_day=birth,
            first_day=first,
            last_day=last,
            dead=dead,
            age=age,
            has=data[:, self._has] == 1,
            takes=data[:, self._takes] == 1,
            kidney=kidney,
            filtration=filtration,
            stages=self._stages(sex, age, kidney, filtration, plain["body"]),
        )

    def _stages(self, sex: Int, age: Int, kidney: Bool, score: npt.NDArray[np.float64], body: Int) -> Bool:
        """Return the stage of the filtration rate, albuminuria, and the class of body mass index."""
        low = kidney[:, 0]
        rate = self._core.value("egfr", low.astype(np.int64), sex, age.astype(np.float64) + 0.5, _TYPICAL * score)
        stage = np.where(low, np.where(rate < 30, 3, np.where(rate < 45, 2, 1)), 0)
        return np.column_stack([stage[:, None] == np.arange(4), kidney[:, 1], body[:, None] == np.array([2, 3, 4])])


def _birth(last: Int, age: Int, u: npt.NDArray[np.float64]) -> Int:
    """Return a birth day on which a person of completed `age` on day `last` can have been born."""
    day = last.astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    offset = (day - month).astype(np.int64)
    # No month is shorter than 28 days: on such a day of the month every year has a birthday.
    offset = np.minimum(offset, 27)
    latest = (month - 12 * age).astype("datetime64[D]").astype(np.int64) + offset
    earliest = (month - 12 * (age + 1)).astype("datetime64[D]").astype(np.int64) + offset + 1
    return np.asarray(earliest + (u * (latest - earliest + 1)).astype(np.int64))
