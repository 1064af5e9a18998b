"""What a reader is, and its account of what it read and what it set aside and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
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

    def together(self, other: ReadReport, once: frozenset[str] = frozenset()) -> ReadReport:
        """Return the report of two parts of one source; tables of `once` are the same in both, and count once."""
        return ReadReport(
            source=self.source,
            format=self.format,
            rows_read=_added(self.rows_read, other.rows_read, once),
            rows_taken=_added(self.rows_taken, other.rows_taken, once),
            set_aside=_merged(self.set_aside, other.set_aside, once),
            adjusted=_merged(self.adjusted, other.adjusted, once),
            notes=_summed(self.notes, other.notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        from dataclasses import asdict

        return asdict(self)


def _added(left: dict[str, int], right: dict[str, int], once: frozenset[str]) -> dict[str, int]:
    return {
        name: left.get(name, 0) + (right.get(name, 0) if name not in once or name not in left else 0)
        for name in {**left, **right}
    }


def _merged(left: list[SetAside], right: list[SetAside], once: frozenset[str]) -> list[SetAside]:
    found = {(one.table, one.reason, one.column): one for one in left}
    for one in right:
        key = (one.table, one.reason, one.column)
        if key not in found:
            found[key] = one
        elif one.table not in once:
            both = found[key], one
            # The first of them is the example.
            first = min(both, key=lambda some: (some.row is None, some.row or 0))
            found[key] = replace(first, count=both[0].count + one.count)
    return list(found.values())


def _summed(left: list[str], right: list[str]) -> list[str]:
    """Return the notes of both; what two say with other counts becomes one note with the sums."""
    found = {_saying(note): note for note in left}
    for note in right:
        key = _saying(note)
        found[key] = note if found.get(key, note) == note else _with_sums(found[key], note)
    return list(found.values())


_COUNT = re.compile(r"^([0-9][0-9,]*) (.*)$")
_LIST = re.compile(r"^(.*) \(([0-9,]+) rows\): (.*)\.$")
"""Notes that count: ``3 rows of x lie in no encounter.`` and ``Codes of x (5 rows): 3 by this; 2 by that.``"""


def _saying(note: str) -> str:
    """Return what a note says whatever it counts."""
    listed = _LIST.match(note)
    return listed[1] if listed else _COUNT.sub(r"\2", note)


def _with_sums(one: str, other: str) -> str:
    lists = _LIST.match(one), _LIST.match(other)
    if lists[0] and lists[1]:
        counts: dict[str, int] = {}
        for part in (*lists[0][3].split("; "), *lists[1][3].split("; ")):
            number, _, words = part.partition(" ")
            counts[words] = counts.get(words, 0) + _number(number)
        rest = "; ".join(f"{count:,} {words}" for words, count in counts.items())
        return f"{lists[0][1]} ({_number(lists[0][2]) + _number(lists[1][2]):,} rows): {rest}."
    number, _, words = one.partition(" ")
    return f"{_number(number) + _number(other.partition(' ')[0]):,} {words}"


def _number(word: str) -> int:
    return int(word.replace(",", ""))


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
