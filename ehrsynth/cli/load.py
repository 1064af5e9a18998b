"""`ehrsynth load`: Bundles or NDJSON into a FHIR server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.loaders import LoadReport

__all__ = ["load"]


def load(
    source: Annotated[Path, typer.Argument(help="Folder (or file) of Bundles or of NDJSON.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Base URL of the server, e.g. https://server/fhir.")],
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
    """Load FHIR into a server.

    Example: `ehrsynth load out/fhir-bundle --to https://server/fhir`

    A bearer token is taken from the environment variable EHRSYNTH_FHIR_TOKEN and from nowhere else. A load that was
    interrupted goes on when the command is run again: what is loaded stands in the journal.
    """
    from ehrsynth.cli.console import progress_bar
    from ehrsynth.errors import OutputError
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
