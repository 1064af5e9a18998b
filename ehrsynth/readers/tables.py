"""The canonical clinical tables as files: what the CSV exporter writes, or anybody who keeps to the schema."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.provenance import Provenance
from ehrsynth.readers import assembly
from ehrsynth.readers.account import Account, Known, is_true, positions
from ehrsynth.readers.parting import Cut, patients_of
from ehrsynth.readers.report import ReadReport
from ehrsynth.readers.source import SourceFolder, SourceTable, list_tables, open_source
from ehrsynth.records import Records
from ehrsynth.schema import Column, TableSchema, clinical

__all__ = ["TablesReader"]


class TablesReader:
    """Reads the tables of ``output_schemas/clinical``, one file each: ``patient.csv``, ``encounter.parquet``...

    The header holds the schema's column names in any order and case; any columns may be missing as long as the required
    ones are there, and columns that the schema does not know are left out with a note. Only the table ``patient`` is
    indispensable. Choices made:

    - Empty is null. Dates are ``YYYY-MM-DD``; times ``YYYY-MM-DDTHH:MM:SS``, also with a trailing Z, an offset or a
      space.
    - Where a table has times but no ``time_precision``, a time written as a date alone is exact to the day, one without
      seconds to the minute.
    - ``encounter.sequence`` may be missing if every encounter has a start; it is then counted by start.
    - A value outside its column's list of values is an error; leniently, the row is set aside if the column is
      required, else the value is left out.
    - A reference that may be empty and leads nowhere is an error; leniently, a row whose encounter is not there is set
      aside, and any other such reference is left out. References into a table that is not there at all are left out.
    - Rows are sorted by the order of the patient table and stay otherwise as they stood, encounters by their sequence.
    """

    name = "tables"

    def recognises(self, source: Path) -> bool:
        """Whether there is a patient table (or an encounter table) in the folder."""
        return bool({"patient", "encounter"} & set(list_tables(source)))

    def cut(self, source: Path | str) -> Cut | None:
        """Say how the tables fall into parts of patients; None without a table of them."""
        folder, schema = open_source(source), clinical()
        if "patient" not in folder:
            return None
        own = [table.name for table in schema.tables if table.has_patient and table.name in folder]
        return Cut(
            folder=folder,
            patients=partial(patients_of, folder, "patient", "patient_id"),
            keys=dict.fromkeys(own, "patient_id"),
            once=frozenset(table.name for table in schema.tables) - frozenset(own),
        )

    def read(self, source: Path | str | SourceFolder, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a folder of canonical tables, or a database of them by its URL.

        Raises
        ------
        SourceError
            See `Reader.read`.
        """
        folder = open_source(source)
        account = Account(folder.path, self.name, strict=strict)
        schema = clinical()
        folder.require("patient", hint="Every other table refers to it.")
        strangers = [name for name in folder.files if name not in schema]
        if strangers:
            account.note(f"Left out, not tables of the schema: {', '.join(strangers)}.")
        known: dict[str, Known] = {}
        tables: dict[str, pa.Table] = {}
        for table in schema.tables:
            if table.name not in folder:
                if not table.shared:
                    account.note(f"There is no table {table.name}.")
                continue
            rows = _read_table(folder, table, account, known)
            tables[table.name] = rows
        provenance = _provenance(folder, assembly.time_basis(tables))
        return Records.from_tables(tables, provenance=provenance), account.report


def _read_table(folder: SourceFolder, table: TableSchema, account: Account, known: dict[str, Known]) -> pa.Table:
    found = account.open(folder.read(table.name, wanted=table.names))
    unknown = [name for name in found.header if name not in table]
    if unknown:
        account.note(f"Left out of {table.name}, not columns of the schema: {', '.join(unknown)}.")
    required = [column.name for column in table.columns if column.required]
    counted = table.name == "encounter" and "sequence" not in found and "start_datetime" in found
    account.require_columns(found, [name for name in required if not (counted and name == "sequence")])
    found = _with_precision(found, table)
    source_keys = found[table.primary_key]
    found = account.parse(found, {column.name: column.type for column in table.columns})
    found = account.keys(found, table.primary_key)
    if counted:
        found = account.refuse(
            found,
            is_true(pc.is_null(found["start_datetime"])),
            problem="Without the column sequence every encounter needs a start.",
            reason="neither sequence nor start_datetime",
            column="start_datetime",
            hint="Add the column sequence, or the start.",
        )
    for column in table.columns:
        if column.name in found:
            found = _check_values(found, column, account)
    found = _check_references(found, table, account, known)
    known[table.name] = Known(table.name, found[table.primary_key], source_keys.cast(pa.string()))
    account.close(found)
    return _in_order(found, table, account, known, counted=counted).columns


def _with_precision(found: SourceTable, table: TableSchema) -> SourceTable:
    times = [column for column in table.columns if column.type == "datetime" and column.precision_column]
    for column in times:
        if column.precision_column in found or column.name not in found:
            continue
        if pa.types.is_string(found[column.name].type):
            precision = assembly.text_precision(found[column.name])
            found = found.with_column(column.precision_column, precision)
    return found


def _check_values(found: SourceTable, column: Column, account: Account) -> SourceTable:
    values = found[column.name]
    if column.required:
        found = account.refuse(
            found,
            is_true(pc.is_null(values)),
            problem="The value is empty.",
            reason=f"{column.name} is empty",
            column=column.name,
            hint="The column is required.",
        )
        values = found[column.name]
    if column.enum:
        strange = _strange(values, column.enum)
        if strange.any() and (account.strict or column.required):
            return account.refuse(
                found,
                strange,
                problem="{value!r} is not a value of this column.",
                reason=f"{column.name} is not one of its values",
                column=column.name,
                hint=f"One of: {', '.join(column.enum)}.",
            )
        if strange.any():
            account.adjust(found, strange, what="not one of the column's values: left out", column=column.name)
            found = found.with_column(column.name, pc.if_else(pa.array(strange), None, values))
    return found


def _strange(values: pa.ChunkedArray, enum: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    return is_true(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=pa.array(enum)))))


def _check_references(found: SourceTable, table: TableSchema, account: Account, known: dict[str, Known]) -> SourceTable:
    for key in table.foreign_keys:
        if key.column not in found:
            continue
        required = table[key.column].required
        target = known.get(key.reference_table)
        values = found[key.column]
        if target is None and not required:
            there = is_true(pc.is_valid(values))
            account.adjust(
                found, there, what=f"there is no table {key.reference_table}: reference left out", column=key.column
            )
            found = found.with_column(key.column, pa.nulls(len(found), pa.string()))
        elif target is None:
            raise SourceError(
                f"There is no table {key.reference_table!r}, to which every row refers.",
                file=found.file,
                table=table.name,
                column=key.column,
                hint=f"Add {key.reference_table}, or take {table.name} away.",
            )
        elif required or account.strict or key.reference_table == "encounter":
            found = account.references(found, key.column, target, required=required)
        else:
            lost = is_true(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=target.taken))))
            account.adjust(found, lost, what=f"not in {key.reference_table}: reference left out", column=key.column)
            found = found.with_column(key.column, pc.if_else(pa.array(lost), None, values))
    return found


def _in_order(
    found: SourceTable, table: TableSchema, account: Account, known: dict[str, Known], *, counted: bool
) -> SourceTable:
    if not table.has_patient or table.name == "patient":
        return found
    patients = positions(found["patient_id"], known["patient"].taken)
    if table.name != "encounter":
        return found.take(assembly.patient_order(patients))
    if counted:
        times = (found["start_datetime"], found.get("end_datetime", pa.timestamp("s")))
        found = found.with_column("sequence", pa.array(assembly.encounter_sequence(patients, *times)))
        account.note("encounter.sequence was counted by start.")
    return found.take(assembly.patient_order(patients, found["sequence"].to_numpy()))


def _provenance(folder: SourceFolder, basis: str) -> Provenance:
    """Return what the folder's ``datapackage.json`` says of its origin, else that it was read from there.

    Our own packages say it under ``ehrsynth``: whether a model made the records up, as of when, with what seed.
    """
    try:
        document = json.loads(folder.beside("datapackage.json"))
        said = document.get("ehrsynth") or document.get("provenance") or {}
    except (OSError, ValueError, AttributeError):
        said = {}
    said = said if isinstance(said, dict) else {}
    # What was exported from records says where these came from.
    before = said["source"] if isinstance(said.get("source"), dict) else said
    told: dict[str, Any] = {name: before[name] for name in ("licence", "source") if isinstance(before.get(name), str)}
    details = dict(said["details"]) if isinstance(said.get("details"), dict) else {}
    details |= {name: said[name] for name in ("seed", "model") if name in said}
    if isinstance(said.get("generated_at"), str):
        details["reference_date"] = said["generated_at"]
    stated = {"source": f"canonical tables in {folder.name}", "time_basis": basis, "details": details, **told}
    if before.get("time_basis") in ("calendar", "shifted", "offset", "order"):
        stated["time_basis"] = before["time_basis"]
    # Only the word true makes records synthetic: whoever reads them must not take real ones for made-up ones.
    return Provenance(**stated, synthetic=said.get("synthetic") is True, source_format="tables")
