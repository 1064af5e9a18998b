"""OMOP visit_occurrence as encounters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Known, is_true, positions
from ehrsynth.readers.assembly import encounter_sequence
from ehrsynth.readers.omop_codes import coded_column
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_people import People
from ehrsynth.readers.omop_places import Places, link
from ehrsynth.readers.omop_standard import ADMIT_SOURCE, DISCHARGE_DISPOSITION, ENCOUNTER_CLASS, translate, words
from ehrsynth.readers.omop_time import ABSENT, DAY, Exactness, as_times, cut_to_lives, moments, within_lives
from ehrsynth.readers.source import SourceTable

__all__ = ["EMERGENCY_STAY_DAYS", "Visits", "read_visits"]

EMERGENCY_STAY_DAYS = (2, 365)
"""An emergency visit of 2 to 365 days is read as the inpatient stay it led to, as the N3C macrovisits do."""


_FINER = {"ACUTE": "IMP", "SS": "AMB", "PRENC": "AMB"}
"""Classes of HL7 of which the concepts of visits only know a broader one."""


@dataclass(frozen=True, kw_only=True)
class Visits:
    """The encounters.

    Attributes
    ----------
    table : pyarrow.Table
        Of the canonical schema's columns.
    known : Known
        Their keys.
    patients : int64 array, shape (n,)
        Row of each encounter's patient.
    first_day, last_day : int64 arrays, shape (n,), days since 1970
        `last_day` is the first day where the end is not known.
    """

    table: pa.Table
    known: Known
    patients: npt.NDArray[np.int64]
    first_day: npt.NDArray[np.int64]
    last_day: npt.NDArray[np.int64]


def read_visits(reading: Reading, people: People, places: Places, coverage: pa.Table | None) -> Visits:
    """Read visit_occurrence.

    Choices made:

    - Class by visit concept, or the class of HL7 that the source's word is, if it says more (SS is AMB); 262 (emergency
      room and inpatient) is the inpatient stay. An emergency visit of two days
      to a year is an inpatient stay, admitted from the emergency department. If the concept says nothing the source
      value may; else a visit of two days or more is inpatient and a shorter one ambulatory. All of that is counted.
    - A source concept of a public vocabulary is the type of the encounter.
    - Admission and discharge by the source's words first (they know more than the place-of-service concepts: home and
      home health care are one concept), then by concept.
    - The sequence is by start, then end. A visit is `finished` when it has an end, else `unknown`.
    - The care site is the organization, its location the place; the coverage is the one in force on the first day.
    """
    account = reading.account
    visit = reading.open("visit_occurrence")
    assert visit is not None  # indispensable
    source_keys = visit["visit_occurrence_id"]
    visit = account.keys(visit, "visit_occurrence_id")
    visit = account.references(visit, "person_id", people.known, required=True)
    start_columns, end_columns = (
        tuple(f"visit_{side}_{kind}" for kind in ("date", "datetime")) for side in ("start", "end")
    )
    visit = account.refuse(
        visit,
        moments(visit, *start_columns)[0] == ABSENT,
        problem="The visit has no start.",
        reason="no start",
        column="visit_start_date",
        hint="Fill it in.",
    )
    for column, target, key in (
        ("provider_id", places.provider, "provider_id"),
        ("care_site_id", places.care_site, "care_site_id"),
    ):
        visit = link(reading, visit, column, target, key)
    patients = positions(visit["person_id"], people.known.taken)
    keep = within_lives(visit, account, patients, people.lives, moments(visit, *start_columns)[0], start_columns[0])
    visit, patients = visit.keep(keep), patients[keep]
    times = moments(visit, *start_columns), moments(visit, *end_columns)
    exact = Exactness.of(*times)
    start, end = cut_to_lives(
        visit, account, patients, people.lives, (times[0][0], times[1][0]), (start_columns[0], end_columns[0])
    )
    start, end = exact.floor(start), exact.floor(end)
    account.close(visit)
    kind, through_emergency = _classes(reading, visit, start, end)
    first_day, last_day = start // DAY, np.where(end == ABSENT, start, end) // DAY
    admitted = pc.coalesce(
        words(visit.get("admitted_from_source_value"), ADMIT_SOURCE),
        translate(visit.get("admitted_from_concept_id"), ADMIT_SOURCE),
        pc.if_else(pa.array(through_emergency), "emd", None),
    )
    columns = {
        "encounter_id": visit["visit_occurrence_id"],
        "patient_id": visit["person_id"],
        "sequence": pa.array(encounter_sequence(patients, _chunked(start), _chunked(end))),
        "start_datetime": as_times(start),
        "end_datetime": as_times(end),
        "time_precision": exact.names(),
        "status": pc.if_else(pa.array(end != ABSENT), "finished", "unknown"),
        "encounter_class": kind,
        **coded_column(visit, "visit_source_concept_id", reading.concepts).columns("type"),
        "admit_source_code": admitted,
        "discharge_disposition_code": pc.coalesce(
            words(visit.get("discharged_to_source_value"), DISCHARGE_DISPOSITION),
            translate(visit.get("discharged_to_concept_id"), DISCHARGE_DISPOSITION),
        ),
        "organization_id": visit.get("care_site_id"),
        "practitioner_id": visit.get("provider_id"),
        "location_id": _location(visit, places),
        "coverage_id": _coverage(patients, first_day, people, coverage),
    }
    return Visits(
        table=pa.table(columns),
        known=Known("visit_occurrence", visit["visit_occurrence_id"], source_keys),
        patients=patients,
        first_day=first_day,
        last_day=last_day,
    )


def _chunked(moment: npt.NDArray[np.int64]) -> pa.ChunkedArray:
    return pa.chunked_array([as_times(moment)])


def _classes(
    reading: Reading, visit: SourceTable, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_]]:
    """Return the class of each visit, and whether it is an inpatient stay that began in the emergency room."""
    account = reading.account
    stay = np.where(end == ABSENT, 0, (end - start) / DAY)
    concept = visit.get("visit_concept_id")
    known = pc.coalesce(translate(concept, ENCOUNTER_CLASS), words(visit.get("visit_source_value"), ENCOUNTER_CLASS))
    unknown = is_true(pc.is_null(known))
    account.adjust(
        visit,
        unknown,
        what="of no known kind: inpatient if of two days or more, else ambulatory",
        column="visit_concept_id",
    )
    by_stay = pa.array(["AMB", "IMP"]).take(pa.array((stay >= EMERGENCY_STAY_DAYS[0]).astype(np.int8)))
    kind = pc.coalesce(known, by_stay)
    shortest, longest = EMERGENCY_STAY_DAYS
    emergency = is_true(pc.equal(kind, "EMER")) & (stay >= shortest) & (stay <= longest)
    emergency &= ~is_true(pc.equal(visit.get("visit_source_value"), "EMER"))
    account.adjust(
        visit,
        emergency,
        what="emergency of two days to a year: read as the inpatient stay it led to",
        column="visit_concept_id",
    )
    finer = visit.get("visit_source_value")
    broader = pa.array(list(_FINER.values())).take(
        pc.index_in(finer, value_set=pa.array(list(_FINER))).combine_chunks()
    )
    kind = pc.if_else(pc.fill_null(pc.equal(broader, kind), False), finer, kind)
    both = is_true(pc.equal(concept, "262"))
    return pc.if_else(pa.array(emergency), "IMP", kind), emergency | both


def _location(visit: SourceTable, places: Places) -> pa.Array | pa.ChunkedArray:
    if places.care_site is None or places.location is None:
        return pa.nulls(len(visit), pa.string())
    at = positions(visit.get("care_site_id"), places.care_site["care_site_id"])
    return places.care_site.get("location_id").take(pa.array(at, mask=at < 0))


def _coverage(
    patients: npt.NDArray[np.int64], day: npt.NDArray[np.int64], people: People, coverage: pa.Table | None
) -> pa.Array | pa.ChunkedArray:
    """Return the key of the patient's coverage that began last before the day and has not ended; null for none."""
    if coverage is None or not coverage.num_rows:
        return pa.nulls(len(patients), pa.string())
    owner = positions(coverage["patient_id"], people.known.taken)
    begin = coverage["start_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    end = pc.fill_null(coverage["end_date"].cast(pa.int32()), np.iinfo(np.int32).max).to_numpy().astype(np.int64)
    order = np.lexsort((begin, owner))
    # One sorted key for (patient, day): days fit into 23 bits either side of 1970.
    offset = np.int64(1) << 23
    keys = owner[order] * (offset * 2) + begin[order] + offset
    at = np.searchsorted(keys, patients * (offset * 2) + day + offset, side="right") - 1
    found = order[np.maximum(at, 0)]
    sound = (at >= 0) & (owner[found] == patients) & (end[found] >= day)
    return coverage["coverage_id"].take(pa.array(found, mask=~sound))
