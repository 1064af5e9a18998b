"""When and of what kind the encounters of a block are, and where its records lie in the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.trajectory import MAX_AGE_YEARS, CellTable, Visits
from ehrsynth.model import PatientModel
from ehrsynth.model.trajectory import STAYS
from ehrsynth.native import compiled
from ehrsynth.probability.categorical import Cumulative, cumulative, sample_rows

__all__ = ["DAY", "PRECISIONS", "UNIT_SECONDS", "EncounterSampler", "Encounters", "completed_years"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

DAY = 86_400
"""Seconds."""

PRECISIONS = ("day", "minute", "second")
UNIT_SECONDS = np.array([DAY, 60, 1], dtype=np.int64)
"""Seconds of one unit of each of the `PRECISIONS`."""
_OLDEST_DAYS = (MAX_AGE_YEARS + 3) * 366


@dataclass(frozen=True, kw_only=True)
class Encounters:
    """The encounters of a block, one for each visit; times are seconds since 1970, days are days since then.

    Attributes
    ----------
    visits : Visits
    kind : int64[v]
        Index of the encounter class.
    precision : int64[v]
        Index into `PRECISIONS`; the finer digits of start and end are zero.
    start, end : int64[v]
        start <= end. Where the end is not recorded, what happens in the encounter still lies before `end`, on its first
        day.
    end_known : bool[v]
    disposition, admit_source, encounter_type : int64[v]
        Indices into the trajectory's labels; -1 for none.
    birth_day, record_start_day, record_end_day : int64[n]
    death : int64[n]
        Seconds; of those with `death_precision` >= 0 only.
    death_precision : int64[n]
        Index into `PRECISIONS`, -1 for who does not die.
    """

    visits: Visits
    kind: Int
    precision: Int
    start: Int
    end: Int
    end_known: Bool
    disposition: Int
    admit_source: Int
    encounter_type: Int
    birth_day: Int
    record_start_day: Int
    record_end_day: Int
    death: Int
    death_precision: Int

    @property
    def last_instant(self) -> Int:
        """The last second anything of each person's record can happen in, int64[n]: of the record's end, or death."""
        return np.where(self.death_precision >= 0, self.death, self.record_end_day * DAY + DAY - 1)


def completed_years(birth_day: Int, day: Int) -> Int:
    """Return how many birthdays lie between two days since 1970; a 29 February has its birthday on 1 March."""
    native = compiled()
    if native is not None:
        found = np.empty(len(day), dtype=np.int64)
        native.years(np.ascontiguousarray(birth_day, dtype=np.int64), np.ascontiguousarray(day, dtype=np.int64), found)
        return found
    birth, now = (np.asarray(days).astype("datetime64[D]") for days in (birth_day, day))
    birth_month, month = birth.astype("datetime64[M]"), now.astype("datetime64[M]")
    months = month.astype(np.int64) - birth_month.astype(np.int64)
    months -= (now - month) < (birth - birth_month)
    return np.asarray(months // 12, dtype=np.int64)


class EncounterSampler:
    """The encounters of a model made ready for drawing many blocks."""

    def __init__(self, model: PatientModel, reference_date: date) -> None:
        trajectory = model.trajectory
        self._calendar = model.calendar
        self._reference_day = int(np.datetime64(reference_date, "D").astype(np.int64))
        self._n_states = trajectory.n_classes * trajectory.n_states
        self._kind = cumulative(trajectory.encounter_class)
        self._stay = CellTable(trajectory.stay, trajectory.stay_minutes)
        self._stay_known = np.asarray(trajectory.stay_known, dtype=np.float64)
        start = np.asarray(trajectory.start_minute)
        self._start = CellTable(start, trajectory.start_minutes) if start.shape[-1] else None
        self._start_states = start.shape[1] > 1
        named = [PRECISIONS.index(name) for name in trajectory.precision]
        self._precision = np.array(named if self._start else [0] * len(named), dtype=np.int64)
        self._is_stay = np.array([name in STAYS for name in trajectory.encounter_classes])
        self._disposition, self._died = _dispositions(
            trajectory.disposition, trajectory.dispositions, trajectory.died_disposition
        )
        self._died_index = (
            trajectory.dispositions.index(trajectory.died_disposition)
            if trajectory.died_disposition in trajectory.dispositions
            else -1
        )
        self._admit = _table(trajectory.admit_source)
        self._type = _table(trajectory.encounter_type)
        self._tail = CellTable(model.calendar.tail, model.calendar.tail_days)
        self._elapsed_edges = np.asarray(trajectory.elapsed_edges) if len(model.calendar.tail) > 1 else np.zeros(1)

    def draw(self, visits: Visits, people_age_days: Int, rng: np.random.Generator) -> Encounters:
        """Return the encounters of `visits`; `people_age_days` is each person's age at the first of them."""
        v, n = len(visits), len(visits.offsets) - 1
        kind = sample_rows(self._kind, visits.state, rng.random(v))
        row = kind * self._n_states + visits.state
        precision, start = self._starts(visits, kind, row, rng)
        end, known = self._ends(visits, kind, row, precision, start, rng)
        # The encounter that ends last is the one a person may die in: the last of them where several end together.
        final = visits.offsets[1:] - 1 - _first_of_segments(end[::-1], np.diff(visits.offsets)[::-1])[::-1]
        dies = visits.death_days >= 0
        in_encounter = visits.death_days == 0
        final_day = end[final] // DAY
        # Alive after the last encounter: dead on a later day, though nobody reaches any age.
        later = np.maximum(np.minimum(visits.death_days, _OLDEST_DAYS - people_age_days - final_day), 1)
        death = np.where(in_encounter, end[final], (final_day + later) * DAY)
        death_precision = np.where(dies, np.where(in_encounter, precision[final], 0), -1)
        u = rng.random((3, n))
        elapsed = visits.day[visits.offsets[1:] - 1]
        band = np.searchsorted(self._elapsed_edges, elapsed, side="right") - 1
        # Nobody is followed to an age that nobody reaches.
        tail = np.minimum(self._tail.draw(band, u[0], u[1]), np.maximum(_OLDEST_DAYS - people_age_days - final_day, 0))
        length = np.where(dies, np.maximum(final_day + tail, death // DAY), final_day + tail)
        # Whole days are added: the record ends up to `spread_days` before the reference date.
        day0 = self._reference_day - (u[2] * (self._calendar.spread_days + 1)).astype(np.int64) - length
        shift = day0[visits.patient] * DAY
        return Encounters(
            visits=visits,
            kind=kind,
            precision=precision,
            start=start + shift,
            end=end + shift,
            end_known=known,
            disposition=self._dispositions(row, final[in_encounter], rng),
            admit_source=_draw(self._admit, row, rng),
            encounter_type=_draw(self._type, row, rng),
            birth_day=day0 - people_age_days,
            record_start_day=day0,
            record_end_day=day0 + np.where(dies, death // DAY, length),
            death=death + day0 * DAY,
            death_precision=death_precision,
        )

    def _starts(self, visits: Visits, kind: Int, row: Int, rng: np.random.Generator) -> tuple[Int, Int]:
        """Return precision and start in seconds since the midnight that opens the person's first day."""
        precision = self._precision[kind]
        if self._start is None:
            return precision, visits.day * DAY
        u = rng.random((3, len(visits)))
        minute = self._start.draw(row if self._start_states else kind, u[0], u[1])
        second = minute * 60 + np.where(precision == 2, (u[2] * 60).astype(np.int64), 0)
        # Encounters of one person on one day: their order is the order of the visits, so they share out their times in
        # ascending order (to the minute: a time may move to a row that knows no seconds); one before another of which
        # only the day is known has no time of the day either.
        opens = np.ones(len(visits), dtype=bool)
        opens[1:] = (visits.patient[1:] != visits.patient[:-1]) | (visits.day[1:] != visits.day[:-1])
        group = np.cumsum(opens) - 1
        crowded = np.bincount(group)[group] > 1
        if crowded.any():
            last_dayonly = np.full(group[-1] + 1, -1, dtype=np.int64)
            dayonly = np.flatnonzero(precision == 0)
            last_dayonly[group[dayonly]] = dayonly
            precision = np.where(np.arange(len(visits)) < last_dayonly[group], 0, precision)
            timed = np.flatnonzero(crowded & (precision > 0))
            whole = second[timed] // 60 * 60
            second[timed] = whole[np.lexsort((whole, group[timed]))]
        return precision, visits.day * DAY + np.where(precision > 0, second, 0)

    def _ends(
        self, visits: Visits, kind: Int, row: Int, precision: Int, start: Int, rng: np.random.Generator
    ) -> tuple[Int, Bool]:
        u = rng.random((4, len(visits)))
        minutes = self._stay.draw(row, u[0], u[1])
        # Nobody stays until an age that nobody reaches.
        most = (_OLDEST_DAYS - visits.age_days) * (DAY // 60)
        old = np.flatnonzero(minutes > most)
        if len(old):
            u_again = rng.random((2, len(old)))
            minutes[old] = self._stay.draw_at_most(row[old], most[old], u_again[0], u_again[1])
        stays = np.flatnonzero(self._is_stay[kind])
        if len(stays) > 1:
            # One person's stays follow each other: a stay that would outlast the next one's start is drawn again, from
            # the stays that do not.
            same = visits.patient[stays[1:]] == visits.patient[stays[:-1]]
            most = (start[stays[1:]] - start[stays[:-1]]) // 60
            over = np.flatnonzero(same & (minutes[stays[:-1]] > most))
            again = stays[over]
            if len(again):
                u_again = rng.random((2, len(again)))
                minutes[again] = self._stay.draw_at_most(row[again], most[over], u_again[0], u_again[1])
        length = minutes * 60 + np.where((precision == 2) & (minutes > 0), (u[2] * 60).astype(np.int64), 0)
        if len(stays) > 1:
            length[stays[:-1]] = np.where(
                same, np.minimum(length[stays[:-1]], start[stays[1:]] - start[stays[:-1]]), length[stays[:-1]]
            )
        unit = UNIT_SECONDS[precision]
        end = start + np.maximum(length, 0) // unit * unit
        known = u[3] < self._stay_known[kind]
        # An end that nobody wrote down: what happened in the encounter is dated on its first day.
        first_day = (start // DAY + 1) * DAY - 1
        return np.where(known, end, np.minimum(end, first_day) // unit * unit), known

    def _dispositions(self, row: Int, died: Int, rng: np.random.Generator) -> Int:
        drawn = _draw(self._disposition, row, rng)
        if self._died_index >= 0:
            drawn[died[self._died[row[died]]]] = self._died_index
        return drawn


def _table(table: npt.NDArray[np.floating]) -> Cumulative | None:
    return cumulative(table) if np.asarray(table).shape[-1] else None


def _draw(table: Cumulative | None, row: Int, rng: np.random.Generator) -> Int:
    u = rng.random(len(row))
    return np.full(len(row), -1, dtype=np.int64) if table is None else sample_rows(table, row, u)


def _dispositions(
    table: npt.NDArray[np.floating], labels: tuple[str, ...], died: str
) -> tuple[Cumulative | None, Bool]:
    """Return how to draw dispositions of encounters nobody dies at the end of, and which rows know death at all."""
    rows = np.array(table, dtype=np.float64).reshape(-1, np.asarray(table).shape[-1])
    if died not in labels:
        return _table(rows), np.zeros(len(rows), dtype=bool)
    index = labels.index(died)
    knows = rows[:, index] > 0
    rows[:, index] = 0
    if not rows.shape[1] - 1:
        return None, knows
    # Where every end was a death, the survivors' disposition is taken as in the model's other rows.
    empty = rows.sum(axis=1) <= 0
    margin = rows.sum(axis=0)
    rows[empty] = margin if margin.sum() > 0 else np.arange(rows.shape[1]) != index
    return cumulative(rows), knows


def _first_of_segments(values: Int, lengths: Int) -> Int:
    """Return the position inside each segment of its first maximum."""
    starts = np.cumsum(lengths) - lengths
    best = np.maximum.reduceat(values, starts)
    position = np.arange(len(values)) - np.repeat(starts, lengths)
    place = np.where(values == np.repeat(best, lengths), position, len(values))
    return np.minimum.reduceat(place, starts)
