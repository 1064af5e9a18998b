"""A column: its name, type, constraints and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

__all__ = ["Column", "arrow_type"]

_ARROW = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    # Times are UTC by definition of the schema; a naive type keeps readers of sources without zones honest and cheap.
    "datetime": pa.timestamp("s"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        Snake case; units and grain are in the name (`*_id`, `*_date`, `*_datetime`).
    type : str
        Table Schema type: string, integer, number, boolean, date or datetime.
    description : str
        What the value means.
    required, unique : bool
        No value may be empty; no two may be equal.
    enum : tuple of str
        The only values allowed, empty if any.
    pattern : str
        Regular expression a value must match, empty if any.
    minimum, maximum : float or None
        Range, inclusive.
    categorical : bool
        Few distinct values: held as an Arrow dictionary, so that work is done once per distinct value.
    code_system : str
        URI of the code system, where the whole column has one.
    precision_column : str
        Column that says how exact a date or time is, empty if it is exact.
    """

    name: str
    type: str
    description: str = ""
    required: bool = False
    unique: bool = False
    enum: tuple[str, ...] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    categorical: bool = False
    code_system: str = ""
    precision_column: str = ""

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type that `Records` hold the column in."""
        return arrow_type(self.type, categorical=self.categorical)


@lru_cache(maxsize=16)
def arrow_type(type_name: str, *, categorical: bool = False) -> pa.DataType:
    """Return the Arrow type of a Table Schema type; categorical strings are dictionaries with int32 indices."""
    if categorical and type_name == "string":
        return pa.dictionary(pa.int32(), pa.string())
    return _ARROW[type_name]
