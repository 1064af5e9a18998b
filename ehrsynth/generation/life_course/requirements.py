"""What a code asks of the person beside sex and age: conditions that the person has by then, or must not have.

Requirements are written as in ``content/chronic_codes.csv``: words between blanks all hold, ``a|b`` is either, ``!a``
is not. A word is the key of a long condition (begun by then) or one of `STATES`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.people import NEVER, Lives
from ehrsynth.generation.life_course.segments import distinct
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["STATES", "Requirements"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

STATES = ("gfr60", "gfr45", "gfr30", "gfr15", "albuminuria", "bmi30", "bmi35", "bmi40")
"""Stages of the filtration rate (60 and more, 45-59, 30-44, below 30), albuminuria, classes of body mass index."""

Clause = tuple[tuple[int, bool], ...]


class Requirements:
    """The requirements of the codes of a model."""

    def __init__(self, model: LifeCourseModel) -> None:
        keys = model.listing("chronic").text["key"]
        self._n_chronic = len(keys)
        place = {name: at for at, name in enumerate((*keys, *STATES))}
        codes = model.listing("codes")
        texts = codes.text["with"]
        self._kinds = tuple(dict.fromkeys(texts))
        self._kind = np.array([self._kinds.index(text) for text in texts], dtype=np.int64)
        self._clauses: list[tuple[Clause, ...]] = [
            tuple(
                tuple((place[one.removeprefix("!")], not one.startswith("!")) for one in word.split("|"))
                for word in text.split()
            )
            for text in self._kinds
        ]
        year = codes.number["from_year"]
        self._from_day = ((year - 1970) * 365.2425).astype(np.int64)
        clauses = [clause for kind in self._clauses for clause in kind]
        self._flat = (
            *(self._kind, self._from_day),
            np.cumsum([0, *(len(kind) for kind in self._clauses)]),
            np.cumsum([0, *(len(clause) for clause in clauses)]),
            np.array([name for clause in clauses for name, _ in clause], dtype=np.int64),
            np.array([wanted for clause in clauses for _, wanted in clause], dtype=bool),
            np.array([self._n_chronic, len(STATES)]),
        )

    def since(self, lives: Lives, onset: Int, code: Int, patient: Int) -> Int:
        """Return the day from which on each person can have the code; `NEVER` where a stage forbids it."""
        found = np.maximum(self._from_day[code], lives.birth_day[patient])
        kind = self._kind[code]
        for number in distinct(kind):
            at = np.flatnonzero(kind == number)
            for clause in self._clauses[number]:
                either = np.full(len(at), NEVER, dtype=np.int64)
                for name, wanted in clause:
                    if name < self._n_chronic:
                        # What must not be there is no reason to change a code.
                        day = onset[patient[at], name] if wanted else np.zeros(len(at), dtype=np.int64)
                    else:
                        day = np.where(lives.stages[patient[at], name - self._n_chronic] == wanted, 0, NEVER)
                    either = np.minimum(either, day)
                found[at] = np.maximum(found[at], either)
        return found

    def fits(self, lives: Lives, onset: Int, code: Int, patient: Int, day: Int) -> Bool:
        """Return whether each person can have the code on the day; `onset` [n, chronic] is when conditions began."""
        native = compiled()
        if native is not None:
            fitting = np.empty(len(code), dtype=bool)
            native.fitting(*self._flat, *map(np.ascontiguousarray, (onset, lives.stages, code, patient, day)), fitting)
            return fitting
        good = day >= self._from_day[code]
        kind = self._kind[code]
        for number in distinct(kind):
            clauses = self._clauses[number]
            if not clauses:
                continue
            at = np.flatnonzero(kind == number)
            who, then = patient[at], day[at]
            holds = np.ones(len(at), dtype=bool)
            for clause in clauses:
                either = np.zeros(len(at), dtype=bool)
                for name, wanted in clause:
                    if name < self._n_chronic:
                        has = onset[who, name] <= then
                    else:
                        has = lives.stages[who, name - self._n_chronic]
                    either |= has == wanted
                holds &= either
            good[at] &= holds
        return np.asarray(good)
