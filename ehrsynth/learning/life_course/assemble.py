"""References between the listings of the content, and what the generator needs to know of each row."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ehrsynth.learning.life_course.content import Content
from ehrsynth.model.life_course import Listing
from ehrsynth.terminology import displays

__all__ = ["CLASSES", "KIDNEY", "link"]

CLASSES = ("ace", "arb", "beta", "ccb", "thz", "statin", "bp")
"""Drug classes whose use by sex and age is published; ``bp`` is any other drug for blood pressure."""

KIDNEY = ("low_gfr", "albuminuria")

_INGREDIENTS = (
    ("ace", r"pril\b|prilat\b"),
    ("arb", r"sartan\b"),
    ("beta", r"\b(atenolol|metoprolol|carvedilol|propranolol|bisoprolol|nebivolol|labetalol|nadolol|pindolol)"),
    ("ccb", r"dipine\b|\bdiltiazem|\bverapamil"),
    ("thz", r"thiazide\b|\bchlorthalidone|\bindapamide|\bmetolazone"),
    ("statin", r"\b(atorva|simva|rosuva|prava|lova|fluva|pitava)statin"),
)
_PRESSURE_DISEASE = "hypertension"

_MEASURES = {
    "8480-6": "sbp",
    "8462-4": "dbp",
    "2093-3": "tc",
    "2085-9": "hdl",
    "13457-7": "ldl",
    "18262-6": "ldl",
    "2089-1": "ldl",
    "2571-8": "tg",
    "43396-1": "non_hdl",
    "13458-5": "vldl",
    "2091-7": "vldl",
    "4548-4": "a1c",
    "27353-2": "average_glucose",
    "1558-6": "glucose_fasting",
    "2345-7": "glucose",
    "2339-0": "glucose",
    "98979-8": "egfr",
    "62238-1": "egfr",
    "33914-3": "egfr",
    "48642-3": "egfr",
    "77147-7": "egfr",
    "69405-9": "egfr",
    "2160-0": "creatinine",
    "9318-7": "acr",
    "14959-1": "acr",
    "32294-1": "acr",
    # What a strip in the urine answers to: the person's albumin, and sugar in the blood of the same visit.
    "20454-5": "acr",
    "25428-4": "glucose",
    "29463-7": "weight",
    "3141-9": "weight",
    "8302-2": "height",
    "8306-3": "height",
    "39156-5": "bmi",
    "9843-4": "head",
    "8287-5": "head",
    "59576-9": "bmi_percentile",
    "8289-1": "head_percentile",
}
_MISSING = {"8310-5": 0.35, "9279-1": 0.45, "8302-2": 0.35, "59408-5": 0.35, "39156-5": 0.2}
_TERMINAL = {
    "copd": "copd_exacerbation",
    "heart_failure": "heart_failure_acute",
    "coronary_disease": "heart_attack",
    "dementia": "aspiration_pneumonia",
    "cirrhosis": "gi_bleed",
    "ckd": "aki",
}
"""The acute illness in which a chronic one ends."""
_IN_HOSPITAL = {"copd": 1.25}
# Year of approval by the FDA (Drugs@FDA) of what is newer than a life.
_APPROVED = {
    **dict.fromkeys(("gliflozin",), 2014),
    **dict.fromkeys(("gliptin",), 2007),
    **dict.fromkeys(("glutide", "tirzepatide"), 2010),
    **dict.fromkeys(("apixaban", "rivaroxaban", "dabigatran"), 2011),
    **dict.fromkeys(("lovastatin", "simvastatin", "pravastatin"), 1988),
    **dict.fromkeys(("atorvastatin", "rosuvastatin"), 1997),
    **dict.fromkeys(("pril ", "pril hydrochloride"), 1982),
    **dict.fromkeys(("sartan",), 1995),
    **dict.fromkeys(("sacubitril",), 2015),
    **dict.fromkeys(("amlodipine",), 1992),
    **dict.fromkeys(("clopidogrel", "montelukast"), 1998),
    **dict.fromkeys(("sertraline", "fluoxetine", "paroxetine"), 1988),
    **dict.fromkeys(("citalopram", "duloxetine", "venlafaxine"), 1998),
    **dict.fromkeys(("bupropion",), 1989),
    **dict.fromkeys(("omeprazole", "pantoprazole"), 1989),
    **dict.fromkeys(("gabapentin", "tamsulosin"), 1994),
    **dict.fromkeys(("pregabalin",), 2005),
    **dict.fromkeys(("sildenafil", "tadalafil"), 1998),
    **dict.fromkeys(("buprenorphine",), 2002),
    **dict.fromkeys(("metformin",), 1995),
    **dict.fromkeys(("umab ", "cept ", "izumab", "limumab"), 2000),
    **dict.fromkeys(("nirmatrelvir", "molnupiravir"), 2021),
    **dict.fromkeys(("ondansetron", "azithromycin", "sumatriptan"), 1992),
    **dict.fromkeys(("triptan",), 1993),
    **dict.fromkeys(("tiotropium", "budesonide / formoterol", "fluticasone"), 2000),
    **dict.fromkeys(("zolpidem",), 1993),
    **dict.fromkeys(("risperidone", "olanzapine", "quetiapine", "aripiprazole"), 1997),
}
# Assumptions: pressures by palpation or Doppler; cuffs that gave no reading (a struggling child, a shock).
_SYSTOLIC_ONLY = 0.004
_NO_PRESSURE = 0.003
_SERIES = {"dtp": "dtap", "dtp ": "dtap"}
_MISSING_ELSEWHERE = 0.015
# Not all that is measured reaches the record as a value. Assumption; it also keeps a life's record to a readable size.
_RECORDED = {"vital_signs": 0.22, "blood_pressure": 0.5, "growth": 0.4}
_RECORDED_ELSEWHERE = 0.3
_RECORDED_WHOLE = ("hba1c", "lipid", "acr", "fasting_glucose", "growth_infant", "phq2", "phq9", "gad7")
_SIZES = {"8302-2": 0.0, "29463-7": 0.0, "39156-5": 2.0}
"""Sizes that children have from growth charts, and from which age."""
_GROWN = 20.0
_UNRECORDED = ("32623-1", "1863-0", "33037-3", "785-6", "786-4", "788-0", "789-8", "787-2", "10834-0")
"""Mean platelet volume, anion gaps and red cell indices: in the laboratory's report, seldom in the record."""


def _numbers(texts: Sequence[str], order: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    place = {text: at for at, text in enumerate(order)}
    return np.array([float(place.get(text, -1)) for text in texts])


def link(content: Content) -> dict[str, Listing]:
    """Return the listings with the references between them."""
    found = dict(content.listings)
    keys = [*found["chronic"].text["key"], *found["acute"].text["key"]]
    treatments = found["treatments"]
    groups = [
        f"{int(owner)}:{group or rxnorm}"
        for owner, group, rxnorm in zip(
            treatments.number["owner"], treatments.text["group"], treatments.text["rxnorm"], strict=True
        )
    ]
    treatments.number["group_number"] = _numbers(groups, list(dict.fromkeys(groups)))
    treatments.number["class"] = np.array(
        [
            float(_drug_class(text, keys[int(owner)] if owner >= 0 else "", int(owner) < len(found["chronic"])))
            for text, owner in zip(treatments.text["display"], treatments.number["owner"], strict=True)
        ]
    )
    treatments.number["from_year"] = np.array([float(_approved(text)) for text in treatments.text["display"]])
    labs = found["labs"] = _with_children(found["labs"])
    panels = list(dict.fromkeys(labs.text["panel"]))
    labs.number["panel_number"] = _numbers(labs.text["panel"], panels)
    monitoring = found["monitoring"]
    recorded = [
        1.0 if panel in _RECORDED_WHOLE else _RECORDED.get(panel, _RECORDED_ELSEWHERE)
        for panel in monitoring.text["panel"]
    ]
    child = monitoring.number["owner"] == -3
    monitoring.number["share"] = monitoring.number["share"] * np.where(child, np.maximum(recorded, 0.45), recorded)
    found["monitoring"].number["panel_number"] = _numbers(found["monitoring"].text["panel"], panels)
    codes = list(dict.fromkeys(labs.text["loinc"]))
    labs.number["code_number"] = _numbers(labs.text["loinc"], codes)
    labs.number["missing"] = np.array([_MISSING.get(code, _MISSING_ELSEWHERE) for code in labs.text["loinc"]])
    labs.number["missing"][np.isin(labs.text["loinc"], _UNRECORDED)] = 1.0
    # A ratio of some milligrams needs its decimal.
    labs.number["decimals"][np.isin(labs.text["loinc"], ["9318-7"])] = 1.0
    # The parts of a blood pressure are taken together; what is felt or heard by Doppler has no diastolic part.
    labs.number["missing"][np.isin(labs.text["loinc"], ["8480-6", "29463-7"])] = 0.0
    labs.number["missing"][np.isin(labs.text["loinc"], ["8462-4"])] = _SYSTOLIC_ONLY
    labs.number["failed"] = np.where(np.isin(labs.text["loinc"], ["8480-6", "8462-4"]), _NO_PRESSURE, 0.0)
    labs.text["core"] = tuple(_MEASURES.get(code, "") for code in labs.text["loinc"])
    effects = found["lab_effects"]
    effects.number["code_number"] = _numbers(effects.text["loinc"], codes)
    scales = found["scales"]
    scales.number["code_number"] = _numbers(scales.text["loinc"], codes)
    scales.number["of_number"] = _numbers(scales.text["of"], codes)
    procedures = found["procedures"]
    procedures.number["complication"] = _numbers(procedures.text["complication_key"], keys)
    vaccines = found["immunizations"]
    vaccines.number["code_number"] = _numbers(vaccines.text["cvx"], list(dict.fromkeys(vaccines.text["cvx"])))
    # The doses of one vaccine, and vaccines that replace each other, are one series: DTP and DTaP, PCV 13 and 15.
    series = [_SERIES.get(name[:4].lower(), name[:4].lower()) for name in vaccines.text["display"]]
    vaccines.number["series"] = _numbers(series, list(dict.fromkeys(series)))
    devices = found["devices"]
    kinds = list(dict.fromkeys(procedures.text["key"]))
    procedures.number["key_number"] = _numbers(procedures.text["key"], kinds)
    families = [text.split(";")[0] for text in procedures.text["display"]]
    procedures.number["family"] = _numbers(families, list(dict.fromkeys(families)))
    devices.number["procedure"] = _numbers(devices.text["key"], kinds)
    social = found["social"]
    shown = displays("http://loinc.org", social.text["question_code"])
    social.text["question_display"] = tuple(
        own or text or "" for own, text in zip(social.text["question_display"], shown, strict=True)
    )
    causes = found["causes"]
    causes.text["display"] = tuple(
        text or "" for text in displays("http://hl7.org/fhir/sid/icd-10-cm", causes.text["code"])
    )
    place = {key: at for at, key in enumerate(keys)}
    causes.number["terminal"] = np.array([float(place.get(_TERMINAL.get(key, key), -1)) for key in causes.text["key"]])
    # Of what is chronic nobody is newly ill at the end.
    chronic = causes.number["terminal"] < len(found["chronic"])
    causes.number["terminal"] = np.where(chronic, -1.0, causes.number["terminal"])
    causes.number["in_hospital"] = np.array([_IN_HOSPITAL.get(key, 1.0) for key in causes.text["key"]])
    found["classes"] = Listing(text={"key": CLASSES}, number={})
    found["kidney"] = Listing(text={"key": KIDNEY}, number={})
    return found


def _approved(text: str) -> int:
    """Return the year from which a drug could be had, where it matters."""
    return max((year for word, year in _APPROVED.items() if word in text.lower()), default=1900)


def _with_children(labs: Listing) -> Listing:
    """Return the labs with rows for children where sizes are stated for grown people only; without their ranges."""
    rows, first = np.arange(len(labs)), dict[str, int]()
    for at, code in enumerate(labs.text["loinc"]):
        if code in _SIZES and labs.number["age_min"][at] >= _GROWN:
            first.setdefault(code, at)
    added = np.array(sorted(first.values()), dtype=np.int64)
    whole = np.concatenate([rows, added])
    text = {name: tuple(column[at] for at in whole) for name, column in labs.text.items()}
    number = {name: column[whole] for name, column in labs.number.items()}
    for place, at in enumerate(added, start=len(rows)):
        number["sex_limit"][place] = 0
        number["age_min"][place], number["age_max"][place] = _SIZES[labs.text["loinc"][at]], _GROWN - 1e-6
        for name in ("low", "high"):
            number[name][place] = np.nan
    return Listing(text=text, number=number)


def _drug_class(text: str, owner: str, chronic: bool) -> int:
    """Return the class of a chronic treatment; -1 for none."""
    if not chronic:
        return -1
    for name, pattern in _INGREDIENTS:
        if re.search(pattern, text.lower()):
            return CLASSES.index(name)
    return CLASSES.index("bp") if owner == _PRESSURE_DISEASE else -1
