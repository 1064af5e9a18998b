"""A source cut into parts of its patients, once: each part is then read like a source of its own.

Rows of tables that name a patient go to the part of that patient; rows that name nobody known go with the first, whose
reader says what is wrong with them. Other tables (places, vocabularies) belong to every part. Files keep their names,
rows their numbers, so an error says where it is in the source itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.part_keys import KeyFiles, PartKeys, hashes
from ehrsynth.readers.source import SourceFolder, SourceTable, chosen_columns
from ehrsynth.readers.streaming import Pieces, rows_about, settled, stream
from ehrsynth.readers.values import text

__all__ = ["HELD_BYTES", "Cut", "Numbers", "PartFolder", "keys_of", "part_bounds", "patients_of", "rows_of", "split"]

_ROW = "\0row"
HELD_BYTES = 16 << 20
"""What is held before it goes to the parts: written row by row, files would be many small pieces."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a source falls into patients; what readers say that can read a part.

    Attributes
    ----------
    folder : SourceFolder
    patients : callable
        Gives their keys in pieces, each a pyarrow.Array of text, in the order in which the reader has them; a key may
        come again.
    keys : mapping of table to column
        The tables that fall into parts (under the names of `folder`), and their column with the patient's key.
    once : frozenset of str
        Tables, as the account calls them, that every part has.
    streams : callable, optional
        Gives a table in pieces; default `ehrsynth.readers.streaming.stream`.
    rows : callable, optional
        Gives about how many rows the tables have that fall into parts; default `ehrsynth.readers.streaming.rows_about`.
    facts : callable, optional
        Gives what the reader must know of the whole source to read a part (`SourceFolder.facts`).
    """

    folder: SourceFolder
    patients: Callable[[], Iterable[pa.Array]]
    keys: Mapping[str, str]
    once: frozenset[str] = frozenset()
    streams: Callable[[str], Pieces] | None = None
    rows: Callable[[], int] | None = None
    facts: Callable[[], Mapping[str, Any]] | None = None

    def about(self) -> int:
        """Return about how many rows the tables have that fall into parts."""
        return rows_of(self)

    def split(self, into: Path, of: int, keys: KeyFiles | None = None, *, strict: bool = True) -> list[PartFolder]:
        """Return the parts, see `split`; the readers of the parts say what is wrong, strictly or not."""
        return split(self, into, of, keys)


def keys_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the keys of patients as text that is the same in tables that write them in other ways: 7, 7.0, ' 7'."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.string())
    words = pc.utf8_trim_whitespace(text(column))
    return pc.replace_substring_regex(words, r"^(-?[0-9]+)\.0$", r"\1")


def patients_of(folder: SourceFolder, table: str, key: str) -> Iterator[pa.Array]:
    """Yield the column of a table that names the patients, as `keys_of`; nothing where there is no such column."""
    for columns, _ in stream(folder, table).pieces:
        if key in columns.column_names:
            yield from keys_of(columns[key]).chunks


class Numbers:
    """Patients numbered from 0 in the order in which their keys first come: twelve bytes each, and no text.

    Keys are known by their hash. Two patients with the same one (of a million with a chance of 1 in 30 million) have
    one number: they are in the same part, and there told apart by their keys.

    Parameters
    ----------
    keys : iterable of pyarrow.Array of text
    """

    def __init__(self, keys: Iterable[pa.Array]) -> None:
        digest = [np.zeros(0, dtype=np.uint64), *(hashes(piece.drop_null()) for piece in keys)]
        self._known, first = np.unique(np.concatenate(digest), return_index=True)
        self._number = np.empty(len(first), dtype=np.int32)
        self._number[np.argsort(first)] = np.arange(len(first))

    def __len__(self) -> int:
        return len(self._known)

    def find(self, keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return the number of each key's patient, -1 of one that is nobody's."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self):
            return found
        asked = np.concatenate([np.zeros(0, dtype=np.uint64), *(hashes(piece) for piece in keys.chunks)])
        at = np.minimum(np.searchsorted(self._known, asked), len(self) - 1)
        there = (self._known[at] == asked) & keys.is_valid().to_numpy()
        found[there] = self._number[at[there]]
        return found


def rows_of(cut: Cut) -> int:
    """Return about how many rows the tables have that fall into parts."""
    return cut.rows() if cut.rows is not None else sum(rows_about(cut.folder, table) for table in cut.keys)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What the parts of a table share; `ragged` lines are the first part's."""

    file: str
    header: tuple[str, ...]
    ragged: list[tuple[int, int]]
    whole_numbers: dict[str, bool]
    empty: pa.Table


class PartFolder(SourceFolder):
    """The tables of a part in the place of a source.

    Attributes
    ----------
    number : int
    keys : PartKeys or None
    """

    def __init__(
        self,
        cut: Cut,
        into: Path,
        number: int,
        told: Mapping[str, _Told],
        facts: Mapping[str, Any],
        keys: PartKeys | None,
    ) -> None:
        self._origin, self._into, self._told, self._keys = cut.folder, into, told, cut.keys
        self.path, self.null_values, self.files = cut.folder.path, cut.folder.null_values, cut.folder.files
        self.facts, self.number, self.keys = facts, number, keys

    @property
    def name(self) -> str:
        """What people call the source."""
        return self._origin.name

    def beside(self, file: str) -> bytes:
        """Return a file beside the tables of the source."""
        return self._origin.beside(file)

    def read(
        self, table: str, *, stem: str | None = None, wanted: Callable[[str], bool] | Collection[str] | None = None
    ) -> SourceTable:
        """Read a table; see `SourceFolder.read`."""
        own = stem or table
        if own not in self._keys:
            return self._origin.read(table, stem=stem, wanted=wanted)
        told, path = self._told[own], _place(self._into, own, self.number)
        rows = told.empty
        if path.exists():
            with pa.OSFile(str(path)) as file:
                rows = pa.ipc.open_stream(file).read_all()
        chosen = chosen_columns(wanted)
        return SourceTable(
            name=table,
            file=told.file,
            columns=settled(rows.select([name for name in told.header if chosen(name)]), told.whole_numbers),
            rows=rows[_ROW].to_numpy(),
            header=told.header,
            ragged=told.ragged if self.number == 0 else [],
            keys=self.keys,
        )

    def forget(self) -> None:
        """Remove what was written of this part."""
        for table in self._keys:
            _place(self._into, table, self.number).unlink(missing_ok=True)


def _place(into: Path, table: str, number: int) -> Path:
    return into / f"{table.replace('/', '_')}-{number}.arrow"


def split(cut: Cut, into: Path, of: int, keys: KeyFiles | None = None) -> list[PartFolder]:
    """Write the tables of patients in `of` parts of consecutive patients to the folder `into`; give the parts.

    Readers leave the keys of the parts that they read in `keys`.

    Raises
    ------
    SourceError
        A table cannot be read.
    """
    patients = Numbers(cut.patients())
    facts = cut.facts() if cut.facts is not None else {}
    told = {}
    for table, key in cut.keys.items():
        pieces = cut.streams(table) if cut.streams is not None else stream(cut.folder, table)
        told[table] = _distribute(pieces, table, key, patients, into, of)
    return [
        PartFolder(cut, into, number, told, facts, None if keys is None else keys.of(number)) for number in range(of)
    ]


def _distribute(pieces: Pieces, table: str, key: str, patients: Numbers, into: Path, of: int) -> _Told:
    empty: pa.Table | None = None
    held: list[pa.Table] = []
    size = 0
    with ExitStack() as stack:
        writers: dict[int, Any] = {}

        def send() -> None:
            for number, rows in _shares(pa.concat_tables(held), key, patients, of):
                if number not in writers:
                    sink = stack.enter_context(pa.OSFile(str(_place(into, table, number)), "wb"))
                    options = pa.ipc.IpcWriteOptions(compression="lz4")
                    writers[number] = stack.enter_context(pa.ipc.new_stream(sink, rows.schema, options=options))
                writers[number].write_table(rows)
            held.clear()

        for columns, rows in pieces.pieces:
            piece = columns.append_column(_ROW, pa.array(rows))
            empty = piece.slice(0, 0) if empty is None else empty
            if len(piece):
                held.append(piece)
                size += piece.nbytes
            if size > HELD_BYTES:
                send()
                size = 0
        if held:
            send()
    if empty is None:
        empty = pa.table({name: pa.array([], pa.string()) for name in pieces.header} | {_ROW: pa.array([], pa.int64())})
    return _Told(
        file=pieces.file,
        header=pieces.header,
        ragged=pieces.ragged,
        whole_numbers=pieces.whole_numbers,
        empty=empty,
    )


def _shares(rows: pa.Table, key: str, patients: Numbers, of: int) -> list[tuple[int, pa.Table]]:
    """Return the rows of each part that has some."""
    if key in rows.column_names:
        at = np.maximum(patients.find(keys_of(rows[key])), 0)
    else:
        # The reader says that the column is not there.
        at = np.zeros(len(rows), dtype=np.int64)
    bounds = part_bounds(len(patients), of)
    part = np.searchsorted(bounds, at, side="right") - 1
    if (np.diff(part) < 0).any():
        order = np.argsort(part, kind="stable")
        rows, part = rows.take(pa.array(order)), part[order]
    numbers, first = np.unique(part, return_index=True)
    stops = np.append(first[1:], len(part))
    return [
        (number, rows.slice(start, stop - start))
        for number, start, stop in zip(numbers.tolist(), first.tolist(), stops.tolist(), strict=True)
    ]


def part_bounds(n: int, of: int) -> npt.NDArray[np.int64]:
    """Return the first patient of each of `of` parts of about as many of `n` patients."""
    result: npt.NDArray[np.int64] = np.arange(of, dtype=np.int64) * n // of
    return result
