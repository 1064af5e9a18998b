"""Which observations carry numbers, in which unit, and which of them come as one panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.encoding import FamilyTimeline, Timelines
from ehrsynth.encoding.columns import categories
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.model import Coding

__all__ = ["NumericRows", "find_derived", "find_panels", "numeric_rows"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericRows:
    """The rows of the observations that have a number in their code's main unit.

    Attributes
    ----------
    code : int64[M]
        Code of each measurement, ascending.
    unit : tuple of str
    value_known : float64[M]
        Share of the code's rows that have a number in the unit.
    measurement : int64[n]
        Of each row.
    value : float64[n]
    visit : int64[n]
    occasion : int64[n]
        Ascending numbers of (visit, k): the k-th rows of a visit's measurements were taken together.
    """

    code: Ints
    unit: tuple[str, ...]
    value_known: npt.NDArray[np.float64]
    measurement: Ints
    value: npt.NDArray[np.float64]
    visit: Ints
    occasion: Ints


def numeric_rows(
    table: pa.Table, family: FamilyTimeline, timelines: Timelines, min_patients: int
) -> NumericRows | None:
    """Return the numbers of the observations, or None if no code has numbers of `min_patients` patients.

    The main unit of a code is that of most of its patients; numbers in other units are not learned.
    """
    taken = table.select(["value_number", "value_unit"]).take(pa.array(family.row_index))
    value = np.asarray(pc.fill_null(taken["value_number"], np.nan), dtype=np.float64)
    unit, units = categories(taken["value_unit"])
    unit = np.where(unit < 0, len(units), unit)
    units = [*units, ""]
    code = family.row_code.astype(np.int64)
    patients = timelines.patient_of_visit[family.row_visit]
    known = np.isfinite(value)
    pair = np.where(known, code * len(units) + unit, -1)
    support = distinct_patients(pair, patients, family.n_codes * len(units)).reshape(family.n_codes, len(units))
    main = support.argmax(axis=1)
    measured = np.flatnonzero(support.max(axis=1) >= min_patients)
    if not len(measured):
        return None
    number = np.full(family.n_codes, -1, dtype=np.int64)
    number[measured] = np.arange(len(measured))
    rows = np.flatnonzero(known & (unit == main[code]) & (number[code] >= 0))
    all_rows = np.bincount(code, minlength=family.n_codes)[measured]
    used = np.bincount(number[code[rows]], minlength=len(measured))
    # The rows of a family are sorted by visit, then code, then as in the source.
    visit, measurement = family.row_visit[rows].astype(np.int64), number[code[rows]]
    key = visit * len(measured) + measurement
    first = np.concatenate(([True], key[1:] != key[:-1]))
    k = np.arange(len(rows)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    occasion = np.unique(visit * (int(k.max()) + 1) + k, return_inverse=True)[1]
    return NumericRows(
        code=measured,
        unit=tuple(units[main[c]] for c in measured),
        value_known=used / np.maximum(all_rows, 1),
        measurement=measurement,
        value=value[rows],
        visit=visit,
        occasion=occasion.astype(np.int64),
    )


def find_panels(
    table: pa.Table, family: FamilyTimeline, timelines: Timelines, code: Ints, min_patients: int
) -> npt.NDArray[np.int32]:
    """Return the number of the panel of each measurement int32[M]; -1 for those that are reported alone.

    Two codes belong together when nine in ten rows of each share their panel with the other, in at least
    `min_patients` patients.
    """
    m = len(code)
    panel = np.full(m, -1, dtype=np.int32)
    number = np.full(family.n_codes, -1, dtype=np.int64)
    number[code] = np.arange(m)
    of_row = number[family.row_code]
    panel_id, panels = categories(table["panel_id"].take(pa.array(family.row_index)))
    kept = np.flatnonzero((of_row >= 0) & (panel_id >= 0))
    if not len(kept) or not panels:
        return panel
    patients = timelines.patient_of_visit[family.row_visit[kept]]
    members = np.unique(np.column_stack([panel_id[kept], of_row[kept], patients]), axis=0)
    together = np.zeros((m, m))
    people: dict[tuple[int, int], set[int]] = {}
    starts = np.flatnonzero(np.concatenate(([True], members[1:, 0] != members[:-1, 0])))
    for low, high in zip(starts.tolist(), [*starts[1:].tolist(), len(members)], strict=True):
        group, patient = members[low:high, 1].tolist(), int(members[low, 2])
        for i, a in enumerate(group):
            for b in group[i + 1 :]:
                together[a, b] += 1
                if len(people.setdefault((a, b), set())) < min_patients:
                    people[a, b].add(patient)
    rows = np.bincount(of_row[of_row >= 0], minlength=m)
    next_number = 0
    for a, b in sorted(people):
        if together[a, b] >= 0.9 * max(rows[a], rows[b]) and len(people[a, b]) >= min_patients:
            if panel[a] < 0:
                panel[a], next_number = next_number, next_number + 1
            panel[b] = panel[a]
    return panel


_INDEX, _WEIGHT, _HEIGHT = "39156-5", "29463-7", "8302-2"
"""LOINC: body mass index (kg/m2), body weight (kg), body height (cm)."""
_NEARLY, _MOSTLY = 0.02, 0.95


def find_derived(
    rows: NumericRows, codings: Sequence[Coding], patients: Ints, min_patients: int
) -> npt.NDArray[np.int32]:
    """Return (index, weight, height) int32[D, 3] if the source's body mass index is that of weight and height.

    It is if, of the occasions that have all three (of `min_patients` people at least), 95 in a hundred agree to 2 %.
    """
    none = np.zeros((0, 3), dtype=np.int32)
    number = {coding.code: m for m, coding in enumerate(codings)}
    if not {_INDEX, _WEIGHT, _HEIGHT} <= set(number):
        return none
    values, there = [], []
    n = int(rows.occasion[-1]) + 1
    for code in (_INDEX, _WEIGHT, _HEIGHT):
        mine = rows.measurement == number[code]
        value = np.full(n, np.nan)
        value[rows.occasion[mine]] = rows.value[mine]
        values.append(value)
        there.append(np.isfinite(value))
    every = np.logical_and.reduce(there)
    owner = np.zeros(n, dtype=np.int64)
    owner[rows.occasion] = patients
    index, weight, height = (value[every] for value in values)
    if len(np.unique(owner[every])) < min_patients or (height <= 0).any() or (index <= 0).any():
        return none
    agrees = np.abs(weight / (height / 100.0) ** 2 / index - 1.0) < _NEARLY
    if agrees.mean() < _MOSTLY:
        return none
    return np.array([[number[_INDEX], number[_WEIGHT], number[_HEIGHT]]], dtype=np.int32)
