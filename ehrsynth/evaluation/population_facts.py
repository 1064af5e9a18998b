"""What records of a population show: shares, quantiles, rates and associations to hold against published ones.

One pass over blocks of records keeps a row for each person and a few sums, so that any number of patients can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.records import Records

__all__ = ["CLASSES", "MEASURES", "PopulationFacts"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_YEAR = 365.2425
MEASURES = {
    "sbp": "8480-6",
    "dbp": "8462-4",
    "tc": "2093-3",
    "hdl": "2085-9",
    "ldl": "13457-7",
    "tg": "2571-8",
    "a1c": "4548-4",
    "egfr": "98979-8",
    "acr": "9318-7",
    "weight": "29463-7",
    "glucose_fasting": "1558-6",
}
CLASSES = {
    "ace": r"pril\b",
    "arb": r"sartan\b",
    "beta": r"\b(?:atenolol|metoprolol|carvedilol|propranolol|bisoprolol|nebivolol|labetalol|nadolol)",
    "ccb": r"dipine\b|\bdiltiazem|\bverapamil",
    "thz": r"thiazide\b|\bchlorthalidone|\bindapamide",
    "statin": r"(?:atorva|simva|rosuva|prava|lova|fluva|pitava)statin",
    "other_bp": r"\b(?:hydralazine|clonidine|spironolactone|doxazosin|minoxidil|furosemide|methyldopa|aliskiren)",
}
_PREFIXES = {
    "hypertension": ("I10", "I11", "I12", "I13", "I15"),
    "diabetes": ("E10", "E11"),
    "prediabetes": ("R73.0",),
    "ckd": ("N18",),
    "mi": ("I25.2",),
    "chd": ("I25",),
    "stroke": ("Z86.73", "I69", "I63"),
    "hf": ("I50",),
    "obesity": ("E66",),
    "hyperlipidemia": ("E78",),
    "copd": ("J44", "J43"),
}


class PopulationFacts:
    """Facts of the records seen so far; `add` a block, then ask.

    Attributes
    ----------
    people : mapping of name to array
        One row a person: ``sex`` (0 female, 1 male), ``age`` (completed years on the last day), ``dead``,
        ``died_ago`` (years), ``has:*``, ``takes:*``, and the latest value of each measure (NaN: none in three years).
    """

    def __init__(self, reference_day: int, prefixes: Mapping[str, Sequence[str]] | None = None) -> None:
        self._day = reference_day
        self._prefixes = {**_PREFIXES, **(prefixes or {})}
        self._parts: list[dict[str, npt.NDArray[Any]]] = []
        self.visits = np.zeros((2, 111))
        self.years = np.zeros((2, 111))
        self.recent_years = np.zeros((2, 111))
        self.codes: dict[str, int] = {}
        self.durations: dict[str, list[Int]] = {"AMB": [], "EMER": [], "IMP": []}
        self.times: list[Int] = []
        self.gaps: list[Int] = []
        self.pairs: dict[str, list[Float]] = {"glucose": [], "pressure": [], "weight": [], "ldl": [], "sbp": []}

    @property
    def people(self) -> dict[str, npt.NDArray[Any]]:
        """One row a person."""
        if len(self._parts) > 1:
            whole = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
            self._parts = [whole]
        return self._parts[0]

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
        part: dict[str, npt.NDArray[Any]] = {
            "sex": sex,
            "age": _completed(birth, last),
            "dead": dead,
            "died_ago": np.where(dead, (self._day - last) / _YEAR, np.nan),
        }
        self._exposure(sex, birth, last)
        who = place.reindex(_column(records, "encounter", "patient_id")).to_numpy()
        self._encounters(records, who, sex, birth)
        self._conditions(records, place, part)
        self._medicines(records, place, part)
        self._measures(records, place, birth, last, part)
        self._parts.append(part)

    def _exposure(self, sex: Int, birth: Int, last: Int) -> None:
        for ago, target in ((0.0, self.years), (10.0, self.recent_years)):
            begin = np.zeros(len(sex)) if ago == 0 else np.maximum((self._day - ago * _YEAR - birth) / _YEAR, 0)
            end = (last - birth) / _YEAR
            for age in range(111):
                spent = np.clip(np.minimum(end, age + 1) - np.maximum(begin, age), 0, 1)
                target[:, age] += np.bincount(sex, spent, minlength=2)

    def _encounters(self, records: Records, who: Int, sex: Int, birth: Int) -> None:
        start = _column(records, "encounter", "start_datetime").astype("datetime64[s]").astype(np.int64)
        end = _column(records, "encounter", "end_datetime").astype("datetime64[s]").astype(np.int64)
        kind = _column(records, "encounter", "encounter_class")
        where = _column(records, "encounter", "type_display")
        age = np.clip((start // 86_400 - birth[who]) / _YEAR, 0, 110).astype(np.int64)
        office = (kind == "AMB") | (kind == "VR")
        np.add.at(self.visits, (sex[who[office]], age[office]), 1.0)
        for name, found in self.durations.items():
            found.append((end - start)[kind == name] // 60)
        self.times.append(start[office] % 86_400 // 60)
        same = who[1:] == who[:-1]
        self.gaps.append(((start[1:] // 86_400) - (start[:-1] // 86_400))[same])
        del where

    def _conditions(self, records: Records, place: Any, part: dict[str, npt.NDArray[Any]]) -> None:
        import pandas as pd

        table = records["condition"].select(["patient_id", "code", "clinical_status"])
        code = table["code"].combine_chunks()
        names = np.array(code.dictionary.to_pylist())
        index = code.indices.to_numpy()
        for name, count in zip(names, np.bincount(index, minlength=len(names)), strict=True):
            self.codes[str(name)] = self.codes.get(str(name), 0) + int(count)
        who = place.reindex(table["patient_id"].to_pandas()).to_numpy()
        active = pd.Series(table["clinical_status"].to_pandas().astype(str)).to_numpy() == "active"
        for name, beginnings in self._prefixes.items():
            match = np.array([text.startswith(tuple(beginnings)) for text in names], dtype=bool)
            has = np.zeros(len(place), dtype=bool)
            has[who[match[index] & active]] = True
            part[f"has:{name}"] = has

    def _medicines(self, records: Records, place: Any, part: dict[str, npt.NDArray[Any]]) -> None:
        table = records["medication_request"].select(["patient_id", "display", "status"]).to_pandas()
        table = table[table["status"] == "active"]
        who = place.reindex(table["patient_id"]).to_numpy()
        text = table["display"].astype(str).str.lower()
        for name, pattern in CLASSES.items():
            takes = np.zeros(len(place), dtype=bool)
            takes[who[text.str.contains(pattern, regex=True).to_numpy(dtype=bool)]] = True
            part[f"takes:{name}"] = takes

    def _measures(self, records: Records, place: Any, birth: Int, last: Int, part: dict[str, npt.NDArray[Any]]) -> None:
        import pandas as pd

        table = records["observation"].select(
            ["patient_id", "encounter_id", "code", "value_number", "effective_datetime"]
        )
        frames = {}
        code = table["code"].combine_chunks()
        index, names = code.indices.to_numpy(zero_copy_only=False), code.dictionary.to_pylist()
        for name, loinc in MEASURES.items():
            at = names.index(loinc) if loinc in names else -1
            frame = table.filter(index == at).to_pandas() if at >= 0 else table.slice(0, 0).to_pandas()
            frame["who"] = place.reindex(frame["patient_id"]).to_numpy()
            frame["day"] = frame["effective_datetime"].to_numpy().astype("datetime64[D]").astype(np.int64)
            frame = frame.dropna(subset=["value_number"])
            frames[name] = frame
            recent = frame[frame["day"] >= last[frame["who"].to_numpy(dtype=int)] - 3 * _YEAR] if len(frame) else frame
            latest = recent.groupby("who").last() if len(recent) else recent.set_index("who")
            value = np.full(len(place), np.nan)
            value[latest.index.to_numpy(dtype=int)] = latest["value_number"].to_numpy()
            part[name] = value
        together = frames["glucose_fasting"].merge(frames["a1c"], on="encounter_id")
        self.pairs["glucose"].append(together[["value_number_x", "value_number_y"]].to_numpy())
        adults = frames["sbp"][(frames["sbp"]["day"] - birth[frames["sbp"]["who"].to_numpy(dtype=int)]) > 18 * _YEAR]
        together = adults.merge(frames["dbp"], on="encounter_id")
        self.pairs["pressure"].append(together[["value_number_x", "value_number_y"]].to_numpy()[::7])
        for name in ("weight", "ldl", "sbp"):
            frame = frames[name]
            frame = frame[(frame["day"] - birth[frame["who"].to_numpy(dtype=int)]) > 21 * _YEAR]
            following = pd.concat(
                [frame["value_number"], frame.groupby("who")["value_number"].shift()], axis=1
            ).dropna()
            self.pairs[name].append(following.to_numpy()[::5])

    def correlation(self, name: str) -> tuple[float, int]:
        """Return the correlation of a pair of values, and how many there are."""
        values = np.concatenate(self.pairs[name])
        if len(values) < 3:
            return float("nan"), len(values)
        return float(np.corrcoef(values[:, 0], values[:, 1])[0, 1]), len(values)

    def life_expectancy(self, sex: int) -> tuple[float, float]:
        """Return life expectancy at birth from deaths over years lived in the last ten years, and its standard error.

        The usual period life table (Preston, Heuveline and Guillot 2001, ch. 3) with the variance of Chiang (1984).
        """
        people = self.people
        dead = people["dead"] & (people["sex"] == sex)
        deaths = np.bincount(people["age"][dead], minlength=111)[:111].astype(float)
        rate = deaths / np.maximum(self.recent_years[sex], 1e-9)
        a = np.full(111, 0.5)
        a[0] = 0.1
        q = np.minimum(rate / (1 + (1 - a) * rate), 1.0)
        q[-1] = 1.0
        alive = np.concatenate([[1.0], np.cumprod(1 - q)])
        lived = alive[1:] + a * (alive[:-1] - alive[1:])
        lived[-1] = alive[110] / max(rate[-1], 0.7)
        left = np.cumsum(lived[::-1])[::-1]
        remaining = np.append(left[1:] / np.maximum(alive[1:111], 1e-12), 0.0)
        variance = np.where(deaths > 0, q**2 * (1 - q) / np.maximum(deaths, 1), 0.0)
        spread = float((alive[:-1] ** 2 * (remaining[: len(q)] + (1 - a)) ** 2 * variance)[:100].sum())
        return float(left[0]), spread**0.5


def _column(records: Records, table: str, name: str) -> npt.NDArray[Any]:
    return np.asarray(records[table][name].to_pandas().to_numpy())


def _completed(birth: Int, day: Int) -> Int:
    b, d = birth.astype("datetime64[D]"), day.astype("datetime64[D]")
    bm, dm = b.astype("datetime64[M]"), d.astype("datetime64[M]")
    months = dm.astype(np.int64) - bm.astype(np.int64) - ((d - dm) < (b - bm))
    return np.asarray(months // 12, dtype=np.int64)
