"""The numbers: quantiles of the population read at a score that is partly the person's own and drifts slowly.

The score of a measure for person p at time t is ``sqrt(own) u_p + sqrt(drift) d_p(t) + sqrt(rest) e``: u and e are
correlated between measures, d is a stationary process with a correlation of years (a sum of three cosines of random
period and phase: Rahimi and Recht 2007). The value is the quantile of that score among people of the same sex, age and
stratum (treated or not, diabetic or not), so that margins are met and a treatment moves the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, Lives
from ehrsynth.generation.life_course.quantiles import CoreQuantiles
from ehrsynth.generation.life_course.requirements import STATES
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled
from ehrsynth.probability import normal

__all__ = ["BodySampler", "CoreSampler", "Growth", "Scores", "mixed"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

Bool = npt.NDArray[np.bool_]

_CLASSES = ((STATES.index("bmi40"), 40.0), (STATES.index("bmi35"), 35.0), (STATES.index("bmi30"), 30.0))
"""Class of obesity and its least body mass index (WHO 2000)."""
_WAVES = 3
_PERIODS = (7.0, 26.0)
_INFANT, _CHARTED, _GROWN = 2, 18, 21


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of the core measures at the encounters that measure any of them.

    Attributes
    ----------
    row : int64[v]
        Row of `values` of each encounter, -1 for none.
    values : float64[rows, measures]
    """

    row: Int
    values: Float


class CoreSampler(CoreQuantiles):
    """The core measures of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        super().__init__(model)
        core = model.listing("core")
        self._own, self._drift = core.number["own"], core.number["drift"]
        self._correlation = model.array("core_correlation")
        self._factor: Float = np.asarray(np.linalg.cholesky(self._correlation).T, dtype=np.float64)
        self._close = model.array("pressure_correlation")
        table = model.person.tables[model.person.index("body")]
        below = np.cumsum(table.reshape(-1, table.shape[-1]), axis=1)
        self._classes = np.concatenate([np.zeros((len(below), 1)), below], axis=1)

    def scores(self, lives: Lives, schedule: Schedule, wanted: Int, rng: np.random.Generator) -> Scores:
        """Return the scores at the encounters `wanted`."""
        n, m = len(lives), len(self.names)
        own = rng.standard_normal((n, m)) @ self._factor
        bmi = self.names.index("bmi")
        own[:, bmi] = self._heavy(lives, own[:, bmi])
        own[:, self.names.index("egfr")] = lives.filtration
        period = rng.uniform(*_PERIODS, (n, _WAVES)) * DAYS_PER_YEAR
        phase = rng.random((n, m, _WAVES)) * 2 * np.pi
        patient = schedule.patient[wanted]
        turn = schedule.day[wanted, None] * (2 * np.pi / period[patient])
        # cos(a + b) from the cosines of a few turns and of people's phases: a twelfth of the transcendental functions.
        phases = np.concatenate([np.cos(phase), -np.sin(phase)], axis=2).transpose(0, 2, 1)
        turns = np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        noise = rng.standard_normal((len(wanted), m))
        values = mixed(
            *(np.sqrt(self._own) * own, patient, turns, phases, noise),
            self._factor * np.sqrt(self._drift * 2 / _WAVES),
            self._factor * np.sqrt(1 - self._own - self._drift),
        )
        # How close the two pressures are depends on age: the arteries stiffen.
        high, low = self.names.index("sbp"), self.names.index("dbp")
        plain = self._correlation[high, low]
        apart = (values[:, low] - plain * values[:, high]) / np.sqrt(1 - plain**2)
        close = np.interp(schedule.age[wanted], self._knots, self._close)
        values[:, low] = close * values[:, high] + np.sqrt(1 - close**2) * apart
        row = np.full(len(schedule), -1, dtype=np.int64)
        row[wanted] = np.arange(len(wanted))
        return Scores(row=row, values=values)

    def _heavy(self, lives: Lives, score: Float) -> Float:
        """Return people's own scores of body mass, which lie where their class of body mass index does."""
        states = lives.people.states
        row, body = states["band"] * 2 + lives.sex, states["body"]
        low, high = self._classes[row, body], self._classes[row, body + 1]
        rank = low + (high - low) * normal.cdf(score)
        return np.asarray(normal.quantile(np.clip(rank, 1e-6, 1 - 1e-6)))


class Growth:
    """Children's sizes from charts of L, M and S by sex and month (Cole and Green 1992)."""

    def __init__(self, model: LifeCourseModel) -> None:
        self._charts = {
            name: model.array(f"growth_{name}")
            for name in ("length", "height", "weight_infant", "weight", "bmi", "head")
        }
        self._first = {"height": 24, "weight": 24, "bmi": 24}

    def value(self, chart: str, sex: Int, months: Float, z: Float) -> Float:
        """Return the size of a child of `months` at score `z`."""
        size, power, spread = self._at(chart, sex, months)
        safe = np.where(np.abs(power) < 1e-9, 1.0, power)
        grown = np.maximum(1 + power * spread * z, 1e-3) ** (1 / safe)
        return np.asarray(size * np.where(np.abs(power) < 1e-9, np.exp(spread * z), grown))

    def score(self, chart: str, sex: Int, months: Float, value: Float) -> Float:
        """Return the score of a size."""
        size, power, spread = self._at(chart, sex, months)
        safe = np.where(np.abs(power) < 1e-9, 1.0, power)
        ratio = np.maximum(value, 1e-9) / size
        return np.where(np.abs(power) < 1e-9, np.log(ratio) / spread, (ratio**safe - 1) / (safe * spread))

    def _at(self, chart: str, sex: Int, months: Float) -> tuple[Float, Float, Float]:
        table = self._charts[chart]
        place = np.clip(months - self._first.get(chart, 0), 0, table.shape[1] - 1.000001)
        low = place.astype(np.int64)
        part = (place - low)[..., None]
        row = sex * table.shape[1] + low
        flat = table.reshape(-1, table.shape[2])
        found = flat.take(row, axis=0) * (1 - part) + flat.take(row + 1, axis=0) * part
        return found[..., 1], found[..., 0], found[..., 2]


class BodySampler:
    """Height, weight, body mass index and head circumference that fit each other from birth to old age.

    Below two years length, weight and head follow their charts; from two to twenty years height and body mass index
    do and weight follows from them; later body mass index follows the adult quantiles.
    """

    def __init__(self, model: LifeCourseModel, core: CoreSampler) -> None:
        self._growth, self._core = Growth(model), core
        chronic = model.listing("chronic").text["key"]
        self._known = [
            (chronic.index(key), least)
            for key, least in (
                ("overweight", 25.0),
                ("obesity", 30.0),
                ("obesity_severe", 35.0),
                ("diabetes_type2", 19.0),
            )
            if key in chronic
        ]
        self._obese = [chronic.index(key) for key in ("obesity", "obesity_severe") if key in chronic]

    def least(self, onset: Int, stages: Bool, patient: Int, day: Int) -> Float:
        """Return the body mass index that people have at least on a day, by what is written down of it.

        `stages` [n, 8] holds the class of each person's index (see `requirements.STATES`).
        """
        found = np.zeros(len(patient))
        for key, least in self._known:
            found = np.where(onset[patient, key] <= day, np.maximum(found, least), found)
        for key in self._obese:
            own = np.select([stages[patient, at] for at, _ in _CLASSES], [least for _, least in _CLASSES], 0.0)
            found = np.where(onset[patient, key] <= day, np.maximum(found, own), found)
        return found

    def sizes(
        self, asked: Sequence[str], sex: Int, age: Float, tall: Float, heavy: Float, head: Float, least: Float
    ) -> dict[str, Float]:
        """Return sizes at an age in years, from scores of height, body mass and head; centimetres, kilograms.

        Height, weight and bmi, and what else is `asked` for: head, bmi_percentile, head_percentile. `least` is what the
        body mass index of a grown person is at least (see `least`).
        """
        # Charts are for the young, quantiles for the grown, both for those between.
        height, bmi, grown = np.empty_like(age), np.empty_like(age), np.flatnonzero(age >= _CHARTED)
        plain = np.zeros_like(sex[grown])
        height[grown] = self._core.value("height", plain, sex[grown], age[grown], tall[grown])
        mass, floor = self._core.value("bmi", plain, sex[grown], age[grown], heavy[grown]), least[grown]
        # Who is lighter than that is a little heavier than that: no value is more common than its neighbours.
        bmi[grown] = np.where(mass < floor, floor + 0.02 + 0.3 * (floor - mass), mass)
        young = np.flatnonzero(age < _GROWN)
        by_chart = self._of_the_young(sex[young], age[young], tall[young], heavy[young])
        # Growing goes on a little after the charts end: from the chart at 18 to the adult's height at 21.
        blend = np.clip((age[young] - _CHARTED) / (_GROWN - _CHARTED), 0, 1)
        between = age[young] >= _CHARTED
        height[young] = np.where(
            between, by_chart["height"] * (1 - blend) + np.where(between, height[young], 0) * blend, by_chart["height"]
        )
        bmi[young] = np.where(
            between, by_chart["bmi"] * (1 - blend) + np.where(between, bmi[young], 0) * blend, by_chart["bmi"]
        )
        weight = bmi * (height / 100) ** 2
        infant = age[young] < _INFANT
        weight[young[infant]] = by_chart["weight"][infant]
        # What follows from other parts follows from the rounded ones, as people compute it.
        height, weight = np.round(height, 1), np.round(weight, 1)
        made = {"height": height, "weight": weight, "bmi": np.round(weight / (height / 100) ** 2, 1)}
        growth, months = self._growth, age[young] * 12
        for name in asked:
            if name in made:
                continue
            # Nobody asks for these of the grown.
            match name:
                case "head":
                    found = np.round(growth.value("head", sex[young], np.minimum(months, 35.9), head[young]), 1)
                case "bmi_percentile":
                    found = np.round(100 * normal.cdf(growth.score("bmi", sex[young], months, bmi[young])), 0)
                case _:
                    found = np.round(100 * normal.cdf(head[young]), 0)
            made[name] = np.full(len(age), np.nan)
            made[name][young] = found
        return made

    def _of_the_young(self, sex: Int, age: Float, tall: Float, heavy: Float) -> dict[str, Float]:
        """Return height, body mass index and (of infants) weight by the charts."""
        months, growth = age * 12, self._growth
        infant = np.flatnonzero(age < _INFANT)
        height = growth.value("height", sex, months, tall)
        height[infant] = growth.value("length", sex[infant], months[infant], tall[infant])
        weight = np.full(len(age), np.nan)
        score = 0.6 * tall[infant] + 0.8 * heavy[infant]
        weight[infant] = growth.value("weight_infant", sex[infant], months[infant], score)
        return {"height": height, "weight": weight, "bmi": growth.value("bmi", sex, months, np.clip(heavy, -3, 3))}


def mixed(own: Float, patient: Int, turns: Float, phases: Float, noise: Float, drift: Float, rest: Float) -> Float:
    """Return ``own[p] + (turns @ phases[p]) @ drift + noise @ rest`` for the person p of each row.

    Not by a library of linear algebra: for twelve measures its threads wait longer than they work, and its last bits
    depend on the machine.

    Parameters
    ----------
    own : float64[n, m]
    patient : int64[v]
    turns : float64[v, w]
    phases : float64[n, w, m]
    noise : float64[v, m]
    drift, rest : float64[m, m]
        Upper triangles: what stands below the diagonal is not read.

    Returns
    -------
    float64[v, m]
    """
    native = compiled()
    if native is not None:
        values = np.empty(noise.shape)
        arrays = (own, patient, turns, phases, noise, drift, rest, values)
        native.mixed(*map(np.ascontiguousarray, arrays))
        return values
    values = own[patient]
    waves = np.zeros(noise.shape)
    for wave in range(turns.shape[1]):
        waves += turns[:, wave, None] * phases[:, wave][patient]
    for scores, factor in ((waves, drift), (noise, rest)):
        for measure in range(len(factor)):
            values[:, measure:] += scores[:, measure, None] * factor[measure, measure:]
    return values
