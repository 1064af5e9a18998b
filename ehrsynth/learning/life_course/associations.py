"""Odds ratios of pairs of conditions, given sex and age: of the network exactly, of a survey, and their difference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course.nhanes import STAT_EDGES, Survey
from ehrsynth.model.life_course import AGES
from ehrsynth.probability.bayesnet import BayesianNetwork, posterior

__all__ = ["PAIRS", "corrected", "network_odds_ratio", "survey_odds_ratio"]

Float = npt.NDArray[np.float64]

NODES = {
    "htn": "has:hypertension",
    "diabetes": "any:diabetes",
    "low_gfr": "kidney:low_gfr",
    "ckd": "has:ckd",
    "chd": "has:coronary_disease",
    "mi": "has:myocardial_infarction_old",
    "stroke": "has:stroke_history",
    "hf": "has:heart_failure",
    "albuminuria": "kidney:albuminuria",
}
PAIRS = (
    ("htn", "diabetes"),
    ("low_gfr", "diabetes"),
    ("low_gfr", "htn"),
    ("albuminuria", "diabetes"),
    ("albuminuria", "htn"),
    ("albuminuria", "low_gfr"),
    ("chd", "diabetes"),
    ("chd", "htn"),
    ("chd", "ckd"),
    ("mi", "htn"),
    ("mi", "diabetes"),
    ("stroke", "htn"),
    ("stroke", "diabetes"),
    ("stroke", "chd"),
    ("stroke", "ckd"),
    ("hf", "chd"),
    ("hf", "mi"),
    ("hf", "htn"),
    ("hf", "diabetes"),
    ("hf", "ckd"),
    ("hf", "stroke"),
)
"""Child and parent in the network, by their names in the survey."""

_STEP = 0.8


def _mantel_haenszel(tables: Float) -> float:
    """Return the odds ratio of strata of fourfold tables, float64[strata, 2, 2] (Mantel and Haenszel 1959)."""
    total = np.maximum(tables.sum(axis=(1, 2)), 1e-300)
    above = (tables[:, 0, 0] * tables[:, 1, 1] / total).sum()
    below = (tables[:, 0, 1] * tables[:, 1, 0] / total).sum()
    return float(above / max(below, 1e-300))


def network_odds_ratio(network: BayesianNetwork, one: str, other: str) -> float:
    """Return the odds ratio of two variables of the living, given sex and age band; exact."""
    index = [network.index(name) for name in ("sex", "age", one, other)]
    joint = posterior(network, index, {network.index("deceased"): 0})
    band = np.searchsorted(np.array(STAT_EDGES), np.arange(AGES), side="right") - 1
    tables = np.stack([joint[s][band == b].sum(axis=0) for s in range(2) for b in range(len(STAT_EDGES))])
    return _mantel_haenszel(tables)


def survey_odds_ratio(found: Survey, one: str, other: str) -> float:
    """Return the weighted odds ratio of two flags, given sex and age band."""
    a, b = found.flags[one], found.flags[other]
    tables = []
    for s in range(2):
        for band in range(len(STAT_EDGES)):
            here = (found.sex == s) & (found.band == band) & ~np.isnan(a) & ~np.isnan(b)
            cell = np.zeros((2, 2))
            np.add.at(cell, (a[here].astype(int), b[here].astype(int)), found.weight[here])
            tables.append(cell)
    return _mantel_haenszel(np.stack(tables))


def corrected(
    network: BayesianNetwork, found: Survey, before: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """Return the corrections of the log odds ratios of `PAIRS`, nearer to the survey's; two decimals."""
    after = dict(before)
    for child, parent in PAIRS:
        wanted = survey_odds_ratio(found, child, parent)
        got = network_odds_ratio(network, NODES[child], NODES[parent])
        step = _STEP * (np.log(wanted) - np.log(got))
        after[child, parent] = round(after.get((child, parent), 0.0) + float(np.clip(step, -1.5, 1.5)), 2)
    return after
