"""How many people ever have each code: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.steps import beyond_chance, longer
from ehrsynth.model import CodeFamily

__all__ = ["OnsetMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_SATURATION = 3.0
"""What most people get anyway answers to its odds the less: nearly all who are prone to it have it in the end."""
_LARGEST = 5.0
_LONGER, _MOST_GAIN, _LONGEST = 1.7, 6.0, 2.5
"""Steps grow by so much while the error keeps its side, up to so many times their length."""
_MOST = 1.0 - 1e-6


class OnsetMargins:
    """How many of the people have each code of a family at all.

    Parameters
    ----------
    family : CodeFamily
    cohort : Cohort
        Of the source; patients count by their weight.
    drawn : int
        People who are drawn in each round.
    led : int64[n]
        Codes that are not drawn by themselves, and are left as they are.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort, drawn: int, led: Ints) -> None:
        ever = cohort.total(partial(_ever, table=family.table, n_codes=len(family.codings)))
        self._share = ever[:-1] / ever[-1]
        self._n_patients, self._drawn, self._led = cohort.n_patients, drawn, led
        n = len(family.codings)
        self._moved, self._before, self._gain = np.zeros(n), np.zeros(n), np.ones(n)

    def count(self, onsets: Ints) -> Doubles:
        """Return how many people have each code, float64[C], of the codes that somebody has for the first time."""
        return np.bincount(onsets, minlength=len(self._share)).astype(np.float64)

    def moved(self, family: CodeFamily, made: Doubles, step: float) -> CodeFamily:
        """Return the family with odds of codes that nobody has had yet, under which as many have them as seen."""
        share = self._share
        error = np.log((share * self._drawn + 1.0) / (made + 1.0))
        noise = 1.0 / (share * self._n_patients + 1.0) + 1.0 / (made + 1.0)
        error = beyond_chance(error, noise)
        error[self._led] = 0.0
        self._gain = longer(self._gain, self._before, error, _LONGER, _MOST_GAIN)
        self._before = error
        most = _LARGEST * (1.0 + share)
        self._moved = np.clip(
            self._moved + np.minimum(step * self._gain, _LONGEST) * (1.0 + _SATURATION * share) * error, -most, most
        )
        return _moved(family, self._moved)


def _ever(timelines: Timelines, table: str, n_codes: int) -> Doubles:
    """Return the weight of the people who ever have each code of a family, and last that of all people."""
    codes = timelines.families[table]
    owner = timelines.patient_of_visit[codes.visits].astype(np.int64)
    person, code = np.divmod(np.unique(owner * n_codes + codes.codes), n_codes)
    return np.append(np.bincount(code, timelines.weight[person], n_codes), timelines.weight.sum())


def _moved(family: CodeFamily, log_odds: Doubles) -> CodeFamily:
    """Return the family with the odds of codes that nobody has had yet multiplied by exp(`log_odds`).

    Those beside the code's parent stay: how often the two come together was learned as it is. But of satellites, which
    hardly ever come otherwise, they are moved.
    """
    never = _multiplied(family.never, log_odds)
    with_parent = np.where(np.asarray(family.parent) < 0, never, np.asarray(family.never_with_parent, dtype=np.float32))
    own = family.satellites
    with_parent[:, own] = _multiplied(with_parent[:, own], log_odds[own])
    return replace(family, never=never, never_with_parent=with_parent)


def _multiplied(table: npt.ArrayLike, log_odds: Doubles) -> npt.NDArray[np.float32]:
    """Return probabilities float32[Q, C] whose odds are multiplied by exp(`log_odds`)."""
    old = np.minimum(np.asarray(table, dtype=np.float64), _MOST)
    odds = old / (1.0 - old) * np.exp(log_odds)
    return np.asarray(odds / (1.0 + odds), dtype=np.float32)
