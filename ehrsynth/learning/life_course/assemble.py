"""References between the listings of the content, and what the generator needs to know of each row."""

from __future__ import annotations

import numpy as np

from ehrsynth.learning.life_course.content import Content
from ehrsynth.learning.life_course.link_codes import link_codes, link_procedures
from ehrsynth.learning.life_course.link_drugs import CLASSES, link_drugs
from ehrsynth.learning.life_course.numbering import numbers
from ehrsynth.model.life_course import Listing
from ehrsynth.terminology import displays

__all__ = ["KIDNEY", "link"]


KIDNEY = ("low_gfr", "albuminuria")


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
_IN_HOSPITAL = {"copd": 1.04}
_SUDDENLY = 2.4
_STATUSES = ("Z80", "Z81", "Z82", "Z83", "Z84", "Z85", "Z86", "Z87", "Z88", "Z96")
"""Histories and statuses that are told at a visit for something else (ICD-10-CM guidelines, I.C.21.c.3 and 4)."""
_EXPOSED = (
    *(("aspirin", 12.0), ("ibuprofen", 4.0), ("naproxen", 12.0), ("codeine", 12.0), ("morphine", 8.0)),
    *(("hydrocodone", 12.0), ("oxycodone", 12.0), ("statin", 30.0), ("lisinopril", 25.0), ("iodine", 10.0)),
    *(("contrast", 10.0), ("latex", 4.0), ("tramadol", 16.0), ("medication", 1.0), ("environment", 2.0)),
)
"""Nobody is allergic to what they have not met: the youngest age, by a word of the category or the name."""
# Assumptions: pressures by palpation or Doppler; cuffs that gave no reading (a struggling child, a shock).
_SYSTOLIC_ONLY = 0.004
_NO_PRESSURE = 0.003
_SERIES = {"dtp": "dtap", "dtp ": "dtap"}
_MISSING_ELSEWHERE = 0.015
_APART = {"165": 150.0, "83": 180.0, "187": 60.0}
"""Days between two doses of a vaccine, where more than four weeks (CDC, General Best Practice Guidelines)."""
# Not all that is measured reaches the record as a value. Assumption; it also keeps a life's record to a readable size.
_RECORDED = {"vital_signs": 0.22, "blood_pressure": 0.5, "growth": 0.4}
_RECORDED_ELSEWHERE = 0.3
_RECORDED_WHOLE = ("hba1c", "lipid", "acr", "fasting_glucose", "growth_infant", "phq2", "phq9", "gad7")
_SIZES = {"8302-2": 0.0, "29463-7": 0.0, "39156-5": 2.0}
"""Sizes that children have from growth charts, and from which age."""
_GROWN = 20.0
_TOGETHER = ("6690-2", "770-8", "736-9", "5905-5", "713-8", "706-2", "718-7", "2951-2", "2075-0", "2028-9", "2885-2")
"""What others are computed from: reported with them."""
_UNRECORDED = ("32623-1", "1863-0", "33037-3", "785-6", "786-4", "788-0", "789-8", "787-2", "10834-0")
"""Mean platelet volume, anion gaps and red cell indices: in the laboratory's report, seldom in the record."""


def _mark_statuses(found: dict[str, Listing]) -> None:
    """Mark the chronic conditions that are no reason to see somebody: all of their codes are histories or statuses."""
    chronic, codes = found["chronic"], found["codes"]
    owner = codes.integers("owner")
    mere = np.array([code.startswith(_STATUSES) for code in codes.text["code"]])
    chronic.number["status"] = np.array(
        [float((owner == at).any() and mere[owner == at].all()) for at in range(len(chronic))]
    )


def link(content: Content) -> dict[str, Listing]:
    """Return the listings with the references between them."""
    found = dict(content.listings)
    keys = [*found["chronic"].text["key"], *found["acute"].text["key"]]
    place = {key: at for at, key in enumerate(keys)}
    link_codes(found, place)
    _mark_statuses(found)
    link_drugs(found, keys)
    allergies = found["allergies"]
    allergies.number["age_min"] = np.array(
        [
            next((age for word, age in _EXPOSED if word in f"{kind} {text}".lower()), 0.0)
            for kind, text in zip(allergies.text["category"], allergies.text["display"], strict=True)
        ]
    )
    labs = found["labs"] = _with_children(found["labs"])
    panels = list(dict.fromkeys(labs.text["panel"]))
    labs.number["panel_number"] = numbers(labs.text["panel"], panels)
    monitoring = found["monitoring"]
    recorded = [
        1.0 if panel in _RECORDED_WHOLE else _RECORDED.get(panel, _RECORDED_ELSEWHERE)
        for panel in monitoring.text["panel"]
    ]
    child = monitoring.number["owner"] == -3
    monitoring.number["share"] = monitoring.number["share"] * np.where(child, np.maximum(recorded, 0.45), recorded)
    found["monitoring"].number["panel_number"] = numbers(found["monitoring"].text["panel"], panels)
    measures = list(dict.fromkeys(labs.text["loinc"]))
    labs.number["code_number"] = numbers(labs.text["loinc"], measures)
    labs.number["missing"] = np.array([_MISSING.get(code, _MISSING_ELSEWHERE) for code in labs.text["loinc"]])
    labs.number["missing"][np.isin(labs.text["loinc"], _UNRECORDED)] = 1.0
    labs.number["missing"][np.isin(labs.text["loinc"], _TOGETHER)] = 0.0
    # A ratio of some milligrams needs its decimal.
    labs.number["decimals"][np.isin(labs.text["loinc"], ["9318-7"])] = 1.0
    # The parts of a blood pressure are taken together; what is felt or heard by Doppler has no diastolic part.
    labs.number["missing"][np.isin(labs.text["loinc"], ["8480-6", "29463-7"])] = 0.0
    labs.number["missing"][np.isin(labs.text["loinc"], ["8462-4"])] = _SYSTOLIC_ONLY
    labs.number["failed"] = np.where(np.isin(labs.text["loinc"], ["8480-6", "8462-4"]), _NO_PRESSURE, 0.0)
    labs.text["core"] = tuple(_MEASURES.get(code, "") for code in labs.text["loinc"])
    effects = found["lab_effects"]
    effects.number["code_number"] = numbers(effects.text["loinc"], measures)
    scales = found["scales"]
    scales.number["code_number"] = numbers(scales.text["loinc"], measures)
    scales.number["of_number"] = numbers(scales.text["of"], measures)
    procedures = found["procedures"]
    procedures.number["complication"] = numbers(procedures.text["complication_key"], keys)
    vaccines = found["immunizations"]
    vaccines.number["code_number"] = numbers(vaccines.text["cvx"], list(dict.fromkeys(vaccines.text["cvx"])))
    vaccines.number["apart"] = np.array([_APART.get(code, 28.0) for code in vaccines.text["cvx"]])
    # The doses of one vaccine, and vaccines that replace each other, are one series: DTP and DTaP, PCV 13 and 15.
    series = [_SERIES.get(name[:4].lower(), name[:4].lower()) for name in vaccines.text["display"]]
    vaccines.number["series"] = numbers(series, list(dict.fromkeys(series)))
    link_procedures(found)
    devices = found["devices"]
    kinds = list(dict.fromkeys(procedures.text["key"]))
    procedures.number["key_number"] = numbers(procedures.text["key"], kinds)
    families = [text.split(";")[0] for text in procedures.text["display"]]
    procedures.number["family"] = numbers(families, list(dict.fromkeys(families)))
    devices.number["procedure"] = numbers(devices.text["key"], kinds)
    social = found["social"]
    shown = displays("http://loinc.org", social.text["question_code"])
    social.text["question_display"] = tuple(
        own or text or "" for own, text in zip(social.text["question_display"], shown, strict=True)
    )
    causes = found["causes"]
    causes.text["display"] = tuple(
        text or "" for text in displays("http://hl7.org/fhir/sid/icd-10-cm", causes.text["code"])
    )
    causes.number["terminal"] = np.array([float(place.get(_TERMINAL.get(key, key), -1)) for key in causes.text["key"]])
    # Of what is chronic nobody is newly ill at the end.
    lasting = causes.number["terminal"] < len(found["chronic"])
    causes.number["terminal"] = np.where(lasting, -1.0, causes.number["terminal"])
    # Who dies of what begins suddenly mostly is in an emergency department or a hospital by then.
    sudden = (causes.number["terminal"] >= 0) & ~np.isin(causes.text["key"], list(_TERMINAL))
    causes.number["in_hospital"] = np.array([_IN_HOSPITAL.get(key, 1.0) for key in causes.text["key"]])
    causes.number["in_hospital"][sudden] = _SUDDENLY
    found["classes"] = Listing(text={"key": CLASSES}, number={})
    found["kidney"] = Listing(text={"key": KIDNEY}, number={})
    return found


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
