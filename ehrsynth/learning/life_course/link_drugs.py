"""What the generator needs to know of each treatment: its class, group and age, first dose, and whom it harms."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ehrsynth.learning.life_course.numbering import numbers
from ehrsynth.model.life_course import Listing

__all__ = ["CLASSES", "link_drugs"]

CLASSES = ("ace", "arb", "beta", "ccb", "thz", "statin", "bp")
"""Drug classes whose use by sex and age is published; ``bp`` is any other drug for blood pressure."""
_INGREDIENTS = (
    ("ace", r"pril\b|prilat\b"),
    ("arb", r"sartan\b"),
    ("beta", r"\b(atenolol|metoprolol|carvedilol|propranolol|bisoprolol|nebivolol|labetalol|nadolol|pindolol)"),
    ("ccb", r"dipine\b|\bdiltiazem|\bverapamil"),
    ("thz", r"thiazide\b|\bchlorthalidone|\bindapamide|\bmetolazone"),
    ("statin", r"\b(atorva|simva|rosuva|prava|lova|fluva|pitava)statin"),
)
_LONGEST_SUPPLY, _RAREST_DOSE = 365, 0.005
_HARMS_UNBORN = (
    r"pril\b|sartan\b|statin\b|tretinoin|methotrexate|valpro|warfarin|doxycycline|oxacin\b|spironolactone|topiramate|"
    r"lithium|ethinyl|estradiol|norgest|medroxyprogesterone|finasteride|fluconazole|mycophenolate|leflunomide|"
    r"testosterone|naproxen|ibuprofen|meloxicam|celecoxib|orlistat|naltrexone|isotretinoin|atenolol|misoprostol|bisphosph"
)
"""Not for the pregnant (labels; ACOG): not begun, and stopped when the pregnancy is known."""
_PRESSURE_DISEASE = "hypertension"
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
    **dict.fromkeys(("citalopram", "venlafaxine"), 1998),
    **dict.fromkeys(("escitalopram", "duloxetine"), 2003),
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


def link_drugs(found: dict[str, Listing], keys: Sequence[str]) -> None:
    """Add what is known of the treatments, the doses that they begin with, and what they do to labs.

    `keys` are those of all problems.
    """
    treatments = found["treatments"]
    groups = [
        f"{int(owner)}:{group or rxnorm}"
        for owner, group, rxnorm in zip(
            treatments.number["owner"], treatments.text["group"], treatments.text["rxnorm"], strict=True
        )
    ]
    treatments.number["group_number"] = numbers(groups, list(dict.fromkeys(groups)))
    treatments.number["class"] = np.array(
        [
            float(_drug_class(text, keys[int(owner)] if owner >= 0 else "", int(owner) < len(found["chronic"])))
            for text, owner in zip(treatments.text["display"], treatments.number["owner"], strict=True)
        ]
    )
    treatments.number["harms_unborn"] = np.array(
        [float(re.search(_HARMS_UNBORN, text.lower()) is not None) for text in treatments.text["display"]]
    )
    # What works for years is no supply of so many days, and has no frequency; the content says when it is renewed.
    supply, often = treatments.number["days_supply"], treatments.number["frequency_per_day"]
    treatments.number["days_supply"] = np.where(supply > _LONGEST_SUPPLY, np.nan, supply)
    treatments.number["frequency_per_day"] = np.where(often <= _RAREST_DOSE, np.nan, often)
    treatments.number["from_year"] = np.array([float(_approved(text)) for text in treatments.text["display"]])
    effects = found["lab_effects"]
    # Effects of treatments are of the treatments of a group.
    names = list(dict.fromkeys(treatments.text["group"]))
    treatments.number["effect_group"] = numbers(treatments.text["group"], names)
    drugs = [key.removeprefix("rx:") if key.startswith("rx:") else "" for key in effects.text["key"]]
    effects.number["treatment"] = numbers(drugs, [name or " " for name in names])
    treatments.number["continues_as"] = _continuations(treatments)
    found["treatments"] = _with_first_doses(treatments, found.pop("titration"))


def _approved(text: str) -> int:
    """Return the year from which a drug could be had, where it matters."""
    return max((year for word, year in _APPROVED.items() if word in text.lower()), default=1900)


def _continuations(treatments: Listing) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the treatment of the same group that takes over at the age at which each ends; -1 for none."""
    number = treatments.number
    low, high = number["age_min"], number["age_max"]
    found = np.full(len(treatments), -1.0)
    for row in np.flatnonzero((number["stop_days"] <= 0) & (high < 110)):
        same = (number["group_number"] == number["group_number"][row]) & (
            number["sex_limit"] == number["sex_limit"][row]
        )
        next_age = np.ceil(high[row])
        fits = np.flatnonzero(same & (low <= next_age) & (next_age < high) & (number["stop_days"] <= 0))
        if len(fits):
            found[row] = fits[np.argmax(number["share"][fits])]
    return found


def _with_first_doses(treatments: Listing, titration: Listing) -> Listing:
    """Return the treatments with rows for the doses that some are begun with; these belong to nothing by themselves."""
    begin = {code: at for at, code in enumerate(titration.text["rxnorm"])}
    stops = treatments.number["stop_days"]
    rows = [at for at, code in enumerate(treatments.text["rxnorm"]) if code in begin and stops[at] <= 0]
    whole = np.concatenate([np.arange(len(treatments)), np.array(rows, dtype=np.int64)])
    text = {name: [column[at] for at in whole] for name, column in treatments.text.items()}
    number = {name: column[whole].copy() for name, column in treatments.number.items()}
    number["starts_as"] = np.full(len(whole), -1.0)
    for place, at in enumerate(rows, start=len(treatments)):
        how = begin[treatments.text["rxnorm"][at]]
        number["starts_as"][at], number["owner"][place] = place, -1
        text["rxnorm"][place], text["display"][place] = (
            titration.text["start_rxnorm"][how],
            titration.text["start_display"][how],
        )
        if titration.text["start_sig"][how]:
            text["sig"][place], number["dose_value"][place] = (
                titration.text["start_sig"][how],
                titration.number["start_dose"][how],
            )
    return Listing(text={name: tuple(column) for name, column in text.items()}, number=number)


def _drug_class(text: str, owner: str, chronic: bool) -> int:
    """Return the class of a chronic treatment; -1 for none."""
    if not chronic:
        return -1
    for name, pattern in _INGREDIENTS:
        if re.search(pattern, text.lower()):
            return CLASSES.index(name)
    return CLASSES.index("bp") if owner == _PRESSURE_DISEASE else -1
