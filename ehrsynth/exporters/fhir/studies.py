"""Studies: procedures that end in a report (imaging, cardiology, pathology), known by their codes or their names."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.joins import first_of_each, grouped, joined, whole, with_columns
from ehrsynth.exporters.fhir.notes import documented_encounters
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["studies", "study_kind"]

ICD_10_PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
CPT = "http://www.ama-assn.org/go/cpt"

_NAMES = (
    (
        "cardiology",
        re.compile(r"electrocardio|echocardio|\bE[CK]G\b|cardiac (?:catheter|stress)|exercise stress", re.I),
    ),
    ("pathology", re.compile(r"biops|cytolog|patholog|histolog", re.I)),
    (
        "radiology",
        re.compile(r"x-?ray|radiograph|tomograph|\bCT\b|\bMRI\b|magnetic resonance|ultraso|mammogra|fluoroscop", re.I),
    ),
)


def study_kind(system: str | None, code: str | None, display: str | None) -> str | None:
    """Return ``radiology``, ``cardiology`` or ``pathology`` for a procedure that is such a study, None for others."""
    if code is not None and system == ICD_10_PCS:
        return (
            "radiology"
            if code[:1] == "B"
            else "cardiology"
            if code[:3] in ("4A0", "4A1") and code[3:4] == "2"
            else None
        )
    if code is not None and system == CPT and code.isdigit():
        number = int(code)
        if 70010 <= number <= 79999:
            return "radiology"
        return "cardiology" if 93000 <= number <= 93799 else "pathology" if 88104 <= number <= 88399 else None
    return next((kind for kind, names in _NAMES if names.search(display or "")), None)


def studies(source: Source) -> pa.Table:
    """Return the completed studies of a known date with their ``study`` and the note of their encounter."""
    return source.once("studies", _studies)


def _studies(source: Source) -> pa.Table:
    rows = source["procedure"]
    done = pc.and_(pc.equal(rows["status"].cast(pa.string()), "completed"), rows["start_datetime"].is_valid())
    rows = rows.filter(done).combine_chunks()
    group = grouped(rows["code_system"], rows["code"], rows["display"])
    distinct = rows.select(["code_system", "code", "display"]).take(pa.array(first_of_each(group))).to_pylist()
    kinds = pa.array([study_kind(*row.values()) for row in distinct], pa.string()).take(pa.array(group))
    rows = with_columns(rows, study=kinds).filter(kinds.is_valid()).combine_chunks()
    notes, encounters = documented_encounters(source), source["encounter"]
    return with_columns(
        rows,
        note=joined(rows["encounter_id"], notes, "encounter_id", "note"),
        reported=pc.coalesce(whole(rows["end_datetime"]), whole(rows["start_datetime"])),
        organization_id=joined(rows["encounter_id"], encounters, "encounter_id", "organization_id"),
    )
