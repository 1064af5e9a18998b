"""Rows as they come turned into columns: a few thousand at a time wait as Python values, the rest is Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.schema import clinical

__all__ = ["FILE", "NUMBER", "Collected", "FhirTable", "Rows", "filled", "schemas", "text_of", "typed"]

FILE, NUMBER = "_file", "_number"
"""Columns that say where a row's resource stands."""

_CHUNK_ROWS = 1 << 14
_SENT_ROWS = 1 << 12
_CATEGORY = pa.dictionary(pa.int32(), pa.string())

_TYPES = {
    "organization": "Organization",
    "practitioner": "Practitioner",
    "location": "Location",
    "patient": "Patient",
    "coverage": "Coverage",
    "encounter": "Encounter",
    "condition": "Condition",
    "observation": "Observation",
    "medication_request": "MedicationRequest",
    "procedure": "Procedure",
    "immunization": "Immunization",
    "allergy_intolerance": "AllergyIntolerance",
    "device": "Device",
    "role": "PractitionerRole",
    "medication": "Medication",
}

# What a resource says that its own table has no column for, but another has.
_BESIDE: dict[str, dict[str, pa.DataType]] = {
    "organization": {"_payer": pa.bool_()},
    "coverage": {"_payer_type": _CATEGORY},
    "medication_request": {"_medication": pa.string()},
}
_SIDE: dict[str, dict[str, pa.DataType]] = {
    "role": {
        "role_id": pa.string(),
        "practitioner_id": pa.string(),
        "organization_id": pa.string(),
        "specialty_code": _CATEGORY,
        "specialty_display": _CATEGORY,
        "phone": pa.string(),
        "email": pa.string(),
    },
    "medication": {"medication_id": pa.string(), "code_system": _CATEGORY, "code": _CATEGORY, "display": _CATEGORY},
    "panel": {"observation_id": pa.string(), "panel_id": pa.string(), "patient_id": pa.string()},
    "rank": {"condition_id": pa.string(), "rank": pa.int64(), "patient_id": pa.string()},
    "cause": {
        "patient_id": pa.string(),
        "cause_of_death_system": _CATEGORY,
        "cause_of_death_code": _CATEGORY,
        "cause_of_death_display": _CATEGORY,
    },
}


@dataclass(frozen=True, kw_only=True)
class FhirTable:
    """The rows of one table and where their resources stand."""

    name: str
    columns: pa.Table

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __getitem__(self, column: str) -> pa.Array:
        found = self.columns[column]
        return found.chunk(0) if found.num_chunks == 1 else found.combine_chunks()

    @property
    def kind(self) -> str:
        """The resource type."""
        return _TYPES.get(self.name, self.name)

    def places(self, mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return file and line (or entry) of the rows of `mask`, shape (n,)."""
        chosen = pa.array(mask)
        return (
            self[FILE].filter(chosen).to_numpy().astype(np.int64),
            self[NUMBER].filter(chosen).to_numpy().astype(np.int64),
        )

    def keep(self, mask: npt.NDArray[np.bool_]) -> FhirTable:
        """Return the rows of `mask`."""
        return self if mask.all() else replace(self, columns=self.columns.filter(pa.array(mask)))

    def take(self, positions: npt.NDArray[np.int64]) -> FhirTable:
        """Return the rows at `positions`."""
        return replace(self, columns=self.columns.take(pa.array(positions)))

    def with_column(self, name: str, values: pa.Array) -> FhirTable:
        """Return the table with a column replaced."""
        at = self.columns.column_names.index(name)
        return replace(self, columns=self.columns.set_column(at, name, values))


class _Builder:
    def __init__(self, schema: pa.Schema, send: Callable[[pa.RecordBatch], None] | None) -> None:
        self.schema = schema if send is None else _plain(schema)
        self._values: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._waiting = 0
        self._most = _CHUNK_ROWS if send is None else _SENT_ROWS
        self._chunks: list[pa.RecordBatch] = []
        self._send = self._chunks.append if send is None else send

    def add(self, row: dict[str, Any], file: int, number: int) -> None:
        get = row.get
        for name, values in self._values.items():
            values.append(get(name))
        self._values[FILE][-1] = file
        self._values[NUMBER][-1] = number
        self._waiting += 1
        if self._waiting == self._most:
            self.flush()

    def flush(self) -> None:
        arrays = [_array(self._values[field.name], field.type) for field in self.schema]
        self._send(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        for values in self._values.values():
            values.clear()
        self._waiting = 0

    def finish(self) -> None:
        if self._waiting:
            self.flush()

    def table(self) -> pa.Table:
        self.finish()
        return pa.Table.from_batches(self._chunks, schema=self.schema).unify_dictionaries()


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema with texts for categories: each batch of these would have others."""
    return pa.schema(
        [one.with_type(pa.string()) if pa.types.is_dictionary(one.type) else one for one in schema], schema.metadata
    )


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    if pa.types.is_date32(kind):
        return pa.array(values, pa.int32()).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


class Rows(Protocol):
    """Where the rows of tables come from."""

    def table(self, name: str) -> FhirTable:
        """Return the rows of a table."""
        ...


class Collected:
    """All rows by table: the canonical ones (payers among the organizations), and the reader's side tables.

    Parameters
    ----------
    send : callable, optional
        Takes (table, rows) as they come, categories as text; without, they are kept.
    """

    def __init__(self, send: Callable[[str, pa.RecordBatch], None] | None = None) -> None:
        self._builders = {
            name: _Builder(schema, None if send is None else partial(send, name)) for name, schema in schemas().items()
        }

    def add(self, table: str, row: dict[str, Any], file: int, number: int) -> None:
        """Add a row."""
        self._builders[table].add(row, file, number)

    def finish(self) -> None:
        """Send what waits."""
        for builder in self._builders.values():
            builder.finish()

    def table(self, name: str) -> FhirTable:
        """Return the rows of a table; what was collected for it is given up."""
        return FhirTable(name=name, columns=self._builders.pop(name).table())


def schemas() -> dict[str, pa.Schema]:
    """Return the columns of each table."""
    where = [pa.field(FILE, pa.int32()), pa.field(NUMBER, pa.int64())]
    found = {}
    for table in clinical().tables:
        if table.name != "payer":
            beside = [pa.field(name, kind) for name, kind in _BESIDE.get(table.name, {}).items()]
            found[table.name] = pa.schema([*table.arrow, *beside, *where])
    for name, columns in _SIDE.items():
        found[name] = pa.schema([*(pa.field(*item) for item in columns.items()), *where])
    return found


def typed(name: str, batches: Iterable[pa.RecordBatch]) -> FhirTable:
    """Return rows that a `Collected` sent as the table that it would have kept."""
    schema = schemas()[name]
    rows = pa.Table.from_batches(list(batches), schema=_plain(schema)).combine_chunks()
    columns = [
        rows[one.name].dictionary_encode() if pa.types.is_dictionary(one.type) else rows[one.name] for one in schema
    ]
    return FhirTable(name=name, columns=pa.table(columns, schema=schema))


def text_of(values: pa.Array) -> pa.Array:
    """Return categories as text."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def filled(rows: FhirTable, column: str, at: npt.NDArray[np.int64], values: pa.Array) -> FhirTable:
    """Return rows with empty values of a column filled: row ``at[i]`` with the first ``values[i]`` that there is."""
    texts = text_of(values)
    there = (at >= 0) & np.asarray(texts.is_valid(), dtype=bool)
    source = np.full(len(rows), -1, dtype=np.int64)
    where = np.flatnonzero(there)[::-1]
    source[at[where]] = where
    own = text_of(rows[column])
    filled = pc.coalesce(own, texts.take(pa.array(source, mask=source < 0)))
    is_category = pa.types.is_dictionary(rows[column].type)
    return rows.with_column(column, filled.dictionary_encode() if is_category else filled)
