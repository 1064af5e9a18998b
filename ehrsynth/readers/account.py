"""The account a reader keeps: every row of the source is taken, or set aside for a reason, or stops the reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.readers.part_keys import Refuse
from ehrsynth.readers.report import ReadReport, SetAside
from ehrsynth.readers.source import SourceTable
from ehrsynth.readers.values import EXPECTED, parse, text

__all__ = ["Account", "Known", "is_true", "positions"]

_HINTS = {
    "date": "Write dates as YYYY-MM-DD.",
    "datetime": "Write times as YYYY-MM-DD HH:MM:SS.",
    "number": "Write numbers with a point and without separators.",
    "integer": "Write whole numbers in digits.",
    "boolean": "Write true or false.",
}
_TWICE, _ONE_ROW = "The key {value!r} is there twice.", "A key names one row."
_OR_LENIENT = "Correct the row, or read leniently (--lenient, strict=False) to set such rows aside."

Mask = npt.NDArray[np.bool_]


class Known:
    """The keys of a table that rows may refer to: those taken, and those the source had.

    Parameters
    ----------
    table : str
        Name in the source format.
    taken, source : Arrow arrays of text
        Keys of the rows that were taken, and of all rows of the source.
    """

    def __init__(self, table: str, taken: pa.ChunkedArray, source: pa.ChunkedArray | None = None) -> None:
        self.table = table
        self.taken = taken.combine_chunks()
        self.source = self.taken if source is None else source.combine_chunks()


class Account:
    """Keeps a `ReadReport` while a source is read.

    Parameters
    ----------
    source : Path or Address
        What it is as text goes into the report.
    source_format : str
    strict : bool
        Whether a row that must be refused raises; else it is set aside and counted.
    """

    def __init__(self, source: object, source_format: str, *, strict: bool) -> None:
        self.report = ReadReport(source=str(source), format=source_format)
        self.strict = strict

    def note(self, text: str) -> None:
        """Add a note for the custodian, once."""
        if text not in self.report.notes:
            self.report.notes.append(text)

    def open(self, table: SourceTable) -> SourceTable:
        """Count the rows of a table that was read; lines with too few or too many fields are refused."""
        read = self.report.rows_read
        read[table.name] = read.get(table.name, 0) + len(table) + len(table.ragged)
        if table.ragged:
            row, fields = table.ragged[0]
            problem = f"The row has {fields} fields, the header {len(table.header)}."
            if self.strict:
                raise SourceError(problem, file=table.file, table=table.name, row=row, hint=_OR_LENIENT)
            self._count(
                SetAside(
                    table=table.name,
                    reason="not as many fields as the header",
                    count=len(table.ragged),
                    row=row,
                    example=f"{fields} fields",
                )
            )
        return table

    def close(self, table: SourceTable | str, taken: int | None = None) -> None:
        """Count the rows of a source table that were taken (all that are left in it, by default)."""
        name = table if isinstance(table, str) else table.name
        count = taken if taken is not None else 0 if isinstance(table, str) else len(table)
        self.report.rows_taken[name] = self.report.rows_taken.get(name, 0) + count

    def require_columns(self, table: SourceTable, columns: Iterable[str | tuple[str, ...]]) -> None:
        """Raise unless the table has each column (one of each tuple)."""
        for entry in columns:
            names = (entry,) if isinstance(entry, str) else entry
            if not any(name in table.header for name in names):
                raise SourceError(
                    f"The table has no column {' or '.join(repr(name) for name in names)}.",
                    file=table.file,
                    table=table.name,
                    column=names[0],
                    hint=f"It has: {', '.join(table.header)}.",
                )

    def parse(self, table: SourceTable, kinds: Mapping[str, str]) -> SourceTable:
        """Return the table with the columns of `kinds` (column to type, see `values.parse`) typed.

        A value that cannot be read refuses its row.
        """
        keep = np.ones(len(table), dtype=bool)
        typed = table
        for column, kind in kinds.items():
            if column not in table:
                continue
            parsed = parse(table[column], kind)
            typed = typed.with_column(column, parsed.values)
            if parsed.bad is not None:
                self.refuse(
                    table,
                    parsed.bad & keep,
                    problem=f"{{value!r}} is not {EXPECTED[kind]}.",
                    reason=f"{column} is not {EXPECTED[kind]}",
                    column=column,
                    hint=_HINTS.get(kind, ""),
                )
                keep &= ~parsed.bad
        return typed.keep(keep)

    def refuse(
        self,
        table: SourceTable,
        bad: Mask,
        *,
        problem: str,
        reason: str,
        column: str,
        hint: str = "",
    ) -> SourceTable:
        """Return the table without its bad rows; with `strict`, raise for the first of them.

        Parameters
        ----------
        problem : str
            A sentence for the error; ``{value!r}`` in it becomes the value of `column`.
        reason : str
            The same, for the account of rows set aside.
        """
        if not bad.any():
            return table
        at = int(np.argmax(bad))
        value = table.get(column)[at].as_py()
        if self.strict:
            raise SourceError(
                problem.format(value=value if isinstance(value, str) else str(value)),
                file=table.file,
                table=table.name,
                row=int(table.rows[at]),
                column=column,
                hint=f"{hint} {_OR_LENIENT}".strip(),
            )
        return self.set_aside(table, bad, reason=reason, column=column)

    def set_aside(self, table: SourceTable, mask: Mask, *, reason: str, column: str = "") -> SourceTable:
        """Return the table without the rows of `mask`, which are counted."""
        if not mask.any():
            return table
        self._count(self._entry(table, mask, reason, column))
        return table.keep(~mask)

    def adjust(self, table: SourceTable, mask: Mask, *, what: str, column: str = "") -> None:
        """Count rows that are taken with one value changed or left out."""
        if mask.any():
            self.report.adjusted.append(self._entry(table, mask, what, column))

    def keys(self, table: SourceTable, column: str, *, of: str = "") -> SourceTable:
        """Return the table without rows whose key is empty, or that an earlier row has: these are refused.

        Of a source in parts also an earlier row of another part, see `ehrsynth.readers.part_keys`; `of` says whose keys
        they are, where that is not the table.
        """
        empty = is_true(pc.is_null(table[column]))
        table = self.refuse(
            table, empty, problem="The key is empty.", reason=f"{column} is empty", column=column, hint="Fill it in."
        )
        table = self._once(table, _repeated(table[column]), column)
        if table.keys is None:
            return table
        words, refuse = text(table[column]).combine_chunks(), _said_twice(table, column)
        return self._once(table, table.keys.repeated(of or table.name, table.name, words, table.rows, refuse), column)

    def _once(self, table: SourceTable, repeated: Mask, column: str) -> SourceTable:
        return self.refuse(
            table, repeated, problem=_TWICE, reason=f"{column} is there twice", column=column, hint=_ONE_ROW
        )

    def references(self, table: SourceTable, column: str, known: Known, *, required: bool) -> SourceTable:
        """Return the table without rows whose `column` leads to no row of `known`.

        Rows that lead to a row which was itself set aside are set aside; others are refused as orphans.
        """
        values = table.get(column)
        if required:
            table = self.refuse(
                table,
                is_true(pc.is_null(values)),
                problem="The reference is empty.",
                reason=f"{column} is empty",
                column=column,
                hint=f"Every row needs a row of {known.table}.",
            )
            values = table.get(column)
        lost = is_true(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=known.taken))))
        if not lost.any():
            return table
        had = is_true(pc.is_in(values, value_set=known.source))
        kept = self.set_aside(table, lost & had, reason=f"its row of {known.table} was set aside", column=column)
        orphan = (lost & ~had)[~(lost & had)]
        return self.refuse(
            kept,
            orphan,
            problem=f"{{value!r}} is not in the table {known.table}.",
            reason=f"{column} is not in {known.table}",
            column=column,
            hint=f"Add the row to {known.table}.",
        )

    def _entry(self, table: SourceTable, mask: Mask, reason: str, column: str) -> SetAside:
        at = int(np.argmax(mask))
        value = table[column][at].as_py() if column in table else None
        return SetAside(
            table=table.name,
            reason=reason,
            count=int(mask.sum()),
            row=int(table.rows[at]),
            example="" if value is None else str(value),
            column=column,
        )

    def _count(self, entry: SetAside) -> None:
        self.report.set_aside.append(entry)


def positions(values: pa.ChunkedArray, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return where each value stands among `keys`, -1 for none; shape (n,)."""
    found = pc.index_in(values, value_set=keys if isinstance(keys, pa.Array) else keys.combine_chunks())
    result: npt.NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return result


def is_true(values: pa.ChunkedArray | pa.Array) -> Mask:
    """Return truth values as numpy, null as false; shape (n,)."""
    result: Mask = np.asarray(pc.fill_null(values, False), dtype=bool)
    return result


def _said_twice(table: SourceTable, column: str) -> Refuse:
    file, name = table.file, table.name

    def refuse(row: int, key: str) -> None:
        raise SourceError(
            _TWICE.format(value=key), file=file, table=name, row=row, column=column, hint=f"{_ONE_ROW} {_OR_LENIENT}"
        )

    return refuse


def _repeated(values: pa.ChunkedArray) -> Mask:
    distinct = pc.unique(values)
    if len(distinct) == len(values):
        return np.zeros(len(values), dtype=bool)
    codes = positions(values, distinct)
    first = np.full(len(codes), len(codes), dtype=np.int64)
    order = np.arange(len(codes), dtype=np.int64)
    np.minimum.at(first, codes, order)
    repeated: Mask = first[codes] != order
    return repeated
