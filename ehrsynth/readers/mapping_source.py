"""The rows that a rule of a mapping speaks of: one file, perhaps a row for each of several columns, filtered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.plugins import nearest
from ehrsynth.readers.account import Account, is_true, positions
from ehrsynth.readers.mapping_grammar import Condition, Recipe, Rule, SourceMapping
from ehrsynth.readers.source import SourceFolder, SourceTable
from ehrsynth.readers.values import parse, text

__all__ = ["NAME", "NUMBER", "VALUE", "Sources", "holds", "ordering", "over_distinct", "parts", "whole_numbers"]

VALUE, NAME, NUMBER = "@value", "@name", "@number"
"""Where a rule has `each`: the value of the column, its name, and its position among them from 1."""

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Sources:
    """The files of a mapping, each read once and only in the columns that some rule names.

    Parameters
    ----------
    folder : SourceFolder
    mapping : SourceMapping
    account : Account
    """

    def __init__(self, folder: SourceFolder, mapping: SourceMapping, account: Account) -> None:
        self.folder, self.mapping, self.account = folder, mapping, account
        self._wanted: dict[str, dict[str, None]] = {}
        self._tables: dict[str, SourceTable] = {}
        for rule in mapping.rules:
            if rule.sources:
                continue
            for file, column in _named(rule):
                if not column.startswith("@"):
                    self._wanted.setdefault(self.stem(file or rule.file, rule), {})[column] = None

    def stem(self, file: str, rule: Rule) -> str:
        """Return the name of the file without suffixes that a rule means; the only one if it names none."""
        if file in self.folder:
            return file
        files = list(self.folder.files)
        if not file and len(files) == 1:
            return files[0]
        place = ".".join(map(str, rule.place))
        raise SourceError(
            f"There is no table {file!r}." if file else "The rule names no file.",
            file=self.folder.path,
            table=file or None,
            hint=f"The rule {place} of {self.mapping.file} needs it. {nearest(file, files)}",
        )

    def table(self, stem: str) -> SourceTable:
        """Return a file with all columns that are named of it."""
        if stem not in self._tables:
            table = self.folder.read(stem, wanted=self._wanted.get(stem, {}))
            for column in table.columns.column_names:
                table = table.with_column(column, self._without_missing(table[column]))
            self._tables[stem] = table
        return self._tables[stem]

    def rows(self, rule: Rule) -> SourceTable:
        """Return the rows of a rule, counted, with what its conditions leave out set aside."""
        stem = self.stem(rule.file, rule)
        rows = replace(self.table(stem), name=rule.label if rule.label not in ("", "source") else stem)
        if rule.label.startswith("source to "):
            rows = replace(rows, name=f"{stem}{rule.label.removeprefix('source')}")
        wanted = [column for file, column in _named(rule) if self.stem(file or rule.file, rule) == stem]
        self.account.require_columns(rows, [name for name in dict.fromkeys(wanted) if not name.startswith("@")])
        rows = self.account.open(rows)
        if rule.each:
            before = len(rows)
            rows = _each(rows, rule.each)
            self.account.report.rows_read[rows.name] += len(rows) - before
        for condition in rule.keep:
            there = holds(rows, condition)
            rows = self.account.set_aside(rows, ~there, reason=f"not kept: {condition}", column=condition.column)
        if rule.one_per:
            rows = self._one_per(rows, rule)
        return rows

    def picked(self, rule: Rule, recipe: Recipe, rows: SourceTable) -> pa.ChunkedArray:
        """Return for each row the column of the recipe in another row of the same patient; null where there is none."""
        other = self.table(self.stem(recipe.file or rule.file, rule))
        match = recipe.match or rule.columns["patient_id"].column
        own = recipe.match_own or match
        self.account.require_columns(other, [recipe.column, match])
        if recipe.where is not None:
            self.account.require_columns(other, [recipe.where.column])
            other = other.keep(holds(other, recipe.where))
        keys = pc.unique(text(other[match]).combine_chunks())
        theirs, mine = positions(text(other[match]), keys), positions(text(rows[own]), keys)
        if recipe.pick == "next":
            self.account.require_columns(other, [rule.order_by])
            # Both together, so that they are read as one kind.
            both = pa.chunked_array([*other[rule.order_by].chunks, *rows[rule.order_by].chunks])
            times = _sortable(both)
            at = _next(theirs, mine, times[: len(other)], times[len(other) :])
        else:
            by = rule.order_by if rule.order_by in other else ""
            order = np.lexsort((ordering(other, by), theirs)) if by else np.argsort(theirs, kind="stable")
            last = recipe.pick == "last"
            found = np.searchsorted(theirs[order], mine, side="right" if last else "left") - int(last)
            found = np.clip(found, 0, max(len(order) - 1, 0))
            at = order[found] if len(order) else np.zeros(len(mine), dtype=np.int64)
            at = np.where((mine >= 0) & (len(order) > 0), at, -1)
        return other[recipe.column].take(pa.array(at, mask=at < 0))

    def _one_per(self, rows: SourceTable, rule: Rule) -> SourceTable:
        order = np.argsort(ordering(rows, rule.order_by), kind="stable") if rule.order_by else np.arange(len(rows))
        group = np.zeros(len(rows), dtype=np.int64)
        for name in rule.one_per:
            values = text(rows[name])
            found = positions(values, pc.unique(values.combine_chunks())) + 1
            group = np.unique(group * (int(found.max(initial=0)) + 1) + found, return_inverse=True)[1]
        first = np.zeros(len(rows), dtype=bool)
        first[order[np.unique(group[order], return_index=True)[1]]] = True
        reason = f"a further row of the same {', '.join(rule.one_per)}"
        return self.account.set_aside(rows, ~first, reason=reason, column=rule.one_per[0])

    def _without_missing(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_floating(column.type):
            return pc.if_else(pc.is_nan(column), None, column)
        if not pa.types.is_string(column.type):
            return column
        return pc.if_else(pc.is_in(column, value_set=pa.array(("", *self.mapping.missing))), None, column)


def _named(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield (file, column) for all that a rule names; an empty file is the rule's own."""
    recipes = [*rule.columns.values(), *([rule.lookup.recipe] if rule.lookup else [])]
    for recipe in recipes:
        for column in (recipe.column, recipe.at, recipe.year):
            if column:
                yield recipe.file, column
        if recipe.where:
            yield recipe.file, recipe.where.column
        if recipe.when:
            yield "", recipe.when.column
        if recipe.picks:
            match = recipe.match or (rule.columns["patient_id"].column if "patient_id" in rule.columns else "")
            if match:
                yield recipe.file, match
                yield "", recipe.match_own or match
    for condition in rule.keep:
        yield "", condition.column
    for name in (*rule.one_per, rule.order_by, *(name.lower() for name in rule.each)):
        if name:
            yield "", name


def _each(rows: SourceTable, names: tuple[str, ...]) -> SourceTable:
    """Return a row for each value that is there in the columns `names`, those of one row together."""
    at, which, values = [], [], []
    for number, name in enumerate(names):
        column = rows[name.lower()]
        there = np.flatnonzero(is_true(pc.is_valid(column)))
        at.append(there)
        which.append(np.full(len(there), number, dtype=np.int64))
        values.append(text(column).take(pa.array(there)))
    row, position = np.concatenate(at), np.concatenate(which)
    order = np.lexsort((position, row))
    spread = rows.take(row[order])
    value = pa.chunked_array([chunk for column in values for chunk in column.chunks], pa.string())
    spread = spread.with_column(VALUE, value.take(pa.array(order)))
    spread = spread.with_column(NAME, pa.array(names).take(pa.array(position[order])))
    return spread.with_column(NUMBER, pa.array(position[order] + 1))


def holds(rows: SourceTable, condition: Condition) -> Mask:
    """Return which rows a condition holds of, shape (n,); an absent value fulfils only `present = false`."""
    column = rows[condition.column]
    if condition.part:
        column = parts(column, condition.by, condition.part)
    there = is_true(pc.is_valid(column))
    result = there if condition.present is not False else ~there
    if condition.among is not None:
        result = result & is_true(pc.is_in(text(column), value_set=pa.array(_spellings(condition.among))))
    if condition.not_among is not None:
        result = result & ~is_true(pc.is_in(text(column), value_set=pa.array(_spellings(condition.not_among))))
    if condition.starts:
        result = result & is_true(pc.starts_with(text(column), condition.starts))
    if condition.between is not None:
        numbers = parse(column, "number").values
        low, high = condition.between
        result = result & is_true(pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high)))
    return result


def _spellings(words: tuple[str, ...]) -> list[str]:
    """Return the words, whole numbers also as 1.0: what they become when a table goes through floats."""
    return [*words, *(f"{word}.0" for word in words if re.fullmatch("-?[0-9]+", word))]


def whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text with 1.0 written as 1."""
    return pc.replace_substring_regex(column, r"^(-?[0-9]+)\.0$", r"\1")


def parts(column: pa.ChunkedArray, by: str, part: int) -> pa.ChunkedArray:
    """Return the part-th piece (from 1) of each text, cut at `by`; null where there are fewer."""

    def cut(word: str) -> str | None:
        pieces = word.split(by) if by else word.split()
        return (pieces[part - 1].strip() or None) if part <= len(pieces) else None

    return over_distinct(text(column), cut)


def over_distinct(column: pa.ChunkedArray, function: Callable[[str], Any]) -> pa.ChunkedArray:
    """Return `function` of each text (text or None), worked out once for each distinct one."""
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string())
    found = pa.array([function(word) for word in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([found.take(encoded.indices)])


def ordering(rows: SourceTable, column: str) -> npt.NDArray[Any]:
    """Return values to sort rows by: numbers if all are, else times, else text; absent ones come last."""
    return _sortable(rows[column]) if column else np.arange(len(rows))


def _sortable(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    for kind in ("number", "datetime"):
        found = parse(column, kind)
        if found.bad is None and found.values.null_count == column.null_count:
            values = found.values if kind == "number" else found.values.cast(pa.int64())
            result: npt.NDArray[Any] = pc.fill_null(values.cast(pa.float64()), np.inf).to_numpy()
            return result
    words = text(column).combine_chunks()
    ranks = pc.rank(words, sort_keys="ascending", null_placement="at_end", tiebreaker="dense")
    return np.asarray(ranks).astype(np.float64)


def _next(theirs: Ints, mine: Ints, their_time: npt.NDArray[Any], my_time: npt.NDArray[Any]) -> Ints:
    """Return for each of my rows the first of theirs of the same key after its time; -1 for none.

    Not one of the same time: that is the discharge before a readmission of the same minute.
    """
    if not len(theirs):
        return np.full(len(mine), -1, dtype=np.int64)
    ranks = np.unique(np.concatenate([their_time, my_time]), return_inverse=True)[1]
    width = int(ranks.max(initial=0)) + 1
    keys = theirs * width + ranks[: len(theirs)]
    order = np.argsort(keys, kind="stable")
    found = np.searchsorted(keys[order], mine * width + ranks[len(theirs) :], side="right")
    at = order[np.minimum(found, len(order) - 1)]
    sound = (found < len(order)) & (mine >= 0) & (theirs[at] == mine)
    result: Ints = np.where(sound, at, -1)
    return result
