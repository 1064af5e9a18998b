"""What care records show: growth, vaccinations, quality measures, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.records import Records
from ehrsynth.terminology import limits

__all__ = ["CareFacts"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_YEAR = 365.2425
_SIZES = {"height": ("8302-2", 24, "height"), "weight": ("29463-7", 24, "weight"), "bmi": ("39156-5", 24, "bmi")} | {
    "head": ("9843-4", 0, "head")
}
VACCINES = {
    "DTaP": ("20", "01"),
    "polio": ("10",),
    "MMR": ("03",),
    "Hib": ("48",),
    "hepatitis B": ("08",),
    "varicella": ("21",),
    "pneumococcal": ("133", "215"),
}
_SCREENED = {"G0121": 10.0, "G0105": 10.0, "G0328": 1.0}
_JOINTS = ("0SRC0", "0SRD0", "0SR90", "0SRB0")
_COMPLICATIONS = ("T81", "T82", "T83", "T84", "T85", "L76")


class CareFacts:
    """Facts of care; `add` a block, then ask.

    Parameters
    ----------
    reference_day : int
        Days since 1970.
    charts : mapping of name to float64[2, months, 3]
        L, M and S by sex (girls first) and month, from 24 months (head circumference from birth).
    """

    def __init__(self, reference_day: int, charts: Mapping[str, Float]) -> None:
        self._day, self._charts = reference_day, charts
        self.growth: dict[str, list[Float]] = {name: [] for name in _SIZES}
        self.vaccinated = {name: np.zeros(8, dtype=np.int64) for name in VACCINES}
        self.children = 0
        self.counts = {name: np.zeros(2, dtype=np.int64) for name in ("colorectal", "copd", "joint")}
        self.impossible: dict[str, int] = {}

    def add(self, records: Records) -> None:
        """Take in a block of records."""
        import pandas as pd

        patient = records["patient"].select(["patient_id", "sex", "birth_date", "death_datetime"]).to_pandas()
        place = pd.Series(np.arange(len(patient)), index=patient["patient_id"])
        birth = pd.to_datetime(patient["birth_date"]).to_numpy().astype("datetime64[D]").astype(np.int64)
        death = patient["death_datetime"].to_numpy().astype("datetime64[D]")
        dead = ~np.isnat(death)
        last = np.where(dead, death.astype(np.int64), self._day)
        sex = (patient["sex"] == "male").to_numpy().astype(np.int64)
        self._grown(records, place, birth, sex)
        self._shots(records, place, birth, dead)
        self._screening(records, place, birth, dead)
        self._admissions(records, place, last, dead)
        self._joints(records, place)
        self._cannot_be(records, place, birth, last, sex)

    def _grown(self, records: Records, place: Any, birth: Int, sex: Int) -> None:
        table = records["observation"].select(["patient_id", "code", "value_number", "effective_datetime"])
        code = table["code"].combine_chunks()
        index, names = code.indices.to_numpy(zero_copy_only=False), code.dictionary.to_pylist()
        for name, (loinc, first, chart) in _SIZES.items():
            if loinc not in names:
                continue
            frame = table.filter(index == names.index(loinc)).to_pandas().dropna(subset=["value_number"])
            who = place.reindex(frame["patient_id"]).to_numpy()
            day = frame["effective_datetime"].to_numpy().astype("datetime64[D]").astype(np.int64)
            months = (day - birth[who]) / _YEAR * 12
            limit = 36 if name == "head" else 216
            fits = (months >= first) & (months < limit)
            # One value a child and half-year: children who are often seen count as others do.
            key = who[fits] * 1000 + (months[fits] // 6).astype(np.int64)
            _, once = np.unique(key, return_index=True)
            who, months, value = who[fits][once], months[fits][once], frame["value_number"].to_numpy()[fits][once]
            lms = self._charts[chart]
            at = np.clip(months - first, 0, lms.shape[1] - 1.000001)
            low = at.astype(int)
            part = (at - low)[:, None]
            found = lms[sex[who], low] * (1 - part) + lms[sex[who], low + 1] * part
            power, size, spread = found[:, 0], found[:, 1], found[:, 2]
            self.growth[name].append(((value / size) ** power - 1) / (power * spread))

    def _shots(self, records: Records, place: Any, birth: Int, dead: npt.NDArray[np.bool_]) -> None:
        age = (self._day - birth) / _YEAR
        asked = ~dead & (age >= 2) & (age < 8)
        self.children += int(asked.sum())
        table = records["immunization"].select(["patient_id", "code", "occurrence_datetime"]).to_pandas()
        who = place.reindex(table["patient_id"]).to_numpy()
        day = table["occurrence_datetime"].to_numpy().astype("datetime64[D]").astype(np.int64)
        early = asked[who] & (day <= birth[who] + 2 * _YEAR + 31)
        for name, codes in VACCINES.items():
            doses = np.bincount(who[early & table["code"].isin(codes).to_numpy()], minlength=len(birth))
            for number in range(1, 8):
                self.vaccinated[name][number] += int((doses[asked] >= number).sum())

    def _screening(self, records: Records, place: Any, birth: Int, dead: npt.NDArray[np.bool_]) -> None:
        age = (self._day - birth) / _YEAR
        asked = ~dead & (age >= 50) & (age < 76)
        table = records["procedure"].select(["patient_id", "code", "start_datetime"]).to_pandas()
        ago = (self._day - table["start_datetime"].to_numpy().astype("datetime64[D]").astype(np.int64)) / _YEAR
        within = table["code"].astype(str).map(_SCREENED).to_numpy(dtype=float)
        done = np.zeros(len(birth), dtype=bool)
        # Measurement year and a month: as the measure is computed from claims.
        done[place.reindex(table["patient_id"][ago <= within + 0.1]).to_numpy()] = True
        self.counts["colorectal"] += [int(asked.sum()), int((asked & done).sum())]

    def _admissions(self, records: Records, place: Any, last: Int, dead: npt.NDArray[np.bool_]) -> None:
        table = (
            records["encounter"].select(["patient_id", "encounter_class", "reason_code", "start_datetime"]).to_pandas()
        )
        table = table[(table["encounter_class"] == "IMP") & table["reason_code"].astype(str).str.startswith("J44")]
        who = place.reindex(table["patient_id"]).to_numpy()
        day = table["start_datetime"].to_numpy().astype("datetime64[D]").astype(np.int64)
        recent = (day > self._day - 10 * _YEAR) & (day <= self._day - 30)
        died = dead[who] & (last[who] - day <= 30)
        self.counts["copd"] += [int(recent.sum()), int((recent & died).sum())]

    def _joints(self, records: Records, place: Any) -> None:
        table = records["procedure"].select(["patient_id", "code", "start_datetime"]).to_pandas()
        table = table[table["code"].astype(str).str.startswith(_JOINTS)]
        sick = records["condition"].select(["patient_id", "code", "onset_date"]).to_pandas()
        sick = sick[sick["code"].astype(str).str.startswith(_COMPLICATIONS)]
        both = table.reset_index().merge(sick, on="patient_id")
        start = both["start_datetime"].to_numpy().astype("datetime64[D]")
        days = (both["onset_date"].to_numpy().astype("datetime64[D]") - start).astype(np.int64)
        hit = both["index"][(days > 0) & (days <= 90)].nunique()
        self.counts["joint"] += [len(table), int(hit)]

    def _cannot_be(self, records: Records, place: Any, birth: Int, last: Int, sex: Int) -> None:
        """Count rows before birth, after death or the reference date, and impossible for sex or age."""
        dates = {
            "encounter": "start_datetime",
            "condition": "recorded_date",
            "observation": "effective_datetime",
            "medication_request": "authored_datetime",
            "procedure": "start_datetime",
            "immunization": "occurrence_datetime",
        }
        for table, column in dates.items():
            rows = records[table]
            if not rows.num_rows:
                continue
            who = place.reindex(rows["patient_id"].to_pandas()).to_numpy()
            day = rows[column].to_numpy().astype("datetime64[D]").astype(np.int64)
            self._count("before birth", day < birth[who])
            self._count("after death", day > last[who])
            if table == "condition":
                code = rows["code"].combine_chunks()
                own, low, high = limits("http://hl7.org/fhir/sid/icd-10-cm", code.dictionary.to_pylist())
                index = code.indices.to_numpy(zero_copy_only=False)
                self._count("impossible for sex", (own[index] > 0) & (own[index] != sex[who] + 1))
                age = (day - birth[who]) / _YEAR
                self._count("impossible for age", (age < low[index] - 0.01) | (age >= high[index] + 0.01))
        for table in (*dates, "device", "allergy_intolerance"):
            ids = records[table][f"{table}_id"]
            self._count("duplicated", np.zeros(ids.length() - len(ids.unique()), dtype=bool) | True)

    def _count(self, what: str, wrong: npt.NDArray[np.bool_]) -> None:
        self.impossible[what] = self.impossible.get(what, 0) + int(np.sum(wrong))
