"""`ehrsynth inspect`: what is in tables that nobody described, and a mapping file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.inspection import Inspection, TableFound

__all__ = ["inspect"]


def inspect(
    source: Annotated[
        str, typer.Argument(help="Folder of CSV, TSV or Parquet; or sqlite:///, duckdb:///, postgresql://.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Mapping file to write, e.g. mapping.toml.")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Print every column too.")] = False,
    json: options.Json = False,
) -> None:
    """Find tables, keys, references, dates and code systems, and propose a mapping.

    Example: `ehrsynth inspect my_folder -o mapping.toml`, then read and correct mapping.toml, then
    `ehrsynth learn my_folder --mapping mapping.toml -o mine.ehrsynth`

    Each guess says how sure it is and what was seen. Values of a database or folder stay where they are: only words of
    columns with few of them, and the ends of numbers and dates, are shown.
    """
    from ehrsynth import api
    from ehrsynth.cli.console import out, print_json
    from ehrsynth.cli.progress import progress_bar
    from ehrsynth.errors import OutputError

    if output is not None and output.exists():
        raise OutputError("The mapping file exists.", file=output, hint="Name another or remove it first.")
    with progress_bar("Inspecting") as progress:
        found, text = api.inspect(source, progress=progress)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"The mapping cannot be written: {error.strerror}.", file=output) from None
    if json:
        print_json({**found.to_dict(), "mapping": text})
        return
    _print(found, details=details)
    if output is not None:
        out.print(
            f"The proposed mapping is in [bold]{output}[/]. Read and correct it, then: ehrsynth learn {found.source} "
            f"--mapping {output} -o mine.ehrsynth",
            highlight=False,
            soft_wrap=True,
        )


def _print(found: Inspection, *, details: bool) -> None:
    from ehrsynth.cli.console import out, table
    from ehrsynth.inspection import level

    rows = []
    for one in found.tables:
        key = f"{', '.join(one.key.columns)} ({level(one.key.confidence)})" if one.key else "-"
        role = f"{one.role.table} ({level(one.role.confidence)})" if one.role else "-"
        rows.append((one.name, one.rows, len(one.columns), key, role, _codes(one)))
    out.print(table("Tables", ("table", "rows", "columns", "key", "holds", "codes"), rows, numbers=[1, 2]))
    references = [
        (f"{one.table}.{one.column}", f"{one.to_table}.{one.to_column}", level(one.confidence), one.evidence)
        for one in found.references
    ]
    if references:
        out.print(table("References", ("column", "leads to", "how sure", "seen"), references))
    if details:
        columns = [
            (f"{one.name}.{c.name}", c.kind, c.distinct, c.nulls, " to ".join(filter(None, (c.low, c.high))))
            for one in found.tables
            for c in one.columns
        ]
        header = ("column", "type", "distinct", "empty", "from, to")
        out.print(table("Columns", header, columns, numbers=[2, 3]))
    notes = [f"{one.name}: {note}" for one in found.tables for note in one.notes]
    for note in (*found.notes, *notes):
        out.print(f"[dim]note[/] {note}", highlight=False)
    out.print(f"Time: {found.time_basis}.", highlight=False)


def _codes(one: TableFound) -> str:
    return ", ".join(f"{column.name}: {column.codes.system}" for column in one.columns if column.codes) or "-"
