"""The value of everything that is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.agreement import agree
from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.laboratory import GeneralSampler
from ehrsynth.generation.life_course.measured import Measured
from ehrsynth.generation.life_course.numbers import BodySampler, CoreSampler, Scores
from ehrsynth.generation.life_course.orders import Orders
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.pregnancies import Findings, Pregnancies
from ehrsynth.generation.life_course.requirements import STATES
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.generation.life_course.segments import distinct, edges_of, order_of
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["ValueSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_SIZES = ("height", "weight", "bmi", "head", "bmi_percentile", "head_percentile")
_NEWLY = 60
_HIGH_A1C = 13.0
_FAILING = 12.0
"""Millilitres a minute that the filtration rate falls in a year before dialysis. Assumption: after O'Hare 2012."""
_STAGES = ((STATES.index("gfr30"), 50.0), (STATES.index("gfr15"), 35.0))
"""Stage 3b and 4 of kidney disease, and what the filtration rate then hardly exceeds, in mL/min/1.73 m2."""
_FOUND_AT = {"sbp": 131.0, "dbp": 78.0}
"""What leads to the diagnosis of high pressure, in mm[Hg] (ACC/AHA 2017: 130/80)."""
_ECLAMPSIA = {"sbp": 140.0, "dbp": 88.0}
"""High pressure of pregnancy (ACOG 2020: 140/90)."""
_PRESSURE = ("ace", "arb", "beta", "ccb", "thz", "bp")
_PARTS = {
    "tc": ("ldl", "hdl", "tg"),
    "non_hdl": ("ldl", "tg"),
    "vldl": ("tg",),
    "glucose_fasting": ("a1c",),
    "glucose": ("a1c",),
    "average_glucose": ("a1c",),
    "creatinine": ("egfr",),
    "albumin_urine": ("acr",),
}
"""What measures follow from; the others are quantiles themselves."""


@dataclass(frozen=True, kw_only=True)
class _Here:
    """Encounters at which something is measured: rows of the scores, person, sex, exact age and day."""

    at: Int
    patient: Int
    sex: Int
    age: Float
    day: Int

    def take(self, rows: Int) -> _Here:
        return _Here(
            at=self.at[rows], patient=self.patient[rows], sex=self.sex[rows], age=self.age[rows], day=self.day[rows]
        )


class ValueSampler:
    """The labs of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        labs = model.listing("labs")
        self._model = model
        self._core = CoreSampler(model)
        self._body = BodySampler(model, self._core)
        names = labs.text["core"]
        self.measures = tuple(dict.fromkeys(name for name in names if name))
        self._measure = np.array([self.measures.index(name) if name else -1 for name in names], dtype=np.int64)
        self._code = labs.integers("code_number")
        self._loinc = tuple(dict.fromkeys(labs.text["loinc"]))
        self._floor = np.where(np.isnan(labs.number["floor"]), -np.inf, labs.number["floor"])
        self._ceiling = np.where(np.isnan(labs.number["ceiling"]), np.inf, labs.number["ceiling"])
        self._decimals = labs.integers("decimals")
        self._scale = 10.0**self._decimals
        chronic = model.listing("chronic").text["key"]
        self._n_chronic = len(chronic)
        self._diabetes = [at for at, key in enumerate(chronic) if key in ("diabetes_type1", "diabetes_type2")]
        classes = model.listing("classes").text["key"]
        self._statin = classes.index("statin")
        self._pressure = [classes.index(name) for name in _PRESSURE if name in classes]
        self._hypertension = chronic.index("hypertension")
        self._ckd = chronic.index("ckd")
        self._dialysis = chronic.index("dialysis") if "dialysis" in chronic else None
        self._foreseen = {
            **dict.fromkeys(("sbp", "dbp"), ([self._hypertension], 6.0)),
            **dict.fromkeys(("a1c", "tg", "hdl"), (self._diabetes, 5.0)),
            **dict.fromkeys(("egfr", "acr"), ([self._ckd], 10.0)),
        }
        self._lipids, self._prediabetes = chronic.index("hyperlipidemia"), chronic.index("prediabetes")
        self._general = GeneralSampler(model)

    def draw(
        self,
        lives: Lives,
        episodes: Episodes,
        onset: Int,
        schedule: Schedule,
        seen: Int,
        orders: Orders,
        measured: Measured,
        pregnancies: Pregnancies,
        findings: Findings,
        rng: np.random.Generator,
    ) -> Float:
        """Return the value of each observation; NaN where none is known."""
        visit, row, _ = measured
        measure = self._measure[row]
        value = self._general.draw(lives, episodes, onset, schedule, seen, orders, visit, row, rng)
        core_rows = np.flatnonzero(measure >= 0)
        wanted = distinct(visit[core_rows])
        scores = self._core.scores(lives, schedule, wanted, rng)
        spare = rng.standard_normal((4, len(wanted)))
        heads = rng.standard_normal(len(lives))
        order = core_rows[order_of(measure[core_rows])]
        edges = edges_of(measure[core_rows], len(self.measures))
        known = scores.row[visit]
        toxic = findings.high_pressure(len(schedule))[wanted]
        patient = schedule.patient[wanted]
        everywhere = _Here(
            at=np.arange(len(wanted)),
            patient=patient,
            sex=lives.sex[patient],
            age=(schedule.day[wanted] - lives.birth_day[patient]) / DAYS_PER_YEAR,
            day=schedule.day[wanted],
        )
        sizes = self._sizes(lives, onset, everywhere, scores, heads, pregnancies)
        by_measure = {
            name: order[edges[number] : edges[number + 1]]
            for number, name in enumerate(self.measures)
            if edges[number] < edges[number + 1]
        }
        needed: dict[str, Bool] = {}
        for name, rows in by_measure.items():
            for part in () if name in _SIZES else _PARTS.get(name, (name,)):
                needed.setdefault(part, np.zeros(len(wanted), dtype=bool))[known[rows]] = True
        # What several measures follow from is the same for all of them.
        quantiles = {
            part: self._quantile(part, everywhere.take(np.flatnonzero(asked)), scores, onset, orders, lives, spare)
            for part, asked in needed.items()
        }
        for name, rows in by_measure.items():
            at = known[rows]
            if name in _SIZES:
                value[rows] = sizes[name][at]
                continue
            parts = [quantiles[part][at] for part in _PARTS.get(name, (name,))]
            found = self._of(name, parts, everywhere, at, spare)
            if name in _ECLAMPSIA:
                high = toxic[at]
                found = np.where(high, np.maximum(found, np.floor(_ECLAMPSIA[name] + 7 * abs(spare[3, at]))), found)
            value[rows] = found
        native = compiled()
        if native is not None:
            native.rounded(row, self._floor, self._ceiling, self._scale, value)
        else:
            scale = self._scale[row]
            value = np.round(np.clip(value, self._floor[row], self._ceiling[row]) * scale) / scale
        agree(self._loinc, self._code[row], visit, value, self._decimals[row])
        return value

    def _sizes(
        self, lives: Lives, onset: Int, here: _Here, scores: Scores, heads: Float, pregnancies: Pregnancies
    ) -> dict[str, Float]:
        """Return the sizes at all encounters that have scores: they fit each other and are made once for all."""
        asked = [name for name in self.measures if name in _SIZES]
        if not asked:
            return {}
        tall, heavy = (scores.values[:, self._core.names.index(key)] for key in ("height", "bmi"))
        least = self._body.least(onset, lives.stages, here.patient, here.day)
        sizes = self._body.sizes(asked, here.sex, here.age, tall, heavy, heads[here.patient], least)
        # Two carry more than one.
        sizes["weight"] = np.round(sizes["weight"] + pregnancies.weight(lives, here.patient, here.day), 1)
        sizes["bmi"] = np.round(sizes["weight"] / (sizes["height"] / 100) ** 2, 1)
        return sizes

    def _quantile(
        self, measure: str, here: _Here, scores: Scores, onset: Int, orders: Orders, lives: Lives, spare: Float
    ) -> Float:
        """Return the quantiles of a measure by row of the scores; NaN elsewhere than `here`."""
        kidney = lives.kidney
        score = scores.values[here.at, self._core.names.index(measure)]
        stratum = self._stratum(measure, here, onset, orders, kidney)
        value = self._core.value(measure, stratum, here.sex, here.age, score)
        if measure in self._foreseen:
            # What leads to a diagnosis is there before, and grows.
            keys, years = self._foreseen[measure]
            ahead = _first(onset, keys)[here.patient] - here.day
            coming = np.clip(1 - ahead / (years * DAYS_PER_YEAR), 0, 1)
            near = np.flatnonzero((ahead > 0) & (coming > 0))
            soon, patient = here.take(near), here.patient[near]
            later = kidney[patient, 0 if measure == "egfr" else 1] if measure in ("egfr", "acr") else 1
            then = self._core.value(measure, np.zeros_like(patient) + later, soon.sex, soon.age, score[near])
            value[near] += coming[near] * (then - value[near])
        if measure == "egfr":
            # Whose stage is written down seldom is far above it.
            for stage, most in _STAGES:
                known = lives.stages[here.patient, stage] & (stratum == 1) & (value > most)
                value = np.where(known, most + 0.2 * (value - most), value)
            if self._dialysis is not None:
                # Kidneys that no longer suffice fail over years, and filter next to nothing afterwards.
                ahead = np.maximum(onset[here.patient, self._dialysis] - here.day, 0) / DAYS_PER_YEAR
                value = np.minimum(value, 5.0 + 0.06 * value + _FAILING * ahead)
        if measure == "a1c":
            value = np.where(stratum == 1, value, np.minimum(value, 6.4))
            # The tail beyond the 95th percentile is extrapolated: few live with more than 14 %.
            value = np.where(value > _HIGH_A1C, _HIGH_A1C + 0.35 * (value - _HIGH_A1C), value)
            # Who is newly found to have diabetes is found by it.
            new = self._newly(here, onset, self._diabetes, (0, _NEWLY))
            value = np.where(new, np.maximum(value, 6.5 + 0.8 * np.abs(spare[2, here.at])), value)
        if measure in _FOUND_AT:
            new = self._newly(here, onset, [self._hypertension], (-30, 7)) & (stratum < 2) & (here.age >= 18)
            value = np.where(new, np.maximum(value, _FOUND_AT[measure] + 8.0 * np.abs(spare[3, here.at])), value)
        found = np.full(len(scores.values), np.nan)
        found[here.at] = value
        return found

    def _of(self, name: str, parts: list[Float], everywhere: _Here, at: Int, spare: Float) -> Float:
        """Return the values of a measure from the quantiles that it follows from (`_PARTS`)."""
        match name:
            case "tc":
                # The parts make the whole: very low density lipoprotein is a fifth of the triglycerides.
                ldl, hdl, tg = (np.round(part) for part in parts)
                return ldl + hdl + np.minimum(tg, 400) / 5
            case "non_hdl":
                return np.round(parts[0]) + np.minimum(np.round(parts[1]), 400) / 5
            case "vldl":
                return np.minimum(np.round(parts[0]), 400) / 5
            case "glucose_fasting" | "glucose":
                # Average glucose (Nathan 2008, A1c-Derived Average Glucose study), lower when fasting.
                mean = 28.7 * parts[0] - 46.7
                fasting = 0.86 * mean + 3.0
                wide = 0.075 if name == "glucose_fasting" else 0.14
                between = 0.5 * (fasting + mean) if name == "glucose" else fasting
                return np.asarray(between * np.exp(wide * spare[0, at]))
            case "average_glucose":
                return 28.7 * np.round(parts[0], 1) - 46.7
            case "creatinine":
                return _creatinine(parts[0], everywhere.sex[at], everywhere.age[at])
            case "albumin_urine":
                return np.asarray(np.round(parts[0], 1) * np.exp(0.5 * spare[1, at]) * 1.1)
            case "sbp" | "dbp":
                # A reading is the last mark that the pressure reached: 130 or more is 130 or more before rounding too.
                return np.floor(parts[0])
            case _:
                return parts[0]

    def _newly(self, here: _Here, onset: Int, keys: list[int], days: tuple[int, int]) -> Bool:
        """Return whether the first of some conditions began so many days before (negative: after)."""
        since = here.day - _first(onset, keys)[here.patient]
        return np.asarray((since >= days[0]) & (since <= days[1]))

    def _stratum(self, measure: str, here: _Here, onset: Int, orders: Orders, kidney: Bool) -> Int:
        patient, day = here.patient, here.day
        match measure:
            case "sbp" | "dbp":
                known = onset[patient, self._hypertension] <= day
                # Treated is who has all of the drugs, from the day after the last was begun.
                since = orders.since[:, self._pressure]
                begun = np.where(since < NEVER, since, -NEVER).max(axis=1)[patient]
                treated = (begun > -NEVER) & (begun < day)
                return np.where(known, np.where(treated, 2, 1), 0)
            case "ldl":
                statin = orders.since[patient, self._statin] < day
                return np.where(statin, 1, np.where(onset[patient, self._lipids] <= day, 2, 0))
            case "a1c":
                sugar = _first(onset, self._diabetes)[patient] <= day
                return np.where(sugar, 1, np.where(onset[patient, self._prediabetes] <= day, 2, 0))
            case "hdl" | "tg":
                return (_first(onset, self._diabetes)[patient] <= day).astype(np.int64)
            case "egfr" | "acr":
                known = onset[patient, self._ckd] <= day
                return np.asarray(known & kidney[patient, 0 if measure == "egfr" else 1], dtype=np.int64)
        return np.zeros(len(day), dtype=np.int64)


def _first(onset: Int, keys: list[int]) -> Int:
    """Return the day on which the first of some conditions began in each person; `NEVER` for none."""
    return np.asarray(onset[:, keys].min(axis=1, initial=NEVER))


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
