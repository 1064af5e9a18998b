"""What a reader read, set aside and changed, for every command that reads records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from ehrsynth.cli.console import out, table

if TYPE_CHECKING:
    from ehrsynth.readers import ReadReport, SetAside

__all__ = ["print_losses", "print_notes", "print_read"]


def print_read(report: ReadReport) -> None:
    """Print rows read and taken of each table, and what was set aside or changed."""
    rows = [(name, count, report.rows_taken.get(name, 0)) for name, count in report.rows_read.items()]
    out.print(table("Read", ("table", "rows", "taken"), rows, numbers=[1, 2]))
    print_losses(report)


def print_losses(report: ReadReport, name: str = "") -> None:
    """Print what was set aside or changed of the records called `name`; nothing if nothing was."""
    of = f" of {name}" if name else ""
    for title, items in ((f"Set aside{of}", report.set_aside), (f"Taken with a change{of}", report.adjusted)):
        if items:
            out.print(table(title, ("table", "rows", "why", "example"), [_row(item) for item in items], numbers=[1]))


def print_notes(notes: Sequence[str]) -> None:
    """Print one line for each note."""
    for note in notes:
        out.print(f"[dim]note[/] {escape(note)}", highlight=False)


def _row(item: SetAside) -> tuple[str, int, str, str]:
    return item.table, item.count, item.reason, item.example
