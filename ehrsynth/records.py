"""Records: linked Arrow tables, their schema, and where they come from. The waist of the house."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.provenance import Provenance
from ehrsynth.schema import DatasetSchema, TableSchema, clinical

__all__ = ["KeyProblem", "Records", "conform", "dictionary_column"]


@dataclass(frozen=True, kw_only=True)
class KeyProblem:
    """A broken key: what kind, where, how often, and one example.

    `kind` is ``empty`` (a required key without value), ``duplicate`` (a primary key twice) or ``orphan`` (a foreign key
    to nowhere); `row` is the first row, from 1.
    """

    kind: str
    table: str
    column: str
    count: int
    row: int
    example: str


@dataclass(frozen=True, kw_only=True)
class Records:
    """Linked tables of health records.

    Attributes
    ----------
    tables : mapping of name to pyarrow.Table
        Every table of the schema, in its order; one without rows is empty, never absent. Column types are exactly the
        schema's (`Column.arrow_type`): categorical columns are dictionaries, times are UTC, to the second.
    schema : DatasetSchema
    provenance : Provenance
    first_patient : int
        Where the first patient stands in the whole that these records are a block of; from 0. Keys that count (OMOP's)
        are made of it, so a block need know no other.

    Rows of generated and read records are sorted by patient (the order of the patient table).

    Examples
    --------
    >>> records["condition"].to_pandas()  # doctest: +SKIP
    """

    tables: Mapping[str, pa.Table]
    schema: DatasetSchema = field(default_factory=clinical)
    provenance: Provenance
    first_patient: int = 0

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, pa.Table], *, provenance: Provenance, schema: DatasetSchema | None = None
    ) -> Records:
        """Return records of `tables`, brought to the schema's columns, order and types; missing ones are empty.

        Raises
        ------
        SourceError
            A table or column that the schema does not know, or a value that does not fit its column's type.
        """
        schema = schema or clinical()
        unknown = [name for name in tables if name not in schema]
        if unknown:
            raise SourceError(
                "The schema has no such table.", table=unknown[0], hint=f"Known: {', '.join(schema.names)}."
            )
        conformed = {
            table.name: conform(tables[table.name], table) if table.name in tables else table.arrow.empty_table()
            for table in schema.tables
        }
        return cls(tables=conformed, schema=schema, provenance=provenance)

    def __getitem__(self, name: str) -> pa.Table:
        return self.tables[self.schema[name].name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.schema.names)

    @property
    def n_patients(self) -> int:
        """How many patients there are."""
        return int(self.tables["patient"].num_rows)

    @property
    def row_counts(self) -> dict[str, int]:
        """Rows of each table, in the schema's order."""
        return {name: self.tables[name].num_rows for name in self.schema.names}

    def replace(self, **tables: pa.Table) -> Records:
        """Return records in which the named tables are replaced (conformed to the schema)."""
        new = {**self.tables, **{name: conform(table, self.schema[name]) for name, table in tables.items()}}
        return Records(tables=new, schema=self.schema, provenance=self.provenance)

    def select_patients(self, patient_ids: Sequence[str] | pa.Array) -> Records:
        """Return the records of some patients; shared tables are kept whole."""
        wanted = pa.array(patient_ids, type=pa.string()) if not isinstance(patient_ids, pa.Array) else patient_ids
        tables = {
            table.name: self[table.name].filter(pc.is_in(self[table.name]["patient_id"], value_set=wanted))
            if table.has_patient
            else self[table.name]
            for table in self.schema.tables
        }
        return Records(tables=tables, schema=self.schema, provenance=self.provenance)

    def head(self, n: int) -> Records:
        """Return the records of the first `n` patients."""
        return self.select_patients(self["patient"]["patient_id"].slice(0, n).combine_chunks())

    def check_keys(self) -> list[KeyProblem]:
        """Return every broken key: empty or duplicate primary keys, empty required ones, orphans."""
        problems: list[KeyProblem] = []
        for table in self.schema.tables:
            rows = self[table.name]
            if rows.num_rows:
                problems += _primary_key_problems(table, rows)
                problems += _foreign_key_problems(table, rows, self)
        return problems

    @staticmethod
    def concat(parts: Iterable[Records]) -> Records:
        """Return the rows of all `parts` together (same schema); shared tables are taken from the first part."""
        parts = list(parts)
        first = parts[0]
        tables = {
            table.name: first[table.name]
            if table.shared
            else pa.concat_tables([part[table.name] for part in parts]).unify_dictionaries()
            for table in first.schema.tables
        }
        return Records(
            tables=tables, schema=first.schema, provenance=first.provenance, first_patient=first.first_patient
        )


def _primary_key_problems(table: TableSchema, rows: pa.Table) -> list[KeyProblem]:
    key = rows[table.primary_key]
    problems = []
    if key.null_count:
        problems.append(_problem("empty", table, table.primary_key, rows, pc.is_null(key)))
    counts = pc.value_counts(key.drop_null())
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0]
        positions = pc.indices_nonzero(pc.equal(key, first))
        count = pc.sum(pc.subtract(counts.field("counts"), 1)).as_py()
        problems.append(
            KeyProblem(
                kind="duplicate",
                table=table.name,
                column=table.primary_key,
                count=count,
                row=positions[1].as_py() + 1,
                example=str(first.as_py()),
            )
        )
    return problems


def _foreign_key_problems(table: TableSchema, rows: pa.Table, records: Records) -> list[KeyProblem]:
    problems = []
    for key in table.foreign_keys:
        values = rows[key.column]
        if table[key.column].required and values.null_count:
            problems.append(_problem("empty", table, key.column, rows, pc.is_null(values)))
        targets = records[key.reference_table][key.reference_column].combine_chunks()
        orphans = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=targets)))
        if pc.any(orphans).as_py():
            problems.append(_problem("orphan", table, key.column, rows, orphans))
    return problems


def _problem(kind: str, table: TableSchema, column: str, rows: pa.Table, mask: pa.ChunkedArray) -> KeyProblem:
    position = pc.index(mask, True).as_py()
    return KeyProblem(
        kind=kind,
        table=table.name,
        column=column,
        count=pc.sum(mask).as_py(),
        row=position + 1,
        example=str(rows[column][position].as_py()),
    )


def conform(table: pa.Table, schema: TableSchema) -> pa.Table:
    """Return `table` with exactly the schema's columns and types; absent columns become empty ones.

    Raises
    ------
    SourceError
        A column that the schema does not know, or values that cannot be cast to its type.
    """
    given = dict(zip(table.column_names, table.columns, strict=True))
    for name in given:
        if name not in schema:
            raise SourceError("The schema has no such column.", table=schema.name, column=name)
    columns = []
    for column in schema.columns:
        if column.name not in given:
            columns.append(pa.nulls(table.num_rows, column.arrow_type))
            continue
        values = given[column.name]
        if values.type != column.arrow_type:
            try:
                values = _cast(values, column.arrow_type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SourceError(
                    f"Values of type {values.type} do not fit {column.type}: {error}",
                    table=schema.name,
                    column=column.name,
                ) from None
        columns.append(values)
    return pa.table(columns, schema=schema.arrow)


def _cast(values: Any, target: pa.DataType) -> Any:
    if pa.types.is_dictionary(target):
        text = values.cast(pa.string()) if not pa.types.is_dictionary(values.type) else values
        return text.dictionary_encode().cast(target) if not pa.types.is_dictionary(text.type) else text.cast(target)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(target)


def dictionary_column(indices: Any, values: Sequence[str | None] | pa.StringArray) -> pa.DictionaryArray:
    """Return a categorical column: `indices` (int array, negative for empty) into the distinct `values`.

    This is how a generator makes text columns without one Python object per row. A None among `values` is empty too
    (an Arrow array has none).
    """
    import numpy as np

    codes = np.asarray(indices, dtype=np.int32)
    absent = codes < 0
    if isinstance(values, pa.StringArray):
        if not len(values):
            return pa.DictionaryArray.from_arrays(pa.nulls(len(codes), pa.int32()), values)
        if not absent.any():
            return pa.DictionaryArray.from_arrays(pa.array(codes), values, safe=False)
        return pa.DictionaryArray.from_arrays(
            pa.array(np.where(absent, 0, codes), type=pa.int32(), mask=absent), values
        )
    if any(value is None for value in values):
        is_none = np.array([value is None for value in values] or [False])
        absent |= is_none[np.where(absent, 0, codes)]
    mask = absent if absent.any() else None
    texts = pa.array(["" if value is None else value for value in values], type=pa.string())
    if len(texts) == 0:
        return pa.DictionaryArray.from_arrays(pa.nulls(len(codes), pa.int32()), texts)
    return pa.DictionaryArray.from_arrays(pa.array(np.where(absent, 0, codes), type=pa.int32(), mask=mask), texts)
