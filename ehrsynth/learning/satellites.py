"""Conditions that hardly ever come without another one of the visit: a complication that is coded with its illness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.discretise import distinct_patients

__all__ = ["satellite_parents"]

Ints = npt.NDArray[np.int64]

_LEAST_SHARE = 0.95
_LEAST_CERTAIN = 0.9
"""Of the posterior mean of the share: of eight visits all must have the other condition, of twenty all but one."""
_MOST_COMMON = 0.5
"""What most visits have goes with everything, and says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Together:
    """Visits with each condition, and with each pair of them; additive.

    Attributes
    ----------
    n_visits : int
    single : int64[C]
    keys : int64[m]
        lower * C + higher of the pairs, ascending.
    both, people : int64[m]
        Visits with a pair, and distinct people.
    """

    n_visits: int
    single: Ints
    keys: Ints
    both: Ints
    people: Ints

    def __add__(self, other: _Together) -> _Together:
        keys, inverse = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        both, people = np.zeros((2, len(keys)), dtype=np.int64)
        np.add.at(both, inverse, np.concatenate([self.both, other.both]))
        np.add.at(people, inverse, np.concatenate([self.people, other.people]))
        return _Together(
            n_visits=self.n_visits + other.n_visits,
            single=self.single + other.single,
            keys=keys,
            both=both,
            people=people,
        )


def _together(timelines: Timelines, most: int) -> _Together:
    """Count the conditions of visits of at most `most` of them."""
    family = timelines.families["condition"]
    n, code, visit = family.n_codes, family.codes.astype(np.int64), family.visits.astype(np.int64)
    pairs, owners = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    # Codes of a visit ascend: each with the one after it, the one after that, and so on.
    for step in range(1, most):
        of_one = np.flatnonzero(visit[:-step] == visit[step:])
        pairs.append(code[of_one] * n + code[of_one + step])
        owners.append(visit[of_one])
    pair, owner = np.concatenate(pairs), timelines.patient_of_visit[np.concatenate(owners)]
    keys, cell, both = np.unique(pair, return_inverse=True, return_counts=True)
    return _Together(
        n_visits=timelines.n_visits,
        single=np.bincount(code, minlength=n).astype(np.int64),
        keys=keys,
        both=both.astype(np.int64),
        people=distinct_patients(cell, owner, len(keys)),
    )


def satellite_parents(
    cohort: Cohort, *, most: int, min_patients: int, without_exception: bool = False
) -> npt.NDArray[np.int32]:
    """Return the condition that each condition hardly ever comes without, -1 for none, int32[C].

    Where visits have few conditions, how many of them is drawn first, and codes compete for the places: two that come
    together always, or not at all, cannot be told that way. The less common of the two is no competitor: it is drawn
    where the other one is. Of several such others it is the least common one; one may have others in turn.

    Parameters
    ----------
    cohort : Cohort
        With a family of conditions.
    most : int
        Greatest number of conditions of a visit.
    min_patients : int
        People, at least, who have both in a visit.
    without_exception : bool
        Every visit has a condition: one that would come alone now and then leaves visits without any.
    """
    counts = cohort.total(partial(_together, most=most))
    n = len(counts.single)
    low, high = np.divmod(counts.keys, max(n, 1))
    # The commoner one leads; of equals the one of the lower number. So there are no circles.
    high_leads = counts.single[high] > counts.single[low]
    code, parent = np.where(high_leads, low, high), np.where(high_leads, high, low)
    of_code = counts.single[code]
    found = (counts.both >= _LEAST_SHARE * of_code) & (counts.both + 1 >= _LEAST_CERTAIN * (of_code + 2))
    found &= (counts.people >= min_patients) & (counts.single[parent] <= _MOST_COMMON * counts.n_visits)
    if without_exception:
        found &= counts.both == of_code
    code, parent = code[found], parent[found]
    order = np.lexsort((parent, counts.single[parent], code))
    code, parent = code[order], parent[order]
    code, first = np.unique(code, return_index=True)
    result = np.full(n, -1, dtype=np.int32)
    result[code] = parent[first]
    return result
