"""Medications: chosen by condition and group, ordered when somebody is seen, renewed every year until they stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.diagnoses import first_after
from ehrsynth.generation.life_course.people import NEVER, Lives
from ehrsynth.generation.life_course.schedule import EMERGENCY, Schedule
from ehrsynth.generation.life_course.segments import RowIndex, expand, number_within, starts
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["OrderSampler", "Orders"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_RENEWAL = 365
_AT_ONCE = 0.5
_STARTS_WITHIN = 240.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The medication orders of a block, sorted by encounter.

    Attributes
    ----------
    visit, treatment : int64[r]
        Encounter, and row of the treatments.
    patient, problem : int64[r]
    start, end : int64[r]
        Days; end is `NEVER` while it goes on.
    renewed : bool[r]
        Followed by another order of the same drug.
    since : int64[n, classes]
        First day on which a person takes a drug of each class; `NEVER` for none.
    """

    visit: Int
    treatment: Int
    patient: Int
    problem: Int
    start: Int
    end: Int
    renewed: npt.NDArray[np.bool_]
    since: Int

    def __len__(self) -> int:
        return len(self.visit)


class OrderSampler:
    """The treatments of a model made ready for drawing many blocks."""

    def __init__(self, model: LifeCourseModel) -> None:
        rows = model.listing("treatments")
        self._rows = rows
        self._classes = model.listing("classes").text["key"]
        self._any = self._classes.index("bp") if "bp" in self._classes else -1
        owner, kind = rows.integers("owner"), rows.integers("class")
        n_problems = len(model.listing("chronic")) + len(model.listing("acute"))
        self._n_chronic = len(model.listing("chronic"))
        self._by_share = RowIndex(np.where(kind < 0, owner, -1), n_problems)
        self._by_class = RowIndex(np.where(kind >= 0, owner, -1), n_problems)
        # Nobody takes what is not on the market yet.
        year = rows.number["from_year"]
        self._from_day = ((year - 1970) * 365.2425).astype(np.int64)
        self._group, self._class = rows.integers("group_number"), kind
        self._sex, self._low, self._high = rows.integers("sex_limit"), rows.number["age_min"], rows.number["age_max"]
        self._share, self._begin, self._stop = (
            rows.number["share"],
            rows.integers("start_days"),
            rows.integers("stop_days"),
        )

    def draw(self, lives: Lives, episodes: Episodes, schedule: Schedule, seen: Int, rng: np.random.Generator) -> Orders:
        """Return the orders for the episodes, which are first seen in the encounters `seen`."""
        episode, row = self._by_the_shares(lives, episodes, schedule, seen, rng)
        start = schedule.day[seen[episode]] + self._begin[row]
        more_episode, more_row, more_start = self._of_classes(lives, episodes, schedule, seen, rng)
        episode = np.concatenate([episode, more_episode])
        row, start = np.concatenate([row, more_row]), np.concatenate([start, more_start])
        patient = episodes.patient[episode]
        lasting = self._stop[row] <= 0
        last = lives.last_day[patient]
        stop = np.where(lasting, episodes.end[episode], start + self._stop[row])
        # An illness that is over in days needs its drug no longer.
        stop = np.where(lasting & (episodes.problem[episode] >= self._n_chronic), np.maximum(stop, start + 5), stop)
        kept = (start <= last) & (start < stop)
        episode, row, start, stop, patient, last = (x[kept] for x in (episode, row, start, stop, patient, last))
        since = np.full((len(lives), len(self._classes)), NEVER, dtype=np.int64)
        known = self._class[row] >= 0
        np.minimum.at(since, (patient[known], self._class[row[known]]), start[known])
        until = np.minimum(stop - 1, last)
        item, number = expand((until - start) // _RENEWAL + 1)
        due = start[item] + number * _RENEWAL
        visit = first_after(schedule, lives, patient[item], due, np.flatnonzero(schedule.setting < EMERGENCY))
        # Who takes it now and has not been seen since took it from the diagnosis on.
        never_again = (visit < 0) & (number == 0) & known[item]
        visit = np.where(never_again, seen[episode[item]], visit)
        due = np.where(never_again, schedule.day[np.maximum(visit, 0)], due)
        # At the encounter in which it was first seen, not at another one of the same day.
        at_once = (number == 0) & (start[item] == schedule.day[seen[episode[item]]])
        visit = np.where(at_once, seen[episode[item]], visit)
        day = np.where(visit >= 0, schedule.day[np.maximum(visit, 0)], NEVER)
        kept = (visit >= 0) & (day < due + _RENEWAL) & (day <= until[item]) & (day >= self._from_day[row[item]])
        item, visit, day = item[kept], visit[kept], day[kept]
        # Two orders of one course in one encounter are one.
        once = starts(item * len(schedule) + visit)
        item, visit, day = item[once], visit[once], day[once]
        following = np.append(item[1:] == item[:-1], False)
        next_day = np.append(day[1:], 0)
        end = np.where(following, next_day, np.where(stop[item] <= last[item], stop[item], NEVER))
        order = np.argsort(visit, kind="stable")
        item = item[order]
        return Orders(
            visit=visit[order],
            treatment=row[item],
            patient=patient[item],
            problem=episodes.problem[episode[item]],
            start=day[order],
            end=end[order],
            renewed=following[order],
            since=since,
        )

    def _fits(self, lives: Lives, patient: Int, row: Int, day: Int) -> npt.NDArray[np.bool_]:
        age = lives.age_at(patient, day)
        fits = (self._low[row] <= age) & (age <= self._high[row])
        return np.asarray(fits & ((self._sex[row] == 0) | (self._sex[row] == lives.sex[patient] + 1)))

    def _by_the_shares(
        self, lives: Lives, episodes: Episodes, schedule: Schedule, seen: Int, rng: np.random.Generator
    ) -> tuple[Int, Int]:
        """Return episode and treatment of what is chosen by its share of those with the illness, one in each group."""
        treated = np.flatnonzero(seen >= 0)
        item, row = self._by_share.pairs(episodes.problem[treated])
        episode = treated[item]
        fits = self._fits(lives, episodes.patient[episode], row, schedule.day[seen[episode]])
        episode, row = episode[fits], row[fits]
        key = episode * (int(self._group.max(initial=0)) + 1) + self._group[row]
        order = np.argsort(key, kind="stable")
        episode, row, key = episode[order], row[order], key[order]
        share = self._share[row] / 100.0
        number = number_within(key)
        first = np.flatnonzero(number == 0)
        group = np.cumsum(number == 0) - 1
        running = np.cumsum(share)
        before = running - share - (running - share)[first][group]
        total = np.bincount(group, share, minlength=len(first))
        u = rng.random(len(first)) * np.maximum(total, 1.0)
        chosen = (before <= u[group]) & (u[group] < before + share)
        return episode[chosen], row[chosen]

    def _of_classes(
        self, lives: Lives, episodes: Episodes, schedule: Schedule, seen: Int, rng: np.random.Generator
    ) -> tuple[Int, Int, Int]:
        """Return episode, treatment and first day for each drug class that a person takes."""
        now = np.flatnonzero((seen >= 0) & (episodes.problem < self._n_chronic) & (episodes.end >= NEVER))
        item, row = self._by_class.pairs(episodes.problem[now])
        episode = now[item]
        patient, kind = episodes.patient[episode], self._class[row]
        takes = lives.takes.copy()
        if self._any >= 0:
            # The class of any drug stands for the others: for those who take none of the named ones.
            named = [at for at, key in enumerate(self._classes) if key not in ("bp", "statin")]
            takes[:, self._any] &= ~lives.takes[:, named].any(axis=1)
        wanted = takes[patient, kind] & self._fits(lives, patient, row, lives.last_day[patient])
        episode, row, patient, kind = episode[wanted], row[wanted], patient[wanted], kind[wanted]
        # One of them: the largest of exponential races, each in proportion to its share.
        race = rng.exponential(1.0, len(row)) / np.maximum(self._share[row], 0.1)
        order = np.lexsort((race, kind, patient))
        first = starts(patient[order] * (len(self._classes) + 1) + kind[order])
        episode, row = episode[order[first]], row[order[first]]
        begun = schedule.day[seen[episode]]
        delay = rng.exponential(_STARTS_WITHIN, len(episode)).astype(np.int64)
        delay = np.where(rng.random(len(episode)) < _AT_ONCE, 0, delay)
        left = np.maximum(lives.last_day[episodes.patient[episode]] - begun, 0)
        return episode, row, begun + np.minimum(delay, left // 2)
