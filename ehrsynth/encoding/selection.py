"""Timelines of chosen patients: a validation fold, a sample to start from, a bootstrap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.timeline import OF_ROWS, FamilyTimeline, Timelines
from ehrsynth.probability.ragged import ranges

__all__ = ["select_patients", "split_patients"]


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
