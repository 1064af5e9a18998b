"""How often generated people have a code: tried as whole records, and moved to what was seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.recurrence import COUNTS
from ehrsynth.learning.steps import log_odds_error
from ehrsynth.model import CodeFamily

__all__ = ["CountMargins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_LARGEST = 5.0
_LEAST = 10.0
_FEWEST = 10


class CountMargins:
    """In how many of those who have had a code so often it comes once more, in whole records of the source.

    `learn_again` matches recurrences at the visits of true histories. What is due on a day recurs there; generated
    visits are on other days, and a dose that misses its day would never be had.

    Parameters
    ----------
    family : CodeFamily
        With `count_lift`; without, nothing is moved.
    cohort : Cohort
        Of the source.
    led : int64[n], optional
        Codes that are not drawn by themselves, and are left as they are.
    """

    def __init__(self, family: CodeFamily, cohort: Cohort, led: Ints | None = None) -> None:
        self._led = np.zeros(0, dtype=np.int64) if led is None else led
        self._n_codes = len(family.codings)
        lift = np.ones((self._n_codes, 1)) if family.count_lift is None else np.asarray(family.count_lift)
        self._first = np.log(np.maximum(lift.astype(np.float64), 1e-12))
        self._low = COUNTS[: int(np.searchsorted(COUNTS, lift.shape[1], side="right"))]
        self._high = np.append(self._low[1:], np.iinfo(np.int32).max).astype(np.int64)
        self._moves = family.count_lift is not None
        self._seen = cohort.total(partial(_seen, table=family.table, margins=self))
        self._moved = np.zeros((self._n_codes, len(self._low)))

    def count(self, patient: Ints, code: Ints, weight: Doubles) -> Doubles:
        """Return (trials, times it came once more, people) float64[3, C, B] by the number of visits had until then.

        Parameters
        ----------
        patient, code : int64[nnz]
            Of each visit with a code.
        weight : float64[n]
            Of the patients.
        """
        pair, times = np.unique(patient * self._n_codes + code, return_counts=True)
        who, what = np.divmod(pair, self._n_codes)
        total = np.zeros((3, self._n_codes, len(self._low)))
        for band, (low, high) in enumerate(zip(self._low.tolist(), self._high.tolist(), strict=True)):
            tried = np.clip(np.minimum(times, high - 1) - low + 1, 0, None)
            more = np.clip(np.minimum(times - 1, high - 1) - low + 1, 0, None)
            for k, number in enumerate((tried, more, tried > 0)):
                total[k, :, band] = np.bincount(what, number * weight[who], self._n_codes)
        return total

    def moved(self, family: CodeFamily, made: Doubles, step: float) -> CodeFamily:
        """Return the family with recurrences that come about as often as seen, `made` under the last ones."""
        if not self._moves:
            return family
        error = log_odds_error((self._seen[0], self._seen[1]), (made[0], made[1]))
        error[np.minimum(self._seen[2], made[2]) < _FEWEST] = 0.0
        error[self._led] = 0.0
        self._moved = np.clip(self._moved + step * error, -_LEAST, _LARGEST)
        number = np.arange(1, self._first.shape[1] + 1)
        band = np.searchsorted(self._low, number, side="right") - 1
        return replace(family, count_lift=np.exp(self._first + self._moved[:, band]).astype(np.float32))


def _seen(timelines: Timelines, table: str, margins: CountMargins) -> Doubles:
    codes = timelines.families[table]
    owner = timelines.patient_of_visit[codes.visits].astype(np.int64)
    return margins.count(owner, codes.codes.astype(np.int64), timelines.weight)
