"""Parts of a resource that many rows have alike: made once for each combination of the columns that they read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehrsynth.exporters.fhir.rows import NOTHING, Node, Piece, Rows
from ehrsynth.exporters.fhir.templates import Array, Each, First, Fixed, Instead, Later, Object, When
from ehrsynth.exporters.fhir.values import Number
from ehrsynth.exporters.fragments import Slot, join

__all__ = ["Alike", "made_alike"]

_FEW = 2
"""Rows a combination from which on it is worth while to make each once."""

_FOLDABLE = 32
"""Rows a combination from which on few combinations with the neighbours are to be expected as well."""


@dataclass(frozen=True)
class Alike:
    """`node`, which reads nothing but `columns`."""

    node: Node
    columns: tuple[str, ...]

    def piece(self, rows: Rows) -> Piece:
        index, first = rows.combination(self.columns)
        if _FEW * len(first) > len(rows):
            return self.node.piece(rows)
        piece = self.node.piece(rows.some(first))
        if piece.present is False:
            return NOTHING
        pool = join(piece.slots, len(first))
        foldable = _FOLDABLE * len(first) <= len(rows)
        if piece.present is True:
            return Piece((Slot(pool, index, foldable),), True)
        present = piece.present[index]
        return Piece((Slot(pool, np.where(present, index, np.int32(-1)), foldable),), present)


def made_alike(node: Node) -> Node:
    """Return `node` with an `Alike` around its largest parts that read columns of values only and no keys."""
    columns = _columns(node)
    if columns is not None:
        several = len(columns) > 1 or isinstance(node, Object)
        return Alike(node, tuple(sorted(columns))) if several and not isinstance(node, Each) else node
    match node:
        case Object(parts=parts):
            return replace(node, parts=tuple((key, made_alike(part)) for key, part in parts))
        case Array(items=items):
            return replace(node, items=tuple(map(made_alike, items)))
        case First(choices=choices):
            return replace(node, choices=tuple(map(made_alike, choices)))
        case Instead() | When():
            return replace(node, node=made_alike(node.node))
    return node


def _columns(node: Node) -> frozenset[str] | None:
    """Return the columns that `node` reads; None if it reads keys, times, or what nobody knows (of a plug-in)."""
    match node:
        case Fixed() | Later():
            return frozenset()
        case Each(columns=columns):
            return frozenset(columns)
        case Number(column=column):
            return frozenset([column])
        case Object(parts=parts):
            return _all([part for _, part in parts])
        case Array(items=items):
            return _all(items)
        case First(choices=choices):
            return _all(choices)
        case Instead(others=others):
            return _all([*others, node.node])
        case When(column=column):
            inside = _columns(node.node)
            return None if inside is None else inside | {column}
    return None


def _all(nodes: list[Node] | tuple[Node, ...]) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for node in nodes:
        columns = _columns(node)
        if columns is None:
            return None
        found |= columns
    return found
