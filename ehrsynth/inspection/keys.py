"""Primary keys: one column, or the columns that together name a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.inspection.findings import ColumnFound, KeyFound, TableFound
from ehrsynth.inspection.names import entities, entity_of, is_generic, is_key_name, is_sequence_name, words

__all__ = ["Encoded", "composite_key", "single_key"]

_FEW_ROWS = 20
_FEW_OWNERS = 20
_MOST_PARTS = 10
_WHAT = ("type", "name", "code", "item", "itemid", "drug", "test", "medication", "icd", "label", "category", "kind")
_SAMPLE = 20_000
_END = re.compile(r"^(?:end|stop|out|disch|to_)|_(?:end|stop)|stop|end_?(?:date|time|year)|outtime$")


def single_key(table: str, columns: Sequence[ColumnFound]) -> KeyFound | None:
    """Return the column that names a row: without gaps or repeats, and called like a key."""
    own = entities(table)
    best: tuple[float, int] | None = None
    for at, column in enumerate(columns):
        if not column.unique or column.kind not in ("integer", "text", "uuid"):
            continue
        name = column.name
        named = is_generic(name) or entity_of(name) in own or any(name == f"{entity}_id" for entity in own)
        dictionary = words(name)[-1:] == ["code"] and words(table)[0] in ("d", "dim", "lookup", "ref")
        if not (named or is_key_name(name) or dictionary):
            continue
        if column.rows < 2 and not named:
            continue
        # Among few rows anything may be unique.
        confidence = (0.99 if named else 0.95) if column.rows >= _FEW_ROWS else (0.9 if named else 0.65)
        if best is None or confidence > best[0]:
            best = confidence, at
    if best is None:
        return _numbered(columns)
    column = columns[best[1]]
    return KeyFound(
        columns=(column.name,),
        confidence=best[0],
        evidence=f"called like a key, {column.rows:,} rows, every value once, none missing",
    )


def _numbered(columns: Sequence[ColumnFound]) -> KeyFound | None:
    """A first column of different whole numbers, whatever it is called: perhaps a key, more cannot be said."""
    first = columns[0] if columns else None
    if first is None or first.kind != "integer" or not first.unique or first.rows < _FEW_ROWS:
        return None
    return KeyFound(
        columns=(first.name,),
        confidence=0.55,
        evidence=f"the first column, {first.rows:,} rows, every value once, none missing; not called like a key",
    )


class Encoded:
    """Columns of a table as numbers, so that combinations can be tried fast.

    Parameters
    ----------
    columns : mapping of name to pyarrow.ChunkedArray
    """

    def __init__(self, columns: dict[str, pa.ChunkedArray]) -> None:
        self._codes: dict[str, npt.NDArray[np.int64]] = {}
        for name, column in columns.items():
            encoded = column.dictionary_encode().unify_dictionaries()
            self._codes[name] = np.concatenate(
                [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
                or [np.zeros(0, np.int64)]
            ).astype(np.int64)

    def is_unique(self, names: Iterable[str]) -> bool:
        """Whether no two rows have the same values in all of these columns; a sample says no early."""
        parts = [self._codes[name] for name in names]
        return all(_distinct(parts, end) for end in (_SAMPLE, len(parts[0])))


def _distinct(parts: list[npt.NDArray[np.int64]], end: int) -> bool:
    whole = np.zeros(min(end, len(parts[0])), dtype=np.int64)
    for part in parts:
        cut = part[:end]
        whole = np.unique(whole * (int(cut.max(initial=0)) + 2) + cut + 1, return_inverse=True)[1].astype(np.int64)
    return len(whole) == 0 or len(np.unique(whole)) == len(whole)


def composite_parts(table: TableFound, parents: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns that could be parts of a key, by what they say: whose, which in order, when, what."""
    found: dict[str, list[str]] = {"whose": [], "order": [], "time": [], "what": [], "pair": [], "owner": []}
    for column in table.columns:
        if not column.whole or column.distinct < 2:
            continue
        tail = words(column.name)[-1:] or [""]
        if column.name in parents or (is_key_name(column.name) and column.kind != "number"):
            found["whose"].append(column.name)
        elif is_sequence_name(column.name) and column.kind == "integer":
            found["order"].append(column.name)
        elif column.kind in ("date", "datetime"):
            if _END.search(column.name):
                continue
            found["time"].append(column.name)
        elif column.kind in ("text", "integer") and (tail[0] in _WHAT or column.name.endswith(_WHAT)):
            found["what"].append(column.name)
    # The finest owner first: a stay before a patient.
    distinct = {column.name: column.distinct for column in table.columns}
    found["whose"].sort(key=lambda name: -distinct[name])
    # With a moment hardly anything comes twice: only something that there are many of can be the owner of it.
    found["owner"] = [name for name in found["whose"] if distinct[name] >= min(_FEW_OWNERS, table.rows // 20)]
    # A table of hardly more than two keys joins them.
    if len(found["whose"]) >= 2 and len(table.columns) <= len(found["whose"]) + 1:
        found["pair"] = found["whose"]
    return {role: names[:_MOST_PARTS] for role, names in found.items()}


def composite_key(
    table: TableFound, encoded: Encoded, parts: dict[str, list[str]], events: Sequence[str]
) -> KeyFound | None:
    """Return the least set of columns that names a row.

    An owner with a running number, or with a moment, is a key; so is a line of an order (an owner in `events`) with
    what it is. A patient or a visit with what happened is not, even if it happened only once: that is only said.
    """
    for confidence, names in _combinations(parts, set(events)):
        if encoded.is_unique(names):
            says = "called like parts of a key" if confidence >= 0.6 else "unique in these rows, by what alone"
            return KeyFound(
                columns=tuple(sorted(names, key=[column.name for column in table.columns].index)),
                confidence=confidence,
                evidence=f"{says}: {table.rows:,} rows, every combination once, none missing",
            )
    return None


def _combinations(parts: dict[str, list[str]], events: set[str]) -> Iterable[tuple[float, tuple[str, ...]]]:
    order, time, what = parts["order"], parts["time"], parts["what"]
    for whose in parts["whose"]:
        for number in order:
            yield 0.92, (whose, number)
        if whose in parts["owner"]:
            for moment in time:
                yield 0.75, (whose, moment)
    for pair in combinations(parts["pair"], 2):
        yield 0.85, pair
    for whose in parts["whose"]:
        for pair in combinations(order, 2):
            yield 0.85, (whose, *pair)
        for number in order:
            for one in (*time, *what):
                yield 0.8, (whose, one, number)
        if whose in events:
            # A type beside a name is a part of what it is: (order, drug type, drug) before (order, drug).
            kinds = [name for name in what if name.endswith("type")]
            others = [name for name in what if name not in kinds]
            for chosen in (*((one,) for one in kinds), *product(kinds, others), *((one,) for one in others)):
                yield 0.65, (whose, *chosen)
    for whose in parts["whose"]:
        for moment in time:
            for number in order:
                for one in (*what, *(other for other in order if other > number)):
                    yield 0.7, (whose, moment, number, one)
    for whose in parts["whose"]:
        for one in what:
            yield 0.4, (whose, one)
    for whose in parts["whose"]:
        for one in what:
            for other in (*time, *what):
                if other != one:
                    yield 0.35, (whose, other, one)
