"""The canonical tables as Parquet: one file a table, one row group a block, whoever wrote the block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.exporters.parquet_columns import MOST_ROWS, written
from ehrsynth.exporters.parquet_footer import MAGIC, footer, frame, row_group, unpack
from ehrsynth.exporters.part import STAGED, ExportSummary, Part
from ehrsynth.exporters.tables import package_document
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, clinical

__all__ = ["CODECS", "ParquetExporter", "finished", "table_parts"]

CODECS = ("snappy", "zstd", "gzip")
MEGABYTE = 1_000_000


class ParquetExporter:
    """Writes ``<table>.parquet`` and ``datapackage.json``.

    Texts are plain strings (no categories of one library), times are in milliseconds, without a zone and UTC by
    definition of the schema: a zone would let every tool show the midnights of days in the local one. A block is a row
    group; their footers are made one at the end, so there are as many files as tables for any population.

    Parameters
    ----------
    compress : str, optional
        ``snappy`` (if left out), ``zstd`` or ``gzip``, inside the files.
    split_mb : int, optional
        Largest size of a file in millions of bytes: a table is then a folder of parts
        (``observation/part.000.parquet``), as engines that read in parallel have it.
    """

    name = "parquet"
    options = ("compress", "split_mb")

    def __init__(self, *, compress: str | None = None, split_mb: int | None = None) -> None:
        if compress is not None and compress not in CODECS:
            raise UsageError(f"Parquet cannot be packed with {compress!r}.", hint=f"Known: {', '.join(CODECS)}.")
        if split_mb is not None and split_mb < 1:
            raise UsageError(f"Files cannot be split at {split_mb} MB.", hint="Use 1 or more.")
        self.compress = compress or "snappy"
        self.split_at = 0 if split_mb is None else split_mb * MEGABYTE

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the rows of the shared tables."""
        for table in shared.schema.tables:
            rows = shared[table.name] if table.shared else shared[table.name].slice(0, 0)
            yield from table_parts(table, rows, self._path(table), self.compress, self.split_at, begin=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the row groups of a block of patients."""
        for table in block.schema.tables:
            if not table.shared:
                path = self._path(table)
                yield from table_parts(table, block[table.name], path, self.compress, self.split_at)

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part]:
        """Yield the footers."""
        for table in clinical().tables:
            yield from finished(table, self._path(table), folder, summary)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``datapackage.json``."""
        resources = {}
        for table in clinical().tables:
            files = [path for path in summary.files if _table_of(path) == table.name]
            if files:
                resources[table.name] = _resource(table, files, summary)
        document = package_document(summary, resources)
        yield Part("datapackage.json", orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")

    def _path(self, table: TableSchema) -> str:
        return f"{table.name}/part.parquet" if self.split_at else f"{table.name}.parquet"


def _table_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".parquet")


def _resource(table: TableSchema, files: list[str], summary: ExportSummary) -> dict[str, Any]:
    stated: dict[str, Any] = {"path": files[0] if len(files) == 1 else files}
    if len(files) == 1:
        entry = summary.files[files[0]]
        stated |= {"bytes": entry["bytes"], "hash": f"sha256:{entry['sha256']}"}
    return {
        **stated,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "description": table.description,
        "rowCount": sum(summary.files[path]["rows"] for path in files),
    }


def table_parts(
    table: TableSchema, rows: pa.Table, path: str, codec: str, split_at: int = 0, *, begin: bool = False
) -> Iterator[Part]:
    """Yield `rows` as row groups for the file `path`, and, staged, what the footer is to say of them.

    With `begin` comes first, staged, what the footer is to say of the columns.
    """
    if begin:
        before, behind = frame(written(table, rows.slice(0, 0), codec, empty=True))
        yield Part(_staged(table), len(before).to_bytes(4, "little") + before + len(behind).to_bytes(4, "little"))
        yield Part(_staged(table), behind)
    for start in range(0, rows.num_rows, MOST_ROWS):
        chunk = rows.slice(start, MOST_ROWS)
        file = written(table, chunk, codec)
        group = row_group(file)
        yield Part(path, memoryview(file).cast("B")[: group.size], chunk.num_rows, split_at)
        yield Part(_staged(table), group.pack())


def finished(table: TableSchema, path: str, folder: Path, summary: ExportSummary) -> Iterator[Part]:
    """Yield the footer of each file of `table` in `folder`, that were written as `table_parts` to `path`."""
    data = (folder / _staged(table)).read_bytes()
    at = 4 + int.from_bytes(data[:4], "little")
    before = data[4:at]
    behind = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "little")]
    stem = path.removesuffix(".parquet")
    mine = [name for name in summary.files if name.startswith(f"{stem}.") and name.endswith(".parquet")]
    # By number: after 999 come four digits.
    files = sorted(mine, key=lambda name: (len(name), name))
    groups = unpack(data[at + 4 + len(behind) :])
    if not files:
        yield Part(f"{stem}.000.parquet" if "/part." in path else path, MAGIC + footer((before, behind), [], 0))
        return
    texts: list[bytes] = []
    base, rows = 0, 0
    remaining = [summary.files[name]["bytes"] for name in files]
    for group in groups:
        if base >= remaining[0] and len(remaining) > 1:
            yield Part(files[-len(remaining)], footer((before, behind), texts, rows))
            remaining.pop(0)
            base, rows, texts = 0, 0, []
        texts.append(group.at(base))
        base, rows = base + group.size, rows + group.rows
    yield Part(files[-len(remaining)], footer((before, behind), texts, rows))


def _staged(table: TableSchema) -> str:
    return f"{STAGED}{table.name}.footer"
