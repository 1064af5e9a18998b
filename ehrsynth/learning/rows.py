"""The rows that codes were in, beside the timelines: here or in parts elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Generic, Protocol, TypeVar, cast

import pyarrow as pa

from ehrsynth.encoding import Cohort, Timelines

__all__ = ["Here", "Part", "Parts", "RowCohort"]

C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


class Parts(Protocol[C]):
    """Parts of the patients in order, wherever they are: functions go to them, and what they return comes back."""

    def map(self, function: Callable[[C], D]) -> Parts[D]:
        """Make a part of each part, which stays where it is. A part that is None is nobody's, and passed over."""

    def each(self, function: Callable[[C], T]) -> Iterator[T]:
        """Yield what is not None of the function of each part, in order."""

    def total(self, function: Callable[[C], T]) -> T:
        """Return the sum of the function over the parts, added in their order."""

    def scatter(self, parts: Sequence[D]) -> Parts[D]:
        """Send parts of this process to where the others are."""

    def beside(self, parts: Sequence[D]) -> Parts[D]:
        """Keep parts of this process where it can look at them again and again."""

    def regroup(self, split: Callable[[C], list[tuple[int, C]]], join: Callable[[list[C]], C], n: int) -> Parts[C]:
        """Make `n` parts of the pieces that `split` makes of each part: of those of number 0, 1, ..., in order."""

    def release(self) -> None:
        """Give up what was kept."""


@dataclass(frozen=True)
class Here(Generic[C]):
    """Parts in this process."""

    parts: Sequence[C]

    def map(self, function: Callable[[C], D]) -> Parts[D]:
        """Make a part of each part."""
        return cast(Parts[D], Here([function(part) for part in self.parts if part is not None]))

    def each(self, function: Callable[[C], T]) -> Iterator[T]:
        """Yield the function of each part."""
        return (made for part in self.parts if part is not None and (made := function(part)) is not None)

    def total(self, function: Callable[[C], T]) -> T:
        """Return the sum of the function over the parts."""
        return reduce(cast(Any, add), self.each(function))

    def scatter(self, parts: Sequence[D]) -> Parts[D]:
        """Keep parts."""
        return Here(parts)

    def beside(self, parts: Sequence[D]) -> Parts[D]:
        """Keep parts."""
        return Here(parts)

    def regroup(self, split: Callable[[C], list[tuple[int, C]]], join: Callable[[list[C]], C], n: int) -> Parts[C]:
        """Make `n` parts of the pieces of all."""
        pieces: list[list[C]] = [[] for _ in range(n)]
        for made in self.each(split):
            for number, piece in made:
                pieces[number].append(piece)
        return Here([join(some) for some in pieces])

    def release(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Timelines of some patients, and the tables that their `row_index` points into."""

    timelines: Timelines
    tables: Mapping[str, pa.Table]


@dataclass(frozen=True, kw_only=True, eq=False)
class RowCohort:
    """Patients and their rows.

    Attributes
    ----------
    cohort : Cohort
    parts : Parts of Part
    """

    cohort: Cohort
    parts: Parts[Part]

    @classmethod
    def here(cls, timelines: Timelines, tables: Mapping[str, pa.Table]) -> RowCohort:
        """Return all of them, in this process."""
        return cls(cohort=timelines, parts=cast(Parts[Part], Here([Part(timelines=timelines, tables=tables)])))
