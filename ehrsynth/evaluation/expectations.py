"""What a population must show, held against what it shows: met, missed, or too few patients to tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import UsageError
from ehrsynth.evaluation.population_care import CareFacts
from ehrsynth.evaluation.population_facts import PopulationFacts
from ehrsynth.evaluation.population_sense import SenseFacts

__all__ = ["Outcome", "describe_expectation", "judge"]

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_DECISIVE = 2.6
"""Standard errors beyond the tolerance at which a miss is one: 1 % of true expectations would be missed by chance."""

_PERCENTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
_STRATUM = {"sbp": "pressure", "dbp": "pressure", "tc": "statin", "ldl": "statin"} | {
    "hdl": "diabetes",
    "tg": "diabetes",
    "a1c": "diabetes",
    "egfr": "kidney",
    "acr": "kidney",
}
_PRESSURE = ("ace", "arb", "beta", "ccb", "thz", "other_bp")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An expectation and what was found: `verdict` is ``met``, ``unsure`` (too few patients to tell) or ``missed``."""

    expectation: Mapping[str, Any]
    found: float
    error: float
    verdict: str


def describe_expectation(wanted: Mapping[str, Any]) -> tuple[str, str]:
    """Return an expectation in words: what, and how near to which value (a wide range by its ends)."""
    what = [str(wanted["statistic"])]
    if "code" in wanted:
        what.append(str(wanted["code"]))
    if "of" in wanted:
        what.append(f"of {wanted['of']}")
    if "with" in wanted:
        what.append(f"with {wanted['with']}")
    if "sex" in wanted:
        what.append(str(wanted["sex"]))
    if "age" in wanted:
        low, high = wanted["age"]
        what.append(f"{low}-{high}" if high < 110 else f"{low} and over")
    value = f"{wanted['value']:g}"
    if "factor" in wanted:
        return " ".join(what), f"{value} within a factor {wanted['factor']:g}"
    near = f"{100 * wanted['relative']:g} %" if "relative" in wanted else ""
    if "within" in wanted and not near and wanted["within"] >= abs(wanted["value"]) / 2:
        # The values are shares, counts and ages: none is negative, so that a wide range has one end or two.
        low, high = wanted["value"] - wanted["within"], wanted["value"] + wanted["within"]
        return " ".join(what), f"at most {high:g}" if low <= 0 else f"{low:,g} to {high:,g}"
    if "within" in wanted:
        near = f"{near} or {wanted['within']:.3g}" if near else f"{wanted['within']:.3g}"
    return " ".join(what), f"{value} within {near}"


def judge(wanted: Mapping[str, Any], facts: PopulationFacts, care: CareFacts, sense: SenseFacts) -> Outcome:
    """Return what the facts say of an expectation.

    Raises
    ------
    UsageError
        The statistic is not known.
    """
    if wanted["statistic"] not in {"implausible", *_STATISTICS}:
        raise UsageError(
            f"There is no statistic {wanted['statistic']!r}.",
            hint=f"Known: implausible, {', '.join(sorted(_STATISTICS))}.",
        )
    if wanted["statistic"] == "implausible":
        found, error = _implausible(wanted, sense)
    else:
        found, error = _STATISTICS[wanted["statistic"]](wanted, facts, care)
    if not np.isfinite(found):
        return Outcome(expectation=wanted, found=float("nan"), error=float("inf"), verdict="unsure")
    if "factor" in wanted:
        away = abs(np.log(max(found, 1e-9) / wanted["value"])) - np.log(wanted["factor"])
    else:
        tolerance = max(wanted.get("within", 0.0), wanted.get("relative", 0.0) * abs(wanted["value"]))
        away = abs(found - wanted["value"]) - tolerance
    verdict = "met" if away <= 1e-12 else "missed" if away > _DECISIVE * error else "unsure"
    return Outcome(expectation=wanted, found=float(found), error=float(error), verdict=verdict)


def _cell(wanted: Mapping[str, Any], people: Mapping[str, Any]) -> Bool:
    """Return who is meant: the living of a sex and age."""
    mask = ~people["dead"]
    if "sex" in wanted:
        mask = mask & (people["sex"] == (wanted["sex"] == "male"))
    if "age" in wanted:
        low, high = wanted["age"]
        mask = mask & (people["age"] >= low) & (people["age"] <= high)
    return np.asarray(mask)


def _share(hit: Bool, of: Bool) -> tuple[float, float]:
    n = int(of.sum())
    if not n:
        return float("nan"), float("inf")
    p = float((hit & of).sum() / n)
    return p, float(np.sqrt(max(p * (1 - p), 1 / (n + 2)) / n))


def _people_share(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    return _share(_cell(wanted, facts.people), ~facts.people["dead"])


def _flag(name: str, people: Mapping[str, Any]) -> Float:
    """Return 1, 0 or NaN for each person."""
    treated = np.any([people[f"takes:{one}"] for one in _PRESSURE], axis=0) & people["has:hypertension"]
    unknown = np.isnan(people["sbp"]) | np.isnan(people["dbp"])
    match name:
        case "bp_med_use":
            return np.asarray(treated, dtype=float)
        case "htn_jnc7":
            high = (people["sbp"] >= 140) | (people["dbp"] >= 90) | treated
            return np.where(unknown & ~treated, np.nan, high)
        case "htn_accaha":
            high = (people["sbp"] >= 130) | (people["dbp"] >= 80) | treated
            return np.where(unknown & ~treated, np.nan, high)
        case "chol_total_gteq_240":
            return np.where(np.isnan(people["tc"]), np.nan, people["tc"] >= 240)
        case "cvd_any":
            any_of = np.any([people[f"has:{one}"] for one in ("mi", "chd", "stroke", "hf")], axis=0)
            return np.asarray(any_of, dtype=float)
    return np.asarray(people[f"takes:{name}" if f"takes:{name}" in people else f"has:{name}"], dtype=float)


def _weights(measure: str, people: Mapping[str, Any], cell: Bool, known: Bool) -> Float:
    """Return weights that give those measured the strata of the whole cell: the ill are measured more often."""
    kind = _STRATUM.get(measure, "")
    treated = np.any([people[f"takes:{one}"] for one in _PRESSURE], axis=0)
    stratum = {
        "pressure": people["has:hypertension"].astype(int) + (people["has:hypertension"] & treated),
        "statin": people["takes:statin"] + 2 * (people["has:hyperlipidemia"] & ~people["takes:statin"]),
        "diabetes": people["has:diabetes"] + 2 * (people["has:prediabetes"] & ~people["has:diabetes"]),
        "kidney": people["has:ckd"].astype(int) + 2 * people["has:diabetes"],
    }.get(kind, np.zeros(len(cell), dtype=int))
    weight = np.zeros(len(cell))
    for level in np.unique(stratum):
        here = stratum == level
        have = int((cell & known & here).sum())
        if have:
            weight[cell & known & here] = (cell & here).sum() / have
    return weight


def _prevalence(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    people = facts.people
    cell, flag = _cell(wanted, people), _flag(wanted["of"], people)
    known = ~np.isnan(flag)
    measure = {"htn_jnc7": "sbp", "htn_accaha": "sbp", "chol_total_gteq_240": "tc"}.get(wanted["of"], "")
    weight = _weights(measure, people, cell, known)
    if weight.sum() <= 0:
        return float("nan"), float("inf")
    p = float((weight * np.nan_to_num(flag)).sum() / weight.sum())
    n = weight.sum() ** 2 / (weight**2).sum()
    return p, float(np.sqrt(max(p * (1 - p), 1 / (n + 2)) / n))


def _quantile(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    people = facts.people
    value = people[wanted["of"]]
    cell, known = _cell(wanted, people), ~np.isnan(value)
    weight = _weights(wanted["of"], people, cell, known)
    here = weight > 0
    if here.sum() < 20:
        return float("nan"), float("inf")
    v, w = value[here], weight[here]
    n = w.sum() ** 2 / (w**2).sum()
    if wanted["statistic"] == "mean":
        mean = np.average(v, weights=w)
        spread = np.sqrt(np.average((v - mean) ** 2, weights=w))
        skewness = np.average((v - mean) ** 3, weights=w) / max(spread, 1e-9) ** 3
        # Cochran (1977, 2.15): of fewer than 25 times the squared skewness the mean's error is not known.
        return float(mean), float(spread / np.sqrt(n)) if n >= 25 * skewness**2 else float("inf")
    order = np.argsort(v, kind="stable")
    running = (np.cumsum(w[order]) - w[order] / 2) / w.sum()
    p = _PERCENTILES[wanted["statistic"]]
    # The interval of order statistics; where it reaches beyond the sample nothing is known of that side.
    near = _DECISIVE * np.sqrt(p * (1 - p) / n)
    low, middle, high = np.interp([p - near, p, p + near], running, v[order])
    if near >= min(p, 1 - p):
        return float(middle), float("inf")
    return float(middle), float(max(middle - low, high - middle) / _DECISIVE + 1e-9)


def _life(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    return facts.life_expectancy(int(wanted["sex"] == "male"))


def _visits(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    s, (low, high) = int(wanted["sex"] == "male"), wanted["age"]
    visits, years = facts.visits[s, low : high + 1].sum(), facts.years[s, low : high + 1].sum()
    if years <= 0:
        return float("nan"), float("inf")
    # People differ in how often they go: the error is that of about three times as many independent visits.
    return float(visits / years), float(3 * np.sqrt(max(visits, 1.0)) / years)


def _in_range(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    people = facts.people
    low, high = wanted["range"]
    value = people[wanted["of"]]
    of = ~people["dead"] & people[f"has:{wanted['with']}"] & ~np.isnan(value)
    return _share((value >= low) & (value <= high), of)


def _correlation(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    found, n = facts.correlation(wanted["of"])
    return found, float((1 - found**2) / np.sqrt(max(n / 4, 1)))


def _odds(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    people = facts.people
    a, b = (_flag(wanted[key], people) == 1 for key in ("of", "with"))
    edges = (18, 30, 40, 50, 60, 70, 80, 200)
    above = below = weight = 0.0
    for s in range(2):
        for low, high in itertools.pairwise(edges):
            cell = ~people["dead"] & (people["sex"] == s) & (people["age"] >= low) & (people["age"] < high)
            n = max(cell.sum(), 1)
            above += (a & b & cell).sum() * (~a & ~b & cell).sum() / n
            below += (a & ~b & cell).sum() * (~a & b & cell).sum() / n
            weight += (a & b & cell).sum()
    if below <= 0 or weight < 3:
        return float("nan"), float("inf")
    return above / below, float(1.6 / np.sqrt(weight))


def _growth(wanted: Mapping[str, Any], _: PopulationFacts, care: CareFacts) -> tuple[float, float]:
    values = np.concatenate(care.growth[wanted["of"]] or [np.zeros(0)])
    if len(values) < 30:
        return float("nan"), float("inf")
    values = np.clip(values, -6, 6)
    n = len(values) / 6
    return (
        (float(values.mean()), float(1 / np.sqrt(n)))
        if wanted["statistic"] == "growth mean"
        else (float(values.std()), float(1 / np.sqrt(2 * n)))
    )


def _immunised(wanted: Mapping[str, Any], _: PopulationFacts, care: CareFacts) -> tuple[float, float]:
    n = care.children
    if not n:
        return float("nan"), float("inf")
    p = care.vaccinated[wanted["of"]][int(wanted["doses"])] / n
    return float(p), float(np.sqrt(max(p * (1 - p), 1 / n) / n))


def _quality(wanted: Mapping[str, Any], facts: PopulationFacts, care: CareFacts) -> tuple[float, float]:
    if wanted["of"] == "blood pressure":
        people = facts.people
        known = ~np.isnan(people["sbp"]) & ~np.isnan(people["dbp"])
        of = ~people["dead"] & people["has:hypertension"] & known & (people["age"] >= 18) & (people["age"] <= 85)
        return _share((people["sbp"] < 140) & (people["dbp"] < 90), of)
    n, hit = care.counts[wanted["of"]]
    if not n:
        return float("nan"), float("inf")
    p = hit / n
    return float(p), float(np.sqrt(max(p * (1 - p), 1 / (n + 2)) / n))


def _implausible(wanted: Mapping[str, Any], sense: SenseFacts) -> tuple[float, float]:
    if wanted["of"] not in sense.counts:
        raise UsageError(f"There is no rule {wanted['of']!r}.", hint=f"Known: {', '.join(sense.counts)}.")
    hit, of = sense.counts[wanted["of"]]
    if of < 1:
        return float("nan"), float("inf")
    p = float(hit / of)
    return p, float(np.sqrt(max(p * (1 - p), 1 / (of + 2)) / of))


def _impossible(wanted: Mapping[str, Any], _: PopulationFacts, care: CareFacts) -> tuple[float, float]:
    return float(care.impossible.get(wanted["of"], 0)), 0.0


def _atom(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    parts = {"time": facts.times, "gap": facts.gaps}.get(wanted["of"]) or facts.durations.get(wanted["of"], [])
    values = np.concatenate(parts) if parts else np.zeros(0)
    if not len(values):
        return float("nan"), float("inf")
    share = float(np.unique(values, return_counts=True)[1].max() / len(values))
    return share, float(np.sqrt(share / len(values)))


def _codes(wanted: Mapping[str, Any], facts: PopulationFacts, _: CareFacts) -> tuple[float, float]:
    counts = facts.codes
    if wanted["statistic"] == "distinct codes":
        return float(sum(1 for count in counts.values() if count)), 0.0
    beginnings = tuple(wanted["of"].split())
    total = max(sum(counts.values()), 1)
    return float(sum(count for code, count in counts.items() if code.startswith(beginnings)) / total), 0.0


_STATISTICS: dict[str, Callable[[Mapping[str, Any], PopulationFacts, CareFacts], tuple[float, float]]] = {
    "share of people": _people_share,
    "life expectancy": _life,
    "prevalence": _prevalence,
    "mean": _quantile,
    "p05": _quantile,
    "p50": _quantile,
    "p95": _quantile,
    "visits a year": _visits,
    "share in range": _in_range,
    "correlation": _correlation,
    "odds ratio": _odds,
    "growth mean": _growth,
    "growth deviation": _growth,
    "immunised by two": _immunised,
    "quality measure": _quality,
    "impossible rows": _impossible,
    "largest share of one value": _atom,
    "distinct codes": _codes,
    "share of codes": _codes,
}
