"""Times of OMOP rows: a date and perhaps a time, how exact they are, and whether they lie within a life."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Account
from ehrsynth.readers.source import SourceTable

__all__ = [
    "ABSENT",
    "DAY",
    "GRACE_DAYS",
    "Exactness",
    "Lives",
    "as_dates",
    "as_times",
    "cut_to_lives",
    "days",
    "moments",
    "within_lives",
]

DAY = 86_400
GRACE_DAYS = 1
"""Rows that start up to this many days after the death are paperwork of the last day and taken; later ones are not."""

ABSENT = np.iinfo(np.int64).min
"""Stands for no time in arrays of seconds or days."""

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Lives:
    """Birth and death of each patient.

    Attributes
    ----------
    birth_day : int64 array, shape (n_patients,), days since 1970
    death : int64 array, shape (n_patients,), seconds since 1970
        The last second of the day where only the day is known; the greatest integer where the patient did not die.
    """

    birth_day: Times
    death: Times


def days(dates: pa.ChunkedArray) -> Times:
    """Return dates as days since 1970, `ABSENT` for none."""
    numbers = dates.cast(pa.int32()).cast(pa.int64())
    result: Times = pc.fill_null(numbers, ABSENT).to_numpy()
    return result


def seconds(times: pa.ChunkedArray) -> Times:
    """Return times as seconds since 1970, `ABSENT` for none."""
    result: Times = pc.fill_null(times.cast(pa.int64()), ABSENT).to_numpy()
    return result


def moments(table: SourceTable, date: str, time: str) -> tuple[Times, Mask]:
    """Return when something was, in seconds since 1970, and whether the row has a time of day at all.

    Parameters
    ----------
    date, time : str
        Columns, parsed as date and datetime; either may be missing or empty. Where both are there and lie on different
        days the date stands: it is the column that OMOP requires.
    """
    day = days(table.get(date, pa.date32())) if date in table else np.full(len(table), ABSENT)
    second = seconds(table.get(time, pa.timestamp("s"))) if time in table else np.full(len(table), ABSENT)
    timed = (second != ABSENT) & ((day == ABSENT) | (second // DAY == day))
    return np.where(timed, second, np.where(day == ABSENT, ABSENT, day * DAY)), timed


@dataclass(frozen=True)
class Exactness:
    """How exact the times of each row are: to the `finest` unit of the file, or to the day where there is no time."""

    finest: str
    timed: Mask

    @classmethod
    def of(cls, *columns: tuple[Times, Mask]) -> Exactness:
        """Return the exactness of rows with these times (as from `moments`).

        A file says so as a whole: if every time in its columns is midnight only days are known, if no second is other
        than zero minutes are.
        """
        times = np.concatenate([moment[timed] for moment, timed in columns])
        finest = "second" if (times % 60).any() else "minute" if (times % DAY).any() else "day"
        return cls(finest, np.logical_or.reduce([timed for _, timed in columns]))

    def keep(self, mask: Mask) -> Exactness:
        """Return the exactness of the rows that are kept."""
        return Exactness(self.finest, self.timed[mask])

    def names(self) -> pa.Array:
        """Return ``day``, ``minute`` or ``second`` for each row."""
        return pa.array([self.finest, "day"]).take(pa.array(np.where(self.timed, 0, 1)))

    def floor(self, moment: Times) -> Times:
        """Return times without digits finer than is known."""
        unit = np.where(self.timed, {"day": DAY, "minute": 60, "second": 1}[self.finest], DAY)
        return np.where(moment == ABSENT, ABSENT, moment // unit * unit)


def as_times(moment: Times) -> pa.Array:
    """Return seconds since 1970 as times."""
    absent = moment == ABSENT
    return pa.array(np.where(absent, 0, moment), mask=absent).cast(pa.timestamp("s"))


def as_dates(moment: Times) -> pa.Array:
    """Return seconds since 1970 as dates."""
    absent = moment == ABSENT
    return pa.array(np.where(absent, 0, moment // DAY).astype(np.int32), mask=absent).cast(pa.date32())


def within_lives(
    table: SourceTable, account: Account, patients: Times, lives: Lives, start: Times, column: str
) -> Mask:
    """Set rows aside that start on a day before the birth, or more than `GRACE_DAYS` days after the day of death.

    Only the start is judged: a prescription is planned into the future. Returns which rows are kept, shape (n,).
    """
    dated = start != ABSENT
    early = dated & (start // DAY < lives.birth_day[patients])
    late = dated & ~early & (start // DAY > lives.death[patients] // DAY + GRACE_DAYS)
    account.set_aside(table, early, reason="before birth", column=column)
    account.set_aside(table, late, reason="after death", column=column)
    kept: Mask = ~(early | late)
    return kept


def cut_to_lives(
    table: SourceTable,
    account: Account,
    patients: Times,
    lives: Lives,
    times: tuple[Times, Times],
    columns: tuple[str, str],
    *,
    unit: int = 1,
) -> tuple[Times, Times]:
    """Return start and end without ends before their start (left out) and times after death (moved to it); counted.

    `unit` is how fine the times are that are taken, in seconds: of dates, a later hour of the same day is no change.
    """
    start, end = times
    death = lives.death[patients]
    backward = (end != ABSENT) & (start != ABSENT) & (end < start)
    account.adjust(table, backward, what="ends before it starts: the end was left out", column=columns[1])
    end = np.where(backward, ABSENT, end)
    for moment, column, what in (
        (start, columns[0], "starts just after the death: moved to it"),
        (end, columns[1], "ends after the death: cut to it"),
    ):
        account.adjust(table, moment // unit > death // unit, what=what, column=column)
    return np.minimum(start, death), np.minimum(end, death)
