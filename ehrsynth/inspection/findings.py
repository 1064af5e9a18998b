"""What an inspection found, with the evidence and how sure it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CodesFound", "ColumnFound", "Inspection", "KeyFound", "ReferenceFound", "RoleFound", "TableFound", "level"]

SURE, LIKELY = 0.9, 0.6


def level(confidence: float) -> str:
    """Return a confidence (0 to 1) in a word."""
    return "sure" if confidence >= SURE else "likely" if confidence >= LIKELY else "perhaps"


@dataclass(frozen=True, kw_only=True)
class CodesFound:
    """A code system that the values of a column are of; `share` of the distinct values fit (0 to 1)."""

    system: str
    share: float
    confidence: float
    evidence: str


@dataclass(frozen=True, kw_only=True)
class ColumnFound:
    """A column.

    Attributes
    ----------
    kind : str
        integer, number, boolean, date, datetime, text, uuid, or empty.
    nulls, distinct : int
        Rows without a value; different values.
    unique : bool
        Whether every row has a value of its own.
    date_format : str
        As in strptime where dates are not ISO 8601.
    sure_of_format : bool
        False if day and month cannot be told apart.
    low, high : str
        Least and greatest value of numbers and dates.
    words : tuple of str
        The values of a column of few, most frequent first.
    codes : CodesFound or None
    """

    name: str
    kind: str
    rows: int
    nulls: int = 0
    distinct: int = 0
    unique: bool = False
    date_format: str = ""
    sure_of_format: bool = True
    low: str = ""
    high: str = ""
    words: tuple[str, ...] = ()
    codes: CodesFound | None = None

    @property
    def whole(self) -> bool:
        """Whether no row lacks a value."""
        return self.rows > 0 and self.nulls == 0


@dataclass(frozen=True, kw_only=True)
class KeyFound:
    """A primary key. One below `LIKELY` is only a combination that happens to be unique in these rows."""

    columns: tuple[str, ...]
    confidence: float
    evidence: str


@dataclass(frozen=True, kw_only=True)
class ReferenceFound:
    """A foreign key: `column` of `table` leads to `to_column` of `to_table`; `orphans` distinct values lead nowhere."""

    table: str
    column: str
    to_table: str
    to_column: str
    confidence: float
    evidence: str
    orphans: int = 0


@dataclass(frozen=True, kw_only=True)
class RoleFound:
    """Which canonical table a source table can feed, and which column gives which of its columns."""

    table: str
    confidence: float
    evidence: str
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableFound:
    """A table with its columns, its key, and what it holds."""

    name: str
    rows: int
    columns: tuple[ColumnFound, ...]
    key: KeyFound | None = None
    role: RoleFound | None = None
    notes: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> ColumnFound:
        return next(found for found in self.columns if found.name == column)

    def __contains__(self, column: object) -> bool:
        return any(found.name == column for found in self.columns)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found in a source.

    Attributes
    ----------
    source : str
        Where; a database's password is not in it.
    tables : tuple of TableFound
    references : tuple of ReferenceFound
    time_basis : str
        As a mapping states it: calendar, shifted, offset or order.
    notes : tuple of str
    """

    source: str
    tables: tuple[TableFound, ...]
    references: tuple[ReferenceFound, ...] = ()
    time_basis: str = "calendar"
    notes: tuple[str, ...] = ()

    def __getitem__(self, table: str) -> TableFound:
        return next(found for found in self.tables if found.name == table)

    def of(self, table: str) -> tuple[ReferenceFound, ...]:
        """The foreign keys of a table."""
        return tuple(reference for reference in self.references if reference.table == table)

    @property
    def primary_keys(self) -> dict[str, tuple[str, ...]]:
        """The primary keys that are at least likely, by table."""
        return {t.name: t.key.columns for t in self.tables if t.key is not None and t.key.confidence >= LIKELY}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)
