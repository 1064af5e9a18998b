"""`ehrsynth load`: FHIR into a server, tables into a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.loaders import DatabaseReport, LoadReport

__all__ = ["load"]


def load(
    source: Annotated[Path, typer.Argument(help="Folder (or file) of Bundles or of NDJSON; of tables for a database.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="https://server/fhir, postgresql://user@host/database, duckdb:///file.duckdb or sqlite:///file.sqlite.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option("--method", help="put: under their own ids; post: Bundles as they stand."),
    ] = "put",
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests under way at once.")] = 4,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Where to note what is loaded. Default: beside the folder.")
    ] = None,
    retries: Annotated[int, typer.Option("--retries", help="How often to try again when the server is busy.")] = 5,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.")] = 60.0,
    json: options.Json = False,
) -> None:
    """Load FHIR into a server, or tables into a database.

    Example: `ehrsynth load out/fhir-bundle --to https://server/fhir`

    Example: `ehrsynth load out/parquet --to postgresql://me@localhost/research`

    A database gets tables with all keys and constraints, in one transaction: everything or nothing. Its password comes
    from the URL, from PGPASSWORD or from ~/.pgpass, and is never shown. The other options are for FHIR servers.

    A bearer token is taken from the environment variable EHRSYNTH_FHIR_TOKEN and from nowhere else. A load that was
    interrupted goes on when the command is run again: what is loaded stands in the journal.
    """
    from ehrsynth.cli.progress import progress_bar
    from ehrsynth.errors import OutputError

    if to.partition(":")[0].lower() not in ("http", "https"):
        from ehrsynth.loaders.database import load_database

        with progress_bar("Loading") as progress:
            loaded = load_database(source, to, progress=progress)
        _print_database(loaded, json=json)
        return
    from ehrsynth.loaders import load as run
    from ehrsynth.loaders.fhir_client import token_from_environment

    with progress_bar("Loading") as progress:
        report = run(
            source,
            to,
            token=token_from_environment(),
            method=method,
            concurrency=concurrency,
            journal=journal,
            retries=retries,
            timeout=timeout,
            progress=progress,
        )
    _print(report, json=json)
    if report.failed:
        raise OutputError(
            f"{report.failed:,} of {report.parcels:,} parcels were not loaded whole.",
            hint="What the server said is above. Correct it and run the command again: the journal has what is loaded.",
        )


def _print(report: LoadReport, *, json: bool) -> None:
    from ehrsynth.cli.console import out, print_json, table

    if json:
        print_json(report.to_dict())
        return
    if report.outcomes:
        rows = [(item.severity, item.count, item.example, item.parcel) for item in report.outcomes]
        out.print(table("What the server said", ("severity", "times", "for example", "of"), rows, numbers=[1]))
    before = f", {report.before:,} were there from an earlier run" if report.before else ""
    out.print(
        f"{report.loaded:,} of {report.parcels:,} parcels loaded ({report.resources:,} resources){before}, "
        f"{report.failed:,} failed, in {report.seconds:.1f} s, into [bold]{report.server}[/]",
        highlight=False,
    )
    out.print(f"[dim]journal[/] {report.journal}", highlight=False)


def _print_database(report: DatabaseReport, *, json: bool) -> None:
    from ehrsynth.cli.console import out, print_json, table

    if json:
        print_json(report.to_dict())
        return
    out.print(table("Rows", ("table", "rows"), [item for item in report.row_counts.items() if item[1]], numbers=[1]))
    if report.unknown:
        out.print(f"[dim]columns of no table of ours, left out[/] {', '.join(report.unknown)}", highlight=False)
    if report.absent:
        out.print(f"[dim]not in the source, made without rows[/] {', '.join(report.absent)}", highlight=False)
    out.print(
        f"{sum(report.row_counts.values()):,} rows loaded, every key and constraint checked by the database, "
        f"in {report.seconds:.1f} s, into [bold]{report.database}[/]",
        highlight=False,
    )
