"""What the generator needs to know of each code and procedure: what precedes it, its side, its part of a pregnancy."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ehrsynth.model.life_course import Listing
from ehrsynth.terminology import displays, limits

__all__ = ["link_codes", "link_procedures"]

_NOT_PREGNANT = (
    *("contraception", "menstrual_disorder", "menopause", "infertility", "vaginal_bleeding", "miscarriage"),
    *("ectopic_pregnancy", "ovarian_cyst", "endometriosis", "cervical_abnormal"),
)
_WEEKS = {"BY49ZZZ": (7.0, 14.0), "BY4CZZZ": (16.0, 25.0), "BY4FZZZ": (28.0, 41.0), "4A1HXCZ": (32.0, 43.0)}
_MODES = {"10D00Z1": 1.0, "10E0XZZ": 0.0, "10D07Z6": 0.0, "0KQM0ZZ": 0.0, "3E033VJ": 0.0, "10907ZC": 0.0}
"""Procedures of pregnancy: in which weeks, and of which way of birth (1 cesarean, 0 vaginal)."""
_MADE_BY = {
    "Z96.651": ("0SRC0J9",),
    "Z96.652": ("0SRD0J9",),
    "Z96.653": ("0SRC0J9", "0SRD0J9"),
    "Z96.641": ("0SR904A",),
    "Z96.642": ("0SRB04A",),
    "Z96.643": ("0SR904A", "0SRB04A"),
    "Z95.0": ("0JH606Z",),
    "Z95.810": ("0JH608Z",),
    "Z94.0": ("0TY00Z0",),
}
"""The operations that leave a status."""
_AT_BIRTH = ("newborn_prematurity",)
_PRECEDED = (
    ("Z85.3", "cancer_breast"),
    ("Z85.46", "cancer_prostate"),
    ("Z85.820", "cancer_skin_melanoma"),
    ("Z85.82", "cancer_skin_other"),
    ("Z85.03", "cancer_colorectal"),
    ("Z85.04", "cancer_colorectal"),
    ("Z85.47", "cancer_other"),
    ("Z85.4", "cancer_uterus_ovary"),
    ("Z85.11", "cancer_lung"),
    ("Z85.5", "cancer_urinary"),
    ("Z85.85", "cancer_head_neck_thyroid"),
    ("Z85.819", "cancer_head_neck_thyroid"),
    ("Z85.7", "cancer_blood"),
    ("Z85.6", "cancer_blood"),
)
"""The cancer before a history of it, by the beginning of the code."""


def link_codes(found: dict[str, Listing], place: Mapping[str, int]) -> None:
    """Add what is known of conditions and their codes; `place` is the number of each problem."""
    chronic = found["chronic"]
    chronic.number["past_of"] = np.array(
        [-2.0 if text == "none" else float(place.get(text, -1)) for text in chronic.text["past"]]
    )
    codes = found["codes"]
    codes.number["preceded_by"] = np.array(
        [
            next((float(place[key]) for start, key in _PRECEDED if code.startswith(start)), -1.0)
            for code in codes.text["code"]
        ]
    )
    owner, fits = codes.integers("owner"), codes.number["weight"] > 0
    chronic.number["earliest"] = np.array(
        [codes.number["age_min"][(owner == at) & fits].min(initial=120.0) for at in range(len(chronic))]
    )
    chronic.number["at_birth"] = np.isin(chronic.text["key"], _AT_BIRTH).astype(np.float64)
    for name in ("chronic", "acute"):
        found[name].number["not_pregnant"] = np.isin(found[name].text["key"], _NOT_PREGNANT).astype(np.float64)
    _add_pregnancy(found)


def link_procedures(found: dict[str, Listing]) -> None:
    """Add the weeks and ways of birth of procedures of pregnancies, sides, and what operations leave."""
    procedures = found["procedures"]
    weeks = [_WEEKS.get(code, (42.0, 43.0)) for code in procedures.text["code"]]
    procedures.number["week_from"], procedures.number["week_to"] = np.array(weeks).T
    procedures.number["closing"] = np.isin(procedures.text["code"], ("0UL74ZZ",)).astype(np.float64)
    procedures.number["mode"] = np.array([_MODES.get(code, -1.0) for code in procedures.text["code"]])
    _add_sides(found)


def _side(text: str) -> float:
    """Return the side that a text is about: 1 right, 2 left, 3 both, 0 none."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    both = "bilateral" in words or {"right", "left"} <= words
    return 3.0 if both else 1.0 if "right" in words else 2.0 if "left" in words else 0.0


def _add_sides(found: dict[str, Listing]) -> None:
    """Say on which side codes and procedures are, and which operation left what a code states."""
    codes, procedures = found["codes"], found["procedures"]
    codes.number["side"] = np.array([_side(text) for text in codes.text["display"]])
    shown = set(procedures.text["display"])
    swapped = [text.replace("Right", "Left") if "Right" in text else text.replace("Left", "Right") for text in shown]
    paired = shown & set(swapped)
    procedures.number["side"] = np.array(
        [side if (side := _side(text)) < 3 and text in paired else 0.0 for text in procedures.text["display"]]
    )
    first = {code: at for at, code in reversed(list(enumerate(procedures.text["code"])))}
    for name, turn in (("operation", 0), ("other_operation", 1)):
        by = [_MADE_BY.get(code, ())[turn : turn + 1] for code in codes.text["code"]]
        codes.number[name] = np.array([float(first[one[0]]) if one else -1.0 for one in by])
    made = {code for operations in _MADE_BY.values() for code in operations}
    lasting = procedures.number["owner"] < len(found["chronic"])
    procedures.number["by_status"] = (np.isin(procedures.text["code"], sorted(made)) & lasting).astype(np.float64)


def _add_pregnancy(found: dict[str, Listing]) -> None:
    """Add the codes of pregnancies to the codes; they belong to no problem."""
    rows, codes = found["pregnancy"], found["codes"]
    sex, youngest, below = limits("http://hl7.org/fhir/sid/icd-10-cm", rows.text["code"])
    shown = displays("http://hl7.org/fhir/sid/icd-10-cm", rows.text["code"])
    n = len(rows)
    rows.number["code_row"] = len(codes) + np.arange(n, dtype=np.float64)
    more = {
        "owner": np.full(n, -1.0),
        "weight": np.zeros(n),
        "from_year": np.full(n, 1800.0),
        "sex_limit": np.asarray(sex, dtype=np.float64),
        "age_min": np.asarray(youngest, dtype=np.float64),
        "age_max": np.minimum(below, 130.0) - 1e-6,
        "preceded_by": np.full(n, -1.0),
    }
    text = {"code": rows.text["code"], "display": tuple(one or "" for one in shown), "with": rows.text["with"]}
    found["codes"] = Listing(
        text={name: (*column, *text[name]) for name, column in codes.text.items()},
        number={name: np.concatenate([column, more[name]]) for name, column in codes.number.items()},
    )
