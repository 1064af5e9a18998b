"""OMOP tables of events as conditions, medications, immunizations, procedures, observations and devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import positions
from ehrsynth.readers.omop_codes import Resolved, resolve
from ehrsynth.readers.omop_layout import EVENTS, Event, Reading
from ehrsynth.readers.omop_people import People
from ehrsynth.readers.omop_places import Places, link
from ehrsynth.readers.omop_time import (
    ABSENT,
    DAY,
    Exactness,
    as_times,
    cut_to_lives,
    days,
    moments,
    within_lives,
)
from ehrsynth.readers.omop_visits import Visits
from ehrsynth.readers.source import SourceTable

__all__ = ["VISIT_SLACK_DAYS", "Rows", "open_events"]

VISIT_SLACK_DAYS = 1
"""How many days outside its visit an event may lie and still be of the visit: midnight and time zones blur a day."""

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Events that are sound: of a patient, perhaps of a visit, with a code and times within the life.

    Attributes
    ----------
    event : Event
    table : SourceTable
    patients, visits : int64 arrays, shape (n,)
        Rows of the patient and visit tables, -1 for no visit.
    start, end : int64 arrays, shape (n,), seconds since 1970
    exact : Exactness
    codes : Resolved
    """

    event: Event
    table: SourceTable
    patients: Ints
    visits: Ints
    start: Ints
    end: Ints
    exact: Exactness
    codes: Resolved

    def keep(self, mask: Mask) -> Rows:
        """Return the rows where `mask` holds."""
        if mask.all():
            return self
        return replace(
            self,
            table=self.table.keep(mask),
            patients=self.patients[mask],
            visits=self.visits[mask],
            start=self.start[mask],
            end=self.end[mask],
            exact=self.exact.keep(mask),
            codes=self.codes.take(mask),
        )

    def base(self, key: str, visits: Visits) -> dict[str, pa.Array | pa.ChunkedArray]:
        """Return the columns that all tables of events share: key, patient, encounter, code and practitioner."""
        where = pa.array(self.visits, mask=self.visits < 0)
        return {
            key: self.table[self.event.key],
            "patient_id": self.table["person_id"],
            "encounter_id": visits.known.taken.take(where),
            **self.codes.columns(),
            "practitioner_id": self.table.get("provider_id"),
        }

    def times(self, *names: str) -> dict[str, pa.Array]:
        """Return start (and end) under `names`, and how exact they are."""
        moment = (self.exact.floor(self.start), self.exact.floor(self.end))
        columns = {name: as_times(values) for name, values in zip(names, moment, strict=False)}
        return {**columns, "time_precision": self.exact.names()}


def open_events(
    reading: Reading,
    people: People,
    places: Places,
    visits: Visits,
    table: str,
    *,
    once: str = "",
    standard: bool = False,
) -> Rows | None:
    """Return the sound rows of a table of events, None if there is no such table.

    Parameters
    ----------
    once : str
        ``visit``: of rows with the same patient, visit and code (without a visit: the same day) the first is taken: a
        condition that a nurse charts every hour is one condition. ``day``: the same, day by day. Empty: all are taken.
    standard : bool
        Prefer the standard concept, see `omop_codes.resolve`.

    Notes
    -----
    Set aside, in this order: rows that cannot be read, without key or with one that is there twice, of an unknown
    person or visit, of another person's visit, without start, without code (concept 0 and no source value), whose
    concept is of a domain that does not belong into the table, before birth, after death, repeated. An event further
    than `VISIT_SLACK_DAYS` outside its visit keeps its date and loses the visit.
    """
    event, account = EVENTS[table], reading.account
    found = reading.open(table)
    if found is None:
        return None
    found = account.keys(found, event.key)
    found = account.references(found, "person_id", people.known, required=True)
    found = _visit_links(reading, found, visits, people)
    found = link(reading, found, "provider_id", places.provider, "provider_id")
    found = account.refuse(
        found,
        moments(found, *event.start)[0] == ABSENT,
        problem="The row has no start.",
        reason="no start",
        column=event.start[0],
        hint="Fill it in.",
    )
    rows = _resolved(reading, event, found, people, visits, standard)
    rows = _within_visits(reading, rows, visits)
    rows = _cut(reading, rows, people)
    if once:
        rows = _first_of_each(reading, rows, by_day=once == "day")
    return rows


def _visit_links(reading: Reading, found: SourceTable, visits: Visits, people: People) -> SourceTable:
    account, column = reading.account, "visit_occurrence_id"
    if column not in found:
        return found
    if not pc.is_in(pa.scalar("0"), value_set=visits.known.source).as_py():
        found = reading.no_zero(found, column)
    found = account.references(found, column, visits.known, required=False)
    at = positions(found[column], visits.known.taken)
    who = positions(found["person_id"], people.known.taken)
    other = (at >= 0) & (visits.patients[np.maximum(at, 0)] != who) if len(visits.patients) else np.zeros(len(at), bool)
    return account.refuse(
        found,
        other,
        problem="The visit {value!r} is of another person.",
        reason="its visit is of another person",
        column=column,
        hint="Correct the person or the visit.",
    )


def _resolved(
    reading: Reading, event: Event, found: SourceTable, people: People, visits: Visits, standard: bool
) -> Rows:
    account = reading.account
    codes = resolve(
        found,
        reading.concepts,
        source_concept=event.source_concept,
        concept=event.concept,
        source_value=event.source_value,
        recognise=event.recognise,
        prefer_standard=standard,
    )
    if len(found):
        account.note(codes.explain(event.table))
    without = codes.index < 0
    account.set_aside(found, without, reason="no code", column=event.source_value)
    strange = np.array([domain in event.strange_domains for domain in codes.domains] or [False])
    misplaced = ~without & strange[codes.domain_index]
    account.set_aside(
        found, misplaced, reason="its concept is of a domain that does not belong here", column=event.concept
    )
    patients = positions(found["person_id"], people.known.taken)
    begin, end = moments(found, *event.start), moments(found, *event.end)
    keep = ~(without | misplaced)
    rows = Rows(
        event=event,
        table=found,
        patients=patients,
        visits=positions(found.get("visit_occurrence_id"), visits.known.taken),
        start=begin[0],
        end=end[0],
        exact=Exactness.of(begin, end),
        codes=codes,
    ).keep(keep)
    alive = within_lives(rows.table, account, rows.patients, people.lives, rows.start, event.start[0])
    return rows.keep(alive)


def _within_visits(reading: Reading, rows: Rows, visits: Visits) -> Rows:
    linked = rows.visits >= 0
    if not linked.any():
        return rows
    at, day = np.maximum(rows.visits, 0), rows.start // DAY
    early, late = visits.first_day[at] - VISIT_SLACK_DAYS, visits.last_day[at] + VISIT_SLACK_DAYS
    outside = linked & ((day < early) | (day > late))
    reading.account.adjust(
        rows.table,
        outside,
        what="more than a day outside its visit: the link to the visit was left out",
        column="visit_occurrence_id",
    )
    return replace(rows, visits=np.where(outside, -1, rows.visits))


def _cut(reading: Reading, rows: Rows, people: People) -> Rows:
    start, end = cut_to_lives(
        rows.table,
        reading.account,
        rows.patients,
        people.lives,
        (rows.start, rows.end),
        (rows.event.start[0], rows.event.end[0]),
        unit=DAY if rows.event.dates_only else 1,
    )
    return replace(rows, start=start, end=end)


def _first_of_each(reading: Reading, rows: Rows, *, by_day: bool) -> Rows:
    day = rows.start // DAY
    grain = day if by_day else np.where(rows.visits >= 0, 0, day)
    # Two orders of a day with different ends, where the source states them, are two.
    stated = days(rows.table.get("verbatim_end_date", pa.date32()))
    order = np.lexsort((rows.start, stated, grain, rows.codes.index, rows.visits, rows.patients))
    keys = np.stack([rows.patients, rows.visits, rows.codes.index, grain, stated])[:, order]
    again = np.zeros(len(order), dtype=bool)
    again[order[1:]] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    reason = "repeated on the same day" if by_day else "repeated in the same visit"
    reading.account.set_aside(rows.table, again, reason=reason, column=rows.event.concept)
    return rows.keep(~again)
