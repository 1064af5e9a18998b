"""Values that have a mean and a standard deviation, moved by the illnesses and drugs of those whose they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.orders import Orders
from ehrsynth.generation.life_course.people import Lives
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.generation.life_course.segments import edges_of, order_of
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["GeneralSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_FARTHEST = 4.0
_WORKS = 10
_LEAST = 0.1


class GeneralSampler:
    """The means and standard deviations of the labs of a model, and what moves them."""

    def __init__(self, model: LifeCourseModel) -> None:
        labs, effects = model.listing("labs"), model.listing("lab_effects")
        self._code = labs.integers("code_number")
        self._n_codes = int(self._code.max(initial=-1)) + 1
        self._mean, self._sd = labs.number["mean"], np.maximum(labs.number["sd"], 1e-12)
        self._log = np.array([name == "lognormal" for name in labs.text["skew"]], dtype=bool)
        own = np.clip(labs.number["person_share"], 0, 1)
        self._parts = np.sqrt(own), np.sqrt(1 - own)
        self._n_chronic = len(model.listing("chronic"))
        self._n_problems = self._n_chronic + len(model.listing("acute"))
        self._effects = [
            (code, int(owner), int(drug), shift, factor)
            for code, owner, drug, shift, factor in zip(
                effects.integers("code_number"),
                effects.integers("owner"),
                effects.integers("treatment"),
                effects.number["shift"],
                effects.number["sd_factor"],
                strict=True,
            )
            if code >= 0 and (owner >= 0 or drug >= 0)
        ]
        # The effects of each code side by side, in their order.
        flat = sorted(self._effects, key=lambda effect: effect[0])
        owner = np.array([owner for _, owner, _, _, _ in flat], dtype=np.int64)
        drug = np.array([drug for _, _, drug, _, _ in flat], dtype=np.int64)
        code = np.array([code for code, _, _, _, _ in flat], dtype=np.int64)
        self._flat = (
            np.searchsorted(code, np.arange(max(self._n_codes, 1) + 1)),
            np.where(owner < 0, 0, np.where(owner < self._n_chronic, 1, 2)),
            np.where(owner < 0, drug, owner),
            np.array([shift for _, _, _, shift, _ in flat]),
            np.array([factor for _, _, _, _, factor in flat]),
        )

    def draw(
        self,
        lives: Lives,
        episodes: Episodes,
        onset: Int,
        schedule: Schedule,
        seen: Int,
        orders: Orders,
        visit: Int,
        row: Int,
        rng: np.random.Generator,
    ) -> Float:
        """Return a value for each encounter and row of the labs; NaN where the row states no mean.

        Shifts are in standard deviations of the row and add up; of several factors that widen the largest counts, and
        what narrows (a drug that works) narrows what is left. Skewed values are lognormal of the mean and standard
        deviation that come out.
        """
        own = rng.standard_normal((len(lives), max(self._n_codes, 1)))
        noise = rng.standard_normal(len(row))
        value = np.empty(len(row))
        native = compiled()
        if native is not None:
            skewed, at = np.empty((3, len(row))), np.empty(len(row), dtype=np.int64)
            count = native.general(
                *(
                    visit,
                    row,
                    schedule.patient,
                    schedule.day,
                    self._code,
                    *self._parts,
                    self._mean,
                    self._sd,
                    self._log,
                ),
                *self._flat,
                *map(np.ascontiguousarray, (*orders.groups, onset)),
                *self._illnesses(episodes, seen, len(schedule)),
                *(own, noise, np.array([len(lives), _WORKS, int(_FARTHEST)]), value, skewed, at),
            )
            at = at[:count]
            middle, sd, score = skewed[:, :count]
        else:
            shift, sd = self._moved(episodes, onset, schedule, seen, orders, visit, row)
            kept, rest = self._parts
            code = self._code[row]
            score = kept[row] * own[schedule.patient[visit], code] + rest[row] * noise
            score = np.clip(score, -_FARTHEST, _FARTHEST)
            middle = self._mean[row] + shift * self._sd[row]
            value[:] = middle + sd * score
            at = np.flatnonzero(self._log[row])
            middle, sd, score = middle[at], sd[at], score[at]
        # Nothing that is skewed falls below a tenth of what it was.
        middle = np.maximum(middle, _LEAST * self._mean[row[at]])
        width = np.sqrt(np.log1p((sd / middle) ** 2))
        value[at] = np.exp(np.log(middle) - width**2 / 2 + width * score)
        return value

    def _illnesses(self, episodes: Episodes, seen: Int, visits: int) -> tuple[Int, Int]:
        """Return where the acute illnesses seen in each encounter begin, and these."""
        known = np.flatnonzero((seen >= 0) & (episodes.problem >= self._n_chronic))
        where = seen[known]
        return edges_of(where, visits), episodes.problem[known[order_of(where)]]

    def _moved(
        self, episodes: Episodes, onset: Int, schedule: Schedule, seen: Int, orders: Orders, visit: Int, row: Int
    ) -> tuple[Float, Float]:
        """Return the shift of each value, in standard deviations, and the standard deviation that it has."""
        # By code, so that the rows of an effect lie side by side.
        code = self._code[row]
        order = order_of(code)
        patient = schedule.patient[visit]
        whose, when, where = patient[order], schedule.day[visit][order], visit[order]
        edges = np.searchsorted(code[order], np.arange(self._n_codes + 1))
        acute = self._acute_visits(episodes, seen)
        shift, wide, narrow = np.zeros(len(row)), np.ones(len(row)), np.ones(len(row))
        first, last = orders.groups
        for number, owner, drug, by, factor in self._effects:
            here = slice(edges[number], edges[number + 1])
            if here.start == here.stop:
                continue
            if owner < 0:
                # A drug works some days after it was begun.
                has = first[:, drug][whose[here]] + _WORKS <= when[here]
                has &= when[here] < last[:, drug][whose[here]]
            elif owner < self._n_chronic:
                has = onset[:, owner][whose[here]] <= when[here]
            elif len(acute):
                key = where[here] * self._n_problems + owner
                has = acute[np.minimum(np.searchsorted(acute, key), len(acute) - 1)] == key
            else:
                continue
            # Few have it.
            rows = order[here][has]
            shift[rows] += by
            if factor >= 1:
                wide[rows] = np.maximum(wide[rows], factor)
            else:
                narrow[rows] *= factor
        return shift, self._sd[row] * wide * narrow

    def _acute_visits(self, episodes: Episodes, seen: Int) -> Int:
        """Return the sorted keys of encounters in which an acute illness is seen."""
        known = np.flatnonzero((seen >= 0) & (episodes.problem >= self._n_chronic))
        return np.sort(seen[known] * self._n_problems + episodes.problem[known])
