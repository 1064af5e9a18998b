"""Where the time of a learned model comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.histogram import Histogram

__all__ = ["Calendar"]

Float = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Where time comes from.

    Attributes
    ----------
    basis : str
        ``calendar``, ``shifted``, ``offset`` or ``order``, as `Provenance.time_basis` of the source.
    reference_date : str
        ISO date at which generated records end; never today.
    tail_days : Histogram
        Days from the last encounter's end to the end of the record. Visits are laid backwards from the end of the
        record; the record of a person who dies ends with the day of death, at the latest there.
    tail : float [D, bins]
        P(coarse bin of `tail_days` | band of the last visit's days since the first, `Trajectory.elapsed_edges`): who
        is followed for a given time has the longer a tail the earlier the visits end. One row: always alike.
    spread_days : int
        The reference date of a patient lies uniformly up to this many days before `reference_date`: 0 where `tail_days`
        is from true dates, some years where the source's dates were shifted (they say nothing about when).
    birth_date_precision : str
        ``year``, ``month`` or ``day``: what the source knew (generated dates are always exact to the day).
    start_days : Histogram or None
        Days of age at the start of the first encounter: how they lie inside the bins of the network's ``age_at_start``
        (newborns come on the first day, and to be vaccinated on others). None, or no weight in a bin: all days alike.
    """

    basis: str
    reference_date: str
    tail_days: Histogram
    spread_days: int
    birth_date_precision: str = "day"
    tail: Float = field(default_factory=lambda: np.ones((1, 1)))
    start_days: Histogram | None = None
