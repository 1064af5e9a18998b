"""What is ordered together in visits for a reason: sets of drugs and procedures by the conditions of the visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OrderSets"]

Int = npt.NDArray[np.integer[Any]]
Float = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class OrderSets:
    """Codes that come only with conditions, drawn as whole sets: one antibiotic or the other, the cast with its X-ray.

    Codes are numbered through all families, in the order of the model. The sets of a visit are drawn once its
    conditions are, one for each of its `reasons`: the conditions themselves, if they are a reason together, or else the
    largest reasons that they are made of. A reason that is there several times has as many sets, drawn apart: the
    antibiotic, and the pain killer.

    Attributes
    ----------
    led : int32 [L]
        The codes that no visit has otherwise, ascending; none of a limited sex or age.
    reasons : int32 [K, N]
        The conditions of each reason, ascending, at the left; -1 where there are fewer.
    sets : int32 [S, M]
        The codes of each set, as above; all -1: nothing is ordered.
    offsets : int64 [K + 1]
        The rows of reason k are ``offsets[k] : offsets[k + 1]``.
    row_set : int32 [m]
        The set of each row. Each reason has a set with at least `min_patients` people.
    group : int32 [R]
        The sex and band of age of each stratum, numbered from 0 to G - 1.
    weight : float64 [m, 2 * G]
        P(row | reason, group) of visits whose conditions all are new to the person, then of those where one recurs; in
        proportion to it, where there is `period`.
    back_edges : int64 [P] or None
        First day of each band of the days before the end of the record; from 0.
    period : float64 [m, P] or None
        Multiplies the weight by that band: what is prescribed changes with the years.
    """

    led: Int
    reasons: Int
    sets: Int
    offsets: Int
    row_set: Int
    group: Int
    weight: Float
    back_edges: Int | None = None
    period: Float | None = None
