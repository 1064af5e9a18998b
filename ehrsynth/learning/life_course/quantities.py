"""The numbers of the model: quantile tables of the core measures by stratum, sex and age, and growth charts."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course import nhanes, survey
from ehrsynth.learning.life_course.nhanes import CORE, STAT_EDGES, Survey
from ehrsynth.model.life_course import AGES, Listing
from ehrsynth.probability import normal
from ehrsynth.probability.bayesnet import BayesianNetwork, posterior

__all__ = ["build_arrays", "core_listing", "growth_charts"]

Float = npt.NDArray[np.float64]

_MEASURES = (*CORE, "bmi", "height")
_KNOTS = (0.0, 3.0, 8.0, 13.0, 18.0, 24.0, 34.5, 44.5, 54.5, 64.5, 74.5, 85.0)
# AAP 2017 tables: what children's pressures are of those of young adults.
_CHILDREN = {"sbp": (0.70, 0.82, 0.88, 0.94, 0.985), "dbp": (0.68, 0.78, 0.86, 0.90, 0.96)}
_HEIGHT = ((161.3, 175.4), (6.9, 7.4))
"""Mean and standard deviation of adults, women and men: NHANES 2015-2018 (NCHS Series 3, no. 46)."""
_SHRINKS = (0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.5, 0.3, 0.0, -1.0, -2.4, -4.2)


_KNOWN = (
    ("a1c", ("any:diabetes", "has:prediabetes"), 5.65, 6.45),
    ("ldl", ("takes:statin", "has:hyperlipidemia"), 120.0, 400.0),
)
"""Measure, what is not the case and what is known, and between which values that is known (ADA; NCEP ATP III)."""


def core_listing() -> Listing:
    """Return the core measures: how much of each is the person's own, and how much drifts over years. Assumption."""
    own = {"sbp": 0.52, "dbp": 0.48, "ldl": 0.58, "hdl": 0.75, "tg": 0.5, "a1c": 0.6, "egfr": 0.66, "acr": 0.6}
    drift = {"sbp": 0.16, "dbp": 0.14, "ldl": 0.2, "hdl": 0.1, "tg": 0.2, "a1c": 0.25, "egfr": 0.24, "acr": 0.2}
    return Listing(
        text={"key": _MEASURES},
        number={
            "own": np.array([own.get(name, {"bmi": 0.86, "height": 1.0}.get(name, 0.6)) for name in _MEASURES]),
            "drift": np.array([drift.get(name, {"bmi": 0.132, "height": 0.0}.get(name, 0.2)) for name in _MEASURES]),
            "decimals": np.zeros(len(_MEASURES)),
        },
    )


def build_arrays(found: Survey, network: BayesianNetwork, bodies: Float) -> dict[str, Float]:
    """Return the quantile tables of the core measures, their knots and correlations.

    `bodies` [2, bands, z] is the quantile curve of adults' body mass index.
    """
    z = survey.Z_GRID
    tables = np.zeros((len(_MEASURES), 4, 2, len(_KNOTS), len(z)))
    levels = {
        "pressure": (("has:hypertension", "takes:bp"), ((0, 0), (1, 0), (1, 1))),
        "statin": (("takes:statin",), ((0,), (1,))),
        "diabetes": (("any:diabetes",), ((0,), (1,))),
        "low_gfr": (("kidney:low_gfr",), ((0,), (1,))),
        "albuminuria": (("kidney:albuminuria",), ((0,), (1,))),
    }
    for m, name in enumerate(CORE):
        variables, states = levels[CORE[name][1]]
        shares = np.stack([_shares(network, variables, state) for state in states])
        curves = found.tables(name, shares)
        tables[m, : len(states), :, 5:] = curves
        for knot in range(5):
            factor = _CHILDREN.get(name, (1.0,) * 5)[knot]
            tables[m, : len(states), :, knot] = curves[:, :, 0] * factor
    _with_known(tables, network)
    # One curve for all: who is of which class is a variable of the network, and says where on the curve a person is.
    body, classes = _MEASURES.index("bmi"), found.body_shares()
    for s in range(2):
        for b in range(len(STAT_EDGES)):
            tables[body, :, s, 5 + b] = _with_classes(bodies[s, b], np.cumsum(classes[s, b])[:-1])
        tables[body, :, s, :5] = tables[body, :, s, 5:6]
    height = _MEASURES.index("height")
    for s in range(2):
        tables[height, :, s] = (_HEIGHT[0][s] + np.array(_SHRINKS))[:, None] + _HEIGHT[1][s] * z
    correlation = np.eye(len(_MEASURES))
    correlation[: len(CORE), : len(CORE)] = found.correlation()
    # Assumption: within strata, after NHANES (Brown 2000 and others).
    for name, value in (("sbp", 0.12), ("dbp", 0.15), ("hdl", -0.28), ("tg", 0.22), ("a1c", 0.12)):
        at = _MEASURES.index(name)
        correlation[at, body] = correlation[body, at] = value
    correlation[body, height] = correlation[height, body] = 0.12
    return {
        "core_quantiles": np.round(tables, 4).astype(np.float32),
        "core_ages": np.array(_KNOTS),
        "core_scores": z,
        "core_correlation": correlation,
        "pressure_correlation": np.concatenate([[0.6] * 5, found.pressure_correlation()]),
    }


def _shares(network: BayesianNetwork, names: tuple[str, ...], states: tuple[int, ...]) -> Float:
    """Return P(states | sex, band of statistics, alive), float64[2, bands]."""
    index = [network.index(name) for name in ("sex", "age", *names)]
    joint = posterior(network, index, {network.index("deceased"): 0})
    band = np.searchsorted(np.array(STAT_EDGES), np.arange(AGES), side="right") - 1
    found = np.zeros((2, len(STAT_EDGES)))
    for b in range(len(STAT_EDGES)):
        part = joint[:, band == b].sum(axis=1)
        found[:, b] = part[(slice(None), *states)] / part.reshape(2, -1).sum(axis=1)
    return found


def _with_known(tables: Float, network: BayesianNetwork) -> None:
    """Give those known to have prediabetes, and untreated hyperlipidemia, the part of the curve that earns the name.

    Their stratum is the third; what is left of the first is everybody else's, so that together they stay as they were.
    """
    for measure, (given, key), low, high in _KNOWN:
        m = _MEASURES.index(measure)
        share = _shares(network, (given, key), (0, 1)) / _shares(network, (given,), (0,))
        for s in range(2):
            for b in range(len(STAT_EDGES)):
                curve, begin = tables[m, 0, s, 5 + b].copy(), low
                # Where more are known than there are such values, lower ones are known too.
                while _between(curve, begin, high) < 1.15 * share[s, b]:
                    begin *= 0.99
                tables[m, 2, s, 5 + b] = nhanes.truncated(curve, begin, high)
                tables[m, 0, s, 5 + b] = _rest(curve, ((begin, high),), share[s, b : b + 1])
        tables[m, 2, :, :5] = tables[m, 2, :, 5:6]


def _between(curve: Float, low: float, high: float) -> float:
    """Return the share of a quantile curve between two values."""
    at = np.interp((low, high), curve, survey.Z_GRID, left=-9, right=9)
    return float(np.diff(normal.cdf(at))[0])


def _with_classes(curve: Float, below: Float) -> Float:
    """Return the quantile curve of body mass index moved so that its classes have the shares of the survey."""
    fine = np.linspace(-4.5, 4.5, 901)
    values = np.interp(fine, survey.Z_GRID, curve)
    have = np.interp((25.0, 30.0, 35.0), values, fine)
    want = normal.quantile(below)
    ends = ([want[0] - 6], [want[-1] + 6])
    place = np.interp(
        survey.Z_GRID,
        np.concatenate([ends[0], want, ends[1]]),
        np.concatenate([[have[0] - 6], have, [have[-1] + 6]]),
    )
    return np.asarray(np.interp(place, survey.Z_GRID, curve))


def _rest(curve: Float, cuts: tuple[tuple[float, float], ...], shares: Float) -> Float:
    """Return the quantile curve of who is in none of the cuts' strata."""
    fine = np.linspace(-3.6, 3.6, 721)
    values = np.interp(fine, survey.Z_GRID, curve)
    mass = np.gradient(normal.cdf(fine))
    mass = mass / mass.sum()
    for (low, high), share in zip(cuts, shares, strict=True):
        inside = (values >= low) & (values < high)
        have = mass[inside].sum()
        if have > 0:
            mass[inside] *= max(1 - share / have, 0.0)
    return survey.weighted_quantiles(values, np.maximum(mass, 1e-12), normal.cdf(survey.Z_GRID))


def growth_charts(vocab: Path) -> dict[str, Float]:
    """Return the CDC's growth charts, float64[2, months, (L, M, S)], girls first; whole months from 0 or 24."""
    files = {
        "length": ("lenageinf", 0, 36),
        "height": ("lenage", 24, 240),
        "weight_infant": ("wtageinf", 0, 36),
        "weight": ("wtage", 24, 240),
        "bmi": ("bmiage", 24, 240),
        "head": ("hcageinf", 0, 36),
    }
    found = {}
    for name, (file, first, last) in files.items():
        with gzip.open(vocab / f"cdc_growth_{file}.csv.gz", "rt", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.DictReader(handle) if row["Sex"] in ("1", "2")]
        months = np.arange(first, last + 1)
        chart = np.zeros((2, len(months), 3))
        for s, sex in enumerate("21"):
            mine = [row for row in rows if row["Sex"] == sex]
            at = np.array([float(row["Agemos"]) for row in mine])
            for c, column in enumerate("LMS"):
                chart[s, :, c] = np.interp(months, at, [float(row[column]) for row in mine])
        found[f"growth_{name}"] = chart
    return found
