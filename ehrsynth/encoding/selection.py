"""Timelines of chosen patients (a validation fold, a sample to start from, a bootstrap) or of chosen visits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.encoder import DAYS_PER_YEAR
from ehrsynth.encoding.timeline import OF_ROWS, FamilyTimeline, Timelines
from ehrsynth.probability.ragged import ranges

__all__ = ["DAY_MINUTES", "select_patients", "select_visits", "split_patients"]

DAY_MINUTES = 1440


def select_patients(timelines: Timelines, patients: npt.NDArray[np.int64]) -> Timelines:
    """Return the timelines of `patients` in the given order; a patient may be named more than once."""
    lengths = np.diff(timelines.offsets)[patients]
    visits = ranges(timelines.offsets[patients], lengths)

    return timelines.part(
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        patients=patients,
        visits=visits,
        families={name: _family(family, visits) for name, family in timelines.families.items()},
    )


def select_visits(timelines: Timelines, kept: npt.NDArray[np.bool_]) -> Timelines:
    """Return the timelines of some visits as if there had been no others: gaps, numbers, ages and tails are theirs.

    Parameters
    ----------
    timelines : Timelines
        Without rows of `UNION`.
    kept : bool[V]
        At least one visit of each patient.
    """
    visits = np.flatnonzero(kept)
    owner = timelines.patient_of_visit[visits]
    lengths = np.bincount(owner, minlength=timelines.n_patients)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    first, last = offsets[:-1], offsets[1:] - 1
    elapsed = timelines.elapsed_days
    ends = elapsed + (np.maximum(timelines.start_minute, 0) + np.maximum(timelines.stay_minutes, 0)) // DAY_MINUTES
    gap = np.full(len(visits), -1, dtype=np.int64)
    gap[:-1] = np.diff(elapsed[visits])
    gap[last] = -1
    # Days between the end of the last visit that was and of the last one that is.
    later = ends[timelines.offsets[1:] - 1] - ends[visits[last]]
    some = timelines.part(
        offsets=offsets,
        patients=slice(None),
        visits=visits,
        families={name: _family(family, visits) for name, family in timelines.families.items()},
    )
    days = {
        name: np.where(getattr(some, name) >= 0, np.maximum(getattr(some, name) + sign * later, 0), -1)
        for name, sign in (("death_days", 1), ("tail_days", 1), ("last_day", -1))
    }
    return replace(
        some,
        number=(np.arange(len(visits)) - first[owner] + 1).astype(np.int32),
        age_at_start=timelines.age_at_start + elapsed[visits[first]] / DAYS_PER_YEAR,
        gap_days=gap,
        death_days=days["death_days"],
        tail_days=days["tail_days"],
        last_day=days["last_day"],
    )


def _family(family: FamilyTimeline, visits: npt.NDArray[np.int64]) -> FamilyTimeline:
    lengths = np.diff(family.offsets)[visits]
    entries = ranges(family.offsets[visits], lengths)
    first = np.searchsorted(family.row_visit, visits)
    n_rows = np.searchsorted(family.row_visit, visits, side="right") - first
    rows = ranges(first, n_rows)
    return replace(
        family,
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        codes=family.codes[entries],
        counts=family.counts[entries],
        visit_codes=family.visit_codes[visits],
        row_visit=np.repeat(np.arange(len(visits), dtype=np.int32), n_rows),
        **{name: getattr(family, name)[rows] for name in OF_ROWS},
    )


def split_patients(
    n: int, fraction: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the patients 0..n-1 at random into (rest, about `fraction` * n of them), both ascending; neither is empty.

    At least two patients.
    """
    order = generator.permutation(n)
    size = min(max(round(n * fraction), 1), n - 1)
    return np.sort(order[size:]), np.sort(order[:size])
