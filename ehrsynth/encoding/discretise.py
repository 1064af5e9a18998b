"""From values to a few levels or bins, each of which enough distinct patients stand behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.timeline import Levels

__all__ = [
    "Choice",
    "age_bins",
    "age_bins_of",
    "age_groups",
    "distinct_patients",
    "levels",
    "seen_between",
    "stratum_ages_of",
    "stratum_groups",
]

Ints = npt.NDArray[np.integer[Any]]


def distinct_patients(groups: Ints, patients: Ints, n_groups: int) -> npt.NDArray[np.int64]:
    """Return how many distinct patients each group 0..n_groups-1 has, from (group, patient) pairs.

    Groups below 0 are ignored.
    """
    kept = groups >= 0
    groups, patients = groups[kept].astype(np.int64), patients[kept].astype(np.int64)
    if not len(groups):
        return np.zeros(n_groups, dtype=np.int64)
    n_patients = int(patients.max()) + 1
    pairs = np.unique(groups * n_patients + patients)
    return np.bincount(pairs // n_patients, minlength=n_groups)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which labels of a column are kept: `kept` in order; the others of the source are merged into one of these.

    Attributes
    ----------
    kept : tuple of str
    empty : str or None
        See `levels`.
    rare : int
        How many labels were merged.
    commonest : str
        Of all labels, whether kept or not.
    """

    kept: tuple[str, ...]
    empty: str | None
    rare: int
    commonest: str

    @classmethod
    def of(cls, counts: Mapping[str, int], min_patients: int, empty: str | None) -> Choice:
        """Choose by the number of patients of each label."""
        order = sorted(counts, key=lambda label: (-counts[label], label))
        named = [label for label in order if label != empty]
        return cls(
            kept=tuple(label for label in named if counts[label] >= min_patients),
            empty=empty,
            rare=sum(1 for label in named if 0 < counts[label] < min_patients),
            commonest=order[0] if order else "",
        )

    def index(self, labels: Sequence[str], old: Ints) -> npt.NDArray[np.int64]:
        """Return the place among the kept labels of each row, whose label is `old` (-1: none), or -1 for others."""
        place = {label: i for i, label in enumerate(self.kept)}
        return np.array([*(place.get(label, -1) for label in labels), -1], dtype=np.int64)[old]

    def levels(self, index: Ints, n_rest: int, min_patients: int) -> Levels:
        """Return the column of rows whose places among the kept labels are `index`, -1 for others.

        `n_rest` patients have a value that is not kept. It takes the empty label, last, if that stands for enough of
        them, else the commonest one.
        """
        labels = self.kept
        if n_rest and (not labels or (self.empty is not None and n_rest >= min_patients)):
            labels = (*labels, self.commonest if self.empty is None else self.empty)
        rest = len(labels) - 1 if len(labels) > len(self.kept) else 0
        return Levels(labels=labels, index=np.where(index < 0, rest, index).astype(np.int32), left_out=self.rare)


def levels(
    index: Ints,
    labels: Sequence[str],
    patients: Ints,
    *,
    min_patients: int,
    empty: str | None = "",
) -> Levels:
    """Merge the labels that fewer than `min_patients` patients have.

    Parameters
    ----------
    index : int[n]
        Label of each row, negative for an empty value.
    labels : sequence of str
    patients : int[n]
        Patient of each row.
    min_patients : int
    empty : str or None
        Label that stands for empty values and takes the rare ones. Where even it has too few patients, and with None
        (a value is always required), they go to the commonest label.

    Returns
    -------
    Levels
        Labels in descending order of patients (ties: in the order of the text); `empty`, if any row has it, last.
    """
    index = np.asarray(index, dtype=np.int64)
    n_patients = distinct_patients(index, patients, len(labels))
    choice = Choice.of(dict(zip(labels, n_patients.tolist(), strict=True)), min_patients, empty)
    new = choice.index(labels, index)
    return choice.levels(new, len(np.unique(patients[new < 0])), min_patients)


def age_bins(ages: npt.NDArray[np.floating[Any]], min_per_bin: int) -> npt.NDArray[np.float64]:
    """Return the edges of bins of ages, whole years, each of at least `min_per_bin` patients or of none.

    Bins are made from the youngest up; what is left over at the top joins the last bin. Where a source knows only bands
    of age (all of a decade on one year), those years are bins of their own and what lies between is empty.

    Parameters
    ----------
    ages : float[n]
        Years, at least 0, one for each patient.
    min_per_bin : int

    Returns
    -------
    float64[bins + 1]
        Ascending; bin i is [edges[i], edges[i + 1]).
    """
    return age_bins_of(np.bincount(np.floor(ages).astype(np.int64)), min_per_bin)


def age_bins_of(counts: npt.NDArray[np.int64], min_per_bin: int) -> npt.NDArray[np.float64]:
    """Return the edges of `age_bins` from the number of patients of each completed year from 0."""
    first = int(np.flatnonzero(counts)[0])
    counts = counts[first:]
    # A year that holds more than its four neighbours on either side together stands for a band.
    around = np.convolve(counts, np.ones(9, dtype=np.int64))[4 : 4 + len(counts)]
    alone = (counts >= min_per_bin) & (counts * 2 > around) & (len(counts) > 1)
    edges = [0]
    running = 0
    for year, count in enumerate(counts.tolist()):
        if alone[year] and year > edges[-1] and running == 0:
            edges.append(year)
        running += count
        if running >= min_per_bin:
            edges.append(year + 1)
            running = 0
    if running and len(edges) > 1:
        edges[-1] = len(counts)
    elif edges[-1] < len(counts):
        edges.append(len(counts))
    return np.array(edges, dtype=np.float64) + first


_BANDS = (0.0, 1.0, 5.0, 12.0, 18.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
"""The usual bands of age, in years."""

_FINE = tuple(
    sorted(
        {
            *_BANDS,
            *(month / 12 for month in range(1, 12)),
            *(quarter / 4 for quarter in range(4, 12)),
            *(half / 2 for half in range(6, 12)),
            *(float(year) for year in range(6, 20)),
            *(float(year) for year in range(20, 90, 2)),
        }
    )
)
"""What they are parted into where enough people are seen in each part: children change in weeks."""


def age_groups(age_edges: Sequence[float]) -> npt.NDArray[np.int64]:
    """Return the usual band of age that each band begins in, numbered from 0 without a gap, int64[A]."""
    usual = np.searchsorted(_BANDS, np.asarray(age_edges[:-1]), side="right")
    return np.unique(usual, return_inverse=True)[1].astype(np.int64)


def stratum_groups(n_strata: int, groups: Ints) -> npt.NDArray[np.int64]:
    """Return the sex and group of bands of age of each stratum as one number from 0, int64[R]; strata are by sex, age.

    `groups` are those of the bands of age, see `age_groups`.
    """
    sex, band = np.divmod(np.arange(n_strata), len(groups))
    return (sex * (int(groups.max()) + 1) + groups[band]).astype(np.int64)


def seen_between(ages: npt.NDArray[np.floating[Any]], patients: Ints) -> npt.NDArray[np.int64]:
    """Return how many patients are seen at least once in the fine bands i..j of age, int64[bands, bands]; additive.

    Parameters
    ----------
    ages : float[n]
        Years, of the `patients` at all their visits.
    patients : int[n]
    """
    n_bands = len(_FINE)
    band = np.maximum(np.searchsorted(_FINE, ages, side="right") - 1, 0)
    there = np.zeros((int(patients.max(initial=-1)) + 1, n_bands), dtype=bool)
    there[patients, band] = True
    seen = np.zeros((n_bands, n_bands), dtype=np.int64)
    for first in range(n_bands):
        seen[first, first:] = np.logical_or.accumulate(there[:, first:], axis=1).sum(axis=0)
    return seen


def stratum_ages_of(seen: npt.NDArray[np.int64], min_per_band: int, *, fine: bool = True) -> tuple[float, ...]:
    """Return age edges for strata (years, the last infinite) from the counts of `seen_between`.

    Bands are made from the youngest up, each of at least `min_per_band` patients; what is left over at the top joins
    the last one. Where nobody is seen for some bands (a source may know decades only) the edge is a usual one.
    Not `fine`: all edges are.
    """
    edges: list[float] = [0.0]
    first = 0
    for band in range(len(seen) - 1):
        if seen[first, band] >= min_per_band and (fine or _FINE[band + 1] in _BANDS):
            empty = int((seen[band + 1, band + 1 :] == 0).sum())
            between = _FINE[band + 1 : band + 2 + min(empty, len(seen) - band - 2)]
            edges.append(next((edge for edge in between if edge in _BANDS), between[0]))
            first = band + 1
    if seen[first, -1] < min_per_band and len(edges) > 1:
        edges.pop()
    return (*edges, float("inf"))
