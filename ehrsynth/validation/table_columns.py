"""Conformance of a table's columns: presence, types, required values, enumerations, patterns, ranges, codes, units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import terminology
from ehrsynth.schema import Column, TableSchema
from ehrsynth.terminology import ucum
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.identifiers import valid_npis
from ehrsynth.validation.table_files import Batch
from ehrsynth.validation.table_values import Typed, typed

__all__ = ["ColumnCheck"]

Mask = npt.NDArray[np.bool_]


class ColumnCheck:
    """Checks the batches of one table, column by column, and gives them back in the schema's types."""

    def __init__(self, table: TableSchema, findings: Findings) -> None:
        self.table, self.findings = table, findings
        self.cells = 0
        self.codes = 0
        self.units = 0
        self._headers: set[str] = set()
        self._coded = _coded_columns(table)

    def check(self, batch: Batch) -> dict[str, pa.Array]:
        """Check a batch; return the schema's columns, empty ones for those that are not there."""
        self._check_header(batch)
        values: dict[str, pa.Array] = {}
        for column in self.table.columns:
            raw = batch.columns.get(column.name)
            if raw is None:
                values[column.name] = typed(pa.nulls(len(batch.rows), pa.string()), column.type).values
                continue
            self.cells += len(raw)
            found = typed(raw, column.type)
            values[column.name] = found.values
            self._check_column(column, found, raw, batch)
        self._check_codes(values, batch)
        return values

    def _check_header(self, batch: Batch) -> None:
        if batch.file in self._headers:
            return
        self._headers.add(batch.file)
        for column in self.table.columns:
            if column.required and column.name not in batch.columns:
                self.findings.add("missing-column", f"{self.table.name}.{column.name}", batch.file)
        for name in batch.columns:
            if name not in self.table:
                self.findings.add("unknown-column", f"{self.table.name}.{name}", batch.file)

    def _check_column(self, column: Column, found: Typed, raw: pa.Array, batch: Batch) -> None:
        if found.stored_as and len(raw) > raw.null_count:
            stored = f"It is to be {column.type}, stored as {found.stored_as}."
            self._add("wrong-type", column, _mask(pc.is_valid(raw)), raw, batch, stored)
        self._add("wrong-type", column, found.wrong, raw, batch, f"It is to be {_ARTICLES[column.type]}.")
        if column.required:
            self._add("empty-required", column, _mask(pc.is_null(raw)), raw, batch)
        values = found.values
        if column.type == "string":
            self._check_text(column, values, batch)
        if column.minimum is not None or column.maximum is not None:
            self._check_range(column, values, raw, batch)

    def _check_text(self, column: Column, values: pa.Array, batch: Batch) -> None:
        distinct = values.dictionary_encode()
        words, present = distinct.dictionary, _mask(pc.is_valid(values))
        if column.enum:
            allowed = pc.is_in(words, value_set=pa.array(column.enum, type=pa.string()))
            detail = f"Allowed: {', '.join(column.enum)}."
            self._add("not-in-enumeration", column, present & ~_spread(allowed, distinct), values, batch, detail)
        if column.pattern:
            # Patterns of Table Schema are matched from start to end.
            fits = pc.match_substring_regex(words, f"^(?:{column.pattern})$")
            wrong = present & ~_spread(fits, distinct)
            self._add("pattern-mismatch", column, wrong, values, batch, f"Pattern: {column.pattern}")
        if column.name.endswith("_id"):
            floats = pc.match_substring_regex(words, r"^-?\d+\.0+$")
            self._add("float-identifier", column, present & _spread(floats, distinct), values, batch)
        if column.name == "npi":
            self._add("npi-check-digit", column, ~_mask(valid_npis(values)), values, batch)
        if column.code_system == terminology.UCUM:
            self.units += int(present.sum())
            fits = pa.array([ucum.is_valid(word) for word in words.to_pylist()], type=pa.bool_())
            self._add("not-ucum", column, present & ~_spread(fits, distinct), values, batch)

    def _check_range(self, column: Column, values: pa.Array, raw: pa.Array, batch: Batch) -> None:
        wrong = np.zeros(len(values), dtype=bool)
        if column.minimum is not None:
            wrong |= _mask(pc.less(values, pa.scalar(column.minimum).cast(values.type)))
        if column.maximum is not None:
            wrong |= _mask(pc.greater(values, pa.scalar(column.maximum).cast(values.type)))
        low = "" if column.minimum is None else f"at least {column.minimum:g}"
        high = "" if column.maximum is None else f"at most {column.maximum:g}"
        detail = f"It is to be {' and '.join(part for part in (low, high) if part)}."
        self._add("out-of-range", column, wrong, raw, batch, detail)

    def _check_codes(self, values: Mapping[str, pa.Array], batch: Batch) -> None:
        """Codes that their system, which is shipped whole, does not have."""
        for name, system_column, system in self._coded:
            codes = values[name]
            if codes.null_count == len(codes):
                continue
            if system:
                if not self.table[name].enum:  # else the schema itself says which codes there are
                    told = pc.invert(pc.is_in(codes, value_set=_NULL_FLAVORS))
                    self._check_system(name, system, _mask(pc.is_valid(codes)) & _mask(told), codes, batch)
                continue
            systems = values[system_column].dictionary_encode()
            for at, uri in enumerate(systems.dictionary.to_pylist()):
                rows = _mask(pc.equal(systems.indices, at)) & _mask(pc.is_valid(codes))
                self._check_system(name, uri, rows, codes, batch)

    def _check_system(self, name: str, system: str, rows: Mask, codes: pa.Array, batch: Batch) -> None:
        distinct = codes.dictionary_encode()
        known = terminology.known(system, distinct.dictionary.to_pylist())
        if known is None:
            return
        self.codes += int(rows.sum())
        wrong = rows & ~_spread(pa.array(known), distinct)
        self._add("unknown-code", self.table[name], wrong, codes, batch, f"System: {system}.")

    def _add(self, check: str, column: Column, wrong: Mask, values: pa.Array, batch: Batch, detail: str = "") -> None:
        count = int(np.count_nonzero(wrong))
        if count:
            at = int(np.argmax(wrong))
            value = values[at].as_py()
            example = f"{batch.file} row {batch.rows[at]}" + ("" if value is None else f": {str(value)[:80]!r}")
            self.findings.add(check, f"{self.table.name}.{column.name}", example, count=count, detail=detail)


# HL7 v3 NullFlavor: what any coded column may hold instead of a code of its system.
_NULL_FLAVORS = pa.array(["ASKU", "MSK", "NA", "NASK", "NAV", "NI", "OTH", "UNK"])

_ARTICLES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date, YYYY-MM-DD",
    "datetime": "a time, YYYY-MM-DDThh:mm:ssZ",
}


def _coded_columns(table: TableSchema) -> list[tuple[str, str, str]]:
    """The columns with codes: name, the column that says the system, or the system of the whole column."""
    found = []
    for column in table.columns:
        system_column = "code_system" if column.name == "code" else column.name.removesuffix("_code") + "_system"
        if column.code_system and column.code_system != terminology.UCUM:
            found.append((column.name, "", column.code_system))
        elif column.name.endswith("code") and system_column in table:
            found.append((column.name, system_column, ""))
    return found


def _mask(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask.astype(bool)


def _spread(answers: pa.Array, distinct: pa.DictionaryArray) -> Mask:
    """Answers about distinct values, given to every row; False where there is no value."""
    return _mask(answers.take(distinct.indices))
