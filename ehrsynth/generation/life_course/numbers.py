"""The numbers: quantiles of the population read at a score that is partly the person's own and drifts slowly.

The score of a measure for person p at time t is ``sqrt(own) u_p + sqrt(drift) d_p(t) + sqrt(rest) e``: u and e are
correlated between measures, d is a stationary process with a correlation of years (a sum of three cosines of random
period and phase: Rahimi and Recht 2007). The value is the quantile of that score among people of the same sex, age and
stratum (treated or not, diabetic or not), so that margins are met and a treatment moves the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, Lives
from ehrsynth.generation.life_course.quantiles import CoreQuantiles
from ehrsynth.generation.life_course.requirements import STATES
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.probability import normal

__all__ = ["BodySampler", "CoreSampler", "Growth", "Scores"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

Bool = npt.NDArray[np.bool_]

_CLASSES = ((STATES.index("bmi40"), 40.0), (STATES.index("bmi35"), 35.0), (STATES.index("bmi30"), 30.0))
"""Class of obesity and its least body mass index (WHO 2000)."""
_WAVES = 3
_PERIODS = (7.0, 26.0)


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
        self._factor = np.linalg.cholesky(self._correlation).T
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
        drift = (np.cos(turn[:, None, :] + phase[patient]).sum(axis=2) * np.sqrt(2 / _WAVES)) @ self._factor
        noise = rng.standard_normal((len(wanted), m)) @ self._factor
        rest = np.sqrt(1 - self._own - self._drift)
        values = np.sqrt(self._own) * own[patient] + np.sqrt(self._drift) * drift + rest * noise
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
        found = table[sex, low] * (1 - part) + table[sex, low + 1] * part
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

    def sizes(self, sex: Int, age: Float, tall: Float, heavy: Float, head: Float, least: Float) -> dict[str, Float]:
        """Return sizes at an age in years, from scores of height, body mass and head; centimetres, kilograms.

        `least` is what the body mass index of a grown person is at least (see `least`).
        """
        months = age * 12
        infant = age < 2
        growth = self._growth
        infant_weight = 0.6 * tall + 0.8 * heavy
        length = growth.value("length", sex, months, tall)
        height = np.where(infant, length, growth.value("height", sex, months, tall))
        adult_height = self._core.value("height", np.zeros_like(sex), sex, age, tall)
        # Growing goes on a little after the charts end: from the chart at 18 to the adult's height at 21.
        blend = np.clip((age - 18) / 3, 0, 1)
        height = np.where(age < 18, height, height * (1 - blend) + adult_height * blend)
        bmi_child = growth.value("bmi", sex, months, np.clip(heavy, -3, 3))
        bmi_adult = self._core.value("bmi", np.zeros_like(sex), sex, age, heavy)
        # Who is lighter than that is a little heavier than that: no value is more common than its neighbours.
        bmi_adult = np.where(bmi_adult < least, least + 0.02 + 0.3 * (least - bmi_adult), bmi_adult)
        bmi = np.where(age < 18, bmi_child, bmi_child * (1 - blend) + bmi_adult * blend)
        weight = bmi * (height / 100) ** 2
        weight = np.where(infant, growth.value("weight_infant", sex, months, infant_weight), weight)
        # What follows from other parts follows from the rounded ones, as people compute it.
        height, weight = np.round(height, 1), np.round(weight, 1)
        return {
            "height": np.asarray(height, dtype=np.float64),
            "weight": weight,
            "bmi": np.round(weight / (height / 100) ** 2, 1),
            "head": np.round(growth.value("head", sex, np.minimum(months, 35.9), head), 1),
            "bmi_percentile": np.round(100 * normal.cdf(growth.score("bmi", sex, months, bmi)), 0),
            "head_percentile": np.round(100 * normal.cdf(np.asarray(head, dtype=np.float64)), 0),
        }
