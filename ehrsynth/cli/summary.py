"""The closing summary of a run that wrote files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ehrsynth.cli.progress import is_watched

if TYPE_CHECKING:
    from ehrsynth.engines import RunSummary
    from ehrsynth.readers import ReadReport

__all__ = ["print_run", "size"]


def size(n_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def _note(name: str, note: Mapping[str, Any]) -> Iterator[str]:
    """How many rows of OMOP have a standard concept, and what it had no place for."""
    rows, known = note.get("rows_with_code", 0), note.get("rows_with_standard_concept", 0)
    tables = note.get("standard_concepts", {}).values()
    broader, chapter = (sum(entry[word] for entry in tables) for word in ("broader", "chapter"))
    if rows:
        yield (
            f"{name}: {known:,} of {rows:,} coded rows have a standard concept ({100 * known / rows:.1f} %), "
            f"{broader:,} of them a broader one, {chapter:,} that of a chapter"
        )
    for what, count in note.get("not_carried", {}).items():
        yield f"{name}: left out {count:,} rows: {what}"
    values = note.get("values_not_carried", {})
    if values:
        most = sorted(values, key=lambda column: (-values[column], column))[:3]
        yield (
            f"{name}: no place for {sum(values.values()):,} values of {len(values)} columns "
            f"({', '.join(most)}...); manifest.json counts them"
        )


def print_run(summary: RunSummary, *, json: bool, report: ReadReport | None = None) -> None:
    """Print patients, rows per table, files per format, seconds, and where; and what was lost in reading (`report`)."""
    totals = {
        name: {"files": len(files), "bytes": sum(entry["bytes"] for entry in files.values())}
        for name, files in summary.files.items()
    }
    if json:
        from ehrsynth.cli.console import print_json

        print_json(
            {
                "output": str(summary.output),
                "patients": summary.patients,
                "synthetic": summary.synthetic,
                "row_counts": summary.row_counts,
                "formats": totals,
                "notes": summary.notes,
                "seconds": round(summary.seconds, 3),
                **({} if report is None else {"read": report.to_dict()}),
            }
        )
        return
    if report is not None:
        from ehrsynth.cli.account import print_losses, print_notes

        print_losses(report)
        print_notes(report.notes)
    counts = [item for item in summary.row_counts.items() if item[1]]
    rows = [(name, total["files"], size(total["bytes"])) for name, total in totals.items()]
    notes = [line for name, note in summary.notes.items() for line in _note(name, note)]
    # Real records that were exported must not be called made up.
    kind = "synthetic patients" if summary.synthetic else "patients"
    said = f"{summary.patients:,} {kind} in {summary.seconds:.1f} s, in "
    if not is_watched(sys.stdout):
        # Without rich, which takes longer to import than a small run to write: a pipe has no colours.
        lines = [*_plain("Rows", ("table", "rows"), counts, (1,))]
        lines += [*_plain("Files", ("format", "files", "size"), rows, (1, 2)), *notes, f"{said}{summary.output}"]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from ehrsynth.cli.console import escape, out, table

    out.print(table("Rows", ("table", "rows"), counts, numbers=[1]))
    out.print(table("Files", ("format", "files", "size"), rows, numbers=[1, 2]))
    for line in notes:
        out.print(line, highlight=False)
    out.print(f"{said}[bold]{escape(str(summary.output))}[/]", highlight=False)


def _plain(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int]
) -> Iterator[str]:
    """Yield the lines of a table; columns `numbers` are right-aligned."""
    cells = [columns, *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield title
    for row in cells:
        aligned = (f"{cell:{'>' if k in numbers else '<'}{widths[k]}}" for k, cell in enumerate(row))
        yield "  ".join(aligned).rstrip()
