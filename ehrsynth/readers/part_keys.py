"""Keys of a source that is read in parts: those that rows of two parts share are found on disk, not in memory.

Each part leaves the keys of each of its tables in a file, sorted by a hash. The files are then read side by side, a
slice of the hashes at a time, and equal keys of two parts are found in it: memory is that of a slice, however many
there are (partitioning by hash; Knuth 1998, The Art of Computer Programming, volume 3, 6.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["KeyFiles", "PartKeys", "Refuse", "hashes"]

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Refuse = Callable[[int, str], None]
"""Says of a row and its key that the key is there twice, as whoever reads the source at once says it."""

_SLICE_ROWS = 400_000
"""Keys that are looked at together: some 40 MB."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, as multipliers of hashes are; the digits of the golden ratio."""

_BLOCK = 8192
_ROW_BITS = 56
"""Of the number of a row; the bits before it say which origin it has."""


@dataclass(frozen=True, kw_only=True)
class _File:
    part: int
    path: Path
    refuse: Refuse


class KeyFiles:
    """The keys of all parts, in files of a folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, list[_File]] = {}
        self._origins: dict[str, dict[str, int]] = {}
        self._again: dict[tuple[str, int], tuple[Ints, Words]] = {}

    def of(self, part: int) -> PartKeys:
        """Return the place of a part's keys."""
        return PartKeys(self, part)

    def place(self, table: str, origin: str, rows: Ints) -> Ints:
        """Return numbers of rows that go on from origin to origin, as they first came."""
        origins = self._origins.setdefault(table, {})
        return rows + (origins.setdefault(origin, len(origins)) << _ROW_BITS)

    def put(self, part: int, table: str, keys: pa.Array, rows: Ints, refuse: Refuse) -> None:
        """Write the keys of a table of a part."""
        files = self._tables.setdefault(table, [])
        digest = hashes(keys)
        order = np.argsort(digest)
        path = self._folder / f"keys-{list(self._tables).index(table)}-{len(files)}.arrow"
        columns = pa.table({"hash": digest[order], "row": rows[order], "key": keys.take(pa.array(order))})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns.schema) as writer:
            writer.write_table(columns)
        files.append(_File(part=part, path=path, refuse=refuse))

    def again(self, part: int, table: str) -> tuple[Ints, Words] | None:
        """Return the rows of a part whose key an earlier row of another part has, and these keys' hashes."""
        return self._again.get((table, part))

    def find(self, *, strict: bool) -> list[int]:
        """Find the keys that rows of two parts share; return the parts that are to be read again without such rows.

        Parameters
        ----------
        strict : bool
            Raise for the first of them.

        Raises
        ------
        SourceError
            As whoever reads the source at once raises it.
        """
        parts: set[int] = set()
        for name, files in self._tables.items():
            slices = list(_shared(files))
            if not slices:
                continue
            which, row, digest = (np.concatenate([one[k] for one in slices]) for k in range(3))
            if strict:
                first = min(slices, key=lambda one: int(one[1].min()))
                at = int(first[1].argmin())
                files[int(first[0][at])].refuse(int(first[1][at]) & ((1 << _ROW_BITS) - 1), first[3][at])
            part = np.array([file.part for file in files])[which]
            for number in np.unique(part).tolist():
                mine = part == number
                self._again[name, number] = row[mine], digest[mine]
                parts.add(number)
        return sorted(parts)

    def forget(self) -> None:
        """Remove the files."""
        for files in self._tables.values():
            for file in files:
                file.path.unlink(missing_ok=True)
            files.clear()


@dataclass(frozen=True)
class PartKeys:
    """Where a reader leaves the keys of the part that it reads."""

    files: KeyFiles
    part: int

    def repeated(self, table: str, origin: str, keys: pa.Array, rows: Ints, refuse: Refuse) -> npt.NDArray[np.bool_]:
        """Return which rows have a key that an earlier row of another part has, as far as that is known by now.

        Parameters
        ----------
        table : str
            Whose keys they are.
        origin : str
            Where the rows come from; of two origins the one that came first has the earlier rows.
        keys : pyarrow.Array of text
            None of them empty.
        rows : int64[n]
            Numbers of the rows in their origin.
        refuse : callable
        """
        rows, known = self.files.place(table, origin, rows), self.files.again(self.part, table)
        if known is not None:
            return np.isin(rows, known[0]) & np.isin(hashes(keys), known[1])
        if len(rows):
            self.files.put(self.part, table, keys, rows, refuse)
        return np.zeros(len(rows), dtype=bool)


def hashes(keys: pa.Array) -> Words:
    """Return a number of each text, uint64[n]: the sum of its bytes times powers of a constant, mixed.

    Whether texts are equal is for the texts to say; the number says which to compare.
    """
    # A byte takes some forty while it is looked at.
    parts = [_hashes(keys.slice(start, _BLOCK)) for start in range(0, len(keys), _BLOCK)]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def _hashes(keys: pa.Array) -> Words:
    offsets = np.frombuffer(keys.buffers()[1], np.int32)[keys.offset : keys.offset + len(keys) + 1].astype(np.int64)
    first, length = offsets[:-1] - offsets[0], np.diff(offsets)
    running = np.zeros(int(offsets[-1] - offsets[0]) + 1, dtype=np.uint64)
    if len(running) > 1:
        data = np.frombuffer(keys.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        power = np.full(int(length.max()), _FACTOR, dtype=np.uint64)
        power[0] = 1
        power = np.multiply.accumulate(power)
        at = np.arange(len(data)) - np.repeat(first, length)
        np.cumsum((data + np.uint64(1)) * power[at], out=running[1:])
    total = running[first + length] - running[first]
    total = (total ^ (total >> np.uint64(32))) * _FACTOR
    result: Words = total ^ (total >> np.uint64(29))
    return result


def _shared(files: list[_File]) -> Iterator[tuple[Ints, Ints, Words, list[str]]]:
    """Yield, slice by slice, (file, row, hash, key) of the rows whose key an earlier row has."""
    tables = [pa.ipc.open_file(pa.memory_map(str(file.path))).read_all() for file in files]
    digest = [table["hash"].combine_chunks().to_numpy() for table in tables]
    n_slices = max(1, -(-sum(map(len, digest)) // _SLICE_ROWS))
    edges = np.array([(i << 64) // n_slices for i in range(1, n_slices)], dtype=np.uint64)
    bounds = [np.concatenate(([0], np.searchsorted(some, edges), [len(some)])).astype(np.int64) for some in digest]
    for i in range(n_slices):
        spans = [(int(bound[i]), int(bound[i + 1])) for bound in bounds]
        number = np.concatenate([some[start:stop] for some, (start, stop) in zip(digest, spans, strict=True)])
        order = np.argsort(number, kind="stable")
        same = number[order[1:]] == number[order[:-1]]
        if not same.any():
            continue
        alike = np.sort(order[np.append(same, False) | np.insert(same, 0, False)])
        which = np.repeat(np.arange(len(files)), [stop - start for start, stop in spans])[alike]
        slices = [table.slice(start, stop - start) for table, (start, stop) in zip(tables, spans, strict=True)]
        chosen = pa.concat_tables(slices).take(pa.array(alike))
        row, keys = chosen["row"].to_numpy(), chosen["key"].combine_chunks()
        code = keys.dictionary_encode().indices.to_numpy()
        first = np.full(int(code.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, code, row)
        again = np.flatnonzero(row != first[code])
        if len(again):
            yield which[again], row[again], number[alike[again]], keys.take(pa.array(again)).to_pylist()
