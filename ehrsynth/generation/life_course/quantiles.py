"""The quantile tables of the core measures: a value for each score, sex, age and stratum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["CoreQuantiles"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


class CoreQuantiles:
    """The quantile tables of a model made ready for looking up.

    Attributes
    ----------
    names : tuple of str
        The measures.
    """

    def __init__(self, model: LifeCourseModel) -> None:
        self.names = model.listing("core").text["key"]
        self._quantiles = model.array("core_quantiles")
        self._knots = model.array("core_ages")
        self._z = model.array("core_scores")

    def value(self, measure: str, stratum: Int, sex: Int, age: Float, score: Float) -> Float:
        """Return the values of a measure: the quantile of `score`, linear in age and score."""
        table = self._quantiles[self.names.index(measure)]
        native = compiled()
        if native is not None:
            made = np.empty(len(age))
            arrays = map(np.ascontiguousarray, (table, self._knots, self._z, stratum, sex, age, score))
            native.quantiles(*arrays, np.array(table.shape), made)
            return made
        a = np.clip(np.searchsorted(self._knots, age, side="right") - 1, 0, len(self._knots) - 2)
        x = np.clip((age - self._knots[a]) / (self._knots[a + 1] - self._knots[a]), 0, 1)
        step = self._z[1] - self._z[0]
        place = np.clip((score - self._z[0]) / step, 0, len(self._z) - 1.000001)
        z = place.astype(np.int64)
        y = place - z
        # One index into all of the table: indexing by four arrays takes four times as long.
        _, sexes, ages, scores = table.shape
        at = ((stratum * sexes + sex) * ages + a) * scores + z
        flat, above = table.reshape(-1), 1 - y
        low = flat.take(at) * above + flat.take(at + 1) * y
        at += scores
        high = flat.take(at) * above + flat.take(at + 1) * y
        found: Float = low * (1 - x) + high * x
        return found
