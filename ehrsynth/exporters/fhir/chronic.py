"""Chronic conditions: what a plan of care follows, derived from the problem list and from diagnoses that come again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, joined, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["cared_for", "carers", "chronic_conditions"]

CHRONIC_DAYS = 90
"""A diagnosis that is recorded again after so many days is chronic: three months, as the US National Center for Health
Statistics defines it (a condition that has lasted three months or more)."""

_ONGOING = ("active", "recurrence", "relapse")


def chronic_conditions(source: Source) -> pa.Table:
    """Return one row per patient and chronic code: its first condition, from when to when, and the state of its plan.

    Chronic is what stands on the problem list, or is diagnosed again `CHRONIC_DAYS` after the first time. A plan is
    active while the condition is and the patient lives; else it was completed, on the day that the condition abated or
    the patient died, if one of them is known. What was entered in error or refuted has no plan.
    """
    return source.once("chronic_conditions", _conditions)


def _conditions(source: Source) -> pa.Table:
    rows, patients = source["condition"], source["patient"]
    wrong = hits(rows["verification_status"], ["entered-in-error", "refuted"])
    begun = pc.coalesce(whole(rows["onset_date"]), whole(rows["recorded_date"]))
    # When it was seen tells what comes again: each time can name the same onset.
    seen = pc.coalesce(
        whole(rows["recorded_date"]),
        joined(rows["encounter_id"], source["encounter"], "encounter_id", "start_datetime").cast(pa.date32()),
        begun,
    )
    rows = with_columns(rows, begun=begun, seen=seen)
    rows = rows.filter(pa.array(~wrong & begun.is_valid().to_numpy(zero_copy_only=False))).combine_chunks()
    days = whole(rows["seen"]).cast(pa.int32()).to_numpy()
    by_time = np.argsort(days, kind="stable")
    rows, days = rows.take(pa.array(by_time)).combine_chunks(), days[by_time]
    group = grouped(rows["patient_id"], rows["code_system"], rows["code"])
    first = first_of_each(group)
    last = np.empty_like(first)
    last[group] = np.arange(len(group))
    listed = np.zeros(len(first), dtype=bool)
    listed[group[hits(rows["category"], ["problem-list-item", "health-concern"])]] = True
    chronic = listed | (days[last] - days[first] >= CHRONIC_DAYS)
    latest = rows.take(pa.array(last[chronic]))
    found = rows.take(pa.array(first[chronic])).combine_chunks()
    died = joined(found["patient_id"], patients, "patient_id", "death_datetime").cast(pa.date32())
    status = whole(latest["clinical_status"]).cast(pa.string())
    going = pc.or_(status.is_null(), pc.is_in(status, pa.array(_ONGOING)))
    abated = whole(latest["abatement_date"])
    active = pc.and_(pc.and_(going, abated.is_null()), died.is_null())
    ended = pc.if_else(active, None, pc.coalesce(abated, died))
    there = joined(found["encounter_id"], source["encounter"], "encounter_id", "practitioner_id")
    return with_columns(
        found,
        plan_status=pc.if_else(active, "active", "completed"),
        goal_status=pc.if_else(active, "active", pc.if_else(abated.is_valid(), "completed", "cancelled")),
        ended=ended,
        carer_id=pc.coalesce(whole(found["practitioner_id"]), there),
    )


def cared_for(source: Source) -> pa.Table:
    """Return one row per patient with a plan and somebody known to care: the first plan, and whether any is active."""
    return source.once("cared_for", _patients)


def carers(source: Source) -> pa.Table:
    """Return who cares for patients with plans: ``patient_id`` and ``practitioner_id``, no pair twice."""
    return source.once("carers", _carers)


def _carers(source: Source) -> pa.Table:
    plans, patients = chronic_conditions(source), source["patient"]
    usual = joined(plans["patient_id"], patients, "patient_id", "practitioner_id")
    pairs = pa.table(
        {
            "patient_id": pa.concat_arrays([whole(plans["patient_id"])] * 2),
            "practitioner_id": pa.concat_arrays([usual, whole(plans["carer_id"])]),
        }
    )
    pairs = pairs.filter(pairs["practitioner_id"].is_valid()).combine_chunks()
    return pairs.take(pa.array(first_of_each(grouped(pairs["patient_id"], pairs["practitioner_id"]))))


def _patients(source: Source) -> pa.Table:
    plans = chronic_conditions(source)
    plans = plans.filter(pc.is_in(whole(plans["patient_id"]), whole(carers(source)["patient_id"]))).combine_chunks()
    group = grouped(plans["patient_id"])
    rows = plans.take(pa.array(first_of_each(group)))
    active = np.zeros(len(rows), dtype=bool)
    active[group[pc.equal(whole(plans["plan_status"]), "active").to_numpy(zero_copy_only=False)]] = True
    return with_columns(rows, team_status=pc.if_else(pa.array(active), "active", "inactive"))
