"""From typed rows to Records: the order of patients and encounters, how exact a time is, and what the dates mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "SHIFTED_AFTER_YEAR",
    "dictionary",
    "encounter_sequence",
    "patient_order",
    "seconds",
    "text_precision",
    "time_basis",
]

SHIFTED_AFTER_YEAR = 2100
"""Dates after this year are no calendar: somebody moved them to protect the patients."""

_LATEST = np.iinfo(np.int64).max


def patient_order(patients: npt.NDArray[np.int64], *within: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return positions that sort rows by patient, then by each of `within` (absent: last), then as they stood.

    Parameters
    ----------
    patients : int array, shape (n,)
        Row of each row's patient in the patient table.
    *within : int arrays, shape (n,)
    """
    result: npt.NDArray[np.int64] = np.lexsort((*reversed(within), patients))
    return result


def seconds(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return times or dates as seconds (days for dates) since 1970, absent ones as the greatest integer."""
    numbers = times.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(times.type) else times.cast(pa.int64())
    result: npt.NDArray[np.int64] = pc.fill_null(numbers, _LATEST).to_numpy()
    return result


def encounter_sequence(
    patients: npt.NDArray[np.int64], start: pa.ChunkedArray, end: pa.ChunkedArray
) -> npt.NDArray[np.int64]:
    """Return the place of each encounter among its patient's, from 1: by start, then end, then as they stood."""
    order = patient_order(patients, seconds(start), seconds(end))
    ordered = patients[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(ordered) else np.zeros(0, dtype=bool)
    at = np.arange(len(ordered), dtype=np.int64)
    sequence = np.empty(len(ordered), dtype=np.int64)
    sequence[order] = at - np.maximum.accumulate(np.where(first, at, 0)) + 1
    return sequence


def text_precision(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return how exact times are that stand as text: day (a date alone), minute (no seconds) or second."""
    length = pc.utf8_length(pc.utf8_trim_whitespace(times))
    return pc.if_else(pc.less_equal(length, 10), "day", pc.if_else(pc.less_equal(length, 16), "minute", "second"))


def dictionary(codes: npt.NDArray[np.int64], values: Sequence[str | None]) -> pa.DictionaryArray:
    """Return text values by position, -1 for none, as a dictionary of distinct values without gaps or repetition."""
    texts = pa.array(values, type=pa.string())
    taken = texts.take(pa.array(codes, mask=codes < 0)) if len(texts) else pa.nulls(len(codes), pa.string())
    return taken.dictionary_encode()


def time_basis(tables: Mapping[str, pa.Table]) -> str:
    """Return what the dates are: ``calendar``, ``shifted`` (years after 2100) or ``order`` (there are none)."""
    starts = tables["encounter"]["start_datetime"] if "encounter" in tables else pa.chunked_array([], pa.timestamp("s"))
    births = tables["patient"]["birth_date"]
    latest = [pc.max(pc.year(values)).as_py() or 0 for values in (starts, births)]
    if max(latest) > SHIFTED_AFTER_YEAR:
        return "shifted"
    dated = latest[0] > 0 or not ("encounter" in tables and tables["encounter"].num_rows)
    return "calendar" if dated else "order"
