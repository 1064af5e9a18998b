"""What people answer to a social question, by sex, age and smoking: the shares of its answers, tabulated once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import AGES_MOST
from ehrsynth.model.life_course import Listing
from ehrsynth.native import compiled

__all__ = ["GIVEN_UP", "NEVER_SMOKED", "SMOKES", "Question", "reached"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

NEVER_SMOKED, GIVEN_UP, SMOKES = 0, 1, 2
_SMOKING = {
    "266919005": NEVER_SMOKED,
    "8517006": GIVEN_UP,
    "449868002": SMOKES,
    "428041000124106": SMOKES,
    "77176002": SMOKES,
}
_STATES = 3
_ASKED_FROM = 12
"""Years at which people are asked whether they smoke."""


class Question:
    """The answers to one question.

    Parameters
    ----------
    rows : Listing
        The social answers of a model.
    options : int64[m]
        Those of the question.

    Attributes
    ----------
    smoking : bool
        Whether the answer follows from what the person's status is.
    """

    def __init__(self, rows: Listing, options: Int) -> None:
        self.options = options
        self.smoking = rows.text["kind"][options[0]] == "smoking"
        age, sex = np.arange(AGES_MOST)[:, None], np.arange(2)[:, None, None]
        limit = rows.integers("sex_limit")[options]
        fits = (rows.number["age_min"][options] <= age) & (age <= rows.number["age_max"][options])
        fits = fits & ((limit == 0) | (limit == sex + 1))
        weight = np.where(fits, rows.number["percent"][options], 0.0)[None]
        if self.smoking:
            meaning = np.array([_SMOKING.get(rows.text["answer_code"][at], -1) for at in options])
            same = meaning == np.arange(_STATES)[:, None, None, None]
            weight = np.where(same, np.maximum(weight, 1e-6), 0.0) * (age >= _ASKED_FROM)
        total = weight.sum(axis=-1)
        self._asked = (total > 0).reshape(-1)
        running = np.cumsum(weight, axis=-1) / np.where(total > 0, total, 1.0)[..., None]
        self._running = np.ascontiguousarray(running.reshape(-1, len(options)))

    def draw(self, sex: Int, age: Int, status: Int | None, own: Float) -> tuple[Int, Int]:
        """Return who is asked and the row of the answer of each of them.

        `status` is of smoking, where the question asks for it; `own` are the people's ranks among all, in 0..1.
        """
        row = sex * AGES_MOST + np.minimum(age, AGES_MOST - 1)
        if status is not None:
            row = row + status * (2 * AGES_MOST)
        asked = np.flatnonzero(self._asked[row])
        chosen = reached(self._running, row[asked], own[asked])
        return asked, self.options[np.minimum(chosen, len(self.options) - 1)]


def reached(running: Float, row: Int, rank: Float) -> Int:
    """Return how many of the entries of its row of `running` (ascending) each rank has reached."""
    native = compiled()
    if native is not None:
        found = np.empty(len(row), dtype=np.int64)
        native.reached(running, np.array([running.shape[1]]), row, rank, found)
        return found
    return np.asarray((rank[:, None] >= running[row]).sum(axis=1))
