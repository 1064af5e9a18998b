"""What is true of the drugs of one person together: none twice, doses raised step by step, none that harm a child."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import NEVER
from ehrsynth.generation.life_course.segments import order_of, starts

__all__ = ["Therapies", "spans", "titrated", "without_doubles"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Therapies:
    """Drugs that people take for a while.

    Attributes
    ----------
    patient, episode, row : int64[t]
        Who, for which episode, and row of the treatments.
    start, stop : int64[t]
        First day, and the day after the last; `NEVER` where it goes on.
    """

    patient: Int
    episode: Int
    row: Int
    start: Int
    stop: Int

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Int | Bool) -> Therapies:
        """Return some of them."""
        return Therapies(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    @staticmethod
    def concat(*parts: Therapies) -> Therapies:
        """Return all of them."""
        return Therapies(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Therapies.__dataclass_fields__}
        )


def without_doubles(found: Therapies, group: Int, fixed: Bool) -> Therapies:
    """Return the therapies without those that begin while the person has another of the same group.

    `group` [rows] is the group of drugs of each treatment; who has a drug that is `fixed` [t] keeps it: what overlaps
    it goes.
    """
    if not len(found):
        return found
    base = int(group.max()) + 1
    key = found.patient * base + group[found.row]
    first = np.full(int(key.max()) + 1, NEVER, dtype=np.int64)
    last = np.zeros(len(first), dtype=np.int64)
    np.minimum.at(first, key[fixed], found.start[fixed])
    np.maximum.at(last, key[fixed], found.stop[fixed])
    clash = ~fixed & (found.start < last[key]) & (found.stop > first[key])
    kept = np.flatnonzero(~clash)
    order = kept[order_of(key[kept], found.start[kept])]
    # A running maximum of the ends within person and group: both count from the first day of the group.
    begin = starts(key[order])
    run = np.cumsum(begin) - 1
    reach = np.maximum.accumulate(run * (NEVER << 2) + found.stop[order])
    before = np.concatenate([[-1], reach[:-1]])
    again = ~begin & (run * (NEVER << 2) + found.start[order] < before) & ~fixed[order]
    return found.take(np.sort(order[~again]))


def titrated(found: Therapies, starts_as: Int, raised: Int) -> Therapies:
    """Return the therapies with those that are begun with a lower dose in two parts.

    `starts_as` [rows] is the treatment with which each is begun (-1: with itself), `raised` [t] the day on which the
    dose is raised (`NEVER`: it is not).
    """
    lower = starts_as[found.row]
    parts = (lower >= 0) & (raised < found.stop)
    before = replace(found.take(parts), row=lower[parts], stop=raised[parts])
    return Therapies.concat(before, replace(found, start=np.where(parts, raised, found.start)))


def spans(found: Therapies, lasting: Bool, group: Int, n: int) -> tuple[Int, Int]:
    """Return the first day and the end of the lasting therapies of each person and group, int64[n, groups]."""
    n_groups = int(group.max(initial=-1)) + 1
    first = np.full((n, n_groups), NEVER, dtype=np.int64)
    last = np.full((n, n_groups), -NEVER, dtype=np.int64)
    at = (found.patient[lasting], group[found.row[lasting]])
    np.minimum.at(first, at, found.start[lasting])
    np.maximum.at(last, at, found.stop[lasting])
    return first, last
