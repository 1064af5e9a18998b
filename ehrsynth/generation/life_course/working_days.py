"""Days on which practices are open: no weekends, no holidays (5 U.S.C. 6103, those on which practices close)."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["nearest_working_day"]

Int = npt.NDArray[np.int64]

_FROM, _TO = 1900, 2200
_FIXED = ((1, 1), (7, 4), (12, 25))
# Month, weekday (Monday is 0), which of the month (-1: the last): Memorial Day, Labor Day, Thanksgiving.
_MOVING = ((5, 0, -1), (9, 0, 1), (11, 3, 4))
_MONDAY = 3
"""1 January 1970 was a Thursday."""


def _day(year: Int, month: int, day: int) -> Int:
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray(first.astype(np.int64) + day - 1)


@cache
def _moves() -> tuple[int, Int]:
    """Return the first day of the calendar, and by how many days each is moved."""
    year = np.arange(_FROM, _TO)
    first = int(_day(year[:1], 1, 1)[0])
    days = np.arange(first, int(_day(year[-1:], 12, 31)[0]) + 1)
    closed = (days + _MONDAY) % 7 >= 5
    for month, day in _FIXED:
        closed[_day(year, month, day) - first] = True
    for month, weekday, which in _MOVING:
        if which < 0:
            end = _day(year + (month == 12), month % 12 + 1, 1) - 1
            found = end - (end + _MONDAY - weekday) % 7
        else:
            begin = _day(year, month, 1)
            found = begin + (weekday - (begin + _MONDAY)) % 7 + 7 * (which - 1)
        closed[found - first] = True
    at = np.arange(len(days))
    before = np.maximum.accumulate(np.where(closed, -1, at))
    after = np.minimum.accumulate(np.where(closed, len(days), at)[::-1])[::-1]
    back = (before >= 0) & (at - before <= after - at)
    return first, np.where(back, before, np.minimum(after, len(days) - 1)) - at


def nearest_working_day(day: Int) -> Int:
    """Return the nearest day on which practices are open, the earlier of two; days since 1970."""
    first, moves = _moves()
    return np.asarray(day + moves[np.clip(day - first, 0, len(moves) - 1)])
