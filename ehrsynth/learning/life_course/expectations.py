"""What patients of the model must show: published numbers, written beside the model by its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ehrsynth.learning.life_course.associations import survey_odds_ratio
from ehrsynth.learning.life_course.nhanes import Survey
from ehrsynth.learning.life_course.population import Vital
from ehrsynth.model.life_course import SEXES

__all__ = ["published"]

_OLDEST = 110
_WORDS = {"Women": "female", "Men": "male", "Female": "female", "Male": "male"}
_PREVALENCE = {
    "htn_aware": "hypertension",
    "cc_diabetes": "diabetes",
    "cc_ckd": "ckd",
    "cc_cvd_mi": "mi",
    "cc_cvd_chd": "chd",
    "cc_cvd_stroke": "stroke",
    "cc_cvd_hf": "hf",
    "cc_cvd_any": "cvd_any",
    "bp_med_use": "bp_med_use",
    "bp_med_ace": "ace",
    "bp_med_angioten": "arb",
    "bp_med_beta": "beta",
    "bp_med_ccb": "ccb",
    "bp_med_diur_thz": "thz",
    "chol_med_statin": "statin",
    "htn_jnc7": "htn_jnc7",
    "htn_accaha": "htn_accaha",
    "chol_total_gteq_240": "chol_total_gteq_240",
}
_MEASURES = {
    "bp_sys_mean": "sbp",
    "bp_dia_mean": "dbp",
    "chol_total": "tc",
    "chol_hdl": "hdl",
    "chol_ldl": "ldl",
    "chol_trig": "tg",
    "cc_hba1c": "a1c",
    "cc_egfr": "egfr",
    "cc_acr": "acr",
}
_PAIRS = (
    ("htn", "diabetes"),
    ("htn", "ckd"),
    ("diabetes", "ckd"),
    ("htn", "chd"),
    ("htn", "mi"),
    ("htn", "stroke"),
    ("htn", "hf"),
    ("diabetes", "chd"),
    ("diabetes", "mi"),
    ("diabetes", "stroke"),
    ("diabetes", "hf"),
    ("ckd", "chd"),
    ("ckd", "mi"),
    ("ckd", "stroke"),
    ("ckd", "hf"),
    ("chd", "stroke"),
    ("chd", "hf"),
    ("mi", "stroke"),
    ("mi", "hf"),
    ("stroke", "hf"),
)
# CDC, National Immunization Survey-Child: children born in 2020, by 24 months (MMWR 72:1190); as in content/.
_VACCINES = (
    ("DTaP", 4, 0.804),
    ("polio", 3, 0.925),
    ("MMR", 1, 0.908),
    ("Hib", 3, 0.788),
    ("hepatitis B", 3, 0.916),
    ("varicella", 1, 0.903),
    ("pneumococcal", 4, 0.82),
)
# Share of the rows or people that a rule is about (`evaluation.population_sense`) which may break it.
_IMPLAUSIBLE = {
    "drug without a reason": 0.001,
    "two drugs of a class at once": 0.002,
    "drug that is not borne": 0.002,
    "daily dose above the largest": 0.001,
    "drug of another age": 0.002,
    "value that nobody lives with": 0.0005,
    "child that shrinks": 0.005,
    "adult's weight that jumps": 0.01,
    "report that does not add up": 0.005,
    "planned visit while closed": 0.002,
    "underweight with type 2 diabetes": 0.01,
    "obesity without the weight": 0.01,
    "class of obesity that the weight denies": 0.01,
    "adult's height that changes": 0.005,
    "status as the reason of a visit": 0.005,
    "diabetes found at a normal HbA1c": 0.03,
    "kidney stage that the rate denies": 0.05,
    "lasting disease that ends": 0.005,
    "disease of old age in the young": 0.002,
    "diseases that exclude each other": 0.005,
    "joint replaced before 40": 0.02,
    "vaccine out of schedule": 0.002,
    "harmful drug in pregnancy": 0.01,
    "delivery that contradicts itself": 0.005,
}
_ADMINISTRATIVE = "Z00 Z01 Z02 Z09 Z12 Z13 Z23 Z34 Z36 Z37 Z39 Z76"


def published(data: Path, vital: Vital, found: Survey) -> list[dict[str, Any]]:
    """Return the expectations of the model, from the published statistics in `data`."""
    return [*_people(vital), *_prevalence(data), *_measures(data), *_visits(data), *_odds(found), *_rest()]


def _people(vital: Vital) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    total = vital.living.sum()
    for s, sex in enumerate(SEXES):
        for low in range(0, 90, 5):
            high = low + 4 if low < 85 else _OLDEST
            share = float(vital.living[s, low : high + 1].sum() / total)
            rows.append(
                {"statistic": "share of people", "sex": sex, "age": [low, high], "value": round(share, 6)}
                | {"relative": 0.01, "source": "Census Bureau, Vintage 2024"}
            )
    for s, sex in enumerate(SEXES):
        alive = np.exp(-np.concatenate([[0.0], np.cumsum(vital.death_rate[s])]))
        years = float((alive[:-1] + alive[1:]).sum() / 2)
        rows.append(
            {"statistic": "life expectancy", "sex": sex, "value": round(years, 2), "within": 0.5}
            | {"source": "HMD, period life table 2022"}
        )
    return rows


def _band(text: str) -> list[int]:
    low, _, high = text.replace("+", "-").partition("-")
    return [int(low), int(high) if high else _OLDEST]


def _prevalence(data: Path) -> list[dict[str, Any]]:
    import pandas as pd

    frame = pd.read_csv(data / "stats" / "nhanes2017_2020_prevalence_age_sex.csv")
    columns = (frame[name] for name in ("variable", "sex", "age", "weighted_prevalence", "n"))
    rows = []
    for variable, sex, age, share, n in zip(*columns, strict=True):
        spread = 1.96 * (share * (1 - share) / n) ** 0.5
        rows.append(
            {"statistic": "prevalence", "of": _PREVALENCE[variable], "sex": _WORDS[sex], "age": _band(age)}
            | {"value": round(float(share), 4), "relative": 0.1, "within": round(float(spread), 4)}
            | {"source": f"NHANES 2017-2020, {variable}"}
        )
    return rows


def _measures(data: Path) -> list[dict[str, Any]]:
    import pandas as pd

    frame = pd.read_csv(data / "stats" / "nhanes2017_2020_lab_vital_age_sex.csv")
    rows = []
    for _, row in frame.iterrows():
        for statistic in ("mean", "p05", "p50", "p95"):
            rows.append(
                {"statistic": statistic, "of": _MEASURES[row["variable"]], "sex": _WORDS[row["sex"]]}
                | {"age": _band(row["age"]), "value": float(f"{row[statistic]:.5g}"), "relative": 0.05}
                | {"source": f"NHANES 2017-2020, {row['variable']}"}
            )
    return rows


def _visits(data: Path) -> list[dict[str, Any]]:
    import pandas as pd

    frame = pd.read_csv(data / "stats" / "namcs2019_visit_rate_age_sex.csv")
    bands = {"Under 15 years": [0, 14], "75 years and over": [75, _OLDEST]}
    bands |= {age: _band(age.split()[0]) for age in frame["AGER"] if "-" in age}
    return [
        {"statistic": "visits a year", "sex": _WORDS[sex], "age": bands[age]}
        | {"value": round(rate / 100, 3), "relative": 0.1, "source": "NAMCS 2019, office visits"}
        for age, sex, rate in zip(frame["AGER"], frame["SEX"], frame["visits_per_100"], strict=True)
    ]


def _odds(found: Survey) -> list[dict[str, Any]]:
    names = {"htn": "hypertension"}
    return [
        {"statistic": "odds ratio", "of": names.get(a, a), "with": names.get(b, b)}
        | {"value": round(survey_odds_ratio(found, a, b), 2), "factor": 1.5}
        | {"source": "NHANES 2009-2020, given sex and age (Mantel-Haenszel)"}
        for a, b in _PAIRS
    ]


def _rest() -> list[dict[str, Any]]:
    near = "issue: must reach"
    rows: list[dict[str, Any]] = [
        {"statistic": "share in range", "of": "a1c", "with": "diabetes", "range": [5.0, 13.0]}
        | {"value": 1.0, "within": 0.05},
        {"statistic": "correlation", "of": "glucose", "value": 0.85, "within": 0.15},
        {"statistic": "correlation", "of": "pressure", "value": 0.55, "within": 0.15},
        {"statistic": "correlation", "of": "weight", "value": 0.975, "within": 0.025},
        {"statistic": "correlation", "of": "ldl", "value": 0.8, "within": 0.2},
        {"statistic": "correlation", "of": "sbp", "value": 0.75, "within": 0.25},
    ]
    for name in ("height", "weight", "bmi", "head"):
        for statistic, value in (("growth mean", 0.0), ("growth deviation", 1.0)):
            row = {"statistic": statistic, "of": name, "value": value, "within": 0.1}
            rows.append({**row, "source": "CDC growth charts"})
    rows += [
        {"statistic": "immunised by two", "of": name, "doses": doses, "value": share, "within": 0.05}
        | {"source": "NIS-Child, children born in 2020"}
        for name, doses, share in _VACCINES
    ]
    rows += [
        {"statistic": "quality measure", "of": name, "value": value, "relative": 0.15}
        for name, value in (("colorectal", 0.773), ("copd", 0.07), ("joint", 0.029), ("blood pressure", 0.745))
    ]
    rows += [
        {"statistic": "impossible rows", "of": name, "value": 0, "within": 0}
        for name in ("before birth", "after death", "impossible for sex", "impossible for age", "duplicated")
    ]
    rows += [
        {"statistic": "implausible", "of": name, "value": 0, "within": share}
        | {"source": "assumption: what a physician would bear with"}
        for name, share in _IMPLAUSIBLE.items()
    ]
    rows += [
        {"statistic": "largest share of one value", "of": name, "value": 0.0, "within": 0.15}
        for name in ("AMB", "EMER", "IMP", "time", "gap")
    ]
    rows += [
        {"statistic": "distinct codes", "value": 75000, "within": 73500},
        {"statistic": "share of codes", "of": _ADMINISTRATIVE, "value": 0.0, "within": 0.05},
    ]
    return [row if "source" in row else {**row, "source": near} for row in rows]
