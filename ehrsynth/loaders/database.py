"""Tables in files, ours or anyone's who keeps to the schema, into a database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.databases import address, load
from ehrsynth.databases.target import plain_schema
from ehrsynth.errors import OutputError, SourceError
from ehrsynth.schema import TableSchema, clinical
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.table_columns import ColumnCheck
from ehrsynth.validation.table_files import TableFile, batches, find_tables

__all__ = ["DatabaseReport", "load_database"]

Progress = Callable[[int, int], None]

_SET_NAMES = ("parquet", "csv", "tables", "duckdb", "sqlite")


@dataclass(kw_only=True)
class DatabaseReport:
    """What was loaded: from where, into what (no password), rows by table, what it lacks or has too many.

    Attributes
    ----------
    absent : list of str
        Tables that the source does not have: made without rows.
    unknown : list of str
        Columns of the source that the schema does not have (``table.column``): left out.
    """

    source: str
    database: str
    row_counts: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


def load_database(source: Path, url: str, *, progress: Progress | None = None) -> DatabaseReport:
    """Load a folder of canonical tables (CSV or Parquet; or an output of ours that holds one) into a database.

    Tables are read a batch at a time. Columns may stand in any order, those that need not be there may be missing, and
    so may tables: they are made without rows. A value that does not fit its column ends it all; the database checks
    keys and constraints, and takes everything or nothing.

    Parameters
    ----------
    source : Path
    url : str
        ``postgresql://...``, ``duckdb:///file``, ``sqlite:///file``; see `ehrsynth.databases.address`.
    progress : callable, optional
        Called with bytes read and bytes in all.

    Raises
    ------
    SourceError
        There are no tables, or a value is wrong; says file, row and column.
    UsageError
        A URL of nothing known.
    OutputError
        The database cannot be reached, has such tables already, or refuses a row; nothing was loaded.
    """
    target = address(url)
    started = time.perf_counter()
    folder, found = _tables(source)
    schema = clinical()
    report = DatabaseReport(source=str(folder), database=target.shown)
    report.absent = [name for name in schema.names if name not in found]
    total, done = sum(path.stat().st_size for item in found.values() for path in item.paths), 0

    def read(path: Path) -> None:
        nonlocal done
        done += path.stat().st_size
        if progress is not None:
            progress(done, total)

    def rows(table: TableSchema) -> Iterator[pa.RecordBatch]:
        if table.name in found:
            yield from _rows(table, found[table.name], folder, read, report.unknown)

    try:
        report.row_counts = load(target, schema, rows, metadata=_metadata(folder))
    except OutputError as error:
        keys = schema[error.table].foreign_keys if error.table in found else ()
        missing = sorted({key.reference_table for key in keys} & set(report.absent))
        if missing:
            error.hint = f"{error.hint} Its keys lead to {', '.join(missing)}: not in the source."
        raise
    report.seconds = time.perf_counter() - started
    return report


def _tables(source: Path) -> tuple[Path, dict[str, TableFile]]:
    if not source.exists():
        raise SourceError(
            "There is no such folder.", file=source, hint="Name a folder of tables: out/csv, out/parquet."
        )
    folder = source
    if source.is_dir():
        inside = [source / name for name in _SET_NAMES if (source / name).is_dir()]
        folder = next((path for path in (source, *inside) if _known(path)), source)
    found = _known(folder)
    omop = next((path for path in (source, *source.glob("omop*")) if any(path.glob("person.*"))), None)
    if "patient" not in found and omop is not None:
        raise SourceError(
            "These are tables of OMOP; what is loaded are the canonical ones.",
            file=omop,
            hint="OMOP in a database, with its keys: `-f omop-duckdb` instead of `-f omop` writes omop.duckdb.",
        )
    if "patient" not in found:
        raise SourceError(
            "There is no table patient, to which all others lead." if found else "There are no tables in it.",
            file=source,
            hint="Looked for patient.csv, patient.parquet...; FHIR goes to a server (--to https://...).",
        )
    return folder if folder.is_dir() else folder.parent, found


def _known(folder: Path) -> dict[str, TableFile]:
    return {item.table: item for item in find_tables(folder) if item.table in clinical()}


def _rows(
    table: TableSchema, files: TableFile, root: Path, read: Callable[[Path], None], unknown: list[str]
) -> Iterator[pa.RecordBatch]:
    findings = Findings()
    columns = ColumnCheck(table, findings)
    plain = plain_schema(table)
    for batch in batches(files, root, findings, read):
        values = columns.check(batch)
        _refuse(findings, table, root)
        if len(batch.rows):
            arrays = [values[name].cast(plain.field(name).type) for name in table.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=plain)
    _refuse(findings, table, root)
    unknown += [issue.place for issue in findings.issues() if issue.check == "unknown-column"]


def _refuse(findings: Findings, table: TableSchema, root: Path) -> None:
    wrong = next((issue for issue in findings.issues() if issue.severity == "error"), None)
    if wrong is not None:
        raise SourceError(
            f"{wrong.message} {wrong.example}",
            file=root,
            table=table.name,
            column=wrong.place.partition(".")[2] or None,
            hint=f"`ehrsynth validate {root}` names all that is wrong. Nothing was loaded.",
        )


def _metadata(folder: Path) -> dict[str, Any]:
    """What ``datapackage.json`` says of the records' origin: whether they are synthetic, above all."""
    try:
        said = json.loads((folder / "datapackage.json").read_bytes()).get("ehrsynth")
    except (OSError, ValueError, AttributeError):
        return {}
    return said if isinstance(said, dict) else {}
