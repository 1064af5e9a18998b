"""How databases differ in what we say to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DIALECTS", "Dialect", "quoted", "text"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One kind of SQL.

    Attributes
    ----------
    name, title : str
    types : mapping of Table Schema type to SQL type
        ``key`` is that of identifiers and of enumerated values.
    type_checks : mapping of Table Schema type to a condition on ``{column}``
        For databases whose types do not hold by themselves.
    pattern : str
        Condition that ``{column}`` matches the regular expression ``{pattern}`` from start to end; empty if the
        database has none.
    comments : bool
        Whether ``COMMENT ON`` is known.
    foreign_key_indexes : bool
        Whether columns with foreign keys want an index of ours (DuckDB makes its own).
    in_lists : bool
        Whether ``IN (...)`` is quick; SQLite makes a table of the list for every row, and equations are twice as fast.
    """

    name: str
    title: str
    types: Mapping[str, str]
    type_checks: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    comments: bool = False
    foreign_key_indexes: bool = True
    in_lists: bool = True


_STANDARD = {
    "string": "VARCHAR(4000)",
    "key": "VARCHAR(255)",
    "integer": "BIGINT",
    "number": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    "date": "DATE",
    # Times are UTC by definition of the schema. A type with a zone would show the midnights of days in each reader's
    # own zone, and so the day before to half of the world.
    "datetime": "TIMESTAMP",
}

DIALECTS: Mapping[str, Dialect] = {
    "standard": Dialect(name="standard", title="standard SQL", types=_STANDARD),
    "postgresql": Dialect(
        name="postgresql",
        title="PostgreSQL 12 or newer",
        types=_STANDARD | {"string": "TEXT", "key": "TEXT"},
        pattern="{column} ~ {pattern}",
        comments=True,
    ),
    "duckdb": Dialect(
        name="duckdb",
        title="DuckDB",
        types=_STANDARD | {"string": "VARCHAR", "key": "VARCHAR", "number": "DOUBLE"},
        pattern="regexp_full_match({column}, {pattern})",
        comments=True,
        foreign_key_indexes=False,
    ),
    # SQLite takes any value in any column. The names of the types tell tools what to make of them, the conditions see
    # to it that the values are of them.
    "sqlite": Dialect(
        name="sqlite",
        title="SQLite",
        types=_STANDARD | {"string": "TEXT", "key": "TEXT", "integer": "INTEGER", "number": "REAL"},
        type_checks={
            "integer": "typeof({column}) IN ('integer', 'null')",
            "number": "typeof({column}) IN ('real', 'integer', 'null')",
            "boolean": "{column} IN (0, 1)",
            "date": "{column} = date({column})",
            "datetime": "{column} = datetime({column})",
        },
        in_lists=False,
    ),
}


def quoted(name: str) -> str:
    """Return an identifier in its quotation marks."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a text as a literal."""
    return "'" + value.replace("'", "''") + "'"
