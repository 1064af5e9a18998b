"""The OMOP Common Data Model, versions 5.3 and 5.4, as Records."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.readers import assembly, omop_tables
from ehrsynth.readers.account import Account, positions
from ehrsynth.readers.omop_layout import INDISPENSABLE, TABLES, Reading
from ehrsynth.readers.omop_people import People, read_coverage, read_people
from ehrsynth.readers.omop_places import read_places
from ehrsynth.readers.omop_visits import read_visits
from ehrsynth.readers.parting import Cut, patients_of
from ehrsynth.readers.report import ReadReport
from ehrsynth.readers.source import SourceFolder, list_tables, open_source
from ehrsynth.records import Records
from ehrsynth.schema import clinical

__all__ = ["OmopReader"]

_NULL_VALUES = ("", "\\N")
_TIMES = {
    "encounter": ("sequence",),
    "condition": ("recorded_date",),
    "observation": ("effective_datetime",),
    "medication_request": ("authored_datetime",),
    "procedure": ("start_datetime",),
    "immunization": ("occurrence_datetime",),
    "device": ("start_datetime",),
    "allergy_intolerance": ("recorded_date",),
    "coverage": ("start_date",),
}


class OmopReader:
    """Reads a folder of OMOP tables, one file each: CSV, TSV (also gzipped) or Parquet, upper or lower case.

    Only person and visit_occurrence are indispensable. Read as well: observation_period, death, condition_occurrence,
    drug_exposure, procedure_occurrence, measurement, observation, device_exposure, provider, care_site, location,
    payer_plan_period, cdm_source, and every concept and concept_relationship table of the folder. Derived tables (eras,
    visit_detail, cost...) are not. What each table becomes, and the choices made, stand with the functions that read
    it: `omop_people.read_people`, `omop_visits.read_visits`, `omop_tables`, `omop_places.read_places`; how codes are
    chosen with `omop_codes.resolve`.

    Keys are kept exactly as they stand. Rows are sorted by patient, in the order of person, and then by time.
    """

    name = "omop"

    def recognises(self, source: Path) -> bool:
        """Whether the folder has person and a table that no other format has."""
        found = set(list_tables(source))
        return "person" in found and bool(found & (set(TABLES) - {"person", "death", "location", "provider"}))

    def cut(self, source: Path | str) -> Cut | None:
        """Say how the tables fall into parts of patients; None without a table of them."""
        folder = open_source(source, null_values=_NULL_VALUES)
        if "person" not in folder:
            return None
        own = [name for name, layout in TABLES.items() if "person_id" in layout.columns and name in folder]
        return Cut(
            folder=folder,
            patients=partial(patients_of, folder, "person", "person_id"),
            keys=dict.fromkeys(own, "person_id"),
            once=frozenset({*TABLES, "concept"}) - frozenset(own),
        )

    def read(self, source: Path | str | SourceFolder, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a folder of OMOP tables, or a database of them by its URL.

        Raises
        ------
        SourceError
            See `Reader.read`.
        """
        folder = open_source(source, null_values=_NULL_VALUES)
        account = Account(folder.path, self.name, strict=strict)
        for table in INDISPENSABLE:
            folder.require(table, hint="An OMOP data set has at least person and visit_occurrence.")
        reading = Reading(folder, account)
        places = read_places(reading)
        people = read_people(reading, places)
        tables = {**places.tables, "patient": people.table, **read_coverage(reading, people)}
        visits = read_visits(reading, people, places, tables.get("coverage"))
        tables["encounter"] = visits.table
        for read_events in (
            omop_tables.read_conditions,
            omop_tables.read_observations,
            omop_tables.read_drugs,
            omop_tables.read_procedures,
            omop_tables.read_devices,
        ):
            for name, rows in read_events(reading, people, places, visits).items():
                tables[name] = omop_tables.together(tables[name], rows) if name in tables else rows
        ordered = {name: _in_order(name, rows, people) for name, rows in tables.items()}
        provenance = _provenance(reading, _stated_basis(folder) or assembly.time_basis(ordered))
        _note_unread(folder, account)
        return Records.from_tables(ordered, provenance=provenance), account.report


def _stated_basis(folder: SourceFolder) -> str | None:
    """What the table of metadata says of the dates (`Provenance.time_basis`), None if it says nothing."""
    if "metadata" not in folder:
        return None
    table = folder.read("metadata", wanted=("name", "value_as_string"))
    if "name" not in table or "value_as_string" not in table:
        return None
    said = dict(zip(table["name"].to_pylist(), table["value_as_string"].to_pylist(), strict=True))
    return said.get("time_basis") if said.get("time_basis") in ("calendar", "shifted", "offset") else None


def _in_order(name: str, rows: pa.Table, people: People) -> pa.Table:
    if name == "patient" or not clinical()[name].has_patient:
        return rows
    patients = positions(rows["patient_id"], people.known.taken)
    times = [_numbers(rows[column]) for column in _TIMES[name]]
    return rows.take(pa.array(assembly.patient_order(patients, *times)))


def _numbers(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    return column.to_numpy() if pa.types.is_integer(column.type) else assembly.seconds(column)


def _note_unread(folder: SourceFolder, account: Account) -> None:
    read = set(account.report.rows_read)
    concepts = set(folder.matching(r".*concept(_relationship)?"))
    rest = [name for name in folder.files if name not in read | concepts | {"cdm_source", "vocabulary", "metadata"}]
    if rest:
        account.note(f"Not read: {', '.join(rest)}.")


def _provenance(reading: Reading, basis: str) -> Provenance:
    """Return the origin as cdm_source states it, else the folder's name."""
    details: dict[str, str] = {}
    source = f"OMOP tables in {reading.folder.path.name}"
    if "cdm_source" in reading.folder:
        columns = (
            "cdm_source_name",
            "cdm_source_abbreviation",
            "source_release_date",
            "cdm_version",
            "vocabulary_version",
        )
        table = reading.folder.read("cdm_source", wanted=columns)
        if len(table):
            details = {
                name: str(table[name][0].as_py())
                for name in columns
                if name in table and table[name][0].as_py() is not None
            }
            name = details.pop("cdm_source_name", "")
            source = f"{name}, as {source}" if name else source
    if basis == "shifted":
        reading.account.note(
            f"Dates lie after {assembly.SHIFTED_AFTER_YEAR}: they are shifted, only the intervals are true."
        )
    return Provenance(source=source, source_format="omop", time_basis=basis, details=details)
