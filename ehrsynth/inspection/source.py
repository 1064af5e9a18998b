"""A source looked at table by table: columns, keys, references, roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ehrsynth.inspection.codes import recognise
from ehrsynth.inspection.columns import Looked, look_at
from ehrsynth.inspection.findings import LIKELY, ColumnFound, Inspection, KeyFound, ReferenceFound, TableFound
from ehrsynth.inspection.keys import Encoded, composite_key, composite_parts, single_key
from ehrsynth.inspection.names import entities, entity_of, is_key_name, words
from ehrsynth.inspection.references import find_references
from ehrsynth.inspection.roles import assign_roles, time_basis
from ehrsynth.readers.database import SourceDatabase
from ehrsynth.readers.source import SourceFolder, SourceTable, open_source

__all__ = ["inspect"]

_MISSING = ("?",)
_UUID = 36


def inspect(source: str | Path, *, progress: Callable[[int, int, str], None] | None = None) -> Inspection:
    """Look at a folder of tables or a database and say what is in it.

    Parameters
    ----------
    source : path or str
        A folder of CSV, TSV or Parquet files, or ``sqlite:///``, ``duckdb:///`` or ``postgresql://``.
    progress : callable, optional
        Called with (tables done, tables in all, name).

    Returns
    -------
    Inspection
        Tables, columns, keys and references, each with its evidence. Keys and references that a database declares are
        taken as they are.

    Raises
    ------
    SourceError
        There is no table, or one cannot be read.
    """
    opened = open_source(source)
    names = [name for name in opened.files if not _is_prose(opened, name)]
    known = {entity for name in names for entity in entities(name)}
    values: dict[tuple[str, str], pa.Array] = {}
    tables: list[TableFound] = []
    for at, name in enumerate(names):
        if progress is not None:
            progress(at, len(names), name)
        read = opened.read(name)
        looked = [look_at(column, read[column], _MISSING) for column in read.columns.column_names]
        tables.append(_table(name, read, looked))
        for one in looked:
            if _may_lead(one, known) or one.found.name in _key_names(tables[-1]):
                values[name, one.found.name] = one.values
    declared: list[ReferenceFound] = []
    if isinstance(opened, SourceDatabase):
        tables, declared = _declared(opened, tables)
        for table in tables:
            for column in _key_names(table):
                if (table.name, column) not in values:
                    values[table.name, column] = look_at(
                        column, opened.read(table.name, wanted=[column])[column]
                    ).values
    stated = {(reference.table, reference.column) for reference in declared}
    found = [one for one in find_references(tables, values) if (one.table, one.column) not in stated]
    references = (*declared, *found)
    tables = assign_roles(tables, references)
    tables = [_with_composite(opened, table, references, tables) for table in tables]
    return Inspection(
        source=str(opened.path),
        tables=tuple(tables),
        references=references,
        time_basis=time_basis(tables),
    )


def _table(name: str, read: SourceTable, looked: Sequence[Looked]) -> TableFound:
    columns = []
    procedures = any("proc" in word for word in words(name))
    for one in looked:
        found = one.found
        if found.kind in ("text", "integer", "number") and not found.unique and len(one.values):
            codes = recognise(name, found.name, one.values, procedures=procedures)
            if codes is not None and not _is_measure(found):
                found = replace(found, codes=codes)
        columns.append(found)
    notes = (f"{len(read.ragged):,} lines have not as many fields as the header",) if read.ragged else ()
    return TableFound(name=name, rows=len(read), columns=tuple(columns), key=single_key(name, columns), notes=notes)


def _is_measure(column: ColumnFound) -> bool:
    """Whether a column of numbers counts or measures, so that its values only look like short codes."""
    if column.kind == "text" or column.codes is not None:
        return False
    tail = words(column.name)[-1:] or [""]
    coded = ("code", "cd", "icd", "ndc", "cvx", "rxnorm", "snomed", "loinc", "cpt", "hcpcs", "dx", "value", "concept")
    return tail[0] not in coded and not any(column.name.startswith(one) or column.name.endswith(one) for one in coded)


def _key_names(table: TableFound) -> tuple[str, ...]:
    return table.key.columns if table.key is not None and len(table.key.columns) == 1 else ()


def _may_lead(looked: Looked, known: set[str]) -> bool:
    """Whether a column could be a foreign key, so that its distinct values are worth keeping."""
    column = looked.found
    if column.kind in ("date", "datetime", "number", "boolean"):
        return False
    if column.kind == "uuid" or is_key_name(column.name):
        return True
    entity = entity_of(column.name)
    if any(entity.endswith(one) for one in known):
        return True
    # Text that is UUIDs but for a word that stands for none.
    return column.kind == "text" and any(len(str(word)) == _UUID for word in looked.values.slice(0, 20).to_pylist())


def _is_prose(opened: SourceFolder, name: str) -> bool:
    """Whether a .txt file is a licence or a list of checksums rather than a table: its header has one column."""
    if isinstance(opened, SourceDatabase):
        return False
    path = opened.files[name][0]
    if not path.name.lower().endswith((".txt", ".txt.gz")):
        return False
    return name.startswith(("license", "licence", "readme", "sha256", "changelog")) or len(opened.read(name).header) < 2


def _declared(opened: SourceDatabase, tables: list[TableFound]) -> tuple[list[TableFound], list[ReferenceFound]]:
    keys, references = opened.declared()
    made = []
    for table in tables:
        key = keys.get(table.name)
        made.append(
            replace(table, key=KeyFound(columns=key, confidence=1.0, evidence="declared in the database"))
            if key
            else table
        )
    return made, [
        ReferenceFound(
            table=table,
            column=column,
            to_table=to_table,
            to_column=to_column,
            confidence=1.0,
            evidence="declared in the database",
        )
        for table, column, to_table, to_column in references
    ]


def _with_composite(
    opened: SourceFolder,
    table: TableFound,
    references: Sequence[ReferenceFound],
    tables: Sequence[TableFound],
) -> TableFound:
    if table.key is not None or table.rows < 10:
        return table
    mine = [one for one in references if one.table == table.name and one.confidence >= LIKELY]
    parts = composite_parts(table, [one.column for one in mine])
    names = list(dict.fromkeys(name for group in parts.values() for name in group))
    if not parts["whose"]:
        return table
    people = {one.name for one in tables if one.role is not None and one.role.table in ("patient", "encounter")}
    events = [one.column for one in mine if one.to_table not in people]
    read = opened.read(table.name, wanted=names)
    encoded = Encoded({name: read[name] for name in names})
    return replace(table, key=composite_key(table, encoded, parts, events))
