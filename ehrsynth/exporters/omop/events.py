"""Encounters and clinical events as OMOP rows, each in the table of its concept's domain."""

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
    "conditions",
    "dates",
    "days",
    "devices",
    "done",
    "drugs",
    "opened",
    "procedures",
    "sheets",
    "timed",
    "vaccines",
    "visits",
]

DAY = 86_400
ABSENT = np.iinfo(np.int64).min
SLACK_DAYS = 1
"""A condition's first day counts where it lies so near to its visit; else the day on which it was recorded does."""

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


def done(rows: pa.Table, *columns: str) -> Mask:
    """Whether what a row tells has happened."""
    not_done = pa.array(facts()["not_done"], pa.string())
    bad = [flat(pc.is_in(rows[name].cast(pa.string()), value_set=not_done)) for name in columns]
    found: Mask = ~np.logical_or.reduce([one.to_numpy(zero_copy_only=False) for one in bad])
    return found


def visits(block: Block) -> Visits:
    """Return visit_occurrence: every encounter that took place; one without an end ends when it starts.

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
            "visit_source_value": flat(rows["encounter_class"].cast(pa.string())),
            "visit_source_concept_id": np.zeros(len(person), np.int64),
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


def conditions(block: Block, seen: Visits) -> list[Sheet]:
    """Return condition_occurrence, and in observation the codes that OMOP does not call conditions (Z00.00).

    A condition of a visit starts on its first day if that lies near the visit, else when it was recorded.
    """
    event = opened(block, seen, "condition", "Condition")
    rows, known = event.rows, facts()
    onset, recorded, end = (days(rows[name]) for name in ("onset_date", "recorded_date", "abatement_date"))
    first, last = event.visit_day
    linked = event.visit >= 0
    near = (onset >= first - SLACK_DAYS) & (onset <= last + SLACK_DAYS) & (onset != ABSENT)
    noted = np.where(recorded == ABSENT, first, recorded)
    start = np.where(linked, np.where(near, onset, noted), np.where(onset == ABSENT, recorded, onset))
    end = np.where((end != ABSENT) & (end < start), start, end)
    problem = flat(pc.equal(rows["category"].cast(pa.string()), "problem-list-item"))
    kinds = np.where(problem.to_numpy(zero_copy_only=False), known["type"]["problem"], known["type"]["encounter"])
    rank = flat(rows["rank"])
    status = pc.if_else(pc.equal(rank, 1), known["rank"]["first"], known["rank"]["other"])
    block.used.concepts |= {one for one in pc.unique(status).to_pylist() if one is not None}
    own = {
        "condition_end_date": dates(end),
        "condition_status_concept_id": status,
        "condition_status_source_value": rank.cast(pa.string()),
    }
    keep = done(rows, "verification_status")
    return sheets(block, event, start, {"Condition": own, "Observation": {}}, keep, kind=kinds, routes=("Observation",))


def drugs(block: Block, seen: Visits) -> list[Sheet]:
    """Return drug_exposure of orders: to the last day of use, else as long as the supply, else the first day."""
    event = opened(block, seen, "medication_request", "Drug")
    rows = event.rows
    first, _ = event.visit_day
    start = days(rows["start_date"])
    start = np.where(start == ABSENT, days(rows["authored_datetime"]), start)
    start = np.where(start == ABSENT, first, start)
    supply = flat(rows["days_supply"])
    lasts = pc.fill_null(supply, 0).to_numpy()
    end = days(rows["end_date"])
    end = np.maximum(np.where(end == ABSENT, start + np.maximum(lasts - 1, 0), end), start)
    authored = pc.if_else(pa.array(days(rows["authored_datetime"]) == start), timed(rows, "authored_datetime"), None)
    route = block.coded(rows, "route", domain="Route")
    stopped = pc.if_else(pc.equal(flat(rows["status"].cast(pa.string())), "stopped"), "stopped", None)
    own = {
        "_time": authored,
        "drug_exposure_end_date": dates(end),
        # Midnight of the only day would lie before the hour of its begin.
        "drug_exposure_end_datetime": pc.if_else(pa.array(end == start), authored, None),
        "stop_reason": stopped,
        "refills": flat(rows["refills"]),
        "quantity": flat(rows["quantity"]),
        "days_supply": supply,
        "sig": flat(rows["sig"].cast(pa.string())),
        "route_concept_id": route.standard_ids,
        "route_source_value": route.texts,
        "dose_unit_source_value": pc.utf8_slice_codeunits(flat(rows["dose_unit"].cast(pa.string())), 0, 50),
    }
    kind = facts()["type"]["prescription"]
    return sheets(block, event, start, {"Drug": own}, done(rows, "status"), kind=kind)


def vaccines(block: Block, seen: Visits) -> list[Sheet]:
    """Return drug_exposure of immunizations that were given."""
    event = opened(block, seen, "immunization", "Drug")
    rows = event.rows
    start = days(rows["occurrence_datetime"])
    own = {
        "_time": timed(rows, "occurrence_datetime"),
        "drug_exposure_end_date": dates(start),
        "drug_exposure_end_datetime": timed(rows, "occurrence_datetime"),
        "lot_number": pc.utf8_slice_codeunits(flat(rows["lot_number"]), 0, 50),
    }
    kind = facts()["type"]["administration"]
    return sheets(block, event, start, {"Drug": own}, done(rows, "status"), kind=kind)


def procedures(block: Block, seen: Visits) -> list[Sheet]:
    """Return procedure_occurrence of procedures that were done, and those that OMOP calls otherwise in its tables."""
    event = opened(block, seen, "procedure", "Procedure")
    rows = event.rows
    first, _ = event.visit_day
    start, end = days(rows["start_datetime"]), days(rows["end_datetime"])
    start = np.where(start == ABSENT, first, start)
    time = timed(rows, "start_datetime")
    quantity = pc.round(flat(rows["quantity"])).cast(pa.int64())
    own = {
        "_time": time,
        "procedure_end_date": dates(end),
        "procedure_end_datetime": timed(rows, "end_datetime"),
        "quantity": quantity,
    }
    ended = dates(np.where(end == ABSENT, start, end))
    other: dict[str, dict[str, Any]] = {
        "Procedure": own,
        "Observation": {"_time": time},
        "Measurement": {"_time": time},
        "Drug": {"_time": time, "drug_exposure_end_date": ended},
        "Device": {"_time": time, "device_exposure_end_date": ended},
    }
    routes = ("Observation", "Measurement", "Drug", "Device")
    kind = facts()["type"]["default"]
    return sheets(block, event, start, other, done(rows, "status"), kind=kind, routes=routes)


def devices(block: Block, seen: Visits) -> list[Sheet]:
    """Return device_exposure."""
    event = opened(block, seen, "device", "Device")
    rows = event.rows
    first, _ = event.visit_day
    start, end = days(rows["start_datetime"]), days(rows["end_datetime"])
    start = np.where(start == ABSENT, first, start)
    own = {
        "_time": timed(rows, "start_datetime"),
        "device_exposure_end_date": dates(end),
        "device_exposure_end_datetime": timed(rows, "end_datetime"),
        "unique_device_id": pc.utf8_slice_codeunits(flat(rows["unique_device_id"]), 0, 255),
        "quantity": pc.round(flat(rows["quantity"])).cast(pa.int64()),
    }
    return sheets(block, event, start, {"Device": own}, done(rows, "status"), kind=facts()["type"]["default"])
