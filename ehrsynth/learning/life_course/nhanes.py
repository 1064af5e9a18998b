"""NHANES: the cardiometabolic core of the network and of the numbers. Rows are read here and nowhere stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course import survey
from ehrsynth.learning.life_course.population import BAND_EDGES
from ehrsynth.probability import normal

__all__ = ["CORE", "STAT_EDGES", "Survey", "read_stats", "read_survey"]

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

STAT_EDGES = (18, 30, 40, 50, 60, 70, 80)
"""First age of the bands of published statistics."""
_STAT_BANDS = ("18-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80+")
_SEXES = ("Women", "Men")

CORE = {
    # measure: (column, stratum, skewed)
    "sbp": ("bp_sys_mean", "pressure", False),
    "dbp": ("bp_dia_mean", "pressure", False),
    "ldl": ("chol_ldl", "statin", False),
    "hdl": ("chol_hdl", "diabetes", True),
    "tg": ("chol_trig", "diabetes", True),
    "a1c": ("cc_hba1c", "diabetes", True),
    "egfr": ("cc_egfr", "low_gfr", False),
    "acr": ("cc_acr", "albuminuria", True),
}
"""What NHANES measured, and the stratum that each value depends on."""

_FLAGS = {
    "htn": "htn_aware",
    "bp": "bp_med_use",
    "ace": "bp_med_ace",
    "arb": "bp_med_angioten",
    "beta": "bp_med_beta",
    "ccb": "bp_med_ccb",
    "thz": "bp_med_diur_thz",
    "statin": "chol_med_statin",
    "diabetes": "cc_diabetes",
    "ckd": "cc_ckd",
    "mi": "cc_cvd_mi",
    "chd": "cc_cvd_chd",
    "stroke": "cc_cvd_stroke",
    "hf": "cc_cvd_hf",
    "low_gfr": "cc_egfr_lt60",
    "albuminuria": "cc_acr_gteq30",
}
_BODY = {"<25": 0, "25 to <30": 1, "30 to <35": 2, "35+": 3}
# Share of a body mass index of 40 and more among those of 35 and more, women and men: NHANES 2017-2018 (rounded).
_CLASS_3_AGES = (18, 40, 60, 75)
_CLASS_3 = ((0.50, 0.54, 0.38, 0.30), (0.42, 0.43, 0.37, 0.25))
# Ranks of children among their charts: those known as obese are the heaviest fifth (NHSR 158: 19.7 %).
_CHILDREN = (0.68, 0.12, 0.13, 0.04, 0.03)
_LATEST = "2017-2020"
_SINCE = 2009


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Adults of NHANES 2009-2020.

    Attributes
    ----------
    weight : float64[n]
        Cycles weigh the same.
    latest : bool[n]
        Of the cycle 2017-2020.
    sex, band, age : int64[n]
        Sex in the order of SEXES, band of `STAT_EDGES`.
    flags : mapping of name to float64[n]
        1, 0 or NaN.
    values : mapping of measure to float64[n]
    smoking, body : int64[n]
        Smoking 0..2 (never, former, current; -1 unknown); class of body mass index 0..3 (below 25, 30, 35, above;
        -1 unknown).
    """

    weight: Float
    latest: Bool
    sex: npt.NDArray[np.int64]
    band: npt.NDArray[np.int64]
    age: npt.NDArray[np.int64]
    flags: dict[str, Float]
    values: dict[str, Float]
    smoking: npt.NDArray[np.int64]
    body: npt.NDArray[np.int64]

    def effects(self, child: str, parents: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log odds ratios of `parents` on `child`, adjusted for each other, sex and age."""
        known = ~np.isnan(self.flags[child])
        for parent in parents:
            known &= ~np.isnan(self.flags[parent])
        stratum = self.sex * len(STAT_EDGES) + self.band
        found = survey.log_odds_ratios(
            self.flags[child][known] == 1,
            {parent: self.flags[parent][known] == 1 for parent in parents},
            stratum[known],
            self.weight[known],
        )
        # Two decimals say all that the survey knows, and are the same on every machine.
        return tuple(float(value) for value in np.round(found, 2))

    def body_effects(self, child: str) -> tuple[float, ...]:
        """Return the log odds ratio of each class of body mass index on `child`, given sex and age; the first has 0."""
        known = ~np.isnan(self.flags[child]) & (self.body >= 0)
        found = survey.log_odds_ratios(
            self.flags[child][known] == 1,
            {f"at least {level}": self.body[known] >= level for level in (1, 2, 3)},
            (self.sex * len(STAT_EDGES) + self.band)[known],
            self.weight[known],
        )
        return (0.0, *(float(value) for value in np.round(np.cumsum(found), 2)))

    def body_shares(self) -> Float:
        """Return the share of each class of body mass index by sex and band of statistics, float64[2, bands, 4]."""
        found = np.zeros((2, len(STAT_EDGES), 4))
        for s in range(2):
            for b in range(len(STAT_EDGES)):
                here = self.latest & (self.sex == s) & (self.band == b) & (self.body >= 0)
                found[s, b] = np.bincount(self.body[here], self.weight[here], minlength=4)
        return np.asarray(np.round(found / found.sum(axis=-1, keepdims=True), 3))

    def strata(self, name: str) -> npt.NDArray[np.int64]:
        """Return the stratum of each person, -1 where it is not known."""
        if name == "pressure":
            aware, treated = self.flags["htn"], self.flags["bp"]
            found = np.where(aware == 1, np.where(treated == 1, 2, 1), 0)
            return np.where(np.isnan(aware), -1, found)
        flag = self.flags[name]
        return np.where(np.isnan(flag), -1, np.nan_to_num(flag).astype(np.int64))

    def tables(self, measure: str, shares: Float) -> Float:
        """Return quantile curves float64[strata, 2, bands, z] that mix to the latest cycle's margins.

        `shares` is float64[strata, 2, bands].
        """
        _, stratum_name, skewed = CORE[measure]
        values, stratum = self.values[measure], self.strata(stratum_name)
        found = np.zeros((len(shares), 2, len(STAT_EDGES), len(survey.Z_GRID)))
        for s in range(2):
            for b in range(len(STAT_EDGES)):
                here = (self.sex == s) & (self.band == b) & ~np.isnan(values)
                now = here & self.latest
                target = survey.quantile_curve(values[now], self.weight[now], skewed=skewed)
                raw: list[Float | None] = []
                for level in range(len(shares)):
                    # Rare strata are filled up with the neighbouring bands: at least 60 people.
                    for reach in range(len(STAT_EDGES)):
                        near = (self.sex == s) & (np.abs(self.band - b) <= reach) & ~np.isnan(values)
                        near &= stratum == level
                        if near.sum() >= 60:
                            break
                    curve = survey.quantile_curve(values[near], self.weight[near], skewed=skewed)
                    raw.append(curve)
                found[:, s, b] = survey.conditional_tables(target, raw, shares[:, s, b])
        return found

    def body_by_band(self) -> Float:
        """Return the classes of body mass index by sex and band of the network, float64[2, B, 5]."""
        shares = self.body_shares()
        found = np.zeros((2, len(BAND_EDGES), 5))
        for b, low in enumerate(BAND_EDGES):
            if low < STAT_EDGES[0]:
                found[:, b] = _CHILDREN
                continue
            four = shares[:, int(np.searchsorted(STAT_EDGES, low, side="right")) - 1]
            top = np.array(_CLASS_3)[:, int(np.searchsorted(_CLASS_3_AGES, low, side="right")) - 1]
            found[:, b] = np.column_stack([four[:, :3], four[:, 3] * (1 - top), four[:, 3] * top])
        return found

    def smoking_shares(self) -> Float:
        """Return never, former, current by sex and band of the network, float64[2, B, 3]."""
        found = np.zeros((2, len(BAND_EDGES), 3))
        for s in range(2):
            for b, low in enumerate(BAND_EDGES):
                high = BAND_EDGES[b + 1] if b + 1 < len(BAND_EDGES) else 200
                if low < 18:
                    found[s, b] = (1, 0, 0)
                    continue
                here = self.latest & (self.sex == s) & (self.age >= low) & (self.age < high) & (self.smoking >= 0)
                if here.sum() < 40:
                    found[s, b] = found[s, b - 1]
                    continue
                found[s, b] = np.bincount(self.smoking[here], self.weight[here], minlength=3)
        shares: Float = np.round(found / found.sum(axis=-1, keepdims=True), 3)
        return shares

    def pressure_correlation(self) -> Float:
        """Return the correlation of the scores of both pressures by band of statistics, within sex and stratum."""
        columns = [self.values["sbp"], self.values["dbp"]]
        group = self.sex * 3 + np.maximum(self.strata("pressure"), 0)
        found = []
        for b in range(len(STAT_EDGES)):
            here = self.band == b
            matrix = survey.score_correlation([one[here] for one in columns], group[here], self.weight[here])
            found.append(matrix[0, 1])
        return np.round(np.array(found), 2)

    def correlation(self) -> Float:
        """Return the correlations of the core measures' scores within sex, band and strata."""
        columns = [self.values[name] for name in CORE]
        group = (self.sex * len(STAT_EDGES) + self.band) * 6
        group = group + 2 * np.maximum(self.strata("pressure"), 0) + np.maximum(self.strata("diabetes"), 0)
        return np.round(survey.score_correlation(columns, group, self.weight), 2)


def read_survey(data: Path) -> Survey:
    """Read the extract of adults.

    Needs pandas, which the ``learn`` extra's recipes have.
    """
    import pandas as pd

    frame = pd.read_parquet(data / "nhanes" / "nhanes_adults_1999_2020_without_2015_2016.parquet")
    frame = frame[frame["svy_year"].str[:4].astype(int) >= _SINCE].reset_index(drop=True)
    frame = frame[frame["svy_weight_mec"] > 0].reset_index(drop=True)
    cycle = frame.groupby("svy_year")["svy_weight_mec"].transform("sum")
    flags: dict[str, Any] = {
        name: frame[column].map({"Yes": 1.0, "No": 0.0}).to_numpy(dtype=float) for name, column in _FLAGS.items()
    }
    age = frame["demo_age_years"].to_numpy(dtype=np.int64)
    pressure = frame["svy_subpop_htn"].to_numpy() == 1
    values: dict[str, Any] = {}
    for name, (column, *_) in CORE.items():
        column_values = frame[column].to_numpy(dtype=float)
        values[name] = np.where(pressure, column_values, np.nan) if name in ("sbp", "dbp") else column_values
    return Survey(
        weight=(frame["svy_weight_mec"] / cycle * 10_000).to_numpy(dtype=float),
        latest=(frame["svy_year"] == _LATEST).to_numpy(),
        sex=(frame["demo_gender"] == "Men").to_numpy().astype(np.int64),
        band=np.searchsorted(np.array(STAT_EDGES), age, side="right") - 1,
        age=age,
        flags=flags,
        values=values,
        body=np.asarray(frame["cc_bmi"].map(_BODY).astype(float).fillna(-1), dtype=np.int64),
        smoking=np.asarray(frame["cc_smoke"].map({"Never": 0, "Former": 1, "Current": 2}).fillna(-1), dtype=np.int64),
    )


def read_stats(data: Path) -> dict[str, Float]:
    """Return the published prevalences, float64[2, bands] by variable."""
    import pandas as pd

    frame = pd.read_csv(data / "stats" / "nhanes2017_2020_prevalence_age_sex.csv")
    found = {}
    for name, rows in frame.groupby("variable"):
        table = rows.pivot_table(index="sex", columns="age", values="weighted_prevalence", observed=True)
        found[str(name)] = table.loc[list(_SEXES), list(_STAT_BANDS)].to_numpy(dtype=float)
    return found


def truncated(curve: Float, low: float, high: float) -> Float:
    """Return the quantile curve of what lies between two values."""
    fine = np.linspace(-3.6, 3.6, 721)
    values = np.interp(fine, survey.Z_GRID, curve)
    mass = np.gradient(normal.cdf(fine)) * ((values >= low) & (values < high))
    if mass.sum() <= 0:
        middle = np.clip(np.interp(0.0, survey.Z_GRID, curve), low, high)
        return np.full(len(survey.Z_GRID), middle)
    return survey.weighted_quantiles(values, mass, normal.cdf(survey.Z_GRID))
