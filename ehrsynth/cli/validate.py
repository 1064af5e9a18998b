"""`ehrsynth validate`: findings about records in files, ours or anyone's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrsynth.cli import options
from ehrsynth.errors import FindingsError, UsageError

__all__ = ["validate"]

_LEVELS = ("error", "warning", "never")


def validate(
    source: Annotated[Path, typer.Argument(help="A folder or file of FHIR, tables or OMOP.")],
    format: Annotated[str | None, typer.Option("--format", help="fhir, tables or omop; guessed if left out.")] = None,  # noqa: A002
    sample: Annotated[
        int | None, typer.Option("--sample", help="Check the R4 structure of N resources a type only. Default: all.")
    ] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="error, warning or never: what makes the exit code 7.")
    ] = "error",
    vocabularies: options.Vocabularies = None,
    json: options.Json = False,
) -> None:
    """Check records: types, keys, references, required elements and codes, R4 structure, and what cannot be.

    Example: `ehrsynth validate out/fhir-ndjson --sample 200 --fail-on warning`

    OMOP is held against the list of the OHDSI Data Quality Dashboard, by its names and thresholds.
    Plausible means: birth <= start <= end <= death, and no code that is impossible for the person's sex or age.
    """
    from ehrsynth.api import validate as run
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.cli.progress import progress_bar

    options.use_vocabularies(vocabularies)
    if fail_on not in _LEVELS:
        raise UsageError(f"--fail-on {fail_on} is unknown.", hint=f"One of {', '.join(_LEVELS)}.")
    if sample is not None and sample < 1:
        raise UsageError("--sample must be at least 1.")
    with progress_bar("Validating") as progress:
        report = run(source, format=format, sample=sample, progress=progress)
    if json:
        print_json(report.to_dict())
    else:
        out.print(table("Looked at", ("what", "count"), list(report.counts.items()), numbers=[1]))
        if report.issues:
            rows = [(i.severity, i.check, i.place, i.count, i.message, i.example) for i in report.issues]
            columns = ("severity", "check", "where", "count", "finding", "example")
            out.print(table("Findings", columns, rows, numbers=[3]))
        errors = sum(issue.count for issue in report.issues if issue.severity == "error")
        warnings = sum(issue.count for issue in report.issues if issue.severity == "warning")
        out.print(f"{errors:,} errors, {warnings:,} warnings in {sum(report.counts.values()):,} rows or resources")
    worst = report.worst()
    if (worst == "error" and fail_on != "never") or (worst == "warning" and fail_on == "warning"):
        raise FindingsError(f"Found at least one {worst}.", file=source)
