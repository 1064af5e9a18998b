"""The value of everything that is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.encounters import DAY
from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.measured import Measured
from ehrsynth.generation.life_course.numbers import BodySampler, CoreSampler, Scores
from ehrsynth.generation.life_course.orders import Orders
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.generation.life_course.segments import distinct
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["ValueSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_SIZES = ("height", "weight", "bmi", "head", "bmi_percentile", "head_percentile")
_FARTHEST = 7.0
_PRESSURE = ("ace", "arb", "beta", "ccb", "thz", "bp")


@dataclass(frozen=True, kw_only=True)
class _Here:
    """The rows of one measure: encounter, person, sex, exact age and day."""

    rows: Int
    visit: Int
    patient: Int
    sex: Int
    age: Float
    day: Int


class ValueSampler:
    """The labs of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        labs, effects = model.listing("labs"), model.listing("lab_effects")
        self._model = model
        self._core = CoreSampler(model)
        self._body = BodySampler(model, self._core)
        names = labs.text["core"]
        self.measures = tuple(dict.fromkeys(name for name in names if name))
        self._measure = np.array([self.measures.index(name) if name else -1 for name in names], dtype=np.int64)
        self._code = labs.integers("code_number")
        self._n_codes = int(self._code.max(initial=-1)) + 1
        # The mean and the standard deviation, or, of what is skewed, those of its logarithm.
        mean, sd = labs.number["mean"], np.maximum(labs.number["sd"], 1e-12)
        self._log = np.array([name == "lognormal" for name in labs.text["skew"]], dtype=bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            width = np.log1p((sd / mean) ** 2)
            self._place = np.where(self._log, np.log(np.maximum(mean, 1e-9)) - width / 2, mean)
            self._width = np.where(self._log, np.sqrt(width), sd)
        self._floor = np.where(np.isnan(labs.number["floor"]), -np.inf, labs.number["floor"])
        self._ceiling = np.where(np.isnan(labs.number["ceiling"]), np.inf, labs.number["ceiling"])
        self._own = np.clip(labs.number["person_share"], 0, 1)
        self._decimals = labs.integers("decimals")
        chronic = model.listing("chronic").text["key"]
        self._n_chronic = len(chronic)
        self._diabetes = [at for at, key in enumerate(chronic) if key in ("diabetes_type1", "diabetes_type2")]
        classes = model.listing("classes").text["key"]
        self._statin = classes.index("statin")
        self._pressure = [classes.index(name) for name in _PRESSURE if name in classes]
        self._hypertension = chronic.index("hypertension")
        plain = np.isnan(labs.number["mean"])
        self._plain = ~plain
        self._effects = [
            (code, int(owner), shift, factor)
            for code, owner, shift, factor in zip(
                effects.integers("code_number"),
                effects.integers("owner"),
                effects.number["shift"],
                effects.number["sd_factor"],
                strict=True,
            )
            if code >= 0 and owner >= 0
        ]

    def draw(
        self,
        lives: Lives,
        episodes: Episodes,
        onset: Int,
        schedule: Schedule,
        seen: Int,
        orders: Orders,
        measured: Measured,
        rng: np.random.Generator,
    ) -> Float:
        """Return the value of each observation; NaN where none is known."""
        kidney = lives.kidney
        visit, row, _ = measured
        measure = self._measure[row]
        value = self._general(lives, episodes, onset, schedule, seen, visit, row, rng)
        core_rows = np.flatnonzero(measure >= 0)
        wanted = distinct(visit[core_rows])
        shift = self._body.shift(lives, self._model, rng)
        scores = self._core.scores(lives, schedule, wanted, shift, rng)
        spare = rng.standard_normal((4, len(wanted)))
        heads = rng.standard_normal(len(lives))
        order = core_rows[np.argsort(measure[core_rows], kind="stable")]
        edges = np.searchsorted(measure[order], np.arange(len(self.measures) + 1))
        known = scores.row[visit]
        sizes = self._sizes(lives, onset, schedule, wanted, scores, heads)
        for number, name in enumerate(self.measures):
            rows = order[edges[number] : edges[number + 1]]
            if not len(rows):
                continue
            patient = schedule.patient[visit[rows]]
            here = _Here(
                rows=rows,
                visit=visit[rows],
                patient=patient,
                sex=lives.sex[patient],
                age=(schedule.day[visit[rows]] - lives.birth_day[patient]) / DAYS_PER_YEAR,
                day=schedule.encounters.start[visit[rows]] // DAY,
            )
            at = known[rows]
            if name in _SIZES:
                value[rows] = sizes[name][at]
            else:
                value[rows] = self._of(name, here, scores.values[at], onset, orders, kidney, spare[:, at])
        decimals = self._decimals[row]
        scale = 10.0**decimals
        return np.round(np.clip(value, self._floor[row], self._ceiling[row]) * scale) / scale

    def _sizes(
        self, lives: Lives, onset: Int, schedule: Schedule, wanted: Int, scores: Scores, heads: Float
    ) -> dict[str, Float]:
        """Return the sizes at the encounters `wanted`: they fit each other and are made once for all measures."""
        if not any(name in _SIZES for name in self.measures):
            return {}
        patient, day = schedule.patient[wanted], schedule.day[wanted]
        tall, heavy = (scores.values[:, self._core.names.index(key)] for key in ("height", "bmi"))
        age = (day - lives.birth_day[patient]) / DAYS_PER_YEAR
        stratum = self._body.strata(onset, patient, day)
        return self._body.sizes(lives.sex[patient], age, tall, heavy, heads[patient], stratum)

    def _of(
        self, name: str, here: _Here, scores: Float, onset: Int, orders: Orders, kidney: Bool, spare: Float
    ) -> Float:
        """Return the values of a measure that has quantiles, or follows from some that have."""

        def quantile(measure: str) -> Float:
            at = self._core.names.index(measure)
            stratum = self._stratum(measure, here, onset, orders, kidney)
            return self._core.value(measure, stratum, here.sex, here.age, scores[:, at])

        match name:
            case "tc":
                # The parts make the whole: very low density lipoprotein is a fifth of the triglycerides.
                ldl, hdl, tg = (np.round(quantile(part)) for part in ("ldl", "hdl", "tg"))
                return ldl + hdl + np.minimum(tg, 400) / 5.5
            case "non_hdl":
                return np.round(quantile("ldl")) + np.minimum(np.round(quantile("tg")), 400) / 5.5
            case "vldl":
                return np.minimum(np.round(quantile("tg")), 400) / 5.5
            case "glucose_fasting" | "glucose":
                # Average glucose (Nathan 2008, A1c-Derived Average Glucose study), lower when fasting.
                mean = 28.7 * quantile("a1c") - 46.7
                fasting = 0.86 * mean + 3.0
                wide = 0.075 if name == "glucose_fasting" else 0.14
                between = 0.5 * (fasting + mean) if name == "glucose" else fasting
                return np.asarray(between * np.exp(wide * spare[0]))
            case "average_glucose":
                return 28.7 * np.round(quantile("a1c"), 1) - 46.7
            case "creatinine":
                return _creatinine(quantile("egfr"), here.sex, here.age)
            case "albumin_urine":
                return np.asarray(np.round(quantile("acr"), 1) * np.exp(0.5 * spare[1]) * 1.1)
            case "sbp" | "dbp":
                # A reading is the last mark that the pressure reached: 130 or more is 130 or more before rounding too.
                return np.floor(quantile(name))
            case _:
                return quantile(name)

    def _stratum(self, measure: str, here: _Here, onset: Int, orders: Orders, kidney: Bool) -> Int:
        patient, day = here.patient, here.day
        match measure:
            case "sbp" | "dbp":
                known = onset[patient, self._hypertension] <= day
                treated = orders.since[patient][:, self._pressure].min(axis=1) <= day
                return np.where(known, np.where(treated, 2, 1), 0)
            case "ldl":
                return np.asarray(orders.since[patient, self._statin] <= day, dtype=np.int64)
            case "hdl" | "tg" | "a1c":
                begun = onset[patient][:, self._diabetes].min(axis=1) if self._diabetes else np.full(len(day), NEVER)
                return (begun <= day).astype(np.int64)
            case "egfr" | "acr":
                return np.asarray(kidney[patient, 0 if measure == "egfr" else 1], dtype=np.int64)
        return np.zeros(len(day), dtype=np.int64)

    def _general(
        self,
        lives: Lives,
        episodes: Episodes,
        onset: Int,
        schedule: Schedule,
        seen: Int,
        visit: Int,
        row: Int,
        rng: np.random.Generator,
    ) -> Float:
        """Return the values of what has a mean and a standard deviation, moved by illnesses."""
        code = self._code[row]
        patient = schedule.patient[visit]
        own = rng.standard_normal((len(lives), max(self._n_codes, 1)))[patient, code]
        noise = rng.standard_normal(len(row))
        share = self._own[row]
        score = np.sqrt(share) * own + np.sqrt(1 - share) * noise
        factor = np.ones(len(row))
        # By code, so that the rows of an effect lie side by side; numpy sorts small numbers by their digits.
        order = np.argsort(code.astype(np.int16) if self._n_codes < 1 << 15 else code, kind="stable")
        edges = np.searchsorted(code[order], np.arange(self._n_codes + 1))
        ordered_patient, ordered_day, ordered_visit = patient[order], schedule.day[visit][order], visit[order]
        acute = self._acute_visits(episodes, schedule, seen)
        shift = np.zeros(len(row))
        for number, owner, by, wider in self._effects:
            begin, end = edges[number], edges[number + 1]
            if begin == end:
                continue
            if owner < self._n_chronic:
                has = onset[:, owner][ordered_patient[begin:end]] <= ordered_day[begin:end]
            elif len(acute[0]):
                key = ordered_visit[begin:end] * acute[1] + owner
                at = np.minimum(np.searchsorted(acute[0], key), len(acute[0]) - 1)
                has = acute[0][at] == key
            else:
                continue
            # Few have it.
            rows = order[begin:end][has]
            shift[rows] += by
            factor[rows] *= wider
        score = np.clip(score * factor + shift, -_FARTHEST, _FARTHEST)
        value: Float = self._place[row] + self._width[row] * score
        np.exp(value, out=value, where=self._log[row])
        return value

    def _acute_visits(self, episodes: Episodes, schedule: Schedule, seen: Int) -> tuple[Int, int]:
        """Return the sorted keys of encounters in which an acute illness is seen, and their base."""
        base = int(episodes.problem.max(initial=0)) + 1
        base = max(base, self._n_chronic + len(self._model.listing("acute")))
        known = np.flatnonzero((seen >= 0) & (episodes.problem >= self._n_chronic))
        return np.sort(seen[known] * base + episodes.problem[known]), base


def _creatinine(rate: Float, sex: Int, age: Float) -> Float:
    """Return serum creatinine in mg/dL from a filtration rate: the CKD-EPI 2021 equation solved for it."""
    kappa, alpha = np.where(sex == 0, 0.7, 0.9), np.where(sex == 0, -0.241, -0.302)
    years = np.maximum(age, 18)
    base = np.maximum(rate, 4.0) / (142 * 0.9938**years * np.where(sex == 0, 1.012, 1.0))
    above = base < 1
    ratio = np.where(above, base ** (1 / -1.2), base ** (1 / alpha))
    # Children make less of it.
    grown = np.clip(0.35 + 0.65 * age / 18, 0.3, 1.0)
    return np.asarray(np.clip(kappa * ratio, 0.25, 15.0) * grown)
