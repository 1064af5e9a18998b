"""The other columns of a family's rows, as joint rows that enough patients stand behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding.census import added
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.rows import Part, RowCohort
from ehrsynth.model import AttributeTable

__all__ = ["COLUMNS", "learn_attributes"]

Ints = npt.NDArray[np.int64]
Value = str | float | int | bool | None
Row = tuple[int, ...]

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


@dataclass(frozen=True, eq=False)
class _Sums:
    """Numbers by key, or by column and key; additive."""

    of: Mapping[Any, Any]

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(added(self.of, other.of))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Coded:
    """The distinct (code, values..., patient) of a part: `rows` int64[m, 1 + d], -1 for blank, and how many of each."""

    rows: npt.NDArray[np.int64]
    patient: Ints
    count: Ints


def learn_attributes(
    rows: RowCohort, name: str, *, min_patients: int, blank: dict[str, npt.NDArray[np.bool_]] | None = None
) -> AttributeTable | None:
    """Return the joint rows of the columns of `COLUMNS` by code, or None if all of them are blank.

    A joint row that fewer than `min_patients` patients have with the code gives up its least important columns, one
    group after the other, until enough have what is left; what never gets there joins the commonest row of its code.
    Required columns are never blank: their rare values become the table's commonest.

    Parameters
    ----------
    rows : RowCohort
    name : str
        Of the table.
    min_patients : int
    blank : mapping of column to bool[C], optional
        Codes for which a column is not learned here.
    """
    support = rows.parts.total(partial(_support, name=name)).of
    kept: dict[str, list[Value]] = {}
    for column, counts in support.items():
        # Among equals the one that comes first in the source.
        kept[column] = [value for value in sorted(counts, key=lambda v: -counts[v]) if counts[value] >= min_patients]
    groups = [group for group in COLUMNS[name] if any(kept[column] for column in group)]
    columns = [column for group in groups for column in group]
    if not columns:
        return None
    coded = rows.parts.map(partial(_code, name=name, values={one: kept[one] for one in columns}, blank=blank or {}))
    required = sum(1 for group in groups if group[0] in _REQUIRED)
    settled: list[tuple[int, frozenset[Row]]] = []
    for kept_groups in range(len(groups), required - 1, -1):
        width = sum(len(group) for group in groups[:kept_groups])
        people = coded.total(partial(_people, settled=tuple(settled), width=width)).of
        settled.append((width, frozenset(row for row, n in people.items() if n >= min_patients)))
    counts = coded.total(partial(_counts, settled=tuple(settled))).of
    coded.release()
    n_codes = rows.cohort.vocabulary.families[name].n_codes
    return _table(n_codes, counts, tuple(columns), [kept[column] for column in columns])


def _encoded(column: pa.ChunkedArray) -> tuple[Ints, list[Value]]:
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return np.asarray(array.indices.fill_null(-1), dtype=np.int64), array.dictionary.to_pylist()


def _support(part: Part, name: str) -> _Sums:
    """Return how many patients have each value of each column."""
    family = part.timelines.families[name]
    at, patients = pa.array(family.row_index), part.timelines.patient_of_visit[family.row_visit]
    found: dict[Any, Any] = {}
    for column in (column for group in COLUMNS[name] for column in group):
        index, labels = _encoded(part.tables[name][column].take(at))
        support = distinct_patients(index, patients, len(labels)).tolist()
        found[column] = {label: n for label, n in zip(labels, support, strict=True) if n}
    return _Sums(found)


def _code(
    part: Part, name: str, values: Mapping[str, Sequence[Value]], blank: Mapping[str, npt.NDArray[np.bool_]]
) -> _Coded:
    family = part.timelines.families[name]
    at, patients = pa.array(family.row_index), part.timelines.patient_of_visit[family.row_visit]
    code = family.row_code.astype(np.int64)
    found = [code]
    for column, kept in values.items():
        index, labels = _encoded(part.tables[name][column].take(at))
        place = {value: i for i, value in enumerate(kept)}
        # The last is for blank rows.
        new = np.array([*(place.get(label, -1) for label in labels), -1], dtype=np.int64)[index]
        if column in _REQUIRED and kept:
            new[new < 0] = 0
        if column in blank:
            new[blank[column][family.row_code]] = -1
        found.append(new)
    rows = np.column_stack([*found, patients])
    if len(rows):
        number = _number(rows)
        _, first, count = np.unique(number, return_index=True, return_counts=True)
        rows = rows[first]
    else:
        count = np.zeros(0, dtype=np.int64)
    return _Coded(rows=rows[:, :-1], patient=rows[:, -1], count=count)


def _groups(rows: npt.NDArray[np.int64], width: int) -> tuple[Ints, list[Row]]:
    """Return (the number of each row without the columns after the first `width`, the distinct rows)."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64), []
    cut = rows.copy()
    cut[:, 1 + width :] = -1
    number = _number(cut)
    _, first = np.unique(number, return_index=True)
    return number, [tuple(row) for row in cut[first].tolist()]


def _settle(
    coded: _Coded, settled: tuple[tuple[int, frozenset[Row]], ...]
) -> tuple[npt.NDArray[np.bool_], list[tuple[Ints, Ints, list[Row]]]]:
    """Return (which rows are open still; for each step, which rows it settled, their numbers and what these are)."""
    still = np.ones(len(coded.rows), dtype=bool)
    steps = []
    for width, enough in settled:
        at = np.flatnonzero(still)
        number, distinct = _groups(coded.rows[at], width)
        done = np.array([row in enough for row in distinct], dtype=bool)[number] if len(at) else np.zeros(0, dtype=bool)
        steps.append((at[done], number[done], distinct))
        still[at[done]] = False
    return still, steps


def _people(coded: _Coded, settled: tuple[tuple[int, frozenset[Row]], ...], width: int) -> _Sums:
    """Return how many patients have each row that is not settled, without the columns after the first `width`."""
    at = np.flatnonzero(_settle(coded, settled)[0])
    number, distinct = _groups(coded.rows[at], width)
    support = distinct_patients(number, coded.patient[at], len(distinct))
    return _Sums(dict(zip(distinct, support.tolist(), strict=True)))


def _counts(coded: _Coded, settled: tuple[tuple[int, frozenset[Row]], ...]) -> _Sums:
    """Return how many rows were settled as each."""
    total: dict[Any, Any] = {}
    for at, number, distinct in _settle(coded, settled)[1]:
        n = np.bincount(number, coded.count[at], len(distinct)).astype(np.int64).tolist()
        total = added(total, {row: k for row, k in zip(distinct, n, strict=True) if k})
    return _Sums(total)


def _number(rows: npt.NDArray[np.int64]) -> Ints:
    """Return the number of each distinct row, int64[n], in lexicographic order."""
    key = rows[:, 0] - rows[:, 0].min()
    for column in rows.T[1:]:
        span = int(column.max()) + 2
        _, key = np.unique(key * span + column + 1, return_inverse=True)
    _, key = np.unique(key, return_inverse=True)
    return key.astype(np.int64)


def _table(
    n_codes: int, counts: Mapping[Row, int], columns: tuple[str, ...], values: list[list[Value]]
) -> AttributeTable:
    found: list[tuple[Value, ...]] = []
    weights: list[float] = []
    offsets = np.zeros(n_codes + 1, dtype=np.int64)
    distinct = sorted(counts)
    by_code: dict[int, list[Row]] = {}
    overall: dict[Row, int] = {}
    for row in distinct:
        by_code.setdefault(row[0], []).append(row)
        overall[row[1:]] = overall.get(row[1:], 0) + counts[row]
    commonest = max(sorted(overall), key=overall.__getitem__) if overall else (-1,) * len(columns)
    for c in range(n_codes):
        rows = [row[1:] for row in by_code.get(c, [])]
        number = np.array([counts[row] for row in by_code.get(c, [])], dtype=float)
        if not rows:
            # All rows of the code differ too much: it takes the required values of the commonest row of the table.
            rows = [tuple(v if name in _REQUIRED else -1 for v, name in zip(commonest, columns, strict=True))]
            number = np.ones(1)
        order = np.argsort(-number, kind="stable")
        for i in order:
            found.append(tuple(values[j][v] if v >= 0 else None for j, v in enumerate(rows[i])))
        weights += (number[order] / number.sum()).tolist()
        offsets[c + 1] = len(found)
    return AttributeTable(columns=columns, rows=tuple(found), offsets=offsets, weight=np.array(weights))
