"""`ehrsynth export`: records in one format written in others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrsynth.cli import options

__all__ = ["export"]


def export(
    source: Annotated[str, typer.Argument(help="Folder of records: canonical tables, OMOP, FHIR...")],
    output: options.Output = Path("out"),
    formats: options.Formats = ["fhir-ndjson"],  # noqa: B006
    source_format: Annotated[
        str | None, typer.Option("--from", help="Format of the source (omop, tables, fhir); guessed if left out.")
    ] = None,
    mapping: options.Mapping = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Set broken rows aside and count them.")] = False,
    shared: options.Shared = None,
    compress: options.Compress = None,
    split_mb: options.SplitMb = None,
    vocabularies: options.Vocabularies = None,
    athena: options.Athena = None,
    json: options.Json = False,
) -> None:
    """Write existing records in other formats.

    Example: `ehrsynth export out/csv -f fhir-bundle -o bundles`

    Real records stay real: exporting does not anonymise.
    """
    from ehrsynth.api import export as run
    from ehrsynth.api import read_with_report
    from ehrsynth.cli.progress import progress_bar

    options.use_vocabularies(vocabularies)
    chosen = options.of_formats(
        shared=shared, compress=compress, split_mb=split_mb, athena=None if athena is None else str(athena)
    )
    records, report = read_with_report(source, format=source_format, strict=not lenient, mapping=mapping)
    with progress_bar("Exporting patients") as progress:
        summary = run(records, output, formats=formats, options=chosen, progress=progress)
    from ehrsynth.cli.summary import print_run

    print_run(summary, json=json, report=report)
