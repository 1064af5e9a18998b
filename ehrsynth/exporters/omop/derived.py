"""What the FHIR formats derive of synthetic records, as OMOP has it: specimens, costs and notes of visits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.billing import billed_encounters
from ehrsynth.exporters.fhir.notes import note_texts
from ehrsynth.exporters.fhir.orders import specimens as derived_specimens
from ehrsynth.exporters.fhir.resource import Source, literal_links
from ehrsynth.exporters.omop.block import Block, Sheet, at, facts, flat, look_up, positions
from ehrsynth.exporters.omop.events import ABSENT, Visits, dates, days, timed

__all__ = ["costs", "notes", "specimens"]


def _source(block: Block) -> Source:
    return Source(block=block.records, shared=block.shared, links=literal_links)


def specimens(block: Block) -> Sheet | None:
    """Return specimen: one for the results of an order that are made of the same, as its name says.

    All of them are of the concept of specimens in general; what they are is the source value.
    """
    rows = derived_specimens(_source(block))
    if not rows.num_rows:
        return None
    known = facts()
    block.used.concepts |= {known["specimen"], known["type"]["laboratory"]}
    day = days(rows["effective_datetime"])
    n = rows.num_rows
    return Sheet(
        table="specimen",
        person=positions(rows["patient_id"], block.persons),
        columns={
            "specimen_concept_id": np.full(n, known["specimen"]),
            "specimen_type_concept_id": np.full(n, known["type"]["laboratory"]),
            "specimen_date": dates(day),
            "specimen_datetime": timed(rows, "effective_datetime"),
            "specimen_source_value": flat(rows["specimen_kind"]),
        },
    ).keep(day != ABSENT)


def costs(block: Block, seen: Visits, plans: pa.Table) -> Sheet | None:
    """Return cost: what the bills of insured visits come to, and who pays.

    Parameters
    ----------
    plans : pyarrow.Table
        payer_plan_period, that a visit's coverage is found in by its source value.
    """
    rows = billed_encounters(_source(block))
    if not rows.num_rows:
        return None
    known = facts()
    visit = positions(rows["encounter_id"], seen.keys)
    plan = positions(rows["coverage_id"], flat(plans["plan_source_value"]))
    plan_ids = flat(plans["payer_plan_period_id"]).take(pa.array(plan, mask=plan < 0))
    block.used.concepts |= {known["type"]["cost"], known["currency"]}
    n = rows.num_rows
    return Sheet(
        table="cost",
        person=positions(rows["patient_id"], block.persons),
        columns={
            "cost_event_id": at(visit, seen.base),
            "cost_domain_id": pa.array(["Visit"] * n),
            "cost_type_concept_id": np.full(n, known["type"]["cost"]),
            "currency_concept_id": np.full(n, known["currency"]),
            "total_charge": flat(rows["total"]),
            "total_paid": flat(rows["total"]),
            "paid_by_payer": flat(rows["paid"]),
            "paid_by_patient": flat(rows["owed"]),
            "payer_plan_period_id": plan_ids,
        },
    ).keep(visit >= 0)


def notes(block: Block, seen: Visits) -> Sheet | None:
    """Return note: what the record says of each finished visit, in words, of the day on which it ended."""
    rows, texts = note_texts(_source(block))
    if not rows.num_rows:
        return None
    known = facts()["note"]
    kind = look_up(rows["encounter_class"], known, known["AMB"])
    block.used.concepts |= set(pc.unique(kind).to_pylist())
    ended = pc.coalesce(flat(rows["end_datetime"]), flat(rows["start_datetime"]))
    n = rows.num_rows
    visit = positions(rows["encounter_id"], seen.keys)
    return Sheet(
        table="note",
        person=positions(rows["patient_id"], block.persons),
        columns={
            "note_date": ended.cast(pa.date32()),
            "note_datetime": timed(rows, "end_datetime"),
            "note_type_concept_id": kind,
            "note_class_concept_id": np.zeros(n, np.int64),
            "note_title": pa.array(["Clinical note"] * n),
            "note_text": texts,
            "encoding_concept_id": np.zeros(n, np.int64),
            "language_concept_id": np.zeros(n, np.int64),
            "provider_id": at(positions(rows["practitioner_id"], block.providers)),
            "visit_occurrence_id": at(visit, seen.base),
        },
    ).keep(visit >= 0)
