"""What the conditions that a person has at any time of the record add to the levels of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines

__all__ = ["Burden"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_CONDITIONS = 16
_FEWEST = 30
_STRENGTH = 10.0
"""Of the prior: the effects of a condition are of a third of a standard deviation, within one of persons."""
_PARTS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Burden:
    """The commonest conditions, and who of the people who have a number has them.

    Attributes
    ----------
    condition : int64[K]
        Numbers of the family of conditions.
    ever : float64[P, K]
        1 for those who have the condition in any visit.
    """

    condition: Ints
    ever: Doubles

    @classmethod
    def of(cls, timelines: Timelines, patients: Ints, min_patients: int) -> Burden:
        """Return the burden of all people of the timelines; `patients` int64[n] are the owners of the numbers."""
        n, family = len(timelines.offsets) - 1, timelines.families.get("condition")
        if family is None:
            return cls(condition=np.zeros(0, dtype=np.int64), ever=np.zeros((n, 0)))
        measured = np.zeros(n, dtype=bool)
        measured[patients] = True
        owner = timelines.patient_of_visit[family.visits].astype(np.int64)
        who, code = np.divmod(np.unique(owner * family.n_codes + family.codes), max(family.n_codes, 1))
        people = np.bincount(code[measured[who]], minlength=family.n_codes)
        # What nearly all have, or few, says nothing.
        people = np.minimum(people, measured.sum() - people)
        chosen = np.argsort(-people, kind="stable")[:_MOST_CONDITIONS]
        chosen = np.sort(chosen[people[chosen] >= max(min_patients, _FEWEST)])
        place = np.full(family.n_codes, -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        ever = np.zeros((n, len(chosen)))
        some = place[code] >= 0
        ever[who[some], place[code[some]]] = 1.0
        return cls(condition=chosen, ever=ever)

    def __len__(self) -> int:
        return len(self.condition)

    def levels(self, value: Doubles, measurement: Ints, patients: Ints, m: int, min_patients: int) -> Doubles:
        """Return what each condition adds to the mean of each measurement, float64[K, M].

        By ridge regression of the means of persons: one who is measured often says no more of what a condition does.

        Parameters
        ----------
        value : float64[n]
        measurement, patients : int64[n]
        m : int
        min_patients : int
            A condition of fewer people with, or without, that have the measurement adds nothing.
        """
        result = np.zeros((len(self), m))
        if not len(self):
            return result
        cell = measurement * len(self.ever) + patients
        n = np.bincount(cell, minlength=m * len(self.ever)).reshape(m, -1)
        sums = np.bincount(cell, weights=value, minlength=m * len(self.ever)).reshape(m, -1)
        for one in range(m):
            who = np.flatnonzero(n[one])
            has = self.ever[who]
            people = has.sum(axis=0)
            used = np.flatnonzero(np.minimum(people, len(who) - people) >= max(min_patients, _FEWEST))
            if not len(used):
                continue
            mean = sums[one, who] / n[one, who]
            centred = has[:, used] - has[:, used].mean(axis=0)
            square = centred.T @ centred + _STRENGTH * np.eye(len(used))
            result[used, one] = np.linalg.solve(square, centred.T @ (mean - mean.mean()))
        return result

    def added(self, levels: Doubles, measurement: Ints, patients: Ints) -> Doubles:
        """Return what the conditions of its owner add to each number, float64[n]."""
        if not len(self):
            return np.zeros(len(measurement))
        result: Doubles = (self.ever @ levels)[patients, measurement]
        return result

    def parts(self, added: Doubles, measurement: Ints, m: int) -> tuple[Ints, Doubles]:
        """Return (part of each number int64[n], mean of each part float64[B, M]) of what is added, in equal parts."""
        if not len(self):
            return np.zeros(len(added), dtype=np.int64), np.zeros((1, m))
        part = np.zeros(len(added), dtype=np.int64)
        mean = np.zeros((_PARTS, m))
        for one in range(m):
            at = np.flatnonzero(measurement == one)
            order = at[np.argsort(added[at], kind="stable")]
            part[order] = np.arange(len(order)) * _PARTS // max(len(order), 1)
            n = np.bincount(part[at], minlength=_PARTS)
            mean[:, one] = np.bincount(part[at], weights=added[at], minlength=_PARTS) / np.maximum(n, 1)
        return part, mean
