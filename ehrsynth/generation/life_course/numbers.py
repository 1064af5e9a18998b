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
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.probability import normal

__all__ = ["BodySampler", "CoreSampler", "Growth", "Scores"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_WAVES = 3
_PERIODS = (7.0, 26.0)
_GROWN = 20


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


class CoreSampler:
    """The core measures of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        core = model.listing("core")
        self.names = core.text["key"]
        self._own, self._drift = core.number["own"], core.number["drift"]
        self._factor = np.linalg.cholesky(model.array("core_correlation")).T
        self._quantiles = model.array("core_quantiles")
        self._knots = model.array("core_ages")
        self._z = model.array("core_scores")
        self._decimals = core.integers("decimals")

    def scores(self, lives: Lives, schedule: Schedule, wanted: Int, shift: Float, rng: np.random.Generator) -> Scores:
        """Return the scores at the encounters `wanted`; `shift` [n] moves people's own score of body mass."""
        n, m = len(lives), len(self.names)
        own = rng.standard_normal((n, m)) @ self._factor
        bmi = self.names.index("bmi")
        own[:, bmi] = np.where(np.isnan(shift), own[:, bmi], shift)
        period = rng.uniform(*_PERIODS, (n, _WAVES)) * DAYS_PER_YEAR
        phase = rng.random((n, m, _WAVES)) * 2 * np.pi
        patient = schedule.patient[wanted]
        turn = schedule.day[wanted, None] * (2 * np.pi / period[patient])
        drift = (np.cos(turn[:, None, :] + phase[patient]).sum(axis=2) * np.sqrt(2 / _WAVES)) @ self._factor
        noise = rng.standard_normal((len(wanted), m)) @ self._factor
        rest = np.sqrt(1 - self._own - self._drift)
        values = np.sqrt(self._own) * own[patient] + np.sqrt(self._drift) * drift + rest * noise
        row = np.full(len(schedule), -1, dtype=np.int64)
        row[wanted] = np.arange(len(wanted))
        return Scores(row=row, values=values)

    def value(self, measure: str, stratum: Int, sex: Int, age: Float, score: Float) -> Float:
        """Return the values of a measure: the quantile of `score`, linear in age and score."""
        m = self.names.index(measure)
        table = self._quantiles[m]
        a = np.clip(np.searchsorted(self._knots, age, side="right") - 1, 0, len(self._knots) - 2)
        x = np.clip((age - self._knots[a]) / (self._knots[a + 1] - self._knots[a]), 0, 1)
        step = self._z[1] - self._z[0]
        place = np.clip((score - self._z[0]) / step, 0, len(self._z) - 1.000001)
        z = place.astype(np.int64)
        y = place - z
        low = table[stratum, sex, a, z] * (1 - y) + table[stratum, sex, a, z + 1] * y
        high = table[stratum, sex, a + 1, z] * (1 - y) + table[stratum, sex, a + 1, z + 1] * y
        found: Float = low * (1 - x) + high * x
        return found


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
        self._classes = [
            [chronic.index(key) for key in keys if key in chronic]
            for keys in (("overweight",), ("obesity",), ("obesity_severe",))
        ]

    def strata(self, onset: Int, patient: Int, day: Int) -> Int:
        """Return the class of body mass that a person is known to have on a day."""
        found = np.zeros(len(patient), dtype=np.int64)
        for level, keys in enumerate(self._classes, start=1):
            for key in keys:
                found = np.where(onset[patient, key] <= day, level, found)
        return found

    def shift(self, lives: Lives, model: LifeCourseModel, rng: np.random.Generator) -> Float:
        """Return the own score of body mass of children (NaN for others): those who are known as obese are heavier."""
        keys = [key for level in self._classes[1:] for key in level]
        prevalence = model.array("prevalence")[:, keys].sum(axis=1)
        share = np.clip(prevalence[lives.sex, np.minimum(lives.age, _GROWN - 1)], 0.0, 0.5)
        obese = lives.has[:, keys].any(axis=1)
        u = np.clip(rng.random(len(lives)), 1e-6, 1 - 1e-6)
        rank = np.where(obese, 1 - share * u, (1 - share) * u)
        return np.where(lives.age < _GROWN, normal.quantile(np.clip(rank, 1e-6, 1 - 1e-6)), np.nan)

    def sizes(self, sex: Int, age: Float, tall: Float, heavy: Float, head: Float, stratum: Int) -> dict[str, Float]:
        """Return sizes at an age in years, from scores of height, body mass and head; centimetres, kilograms."""
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
        bmi_adult = self._core.value("bmi", stratum, sex, age, heavy)
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
