"""Validation of tables: every file of a set of canonical tables, CSV or Parquet, table by table and batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ehrsynth.schema import DatasetSchema, clinical
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.integrity import Stated, check_files, read_document, stated_by_datapackage
from ehrsynth.validation.issue import ValidationReport
from ehrsynth.validation.table_columns import ColumnCheck
from ehrsynth.validation.table_files import TableFile, batches, find_tables
from ehrsynth.validation.table_links import LinkCheck, Links
from ehrsynth.validation.table_store import Store

__all__ = ["validate_tables"]


def validate_tables(
    source: Path,
    *,
    format: str,  # noqa: A002 - the word users know
    schema: DatasetSchema | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ValidationReport:
    """Check every table in `source` against the schema, and the tables against each other.

    Parameters
    ----------
    source : Path
        A folder with one file, or one folder of parts, a table; or one file. Keys into tables that are not there are
        not checked; where rows must have them, that is a finding.
    format : str
        What the report calls it.
    schema : DatasetSchema, optional
        The canonical clinical tables if left out.
    progress : callable, optional
        Called with bytes read and bytes in all.

    Returns
    -------
    ValidationReport
        `counts` is rows by table; `checked` says how many of what each kind of check looked at. Memory does not grow
        with the rows: what is compared between tables is put away in a DuckDB file of our own.
    """
    schema = schema or clinical()
    findings = Findings()
    root = source if source.is_dir() else source.parent
    found = {item.table: item for item in find_tables(source)}
    total, done = sum(path.stat().st_size for item in found.values() for path in item.paths), 0

    def read(path: Path) -> None:
        nonlocal done
        done += path.stat().st_size
        if progress is not None:
            progress(done, total)

    counts: dict[str, int] = {}
    checked = {"tables": 0, "cells": 0, "codes of shipped systems": 0, "UCUM units": 0}
    with Store() as store:
        links = Links(schema, store)
        for table in schema.tables:
            if table.name not in found:
                continue
            columns = ColumnCheck(table, findings)
            between = LinkCheck(table, links, findings)
            for batch in batches(found[table.name], root, findings, read):
                between.check(columns.check(batch), batch)
            counts[table.name] = between.finish()
            checked["tables"] += 1
            checked["cells"] += columns.cells
            checked["codes of shipped systems"] += columns.codes
            checked["UCUM units"] += columns.units
    for name, item in found.items():
        if name not in schema:
            findings.add("unknown-table", name, item.paths[0].relative_to(root).as_posix())
    _check_presence(schema, found, counts, findings)
    stated = _check_descriptor(root, counts, findings) if source.is_dir() else 0
    return ValidationReport(
        source=str(source),
        format=format,
        counts=counts,
        checked={**checked, **links.checked, **({"files described": stated} if stated else {})},
        issues=findings.issues(),
    )


def _check_presence(
    schema: DatasetSchema, found: dict[str, TableFile], counts: dict[str, int], findings: Findings
) -> None:
    for table in schema.tables:
        for key in table.foreign_keys:
            if counts.get(table.name) and table[key.column].required and key.reference_table not in found:
                findings.add("missing-table", key.reference_table, f"{table.name}.{key.column} leads to it")


def _check_descriptor(folder: Path, counts: dict[str, int], findings: Findings) -> int:
    """Hold ``datapackage.json`` against the files and the rows that were counted."""
    document = read_document(folder / "datapackage.json", findings)
    if document is None:
        return 0
    stated: list[Stated] = list(stated_by_datapackage(folder, document))
    for entry in document.get("resources") or ():
        rows = entry.get("rowCount", entry.get("rows")) if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(rows, int) and isinstance(name, str) and name in counts and counts[name] != rows:
            findings.add("wrong-count", name, f"datapackage.json: {rows} rows, in the file {counts[name]}")
    return check_files(iter(stated), "datapackage.json", findings)
