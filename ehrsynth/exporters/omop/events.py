"""Encounters as OMOP visits, and what all clinical events share: each goes into the table of its concept's domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import OutputError
from ehrsynth.exporters.omop.block import Block, Coded, Ints, Mask, Sheet, at, facts, flat, look_up, positions

__all__ = [
    "ABSENT",
    "Event",
    "Visits",
    "dates",
    "days",
    "done",
    "opened",
    "qualifier",
    "sheets",
    "timed",
    "visits",
]

DAY = 86_400
ABSENT = np.iinfo(np.int64).min

# Where rows of each domain belong, with the columns that say what they are.
TABLES: Mapping[str, tuple[str, str]] = {
    "Condition": ("condition_occurrence", "condition"),
    "Drug": ("drug_exposure", "drug"),
    "Procedure": ("procedure_occurrence", "procedure"),
    "Measurement": ("measurement", "measurement"),
    "Observation": ("observation", "observation"),
    "Device": ("device_exposure", "device"),
}


@dataclass(frozen=True, kw_only=True)
class Visits:
    """The encounters that are visits: their keys, in the order of the encounters, and the days they span.

    Attributes
    ----------
    keys : pyarrow.Array
        Of the encounters, in the order of the visits.
    first_day, last_day : int64 arrays, shape (n,), days since 1970
    base : int
        What an id is more than a position.
    sheet : Sheet
    """

    keys: pa.Array
    first_day: Ints
    last_day: Ints
    base: int
    sheet: Sheet


def days(values: pa.Array | pa.ChunkedArray) -> Ints:
    """Return dates or times as days since 1970, `ABSENT` for null."""
    found: Ints = pc.fill_null(flat(values).cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), ABSENT).to_numpy()
    return found


def dates(values: Ints) -> pa.Array:
    """Return days since 1970 as dates."""
    absent = values == ABSENT
    return pa.array(np.where(absent, 0, values).astype(np.int32), mask=absent).cast(pa.date32())


def timed(rows: pa.Table, column: str) -> pa.Array:
    """The times of a column where the time of day is known."""
    known = pc.not_equal(pc.fill_null(flat(rows["time_precision"].cast(pa.string())), "second"), "day")
    return pc.if_else(known, flat(rows[column]), None)


def qualifier(*words: pa.Array) -> pa.Array:
    """Words that say more of an observation, in the 50 characters that it has for them; null where there are none."""
    # Not with null_handling="skip": where all words of all rows are null, Arrow then returns no rows.
    said = pc.binary_join_element_wise(*(pc.coalesce(word, "") for word in words), " ")
    said = pc.utf8_trim_whitespace(pc.replace_substring_regex(said, " +", " "))
    return pc.if_else(pc.equal(said, ""), None, pc.utf8_slice_codeunits(said, 0, 50))


def done(rows: pa.Table, *columns: str) -> Mask:
    """Whether what a row tells has happened."""
    not_done = pa.array(facts()["not_done"], pa.string())
    bad = [flat(pc.is_in(rows[name].cast(pa.string()), value_set=not_done)) for name in columns]
    found: Mask = ~np.logical_or.reduce([one.to_numpy(zero_copy_only=False) for one in bad])
    return found


def visits(block: Block) -> Visits:
    """Return visit_occurrence: every encounter that took place; one without an end ends when it starts.

    The source's word for a visit is its type, or its class where that says more than the concept of the visit does.

    Raises
    ------
    OutputError
        No encounter has a date: the records only have an order.
    """
    rows, known = block.records["encounter"], facts()
    start, end = days(rows["start_datetime"]), days(rows["end_datetime"])
    dated = start != ABSENT
    if len(dated) and not dated.any():
        raise OutputError(
            "The encounters have no start: OMOP has no place for records that only have an order.",
            table="encounter",
            row=1,
            column="start_datetime",
        )
    took_place = done(rows, "status")
    block.used.drop("encounter that did not take place", int((~took_place).sum()))
    block.used.drop("encounter without a date", int((took_place & ~dated).sum()))
    took_place = took_place & dated
    person = positions(rows["patient_id"], block.persons)
    last = np.maximum(np.where(end == ABSENT, start, end), start)
    kind = look_up(rows["encounter_class"], known["encounter_class"], 0)
    admitted = look_up(rows["admit_source_code"], known["admit_source"], None)
    discharged = look_up(rows["discharge_disposition_code"], known["discharge_disposition"], None)
    block.used.concepts |= {
        one for column in (kind, admitted, discharged) for one in pc.unique(column).to_pylist() if one is not None
    } | {known["type"]["encounter"]}
    word, source = _source_words(block, rows, last - start)
    sheet = Sheet(
        table="visit_occurrence",
        person=person,
        columns={
            "visit_concept_id": kind,
            "visit_start_date": dates(start),
            "visit_start_datetime": timed(rows, "start_datetime"),
            "visit_end_date": dates(last),
            "visit_end_datetime": pc.coalesce(timed(rows, "end_datetime"), timed(rows, "start_datetime")),
            "visit_type_concept_id": np.full(len(person), known["type"]["encounter"]),
            "provider_id": at(positions(rows["practitioner_id"], block.providers)),
            "care_site_id": at(positions(rows["organization_id"], block.care_sites)),
            "visit_source_value": word,
            "visit_source_concept_id": source,
            "admitted_from_concept_id": admitted,
            "admitted_from_source_value": _worded(rows["admit_source_code"], known["admit_words"]),
            "discharged_to_concept_id": discharged,
            "discharged_to_source_value": _worded(rows["discharge_disposition_code"], known["discharge_words"]),
        },
    )
    order = np.argsort(person[took_place], kind="stable")
    kept = np.flatnonzero(took_place)[order]
    return Visits(
        keys=flat(rows["encounter_id"]).take(pa.array(kept)),
        first_day=start[kept],
        last_day=last[kept],
        base=block.row_ids("visit_occurrence", 1)[0].as_py(),
        sheet=sheet.keep(took_place),
    )


def _source_words(block: Block, rows: pa.Table, nights: Ints) -> tuple[pa.Array, pa.Array]:
    """What the source calls each visit, and the concept of that."""
    kind = flat(rows["encounter_class"].cast(pa.string()))
    type_ = block.coded(rows, "type", domain="Visit")
    plain = pc.is_in(kind, value_set=pa.array(facts()["plain_classes"], pa.string()))
    # A long emergency is taken for the stay that it led to, where the source does not say that it was one.
    long_emergency = pc.and_(pc.equal(kind, "EMER"), pa.array(nights > 1))
    typed = pc.and_(pc.and_(plain, pc.invert(long_emergency)), pa.array(type_.index >= 0))
    block.used.lose("encounter.type_code", int((type_.index >= 0).sum()) - (pc.sum(typed).as_py() or 0))
    return pc.if_else(typed, type_.texts, kind), pc.if_else(typed, type_.source_ids, pa.scalar(0, pa.int64()))


def _worded(codes: pa.ChunkedArray, words: Mapping[str, str]) -> pa.Array:
    """Codes as sources write them, where no concept of a place says the same (who died went nowhere)."""
    texts = flat(codes.cast(pa.string()))
    found = pc.index_in(texts, value_set=pa.array(list(words), pa.string()))
    return pc.coalesce(pa.array(list(words.values()), pa.string()).take(found), texts)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all events have: rows, whose, which visit, the code."""

    rows: pa.Table
    person: Ints
    visit: Ints
    coded: Coded
    own_domain: str
    base: dict[str, Any]

    @property
    def visit_day(self) -> tuple[Ints, Ints]:
        first, last = self.base["_days"]
        there = self.visit >= 0
        at_visit = np.maximum(self.visit, 0)
        if not len(first):
            return np.full(len(there), ABSENT), np.full(len(there), ABSENT)
        return np.where(there, first[at_visit], ABSENT), np.where(there, last[at_visit], ABSENT)


def opened(block: Block, seen: Visits, name: str, domain: str) -> Event:
    rows = block.records[name]
    visit = positions(rows["encounter_id"], seen.keys)
    return Event(
        rows=rows,
        person=positions(rows["patient_id"], block.persons),
        visit=visit,
        coded=block.coded(rows, domain=domain),
        own_domain=domain,
        base={
            "visit_occurrence_id": at(visit, seen.base),
            "provider_id": at(positions(rows["practitioner_id"], block.providers))
            if "practitioner_id" in rows.column_names
            else None,
            "_days": (seen.first_day, seen.last_day),
        },
    )


def sheets(
    block: Block,
    event: Event,
    start: Ints,
    columns: Mapping[str, Mapping[str, Any]],
    keep: Mask,
    *,
    kind: Any,
    routes: tuple[str, ...] = (),
) -> list[Sheet]:
    """Return the rows of an event as sheets: those whose concept is of one of the domains `routes` in its table.

    Parameters
    ----------
    columns : mapping of domain to columns
        What a row has beside person, visit, code, start and type, in the table of each domain.
    """
    dated = start != ABSENT
    what = {one: f"{block_name} without a date" for one, block_name in ((event.own_domain, event.own_domain.lower()),)}
    block.used.drop(what[event.own_domain], int((keep & ~dated).sum()))
    block.used.drop(f"{event.own_domain.lower()} that did not happen", int((~keep).sum()))
    keep = keep & dated
    left = keep.copy()
    block.used.concepts |= {int(one) for one in np.unique(np.asarray(kind))}
    found = []
    for domain in (*routes, event.own_domain):
        here = left & event.coded.in_domain(domain) if domain != event.own_domain else left
        left = left & ~here
        if not here.any():
            continue
        table, stem = TABLES[domain]
        day = dates(start)
        time = columns[domain].get("_time")
        sheet = Sheet(
            table=table,
            person=event.person,
            columns={
                **{name: value for name, value in event.base.items() if value is not None and name[0] != "_"},
                f"{stem}_concept_id": event.coded.standard_ids,
                f"{stem}_source_concept_id": event.coded.source_ids,
                f"{stem}_source_value": event.coded.texts,
                f"{stem}_type_concept_id": np.broadcast_to(np.asarray(kind, dtype=np.int64), start.shape).copy(),
                **_starts(table, stem, day, time),
                **{name: value for name, value in columns[domain].items() if name[0] != "_"},
            },
        )
        block.used.count(table, event.coded, here)
        found.append(sheet.keep(here))
    return found


def _starts(table: str, stem: str, day: pa.Array, time: pa.Array | None) -> dict[str, Any]:
    if table in ("drug_exposure", "device_exposure"):
        stem = f"{table}_start"
    elif table == "condition_occurrence":
        stem = "condition_start"
    return {f"{stem}_date": day} if time is None else {f"{stem}_date": day, f"{stem}_datetime": time}
