"""Numbers of the observations: a Gaussian copula of person and visit under quantile-preserving margins."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.model import Measurements

__all__ = ["MeasurementSampler", "cholesky"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_REACH = 8.0
_STEP = 1 / 64
# The standard normal distribution on a fine grid: numpy has no error function, and a call of Python's for each value
# would cost more than all the rest. Linear between points, its error is below 1.5e-5 in probability.
_X = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
_PHI = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in _X])
_WORK_CELLS = 2_000_000
# Products that are summed at a time: so many stay in the processor's cache.
_SUM_CELLS = 32_768


class MeasurementSampler:
    """The measurements of a model made ready for drawing many blocks."""

    def __init__(self, model: Measurements) -> None:
        self.model = model
        self._shift = np.asarray(model.shift, dtype=np.float64)
        self._level = np.asarray(model.level, dtype=np.float64)
        share = np.asarray(model.person_share, dtype=np.float64)
        self._of_person, self._of_visit = np.sqrt(share), np.sqrt(np.maximum(1 - share, 0))
        self._person = cholesky(np.asarray(model.person, dtype=np.float64))
        self._visit = cholesky(np.asarray(model.visit, dtype=np.float64))
        self._drift = np.asarray(model.drift, dtype=np.float64)
        self._value_known = np.asarray(model.value_known, dtype=np.float64)
        self._scores = [self._score_table(m) for m in range(len(model.code))]

    def _score_table(self, m: int) -> tuple[Float, Float]:
        """Return grids of s and of Phi^-1(F(s)), F the mixture of unit normals of measurement `m`."""
        center = np.asarray(self.model.center, dtype=np.float64)
        if len(center):
            shift, weight = center[:, m], np.full(len(center), 1 / len(center))
        else:
            share = np.asarray(self.model.state_share, dtype=np.float64)[:, m]
            states = np.flatnonzero(share > 0)
            if not len(states):
                states, share = np.arange(len(share)), np.ones(len(share))
            shift = self._shift[states, m]
            weight = share[states] / share[states].sum()
        grid = np.arange(shift.min() - _REACH, shift.max() + _REACH + _STEP, _STEP)
        below, above = np.zeros(len(grid)), np.zeros(len(grid))
        # Both tails: 1 - F has lost its digits where F is nearly 1.
        for value, part in zip(shift, weight, strict=True):
            below += part * np.interp(grid - value, _X, _PHI)
            above += part * np.interp(value - grid, _X, _PHI)
        low, high = np.interp(below, _PHI, _X), -np.interp(above, _PHI, _X)
        return grid, np.where(below < above, low, high)

    def persons(self, count: int, rng: np.random.Generator) -> Float:
        """Return u of `count` people, float64[M, count]: their own levels, drawn once."""
        return _correlated(self._person, rng.standard_normal((len(self._person), count)))

    def center(self, state: Int, measurement: Int | int, stratum: Int | None) -> Float:
        """Return the mean scores of measurements in visits, but for what conditions add."""
        center = self._shift[state, measurement]
        if stratum is not None and len(self._level):
            center = center + self._level[stratum, measurement]
        return np.asarray(center)

    def of_conditions(self, count: int, patient: Int, code: Int) -> Float:
        """Return what their conditions add to the scores of `count` people, float64[M, count].

        `patient` and `code` int64[m] are the conditions of all visits.
        """
        total = np.zeros((len(self._scores), count))
        for number, effect in zip(self.model.condition.tolist(), np.asarray(self.model.of_condition), strict=True):
            has = np.zeros(count, dtype=bool)
            has[patient[code == number]] = True
            total[:, has] += effect.astype(np.float64)[:, None]
        return total

    def values(
        self,
        persons: Float,
        patient: Int,
        occasion: Int,
        state: Int,
        measurement: Int,
        rng: np.random.Generator,
        stratum: Int | None = None,
        added: Float | None = None,
    ) -> tuple[Float, npt.NDArray[np.bool_]]:
        """Return the value of each row, and whether one is recorded.

        Parameters
        ----------
        persons : float64[M, n]
            From `persons`.
        patient : int64[rows]
            Column of `persons`.
        occasion : int64[rows]
            Rows of one occasion share e; ascending from 0, none skipped.
        state, measurement : int64[rows]
            Flat state of the visit, and m.
        stratum : int64[rows]
            Of the visit; needed where sex and age matter.
        added : float64[M, n]
            From `of_conditions`; needed where conditions matter.
        """
        known = rng.random(len(patient)) < self._value_known[measurement]
        noise = self._noise(occasion, measurement, rng)
        if self._drift.any():
            noise = self._drifting(noise, patient, measurement)
        own = self._of_visit[measurement] * noise
        center = self.center(state, measurement, stratum)
        if added is not None:
            center = center + added[measurement, patient]
        score = center + self._of_person[measurement] * persons[measurement, patient] + own
        value = np.empty(len(score))
        order = np.argsort(measurement, kind="stable")
        edges = np.searchsorted(measurement[order], np.arange(len(self._scores) + 1))
        for m, (grid, normal) in enumerate(self._scores):
            rows = order[edges[m] : edges[m + 1]]
            if len(rows):
                value[rows] = self.model.margins[m].inverse(np.interp(score[rows], grid, normal))
        for index, weight, height in np.asarray(self.model.derived).tolist():
            self._derive(value, occasion, measurement, index, weight, height)
        return value, known

    def _derive(self, value: Float, occasion: Int, measurement: Int, index: int, weight: int, height: int) -> None:
        """Let the body mass index be that of the weight (kg) and height (cm) taken with it."""
        rows, heavy, tall = (np.flatnonzero(measurement == m) for m in (index, weight, height))
        if not (len(rows) and len(heavy) and len(tall)):
            return
        with_weight, with_height = (
            one[np.minimum(np.searchsorted(occasion[one], occasion[rows]), len(one) - 1)] for one in (heavy, tall)
        )
        same = (occasion[with_weight] == occasion[rows]) & (occasion[with_height] == occasion[rows])
        at = rows[same]
        margin = self.model.margins[index]
        unit = 10.0**-margin.decimals
        made = value[with_weight[same]] / (value[with_height[same]] / 100.0) ** 2
        value[at] = np.clip(np.round(made, margin.decimals), margin.lower[0] * unit, margin.upper[-1] * unit)

    def _drifting(self, noise: Float, patient: Int, measurement: Int) -> Float:
        """Return e of each row, each leaning on that of the person's row of the same measurement before."""
        order = np.lexsort((measurement, patient))
        sequence = (patient * len(self._drift) + measurement)[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = sequence[1:] != sequence[:-1]
        start = np.flatnonzero(first)
        length = np.diff(np.append(start, len(order)))
        lean = self._drift[measurement[order[start]]]
        fresh = np.sqrt(1.0 - lean * lean)
        result = noise.copy()
        # The k-th rows of all sequences at a time, those of the longest first.
        longest = np.argsort(-length, kind="stable")
        start, lean, fresh, length = start[longest], lean[longest], fresh[longest], length[longest]
        for k in range(1, int(length.max(initial=0))):
            n = int(np.searchsorted(-length, -k))
            before, now = order[start[:n] + k - 1], order[start[:n] + k]
            result[now] = lean[:n] * result[before] + fresh[:n] * noise[now]
        return result

    def _noise(self, occasion: Int, measurement: Int, rng: np.random.Generator) -> Float:
        """Return e of each row; rows are in the order of their occasions."""
        m = len(self._visit)
        noise = np.empty(len(occasion))
        step = max(1, _WORK_CELLS // max(m, 1))
        count = int(occasion[-1]) + 1 if len(occasion) else 0
        for first in range(0, count, step):
            stop = min(first + step, count)
            # By occasions: what one row needs lies together in memory.
            z = np.ascontiguousarray(rng.standard_normal((m, stop - first)).T)
            low, high = np.searchsorted(occasion, [first, stop])
            # An occasion has few of all measurements: only theirs are made.
            order = low + np.argsort(measurement[low:high], kind="stable")
            edges = np.searchsorted(measurement[order], np.arange(m + 1))
            for one in range(m):
                rows = order[edges[one] : edges[one + 1]]
                if len(rows):
                    noise[rows] = _component(self._visit[one], one, z, occasion[rows] - first)
        return noise


def cholesky(correlation: Float) -> Float:
    """Return the lower triangle L with L L' = `correlation`.

    By outer products and without LAPACK, whose last digits may depend on the number of threads.

    Raises
    ------
    ModelError
        The matrix is not positive definite.
    """
    rest = np.array(correlation, dtype=np.float64)
    lower = np.zeros_like(rest)
    for j in range(len(rest)):
        pivot = rest[j, j]
        if not pivot > 1e-12:
            raise ModelError("A correlation matrix of the measurements is not positive definite.")
        lower[j:, j] = rest[j:, j] / math.sqrt(pivot)
        rest[j + 1 :, j + 1 :] -= lower[j + 1 :, j, None] * lower[None, j + 1 :, j]
    return lower


def _correlated(lower: Float, z: Float) -> Float:
    """Return `lower` @ `z`, by the sums of `_component`, for all columns at once."""
    result = np.empty_like(z)
    for m, row in enumerate(lower):
        result[m] = row[m] * z[m]
        for j in np.flatnonzero(row[:m]):
            result[m] += row[j] * z[j]
    return result


def _component(row: Float, m: int, z: Float, columns: Int) -> Float:
    """Return row `m` of a triangle times the `columns` of the transpose of `z`: float64[len(columns)].

    By plain sums from left to right, the diagonal first: BLAS's last digits depend on threads, and those of numpy's
    sums on the number of terms.
    """
    total = row[m] * z[columns, m]
    used = np.flatnonzero(row[:m])
    if not len(used):
        return np.asarray(total)
    width = int(used[-1]) + 1
    step = max(1, _SUM_CELLS // width)
    for start in range(0, len(columns), step):
        some = slice(start, start + step)
        terms = z[columns[some], :width]
        terms *= row[:width]
        terms[:, 0] += total[some]
        total[some] = np.add.accumulate(terms, axis=1, out=terms)[:, -1]
    return np.asarray(total)
