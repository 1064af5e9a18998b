"""The tables of what happened in encounters: rows of codes become columns, with statuses that the dates bear out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.generation.columns import (
    Columns,
    constant,
    date_column,
    datetime_column,
    id_column,
    labels,
    number_column,
)
from ehrsynth.generation.encounters import DAY, PRECISIONS, UNIT_SECONDS, Encounters
from ehrsynth.generation.rows import FamilySampler, Rows
from ehrsynth.generation.segments import contains, first_of_each, ranges
from ehrsynth.generation.surroundings import SurroundingsOfBlock
from ehrsynth.randomness import identifier_bytes
from ehrsynth.schema import TableSchema

__all__ = ["BlockContext", "ConditionIndex", "detail_table"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_PERSISTENT = 0.5


@dataclass(frozen=True, kw_only=True)
class BlockContext:
    """What the rows of a block refer to.

    Attributes
    ----------
    seed, block : int
    encounters : Encounters
    dated : bool
        False where the model knows only the order of encounters.
    patient_ids, encounter_ids : bytes[*, 36]
        Of the block.
    shared_ids : mapping of table name to bytes[*, 36]
        Of the organizations, practitioners, locations and payers.
    surroundings : SurroundingsOfBlock
    """

    seed: int
    block: int
    encounters: Encounters
    dated: bool
    patient_ids: npt.NDArray[np.bytes_]
    encounter_ids: npt.NDArray[np.bytes_]
    shared_ids: dict[str, npt.NDArray[np.bytes_]]
    surroundings: SurroundingsOfBlock


@dataclass(frozen=True, kw_only=True)
class ConditionIndex:
    """Finds the row of a condition by visit and code: what a drug or a procedure was for.

    Attributes
    ----------
    keys : int64[m]
        visit * n_codes + code, ascending.
    rows : int64[m]
        Row of the condition table.
    n_codes : int
    ids : bytes[*, 36]
    """

    keys: Int
    rows: Int
    n_codes: int
    ids: npt.NDArray[np.bytes_]

    @classmethod
    def of(cls, rows: Rows, n_codes: int, ids: npt.NDArray[np.bytes_]) -> ConditionIndex:
        """Return the index of the condition rows."""
        keys = rows.visit * n_codes + rows.code
        order = np.argsort(keys, kind="stable")
        first = first_of_each(keys[order])
        return cls(keys=keys[order][first], rows=order[first], n_codes=n_codes, ids=ids)

    def find(self, visit: Int, code: Int) -> Int:
        """Return the row of each visit's condition `code` (-1: none asked for); -1 where the visit does not have it."""
        keys = visit * self.n_codes + code
        found = (code >= 0) & contains(self.keys, keys)
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        return np.where(found, self.rows[np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)], -1)


def detail_table(
    sampler: FamilySampler,
    rows: Rows,
    context: BlockContext,
    schema: TableSchema,
    conditions: ConditionIndex | None,
    measured: Columns | None = None,
) -> tuple[pa.Table, npt.NDArray[np.bytes_]]:
    """Return the table of a family's rows, and its identifiers.

    Parameters
    ----------
    sampler : FamilySampler
    rows : Rows
    context : BlockContext
    schema : TableSchema
    conditions : ConditionIndex, optional
        Of the same block; needed for reasons.
    measured : columns, optional
        Of an observation table: numbers and panels, which go before the attributes.
    """
    family = sampler.family
    ids = identifier_bytes(context.seed, family.table, context.block, len(rows))
    columns: Columns = {} if sampler.attributes is None else sampler.attributes.columns(rows.attribute, schema)
    patient = context.encounters.visits.patient[rows.visit]
    columns |= {
        schema.primary_key: id_column(ids),
        "patient_id": id_column(context.patient_ids, patient),
        "encounter_id": id_column(context.encounter_ids, rows.visit),
        "code_system": labels(rows.code, [coding.system for coding in family.codings]),
        "code": labels(rows.code, [coding.code for coding in family.codings]),
        "display": labels(rows.code, [coding.display for coding in family.codings]),
    }
    if "practitioner_id" in schema:
        who = context.surroundings.practitioner[rows.visit]
        columns["practitioner_id"] = id_column(context.shared_ids["practitioner"], who)
    if "reason_condition_id" in schema and conditions is not None:
        reason = conditions.find(rows.visit, sampler.reason[rows.code])
        columns["reason_condition_id"] = id_column(conditions.ids, reason)
    match family.table:
        case "condition":
            _condition(columns, sampler, rows, context)
        case "medication_request":
            _medication(columns, rows, context)
        case "observation":
            _observation(columns, rows, context, measured or {})
        case "procedure" | "device":
            _lasting(columns, rows, context, family.table)
        case "immunization":
            _immunization(columns, rows, context)
    # Columns of the schema only: a family of another table than these has times of its own.
    order = [name for name in schema.names if name in columns]
    return pa.table([columns[name] for name in order], names=order), ids


def _ends(rows: Rows, context: BlockContext, start: Int) -> tuple[Int, Bool, Bool]:
    """Return end days, whether each is recorded, and whether the row ended with the person.

    An end after the end of the record is not known yet; what would outlast a person who died ended on that day.
    """
    encounters = context.encounters
    patient = encounters.visits.patient[rows.visit]
    last_day = encounters.last_instant[patient] // DAY
    end = start // DAY + np.maximum(rows.days, 0)
    dead = encounters.death_precision[patient] >= 0
    beyond = end > last_day
    return np.minimum(end, last_day), (rows.days >= 0) & (~beyond | dead), (rows.days >= 0) & beyond & dead


def _day(rows: Rows, context: BlockContext) -> Int:
    return context.encounters.start[rows.visit] // DAY


def _times(columns: Columns, rows: Rows, context: BlockContext, name: str, *, always: bool = False) -> None:
    if context.dated or always:
        columns[name] = datetime_column(rows.time)
        columns["time_precision"] = labels(context.encounters.precision[rows.visit], PRECISIONS)


def _pick(columns: Columns, name: str, default: pa.Array) -> pa.Array:
    """Return the column of attributes where it has a value, else the default."""
    if name not in columns:
        return default
    return pc.coalesce(columns[name].cast(pa.string()), default.cast(pa.string()))


def _condition(columns: Columns, sampler: FamilySampler, rows: Rows, context: BlockContext) -> None:
    """Dates are days: of the visit for what it records, of the first visit that recorded the code for its onset.

    A condition with an end is resolved; one that a person has in several visits, or that usually comes back, is active.
    """
    n = len(rows)
    encounters = context.encounters
    recorded = _day(rows, context)
    end, ended, with_person = _ends(rows, context, recorded * DAY)
    ended &= ~with_person
    persists = np.asarray(sampler.family.previous, dtype=np.float64).mean(axis=0) >= _PERSISTENT
    active = (rows.first_visit != rows.last_visit) | persists[rows.code]
    status = labels(np.where(active, 0, 1), ["active", "resolved"])
    if "clinical_status" in columns:
        status = _pick(columns, "clinical_status", status)
        status = pc.if_else(pa.array(ended), "resolved", status)
    else:
        status = labels(np.where(ended | ~active, 1, 0), ["active", "resolved"])
    columns["clinical_status"] = status
    columns["category"] = _pick(columns, "category", constant("encounter-diagnosis", n))
    columns["verification_status"] = _pick(columns, "verification_status", constant("confirmed", n))
    # What is new comes first: it is why the patient came.
    order = np.argsort(rows.visit * 2 + rows.recurs, kind="stable")
    visit = rows.visit[order]
    starts = np.flatnonzero(first_of_each(visit))
    rank = np.empty(n, dtype=np.int64)
    rank[order] = ranges(np.ones(len(starts), dtype=np.int64), np.diff(np.append(starts, n)) + 1)
    columns["rank"] = number_column(rank)
    if context.dated:
        columns["onset_date"] = date_column(encounters.start[rows.first_visit] // DAY)
        columns["recorded_date"] = date_column(recorded)
        columns["abatement_date"] = date_column(end, ended)


def _medication(columns: Columns, rows: Rows, context: BlockContext) -> None:
    """A drug with an end in the record is completed; without, it is active if the last visit had it, else stopped."""
    n = len(rows)
    visits = context.encounters.visits
    patient = visits.patient[rows.visit]
    dead = context.encounters.death_precision[patient] >= 0
    end, ended, with_person = _ends(rows, context, rows.time)
    in_last_visit = rows.last_visit == visits.offsets[1:][patient] - 1
    renewed = rows.next_visit >= 0
    # completed, active, stopped
    running = np.where(renewed, 0, np.where(in_last_visit & ~dead, 1, 2))
    status = np.where(ended, 0, np.where((rows.days >= 0) & ~dead, 1, running))
    status = np.where(with_person, 2, status)
    columns["status"] = labels(status, ["completed", "active", "stopped"])
    columns["intent"] = _pick(columns, "intent", constant("order", n))
    _times(columns, rows, context, "authored_datetime")
    if context.dated:
        columns["start_date"] = date_column(rows.time // DAY)
        columns["end_date"] = date_column(end, ended)


def _observation(columns: Columns, rows: Rows, context: BlockContext, measured: Columns) -> None:
    n = len(rows)
    columns["category"] = _pick(columns, "category", constant("laboratory", n))
    columns["status"] = _pick(columns, "status", constant("final", n))
    _times(columns, rows, context, "effective_datetime")
    columns |= measured
    _interpret(columns)
    nothing: Any = None
    for name in ("value_number", "value_code", "value_text"):
        if name in columns:
            empty = pc.is_null(columns[name])
            nothing = empty if nothing is None else pc.and_(nothing, empty)
    index = np.zeros(n, dtype=np.int64)
    if nothing is not None:
        index = np.where(nothing.to_numpy(zero_copy_only=False), 0, -1)
    columns["absent_reason_code"] = labels(index, ["unknown"])


def _interpret(columns: Columns) -> None:
    """Say of a number with a reference range on which side of it it lies; a number without has no interpretation."""
    if "value_number" not in columns:
        return
    value = columns["value_number"]
    interpretation = columns.get("interpretation_code")
    if interpretation is not None:
        columns["interpretation_code"] = pc.if_else(pc.is_valid(value), None, interpretation.cast(pa.string()))
    if "reference_low" not in columns and "reference_high" not in columns:
        return
    low = columns.get("reference_low", pa.nulls(len(value), pa.float64()))
    high = columns.get("reference_high", pa.nulls(len(value), pa.float64()))
    numbered = pc.and_(pc.is_valid(value), pc.or_(pc.is_valid(low), pc.is_valid(high)))
    below = pc.fill_null(pc.less(value, low), False)
    above = pc.fill_null(pc.greater(value, high), False)
    side = pc.if_else(below, "L", pc.if_else(above, "H", "N"))
    other = columns.get("interpretation_code", pa.nulls(len(value), pa.string()))
    columns["interpretation_code"] = pc.if_else(numbered, side, other.cast(pa.string()))


def _lasting(columns: Columns, rows: Rows, context: BlockContext, table: str) -> None:
    """From a time to a time: a procedure until its encounter's end at most; a device without an end is still in use."""
    n = len(rows)
    encounters = context.encounters
    _, ended, _ = _ends(rows, context, rows.time)
    if table == "procedure":
        last, ended = encounters.end[rows.visit], rows.days >= 0
    else:
        last = encounters.last_instant[encounters.visits.patient[rows.visit]]
    unit = UNIT_SECONDS[encounters.precision[rows.visit]]
    end = np.minimum(rows.time + np.maximum(rows.days, 0) * DAY, last) // unit * unit
    if table == "device":
        columns["status"] = labels(np.where(ended, 1, 0), ["active", "inactive"])
    else:
        columns["status"] = _pick(columns, "status", constant("completed", n))
    _times(columns, rows, context, "start_datetime")
    if context.dated:
        columns["end_datetime"] = datetime_column(end, ended)


def _immunization(columns: Columns, rows: Rows, context: BlockContext) -> None:
    n = len(rows)
    columns["status"] = _pick(columns, "status", constant("completed", n))
    # A vaccination has a date by definition; where the model knows only an order, it is that of the order.
    _times(columns, rows, context, "occurrence_datetime", always=True)
    if "primary_source" not in columns:
        columns["primary_source"] = number_column(np.ones(n, dtype=bool))
    if "dose_number" not in columns:
        patient = context.encounters.visits.patient[rows.visit]
        pair = patient * (int(rows.code.max(initial=0)) + 1) + rows.code
        order = np.argsort(pair, kind="stable")
        starts = np.flatnonzero(first_of_each(pair[order]))
        dose = np.empty(n, dtype=np.int64)
        dose[order] = ranges(np.ones(len(starts), dtype=np.int64), np.diff(np.append(starts, n)) + 1)
        columns["dose_number"] = number_column(dose)
