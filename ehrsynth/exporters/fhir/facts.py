"""Observations that no table has, derived from what the tables know, in one form; and the visits they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources
from ehrsynth.exporters.fhir.identity import derived_ids
from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, joined, picked, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import numbers_of, places_in

__all__ = [
    "FACTS",
    "LENGTH",
    "YEAR",
    "adult_visits",
    "coded_observations",
    "facts",
    "has_code",
    "mapping",
    "visits",
    "with_condition",
]

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

YEAR = 365.25
LENGTH = ("8302-2", "8306-3")
"""LOINC codes of how tall somebody is, standing and lying."""

CATEGORY = pa.dictionary(pa.int32(), pa.string())

FACTS = pa.schema(
    [
        ("fact_id", pa.string()),
        ("patient_id", pa.string()),
        ("encounter_id", pa.string()),
        ("practitioner_id", pa.string()),
        ("profile", CATEGORY),
        ("category", CATEGORY),
        ("topic", CATEGORY),
        ("code_system", CATEGORY),
        ("code", CATEGORY),
        ("display", CATEGORY),
        ("effective_datetime", pa.timestamp("s")),
        ("time_precision", CATEGORY),
        ("lasting", pa.bool_()),
        ("value_number", pa.float64()),
        ("value_unit", CATEGORY),
        ("value_system", CATEGORY),
        ("value_code", CATEGORY),
        ("value_display", CATEGORY),
        ("value_text", pa.string()),
        ("value_boolean", pa.bool_()),
        ("industry_code", CATEGORY),
        ("industry", CATEGORY),
        ("panel_id", pa.string()),
        ("from_fact_id", pa.string()),
        ("from_observation_id", pa.string()),
        ("from_response", pa.string()),
    ]
)
"""A derived observation. `topic` is US Core's category, `lasting` says that it holds from its time on, `panel_id` is of
the fact that it is a member of; the last three say what it was derived from (`from_response`: a screening's visit).
"""


@lru_cache(maxsize=8)
def mapping(name: str) -> dict[str, Any]:
    """Return a document of the FHIR mapping."""
    found: dict[str, Any] = resources.read_json(f"output_schemas/fhir_r4/mapping/{name}.json")
    return found


def facts(key: pa.Array, what: str, table: str, length: int, **columns: Any) -> pa.Table:
    """Return derived observations; what is given as one value holds for all, what is not given is empty.

    Parameters
    ----------
    key : pyarrow.Array
        Keys of `table`; ids are made of them and of `what`.
    length : int
        How many there are.
    """
    columns["fact_id"] = derived_ids(key, f"{table}/{what}")
    made = []
    for field in FACTS:
        value = columns.get(field.name)
        if isinstance(value, pa.Array | pa.ChunkedArray):
            array = whole(value) if isinstance(value, pa.ChunkedArray) else value
            is_text = field.type == CATEGORY and pa.types.is_string(array.type)
            made.append(array.dictionary_encode() if is_text else array.cast(field.type))
        elif value is None:
            made.append(pa.nulls(length, field.type))
        elif field.type == CATEGORY:
            made.append(pa.DictionaryArray.from_arrays(np.zeros(length, dtype=np.int32), pa.array([value])))
        else:
            made.append(pa.repeat(pa.scalar(value, field.type), length))
    return pa.table(made, schema=FACTS)


_OF_CODED = (
    *("observation_id", "patient_id", "encounter_id", "practitioner_id", "effective_datetime", "time_precision"),
    *("code_system", "code", "status", "value_number", "value_unit", "value_code", "value_display", "value_text"),
)


def coded_observations(source: Source, codes: Iterable[str], columns: Collection[str] = _OF_CODED) -> pa.Table:
    """Return some columns of the observations with one of some `codes` of those that facts are derived from.

    Raises
    ------
    KeyError
        A code that no fact is derived from.
    """
    wanted = set(codes)
    if missing := wanted - _derived_from():
        raise KeyError(f"no fact is derived from {sorted(missing)}")
    told = wanted <= _told()
    rows = source.once("told_observations", _told_observations) if told else _coded_observations(source)
    return picked(rows, hits(rows["code"], wanted), columns)


def _coded_observations(source: Source) -> pa.Table:
    # Most observations are of other codes: the many questions that follow are asked of few rows.
    def made(source: Source) -> pa.Table:
        rows = source["observation"]
        return picked(rows, hits(rows["code"], _derived_from()), _OF_CODED)

    return source.once("coded_observations", made)


def _told_observations(source: Source) -> pa.Table:
    rows = _coded_observations(source)
    return picked(rows, hits(rows["code"], _told()), _OF_CODED)


@lru_cache(maxsize=1)
def _derived_from() -> frozenset[str]:
    """The codes of observations that facts are derived from, or take the place of."""
    charts = [entry for entry in mapping("growth").values() if isinstance(entry, dict)]
    return _told().union(LENGTH, *((chart["of"], chart["code"]) for chart in charts))


@lru_cache(maxsize=1)
def _told() -> frozenset[str]:
    """Those of them that somebody tells, rather than measures: they are few."""
    declared = [entry for entry in mapping("social_facts").values() if isinstance(entry, dict)]
    return frozenset(mapping("screening")["questions"]).union(entry["code"] for entry in declared if "code" in entry)


_OF_VISITS = (
    *("encounter_id", "patient_id", "practitioner_id", "coverage_id", "encounter_class"),
    *("start_datetime", "end_datetime", "time_precision"),
)


def visits(source: Source) -> pa.Table:
    """Return the finished encounters of a known date, ordered by patient and time, with age (years) and sex.

    Of their columns they have those by which something can be derived of them.
    """
    return source.once("visits", _visits)


def _visits(source: Source) -> pa.Table:
    rows, patients = source["encounter"], source["patient"]
    there = hits(rows["status"], ["finished"]) & rows["start_datetime"].is_valid().to_numpy()
    rows = picked(rows, there, _OF_VISITS)
    birth = joined(rows["patient_id"], patients, "patient_id", "birth_date").cast(pa.int32())
    days = pc.subtract(whole(rows["start_datetime"]).cast(pa.date32()).cast(pa.int32()), birth)
    rows = with_columns(
        rows,
        age=pc.divide(pc.fill_null(days, -1).cast(pa.float64()), YEAR),
        sex=joined(rows["patient_id"], patients, "patient_id", "sex").cast(pa.string()),
    )
    owner = places_in(whole(patients["patient_id"]), whole(rows["patient_id"]))
    start = whole(rows["start_datetime"]).cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
    follows = owner[1:] - owner[:-1]
    if ((follows > 0) | ((follows == 0) & (start[1:] >= start[:-1]))).all():
        return rows
    return rows.take(pa.array(np.lexsort((start, owner)))).combine_chunks()


def adult_visits(source: Source) -> pa.Table:
    """Return the first visit of each patient from 18 years of age on."""
    return source.once("adult_visits", _adult_visits)


def _adult_visits(source: Source) -> pa.Table:
    rows = visits(source)
    rows = rows.filter(pc.greater_equal(rows["age"], 18.0)).combine_chunks()
    return rows.take(pa.array(first_of_each(grouped(rows["patient_id"])))).combine_chunks()


def has_code(rows: pa.Table, codes: dict[str, Iterable[str]]) -> Mask:
    """Return which rows have a code that begins with one of `codes`, by code system, shape (n,)."""
    found = np.zeros(len(rows), dtype=bool)
    array = whole(rows["code"])
    index = numbers_of(array)
    for system, begins in codes.items():
        among = np.zeros(len(array.dictionary) + 1, dtype=bool)
        for begin in begins:
            among[:-1] |= pc.starts_with(array.dictionary, begin).to_numpy(zero_copy_only=False)
        if among.any():
            found |= among[index] & hits(rows["code_system"], [system])
    return found


def with_condition(source: Source, rows: pa.Table, codes: dict[str, Iterable[str]]) -> Mask:
    """Return of which encounters `rows` the patient has a condition of some codes that began by then, shape (n,)."""
    found = source["condition"]
    found = picked(found, has_code(found, codes), ("patient_id", "encounter_id", "onset_date", "recorded_date"))
    if len(found) == 0:
        return np.zeros(len(rows), dtype=bool)
    own = joined(found["encounter_id"], source["encounter"], "encounter_id", "start_datetime").cast(pa.date32())
    begun = pc.coalesce(whole(found["onset_date"]), whole(found["recorded_date"]), own).cast(pa.int32())
    found = with_columns(found.select(["patient_id"]), begun=pc.fill_null(begun, 0))
    first = found.group_by("patient_id").aggregate([("begun", "min")])
    since = joined(rows["patient_id"], first, "patient_id", "begun_min")
    then = whole(rows["start_datetime"]).cast(pa.date32()).cast(pa.int32())
    mask: Mask = pc.fill_null(pc.less_equal(since, then), False).to_numpy(zero_copy_only=False)
    return mask
