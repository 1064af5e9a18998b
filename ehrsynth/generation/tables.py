"""The tables of a block's people and of their encounters: patient, coverage and encounter."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.generation.columns import (
    Columns,
    constant,
    date_column,
    datetime_column,
    id_column,
    labels,
    number_column,
)
from ehrsynth.generation.details import BlockContext
from ehrsynth.generation.encounters import DAY, PRECISIONS
from ehrsynth.generation.names import as_digits
from ehrsynth.generation.population import People
from ehrsynth.generation.surroundings import marital_status
from ehrsynth.model import Coding, Trajectory
from ehrsynth.randomness import BLOCK_SIZE, stream

__all__ = ["EncounterLabels", "coverage_columns", "encounter_columns", "patient_columns"]

Int = npt.NDArray[np.int64]

_SEXES = ("male", "female", "other", "unknown")
_MEMBERS = 10_000_000_000
_BIRTH_SEX = {"male": "M", "female": "F", "other": "OTH"}


class EncounterLabels(Protocol):
    """What the numbers of encounters mean: the part of a trajectory that their table needs."""

    encounter_classes: tuple[str, ...]
    encounter_types: tuple[Coding, ...]
    admit_sources: tuple[str, ...]
    dispositions: tuple[str, ...]


def patient_columns(people: People, context: BlockContext) -> Columns:
    """Return the columns of the patient table that the model and the calendar decide."""
    encounters = context.encounters
    n = len(people)
    columns: Columns = {
        "patient_id": id_column(context.patient_ids),
        "birth_date": date_column(encounters.birth_day),
        "birth_date_precision": constant("day", n),
    }
    sex = people.labels.get("sex")
    if sex is None:
        columns["sex"] = constant("unknown", n)
    else:
        state = people.states["sex"]
        columns["sex"] = labels(np.where(state < 0, len(sex), state), [*_known_sexes(sex), "unknown"])
        columns["birth_sex"] = labels(state, [_BIRTH_SEX.get(label) for label in sex])
    for variable, name in (("race", "race_code"), ("ethnicity", "ethnicity_code"), ("language", "language_code")):
        if variable in people.labels:
            columns[name] = labels(people.states[variable], people.labels[variable])
    status = marital_status(people, encounters)
    if status is not None:
        columns["marital_status_code"] = status
    surroundings = context.surroundings
    for name in surroundings.identity.column_names:
        columns[name] = surroundings.identity[name]
    columns["organization_id"] = id_column(context.shared_ids["organization"], surroundings.home_organization)
    columns["practitioner_id"] = id_column(context.shared_ids["practitioner"], surroundings.home_practitioner)
    # Also where only the order of encounters is known: it is the day on which the age holds that the birth date tells.
    columns["record_start_date"] = date_column(encounters.record_start_day)
    if context.dated:
        dead = encounters.death_precision >= 0
        columns["death_datetime"] = datetime_column(encounters.death, dead)
        columns["death_precision"] = labels(encounters.death_precision, PRECISIONS)
        columns["record_end_date"] = date_column(encounters.record_end_day)
    return columns


def _known_sexes(sexes: tuple[str, ...]) -> list[str]:
    return [label if label in _SEXES else "unknown" for label in sexes]


def coverage_columns(context: BlockContext, coverage_ids: npt.NDArray[np.bytes_]) -> tuple[pa.Table, Int]:
    """Return the coverage table, one row for each person with a payer, and each person's row in it (-1: none)."""
    payer = context.surroundings.payer
    who = np.flatnonzero(payer >= 0)
    row = np.full(len(payer), -1, dtype=np.int64)
    row[who] = np.arange(len(who))
    encounters = context.encounters
    dead = encounters.death_precision[who] >= 0
    columns: Columns = {
        "coverage_id": id_column(coverage_ids[: len(who)]),
        "patient_id": id_column(context.patient_ids, who),
        "payer_id": id_column(context.shared_ids["payer"], payer[who]),
        "member_id": _member_ids(context, who),
        "status": labels(np.where(dead, 1, 0), ["active", "cancelled"]),
        "relationship_code": constant("self", len(who)),
    }
    if context.dated:
        columns["start_date"] = date_column(encounters.record_start_day[who])
        columns["end_date"] = date_column(np.where(dead, encounters.death[who] // DAY, 0), dead)
    return pa.table(columns), row


def _member_ids(context: BlockContext, who: Int) -> pa.Array:
    """Return a number of ten digits for each person, unlike any other person's under the seed."""
    offset = int(stream(context.seed, "coverage.member").integers(_MEMBERS))
    # A multiplier prime to the modulus spreads consecutive people over the range, and stays a bijection.
    return as_digits(((context.block * BLOCK_SIZE + who) * 15_485_863 + offset) % _MEMBERS, "0000000000")


def encounter_columns(
    context: BlockContext,
    trajectory: Trajectory | EncounterLabels,
    coverage: tuple[npt.NDArray[np.bytes_], Int],
    reason: tuple[Int, tuple[Coding, ...]],
) -> Columns:
    """Return the columns of the encounter table.

    Parameters
    ----------
    context : BlockContext
    trajectory : Trajectory or EncounterLabels
        What the numbers of the encounters mean.
    coverage : (ids, int64[n])
        Identifiers of the coverages and each person's row among them; -1 for none.
    reason : (int64[v], codings)
        The leading condition of each encounter, -1 for none, and what the numbers mean.
    """
    encounters = context.encounters
    patient = encounters.visits.patient
    kind = encounters.encounter_type
    types = trajectory.encounter_types
    why, codings = reason
    columns: Columns = {
        "encounter_id": id_column(context.encounter_ids),
        "patient_id": id_column(context.patient_ids, patient),
        "sequence": number_column(encounters.visits.number),
        "status": constant("finished", len(patient)),
        "encounter_class": labels(encounters.kind, trajectory.encounter_classes),
        "type_system": labels(kind, [coding.system for coding in types]),
        "type_code": labels(kind, [coding.code for coding in types]),
        "type_display": labels(kind, [coding.display for coding in types]),
        "reason_system": labels(why, [coding.system for coding in codings]),
        "reason_code": labels(why, [coding.code for coding in codings]),
        "reason_display": labels(why, [coding.display for coding in codings]),
        "admit_source_code": labels(encounters.admit_source, trajectory.admit_sources),
        "discharge_disposition_code": labels(encounters.disposition, trajectory.dispositions),
        "coverage_id": id_column(coverage[0], coverage[1][patient]),
    }
    for name in ("organization", "practitioner", "location"):
        columns[f"{name}_id"] = id_column(context.shared_ids[name], getattr(context.surroundings, name))
    if context.dated:
        columns["start_datetime"] = datetime_column(encounters.start)
        columns["end_datetime"] = datetime_column(encounters.end, encounters.end_known)
        columns["time_precision"] = labels(encounters.precision, PRECISIONS)
    return columns
