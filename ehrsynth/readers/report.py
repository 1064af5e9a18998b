"""What a reader is, and its account of what it read and what it set aside and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ehrsynth.records import Records

__all__ = ["ReadReport", "Reader", "SetAside"]


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Rows of a source table that were not taken (or, under `ReadReport.adjusted`, were changed), for one reason.

    `row` is the first of them, from 1; `column` the source's own name, where the reason lies in one column.
    """

    table: str
    reason: str
    count: int
    row: int | None = None
    example: str = ""
    column: str = ""


@dataclass(kw_only=True)
class ReadReport:
    """What was read (rows per source table), what was set aside and why, and notes for the custodian.

    For every source table ``rows_read == rows_taken + sum of set_aside``: nothing vanishes. `adjusted` counts rows that
    were taken with one value changed or left out.
    """

    source: str
    format: str
    rows_read: dict[str, int] = field(default_factory=dict)
    rows_taken: dict[str, int] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)
    adjusted: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        from dataclasses import asdict

        return asdict(self)


class Reader(Protocol):
    """A source format. Registered under the entry-point group ``ehrsynth.readers``."""

    name: str

    def recognises(self, source: Path) -> bool:
        """Whether `source` looks like this format (file names only: cheap)."""
        ...

    def read(self, source: Path | str, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read `source`, a path; readers of tables also take the URL of a database.

        With `strict`, a broken key, an orphan or an unreadable value is a SourceError that says file, table, row,
        column and what to do; without, such rows are set aside and counted.
        """
        ...
