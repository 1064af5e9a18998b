"""At which ages a code can come at all: where hardly anybody of very many had it, nobody will.

Odds by age are drawn together where few are seen, and a state whose codes are not due must fill its visits with one of
them; of a thousand people with osteoarthritis, none before thirty, some would have it in kindergarten.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.model import Strata

__all__ = ["possible_ages"]

_YEARS = 121
_TIMES_FEWEST, _TIMES_FEW = 20, 4
"""People who must have a code, in units of the fewest who may be told of; and where few are told of too."""
_SLACK, _GRID = 5, 5
"""Years beyond the ages of all but the fewest, and whole multiples of years."""
_OF_FEW = 10
"""Of few people, in units of the fewest times this, ages may lie as far beyond as the middle one lies within."""


def possible_ages(
    cohort: Cohort, name: str, strata: Strata, min_patients: int, *, few: bool = False
) -> npt.NDArray[np.bool_]:
    """Return in which strata each code of the family `name` may come, bool[R, C].

    Of codes that at least twenty times `min_patients` people have, ages are left out that lie five years and more
    below or above those at which all but `min_patients` - 1 of them have it, by whole five years. If `few`, of codes of
    at least four times as many as well: the fewer people, the more years, in proportion to how far the middle age lies
    within.
    """
    spans = cohort.total(partial(_spans, name=name))
    people = spans[0].sum(axis=1)
    low = np.argmax(np.cumsum(spans[0], axis=1) >= min_patients, axis=1)
    high = _YEARS - 1 - np.argmax(np.cumsum(spans[1][:, ::-1], axis=1) >= min_patients, axis=1)
    half = (people[:, None] + 1) // 2
    middle = np.argmax(np.cumsum(spans[0], axis=1) >= half, axis=1)
    middle_of_last = np.argmax(np.cumsum(spans[1], axis=1) >= half, axis=1)
    many = people >= _TIMES_FEWEST * min_patients
    share = np.where(many, 0.0, _OF_FEW * min_patients / np.maximum(people, 1))
    below = np.maximum(_SLACK, share * (middle - low))
    above = np.maximum(_SLACK, share * (high - middle_of_last))
    known = people >= (_TIMES_FEW if few else _TIMES_FEWEST) * min_patients
    first = np.where(known, np.floor((low - below) / _GRID) * _GRID, -np.inf)
    last = np.where(known, np.ceil((high + 1 + above) / _GRID) * _GRID, np.inf)
    edges = np.asarray(strata.age_edges, dtype=np.float64)
    # The outer bands take the ages beyond them.
    start, stop = np.append(-np.inf, edges[1:-1]), np.append(edges[1:-1], np.inf)
    fits = (stop[:, None] > first) & (start[:, None] < last)
    return np.tile(fits, (len(strata.sexes), 1))


def _spans(timelines: Timelines, name: str) -> npt.NDArray[np.int64]:
    """Return how many people have each code first, and last, in each completed year of age, int64[2, C, Y]."""
    family = timelines.families[name]
    year = np.clip(timelines.age_years[family.visits], 0, _YEARS - 1).astype(np.int64)
    key = timelines.patient_of_visit[family.visits].astype(np.int64) * max(family.n_codes, 1) + family.codes
    order = np.lexsort((year, key))
    key, year = key[order], year[order]
    differs = key[1:] != key[:-1]
    found = []
    for mine in (np.append(True, differs), np.append(differs, True)):
        at = np.flatnonzero(mine[: len(key)])
        cell = key[at] % max(family.n_codes, 1) * _YEARS + year[at]
        found.append(np.bincount(cell, minlength=family.n_codes * _YEARS).reshape(family.n_codes, _YEARS))
    return np.stack(found)
