"""The options that several commands share, declared once."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from ehrsynth.errors import UsageError

__all__ = [
    "Athena",
    "Compress",
    "Engine",
    "Formats",
    "Json",
    "Mapping",
    "Master",
    "Output",
    "Population",
    "ReferenceDate",
    "Resume",
    "Seed",
    "Shards",
    "Shared",
    "SplitMb",
    "Vocabularies",
    "Workers",
    "of_formats",
    "parse_date",
    "use_vocabularies",
]

Population = Annotated[int, typer.Option("-p", "--population", help="How many patients.")]
Seed = Annotated[int, typer.Option("-s", "--seed", help="Same seed, same bytes.")]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder to make, or a URL (s3://...); it must not exist or be empty.")
]
Formats = Annotated[
    list[str],
    typer.Option(
        "-f",
        "--format",
        help="csv, parquet, duckdb, sqlite, omop, fhir-ndjson, fhir-bundle...; may be given several times.",
    ),
]
Workers = Annotated[int, typer.Option("-w", "--workers", help="Processes; the bytes do not depend on it.")]
ReferenceDate = Annotated[
    str | None,
    typer.Option("--reference-date", metavar="YYYY-MM-DD", help="Nothing happens later. Default: the model's."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where an interrupted run ended; keep whole blocks if interrupted again."),
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", metavar="N", help="Write N folders of consecutive patients, each whole by itself."),
]
Engine = Annotated[
    str, typer.Option("--engine", metavar="local|spark", help="Where the work is done; the bytes do not depend on it.")
]
Master = Annotated[
    str | None, typer.Option("--master", metavar="URL", help="Spark's master, e.g. local[4], yarn, spark://host:7077.")
]
Mapping = Annotated[
    str | None,
    typer.Option("--mapping", help="Mapping file (TOML) for any other layout, or the name of a packaged one."),
]
Shared = Annotated[
    str | None,
    typer.Option(
        "--shared",
        metavar="first|inline",
        help="fhir-bundle: what patients share in a Bundle before theirs, or in each.",
    ),
]
Compress = Annotated[
    str | None,
    typer.Option(
        "--compress",
        metavar="gzip|zstd",
        help="fhir-ndjson (gzip), csv: pack the files; parquet: its codec, else snappy.",
    ),
]
SplitMb = Annotated[
    int | None, typer.Option("--split-mb", metavar="MB", help="fhir-ndjson, parquet: begin another file at this size.")
]
Athena = Annotated[
    Path | None,
    typer.Option(
        "--athena",
        metavar="DIR",
        help="omop: your own download of the OHDSI vocabularies (CONCEPT.csv...), for the concept ids.",
    ),
]
Vocabularies = Annotated[
    list[Path] | None,
    typer.Option("--vocabularies", metavar="DIR", help="Folder of your own code systems; may be given several times."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON for machines.")]


def parse_date(text: str | None) -> date | None:
    """Return the date of an option; UsageError if it is none."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date.", hint="Write it as 2025-01-31.") from None


def of_formats(**options: Any) -> dict[str, Any]:
    """Return those of `options` that were given."""
    return {name: value for name, value in options.items() if value is not None}


def use_vocabularies(folders: list[Path] | None) -> None:
    """Take the user's folders of vocabularies in; UsageError for one that is none."""
    if folders:
        from ehrsynth.terminology import library

        library.use_folders(folders)
