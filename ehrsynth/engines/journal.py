"""The journal of a run: after every block, how far each file has come, so that an interrupted run can go on.

One JSON document a line: first what the run makes, then, for every block in order, the patients and rows of it and, for
every file that grew, its bytes so far with their sha256. Nothing is forced to the disk: a killed process leaves what it
wrote to the operating system, and after a power failure the hashes tell whether it arrived.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrsynth.errors import OutputError, UsageError

__all__ = ["JOURNAL", "Journal", "Progress", "read_journal"]

JOURNAL = "journal.jsonl"
_FORMAT_NUMBER = 1


@dataclass(kw_only=True)
class Progress:
    """How far a run has come.

    Attributes
    ----------
    blocks : int
        Whole blocks of patients; -1: not even what comes before them.
    patients : int
    row_counts : dict of table to rows of patients
    files : dict of format to path to (bytes, rows, sha256)
    """

    blocks: int = -1
    patients: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[str, tuple[int, int, str]]] = field(default_factory=dict)


class Journal:
    """Writes the journal of a run; `run` is what must be the same for its bytes to be the same."""

    def __init__(self, folder: Path, run: Mapping[str, Any] | None = None) -> None:
        self._handle = (folder / JOURNAL).open("a", encoding="utf-8")
        if run is not None:
            self._line({"format": "ehrsynth-journal", "format_number": _FORMAT_NUMBER, "run": run})

    def record(
        self, block: int, patients: int, row_counts: Mapping[str, int], files: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Note that `block` is whole (-1: what comes before the blocks) and how far the `files` that grew have come."""
        self._line({"block": block, "patients": patients, "row_counts": row_counts, "files": files})

    def _line(self, document: Mapping[str, Any]) -> None:
        self._handle.write(json.dumps(document, separators=(",", ":")) + "\n")
        self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def read_journal(folder: Path, run: Mapping[str, Any]) -> Progress:
    """Return how far the run in `folder` has come; a torn last line is cut off the file.

    Raises
    ------
    UsageError
        It was another run: another model, seed, population, format, reference date or version of ours.
    OutputError
        It is no journal.
    """
    path = folder / JOURNAL
    whole = path.read_bytes().rpartition(b"\n")
    if whole[2]:
        path.write_bytes(whole[0] + whole[1])
    lines = list(_documents(path, whole[0]))
    if not lines:
        return Progress()
    if lines[0].get("format") != "ehrsynth-journal" or lines[0].get("format_number") != _FORMAT_NUMBER:
        raise OutputError("This is no journal of ours.", file=path, hint="Run again without --resume.")
    _refuse_others(path, lines[0]["run"], json.loads(json.dumps(run)))
    progress = Progress()
    for line in lines[1:]:
        progress.blocks = line["block"] + 1
        progress.patients += line["patients"]
        for table, rows in line["row_counts"].items():
            progress.row_counts[table] = progress.row_counts.get(table, 0) + rows
        for name, files in line["files"].items():
            progress.files.setdefault(name, {}).update({file: tuple(entry) for file, entry in files.items()})
    return progress


def _documents(path: Path, text: bytes) -> Iterator[dict[str, Any]]:
    for row, line in enumerate(text.splitlines(), 1):
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise OutputError("A line of the journal is broken.", file=path, row=row, hint="Run without --resume.")
        yield document


def _refuse_others(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if other:
        told = "; ".join(f"{name}: {before.get(name)} then, {now.get(name)} now" for name in other)
        raise UsageError(
            f"The interrupted run cannot be resumed by another one ({told}).",
            file=path,
            hint="Give the same options, or run without --resume: that starts anew.",
        )
