"""Recipes of a mapping carried out: source columns become canonical ones, typed, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.plugins import nearest
from ehrsynth.readers.account import Account, is_true
from ehrsynth.readers.mapping_grammar import OTHER_REFUSED, SYSTEMS, Recipe, Rule, SourceMapping
from ehrsynth.readers.mapping_source import Sources, holds, over_distinct, parts, whole_numbers
from ehrsynth.readers.mapping_times import OUT, Times, place_of
from ehrsynth.readers.source import SourceTable
from ehrsynth.readers.source_codes import condition_code, drug_code, observation_code, procedure_code, tidy
from ehrsynth.readers.values import EXPECTED, parse, text
from ehrsynth.schema import Column, TableSchema
from ehrsynth.terminology import with_dot

__all__ = ["OUT", "carry_out"]

_ICD = {SYSTEMS["icd-9-cm"]: 9, SYSTEMS["icd-10-cm"]: 10, SYSTEMS["icd-10-pcs"]: 10}

_READERS = {"condition": condition_code, "medication_request": drug_code, "procedure": procedure_code}
"""What reads codes by their shape; of all other tables it is `observation_code`."""

Mask = npt.NDArray[np.bool_]


def carry_out(
    rule: Rule, table: TableSchema, sources: Sources, mapping: SourceMapping, account: Account
) -> SourceTable:
    """Return the rows of a rule with canonical columns beside the source's, under names that begin with `OUT`.

    Dates and times are both ``timestamp[s]`` at this stage. A value that cannot be read, a word that a map does not
    have, and a value outside its column's list refuse the row.
    """
    work = _Work(rule, table, sources, mapping, account)
    rows = sources.rows(rule)
    if rule.lookup is not None:
        rows = work.look_up(rows)
    # What another column needs comes before it: times that others are counted from, systems before their codes.
    order = sorted(
        rule.columns,
        key=lambda name: (bool(rule.columns[name].since), not name.endswith("system"), table.names.index(name)),
    )
    for name in order:
        rows = work.fill(rows, table[name], rule.columns[name])
    rows = work.scale(rows)
    rows = work.times.precise(rows)
    return work.check(rows)


class _Work:
    """One rule being carried out."""

    def __init__(
        self, rule: Rule, table: TableSchema, sources: Sources, mapping: SourceMapping, account: Account
    ) -> None:
        self.rule, self.table, self.sources, self.mapping, self.account = rule, table, sources, mapping, account
        self.times = Times(rule, table, mapping, account)

    def look_up(self, rows: SourceTable) -> SourceTable:
        """Add the columns of the lookup's entries; rows whose word has none are set aside."""
        lookup = self.rule.lookup
        assert lookup is not None
        raw = whole_numbers(text(self._raw(rows, lookup.recipe)))
        words = pa.array(list(lookup.entries), pa.string())
        found = pc.index_in(raw, value_set=words)
        rows = rows.with_column(f"{OUT}lookup", found)
        rows = self.account.set_aside(
            rows, is_true(pc.is_null(found)), reason=f"not in the lookup {lookup.name}", column=lookup.recipe.column
        )
        at = rows[f"{OUT}lookup"].combine_chunks()
        for key in dict.fromkeys(key for entry in lookup.entries.values() for key in entry):
            if key == "between":
                continue
            values = [entry.get(key) for entry in lookup.entries.values()]
            column = self.table[key] if key in self.table.names else None
            if key == "factor":
                values = [1.0 if value is None else float(value) for value in values]
            elif column is None or column.type == "string":
                values = [None if value is None else str(value) for value in values]
                if key.endswith("system"):
                    values = [None if value is None else SYSTEMS.get(value, value) for value in values]
            rows = rows.with_column(OUT + key, pa.array(values).take(at))
        return rows

    def scale(self, rows: SourceTable) -> SourceTable:
        """Apply the factors and ranges of the lookup's entries to the number."""
        lookup = self.rule.lookup
        if lookup is None or f"{OUT}value_number" not in rows:
            return rows
        numbers = rows[f"{OUT}value_number"]
        if f"{OUT}factor" in rows:
            numbers = pc.multiply(numbers, rows[f"{OUT}factor"])
            rows = rows.with_column(f"{OUT}value_number", numbers)
        spans = [entry.get("between", (-np.inf, np.inf)) for entry in lookup.entries.values()]
        at = rows[f"{OUT}lookup"].combine_chunks()
        low, high = (pa.array([span[end] for span in spans], pa.float64()).take(at) for end in (0, 1))
        outside = is_true(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))
        column = self.rule.columns["value_number"].column if "value_number" in self.rule.columns else ""
        return self.account.set_aside(rows, outside, reason="outside the range of the lookup", column=column)

    def fill(self, rows: SourceTable, column: Column, recipe: Recipe) -> SourceTable:
        """Add one canonical column."""
        if column.type in ("date", "datetime"):
            return self.times.fill(*self._mapped(rows, recipe), column, recipe)
        return self._plain(rows, column, recipe)

    def _raw(self, rows: SourceTable, recipe: Recipe) -> pa.ChunkedArray:
        if recipe.value is not None:
            value = str(recipe.value).lower() if isinstance(recipe.value, bool) else str(recipe.value)
            raw = pa.chunked_array([pa.repeat(pa.scalar(value), len(rows))])
        else:
            raw = self.sources.picked(self.rule, recipe, rows) if recipe.picks else rows[recipe.column]
        if recipe.part or recipe.by:
            raw = parts(raw, recipe.by, recipe.part or 1)
        return raw if recipe.when is None else pc.if_else(pa.array(holds(rows, recipe.when)), raw, None)

    def _mapped(self, rows: SourceTable, recipe: Recipe) -> tuple[SourceTable, pa.ChunkedArray]:
        """Return rows and values after the recipe's map; a word that it does not have refuses the row."""
        raw = self._raw(rows, recipe)
        if recipe.map is None:
            return rows, raw
        raw = whole_numbers(text(raw))
        known = {str(word): value for word, value in recipe.map.items()}
        unknown = is_true(
            pc.and_(pc.is_valid(raw), pc.invert(pc.is_in(raw, value_set=pa.array(list(known), pa.string()))))
        )
        if recipe.other is OTHER_REFUSED and unknown.any():
            word = raw[int(np.argmax(unknown))].as_py()
            rows = self.account.refuse(
                rows,
                unknown,
                problem=f"The map {place_of(recipe)} does not have {word!r}.".replace("{", "{{").replace("}", "}}"),
                reason=f"not in the map of {recipe.place[-1]}",
                column=recipe.column,
                hint=f'{nearest(word, known)} Add it, or other = "" for none.',
            )
            raw = raw.filter(pa.array(~unknown))
        other = None if recipe.other in (None, OTHER_REFUSED) else str(recipe.other)
        return rows, over_distinct(raw, lambda word: _said(known[word]) if word in known else other)

    def _plain(self, rows: SourceTable, column: Column, recipe: Recipe) -> SourceTable:
        rows, raw = self._mapped(rows, recipe)
        is_key = column.name.endswith("_id")
        kind = "key" if is_key else column.type
        parsed = parse(raw, kind)
        values = parsed.values
        if parsed.bad is not None:
            rows = rows.with_column(OUT + column.name, values)
            rows = self.account.refuse(
                rows,
                parsed.bad,
                problem=f"{{value!r}} is not {EXPECTED[kind]}.",
                reason=f"{column.name} is not {EXPECTED[kind]}",
                column=recipe.column,
                hint=f"The recipe {place_of(recipe)} makes {column.name} of it.",
            )
            values = values.filter(pa.array(~parsed.bad))
        if column.type == "number" and recipe.factor != 1.0:
            values = pc.multiply(values, recipe.factor)
        if column.type == "string":
            if recipe.convert == "system":
                values = self._systems(values, recipe)
            elif column.name.endswith("system"):
                values = over_distinct(values, lambda word: SYSTEMS.get(word, word))
            elif recipe.convert == "icd":
                values = self._dotted(rows, column.name, values)
            elif not is_key:
                values = over_distinct(values, tidy)
        return rows.with_column(OUT + column.name, values)

    def _systems(self, codes: pa.ChunkedArray, recipe: Recipe) -> pa.ChunkedArray:
        """Return the code system of each code by its shape, `other` of those that no shape fits."""
        read = _READERS.get(self.table.name, observation_code)
        rest = recipe.other
        other = "urn:ehrsynth:source:code" if rest in (None, OTHER_REFUSED) else SYSTEMS.get(str(rest), str(rest))
        return over_distinct(codes, lambda word: (read(word.strip()) or (other,))[0])

    def _dotted(self, rows: SourceTable, name: str, codes: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return ICD codes with their dot, by the system that the row states for them."""
        system = f"{OUT}{'code_system' if name == 'code' else name.removesuffix('code') + 'system'}"
        stated = rows.get(system)
        result = codes
        for uri in [one for one in pc.unique(stated).to_pylist() if one in _ICD]:
            procedure = self.table.name == "procedure" or uri == SYSTEMS["icd-10-pcs"]
            dot = partial(with_dot, version=_ICD[uri], procedure=procedure)
            dotted = over_distinct(codes, partial(_first, dot))
            result = pc.if_else(pc.equal(stated, uri), dotted, result)
        return result

    def check(self, rows: SourceTable) -> SourceTable:
        """Refuse rows with a value that its column's list, pattern or range does not allow."""
        for column in self.table.columns:
            name = OUT + column.name
            if name not in rows:
                continue
            recipe = self.rule.columns.get(column.name)
            place = recipe.column if recipe is not None and recipe.column else column.name
            for bad, rule in _violations(rows[name], column):
                rows = self.account.refuse(
                    rows.with_column(place, rows[place] if place in rows else rows[name]),
                    bad,
                    problem=f"{{value!r}} gives what {column.name} cannot be.",
                    reason=f"{column.name} is not allowed",
                    column=place,
                    hint=f"Allowed: {rule}.",
                )
            if column.name.endswith("code_system"):
                words = rows[name]
                strange = is_true(pc.invert(pc.match_substring(words, ":")))
                rows = self.account.refuse(
                    rows,
                    strange,
                    problem="{value!r} is no code system.",
                    reason="not a code system",
                    column=place if place in rows else name,
                    hint=f"Map it to a URI, or to one of: {', '.join(SYSTEMS)}.",
                )
        return rows


def _violations(values: pa.ChunkedArray, column: Column) -> list[tuple[Mask, str]]:
    """Return at most one mask of values that are not allowed, with what is."""
    if column.enum:
        known = pc.is_in(values, value_set=pa.array(column.enum, pa.string()))
        return [(is_true(pc.and_(pc.is_valid(values), pc.invert(known))), ", ".join(column.enum))]
    if column.pattern:
        return [(is_true(pc.invert(pc.match_substring_regex(values, column.pattern))), column.pattern)]
    if column.minimum is not None:
        return [(is_true(pc.less(values, column.minimum)), f"{column.minimum:g} or more")]
    return []


def _first(function: Callable[[list[str]], list[str | None]], word: str) -> str | None:
    return function([word])[0]


def _said(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
