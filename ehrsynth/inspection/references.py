"""Foreign keys: a column whose values are keys of another table, by inclusion, by name and by type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.inspection.findings import ColumnFound, ReferenceFound, TableFound
from ehrsynth.inspection.names import ends_in, entities, entity_of, is_generic, is_key_name, words

__all__ = ["find_references"]

_NOTHING = pa.array(["0", "-1", "NA", "UNK"])
_LEAST_SHARE = 0.9
_MANY = 20
_UUID = 36

Values = Mapping[tuple[str, str], pa.Array]


@dataclass(frozen=True)
class _Candidate:
    reference: ReferenceFound
    rank: tuple[float, ...]


def find_references(tables: Sequence[TableFound], values: Values) -> tuple[ReferenceFound, ...]:
    """Return the foreign keys of `tables`, whose single keys are known; `values` are the distinct ones of columns.

    A column leads to a table if nearly all its values are there and its name says so (the key's own name, or the
    table's), or if all are there and no chance could have done that: UUIDs.
    """
    parents = [table for table in tables if table.key is not None and len(table.key.columns) == 1]
    found = []
    for table in tables:
        for column in table.columns:
            if column.kind not in ("integer", "text", "uuid", "empty"):
                continue
            candidates = [
                candidate
                for parent in parents
                if (candidate := _candidate(table, column, parent, values, parents)) is not None
            ]
            if candidates:
                found.append(max(candidates, key=lambda candidate: candidate.rank).reference)
    return tuple(found)


def _candidate(
    table: TableFound, column: ColumnFound, parent: TableFound, values: Values, parents: Sequence[TableFound]
) -> _Candidate | None:
    assert parent.key is not None
    key = parent.key.columns[0]
    if (table.name, column.name) == (parent.name, key):
        return None
    named = _named(column.name, parent.name, key)
    if not named and column.name == key and not column.unique and column.distinct >= _MANY:
        # `id` in table after table, once a row in one of them: that one is what the others speak of.
        named = 0.7
    if table.name == parent.name and named == 1.0 and column.name != key and entity_of(column.name) == column.name:
        return None
    owner = table.key.columns if table.key is not None else ()
    if column.name in owner and len(owner) == 1 and not _rather(parent, table, column.name):
        return None
    child = values.get((table.name, column.name))
    if not named and not _are_uuids(child):
        # Inclusion alone would prove nothing, and costs a table of hashes.
        return None
    share, orphans, unguessable, seen = _inclusion(child, values[parent.name, key])
    if not seen:
        # Without a value only the name can speak, and only if it is the name of that table's key.
        if not named or not is_key_name(column.name):
            return None
        says, confidence = "no value in any row; by name only", 0.6
    elif unguessable and (share == 1.0 or (named and share >= _LEAST_SHARE)):
        says = f"{seen - orphans:,} of {seen:,} distinct UUIDs are there"
        confidence = 0.99 if named else 0.93
    elif named and share >= _LEAST_SHARE and (named > 0.7 or share == 1.0):
        says = f"{seen - orphans:,} of {seen:,} distinct values are there; the name says so"
        confidence = {1.0: 0.97, 0.8: 0.92}.get(named, 0.7) * (1.0 if share == 1.0 else 0.95)
    else:
        return None
    reference = ReferenceFound(
        table=table.name,
        column=column.name,
        to_table=parent.name,
        to_column=key,
        confidence=round(confidence, 2),
        evidence=says,
        orphans=orphans,
    )
    return _Candidate(reference, (named + _about(parent, column.name), confidence, share, float(parent.rows)))


def _named(column: str, table: str, key: str) -> float:
    """Return how well a column's name says that it leads to the table: 1 its key's name or its own, 0.8 an ending."""
    if column == key and not is_generic(key):
        return 1.0
    entity = entity_of(column)
    known = entities(table, key)
    if entity in known and (is_key_name(column) or entity != entity_of(key) or is_generic(key)):
        return 1.0
    # `secondary_payer` and `provider` may stand without id; so may `x_concept_id` before concept's own key.
    if any(ends_in(entity, one) for one in known):
        return 0.8
    return 0.0


def _about(table: TableFound, column: str) -> float:
    """Of several tables with the same key the one named after it comes first: ``edstays`` for ``stay_id``."""
    return 0.1 if entity_of(column) in "".join(words(table.name)) else 0.0


def _rather(parent: TableFound, table: TableFound, column: str) -> bool:
    """Whether a table that shares its key with another is the part and not the whole."""
    assert parent.key is not None
    if parent.key.columns != (column,):
        # A key of another name: an extension of it, unless it is the table's own running number.
        return not is_generic(column) and entity_of(column) not in entities(table.name)
    mine, theirs = _about(table, column), _about(parent, column)
    return (theirs, parent.rows) > (mine, table.rows)


def _are_uuids(values: pa.Array | None) -> bool:
    """Whether most of the values are UUIDs; a word that stands for none may be among them."""
    if values is None or not len(values) or not pa.types.is_string(values.type):
        return False
    return bool(pc.sum(pc.equal(pc.utf8_length(values), _UUID)).as_py() * 2 > len(values))


def _inclusion(child: pa.Array | None, parent: pa.Array) -> tuple[float, int, bool, int]:
    """Return the share of distinct values that are there, how many are not, whether they are UUIDs, and how many."""
    if child is None or not len(child):
        return 0.0, 0, False, 0
    if child.type != parent.type:
        child, parent = child.cast(pa.string()), parent.cast(pa.string())
    unguessable = _are_uuids(child)
    if unguessable:
        # 0 beside UUIDs stands for none.
        child = child.filter(pc.invert(pc.is_in(child, value_set=_NOTHING)))
    there = int(pc.sum(pc.is_in(child, value_set=parent)).as_py() or 0)
    return there / len(child), len(child) - there, unguessable, len(child)
