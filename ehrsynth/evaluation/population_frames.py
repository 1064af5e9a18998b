"""Records of a population as data frames that rules are counted on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.records import Records

__all__ = ["YEAR", "frames_of"]

YEAR = 365.2425
"""Days."""


def days_of(column: Any) -> npt.NDArray[np.int64]:
    return np.asarray(column.to_numpy().astype("datetime64[D]").astype(np.int64))


def frames_of(records: Records, measures: Collection[str]) -> dict[str, Any]:
    """Return tables of records as data frames with days and ages; of observations those of some LOINC codes."""
    import pandas as pd

    people = records["patient"].select(["patient_id", "birth_date"]).to_pandas()
    birth = pd.Series(days_of(pd.to_datetime(people["birth_date"])), index=people["patient_id"])

    def table(name: str, columns: list[str], when: str) -> Any:
        frame = records[name].select(["patient_id", "encounter_id", *columns]).to_pandas()
        for column in ("code", "display", "patient_id", "encounter_id", "encounter_class", "type_display"):
            if column in frame:
                frame[column] = frame[column].astype(str)
        frame["day"] = days_of(pd.to_datetime(frame[when]))
        frame["age_days"] = frame["day"].to_numpy() - birth.reindex(frame["patient_id"]).to_numpy()
        frame["age"] = frame["age_days"] / YEAR
        return frame

    orders = table(
        "medication_request",
        [
            "display",
            "authored_datetime",
            "start_date",
            "end_date",
            "dose_value",
            "frequency_per_day",
            "reason_condition_id",
        ],
        "authored_datetime",
    )
    orders["text"] = orders["display"].str.lower()
    orders["ingredient"] = orders["text"].str.extract(r"(?:\d+ hr )?([a-z]+)")[0]
    orders["start_date"] = days_of(pd.to_datetime(orders["start_date"]))
    end = pd.to_datetime(orders["end_date"])
    orders["end"] = np.where(end.isna(), orders["start_date"] + 365, days_of(end.fillna(pd.Timestamp("1970-01-01"))))
    observations = records["observation"].select(
        ["patient_id", "encounter_id", "code", "value_number", "effective_datetime"]
    )
    code = observations["code"].combine_chunks()
    index, names = code.indices.to_numpy(zero_copy_only=False), code.dictionary.to_pylist()
    wanted = {*measures, "8302-2", "29463-7", "98979-8", "10466-1", "2028-9"}
    wanted |= {"770-8", "736-9", "5905-5", "713-8", "706-2"}
    values = {}
    for at, text in enumerate(names):
        if text in wanted:
            frame = observations.filter(index == at).to_pandas().dropna(subset=["value_number"])
            frame["patient_id"], frame["encounter_id"] = (
                frame["patient_id"].astype(str),
                frame["encounter_id"].astype(str),
            )
            frame["day"] = days_of(frame["effective_datetime"])
            frame["age"] = (frame["day"].to_numpy() - birth.reindex(frame["patient_id"]).to_numpy()) / YEAR
            values[str(text)] = frame
    conditions = table(
        "condition", ["code", "category", "clinical_status", "onset_date", "recorded_date"], "recorded_date"
    )
    conditions["onset"] = days_of(pd.to_datetime(conditions["onset_date"]))
    encounters = table(
        "encounter", ["encounter_class", "type_display", "reason_code", "start_datetime"], "start_datetime"
    )
    return {
        "orders": orders,
        "values": values,
        "conditions": conditions,
        "encounters": encounters,
        "deliveries": set(conditions.loc[conditions["code"] == "Z37.0", "encounter_id"]),
        "procedures": table("procedure", ["code", "start_datetime"], "start_datetime"),
        "allergies": table("allergy_intolerance", ["display", "recorded_date"], "recorded_date"),
        "shots": table("immunization", ["code", "occurrence_datetime"], "occurrence_datetime"),
    }
