"""The front door of validation: what is in a folder or file, and the check that fits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ehrsynth import plugins
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.schema import clinical
from ehrsynth.validation.fhir_files import fhir_files, is_fhir_file
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.integrity import check_files, read_document, stated_by_manifest
from ehrsynth.validation.issue import SEVERITIES, Issue, ValidationReport
from ehrsynth.validation.omop_source import find_omop
from ehrsynth.validation.table_databases import database_kind
from ehrsynth.validation.table_files import find_tables, table_name

__all__ = ["DataSet", "data_sets", "merge", "validate", "validate_all"]

Progress = Callable[[int, int], None]

_FAMILIES = {
    "csv": "tables",
    "parquet": "tables",
    "duckdb": "tables",
    "sqlite": "tables",
    "tables": "tables",
    "omop": "omop",
    "omop-parquet": "omop",
    "omop-duckdb": "omop",
    "fhir": "fhir",
    "fhir-ndjson": "fhir",
    "fhir-bundle": "fhir",
    "fhir-put": "fhir",
}


@dataclass(frozen=True)
class DataSet:
    """One set of records in files: where, its format, and the family (tables, omop or fhir) it is checked as."""

    path: Path
    format: str
    family: str


def data_sets(source: Path, format: str | None = None) -> list[DataSet]:  # noqa: A002 - the word users know
    """Return the data sets in `source`: itself, or, of an output of ours, the folder of each format.

    Raises
    ------
    SourceError
        There is no such file or folder, or nothing in it that can be validated.
    UsageError
        The format is not known.
    """
    if format is not None and format not in _FAMILIES:
        raise UsageError(f"There is no format {format!r} to validate.", hint=plugins.nearest(format, _FAMILIES))
    if not source.exists():
        raise SourceError("There is no such file or folder.", file=source, hint="Give one of FHIR or tables.")
    if source.is_file():
        return [_single(source, format)]
    inside = [path for path in sorted(source.iterdir()) if path.is_dir() and path.name in _FAMILIES]
    if inside and not any(path.is_file() and _family(path) for path in source.iterdir()):
        wanted = [path for path in inside if format is None or format in (path.name, _FAMILIES[path.name])]
        found = [item for path in wanted if (item := _folder(path, path.name)) is not None]
    else:
        found = [item] if (item := _folder(source, format)) is not None else []
    if not found:
        raise SourceError(
            f"Nothing to validate: no {_FAMILIES.get(format or '', 'FHIR or tables')} in it.",
            file=source,
            hint="Looked for <table>.csv or .parquet (patient.csv...), a .duckdb or .sqlite file, *.ndjson, and *.json "
            "with Bundles, .gz too.",
        )
    return found


def _family(path: Path) -> str:
    if database_kind(path) and find_omop(path):
        return "omop"
    if table_name(path) or database_kind(path):
        return "tables"
    return "fhir" if is_fhir_file(path) else ""


def _single(path: Path, format: str | None) -> DataSet:  # noqa: A002
    family = _FAMILIES[format] if format else _family(path)
    if not family:
        raise SourceError(
            "The name does not say what is in the file.",
            file=path,
            hint="Say so with --format fhir or --format tables.",
        )
    return DataSet(path, format or _named([path], family), family)


def _folder(path: Path, format: str | None) -> DataSet | None:  # noqa: A002
    """The data set of a folder: tables if there are files named after our tables, else FHIR."""
    wanted = _FAMILIES[format] if format else None
    if wanted == "omop" or (wanted is None and find_omop(path)):
        return DataSet(path, format or "omop", "omop")
    tables = find_tables(path)
    known = [item for item in tables if item.table in clinical()]
    if wanted in (None, "tables") and (known or (wanted == "tables" and tables)):
        files = [part for item in tables for part in item.paths]
        return DataSet(path, format if format not in (None, "tables") else _named(files, "tables"), "tables")
    if wanted in (None, "fhir") and (files := fhir_files(path)):
        return DataSet(path, format if format not in (None, "fhir") else _named(files, "fhir"), "fhir")
    return None


def _named(files: Iterable[Path], family: str) -> str:
    """The format that most of the files' names speak of."""
    names = [path.name.lower() for path in files]
    if family == "tables":
        kinds = {database_kind(path) for path in map(Path, names)}
        if len(kinds) == 1 and kinds != {""}:
            return kinds.pop()
        return "parquet" if all(name.endswith(".parquet") for name in names) else "csv"
    lines = sum(".ndjson" in name or ".jsonl" in name for name in names)
    return "fhir-ndjson" if lines == len(names) else "fhir-bundle" if lines == 0 else "fhir"


def validate_all(
    source: Path,
    *,
    format: str | None = None,  # noqa: A002
    sample: int | None = None,
    progress: Progress | None = None,
) -> list[ValidationReport]:
    """Check every data set in `source`, each by itself; a report each. See `validate`."""
    return [_validate_one(item, sample, progress) for item in data_sets(Path(source), format)]


def validate(
    source: Path,
    *,
    format: str | None = None,  # noqa: A002
    sample: int | None = None,
    progress: Progress | None = None,
) -> ValidationReport:
    """Check records in files, our own or anyone's.

    Parameters
    ----------
    source : Path
        A folder of canonical or of OMOP tables (CSV or Parquet, ``.gz`` too), a DuckDB or SQLite file of canonical or a
        DuckDB file of OMOP tables, a file or folder of FHIR NDJSON, Bundles or single resources (``.gz`` too), or an
        output of ours with a folder for each format: then each of them is checked, and the one report names them in
        front of what it says.
    format : str, optional
        csv, parquet, duckdb, sqlite, tables, omop, fhir, fhir-ndjson, fhir-bundle or fhir-put; told from the files if
        left out.
    sample : int, optional
        How many FHIR resources of each type are held against the models of fhir.resources too (all if None, none if 0);
        all other checks are made on everything.
    progress : callable, optional
        Called with bytes done and bytes in all.

    Returns
    -------
    ValidationReport

    Raises
    ------
    SourceError
        There is nothing to validate.
    UsageError
        The format is not known.
    """
    reports = validate_all(source, format=format, sample=sample, progress=progress)
    return reports[0] if len(reports) == 1 else merge(str(source), reports)


def merge(source: str, reports: list[ValidationReport]) -> ValidationReport:
    """Return one report of several, their formats in front of counts, places and examples."""
    issues = [
        replace(issue, place=f"{report.format}: {issue.place}", example=f"{report.format}/{issue.example}")
        for report in reports
        for issue in report.issues
    ]
    return ValidationReport(
        source=source,
        format=", ".join(report.format for report in reports),
        counts={f"{report.format}: {name}": count for report in reports for name, count in report.counts.items()},
        checked={f"{report.format}: {name}": count for report in reports for name, count in report.checked.items()},
        issues=sorted(issues, key=lambda issue: SEVERITIES.index(issue.severity)),
    )


def _validate_one(item: DataSet, sample: int | None, progress: Progress | None) -> ValidationReport:
    if item.family == "tables":
        from ehrsynth.validation.tables import validate_tables

        report = validate_tables(item.path, format=item.format, progress=progress)
    elif item.family == "omop":
        from ehrsynth.validation.omop import validate_omop

        report = validate_omop(item.path, format=item.format, progress=progress)
    else:
        from ehrsynth.validation.fhir import validate_fhir

        report = validate_fhir(item.path, format=item.format, sample=sample, progress=progress)
    extra = _check_manifest(item, report)
    for name in plugins.names("ehrsynth.checks"):
        extra += list(plugins.load("ehrsynth.checks", name)().check(item.path, item.format))
    if extra:
        report.issues = sorted([*report.issues, *extra], key=lambda issue: SEVERITIES.index(issue.severity))
    return report


def _check_manifest(item: DataSet, report: ValidationReport) -> list[Issue]:
    """Hold our own ``manifest.json`` beside the folder of a format against the files."""
    findings = Findings()
    above = item.path.absolute().parent
    document = read_document(above / "manifest.json", findings) if item.path.is_dir() else None
    if document is None or document.get("format") != "ehrsynth-manifest":
        return []
    checked = check_files(stated_by_manifest(above, document, item.path.name), "manifest.json", findings)
    if checked:
        report.checked["files in the manifest"] = checked
    return findings.issues()
