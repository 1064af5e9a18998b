"""The other columns of a family's rows, as joint rows that enough patients stand behind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding import FamilyTimeline, Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.model import AttributeTable

__all__ = ["COLUMNS", "learn_attributes"]

Ints = npt.NDArray[np.int64]
Value = str | float | int | bool | None

COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "condition": (("category",), ("verification_status",), ("clinical_status",)),
    "medication_request": (
        ("status",),
        ("intent",),
        ("route_system", "route_code", "route_display"),
        ("dose_value", "dose_unit"),
        ("frequency_per_day",),
        ("days_supply",),
        ("refills",),
        ("quantity",),
        ("sig",),
    ),
    "procedure": (("status",), ("quantity",)),
    "observation": (
        ("category",),
        ("status",),
        ("value_system", "value_code", "value_display"),
        ("absent_reason_code",),
        ("reference_low", "reference_high"),
        ("interpretation_code",),
        ("value_text",),
    ),
    "immunization": (("status",), ("primary_source",), ("dose_number",)),
    "device": (("status",), ("quantity",)),
}
"""Columns of each table in groups that are blank together, the most important group first."""

_REQUIRED = {"category", "status", "intent"}


def learn_attributes(
    table: pa.Table,
    family: FamilyTimeline,
    timelines: Timelines,
    *,
    min_patients: int,
    blank: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> AttributeTable | None:
    """Return the joint rows of the columns of `COLUMNS` by code, or None if all of them are blank.

    A joint row that fewer than `min_patients` patients have with the code gives up its least important columns, one
    group after the other, until enough have what is left; what never gets there joins the commonest row of its code.
    Required columns are never blank: their rare values become the table's commonest.

    Parameters
    ----------
    table : pyarrow.Table
        The family's table of the records.
    family : FamilyTimeline
    timelines : Timelines
    min_patients : int
    blank : mapping of column to bool[C], optional
        Codes for which a column is not learned here.
    """
    rows = pa.array(family.row_index)
    patients = timelines.patient_of_visit[family.row_visit]
    groups, columns, values = [], [], []
    for group in COLUMNS[family.table]:
        encoded = [_encode(table[name].take(rows), name, patients, min_patients) for name in group]
        if all(not labels for _, labels in encoded):
            continue
        for name, (index, _) in zip(group, encoded, strict=True):
            if blank and name in blank:
                index[blank[name][family.row_code]] = -1
        groups.append([index for index, _ in encoded])
        columns += list(group)
        values += [labels for _, labels in encoded]
    if not columns:
        return None
    return _joint(family, patients, groups, tuple(columns), values, min_patients)


def _encode(column: pa.ChunkedArray, name: str, patients: Ints, min_patients: int) -> tuple[Ints, list[Value]]:
    """Return (index int64[n], -1 for blank; values that enough patients have, over all codes)."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    index = np.asarray(array.indices.fill_null(-1), dtype=np.int64)
    labels: list[Value] = array.dictionary.to_pylist()
    support = distinct_patients(index, patients, len(labels))
    order = sorted(range(len(labels)), key=lambda i: (-int(support[i]), i))
    kept = [i for i in order if support[i] >= min_patients]
    position = np.full(len(labels) + 1, -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    new = position[index]
    if name in _REQUIRED and kept:
        new[new < 0] = 0
    return new, [labels[i] for i in kept]


def _joint(
    family: FamilyTimeline,
    patients: Ints,
    groups: list[list[Ints]],
    columns: tuple[str, ...],
    values: list[list[Value]],
    min_patients: int,
) -> AttributeTable:
    flat = [index for group in groups for index in group]
    code = family.row_code.astype(np.int64)
    settled = np.full((len(code), len(flat)), -1, dtype=np.int64)
    open_rows = np.ones(len(code), dtype=bool)
    required = sum(
        1 for group, name in zip(groups, _heads(columns, groups), strict=True) if name in _REQUIRED and group
    )
    for kept_groups in range(len(groups), max(required, 0) - 1, -1):
        width = sum(len(group) for group in groups[:kept_groups])
        at = np.flatnonzero(open_rows)
        if not len(at):
            break
        part = np.full((len(at), len(flat)), -1, dtype=np.int64)
        for j in range(width):
            part[:, j] = flat[j][at]
        key = _number(np.column_stack([code[at], part]))
        support = distinct_patients(key, patients[at], int(key.max()) + 1)
        enough = support[key] >= min_patients
        settled[at[enough]] = part[enough]
        open_rows[at[enough]] = False
    return _table(family, code, settled, open_rows, columns, values)


def _heads(columns: tuple[str, ...], groups: list[list[Ints]]) -> list[str]:
    heads, position = [], 0
    for group in groups:
        heads.append(columns[position])
        position += len(group)
    return heads


def _number(rows: npt.NDArray[np.int64]) -> Ints:
    """Return the number of each distinct row, int64[n], in lexicographic order."""
    key = rows[:, 0] - rows[:, 0].min()
    for column in rows.T[1:]:
        span = int(column.max()) + 2
        _, key = np.unique(key * span + column + 1, return_inverse=True)
    _, key = np.unique(key, return_inverse=True)
    return key.astype(np.int64)


def _table(
    family: FamilyTimeline,
    code: Ints,
    settled: npt.NDArray[np.int64],
    open_rows: npt.NDArray[np.bool_],
    columns: tuple[str, ...],
    values: list[list[Value]],
) -> AttributeTable:
    done = np.flatnonzero(~open_rows)
    found: list[tuple[Value, ...]] = []
    weights: list[float] = []
    offsets = np.zeros(family.n_codes + 1, dtype=np.int64)
    distinct = np.zeros((0, settled.shape[1] + 1), dtype=np.int64)
    counts = np.zeros(0, dtype=np.int64)
    if len(done):
        distinct, counts = np.unique(np.column_stack([code[done], settled[done]]), axis=0, return_counts=True)
    overall = _commonest(settled[done]) if len(done) else np.full(len(columns), -1, dtype=np.int64)
    starts = np.searchsorted(distinct[:, 0], np.arange(family.n_codes + 1))
    for c in range(family.n_codes):
        rows, number = distinct[starts[c] : starts[c + 1], 1:], counts[starts[c] : starts[c + 1]].astype(float)
        if not len(rows):
            # All rows of the code differ too much: it takes the required values of the commonest row of the table.
            row = np.where([name in _REQUIRED for name in columns], overall, -1)
            rows, number = row[None], np.ones(1)
        order = np.argsort(-number, kind="stable")
        for i in order:
            found.append(tuple(values[j][v] if v >= 0 else None for j, v in enumerate(rows[i].tolist())))
        weights += (number[order] / number.sum()).tolist()
        offsets[c + 1] = len(found)
    return AttributeTable(columns=columns, rows=tuple(found), offsets=offsets, weight=np.array(weights))


def _commonest(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    row: npt.NDArray[np.int64] = distinct[int(counts.argmax())]
    return row
