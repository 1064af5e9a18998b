"""Tables and the data set they form: primary keys, foreign keys, and the rules of time between columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.schema.column import Column

__all__ = ["DatasetSchema", "ForeignKey", "TableSchema"]


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """`column` of one table holds values of the primary key `reference_column` of `reference_table`, or nothing."""

    column: str
    reference_table: str
    reference_column: str


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """One table.

    Attributes
    ----------
    name, description : str
        Singular, FHIR's name in snake case; the grain (what one row is).
    columns : tuple of Column
    primary_key : str
    foreign_keys : tuple of ForeignKey
    order : tuple of (str, str)
        Pairs of columns of which the first may not be later than the second.
    within_life : tuple of str
        Columns that lie between birth and death.
    within_encounter : tuple of str
        Columns that lie on a day of the row's encounter.
    sex_age_limits : bool
        The row's code must be possible for the patient's sex and age.
    shared : bool
        Belongs to no patient (organizations, practitioners, locations, payers).
    """

    name: str
    description: str = ""
    columns: tuple[Column, ...]
    primary_key: str
    foreign_keys: tuple[ForeignKey, ...] = ()
    order: tuple[tuple[str, str], ...] = ()
    within_life: tuple[str, ...] = ()
    within_encounter: tuple[str, ...] = ()
    sex_age_limits: bool = False
    shared: bool = False
    _by_name: dict[str, Column] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name.update({column.name: column for column in self.columns})

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the table."""
        return pa.schema([pa.field(column.name, column.arrow_type) for column in self.columns])

    @property
    def has_patient(self) -> bool:
        """Whether the rows belong to patients."""
        return "patient_id" in self._by_name


@dataclass(frozen=True, kw_only=True)
class DatasetSchema:
    """Tables in an order in which referenced tables come first."""

    name: str
    version: str
    tables: tuple[TableSchema, ...]
    _by_name: dict[str, TableSchema] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name.update({table.name: table for table in self.tables})

    def __getitem__(self, name: str) -> TableSchema:
        try:
            return self._by_name[name]
        except KeyError:
            raise UsageError(f"The schema {self.name} has no table {name!r}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tables, referenced ones first."""
        return tuple(table.name for table in self.tables)
