"""What OMOP files by the domain of its concept, and the records in another table: diagnoses, procedures, allergies."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import is_true
from ehrsynth.readers.omop_codes import coded_column
from ehrsynth.readers.omop_events import Rows
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_standard import allergy_concepts
from ehrsynth.readers.omop_time import as_dates
from ehrsynth.readers.omop_visits import Visits
from ehrsynth.readers.source_codes import CPT, HCPCS, ICD10PCS
from ehrsynth.schema import clinical
from ehrsynth.terminology import ICD9CM, ICD10CM, SNOMED

__all__ = ["allergic", "allergies", "carried_out", "condition_words", "diagnosed"]

ENCOUNTER_TYPE = "32827"
DIAGNOSIS_TYPES = (ENCOUNTER_TYPE, "32840")
"""EHR encounter record, EHR problem list."""

Mask = npt.NDArray[np.bool_]

_ALLERGY_NAME = re.compile(r"allergy to .*|(?!no |history |family |suspected |screening ).* allergy", re.IGNORECASE)
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


def diagnosed(rows: Rows) -> Mask:
    """Which observations are diagnoses: of ICD, and of a type that says where diagnoses are written down."""
    if rows.event.table != "observation" or not len(rows.table):
        return np.zeros(len(rows.table), dtype=bool)
    return _of_systems(rows, ICD9CM, ICD10CM) & _of_types(rows, *DIAGNOSIS_TYPES)


def carried_out(rows: Rows) -> Mask:
    """Which rows of another table are procedures: coded as such, written down of an encounter, and without a result."""
    if not len(rows.table):
        return np.zeros(0, dtype=bool)
    found = _of_systems(rows, HCPCS, CPT, ICD10PCS) & _of_types(rows, ENCOUNTER_TYPE)
    for column in ("value_as_number", "value_as_string", "value_as_concept_id"):
        if column in rows.table:
            found = found & ~is_true(pc.is_valid(rows.table[column]))
    return found


def _of_systems(rows: Rows, *systems: str) -> Mask:
    marks = np.array([coding.system in systems for coding in rows.codes.codings] or [False])
    found: Mask = marks[rows.codes.index]
    return found


def _of_types(rows: Rows, *types: str) -> Mask:
    column = f"{rows.event.concept.removesuffix('_concept_id')}_type_concept_id"
    return is_true(pc.is_in(rows.table.get(column), value_set=pa.array(types)))


def condition_words(rows: Rows) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Return state, end and rank of diagnoses, as the source says them; null where it does not.

    Of conditions the reason why they stopped is the state, and the source's word of the status the rank or how sure
    they are. Of observations the qualifier says what there is to say: ``resolved 2014-05-21 rank 2``.
    """
    table = rows.table
    if rows.event.table == "observation":
        words = table.get("qualifier_source_value")
        state, end, rank = _parts(
            words, rf"^(?P<state>[a-z]+)?(?: ?(?P<end>{_DATE}))?(?: ?rank (?P<rank>[0-9]{{1,4}}))?$"
        )
        sure = pa.nulls(len(table), pa.string())
    else:
        state, end = table.get("stop_reason"), pa.nulls(len(table), pa.string())
        words = table.get("condition_status_source_value")
        (rank,) = _parts(words, r"^(?P<rank>[0-9]{1,4})$")
        sure = _listed(words, "condition", "verification_status")
    return {
        "clinical_status": _listed(state, "condition", "clinical_status"),
        "verification_status": sure,
        "end": end.cast(pa.date32()),
        "rank": rank.cast(pa.int64()),
    }


def allergic(rows: Rows) -> Mask:
    """Which observations are allergies: by the concept's id, by its name in SNOMED CT, or as the qualifier says."""
    if rows.event.table != "observation" or not len(rows.table):
        return np.zeros(len(rows.table), dtype=bool)
    said = _first_words(rows.table.get("qualifier_source_value"))
    known = pc.is_in(rows.table.get("observation_concept_id"), value_set=pa.array(allergy_concepts(), pa.string()))
    named = np.array(
        [c.system == SNOMED and bool(_ALLERGY_NAME.fullmatch(c.display or "")) for c in rows.codes.codings] or [False]
    )
    found: Mask = is_true(known) | named[rows.codes.index] | is_true(pc.is_in(said, value_set=_KINDS))
    return found


_KINDS = pa.array(["allergy", "intolerance"])


def _first_words(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return _parts(values, r"^(?P<first>[a-z-]+)")[0]


def allergies(reading: Reading, rows: Rows, visits: Visits) -> pa.Table:
    """Return observations that are allergies.

    Choices made: the substance is the code of the row, but the coded value where that says it (an allergy to a drug, of
    penicillin). The text is the reaction. An allergy is active and confirmed, unless the qualifier says otherwise.
    """
    table, n = rows.table, len(rows.table)
    value = coded_column(table, "value_as_concept_id", reading.concepts)
    base = rows.base("allergy_intolerance_id", visits)
    of_allergy = np.array([c.system == SNOMED for c in rows.codes.codings] or [False])[rows.codes.index]
    by_value = pa.array(of_allergy & (value.index >= 0))
    for name, values in value.columns().items():
        base[name] = pc.if_else(by_value, values.cast(pa.string()), base[name].cast(pa.string()))
    words = pc.split_pattern(pc.coalesce(table.get("qualifier_source_value"), ""), " ").combine_chunks()
    date = _parts(table.get("qualifier_source_value"), rf"(?P<date>{_DATE})")[0]
    return (
        pa.table(
            {
                **base,
                "allergy_type": _among(words, "allergy_type"),
                "category": _among(words, "category"),
                "criticality": _among(words, "criticality"),
                "clinical_status": pc.coalesce(_among(words, "clinical_status"), "active"),
                "verification_status": pc.coalesce(_among(words, "verification_status"), "confirmed"),
                "onset_date": date.cast(pa.date32()),
                "recorded_date": as_dates(rows.start),
                **coded_column(table, "qualifier_concept_id", reading.concepts).columns("reaction"),
                "reaction_display": table.get("value_as_string"),
                "reaction_severity": _among(words, "reaction_severity"),
            }
        )
        if n
        else clinical()["allergy_intolerance"].arrow.empty_table()
    )


def _among(words: pa.ListArray, column: str) -> pa.Array:
    """The word of each row that is one of a column's."""
    enum = clinical()["allergy_intolerance"][column].enum
    flat = words.flatten()
    parent = pc.list_parent_indices(words).to_numpy()
    hit = is_true(pc.is_in(flat, value_set=pa.array(enum)))
    at = np.full(len(words), -1, dtype=np.int64)
    at[parent[hit]] = np.flatnonzero(hit)
    return flat.take(pa.array(at, mask=at < 0))


def _listed(values: pa.Array | pa.ChunkedArray, table: str, column: str) -> pa.Array | pa.ChunkedArray:
    return pc.if_else(pc.is_in(values, value_set=pa.array(clinical()[table][column].enum)), values, None)


def _parts(values: pa.Array | pa.ChunkedArray, pattern: str) -> list[pa.Array | pa.ChunkedArray]:
    """The named groups of a pattern, null where it does not match or a group is not there."""
    found = pc.extract_regex(values, pattern)
    names = re.compile(pattern).groupindex
    parts = [pc.struct_field(found, [name]) for name in names]
    return [pc.if_else(pc.equal(part, ""), None, part) for part in parts]
