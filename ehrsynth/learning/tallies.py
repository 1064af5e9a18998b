"""Additive counts of visits: from the sum over all parts of the patients follows every bin, band and histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.discretise import seen_between
from ehrsynth.encoding.union import UNION
from ehrsynth.probability.sketch import ValueSketch

__all__ = ["KnownValues", "PaddedCounts", "Tally", "VisitShape", "add_padded", "known_of_visits"]

Ints = npt.NDArray[np.integer[Any]]


def add_padded(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sum of counts of 0, 1, ..., of which one may end before the other."""
    total = np.zeros(max(len(left), len(right)), dtype=np.int64)
    total[: len(left)] += left
    total[: len(right)] += right
    return total


@dataclass(frozen=True, eq=False)
class PaddedCounts:
    """Counts of 0, 1, ...; what one does not reach counts 0."""

    counts: npt.NDArray[np.int64]

    def __add__(self, other: PaddedCounts) -> PaddedCounts:
        return PaddedCounts(add_padded(self.counts, other.counts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """How often each whole number comes.

    Attributes
    ----------
    values : int64[m]
        Ascending.
    counts : int64[m]
    """

    values: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, numbers: Ints) -> Tally:
        """Count."""
        values, counts = np.unique(numbers.astype(np.int64), return_counts=True)
        return cls(values=values, counts=counts.astype(np.int64))

    def __add__(self, other: Tally) -> Tally:
        values, inverse = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values), dtype=np.int64)
        np.add.at(counts, inverse, np.concatenate([self.counts, other.counts]))
        return Tally(values=values, counts=counts)

    @property
    def total(self) -> int:
        """How many numbers."""
        return int(self.counts.sum())

    def above(self, bound: int) -> Tally:
        """Return the tally of the numbers greater than `bound`."""
        kept = self.values > bound
        return Tally(values=self.values[kept], counts=self.counts[kept])

    def at(self, places: Ints) -> npt.NDArray[np.int64]:
        """Return the numbers at these places, from 0, of the ascending order."""
        return self.values[np.searchsorted(np.cumsum(self.counts), places, side="right")]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownValues:
    """Whole numbers that are not negative, and how many patients have one; additive."""

    sketch: ValueSketch | None
    patients: int

    @classmethod
    def of(cls, values: Ints, patients: Ints) -> KnownValues:
        """Summarise the values of some patients: all of theirs."""
        known = values >= 0
        if not known.any():
            return cls(sketch=None, patients=0)
        return cls(sketch=ValueSketch.of(values[known], patients[known]), patients=len(np.unique(patients[known])))

    def __add__(self, other: KnownValues) -> KnownValues:
        if self.sketch is None or other.sketch is None:
            return self if other.sketch is None else other
        return KnownValues(sketch=self.sketch.merge(other.sketch), patients=self.patients + other.patients)


def known_of_visits(timelines: Timelines, name: str) -> KnownValues:
    """Return the known values of a column of visits."""
    return KnownValues.of(getattr(timelines, name), timelines.patient_of_visit)


@dataclass(frozen=True, kw_only=True, eq=False)
class VisitShape:
    """Counts of patients and visits.

    Attributes
    ----------
    ages : int64[bands, bands]
        Patients seen between two bands of age, see `seen_between`.
    visits : int64[m]
        Patients of 0, 1, ... visits.
    ends : Tally
        Days from a patient's first visit to the last.
    sizes : mapping of table to int64[k]
        Visits of 0, 1, ... codes, of the conditions and of all codes.
    """

    ages: npt.NDArray[np.int64]
    visits: npt.NDArray[np.int64]
    ends: Tally
    sizes: dict[str, npt.NDArray[np.int64]]

    @classmethod
    def of(cls, timelines: Timelines) -> VisitShape:
        """Count a part."""
        patients = timelines.patient_of_visit
        return cls(
            ages=seen_between(timelines.age_years.astype(np.float64), patients),
            visits=np.bincount(np.diff(timelines.offsets)),
            ends=Tally.of(timelines.elapsed_days[timelines.offsets[1:] - 1]),
            sizes={
                name: np.bincount(timelines.families[name].visit_codes)
                for name in ("condition", UNION)
                if name in timelines.families
            },
        )

    def __add__(self, other: VisitShape) -> VisitShape:
        return VisitShape(
            ages=self.ages + other.ages,
            visits=add_padded(self.visits, other.visits),
            ends=self.ends + other.ends,
            sizes={name: add_padded(sizes, other.sizes[name]) for name, sizes in self.sizes.items()},
        )
