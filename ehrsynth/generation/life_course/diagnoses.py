"""What is written down as diagnosis in each encounter, and which code an illness of a person has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.courses import Episodes
from ehrsynth.generation.life_course.demands import (
    BIRTH,
    CHECK_UP,
    DEATH,
    DELIVERY,
    FIRST_PRENATAL,
    FOLLOW_UP,
    POSTNATAL,
    PRENATAL,
    WELL_CHILD,
    Demands,
    statuses,
)
from ehrsynth.generation.life_course.people import NEVER, Lives
from ehrsynth.generation.life_course.pregnancies import Findings, Pregnancies
from ehrsynth.generation.life_course.requirements import Requirements
from ehrsynth.generation.life_course.schedule import Schedule
from ehrsynth.generation.life_course.segments import (
    distinct,
    expand,
    first_in_each,
    number_within,
    order_of,
    starts,
)
from ehrsynth.generation.places import Ragged
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.native import compiled

__all__ = ["Agenda", "CodeSampler", "Diagnoses", "diagnose", "first_after"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

# Reasons for an encounter that are no illness: code and text of ICD-10-CM.
REASONS = {
    CHECK_UP: ("Z00.00", "Encounter for general adult medical examination without abnormal findings"),
    WELL_CHILD: ("Z00.129", "Encounter for routine child health examination without abnormal findings"),
    FIRST_PRENATAL: ("Z34.91", "Encounter for supervision of normal pregnancy, unspecified, first trimester"),
    PRENATAL: ("Z34.92", "Encounter for supervision of normal pregnancy, unspecified, second trimester"),
    DELIVERY: ("O80", "Encounter for full-term uncomplicated delivery"),
    POSTNATAL: ("Z39.2", "Encounter for routine postpartum follow-up"),
    BIRTH: ("Z38.00", "Single liveborn infant, delivered vaginally"),
}
_CESAREAN = 0.32
EXTRA_CODES = (
    *REASONS.values(),
    ("O82", "Encounter for cesarean delivery without indication"),
    ("Z37.0", "Single live birth"),
    ("Z38.01", "Single liveborn infant, delivered by cesarean"),
    ("Z34.93", "Encounter for supervision of normal pregnancy, unspecified, third trimester"),
)
_SEEN_TO = 1.25
_TRIES = 40
_OTHER_MATTERS = 0.15
"""Visits a year for what is none of a person's conditions."""


class CodeSampler:
    """The codes of each problem for a sex and age.

    Parameters
    ----------
    model : LifeCourseModel
    prefixes : mapping
        What the codes of some problems must begin with.
    """

    def __init__(self, model: LifeCourseModel, prefixes: Mapping[int, tuple[str, ...]]) -> None:
        codes = model.listing("codes")
        self.n_problems = len(model.listing("chronic")) + len(model.listing("acute"))
        low, high = codes.number["age_min"], codes.number["age_max"]
        edges = distinct(np.ceil(np.concatenate([low, high])))
        self._edges = edges[(edges > 0) & (edges < AGES)]
        n_bands = len(self._edges) + 1
        first = np.concatenate([[0.0], self._edges])
        owner, sex, weight = codes.integers("owner"), codes.integers("sex_limit"), codes.number["weight"].copy()
        for problem, beginnings in prefixes.items():
            for at in np.flatnonzero(owner == problem):
                code = codes.text["code"][at]
                if not code.startswith(beginnings) and not code.replace(".", "").startswith(beginnings):
                    weight[at] = 0.0
        # By problem, so that what follows is nearly in order.
        rows = np.flatnonzero(weight > 0)
        rows = rows[np.argsort(owner[rows], kind="stable")]
        # The ages that a code fits are neighbours: bands `begin` to `end`.
        begin, end = np.searchsorted(first, low[rows]), np.searchsorted(first, high[rows], side="right")
        item, number = expand(np.maximum(end - begin, 0))
        row, band = rows[item], begin[item] + number
        keys = [(owner[row] * 2 + s) * n_bands + band for s in (0, 1)]
        fits = [sex[row] != 2 - s for s in (0, 1)]
        key = np.concatenate([keys[s][fits[s]] for s in (0, 1)])
        row = np.concatenate([row[fits[s]] for s in (0, 1)])
        self._n_bands = n_bands
        self._requirements = Requirements(model)
        self._table = Ragged.build(key, row, weight[row], self.n_problems * 2 * n_bands)

    def draw(self, lives: Lives, episodes: Episodes, onset: Int, rng: np.random.Generator) -> Int:
        """Return a row of the codes for each episode; -1 where its problem has none for that sex and age and person.

        Codes that ask for what the person has not are drawn again, so that the others keep their proportions.
        """
        # A chronic condition has a code that fits the age at which it is taken down.
        patient, problem = episodes.patient, episodes.problem
        day = np.maximum(episodes.day, lives.first_day[patient])
        band = np.searchsorted(self._edges, lives.age_at(patient, day), side="right")
        key = (problem * 2 + lives.sex[patient]) * self._n_bands + band
        found = self._table.draw(key, rng.random(len(key)))
        wrong = np.flatnonzero(found >= 0)
        for _ in range(_TRIES):
            wrong = wrong[~self._requirements.fits(lives, onset, found[wrong], patient[wrong], day[wrong])]
            if not len(wrong):
                return found
            found[wrong] = self._table.draw(key[wrong], rng.random(len(wrong)))
        wrong = wrong[~self._requirements.fits(lives, onset, found[wrong], patient[wrong], day[wrong])]
        # Who is known to have a condition has it, by whatever code; an acute illness without one does not occur.
        found[wrong[problem[wrong] >= onset.shape[1]]] = -1
        return found

    def later(
        self, lives: Lives, episodes: Episodes, onset: Int, codes: Int, rng: np.random.Generator
    ) -> tuple[Int, Int]:
        """Return the code that a lasting condition has once a complication is there, and from which day on.

        -1 and `NEVER` where it keeps its code: only a code that asks for what came later takes its place.
        """
        lasting = np.flatnonzero((episodes.problem < onset.shape[1]) & (episodes.end >= NEVER))
        then = episodes.take(lasting)
        then = replace(then, day=lives.last_day[then.patient])
        found = self.draw(lives, then, onset, rng)
        since = np.full(len(lasting), NEVER, dtype=np.int64)
        known = np.flatnonzero(found >= 0)
        since[known] = self._requirements.since(lives, onset, found[known], then.patient[known])
        begun = np.maximum(episodes.day[lasting], lives.first_day[then.patient])
        changes = (found >= 0) & (since > begun) & (since <= then.day) & (found != codes[lasting])
        code = np.full(len(episodes), -1, dtype=np.int64)
        day = np.full(len(episodes), NEVER, dtype=np.int64)
        code[lasting[changes]], day[lasting[changes]] = found[changes], since[changes]
        return code, day


@dataclass(frozen=True, kw_only=True)
class Diagnoses:
    """The condition rows of a block, sorted by encounter.

    Attributes
    ----------
    visit : int64[r]
    code : int64[r]
        Row of the codes; from their number on, of `EXTRA_CODES`.
    problem : int64[r]
        -1 for what is no problem of the content.
    onset, end : int64[r]
        Days; end is `NEVER` where it goes on.
    listed : bool[r]
        On the problem list (else a diagnosis of the encounter).
    rank : int64[r]
    reason : int64[v]
        Why each encounter took place: like `code`, -1 for nothing known.
    """

    visit: Int
    code: Int
    problem: Int
    onset: Int
    end: Int
    listed: npt.NDArray[np.bool_]
    rank: Int
    reason: Int

    def __len__(self) -> int:
        return len(self.visit)


class Agenda:
    """Some encounters (ascending; all if left out) in which people are looked for from a day on."""

    def __init__(self, schedule: Schedule, lives: Lives, among: Int | None = None) -> None:
        self._birth = lives.birth_day
        self._edges: Int | None = None
        self._rows = np.arange(len(schedule)) if among is None else among
        self._whose = schedule.patient[self._rows]
        self._day = schedule.day[self._rows]
        self._key = self._whose * (1 << 22) + self._day - lives.birth_day[self._whose]

    def windows(self) -> tuple[Int, Int, Int]:
        """Return where the encounters of each person begin, their days and the encounters."""
        if self._edges is None:
            self._edges = np.searchsorted(self._whose, np.arange(len(self._birth) + 1))
        return self._edges, self._day, self._rows

    def place(self, patient: Int, day: Int) -> Int:
        """Return how many of the encounters are earlier people's, or the person's own before a day."""
        return np.asarray(np.searchsorted(self._key, patient * (1 << 22) + np.maximum(day - self._birth[patient], 0)))

    def first_after(self, patient: Int, day: Int) -> Int:
        """Return each person's first encounter on or after a day; -1 where there is none."""
        rows = self._rows
        if not len(rows):
            return np.full(len(patient), -1, dtype=np.int64)
        native = compiled()
        if native is not None:
            found = np.empty(len(patient), dtype=np.int64)
            native.following(*self.windows(), *map(np.ascontiguousarray, (patient, day)), found)
            return found
        at = self.place(patient, day)
        here = np.minimum(at, len(rows) - 1)
        return np.where((at < len(rows)) & (self._whose[here] == patient), rows[here], -1)


def first_after(schedule: Schedule, lives: Lives, patient: Int, day: Int, among: Int | None = None) -> Int:
    """Return each person's first encounter on or after a day, of those `among` (ascending); -1 where there is none."""
    return Agenda(schedule, lives, among).first_after(patient, day)


def diagnose(
    lives: Lives,
    episodes: Episodes,
    demands: Demands,
    schedule: Schedule,
    codes: Int,
    later: tuple[Int, Int],
    pregnancies: Pregnancies,
    findings: Findings,
    model: LifeCourseModel,
    rng: np.random.Generator,
) -> tuple[Diagnoses, Int]:
    """Return the diagnoses, and the encounter in which each episode is first seen (-1: in none).

    `codes` is the code of each episode, `later` another one and the day from which on it has that (see `CodeSampler`).
    """
    n_codes = len(model.listing("codes"))
    chronic = episodes.problem < len(model.listing("chronic"))
    seen = np.full(len(episodes), -1, dtype=np.int64)
    asked = np.flatnonzero(demands.episode >= 0)
    seen[demands.episode[asked]] = schedule.of_demand[asked]
    seen[codes < 0] = -1
    extra_visit, extra_code = _of_pregnancy(schedule, pregnancies, findings, rng)
    extra_visit = np.concatenate([findings.visit, extra_visit])
    status = statuses(model)[episodes.problem]
    reasoned = np.isin(schedule.kind, [kind for kind in REASONS if kind not in (DELIVERY, BIRTH)])
    reasoned[extra_visit] = reasoned[seen[seen >= 0]] = True
    # What is no reason to come is told at the next visit that has one.
    told = np.flatnonzero(status & (codes >= 0))
    among = np.flatnonzero(reasoned)
    seen[told] = first_after(schedule, lives, episodes.patient[told], episodes.day[told], among)
    new = np.flatnonzero(seen >= 0)
    visit, row = [seen[new]], [new]
    again = _follow_up(lives, episodes, schedule, seen, chronic, model, rng)
    reasoned[again[0][~status[again[1]]]] = True
    worth = ~status[again[1]] | reasoned[again[0]]
    visit.append(again[0][worth])
    row.append(again[1][worth])
    at, of = np.concatenate(visit), np.concatenate(row)
    all_visit = np.concatenate([at, extra_visit])
    changed = later[1][of] <= schedule.day[at]
    all_code = np.concatenate([np.where(changed, later[0][of], codes[of]), findings.code, n_codes + extra_code])
    changing = np.zeros(len(at), dtype=bool)
    rows = np.flatnonzero(changed)
    rows = rows[order_of(of[rows], at[rows])]
    changing[rows[starts(of[rows])]] = True
    first = np.concatenate([(np.arange(len(at)) < len(new)) | changing, np.ones(len(extra_visit), dtype=bool)])
    episode = np.concatenate([of, np.full(len(extra_visit), -1)])
    listing = model.listing("codes")
    own = np.minimum(all_code, n_codes - 1)
    age = schedule.age[all_visit]
    # A code of newborns is not written down again in a grown child.
    possible = (all_code >= n_codes) | (
        (listing.number["age_min"][own] <= age) & (age <= listing.number["age_max"][own])
    )
    possible = np.flatnonzero(possible)
    all_visit, all_code, first, episode = all_visit[possible], all_code[possible], first[possible], episode[possible]
    noted = np.full(len(extra_visit), -1, dtype=np.int64)
    noted[: len(findings.visit)] = np.arange(len(findings.visit))
    noted = np.concatenate([np.full(len(at), -1, dtype=np.int64), noted])[possible]
    kept = first_in_each(all_visit, all_code)
    all_visit, all_code, first, episode = all_visit[kept], all_code[kept], first[kept], episode[kept]
    noted = noted[kept]
    # New illnesses first: they are why the person came; then by how the row came about.
    # In a hospital what brought the person there.
    place = np.where(episode >= 0, episodes.place[np.maximum(episode, 0)], 0)
    last = np.where(episode >= 0, status[np.maximum(episode, 0)], False)
    order = order_of(all_visit, np.where(last, 1, np.where(first, -1 - place, 0)))
    all_visit, all_code, first, episode = all_visit[order], all_code[order], first[order], episode[order]
    noted = noted[order]
    known = episode >= 0
    day = schedule.day[all_visit]
    onset, end = day.copy(), np.full(len(day), NEVER)
    # What has another code at first (a child's eyes) has this one from the age on at which there is such a thing.
    own = np.minimum(all_code[known], n_codes - 1)
    birth = lives.birth_day[schedule.patient[all_visit[known]]]
    earliest = birth + np.ceil(listing.number["age_min"][own] * 365.25).astype(np.int64) + 1
    earliest = np.where(listing.number["age_min"][own] > 0, earliest, birth)
    # Whenever it is written down again, it began on the day that was written down at first.
    begun = np.minimum(episodes.day[episode[known]], schedule.day[seen[episode[known]]])
    onset[known] = np.minimum(np.maximum(begun, earliest), day[known])
    # Nobody is over an illness before it is seen.
    end[known] = np.maximum(episodes.end[episode[known]], schedule.day[seen[episode[known]]] + 1)
    # The old code holds until the new one is written down.
    new_code = known & (all_code == np.append(later[0], -2)[episode])
    onset[new_code] = np.minimum(later[1][episode[new_code]], day[new_code])
    written = np.full(len(episodes), NEVER, dtype=np.int64)
    np.minimum.at(written, episode[new_code], day[new_code])
    old = known & ~new_code & (written[episode] < NEVER)
    end[old] = written[episode[old]]
    end[~known] = day[~known]
    of_pregnancy = noted >= 0
    onset[of_pregnancy] = np.minimum(findings.onset[noted[of_pregnancy]], day[of_pregnancy])
    end[of_pregnancy] = findings.end[noted[of_pregnancy]]
    rank = number_within(all_visit) + 1
    reason = _reasons(schedule, all_visit, all_code, rank, n_codes)
    return (
        Diagnoses(
            visit=all_visit,
            code=all_code,
            problem=np.where(known, episodes.problem[np.maximum(episode, 0)], -1),
            onset=onset,
            end=end,
            listed=known & chronic[np.maximum(episode, 0)] & first,
            rank=rank,
            reason=reason,
        ),
        seen,
    )


def _follow_up(
    lives: Lives,
    episodes: Episodes,
    schedule: Schedule,
    seen: Int,
    chronic: npt.NDArray[np.bool_],
    model: LifeCourseModel,
    rng: np.random.Generator,
) -> tuple[Int, Int]:
    """Return encounter and episode of each chronic condition that is seen to again."""
    wanted = model.listing("chronic").number["visits_per_year"]
    lasting = np.flatnonzero(chronic & (seen >= 0))
    visits = np.flatnonzero(np.isin(schedule.kind, (FOLLOW_UP, CHECK_UP, DEATH)) | (schedule.setting == 3))
    # Encounters between the one that finds it and the end of it: neighbours among the person's own.
    agenda = Agenda(schedule, lives, visits)
    patient = episodes.patient[lasting]
    first = np.maximum(
        agenda.place(patient, episodes.day[lasting]), np.searchsorted(visits, seen[lasting], side="right")
    )
    last = agenda.place(patient, np.minimum(episodes.end[lasting], lives.last_day[patient]) + 1)
    item, number = expand(np.maximum(last - first, 0))
    visit, episode = visits[first[item] + number], lasting[item]
    weight = wanted[episodes.problem[episode]]
    total = np.bincount(visit, weight, minlength=len(schedule))
    # A condition is seen to in proportion to the visits that it needs.
    share = np.minimum(_SEEN_TO * weight / (total[visit] + _OTHER_MATTERS), 0.9)
    share = np.where(schedule.setting[visit] == 3, 0.45, np.where(schedule.kind[visit] == CHECK_UP, 0.3 * share, share))
    taken = np.flatnonzero(rng.random(len(visit)) < share)
    return visit[taken], episode[taken]


def _of_pregnancy(
    schedule: Schedule, pregnancies: Pregnancies, findings: Findings, rng: np.random.Generator
) -> tuple[Int, Int]:
    """Return encounter and extra code of deliveries and births, and of the first visit of each pregnancy."""
    extra = {code: at for at, (code, _) in enumerate(EXTRA_CODES)}
    born = np.flatnonzero(schedule.kind == BIRTH)
    delivered = schedule.kind[pregnancies.visit] == DELIVERY
    birth, cesarean = pregnancies.visit[delivered], pregnancies.births.cesarean[pregnancies.of[delivered]]
    first = np.flatnonzero(schedule.kind == FIRST_PRENATAL)
    delivery = np.where(cesarean, extra["O82"], extra["O80"])
    alive = np.where(rng.random(len(born)) < _CESAREAN, extra["Z38.01"], extra["Z38.00"])
    # Who has complications has no uncomplicated delivery, and no cesarean without a reason.
    plain = ~np.isin(birth, findings.visit)
    visit = np.concatenate([birth[plain], birth, born, first])
    code = np.concatenate(
        [delivery[plain], np.full(len(birth), extra["Z37.0"]), alive, np.full(len(first), extra["Z34.91"])]
    )
    return visit, code


def _reasons(schedule: Schedule, visit: Int, code: Int, rank: Int, n_codes: int) -> Int:
    reason = np.full(len(schedule), -1, dtype=np.int64)
    first = np.flatnonzero(rank == 1)
    reason[visit[first]] = code[first]
    for at, kind in enumerate(REASONS):
        if kind not in (DELIVERY, BIRTH):
            reason[(schedule.kind == kind) & (schedule.setting < 2)] = n_codes + at
    return reason
