"""Medications: chosen by condition and group, ordered when somebody is seen, renewed every year until they stop."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Births, Episodes
from ehrsynth.generation.life_course.diagnoses import first_after
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, NEVER, Lives
from ehrsynth.generation.life_course.schedule import EMERGENCY, Schedule
from ehrsynth.generation.life_course.segments import RowIndex, expand, number_within, order_of, starts
from ehrsynth.generation.life_course.therapy import Therapies, spans, titrated, without_doubles
from ehrsynth.model.life_course import LifeCourseModel

__all__ = ["OrderSampler", "Orders"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_RENEWAL = 365
_AT_ONCE = 0.5
_STARTS_WITHIN = 240.0
_PENICILLINS, _SULFA = r"cillin\b", r"sulfamethoxazole|sulfadiazine"
_CROSSING = {
    **dict.fromkeys(("penicillin g", "penicillin v", "amoxicillin"), _PENICILLINS),
    "sulfamethoxazole": _SULFA,
    **dict.fromkeys(("ibuprofen", "naproxen"), r"ibuprofen|naproxen|ketorolac|meloxicam|indomethacin|celecoxib"),
    **dict.fromkeys(("ciprofloxacin", "levofloxacin"), r"floxacin\b"),
    **dict.fromkeys(("codeine", "hydrocodone", "oxycodone", "morphine", "meperidine"), r"codeine|codone\b|morphine"),
    **dict.fromkeys(("tetracycline", "doxycycline"), r"cycline\b"),
    **dict.fromkeys(("simvastatin", "atorvastatin"), r"(?:simva|atorva)statin"),
    **dict.fromkeys(("carbamazepine", "phenytoin"), r"carbamazepine|phenytoin"),
}
"""What is not given to whom: words of drugs that cross with an allergy to another one (else the drug itself)."""
_NEXT_LINE, _TRIED = 60, 400.0
_TITRATED = 0.85
_FIRST_STEP, _LAST_STEP = 13, 200
_PREGNANT, _KNOWN_AFTER = 273, 35


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
    groups : pair of int64[n, groups]
        First day and end of the lasting drugs of each group of treatments.
    """

    visit: Int
    treatment: Int
    patient: Int
    problem: Int
    start: Int
    end: Int
    renewed: npt.NDArray[np.bool_]
    since: Int
    groups: tuple[Int, Int]

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
        self._line, self._owner = rows.integers("line"), owner
        self._effect_group, self._starts_as = rows.integers("effect_group"), rows.integers("starts_as")
        self._continues = rows.integers("continues_as")
        words = [_CROSSING.get(name.lower(), name.lower()) for name in model.listing("allergies").text["display"]]
        # Treatments of many illnesses name few drugs.
        texts = [text.lower() for text in rows.text["display"]]
        place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        found = np.zeros((len(words), len(place)), dtype=bool)
        for at, word in enumerate(words):
            search = re.compile(word).search
            found[at] = [search(text) is not None for text in place]
        self._crosses = found[:, [place[text] for text in texts]]
        self._harmful = rows.number["harms_unborn"] > 0
        self._share, self._begin, self._stop = (
            rows.number["share"],
            rows.integers("start_days"),
            rows.integers("stop_days"),
        )

    def draw(
        self,
        lives: Lives,
        episodes: Episodes,
        schedule: Schedule,
        seen: Int,
        births: Births,
        allergic: Int,
        rng: np.random.Generator,
    ) -> Orders:
        """Return the orders for the episodes, which are first seen in the encounters `seen`.

        `allergic` [n, allergies] is the day from which on each person is known not to bear something.
        """
        episode, row = self._by_the_shares(lives, episodes, schedule, seen, rng)
        start = schedule.day[seen[episode]] + self._begin[row]
        more_episode, more_row, more_start = self._of_classes(lives, episodes, schedule, seen, rng)
        start = self._later_lines(lives, episodes.patient[episode], row, start, rng)
        episode = np.concatenate([episode, more_episode])
        row, start = np.concatenate([row, more_row]), np.concatenate([start, more_start])
        lasting = self._stop[row] <= 0
        # What is for some years ends with what it is for, too.
        long = (self._stop[row] > _RENEWAL) & (episodes.problem[episode] < self._n_chronic)
        stop = np.where(lasting, episodes.end[episode], start + self._stop[row])
        stop = np.where(long, np.minimum(stop, episodes.end[episode]), stop)
        # An illness that is over in days needs its drug no longer.
        acute = episodes.problem[episode] >= self._n_chronic
        stop = np.where(lasting & acute, np.maximum(stop, start + 5), stop)
        found = Therapies(patient=episodes.patient[episode], episode=episode, row=row, start=start, stop=stop)
        found = self._by_age(lives, found)
        kept = (found.start <= lives.last_day[found.patient]) & (found.start < found.stop)
        kept &= ~(self._crosses[:, found.row].T & (allergic[found.patient] <= found.start[:, None])).any(axis=1)
        found = found.take(kept)
        fixed = self._class[found.row] >= 0
        since = np.full((len(lives), len(self._classes)), NEVER, dtype=np.int64)
        np.minimum.at(since, (found.patient[fixed], self._class[found.row[fixed]]), found.start[fixed])
        found = without_doubles(found, self._effect_group, fixed)
        lasting = (self._stop[found.row] <= 0) & (episodes.problem[found.episode] < self._n_chronic)
        groups = spans(found, lasting, self._effect_group, len(lives))
        found = titrated(found, self._starts_as, self._raised(lives, episodes, schedule, found, rng))
        patient, episode, row, start, stop = (
            found.patient,
            found.episode,
            found.row,
            found.start,
            found.stop,
        )
        last = lives.last_day[patient]
        known = self._class[row] >= 0
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
        at = np.flatnonzero(kept)
        item, visit, day = item[at], visit[at], day[at]
        # Two orders of one course in one encounter are one.
        once = np.flatnonzero(starts(item * len(schedule) + visit))
        item, visit, day = item[once], visit[once], day[once]
        following = np.append(item[1:] == item[:-1], False)
        next_day = np.append(day[1:], 0)
        end = np.where(following, next_day, np.where(stop[item] <= last[item], stop[item], NEVER))
        kept, end = self._in_pregnancy(patient[item], row[item], day, end, births)
        at = np.flatnonzero(kept)
        item, visit, day, end, following = item[at], visit[at], day[at], end[at], following[at]
        order = order_of(visit)
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
            groups=groups,
        )

    def _by_age(self, lives: Lives, found: Therapies) -> Therapies:
        """Return the therapies with what is for children replaced by what is for grown people in time."""
        birth = lives.birth_day[found.patient]
        limit = birth + (np.ceil(self._high[found.row]) * DAYS_PER_YEAR).astype(np.int64)
        over = (limit < found.stop) & (limit > found.start)
        then = self._continues[found.row]
        more = over & (then >= 0)
        after = replace(found.take(more), row=then[more], start=limit[more])
        return Therapies.concat(replace(found, stop=np.where(over, limit, found.stop)), after)

    def _later_lines(self, lives: Lives, patient: Int, row: Int, start: Int, rng: np.random.Generator) -> Int:
        """Return first days with those of a later line of treatment after a while: others were tried before."""
        delay = (_NEXT_LINE + rng.exponential(_TRIED, len(row))).astype(np.int64) * (self._line[row] - 1)
        room = np.maximum(lives.last_day[patient] - start, 0)
        later = (self._line[row] > 1) & (self._stop[row] <= 0) & (self._owner[row] < self._n_chronic)
        return np.asarray(np.where(later, start + np.minimum(delay, room // 2), start))

    def _raised(
        self, lives: Lives, episodes: Episodes, schedule: Schedule, found: Therapies, rng: np.random.Generator
    ) -> Int:
        """Return the day on which each dose is raised: at a visit some weeks after the first; `NEVER` for none."""
        usual = rng.random(len(found)) < _TITRATED
        # What began before the record is beyond its first dose.
        usual &= (self._starts_as[found.row] >= 0) & (episodes.day[found.episode] >= lives.first_day[found.patient])
        at = np.flatnonzero(usual)
        practice = np.flatnonzero(schedule.setting < EMERGENCY)
        visit = first_after(schedule, lives, found.patient[at], found.start[at] + _FIRST_STEP, practice)
        day = schedule.day[np.maximum(visit, 0)]
        near = (visit >= 0) & (day <= found.start[at] + _LAST_STEP)
        raised = np.full(len(found), NEVER, dtype=np.int64)
        raised[at[near]] = day[near]
        return raised

    def _in_pregnancy(
        self, patient: Int, row: Int, day: Int, end: Int, births: Births
    ) -> tuple[npt.NDArray[np.bool_], Int]:
        """Return which orders are made, and their ends: none that harm a child, and those that run are stopped."""
        mother, due = births.mother, births.due
        kept = np.ones(len(row), dtype=bool)
        if not len(mother):
            return kept, end
        at = np.flatnonzero(self._harmful[row])
        # The first delivery after the order.
        place = np.searchsorted(births.key, patient[at] * (1 << 22) + day[at] + (1 << 21))
        place = np.minimum(place, len(mother) - 1)
        mine = (mother[place] == patient[at]) & (due[place] >= day[at])
        begun = due[place] - _PREGNANT
        kept[at] = ~(mine & (day[at] >= begun))
        end = end.copy()
        end[at] = np.where(mine & (day[at] < begun), np.minimum(end[at], begun + _KNOWN_AFTER), end[at])
        return kept, end

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
        at = np.flatnonzero(fits)
        episode, row = episode[at], row[at]
        key = episode * (int(self._group.max(initial=0)) + 1) + self._group[row]
        order = order_of(key)
        episode, row, key = episode[order], row[order], key[order]
        share = self._share[row] / 100.0
        number = number_within(key)
        first = np.flatnonzero(number == 0)
        group = np.cumsum(number == 0) - 1
        running = np.cumsum(share)
        before = running - share - (running - share)[first][group]
        total = np.bincount(group, share, minlength=len(first))
        u = rng.random(len(first)) * np.maximum(total, 1.0)
        chosen = np.flatnonzero((before <= u[group]) & (u[group] < before + share))
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
        first = np.flatnonzero(starts(patient[order] * (len(self._classes) + 1) + kind[order]))
        episode, row, race = episode[order[first]], row[order[first]], race[order[first]]
        begun = schedule.day[seen[episode]]
        delay = rng.exponential(_STARTS_WITHIN, len(episode)).astype(np.int64)
        delay = np.where(rng.random(len(episode)) < _AT_ONCE, 0, delay)
        # One drug for an illness at first; another is added when that does not suffice.
        order = np.lexsort((race, episode))
        number = np.empty(len(order), dtype=np.int64)
        number[order] = number_within(episode[order])
        delay += number * (_NEXT_LINE + rng.exponential(_TRIED, len(episode))).astype(np.int64)
        left = np.maximum(lives.last_day[episodes.patient[episode]] - begun, 0)
        return episode, row, begun + np.minimum(delay, left // 2)
