"""Which codes of a reason are alternatives, and which are chosen apart: the antibiotic, and the pain killer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["choices"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_HOPED, _SELDOM = 3.0, 0.1
"""Visits, at least, in which a code would come with others by chance, and the share of these in which it does, at most,
for alternatives."""

_MOST_CODES = 40


def choices(
    reasons: Sequence[tuple[int, ...]],
    sets: Sequence[frozenset[int]],
    cell: Ints,
    visits: Doubles,
    people: Ints,
    min_patients: int,
) -> dict[tuple[int, ...], tuple[frozenset[int], ...]]:
    """Return the choices of each reason that has several, as the codes of each.

    Codes that hardly ever come together though chance would have it are one choice. Choices that depend on each other
    among people of one age and time (a G test against the Bayesian information criterion) become one.

    Parameters
    ----------
    reasons, sets : sequence of n
        Of each row.
    cell : int64[n]
        What else the visits of the row have in common: sex, age, time.
    visits : float64[n]
    people : int64[n]
        Who had the reason and set, in any cell.
    min_patients : int
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for k, reason in enumerate(reasons):
        rows.setdefault(reason, []).append(k)
    found = {}
    for reason, mine in rows.items():
        if all(people[k] >= min_patients for k in mine):
            # All sets are common enough to be told of whole.
            continue
        parts = _parts([sets[k] for k in mine], cell[mine], visits[mine])
        if len(parts) > 1:
            found[reason] = parts
    return found


def _parts(sets: list[frozenset[int]], cell: Ints, visits: Doubles) -> tuple[frozenset[int], ...]:
    codes = sorted(set().union(*sets))
    if not 1 < len(codes) <= _MOST_CODES:
        return (frozenset(codes),)
    there = np.array([[code in one for code in codes] for one in sets], dtype=np.float64)
    part = _alternatives(there, visits)
    while (pair := _first_dependent(there, part, cell, visits)) is not None:
        kept, other = pair
        part[part == other] = kept
    return tuple(frozenset(codes[k] for k in np.flatnonzero(part == name)) for name in np.unique(part))


def _alternatives(there: Doubles, visits: Doubles) -> Ints:
    """Return the part of each code: the commonest first, each goes to the part that it hardly ever comes with.

    Of several such parts to that which it would come with most often by chance.
    """
    total, alone = visits.sum(), visits @ there
    part = np.full(there.shape[1], -1)
    parts: list[Doubles] = []
    for code in np.argsort(-alone, kind="stable").tolist():
        best, most = len(parts), _HOPED
        for number, one in enumerate(parts):
            hoped = alone[code] * (visits @ one) / total
            if hoped >= most and visits @ (one * there[:, code]) < _SELDOM * hoped:
                best, most = number, hoped
        if best == len(parts):
            parts.append(np.zeros(len(there)))
        parts[best] = np.maximum(parts[best], there[:, code])
        part[code] = best
    return part


def _first_dependent(there: Doubles, part: Ints, cell: Ints, visits: Doubles) -> tuple[int, int] | None:
    """Return the first two parts whose choices depend on each other, None if there are none."""
    names = np.unique(part).tolist()
    chosen = [_levels(there[:, part == name]) for name in names]
    pairs = ((j, i) for i in range(len(names)) for j in range(i))
    found = (pair for pair in pairs if _dependent(chosen[pair[1]], chosen[pair[0]], cell, visits))
    return next(((names[kept], names[other]) for kept, other in found), None)


def _levels(there: Doubles) -> Ints:
    """Return the number of what each row has of a part."""
    return np.asarray(np.unique(there, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def _dependent(one: Ints, other: Ints, cell: Ints, visits: Doubles) -> bool:
    """Return whether two choices depend on each other within cells."""
    shape = (int(one.max()) + 1, int(other.max()) + 1)
    gain = free = 0.0
    for name in np.unique(cell):
        mine = cell == name
        table = np.bincount(one[mine] * shape[1] + other[mine], visits[mine], shape[0] * shape[1]).reshape(shape)
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        free += (max((rows > 0).sum() - 1, 0)) * (max((columns > 0).sum() - 1, 0))
        known = table > 0
        gain += float((table[known] * np.log(table[known] * table.sum() / np.outer(rows, columns)[known])).sum())
    return gain > 0.5 * free * float(np.log(max(visits.sum(), 2.0)))
