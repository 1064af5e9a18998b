"""Rows of a mapping against the lives of their patients and the days of their encounters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Account, is_true
from ehrsynth.readers.mapping_values import OUT
from ehrsynth.readers.omop_time import ABSENT, DAY, GRACE_DAYS, Lives, as_times, seconds
from ehrsynth.readers.source import SourceTable
from ehrsynth.schema import TableSchema

__all__ = ["MAIN_TIME", "PATIENT", "Stays", "day_of", "fit_into_lives", "link", "put_in_order"]

PATIENT = "@patient"
"""Column that holds the row of each row's patient in the patient table."""

MAIN_TIME = {
    "encounter": "start_datetime",
    "condition": "recorded_date",
    "observation": "effective_datetime",
    "medication_request": "authored_datetime",
    "procedure": "start_datetime",
    "immunization": "occurrence_datetime",
    "allergy_intolerance": "recorded_date",
    "device": "start_datetime",
}
"""The column that says when a row of each table was."""

_SLACK_DAYS = 1
_HALF = np.int64(1) << 23

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Stays:
    """The days of the encounters that have any.

    Attributes
    ----------
    keys : pyarrow.Array of text, shape (n,)
    patient, first_day, last_day : int64 arrays, shape (n,)
        Days since 1970; `first_day` is ABSENT where the encounter has none.
    """

    keys: pa.Array
    patient: Ints
    first_day: Ints
    last_day: Ints

    def on(self, patient: Ints, day: Ints) -> Ints:
        """Return the encounter that each patient began last and that holds the day; -1 for none."""
        dated = np.flatnonzero(self.first_day != ABSENT)
        if not len(dated):
            return np.full(len(patient), -1, dtype=np.int64)
        order = dated[np.lexsort((dated, self.first_day[dated], self.patient[dated]))]
        # One sorted key for (patient, day): days fit into 23 bits either side of 1970.
        begun = self.patient[order] * (_HALF * 2) + self.first_day[order] + _HALF
        known = day != ABSENT
        sought = patient * (_HALF * 2) + np.where(known, day, 0) + _HALF
        at = np.searchsorted(begun, sought, side="right") - 1
        found = order[np.maximum(at, 0)]
        sound = known & (at >= 0) & (self.patient[found] == patient) & (self.last_day[found] >= day)
        result: Ints = np.where(sound, found, -1)
        return result


def day_of(rows: SourceTable, table: TableSchema) -> Ints:
    """Return the day of each row since 1970, ABSENT for none."""
    column = OUT + MAIN_TIME.get(table.name, "")
    if column not in rows:
        return np.full(len(rows), ABSENT)
    moment = seconds(rows[column])
    return np.where(moment == ABSENT, ABSENT, moment // DAY)


def fit_into_lives(
    rows: SourceTable, table: TableSchema, lives: Lives, account: Account, columns: dict[str, str]
) -> SourceTable:
    """Return the rows whose time lies in their patient's life, with other times cut to it; all of that is counted.

    A row before birth, or more than `GRACE_DAYS` days after death, is set aside; within those days it is moved to the
    death. `columns` gives the source column of each canonical one, for the account.
    """
    main = MAIN_TIME.get(table.name, "")
    patient = rows[PATIENT].to_numpy()
    if OUT + main in rows:
        day = day_of(rows, table)
        early = (day != ABSENT) & (day < lives.birth_day[patient])
        late = (day != ABSENT) & ~early & (day > lives.death[patient] // DAY + GRACE_DAYS)
        rows = account.set_aside(rows, early, reason="before birth", column=columns.get(main, ""))
        rows = account.set_aside(rows, late[~early], reason="after death", column=columns.get(main, ""))
        patient = rows[PATIENT].to_numpy()
    for name in table.within_life:
        if OUT + name not in rows:
            continue
        moment = seconds(rows[OUT + name])
        is_date = table[name].type == "date"
        death = lives.death[patient]
        early = (moment != ABSENT) & (moment // DAY < lives.birth_day[patient])
        late = (moment != ABSENT) & ((moment // DAY > death // DAY) if is_date else (moment > death))
        account.adjust(rows, early, what=f"{name} before birth: left out", column=columns.get(name, ""))
        account.adjust(rows, late, what=f"{name} after death: cut to it", column=columns.get(name, ""))
        moment = np.where(
            early, ABSENT, np.where(late, death // (DAY if is_date else 1) * (DAY if is_date else 1), moment)
        )
        rows = rows.with_column(OUT + name, as_times(moment))
    return rows


def put_in_order(rows: SourceTable, table: TableSchema, account: Account, columns: dict[str, str]) -> SourceTable:
    """Leave out of each pair of times in the wrong order the one that is not the row's main time; counted."""
    for first, second in table.order:
        if OUT + first not in rows or OUT + second not in rows:
            continue
        wrong = is_true(pc.greater(rows[OUT + first], rows[OUT + second]))
        other = first if second == MAIN_TIME.get(table.name) else second
        account.adjust(
            rows, wrong, what=f"{first} is later than {second}: {other} was left out", column=columns.get(other, "")
        )
        rows = rows.with_column(OUT + other, pc.if_else(pa.array(wrong), None, rows[OUT + other]))
    return rows


def link(rows: SourceTable, table: TableSchema, stays: Stays, account: Account, columns: dict[str, str]) -> SourceTable:
    """Return the rows with an encounter by their day where they name none, and without one that does not hold the day.

    A row that names an encounter may lie a day beside it (an order before midnight); one further away loses the link.
    """
    column = f"{OUT}encounter_id"
    named = rows.get(column)
    at = pc.fill_null(pc.index_in(named, value_set=stays.keys), -1).to_numpy().astype(np.int64)
    day = day_of(rows, table)
    if len(stays.keys):
        stay = np.maximum(at, 0)
        known = (at >= 0) & (day != ABSENT) & (stays.first_day[stay] != ABSENT)
        outside = known & ((day < stays.first_day[stay] - _SLACK_DAYS) | (day > stays.last_day[stay] + _SLACK_DAYS))
        account.adjust(
            rows,
            outside,
            what="more than a day outside its encounter: the link to it was left out",
            column=columns.get("encounter_id", ""),
        )
        at = np.where(outside, -1, at)
    patient = rows[PATIENT].to_numpy()
    at = np.where(at >= 0, at, stays.on(patient, day))
    return rows.with_column(column, stays.keys.take(pa.array(at, mask=at < 0)))
