"""The tables of a block's people and of their encounters: patient, coverage, encounter; and the payers they share."""

from __future__ import annotations

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
from ehrsynth.generation.encounters import DAY, PRECISIONS, completed_years
from ehrsynth.generation.population import People
from ehrsynth.model import Coding, Trajectory

__all__ = ["coverage_columns", "encounter_columns", "patient_columns", "payer_codes"]

Int = npt.NDArray[np.int64]

_SEXES = ("male", "female", "other", "unknown")
_BIRTH_SEX = {"male": "M", "female": "F", "other": "OTH"}
_MARRIAGE_AGE = 15
# Source of Payment Typology, chapter 8: no payment from an organization, agency or program (self-pay, charity).
_NO_PAYER = "8"


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
    if "marital_status" in people.labels:
        # The status is that of the last day on record, when a child that the network calls married is still a child.
        age = completed_years(encounters.birth_day, encounters.record_end_day)
        status = people.states["marital_status"]
        columns["marital_status_code"] = labels(
            np.where(age >= _MARRIAGE_AGE, status, -1), people.labels["marital_status"]
        )
    if context.dated:
        dead = encounters.death_precision >= 0
        columns["death_datetime"] = datetime_column(encounters.death, dead)
        columns["death_precision"] = labels(encounters.death_precision, PRECISIONS)
        columns["record_start_date"] = date_column(encounters.record_start_day)
        columns["record_end_date"] = date_column(encounters.record_end_day)
    return columns


def _known_sexes(sexes: tuple[str, ...]) -> list[str]:
    return [label if label in _SEXES else "unknown" for label in sexes]


def payer_codes(labels_of_payer: tuple[str, ...] | None) -> list[str]:
    """Return the distinct payer types that pay, of the states of the network's variable ``payer``."""
    from ehrsynth.probability.bayesnet import MISSING

    return [code for code in labels_of_payer or () if code != MISSING and not code.startswith(_NO_PAYER)]


def coverage_columns(
    people: People,
    context: BlockContext,
    coverage_ids: npt.NDArray[np.bytes_],
    payer_ids: npt.NDArray[np.bytes_],
    payers: list[str],
) -> tuple[pa.Table, Int]:
    """Return the coverage table, one row for each person with a payer, and each person's row in it (-1: none)."""
    known = people.labels.get("payer", ())
    index = np.array([payers.index(code) if code in payers else -1 for code in known] + [-1], dtype=np.int64)
    payer = index[people.states["payer"]] if known else np.full(len(people), -1, dtype=np.int64)
    who = np.flatnonzero(payer >= 0)
    row = np.full(len(people), -1, dtype=np.int64)
    row[who] = np.arange(len(who))
    encounters = context.encounters
    dead = encounters.death_precision[who] >= 0
    columns: Columns = {
        "coverage_id": id_column(coverage_ids[: len(who)]),
        "patient_id": id_column(context.patient_ids, who),
        "payer_id": id_column(payer_ids, payer[who]),
        "status": labels(np.where(dead, 1, 0), ["active", "cancelled"]),
        "relationship_code": constant("self", len(who)),
    }
    if context.dated:
        columns["start_date"] = date_column(encounters.record_start_day[who])
        columns["end_date"] = date_column(np.where(dead, encounters.death[who] // DAY, 0), dead)
    return pa.table(columns), row


def encounter_columns(
    context: BlockContext,
    trajectory: Trajectory,
    coverage: tuple[npt.NDArray[np.bytes_], Int],
    reason: tuple[Int, tuple[Coding, ...]],
) -> Columns:
    """Return the columns of the encounter table.

    Parameters
    ----------
    context : BlockContext
    trajectory : Trajectory
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
    if len(context.practitioner_ids):
        columns["practitioner_id"] = id_column(context.practitioner_ids, context.practitioner)
    if context.dated:
        columns["start_datetime"] = datetime_column(encounters.start)
        columns["end_datetime"] = datetime_column(encounters.end, encounters.end_known)
        columns["time_precision"] = labels(encounters.precision, PRECISIONS)
    return columns
