"""What people see: tables, summaries and errors; nothing moves where nobody watches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ehrsynth.errors import EhrsynthError

__all__ = ["error_console", "escape", "out", "print_error", "print_json", "table"]

# A terminal tells its width; a file or pipe has none and gets lines long enough for tables to be read.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
error_console = Console(stderr=True)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[int] = ()
) -> Table:
    """Return a table; the columns whose positions are in `numbers` are right-aligned."""
    made = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for position, name in enumerate(columns):
        made.add_column(name, justify="right" if position in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    return made


def print_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document for machines on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def print_error(error: EhrsynthError) -> None:
    """Print what is wrong, where, and what to do, on the error stream."""
    error_console.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False)
    if error.place:
        error_console.print(f"  [bold]where[/] {escape(error.place)}", highlight=False)
    if error.hint:
        error_console.print(f"  [bold]what to do[/] {escape(error.hint)}", highlight=False)
