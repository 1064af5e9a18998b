"""How what was measured is read: a scale's grade or a word in the place of a number, or nothing at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.measured import Measured
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["FAILED", "ReadingSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

FAILED = -2
"""The reading of what was tried and gave no value."""


class ReadingSampler:
    """The scales of a model made ready for reading many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        labs, scales = model.listing("labs"), model.listing("scales")
        self._code = labs.integers("code_number")
        self._failed = labs.number["failed"]
        code, of, start = scales.integers("code_number"), scales.integers("of_number"), scales.number["from"]
        self._scales = []
        for number in dict.fromkeys(code.tolist()):
            grades = np.flatnonzero(code == number)
            grades = grades[np.argsort(start[grades], kind="stable")]
            self._scales.append((number, int(of[grades[0]]), start[grades], grades))

    def draw(self, measured: Measured, value: Float, rng: np.random.Generator) -> Int:
        """Return the row of the scales that each observation is read as; -1: its number stands; `FAILED`: no value.

        A strip shows what else is measured in the same sample: blood where the microscope sees red cells.
        """
        _, row, report = measured
        read = np.full(len(row), -1, dtype=np.int64)
        if not len(row):
            return read
        code = self._code[row]
        for number, of, starts, grades in self._scales:
            mine = np.flatnonzero(code == number)
            level = value[mine]
            if of >= 0:
                source = np.full(int(report.max()) + 1, np.nan)
                other = np.flatnonzero(code == of)
                source[report[other]] = value[other]
                level = np.where(np.isnan(source[report[mine]]), level, source[report[mine]])
            read[mine] = grades[np.clip(np.searchsorted(starts, level, side="right") - 1, 0, None)]
        # The parts of a pressure fail together.
        spare = rng.random(int(report.max()) + 1)[report]
        return np.where(spare < self._failed[row], FAILED, read)
