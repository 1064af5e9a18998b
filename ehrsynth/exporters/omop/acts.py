"""Conditions, orders, vaccines, procedures and devices as OMOP rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.omop.block import Block, Sheet, facts, flat
from ehrsynth.exporters.omop.events import ABSENT, Visits, dates, days, done, opened, qualifier, sheets, timed

__all__ = ["conditions", "devices", "drugs", "procedures", "vaccines"]

SLACK_DAYS = 1
"""A condition's first day counts where it lies so near to its visit; else the day on which it was recorded does."""


def conditions(block: Block, seen: Visits) -> list[Sheet]:
    """Return condition_occurrence, and in observation the codes that OMOP does not call conditions (Z00.00).

    A condition of a visit starts on its first day if that lies near the visit, else when it was recorded. What has
    become of it is the reason why it stopped; its rank, else how sure it is, is the status. Observations have neither:
    there the qualifier says state, end and rank, in words.
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
    state = _but(rows["clinical_status"], "active")
    own = {
        "condition_end_date": dates(end),
        "stop_reason": state,
        "condition_status_concept_id": status,
        "condition_status_source_value": pc.coalesce(
            rank.cast(pa.string()), _but(rows["verification_status"], "confirmed")
        ),
    }
    other = {
        "qualifier_source_value": qualifier(
            pc.if_else(pc.is_valid(dates(end)), pc.coalesce(state, "active"), state),
            dates(end).cast(pa.string()),
            pc.binary_join_element_wise("rank", rank.cast(pa.string()), " "),
        )
    }
    keep = done(rows, "verification_status")
    columns = {"Condition": own, "Observation": other}
    return sheets(block, event, start, columns, keep, kind=kinds, routes=("Observation",))


def _but(values: pa.ChunkedArray, usual: str) -> pa.Array:
    """The words of a column where they say anything else than usual."""
    texts = flat(values.cast(pa.string()))
    return pc.if_else(pc.equal(texts, usual), None, texts)


def drugs(block: Block, seen: Visits) -> list[Sheet]:
    """Return drug_exposure of orders: to the last day of use, else as long as the supply, else the first day.

    Where the last day of use is known it is the verbatim end too; an order that has ended says in what state as the
    reason why it stopped.
    """
    event = opened(block, seen, "medication_request", "Drug")
    rows = event.rows
    first, _ = event.visit_day
    start = days(rows["start_date"])
    start = np.where(start == ABSENT, days(rows["authored_datetime"]), start)
    start = np.where(start == ABSENT, first, start)
    supply = flat(rows["days_supply"])
    lasts = pc.fill_null(supply, 0).to_numpy()
    stated = days(rows["end_date"])
    end = np.maximum(np.where(stated == ABSENT, start + np.maximum(lasts - 1, 0), stated), start)
    authored = pc.if_else(pa.array(days(rows["authored_datetime"]) == start), timed(rows, "authored_datetime"), None)
    route = block.coded(rows, "route", domain="Route")
    status = flat(rows["status"].cast(pa.string()))
    ended = pc.if_else(pc.is_in(status, value_set=pa.array(facts()["ended_orders"], pa.string())), status, None)
    own = {
        "_time": authored,
        "drug_exposure_end_date": dates(end),
        # Midnight of the only day would lie before the hour of its begin.
        "drug_exposure_end_datetime": pc.if_else(pa.array(end == start), authored, None),
        "verbatim_end_date": dates(stated),
        "stop_reason": ended,
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
    """Return procedure_occurrence of procedures that were done, and those that OMOP calls otherwise in its tables.

    Those are of the type of what is written down of an encounter: so they are known again.
    """
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
    elsewhere = np.logical_or.reduce([event.coded.in_domain(domain) for domain in routes])
    endless = event.coded.in_domain("Observation") | event.coded.in_domain("Measurement")
    for what, said in (
        ("end", end != ABSENT),
        ("quantity", flat(pc.is_valid(quantity)).to_numpy(zero_copy_only=False)),
    ):
        block.used.drop(f"{what} of a procedure that is a measurement or observation", int((endless & said).sum()))
    kinds = facts()["type"]
    kind = np.where(elsewhere, kinds["encounter"], kinds["default"])
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
