"""A block of records on its way to OMOP: positions, keys, codes, and an account of the concepts in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources
from ehrsynth.errors import OutputError
from ehrsynth.exporters.omop.concepts import Code, Concept, ConceptIds, Target, source_concept
from ehrsynth.records import Records
from ehrsynth.schema import omop
from ehrsynth.schema.omop import OMOP_FOLDER

__all__ = ["RELATIONS", "Block", "Coded", "Ints", "Sheet", "Used", "at", "facts", "look_up", "positions", "whole_table"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Values = Any

RELATIONS = ("mapped", "broader", "chapter", "none")
"""How a code leads to a standard concept, see `Target`."""

ROW_BITS = 14
"""A table has room for so many rows a patient, on the mean of a block: 2 to this power."""

_BLOCK_ROWS = 1024 << ROW_BITS


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """Return what fixed words are as concepts (``output_schemas/omop_cdm_5.4/mapping.json``)."""
    found: dict[str, Any] = resources.read_json(f"{OMOP_FOLDER}/mapping.json")
    return found


def positions(values: Values, keys: pa.Array) -> Ints:
    """Return where each value stands among `keys`, -1 where it does not; shape (n,)."""
    found: Ints = pc.fill_null(pc.index_in(values, value_set=keys), -1).to_numpy().astype(np.int64)
    return found


def at(rows: Ints, base: int = 1) -> pa.Array:
    """Return keys that count from `base`, null where a row is -1."""
    return pa.array(rows + base, mask=rows < 0)


def look_up(values: Values, table: Mapping[str, int], default: int | None = None) -> pa.Array:
    """Return the concept id of each word, `default` for words that the table lacks, null for null."""
    words = pa.array(list(table), pa.string())
    ids = pa.array([*table.values(), default], pa.int64())
    where = pc.fill_null(pc.index_in(values, value_set=words), len(table))
    found = ids.take(where.combine_chunks() if isinstance(where, pa.ChunkedArray) else where)
    return pc.if_else(flat(pc.is_valid(values)), found, pa.scalar(None, pa.int64()))


def flat(values: Values) -> pa.Array:
    """Return a column in one piece."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


@dataclass(frozen=True, kw_only=True)
class Coded:
    """The codes of a column: for each row where it stands among the distinct ones (-1: no code).

    Attributes
    ----------
    index : int64 array, shape (n,)
    codes : list of Code
    targets : list of Target
    """

    index: Ints
    codes: list[Code]
    targets: list[Target]

    def _take(self, values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(self.index, mask=self.index < 0))

    @cached_property
    def source_ids(self) -> pa.Array:
        """The concept id of each row's own code."""
        return self._take([target.source for target in self.targets], pa.int64())

    @cached_property
    def standard_ids(self) -> pa.Array:
        """The standard concept id, 0 where the code has none, null where there is no code."""
        return self._take([target.standard for target in self.targets], pa.int64())

    @cached_property
    def texts(self) -> pa.Array:
        """The codes themselves."""
        return self._take([code.code[:50] for code in self.codes], pa.string())

    def in_domain(self, domain: str) -> Mask:
        """Return which rows have a standard concept of a domain."""
        marks = np.array([*(target.domain == domain for target in self.targets), False])
        found: Mask = marks[self.index]
        return found


@dataclass(kw_only=True)
class Sheet:
    """Rows for a table of OMOP: whose they are, and their columns; those not named are null."""

    table: str
    person: Ints
    columns: dict[str, Any]

    def keep(self, mask: Mask) -> Sheet:
        """Return the rows where `mask` holds."""
        if mask.all():
            return self
        kept = pa.array(mask)
        columns = {name: flat(pa.chunked_array([column(value)])).filter(kept) for name, value in self.columns.items()}
        return Sheet(table=self.table, person=self.person[mask], columns=columns)


def column(value: Any) -> pa.Array:
    """Return a numpy array or a column as one Arrow array."""
    return pa.array(value) if isinstance(value, np.ndarray) else flat(value)


@dataclass(kw_only=True)
class Used:
    """The concepts that a block writes, and how many of its rows have one."""

    concepts: set[int] = field(default_factory=lambda: {0})
    codes: dict[int, Concept] = field(default_factory=dict)
    maps: set[tuple[int, int]] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    systems: dict[str, str] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    first_day: int | None = None
    last_day: int | None = None
    time_basis: str = ""

    def drop(self, what: str, count: int) -> None:
        """Count rows that OMOP has no place for."""
        if count:
            self.dropped[what] = self.dropped.get(what, 0) + int(count)

    def lose(self, column: str, count: int) -> None:
        """Count values of a column (``table.column``) that no column of OMOP holds."""
        if count:
            self.lost[column] = self.lost.get(column, 0) + int(count)

    def count(self, table: str, coded: Coded, kept: Mask | None = None) -> None:
        """Count the rows of a table by how their code leads to a standard concept (`RELATIONS`)."""
        index = coded.index if kept is None else coded.index[kept]
        index = index[index >= 0]
        by_code = np.bincount(index, minlength=len(coded.targets))
        total = self.counts.setdefault(table, [0] * len(RELATIONS))
        for target, rows in zip(coded.targets, by_code.tolist(), strict=True):
            total[RELATIONS.index(target.relation if target.standard else "none")] += rows


class Block:
    """A block of records, and what all of its tables need.

    Parameters
    ----------
    records, shared : Records
    concepts : ConceptIds
    """

    def __init__(self, records: Records, shared: Records, concepts: ConceptIds) -> None:
        self.records, self.shared, self.concepts = records, shared, concepts
        self.used = Used()
        self.first = records.first_patient

    @cached_property
    def persons(self) -> pa.Array:
        """The keys of the patients."""
        return flat(self.records["patient"]["patient_id"])

    @cached_property
    def providers(self) -> pa.Array:
        """The keys of the practitioners."""
        return flat(self.shared["practitioner"]["practitioner_id"])

    @cached_property
    def care_sites(self) -> pa.Array:
        """The keys of the organizations."""
        return flat(self.shared["organization"]["organization_id"])

    def person_ids(self, rows: Ints) -> pa.Array:
        """Return the OMOP ids of the patients at some positions."""
        return at(rows, self.first + 1)

    def row_ids(self, table: str, n: int) -> pa.Array:
        """Return ids for the `n` rows of a table, in order of patients.

        They depend on nothing but the block, so the first patients of a larger run have the same; below 2 to the 31 for
        the first 131,072 patients, and within 64 bits for any.

        Raises
        ------
        OutputError
            The block has more rows than a table has room for.
        """
        if n > _BLOCK_ROWS:
            raise OutputError(
                f"1,024 patients have {n:,} rows, more than the {_BLOCK_ROWS:,} that the ids have room for.",
                table=table,
                hint="Write another format.",
            )
        return pa.array(np.arange(1, n + 1) + (self.first << ROW_BITS))

    def coded(self, rows: pa.Table, prefix: str = "", *, domain: str, role: str = "") -> Coded:
        """Return the codes of ``<prefix>_system``, ``_code``, ``_display`` and where they lead."""
        names = ("code_system", "code", "display")
        if prefix:
            names = (f"{prefix}_system", f"{prefix}_code", f"{prefix}_display")
        system, code, text = (flat(rows[name]).dictionary_encode() for name in names)
        indices = [pc.fill_null(one.indices, -1).to_numpy().astype(np.int64) for one in (system, code, text)]
        there = (indices[0] >= 0) & (indices[1] >= 0)
        key = np.where(there, indices[0] * (len(code.dictionary) + 1) + indices[1], -1)
        distinct, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        lists = [one.dictionary.to_pylist() for one in (system, code, text)]
        at_rows = first[distinct >= 0]
        codes = [
            Code(
                lists[0][indices[0][row]],
                lists[1][indices[1][row]],
                lists[2][indices[2][row]] if indices[2][row] >= 0 else None,
                role,
            )
            for row in at_rows.tolist()
        ]
        targets = self.concepts.resolve([code._replace(display=None) for code in codes])
        self._note(codes, targets, domain)
        index = inverse.reshape(-1).astype(np.int64) - int(len(distinct) - len(codes))
        return Coded(index=np.where(there, index, -1), codes=codes, targets=targets)

    def _note(self, codes: list[Code], targets: list[Target], domain: str) -> None:
        used = self.used
        for code, target in zip(codes, targets, strict=True):
            used.concepts |= {target.source, target.standard}
            used.maps.add((target.source, target.standard))
            if not self.concepts.describes(target.source):
                mine = source_concept(code, target.source, target.domain or domain)
                used.codes[target.source] = mine
                used.systems.setdefault(mine.vocabulary_id, code.system)
            if target.relation == "mapped" and code.display:
                used.names[target.standard] = min(code.display, used.names.get(target.standard, code.display))


def whole_table(block: Block, name: str, sheets: list[Sheet]) -> pa.Table:
    """Return the rows of all sheets of a table as OMOP has them: by patient, with ids, every column there."""
    schema = omop()[name]
    sheets = [sheet for sheet in sheets if len(sheet.person)]
    if not sheets:
        return schema.arrow.empty_table()
    parts = []
    for sheet in sheets:
        columns = [
            column(sheet.columns[one.name]).cast(one.arrow_type)
            if one.name in sheet.columns
            else pa.nulls(len(sheet.person), one.arrow_type)
            for one in schema.columns
        ]
        parts.append(pa.table(columns, schema=schema.arrow))
    person = np.concatenate([sheet.person for sheet in sheets])
    rows = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    if (person[1:] < person[:-1]).any():
        order = np.argsort(person, kind="stable")
        rows, person = rows.take(pa.array(order)), person[order]
    rows = rows.combine_chunks()
    if "person_id" in schema:
        place = rows.column_names.index("person_id")
        rows = rows.set_column(place, "person_id", block.person_ids(person))
    key = schema.primary_key
    if key and key not in ("person_id", "location_id"):
        rows = rows.set_column(rows.column_names.index(key), key, block.row_ids(name, rows.num_rows))
    return rows
