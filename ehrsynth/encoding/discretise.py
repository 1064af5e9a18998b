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
    "band_sets",
    "distinct_patients",
    "levels",
    "stratum_ages",
    "stratum_ages_of",
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


def stratum_ages(
    ages: npt.NDArray[np.floating[Any]], min_per_band: int, patients: Ints | None = None
) -> tuple[float, ...]:
    """Return age edges for strata (years, the last infinite): usual bands, merged below `min_per_band` patients.

    Parameters
    ----------
    ages : float[n]
        Years: the age of each patient, or of the `patients` at all their visits.
    min_per_band : int
    patients : int[n], optional
        Whose age each is; default: one for each patient.
    """
    return stratum_ages_of(band_sets(ages, np.arange(len(ages)) if patients is None else patients), min_per_band)


def band_sets(ages: npt.NDArray[np.floating[Any]], patients: Ints) -> npt.NDArray[np.int64]:
    """Return how many patients are seen in each set of the usual bands, int64[2**bands]; bit b is the band b."""
    band = np.maximum(np.searchsorted(_BANDS, ages, side="right") - 1, 0)
    there = np.zeros((int(patients.max(initial=-1)) + 1, len(_BANDS)), dtype=np.int64)
    there[patients, band] = 1
    return np.bincount(there @ (1 << np.arange(len(_BANDS))), minlength=1 << len(_BANDS))


def stratum_ages_of(sets: npt.NDArray[np.int64], min_per_band: int) -> tuple[float, ...]:
    """Return the edges of `stratum_ages` from the counts of `band_sets`."""
    edges: list[float] = [0.0]
    number = np.arange(len(sets))
    mine = np.zeros(len(sets), dtype=bool)
    running = 0
    for bit, upper in enumerate([*_BANDS[1:], np.inf]):
        mine |= (number >> bit & 1) > 0
        running = int(sets[mine].sum())
        if running >= min_per_band and upper < np.inf:
            edges.append(upper)
            mine[:] = False
            running = 0
    if running < min_per_band and len(edges) > 1:
        edges.pop()
    return (*edges, float("inf"))
