"""The rows of a family's table: codes of visits, how often, when in the stay, until when, and their other columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.errors import ModelError
from ehrsynth.generation.codes import CodeSampler, Present, VisitContext
from ehrsynth.generation.columns import Columns, labels, number_column
from ehrsynth.generation.encounters import UNIT_SECONDS, Encounters
from ehrsynth.generation.segments import first_of_each, ranges
from ehrsynth.generation.trajectory import CellTable
from ehrsynth.model import EVERY_TABLE, AttributeTable, CodeFamily, Measurements, Strata
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.schema import TableSchema

__all__ = ["AttributeSampler", "FamilySampler", "Rows", "followers", "without_followers"]

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_INDICATION = 5.0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one table, by visit and time.

    Attributes
    ----------
    visit, code : int64[m]
    repeat : int64[m]
        0 for the first row of the code in the visit.
    recurs : bool[m]
        The person had the code in an earlier visit.
    time : int64[m]
        Seconds since 1970, inside the encounter, to its precision.
    days : int64[m]
        Days from the start to the end; -1 where no end is recorded.
    first_visit, last_visit : int64[m]
        The person's first and last visit with the code.
    next_visit : int64[m]
        The person's next visit with the code; -1 for none.
    attribute : int64[m]
        Row of the family's attributes; -1 for none.
    """

    visit: Int
    code: Int
    repeat: Int
    recurs: Bool
    time: Int
    days: Int
    first_visit: Int
    last_visit: Int
    next_visit: Int
    attribute: Int

    def __len__(self) -> int:
        return len(self.visit)


class FamilySampler:
    """A family made ready for drawing the rows of many blocks."""

    def __init__(self, family: CodeFamily, strata: Strata, measurements: Measurements | None = None) -> None:
        self.family = family
        self._followers = followers(family, measurements)
        self.codes = None
        if family.parent_table != EVERY_TABLE:
            self.codes = CodeSampler(without_followers(family, self._followers), strata)
        self._repeats = np.asarray(family.repeats, dtype=np.float64)
        self._position = cumulative(np.asarray(family.position)[None, :]) if len(family.position) else None
        duration = np.asarray(family.duration)
        self._duration = CellTable(duration, family.duration_days) if duration.shape[-1] else None
        self._one_duration = len(duration) == 1
        self._duration_known = np.asarray(family.duration_known, dtype=np.float64)
        self.attributes = None if family.attributes is None else AttributeSampler(family.attributes)
        self.reason = _reasons(family)
        # A condition is dated by the day of its visit.
        self._has_times = family.table != "condition"
        # A continued drug keeps its dose, an implanted device its make; other columns are of the day.
        self._keeps_attributes = family.table in ("medication_request", "device")

    def draw(
        self,
        visits: VisitContext,
        encounters: Encounters,
        rng: np.random.Generator,
        parents: Present | None,
        present: Present | None = None,
    ) -> tuple[Present, Rows]:
        """Return the codes of the visits (`present`, if they are drawn already) and the rows they make."""
        if present is None:
            assert self.codes is not None
            present = self.codes.draw(visits, rng, parents)
        at, repeat, time = self._repeat(present, encounters, rng)
        source, code = self._with_followers(visits, present.visit[at], present.code[at])
        at, repeat, time = at[source], repeat[source], time[source]
        visit = present.visit[at]
        order = np.argsort((visit << 32) + (time - encounters.start[visit]), kind="stable")
        at, visit, code, repeat, time = at[order], visit[order], code[order], repeat[order], time[order]
        first, last, following, opening = _neighbours(visits.patient, visit, code, len(self.family.codings))
        attribute = np.full(len(code), -1) if self.attributes is None else self.attributes.draw(code, rng)
        if self._keeps_attributes:
            attribute = attribute[opening]
        days = self._days(code, rng)
        kept = _distinct(repeat, visit, code, attribute, time if self._has_times else np.zeros_like(time))
        return present, Rows(
            visit=visit[kept],
            code=code[kept],
            repeat=repeat[kept],
            recurs=present.recurs[at][kept],
            time=time[kept],
            days=days[kept],
            first_visit=first[kept],
            last_visit=last[kept],
            next_visit=following[kept],
            attribute=attribute[kept],
        )

    def _repeat(self, present: Present, encounters: Encounters, rng: np.random.Generator) -> tuple[Int, Int, Int]:
        """Draw how often each code of a visit is recorded, and when; return the code of each row, its number and time.

        Rows of one code in one visit are numbered in the order of time. An observation has no two at one time.
        """
        more = rng.geometric(1 / (1 + self._repeats[present.code])) - 1
        at = np.repeat(np.arange(len(present)), more + 1)
        repeat = ranges(np.zeros(len(present), dtype=np.int64), more + 1)
        time = self._times(present.visit[at], encounters, rng)
        several = np.flatnonzero((more > 0)[at])
        if len(several):
            time[several] = time[several[np.lexsort((time[several], at[several]))]]
            if self.family.table == "observation":
                twin = np.zeros(len(at), dtype=bool)
                twin[1:] = (at[1:] == at[:-1]) & (time[1:] == time[:-1])
                at, repeat, time = at[~twin], repeat[~twin], time[~twin]
        return at, repeat, time

    def _times(self, visit: Int, encounters: Encounters, rng: np.random.Generator) -> Int:
        """Draw when in the stay each row happens, to the precision of its encounter."""
        start = encounters.start[visit]
        if self._position is None:
            return start
        u_cell, u_place = rng.random((2, len(visit)))
        cell = sample_rows(self._position, np.zeros(len(visit), dtype=np.int64), u_cell)
        offset = (cell + u_place) / self._position.categories * (encounters.end[visit] - start)
        unit = UNIT_SECONDS[encounters.precision[visit]]
        return np.asarray(start + offset.astype(np.int64) // unit * unit)

    def _with_followers(self, visits: VisitContext, visit: Int, code: Int) -> tuple[Int, Int]:
        """Add the rows of the other measurements of each panel; return of which row each is a copy, and its code."""
        if not self._followers:
            return np.arange(len(code)), code
        extra = np.zeros(len(self.family.codings), dtype=np.int64)
        for leader, followers in self._followers.items():
            extra[leader] = len(followers)
        start = np.cumsum(extra) - extra
        listed = np.array(
            [code for leader in sorted(self._followers) for code in self._followers[leader]], dtype=np.int64
        )
        count = extra[code] + 1
        source = np.repeat(np.arange(len(code)), count)
        place = ranges(np.zeros(len(code), dtype=np.int64), count)
        new = np.where(place > 0, listed[np.minimum(start[code[source]] + place - 1, len(listed) - 1)], code[source])
        family = self.family
        limit = np.asarray(family.sex_limit, dtype=np.int64)[new]
        least, most = (np.asarray(x, dtype=np.float64)[new] for x in (family.age_min, family.age_max))
        allowed = visits.allows(visit[source], limit, least, most)
        return source[allowed], new[allowed]

    def _days(self, code: Int, rng: np.random.Generator) -> Int:
        """Draw the days from each row's start to its end; -1 where no end is recorded."""
        if self._duration is None:
            return np.full(len(code), -1, dtype=np.int64)
        u = rng.random((3, len(code)))
        row = np.zeros(len(code), dtype=np.int64) if self._one_duration else code
        return np.where(u[0] < self._duration_known[code], self._duration.draw(row, u[1], u[2]), -1)


class AttributeSampler:
    """Other columns of a family's rows, drawn jointly for each code."""

    def __init__(self, table: AttributeTable) -> None:
        self.table = table
        offsets = np.asarray(table.offsets, dtype=np.int64)
        count = np.diff(offsets)
        self._offsets, self._count = offsets[:-1], count
        # Ragged rows as a rectangle: codes have few different rows.
        width = max(1, int(count.max(initial=0)))
        weight = np.zeros((len(count), width))
        inside = ranges(np.zeros(len(count), dtype=np.int64), count)
        weight[np.repeat(np.arange(len(count)), count), inside] = table.weight
        weight[count == 0, 0] = 1
        self._cdf = cumulative(weight) if len(count) else None

    def draw(self, code: Int, rng: np.random.Generator) -> Int:
        """Return the row of attributes of each code; -1 for codes that have none."""
        u = rng.random(len(code))
        if self._cdf is None:
            return np.full(len(code), -1, dtype=np.int64)
        return np.where(self._count[code] > 0, self._offsets[code] + sample_rows(self._cdf, code, u), -1)

    def columns(self, rows: Int, schema: TableSchema) -> Columns:
        """Return the columns of the table's names, of the schema's types; empty where a row is negative or blank.

        Raises
        ------
        ModelError
            A column that the schema's table does not have, or a value that does not fit its type.
        """
        result: Columns = {}
        for number, name in enumerate(self.table.columns):
            if name not in schema:
                raise ModelError(f"The model's attributes have a column {name!r}.", table=schema.name, column=name)
            values = [row[number] for row in self.table.rows]
            result[name] = _column(values, rows, schema[name].arrow_type, schema.name, name)
        return result


def _column(values: list[Any], rows: Int, kind: pa.DataType, table: str, name: str) -> pa.Array:
    known = np.array([value is not None for value in values] + [False])[rows]
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        distinct = sorted({str(value) for value in values if value is not None})
        number = {text: i for i, text in enumerate(distinct)}
        index = np.array([-1 if value is None else number[str(value)] for value in values] + [-1])
        return labels(index[rows], distinct)
    try:
        filled = pa.array([*values, None], type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ModelError(
            f"A value of the model's attributes does not fit: {error}.", table=table, column=name
        ) from None
    numbers = filled.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
    return number_column(numbers[rows], known)


def _reasons(family: CodeFamily) -> Int:
    """Return the condition each code is for; -1 for none.

    The parent of a code is the condition that tells most about it, which is not always why it is done: it counts as the
    reason if it multiplies the odds of the code by `_INDICATION` at least.
    """
    parent = np.asarray(family.parent, dtype=np.int64)
    if family.reason is not None:
        return np.asarray(family.reason, dtype=np.int64)
    if family.parent_table != "condition" or family.table == "condition":
        return np.full(len(parent), -1, dtype=np.int64)
    with_it, without = (
        np.asarray(table, dtype=np.float64).mean(axis=0) for table in (family.never_with_parent, family.never)
    )
    strong = with_it * (1 - without) >= _INDICATION * without * (1 - with_it)
    return np.where(strong & (with_it > 0), parent, -1)


def followers(family: CodeFamily, measurements: Measurements | None) -> dict[int, list[int]]:
    """Return the codes of a family that follow each leading code of a panel."""
    if measurements is None or family.table != "observation":
        return {}
    members: dict[int, list[int]] = {}
    for code, panel in zip(measurements.code.tolist(), measurements.panel.tolist(), strict=True):
        if panel >= 0:
            members.setdefault(panel, []).append(code)
    return {codes[0]: codes[1:] for codes in members.values() if len(codes) > 1}


def without_followers(family: CodeFamily, followers: dict[int, list[int]]) -> CodeFamily:
    """Return the family with codes that follow another never drawn by themselves; their children are the leader's."""
    leader = {code: first for first, codes in followers.items() for code in codes}
    if not leader:
        return family
    led = list(leader)
    tables: dict[str, Any] = {}
    for name in ("never", "never_with_parent", "previous", "earlier"):
        table = np.array(getattr(family, name), dtype=np.float32)
        table[:, led] = 0
        tables[name] = table
    parent = np.array(family.parent, dtype=np.int64)
    if family.parent_table == family.table:
        for code, first in leader.items():
            parent[parent == code] = first
            parent[code] = -1
        for first in followers:
            if _is_own_ancestor(first, parent):
                parent[first] = -1
    return replace(family, parent=parent, **tables)


def _is_own_ancestor(code: int, parent: Int) -> bool:
    """Return whether the children that a leader took from its followers led to it: then it hangs from nothing."""
    passed = set()
    above = int(parent[code])
    while above >= 0 and above != code and above not in passed:
        passed.add(above)
        above = int(parent[above])
    return above == code


def _distinct(repeat: Int, *columns: Int) -> Bool:
    """Return which rows to keep so that no two are the same in all columns; the lowest `repeat` stays."""
    kept = np.ones(len(repeat), dtype=bool)
    if not repeat.any():
        return kept
    order = np.lexsort((repeat, *columns[::-1]))
    same = np.ones(len(order) - 1, dtype=bool)
    for column in columns:
        same &= column[order[1:]] == column[order[:-1]]
    kept[order[1:][same]] = False
    return kept


def _neighbours(patient: Int, visit: Int, code: Int, n_codes: int) -> tuple[Int, Int, Int, Int]:
    """Return each row's first, last and next visit of the same person and code, and the row that is their first."""
    if not len(visit):
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, none
    pair = patient[visit] * n_codes + code
    order = np.argsort(pair, kind="stable")
    pair, at = pair[order], visit[order]
    opens = np.flatnonzero(first_of_each(pair))
    length = np.diff(np.append(opens, len(pair)))
    first, last = np.repeat(at[opens], length), np.repeat(at[opens + length - 1], length)
    # The next visit is where the next run of equal (pair, visit) begins, if it is of the same pair.
    new = np.ones(len(at), dtype=bool)
    new[1:] = (at[1:] != at[:-1]) | (pair[1:] != pair[:-1])
    runs = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    after = np.append(runs[1:], -1)[run]
    following = np.where((after >= 0) & (pair[after] == pair), at[after], -1)
    result = np.empty((4, len(order)), dtype=np.int64)
    result[:, order] = first, last, following, np.repeat(order[opens], length)
    return result[0], result[1], result[2], result[3]
