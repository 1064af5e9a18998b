"""What a physician would stumble over in records, as rules that can be counted: how many rows or people break each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ehrsynth.evaluation.population_frames import YEAR, frames_of
from ehrsynth.records import Records

__all__ = ["RULES", "SenseFacts"]

Frames = Mapping[str, Any]
Count = tuple[int, int]

_PHYSIOLOGIC = {
    "2951-2": (110, 175),
    "2823-3": (1.8, 8.0),
    "2075-0": (75, 130),
    "2345-7": (25, 900),
    "718-7": (4, 22),
    "4544-3": (13, 66),
    "6690-2": (0.2, 120),
    "777-3": (4, 1500),
    "2160-0": (0.15, 15),
    "17861-6": (5, 15),
    "4548-4": (3.8, 16),
    "8480-6": (55, 250),
    "8462-4": (25, 150),
    "8867-4": (30, 220),
    "8310-5": (34, 42),
    "59408-5": (60, 100),
    "39156-5": (10, 80),
    "9279-1": (6, 80),
}
"""LOINC code: what the living have (UpToDate, critical values widened)."""
_MOST_A_DAY = {
    "metformin": 2550, "lisinopril": 80, "losartan": 100, "amlodipine": 10, "sertraline": 200, "escitalopram": 20,
    "citalopram": 40, "atorvastatin": 80, "simvastatin": 40, "rosuvastatin": 40, "furosemide": 160, "prednisone": 80,
    "gabapentin": 3600, "omeprazole": 80, "levothyroxine": 0.3, "warfarin": 10, "ibuprofen": 3200, "tramadol": 400,
    "acetaminophen": 4000, "azithromycin": 500, "hydrochlorothiazide": 50, "zolpidem": 10, "trazodone": 400,
}  # fmt: skip
"""Largest usual daily dose of adults in mg, of drugs of one ingredient (FDA labels)."""
_CLASSES = (
    r"pril\b|sartan\b",
    r"(?:atorva|simva|rosuva|prava|lova)statin",
    r"\b(?:es)?(?:ome|lanso|panto|rabe)prazole",
    r"sertraline|citalopram|fluoxetine|paroxetine",
    r"olol\b",
    r"dipine\b",
    r"apixaban|rivaroxaban|warfarin|dabigatran",
    r"\bmetformin",
    r"levothyroxine",
)
"""Drugs of which nobody takes two of a class at once."""
_FOR_GOOD = ("I10", "E10", "E11", "N18", "J44", "G30", "G20", "G35", "I25", "I50", "I48", "E03", "B20", "F20", "F84")
_NOT_BEFORE = {"G30": 40, "F03": 40, "G20": 30, "I21": 20, "M81": 20, "N40": 35, "H25": 35, "C61": 35, "I71": 30}
_MEASLES, _ROTA, _ZOSTER, _HPV = ("03", "94", "21"), ("116", "119"), ("187",), ("165", "62")
_STATUSES = ("Z80", "Z81", "Z82", "Z83", "Z84", "Z85", "Z86", "Z87", "Z88", "Z96")
_HARMFUL = r"pril\b|sartan\b|statin\b|isotretinoin|tretinoin|methotrexate|valpro|warfarin|doxycycline|ethinyl"


def _overlaps(orders: Any, pattern: str) -> Count:
    """Count orders of a class that begin while another drug of it, of another name, is taken."""
    rows = orders[orders["text"].str.contains(pattern, regex=True) & ~orders["text"].str.contains("ophthalmic")]
    # A drug that is raised or replaced is another course: the first day of the second is the last of the first.
    rows = rows.sort_values(["patient_id", "start_date"])
    before = rows.groupby("patient_id")
    ends, name = before["end"].shift(), before["ingredient"].shift()
    wrong = (rows["start_date"] < ends) & (
        (rows["ingredient"] != name) | (rows["start_date"] > before["start_date"].shift())
    )
    return int(wrong.sum()), len(rows)


def _doubles(f: Frames) -> Count:
    counts = [_overlaps(f["orders"], pattern) for pattern in _CLASSES]
    return sum(hit for hit, _ in counts), sum(of for _, of in counts)


def _unexplained(f: Frames) -> Count:
    missing = f["orders"]["reason_condition_id"].isna()
    return int(missing.sum()), len(missing)


def _doses(f: Frames) -> Count:
    orders = f["orders"]
    single = orders[~orders["text"].str.contains(" / ")]
    strength = single["text"].str.extract(
        r"([\d.]+) mg (?:(?:extended|delayed) release )?(?:disintegrating )?oral (?:tablet|capsule)"
    )[0]
    daily = strength.astype(float) * single["dose_value"] * single["frequency_per_day"]
    hit = of = 0
    for drug, most in _MOST_A_DAY.items():
        here = single["text"].str.contains(drug) & daily.notna()
        of += int(here.sum())
        hit += int((daily[here] > most).sum())
    return hit, of


def _children_drugs(f: Frames) -> Count:
    orders = f["orders"]
    child_only = orders["text"].str.contains(r"oral suspension|chewable tablet|acetaminophen 32 mg/ml", regex=True)
    adult_only = orders["text"].str.contains(
        r"statin\b|pril\b|sartan\b|metoprolol|hydrocodone|oxycodone|tramadol|sildenafil|zolpidem|finasteride",
        regex=True,
    )
    wrong = (child_only & (orders["age"] >= 18)) | (adult_only & (orders["age"] < 10))
    return int(wrong.sum()), len(orders)


def _physiologic(f: Frames) -> Count:
    hit = of = 0
    for code, (low, high) in _PHYSIOLOGIC.items():
        value = f["values"].get(code)
        if value is not None:
            of += len(value)
            hit += int(((value["value_number"] < low) | (value["value_number"] > high)).sum())
    return hit, of


def _pairs(f: Frames, code: str) -> Any:
    rows = f["values"].get(code)
    if rows is None:
        return None
    rows = rows.sort_values(["patient_id", "day"])
    grouped = rows.groupby("patient_id")
    return rows.assign(before=grouped["value_number"].shift(), day_before=grouped["day"].shift()).dropna(
        subset=["before"]
    )


def _shrinking(f: Frames) -> Count:
    rows = _pairs(f, "8302-2")
    if rows is None:
        return 0, 0
    rows = rows[(rows["age"] < 18) & (rows["day"] - rows["day_before"] > 120)]
    return int((rows["value_number"] < rows["before"] - 1.0).sum()), len(rows)


def _jumping(f: Frames) -> Count:
    rows = _pairs(f, "29463-7")
    if rows is None:
        return 0, 0
    rows = rows[(rows["age"] >= 22) & (rows["day"] - rows["day_before"] < 60)]
    return int((abs(np.log(rows["value_number"] / rows["before"])) > 0.15).sum()), len(rows)


def _sums(f: Frames) -> Count:
    """Count laboratory reports whose parts do not make the whole: white cells, and the anion gap."""
    values = f["values"]
    hit = of = 0
    for parts, sign, total, slack in (
        (("770-8", "736-9", "5905-5", "713-8", "706-2"), (1, 1, 1, 1, 1), None, 0.6),
        (("2951-2", "2075-0", "2028-9"), (1, -1, -1), "10466-1", 1.01),
    ):
        if any(part not in values for part in parts):
            continue
        joined: Any = None
        for part, factor in zip(parts, sign, strict=True):
            column = values[part].groupby("encounter_id")["value_number"].first() * factor
            joined = column if joined is None else joined.add(column)
        joined = joined.dropna()
        whole = 100.0 if total is None else values[total].groupby("encounter_id")["value_number"].first()
        off = (joined - whole).dropna()
        hit, of = hit + int((off.abs() > slack).sum()), of + len(off)
    return hit, of


def _closed(f: Frames) -> Count:
    """Count planned visits to practices at weekends, on Christmas and New Year's Day, or at night."""
    rows = f["encounters"]
    rows = rows[rows["encounter_class"].isin(["AMB", "VR"]) & ~rows["type_display"].isin(["Encounter for problem"])]
    when = rows["start_datetime"].dt
    shut = (when.day_of_week >= 5) | ((when.month == 12) & (when.day == 25)) | ((when.month == 1) & (when.day == 1))
    shut |= (when.hour < 7) | (when.hour >= 20)
    return int(shut.sum()), len(rows)


def _thin_diabetics(f: Frames) -> Count:
    has = f["conditions"].loc[f["conditions"]["code"].str.startswith("E11"), "patient_id"].unique()
    rows = f["values"].get("39156-5")
    if rows is None:
        return 0, 0
    rows = rows[(rows["age"] >= 20) & rows["patient_id"].isin(has)].groupby("patient_id")["value_number"].last()
    return int((rows < 18.5).sum()), len(rows)


def _obese(f: Frames) -> Count:
    """Count adults with a code of obesity whose body mass index was not near 30 when it was first written down."""
    conditions, rows = f["conditions"], f["values"].get("39156-5")
    if rows is None:
        return 0, 0
    coded = conditions[conditions["code"].str.startswith(("E66.0", "E66.8", "E66.9")) & (conditions["age"] >= 22)]
    first = coded.groupby("patient_id")["day"].min()
    after = rows[(rows["age"] >= 22) & rows["patient_id"].isin(first.index)]
    after = after[after["day"] >= after["patient_id"].map(first)].groupby("patient_id")["value_number"].first()
    return int((after < 27).sum()), len(after)


def _classes(f: Frames) -> Count:
    """Count body mass indices of adults below the class of obesity that was written down before."""
    conditions, rows = f["conditions"], f["values"].get("39156-5")
    if rows is None:
        return 0, 0
    least = rows["patient_id"].map(lambda _: np.nan)
    for codes, index in ((("E66.811", "E66.9"), 30.0), (("E66.812", "E66.01"), 35.0), (("E66.813",), 40.0)):
        first = conditions[conditions["code"].isin(codes)].groupby("patient_id")["day"].min()
        least = least.mask(rows["day"] >= rows["patient_id"].map(first), index)
    known = least.notna() & (rows["age"] >= 22)
    return int((rows["value_number"] < least - 0.25)[known].sum()), int(known.sum())


def _heights(f: Frames) -> Count:
    """Count heights of adults that differ by 5 mm or more from those of less than a year before."""
    rows = _pairs(f, "8302-2")
    if rows is None:
        return 0, 0
    rows = rows[(rows["age"] >= 22) & (rows["day"] - rows["day_before"] < 366)]
    return int((abs(rows["value_number"] - rows["before"]) > 0.45).sum()), len(rows)


def _told(f: Frames) -> Count:
    """Count visits whose only diagnosis is a history or a status, which is no reason to come, at no check-up."""
    rows = f["conditions"]
    mere = rows["code"].str.startswith(_STATUSES).groupby(rows["encounter_id"]).all()
    reasons = f["encounters"].set_index("encounter_id")["reason_code"].astype(str).reindex(mere.index)
    return int((mere & reasons.str.startswith(_STATUSES)).sum()), len(mere)


def _new_diabetes(f: Frames) -> Count:
    """Count people with type 2 diabetes whose first glycated hemoglobin after the diagnosis is normal."""
    conditions, rows = f["conditions"], f["values"].get("4548-4")
    if rows is None:
        return 0, 0
    onset = conditions[conditions["code"].str.startswith("E11")].groupby("patient_id")["onset"].min()
    rows = rows[rows["patient_id"].isin(onset.index)]
    since = rows["day"] - rows["patient_id"].map(onset)
    first = rows[(since >= 0) & (since <= 60)].groupby("patient_id")["value_number"].first()
    return int((first < 6.0).sum()), len(first)


def _stages(f: Frames) -> Count:
    """Count people with stage 3b or worse of kidney disease whose last filtration rate is above 60."""
    conditions, rows = f["conditions"], f["values"].get("98979-8")
    if rows is None:
        return 0, 0
    has = conditions[conditions["code"].isin(["N18.32", "N18.4", "N18.5", "N18.6"])]["patient_id"].unique()
    last = rows[rows["patient_id"].isin(has)].groupby("patient_id")["value_number"].last()
    return int((last > 60).sum()), len(last)


def _resolved(f: Frames) -> Count:
    rows = f["conditions"]
    category = rows["patient_id"] + rows["code"].str[:2]
    going_on = set(category[rows["clinical_status"] == "active"])
    lasting = rows["code"].str.startswith(_FOR_GOOD) & (rows["category"] == "problem-list-item")
    # A code that makes room for that of a complication is no recovery.
    over = lasting & (rows["clinical_status"] == "resolved") & ~category.isin(going_on)
    return int(over.sum()), int(lasting.sum())


def _too_young(f: Frames) -> Count:
    rows = f["conditions"]
    hit = of = 0
    for code, age in _NOT_BEFORE.items():
        here = rows[rows["code"].str.startswith(code)]
        hit, of = hit + int((here["age"] < age).sum()), of + len(here)
    return hit, of


def _contradictions(f: Frames) -> Count:
    """Count people with both types of diabetes, or too little and too much thyroid hormone, at once."""
    rows = f["conditions"]
    rows = rows[rows["clinical_status"] == "active"]
    by = {code: set(rows.loc[rows["code"].str.startswith(code), "patient_id"]) for code in ("E10", "E11", "E03", "E05")}
    return len(by["E10"] & by["E11"]) + len(by["E03"] & by["E05"]), len(by["E10"] | by["E11"] | by["E03"] | by["E05"])


def _joints(f: Frames) -> Count:
    rows = f["procedures"]
    rows = rows[rows["code"].str.startswith(("0SRC", "0SRD", "0SR9", "0SRB"))]
    return int((rows["age"] < 40).sum()), len(rows)


def _vaccines(f: Frames) -> Count:
    """Count doses that are too early (or too late, against rotavirus) or too near to the dose before."""
    rows = f["shots"].sort_values(["patient_id", "code", "day"])
    months = rows["age_days"] / YEAR * 12
    wrong = rows["code"].isin(_MEASLES) & (months < 11.8)
    wrong |= rows["code"].isin(_ROTA) & ((months > 8.1) | (months < 1.3))
    wrong |= rows["code"].isin(_ZOSTER) & (months < 18 * 12)
    wrong |= rows["code"].isin(_HPV) & (months < 9 * 12 - 1)
    gap = rows.groupby(["patient_id", "code"])["day"].diff()
    wrong |= gap < 20
    wrong |= rows["code"].eq("165") & (gap < 145)
    return int(wrong.sum()), len(rows)


def _in_pregnancy(f: Frames) -> Count:
    """Count orders of drugs that harm the unborn between conception and delivery."""
    births = f["encounters"][f["encounters"]["encounter_id"].isin(f["deliveries"])][["patient_id", "day"]]
    orders = f["orders"].merge(births, on="patient_id", suffixes=("", "_birth"))
    inside = (orders["day"] < orders["day_birth"]) & (orders["day"] > orders["day_birth"] - 250)
    harmful = orders["text"].str.contains(_HARMFUL, regex=True)
    return int((inside & harmful).sum()), int(inside.sum())


def _births(f: Frames) -> Count:
    """Count deliveries whose code and operation disagree, or that nobody was seen for before."""
    rows = f["conditions"]
    births = f["deliveries"]
    done = {
        code: set(f["procedures"].loc[f["procedures"]["code"].isin(codes), "encounter_id"])
        for code, codes in (("cut", ["10D00Z1"]), ("born", ["10E0XZZ", "10D07Z6"]))
    }
    of = {
        code: set(rows.loc[rows["code"].str.startswith(code), "encounter_id"]) & births
        for code in ("O80", "O82", "O70", "O34.2", "O32.1")
    }
    others = rows.loc[rows["code"].str.startswith("O") & ~rows["code"].isin(["O80", "O82"]), "encounter_id"]
    wrong = (of["O80"] & (done["cut"] | set(others))) | (of["O82"] - done["cut"]) | (of["O70"] & done["cut"])
    wrong |= (of["O34.2"] | of["O32.1"]) - done["cut"]
    return len(wrong | (births & done["cut"] & done["born"])), len(births)


def _allergic(f: Frames) -> Count:
    """Count orders of penicillins, sulfonamides and quinolones to people known to be allergic to one before."""
    hit = of = 0
    for allergy, drug in ((r"cillin\b", r"cillin\b"), ("sulfameth", "sulfameth"), ("floxacin", "floxacin")):
        since = f["allergies"][f["allergies"]["display"].str.lower().str.contains(allergy, regex=True)]
        since = since.groupby("patient_id")["day"].min()
        rows = f["orders"][f["orders"]["text"].str.contains(drug, regex=True)]
        of += len(rows)
        hit += int((rows["day"] > rows["patient_id"].map(since)).sum())
    return hit, of


RULES: dict[str, Callable[[Frames], Count]] = {
    "drug without a reason": _unexplained,
    "two drugs of a class at once": _doubles,
    "drug that is not borne": _allergic,
    "daily dose above the largest": _doses,
    "drug of another age": _children_drugs,
    "value that nobody lives with": _physiologic,
    "child that shrinks": _shrinking,
    "adult's weight that jumps": _jumping,
    "report that does not add up": _sums,
    "planned visit while closed": _closed,
    "underweight with type 2 diabetes": _thin_diabetics,
    "obesity without the weight": _obese,
    "class of obesity that the weight denies": _classes,
    "adult's height that changes": _heights,
    "status as the reason of a visit": _told,
    "diabetes found at a normal HbA1c": _new_diabetes,
    "kidney stage that the rate denies": _stages,
    "lasting disease that ends": _resolved,
    "disease of old age in the young": _too_young,
    "diseases that exclude each other": _contradictions,
    "joint replaced before 40": _joints,
    "vaccine out of schedule": _vaccines,
    "harmful drug in pregnancy": _in_pregnancy,
    "delivery that contradicts itself": _births,
}
"""Rule to how it is counted: what breaks it, of how many."""


class SenseFacts:
    """Counts of what breaks the rules; `add` a block, then read `counts`.

    Attributes
    ----------
    counts : mapping of rule to int64[2]
        Breaks, and rows or people that could break it.
    """

    def __init__(self) -> None:
        self.counts = {name: np.zeros(2, dtype=np.int64) for name in RULES}

    def add(self, records: Records) -> None:
        """Take in a block of records."""
        frames = frames_of(records, _PHYSIOLOGIC)
        for name, rule in RULES.items():
            self.counts[name] += rule(frames)
