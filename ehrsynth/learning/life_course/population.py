"""Who the people of the United States are: age, sex, survival, race, ethnicity, payer, household, smoking.

Counts come from the Census Bureau's estimates and the period life tables; shares that are typed in below carry their
source. All are of the living on the reference date, and of those who died in the years before it.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course.network import NO_YES, NetworkBuilder
from ehrsynth.model.life_course import AGES, SEXES

__all__ = ["BAND_EDGES", "BODIES", "Vital", "add_people", "band_of_age", "read_vital"]

Float = npt.NDArray[np.float64]

BAND_EDGES = (0, 2, 5, 10, 15, 18, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90)
"""First completed year of each age band; the last is open."""

_STEP = 8

# Vintage 2023 estimates of the Census Bureau (rounded): Hispanic or Latino share; race of those who are not.
_RACE_AGES = (0, 18, 45, 65)
_HISPANIC = (0.262, 0.222, 0.168, 0.095)
RACES = ("2106-3", "2054-5", "2028-9", "1002-5", "2076-8", "2131-1")
"""White, Black, Asian, American Indian or Alaska Native, Native Hawaiian or Pacific Islander, other (and several)."""
_RACE = (
    (0.665, 0.182, 0.078, 0.011, 0.003, 0.061),
    (0.695, 0.165, 0.093, 0.009, 0.003, 0.035),
    (0.750, 0.143, 0.077, 0.008, 0.002, 0.020),
    (0.825, 0.102, 0.056, 0.006, 0.001, 0.010),
)
# American Community Survey 2022, Hispanics by race (rounded; two or more races with "other").
_HISPANIC_RACE = (0.18, 0.022, 0.006, 0.022, 0.002, 0.768)
HISPANIC, NOT_HISPANIC = "2135-2", "2186-5"

# CPS ASEC 2023 (Census report P60-281), health insurance by age, rounded; Medicare Advantage is 52 % of Medicare (KFF).
PAYERS = ("5", "512", "511", "6", "21", "22", "11", "12", "31", "32", "81")
_PAYER_AGES = (0, 19, 26, 35, 45, 65)
_PAYER = (
    (0.14, 0.20, 0.10, 0.13, 0.29, 0.07, 0.0, 0.0, 0.012, 0.0, 0.058),
    (0.17, 0.22, 0.11, 0.15, 0.15, 0.03, 0.002, 0.002, 0.015, 0.001, 0.15),
    (0.17, 0.23, 0.11, 0.15, 0.14, 0.03, 0.005, 0.005, 0.010, 0.005, 0.145),
    (0.18, 0.24, 0.11, 0.16, 0.12, 0.03, 0.010, 0.010, 0.008, 0.010, 0.122),
    (0.18, 0.24, 0.11, 0.16, 0.11, 0.03, 0.025, 0.025, 0.008, 0.015, 0.097),
    (0.02, 0.02, 0.00, 0.01, 0.008, 0.004, 0.49, 0.43, 0.001, 0.010, 0.007),
)

BODIES = ("below 25", "25-30", "30-35", "35-40", "40 and over")
"""Classes of body mass index of adults, kg/m2; of children the ranks that grow into them."""
# CPS 2023, table A1: marital status by age and sex (rounded): never married, divorced, widowed; others are married.
MARITAL = ("S", "M", "D", "W")
_MARITAL_AGES = (0, 15, 20, 25, 30, 35, 45, 55, 65, 75, 85)
_MARITAL = {
    "female": (
        (1, 0, 0),
        (0.985, 0.002, 0),
        (0.87, 0.01, 0),
        (0.60, 0.03, 0.002),
        (0.36, 0.06, 0.004),
        (0.22, 0.11, 0.009),
        (0.15, 0.16, 0.024),
        (0.11, 0.18, 0.063),
        (0.07, 0.18, 0.18),
        (0.05, 0.12, 0.40),
        (0.04, 0.07, 0.68),
    ),
    "male": (
        (1, 0, 0),
        (0.99, 0.001, 0),
        (0.92, 0.005, 0),
        (0.69, 0.02, 0.001),
        (0.43, 0.04, 0.002),
        (0.26, 0.08, 0.004),
        (0.17, 0.12, 0.009),
        (0.13, 0.15, 0.024),
        (0.08, 0.14, 0.058),
        (0.05, 0.09, 0.13),
        (0.03, 0.05, 0.33),
    ),
}
# ACS 2022, language spoken at home (rounded), by group: Hispanic, White, Black, Asian, other.
LANGUAGES = ("en", "es", "zh", "vi", "ko", "fr", "ar", "ru")
_LANGUAGE = {
    "hispanic": (0.60, 0.40, 0, 0, 0, 0, 0, 0),
    "2106-3": (0.985, 0.003, 0, 0, 0, 0.003, 0.004, 0.005),
    "2054-5": (0.975, 0.005, 0, 0, 0, 0.018, 0.002, 0),
    "2028-9": (0.66, 0, 0.19, 0.09, 0.06, 0, 0, 0),
}


@dataclass(frozen=True, kw_only=True)
class Vital:
    """Counts of people.

    Attributes
    ----------
    living : float64[2, AGES]
        On the reference date.
    died : float64[2, AGES, years]
        Who died at an age, and how many full years before the reference date.
    death_rate : float64[2, AGES]
    """

    living: Float
    died: Float
    death_rate: Float

    def weight(self) -> Float:
        """Return float64[2 (deceased), 2 (sex), AGES], sums to 1."""
        both = np.stack([self.living, self.died.sum(axis=-1)])
        shares: Float = both / both.sum()
        return shares


def band_of_age() -> npt.NDArray[np.int64]:
    """Return the band of each completed year of age, int64[AGES]."""
    return np.searchsorted(np.array(BAND_EDGES), np.arange(AGES), side="right") - 1


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return handle.read().splitlines()


def read_vital(vocab: Path, *, years: int) -> Vital:
    """Return the living and the dead of the last `years` years.

    The living are the Census Bureau's 2024 estimates by single years of age. The dead are what the latest period life
    table makes of the same cohorts: the living now divided by the chance to have survived since gives who was alive
    then, and the death rate who of them died. Deaths over person-years then give the life table back.
    """
    rate = np.zeros((2, AGES))
    for s, sex in enumerate(SEXES):
        rows = [line.split() for line in _lines(vocab / f"life_table_us_{sex}.txt.gz")[3:] if line.strip()]
        latest = rows[-1][0]
        rate[s] = [float(row[2]) for row in rows if row[0] == latest][:AGES]
    living = np.zeros((2, AGES + 20))
    for row in csv.DictReader(_lines(vocab / "us_population_age_sex_2024.csv.gz")):
        if row["SEX"] in "12" and int(row["AGE"]) <= 100:
            living[0 if row["SEX"] == "2" else 1, int(row["AGE"])] = float(row["POPESTIMATE2024"])
    longer = np.concatenate([rate, np.repeat(rate[:, -1:], 20, axis=1)], axis=1)
    # The census counts 100 and over together: they are spread as the life table lets them survive.
    share = np.cumprod(np.concatenate([np.ones((2, 1)), np.exp(-longer[:, 100:-1])], axis=1), axis=1)
    living[:, 100:] = living[:, 100:101] * share / share.sum(axis=1, keepdims=True)
    died = np.zeros((2, AGES, years))
    hazard = np.concatenate([np.zeros((2, 1)), np.cumsum(longer, axis=1)], axis=1)

    def cumulative(s: int, x: Float) -> Float:
        found: Float = np.interp(x, np.arange(hazard.shape[1]), hazard[s])
        return found

    part = (np.arange(_STEP) + 0.5) / _STEP
    for s in range(2):
        for age in range(longer.shape[1]):
            now = age + part[:, None]
            for lag in range(years):
                then = now - (lag + part[None, :])
                alive = then >= 0
                at = np.clip(then, 0, None)
                back = np.exp(cumulative(s, now + 0 * at) - cumulative(s, at))
                deaths = living[s, age] / _STEP**2 * back * longer[s][np.minimum(at.astype(int), longer.shape[1] - 1)]
                np.add.at(died[s, :, lag], np.minimum(at.astype(int), AGES - 1)[alive], deaths[alive])
    kept = living[:, :AGES].copy()
    kept[:, -1] += living[:, AGES:].sum(axis=1)
    return Vital(living=kept, died=died, death_rate=rate)


def _by_band(ages: tuple[int, ...], rows: npt.ArrayLike) -> Float:
    """Return the row that is true of each band's first age."""
    at = np.searchsorted(np.array(ages), np.array(BAND_EDGES), side="right") - 1
    return np.asarray(rows, dtype=np.float64)[at]


def add_people(
    builder: NetworkBuilder, vital: Vital, states: Mapping[str, Mapping[str, float]], smoking: Float, body: Float
) -> None:
    """Add who people are.

    Parameters
    ----------
    builder : NetworkBuilder
    vital : Vital
    states : mapping of group to mapping of USPS state to share
        Groups: the race codes of people who are not Hispanic, and ``hispanic``.
    smoking : float64[2, B, 3]
        Never, former, current by sex and band.
    body : float64[2, B, 5]
        Classes of body mass index (`BODIES`) by sex and band.
    """
    weight = vital.weight()
    builder.add("deceased", NO_YES, (), weight.sum(axis=(1, 2)))
    builder.add("sex", SEXES, ("deceased",), weight.sum(axis=2))
    builder.add("age", [str(age) for age in range(AGES)], ("deceased", "sex"), weight)
    band = np.eye(len(BAND_EDGES))[band_of_age()]
    upper = (*BAND_EDGES[1:], None)
    names = [f"{low}-{high - 1}" if high else f"{low}+" for low, high in zip(BAND_EDGES, upper, strict=True)]
    builder.add("band", names, ("age",), band)
    hispanic = _by_band(_RACE_AGES, _HISPANIC)
    builder.add("ethnicity", (HISPANIC, NOT_HISPANIC), ("band",), np.stack([hispanic, 1 - hispanic], axis=-1))
    other = _by_band(_RACE_AGES, _RACE)
    race = np.stack([np.broadcast_to(np.array(_HISPANIC_RACE), other.shape), other], axis=1)
    builder.add("race", RACES, ("band", "ethnicity"), race)
    usps = sorted({state for shares in states.values() for state in shares})
    table = np.zeros((len(RACES), 2, len(usps)))
    for r, code in enumerate(RACES):
        for e, group in enumerate(("hispanic", code)):
            shares = states[group]
            table[r, e] = [shares.get(state, 0.0) for state in usps]
    builder.add("state", usps, ("race", "ethnicity"), table)
    builder.add("payer", PAYERS, ("band",), _by_band(_PAYER_AGES, _PAYER))
    builder.add("smoking", ("never", "former", "current"), ("band", "sex"), smoking.transpose(1, 0, 2))
    builder.add("body", BODIES, ("band", "sex"), body.transpose(1, 0, 2))
    never = np.stack([_by_band(_MARITAL_AGES, _MARITAL[sex]) for sex in SEXES], axis=1)
    married = 1 - never.sum(axis=-1, keepdims=True)
    builder.add(
        "marital_status", MARITAL, ("band", "sex"), np.concatenate([never[..., :1], married, never[..., 1:]], axis=-1)
    )
    english = (0.97, 0.01, 0, 0, 0, 0.01, 0.01, 0)
    language = np.zeros((len(RACES), 2, len(LANGUAGES)))
    for r, code in enumerate(RACES):
        language[r, 0], language[r, 1] = _LANGUAGE["hispanic"], _LANGUAGE.get(code, english)
    builder.add("language", LANGUAGES, ("race", "ethnicity"), language)
