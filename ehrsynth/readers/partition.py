"""A part of the patients of a folder of Parquet tables: what a task of a cluster reads, and no other rows.

Rows of tables that name a patient are taken if he is one of the part; other tables (places, vocabularies) are taken
whole. Row groups whose statistics say that nobody of the part is in them are not read: so files sorted by patient, as
ours are, are read once in all.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrsynth import storage
from ehrsynth.errors import SourceError
from ehrsynth.readers.database import is_database
from ehrsynth.readers.source import plain_column

__all__ = ["count_patients", "is_partitionable", "layout_of", "take_part"]

_KEYS = {"patient": "patient_id", "person": "person_id"}
"""The table of the patients, and the column by which all tables name them."""


def is_partitionable(source: str | Path) -> bool:
    """Whether the source is a folder, also at a URL, whose tables of patients are Parquet."""
    if is_database(source):
        return False
    names = {Path(name).name.lower() for name in _Folder(source).names()}
    return sum(f"{table}.parquet" in names for table in _KEYS) == 1 and not any(
        name.split(".")[-1] in ("gz", "zst", "csv", "tsv") for name in names
    )


def layout_of(source: str | Path) -> str:
    """Return the name of the reader: ``tables`` for the canonical tables, ``omop``."""
    return "omop" if _people(_Folder(source))[1] == "person_id" else "tables"


def count_patients(source: str | Path) -> int:
    """Return the rows of the table of patients."""
    folder = _Folder(source)
    with folder.open(_people(folder)[0]) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def _people(folder: _Folder) -> tuple[str, str]:
    """Return the file of the patients and the column by which all tables name them."""
    names = [name for name in folder.names() if Path(name).name.lower() in [f"{table}.parquet" for table in _KEYS]]
    if len(names) != 1:
        raise SourceError(
            f"There are {len(names)} files of patients; parts are taken of one.",
            file=folder.path(""),
            hint="Name a folder with one patient.parquet or person.parquet.",
        )
    return names[0], _KEYS[Path(names[0]).name.lower().removesuffix(".parquet")]


def take_part(source: str | Path, into: Path, number: int, of: int) -> None:
    """Write the rows of a part of the patients as a folder of the same tables.

    Patients are cut into `of` parts of consecutive rows of the table of patients. Rows that name nobody in that table
    go with the first part: the reader says what is wrong with them.

    Parameters
    ----------
    source : path or URL
        See `is_partitionable`.
    into : Path
        An empty folder.
    number : int
        Which part, from 0.
    of : int

    Raises
    ------
    SourceError
        A table cannot be read.
    """
    folder = _Folder(source)
    names = folder.names()
    people, key = _people(folder)
    with folder.open(people) as file:
        column = pq.ParquetFile(file).schema_arrow.names
        own = next((name for name in column if name.lower() == key), None)
        if own is None:
            raise SourceError(f"There is no column {key!r}.", file=folder.path(people), table=key.removesuffix("_id"))
        file.seek(0)
        everybody = pc.unique(plain_column(pq.read_table(file, columns=[own])[own]))
    n = len(everybody)
    mine = everybody.slice(n * number // of, n * (number + 1) // of - n * number // of)
    for name in names:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder.open(name) as file:
            if name.lower().endswith(".parquet"):
                try:
                    _take_rows(file, target, key, mine, everybody if number == 0 else None)
                except pa.ArrowException as error:
                    raise SourceError(
                        f"The Parquet file cannot be read: {error}.", file=folder.path(name), hint="Export it again."
                    ) from None
            else:
                target.write_bytes(file.read())


def _take_rows(file: Any, target: Path, key: str, mine: pa.Array, everybody: pa.Array | None) -> None:
    table = pq.ParquetFile(file)
    column = next((name for name in table.schema_arrow.names if name.lower() == key), None)
    if column is None:
        pq.write_table(table.read(), target)
        return
    low, high = (pc.min_max(mine)[side].as_py() for side in ("min", "max"))
    at = table.schema_arrow.names.index(column)
    with pq.ParquetWriter(target, table.schema_arrow) as writer:
        for group in range(table.num_row_groups):
            chunk = table.metadata.row_group(group).column(at)
            told = chunk.statistics
            if (
                everybody is None
                and table.schema_arrow.field(column).type == mine.type
                and told is not None
                and told.has_min_max
                and low is not None
                and (told.max < low or told.min > high)
            ):
                continue
            rows = table.read_row_group(group)
            named = _alike(plain_column(rows[column]), mine.type)
            wanted = pc.is_in(named, value_set=_alike(mine, named.type))
            if everybody is not None:
                known = pc.is_in(named, value_set=_alike(everybody, named.type))
                wanted = pc.or_(wanted, pc.invert(known))
            writer.write_table(rows.filter(wanted))


def _alike(keys: Any, kind: pa.DataType) -> Any:
    """Return keys as they are, or as text if of another type: one file has numbers, another text or nothing."""
    return keys if keys.type == kind else keys.cast(pa.string())


class _Folder:
    """The files of a folder, on a disk or in a store."""

    def __init__(self, source: str | Path) -> None:
        import fsspec

        url = storage.as_url(source)
        if url is None:
            self._system, self._root = fsspec.filesystem("file"), str(storage.local_path(source).absolute())
        else:
            self._system, self._root = fsspec.core.url_to_fs(url)
        self._root = self._root.rstrip("/")

    def names(self) -> list[str]:
        """Return the files below the folder, sorted; those of hidden files and folders are left out."""
        if not self._system.isdir(self._root):
            return []
        prefix = self._root.strip("/")
        names = [name.strip("/").removeprefix(prefix).strip("/") for name in self._system.find(self._root)]
        return sorted(name for name in names if not any(part[:1] in "._" for part in name.split("/")))

    def path(self, name: str) -> str:
        """Return where a file is."""
        return posixpath.join(self._root, name)

    def open(self, name: str) -> Any:
        """Open a file."""
        return self._system.open(self.path(name), "rb")
