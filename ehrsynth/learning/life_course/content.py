"""The content of a life-course model: folders of CSV files into listings with numbers in the place of keys.

What the files and their columns mean stands in ``domain_models/us_ambulatory/content/README.md``. A *problem* is a
chronic condition or an acute illness; problems are numbered through, the chronic ones first.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import SourceError
from ehrsynth.model.life_course import AGES, Listing
from ehrsynth.terminology import displays, limits

__all__ = ["ANCHORS", "Content", "read_content"]

Float = npt.NDArray[np.float64]
Row = dict[str, str]

ANCHORS = (0, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
"""Ages at which the content states rates and percentages; linear between."""

ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
SITUATIONS = ("adult", "child", "pregnancy", "inpatient", "emergency", "screening", "newborn")
"""What else than a problem calls for a measurement or procedure; owner -2, -3, ... in the listings."""

_SEX = {"": 0, "any": 0, "both": 0, "female": 1, "male": 2}
_OLDEST = 130.0
_BELOW = 1e-6
# file: (text columns, number columns with what an empty cell means)
_TEXT = "text"
_FILES: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "treatments": (
        ("rxnorm", "display", "group", "sig", "route_code", "route_display", "dose_unit"),
        {
            "line": 1,
            "share": 0,
            "start_days": 0,
            "stop_days": 0,
            "dose_value": np.nan,
            "frequency_per_day": np.nan,
            "days_supply": np.nan,
            "quantity": np.nan,
            "refills": np.nan,
        },
    ),
    "monitoring": (("panel",), {"interval_days": 0, "share": 100}),
    "labs": (
        ("loinc", "display", "unit", "category", "panel", "panel_loinc", "skew"),
        {
            "decimals": 0,
            "low": np.nan,
            "high": np.nan,
            "mean": np.nan,
            "sd": np.nan,
            "floor": np.nan,
            "ceiling": np.nan,
            "person_share": 0.5,
        },
    ),
    "lab_effects": (("loinc",), {"shift": 0, "sd_factor": 1}),
    "scales": (("loinc", "of", "answer_system", "answer_code", "answer_display", "interpretation"), {"from": 0}),
    "procedures": (
        ("system", "code", "display", "place", "complication_key"),
        {"interval_years": 0, "share": 0, "complication_percent": 0},
    ),
    "immunizations": (
        ("cvx", "display"),
        {
            "age_months_due": 0,
            "age_months_latest": 1300,
            "from_coverage": 0,
            "coverage": 0,
            "seasonal": 0,
            "from_year": 1900,
            "to_year": 2100,
        },
    ),
    "allergies": (
        (
            *("system", "code", "display", "type", "category"),
            *("reaction_system", "reaction_code", "reaction_display", "severity"),
        ),
        {"percent": 0},
    ),
    "devices": (("system", "code", "display"), {"share": 0}),
    "social": (
        ("kind", "system", "question_code", "question_display", "answer_system", "answer_code", "answer_display"),
        {"percent": 0},
    ),
    "causes": (("code",), {"weight": 0}),
}
_NAMES = {"causes": "mortality_causes"}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the folder holds.

    Attributes
    ----------
    listings : mapping of name to Listing
    curves : mapping of name to float64[2, n, AGES]
        ``chronic`` (share of the living) and ``acute`` (episodes a year).
    comorbidity : tuple of (key, key, odds ratio)
    """

    listings: dict[str, Listing]
    curves: dict[str, Float]
    comorbidity: tuple[tuple[str, str, float], ...]


def read_content(folder: Path) -> Content:
    """Read the content of a folder.

    Raises
    ------
    SourceError
        A file or column is missing, a number is none, or a key is unknown.
    """
    chronic, acute = _rows(folder, "chronic"), _rows(folder, "acute")
    keys = [row["key"] for row in (*chronic, *acute)]
    numbers = {key: at for at, key in enumerate(keys)}
    if len(numbers) < len(keys):
        twice = next(key for at, key in enumerate(keys) if numbers[key] != at)
        raise SourceError(f"The key {twice!r} comes twice.", file=folder / "chronic.csv")
    listings = {
        "chronic": _problems(folder / "chronic.csv", chronic, ("lifelong", "relative_mortality", "visits_per_year")),
        "acute": _problems(folder / "acute.csv", acute, ("amb", "urgent", "emer", "imp", "days")),
        "codes": _codes(folder, numbers),
    }
    listings["acute"].number["requires"] = np.array(
        [numbers[row["requires"]] if row.get("requires") else -1 for row in acute], dtype=np.float64
    )
    listings["acute"].number["rate_ratio"] = _numbers(folder / "acute.csv", acute, "rate_ratio", 1.0)
    # Episodes a year of a person with the condition, where it is stated.
    listings["acute"].number["rate_with"] = _numbers(folder / "acute.csv", acute, "rate_with", np.nan) / 1000.0
    listings["acute"].number["from_year"] = _numbers(folder / "acute.csv", acute, "from_year", 1800.0)
    listings["acute"].number["first_days"] = _numbers(folder / "acute.csv", acute, "first_days", np.inf)
    listings["acute"].number["season"] = np.array(
        [{"winter": 1.0, "summer": 2.0}.get(row.get("season", ""), 0.0) for row in acute]
    )
    for name, (texts, columns) in _FILES.items():
        path = folder / f"{_NAMES.get(name, name)}.csv"
        listings[name] = _listing(path, _rows(folder, path.stem), texts, columns, numbers)
    listings["pregnancy"] = _listing(
        folder / "pregnancy.csv",
        _rows(folder, "pregnancy"),
        ("code", "group", "mode", "with"),
        {"week_from": 0, "week_to": 0, "percent": 0, "lasting": 0},
        numbers,
    )
    listings["titration"] = _listing(
        folder / "titration.csv",
        _rows(folder, "titration"),
        ("rxnorm", "start_rxnorm", "start_display", "start_sig"),
        {"start_dose": np.nan},
        numbers,
    )
    comorbidity = tuple(
        (row["a"], row["b"], float(row["odds_ratio"]))
        for row in _rows(folder, "comorbidity")
        if row["a"] in numbers and row["b"] in numbers
    )
    curves = {
        "chronic": _curves(folder / "chronic.csv", chronic) / 100.0,
        "acute": _curves(folder / "acute.csv", acute) / 1000.0,
    }
    return Content(listings=listings, curves=curves, comorbidity=comorbidity)


def _rows(folder: Path, name: str) -> list[Row]:
    path = folder / f"{name}.csv"
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(handle)]
    except OSError as error:
        raise SourceError(f"The content cannot be read: {error.strerror}.", file=path) from None


def _numbers(path: Path, rows: Iterable[Row], column: str, default: float) -> Float:
    found = []
    for at, row in enumerate(rows, start=1):
        text = row.get(column, "")
        try:
            found.append(float(text) if text else default)
        except ValueError:
            raise SourceError(f"{text!r} is no number.", file=path, row=at, column=column) from None
    return np.array(found, dtype=np.float64)


def _curves(path: Path, rows: list[Row]) -> Float:
    ages = np.arange(AGES)
    curves = np.zeros((2, len(rows), AGES))
    for s, sex in enumerate("fm"):
        at_anchor = np.stack([_numbers(path, rows, f"{sex}{age}", 0.0) for age in ANCHORS], axis=-1)
        for at, values in enumerate(at_anchor):
            curves[s, at] = np.interp(ages, ANCHORS, values)
    for at, row in enumerate(rows):
        limit = _SEX[row.get("sex", "")]
        if limit:
            curves[2 - limit, at] = 0.0
    return curves


def _whom(path: Path, rows: list[Row]) -> dict[str, Float]:
    """Return the columns that say for whom a row is: sex_limit, age_min <= age <= age_max.

    The files say ``age < age_max``: a little is taken off.
    """
    return {
        "sex_limit": np.array([_SEX.get(row.get("sex", ""), 0) for row in rows], dtype=np.float64),
        "age_min": _numbers(path, rows, "age_min", 0.0),
        "age_max": _numbers(path, rows, "age_max", _OLDEST) - _BELOW,
    }


def _problems(path: Path, rows: list[Row], columns: tuple[str, ...]) -> Listing:
    text = {name: tuple(row.get(name, "") for row in rows) for name in ("key", "label", "group", "past")}
    number = {name: _numbers(path, rows, name, 1.0 if name == "relative_mortality" else 0.0) for name in columns}
    number["mean_years"] = _numbers(path, rows, "mean_years", 5.0)
    number["longest_years"] = _numbers(path, rows, "longest_years", np.inf)
    return Listing(text=text, number=number | _whom(path, rows))


def _codes(folder: Path, numbers: Mapping[str, int]) -> Listing:
    rows = []
    for name in ("chronic_codes", "acute_codes"):
        path = folder / f"{name}.csv"
        for at, row in enumerate(_rows(folder, name), start=1):
            if row["key"] not in numbers:
                raise SourceError(f"There is no problem {row['key']!r}.", file=path, row=at, column="key")
            rows.append(row)
    rows.sort(key=lambda row: numbers[row["key"]])
    path = folder / "chronic_codes.csv"
    codes = [row["code"] for row in rows]
    whom = _whom(path, rows)
    sex, youngest, below = limits(ICD10CM, codes)
    # What the vocabulary says is impossible is impossible, whatever the content says.
    clash = (whom["sex_limit"] > 0) & (sex > 0) & (whom["sex_limit"] != sex)
    whom["sex_limit"] = np.where(sex > 0, sex, whom["sex_limit"])
    whom["age_min"] = np.maximum(whom["age_min"], youngest)
    whom["age_max"] = np.minimum(whom["age_max"], np.where(np.isfinite(below), below - _BELOW, _OLDEST))
    weight = np.where(clash, 0.0, _numbers(path, rows, "weight", 1.0))
    shown = displays(ICD10CM, codes)
    return Listing(
        text={
            "code": tuple(codes),
            "display": tuple(text or "" for text in shown),
            "with": tuple(row.get("with", "") for row in rows),
        },
        number={
            "owner": np.array([float(numbers[row["key"]]) for row in rows]),
            "weight": weight,
            "from_year": _numbers(path, rows, "from_year", 1800.0),
            **whom,
        },
    )


def _owner(path: Path, rows: list[Row], numbers: Mapping[str, int]) -> Float:
    """Return the problem that each row is of: its number; -2, -3, ... for a situation; -1 for nothing."""
    found = []
    for at, row in enumerate(rows, start=1):
        # A procedure has a key of its own; what it is for is its trigger.
        key = row.get("trigger", row.get("key", ""))
        if key in numbers:
            found.append(float(numbers[key]))
        elif key in SITUATIONS:
            found.append(-2.0 - SITUATIONS.index(key))
        elif not key or key.startswith("rx:") or path.stem in ("devices", "mortality_causes"):
            found.append(-1.0)
        else:
            raise SourceError(f"There is no problem {key!r}.", file=path, row=at, column="key")
    return np.array(found)


def _listing(
    path: Path, rows: list[Row], texts: tuple[str, ...], columns: Mapping[str, float], numbers: Mapping[str, int]
) -> Listing:
    for column in texts:
        if rows and column not in rows[0] and column != "question_display":
            raise SourceError(f"The content lacks the column {column!r}.", file=path, column=column)
    text = {column: tuple(row.get(column, "") for row in rows) for column in texts}
    text["key"] = tuple(row.get("key", "") for row in rows)
    number = {column: _numbers(path, rows, column, default) for column, default in columns.items()}
    number["owner"] = _owner(path, rows, numbers)
    return Listing(text=text, number=number | _whom(path, rows))
