"""A folder of source tables: which file holds which table, and its rows with their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrsynth.errors import SourceError
from ehrsynth.readers.delimited import read_delimited
from ehrsynth.readers.dialect import lower_header
from ehrsynth.readers.part_keys import PartKeys

__all__ = [
    "MemoryFolder",
    "SourceFolder",
    "SourceTable",
    "chosen_columns",
    "is_parquet",
    "list_tables",
    "open_source",
    "parquet_errors",
    "parquet_files",
    "plain_column",
    "read_header",
]

_TEXTS = (".csv", ".tsv", ".txt")
_SUFFIXES = (*_TEXTS, *(f"{end}.gz" for end in _TEXTS), *(f"{end}.zst" for end in _TEXTS), ".parquet")


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """Rows of one source table.

    Attributes
    ----------
    name : str
        The table's name in the source format.
    file : str
        Where it was read from.
    columns : pyarrow.Table
        Under lower-case names.
    rows : int64 array, shape (n,)
        Number of each row in the file, from 1.
    header : tuple of str
        All names of the file, lower case, also of columns that were not read.
    ragged : list of (int, int)
        Lines left out: row number and number of fields.
    keys : PartKeys, optional
        Where the keys go of a table of which these rows are a part.
    """

    name: str
    file: str
    columns: pa.Table
    rows: npt.NDArray[np.int64]
    header: tuple[str, ...]
    ragged: list[tuple[int, int]] = field(default_factory=list)
    keys: PartKeys | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: object) -> bool:
        return column in self.columns.column_names

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        return self.columns[column]

    def get(self, column: str, kind: pa.DataType | None = None) -> pa.ChunkedArray:
        """Return a column, or empty values (text unless `kind` says otherwise) where the source has none."""
        if column in self.columns.column_names:
            return self.columns[column]
        return pa.chunked_array([pa.nulls(len(self), kind or pa.string())])

    def keep(self, mask: npt.NDArray[np.bool_]) -> SourceTable:
        """Return the rows where `mask` (shape (n,)) holds."""
        if mask.all():
            return self
        return replace(self, columns=self.columns.filter(pa.array(mask)), rows=self.rows[mask])

    def take(self, positions: npt.NDArray[np.int64]) -> SourceTable:
        """Return the rows at `positions`, in that order."""
        return replace(self, columns=self.columns.take(pa.array(positions)), rows=self.rows[positions])

    def with_column(self, name: str, values: pa.ChunkedArray | pa.Array) -> SourceTable:
        """Return the table with a column replaced or added."""
        if name in self.columns.column_names:
            at = self.columns.column_names.index(name)
            return replace(self, columns=self.columns.set_column(at, name, values))
        return replace(self, columns=self.columns.append_column(name, values))


def list_tables(folder: Path, within: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Return the files of a folder by table name (lower case, without suffixes); empty if there is no such folder.

    Files of the folders `within` it count as if they lay in it.

    A table is a ``.csv``, ``.tsv``, ``.txt`` (each also ``.gz``, ``.zst``) or ``.parquet`` file, or a folder of Parquet
    parts (``person.parquet/part-0.parquet``, ``person/part-0.parquet``) as parallel writers leave them.
    """
    found: dict[str, list[Path]] = {}
    if not folder.is_dir():
        return found
    inner = [path for name in within if (path := folder / name).is_dir()]
    everything = [path for place in (folder, *inner) for path in sorted(place.iterdir(), key=lambda item: item.name)]
    for path in everything:
        if path in inner:
            continue
        lower = path.name.lower()
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            if _parts(path):
                found.setdefault(lower.removesuffix(".parquet"), []).append(path)
            continue
        suffix = max((end for end in _SUFFIXES if lower.endswith(end)), key=len, default=None)
        if suffix:
            found.setdefault(lower.removesuffix(suffix), []).append(path)
    return found


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(".parquet"))


class SourceFolder:
    """A folder with one file a table.

    Parameters
    ----------
    path : Path
    null_values : sequence of str
        What stands for no value in delimited text.
    within : sequence of str
        Folders below it whose tables belong to it.

    Raises
    ------
    SourceError
        There is no such folder, it is a file, or no table is in it.
    """

    def __init__(self, path: Path, *, null_values: Sequence[str] = ("",), within: Sequence[str] = ()) -> None:
        self.path: Any = path
        self.null_values = tuple(null_values)
        if not path.exists():
            raise SourceError("There is no such folder.", file=path, hint="Check the path.")
        if not path.is_dir():
            raise SourceError("This is a file.", file=path, hint="Give the folder that holds the tables.")
        self.files: dict[str, list[Any]] = list_tables(path, within)
        if not self.files:
            below = sorted(child.name for child in path.iterdir() if child.is_dir() and list_tables(child))
            raise SourceError(
                "There is no table in the folder.",
                file=path,
                hint=f"Did you mean its folder {below[0]!r}?"
                if below
                else "It should hold .csv, .csv.gz, .tsv or .parquet files, one a table.",
            )

    facts: Mapping[str, Any] = {}
    """What a reader must know of the whole source where this is a part of it; see `ehrsynth.readers.parting.Cut`."""

    def __contains__(self, table: object) -> bool:
        return table in self.files

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.path.name)

    def beside(self, file: str) -> bytes:
        """Return a file that lies beside the tables; an OSError if there is none."""
        return bytes((self.path / file).read_bytes())

    def matching(self, pattern: str) -> list[str]:
        """Return the names of the tables that match a regular expression as a whole, sorted."""
        return sorted(name for name in self.files if re.fullmatch(pattern, name))

    def require(self, table: str, *, hint: str) -> None:
        """Raise a SourceError if a table is not there."""
        if table not in self.files:
            raise SourceError(
                f"There is no table {table!r}.",
                file=self.path,
                table=table,
                hint=f"{hint} Found: {', '.join(self.files)}.",
            )

    def read(
        self, table: str, *, stem: str | None = None, wanted: Callable[[str], bool] | Collection[str] | None = None
    ) -> SourceTable:
        """Read a table.

        Parameters
        ----------
        table : str
            Its name.
        stem : str, optional
            Name of the file without suffixes, where it is not the table's.
        wanted : callable or collection of str, optional
            Which columns, by lower-case name.

        Raises
        ------
        SourceError
            Two files for one table, or a file that cannot be read.
        """
        chosen = chosen_columns(wanted)
        path = self.only(table, stem=stem)
        if is_parquet(path):
            return _read_parquet(path, table, chosen)
        text = read_delimited(path, table=table, wanted=chosen, null_values=self.null_values)
        return SourceTable(
            name=table, file=str(path), columns=text.columns, rows=text.rows, header=text.header, ragged=text.ragged
        )

    def only(self, table: str, *, stem: str | None = None) -> Path:
        """Return the file of a table (or its folder of parts); a SourceError if there are several."""
        paths: list[Path] = self.files[stem or table]
        if len(paths) > 1:
            raise SourceError(
                f"There are {len(paths)} files for the table: {', '.join(path.name for path in paths)}.",
                file=self.path,
                table=table,
                hint="Leave one of them.",
            )
        return paths[0]


class MemoryFolder(SourceFolder):
    """Tables in memory in the place of a folder; `path` says where they came from."""

    def __init__(self, path: Path, tables: dict[str, SourceTable]) -> None:
        self.path, self.null_values, self._tables = path, ("",), tables
        self.files = {name: [path] for name in tables}

    def read(
        self, table: str, *, stem: str | None = None, wanted: Callable[[str], bool] | Collection[str] | None = None
    ) -> SourceTable:
        """Return a table with the wanted columns."""
        found, chosen = self._tables[stem or table], chosen_columns(wanted)
        return replace(found, columns=found.columns.select([name for name in found.header if chosen(name)]))


def open_source(
    source: Path | str | SourceFolder, *, null_values: Sequence[str] = ("",), within: Sequence[str] = ()
) -> SourceFolder:
    """Return the tables of a folder (and of the folders `within` it), or of a database by its URL, or as they are.

    Raises
    ------
    SourceError
        There is no such folder or database, or no table in it.
    """
    from ehrsynth.readers.database import SourceDatabase, is_database

    if isinstance(source, SourceFolder):
        return source
    if is_database(source):
        return SourceDatabase(str(source), null_values=null_values)
    return SourceFolder(Path(source), null_values=null_values, within=within)


def chosen_columns(wanted: Callable[[str], bool] | Collection[str] | None) -> Callable[[str], bool]:
    """Return whether a column is wanted, by its lower-case name; None wants all."""
    if wanted is None:
        return lambda name: True
    return wanted if callable(wanted) else frozenset(wanted).__contains__


def _read_parquet(path: Path, table: str, wanted: Callable[[str], bool]) -> SourceTable:
    parts: list[pa.Table] = []
    header: tuple[str, ...] = ()
    for part in parquet_files(path):
        with parquet_errors(part, table):
            file = pq.ParquetFile(part)
            names = file.schema_arrow.names
            header = lower_header(names, file=part, table=table)
            chosen = [name for name, lower in zip(names, header, strict=True) if wanted(lower)]
            rows = file.read(columns=chosen)
            # A table without columns forgets its length.
            rows = rows if chosen else pa.table({"": pa.nulls(file.metadata.num_rows)})
        lower_names = [name.strip().lower() for name in rows.column_names]
        parts.append(pa.table([plain_column(column) for column in rows.columns], names=lower_names))
    try:
        columns = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise SourceError(
            f"The parts of the table do not agree: {error}.", file=path, table=table, hint="Export it again."
        ) from None
    return SourceTable(
        name=table,
        file=str(path),
        columns=columns.drop_columns([""]) if "" in columns.column_names else columns,
        rows=np.arange(1, columns.num_rows + 1, dtype=np.int64),
        header=header,
    )


def is_parquet(path: Path) -> bool:
    """Whether a table lies in a Parquet file, or in a folder of its parts."""
    return path.is_dir() or path.name.lower().endswith(".parquet")


@contextmanager
def parquet_errors(path: Path, table: str | None = None) -> Iterator[None]:
    """Say in a sentence that a Parquet file cannot be read.

    Raises
    ------
    SourceError
        What is done meanwhile failed in the system or in Arrow.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"The Parquet file cannot be read: {error}.", file=path, table=table, hint="Export it again."
        ) from None


def parquet_files(path: Path) -> list[Path]:
    """Return the files of a Parquet table: itself, or the parts in its folder."""
    return _parts(path) if path.is_dir() else [path]


def read_header(path: Path, table: str) -> tuple[str, ...]:
    """Return the lower-case names of the columns of a Parquet file."""
    with parquet_errors(path, table):
        return lower_header(pq.read_schema(path).names, file=path, table=table)


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo what writers do to text: dictionaries, large offsets, views; pandas' floats for integers with gaps."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind) and pc.all(pc.equal(pc.floor(column), column)).as_py():
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            return column
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    return column
