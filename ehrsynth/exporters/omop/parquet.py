"""OMOP CDM 5.4 as Parquet, one file a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.exporters.omop.csv import NOTES, OmopTables, package_document
from ehrsynth.exporters.parquet import CODECS, finished, table_parts
from ehrsynth.exporters.part import ExportSummary, Note, Part
from ehrsynth.records import Records
from ehrsynth.schema import omop

__all__ = ["OmopParquetExporter", "row_groups"]


class OmopParquetExporter:
    """Writes ``<table>.parquet`` for every table of the model, and ``datapackage.json``; ids are 64-bit integers.

    Parameters
    ----------
    compress : str, optional
        ``snappy`` (if left out), ``zstd`` or ``gzip``, inside the files.
    athena : str, optional
        See `OmopTables`.
    """

    name = "omop-parquet"
    options = ("compress", "athena")

    def __init__(self, *, compress: str | None = None, athena: str | None = None) -> None:
        if compress is not None and compress not in CODECS:
            raise UsageError(f"Parquet cannot be packed with {compress!r}.", hint=f"Known: {', '.join(CODECS)}.")
        self.compress = compress or "snappy"
        self._tables = OmopTables(athena)

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the begin of every file, and the rows of the shared tables."""
        yield from row_groups(*self._tables.shared(shared), folder="", codec=self.compress, begin=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the row groups of a block of patients."""
        yield from row_groups(*self._tables.block(block, shared), folder="", codec=self.compress)

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part | Note]:
        """Yield the vocabulary rows in use, cdm_source, the footers, and the account of concepts."""
        tables, counted = self._tables.closing(folder, summary)
        files = {path: dict(entry) for path, entry in summary.files.items()}
        for part in row_groups(tables, b"", folder="", codec=self.compress):
            entry = files.setdefault(part.path, {"bytes": 0})
            entry["bytes"] += len(part.data)
            yield part
        summary = replace(summary, files=files)
        for table in omop().tables:
            yield from finished(table, f"{table.name}.parquet", folder, summary)
        yield Note(counted)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``datapackage.json``."""
        resources: dict[str, dict[str, Any]] = {}
        for table in omop().tables:
            entry = summary.files[f"{table.name}.parquet"]
            resources[table.name] = {
                "path": f"{table.name}.parquet",
                "format": "parquet",
                "mediatype": "application/vnd.apache.parquet",
                "bytes": entry["bytes"],
                "hash": f"sha256:{entry['sha256']}",
                "rowCount": entry["rows"],
            }
        yield Part("datapackage.json", package_document(summary, resources))


def row_groups(
    tables: dict[str, pa.Table], note: bytes, *, folder: str, codec: str, begin: bool = False
) -> Iterator[Part]:
    """Yield tables as row groups of files in `folder`; with `begin` every table of the model is begun."""
    for table in omop().tables:
        if begin or table.name in tables:
            rows = tables.get(table.name, table.arrow.empty_table())
            yield from table_parts(table, rows, f"{folder}{table.name}.parquet", codec, begin=begin)
    if note:
        yield Part(NOTES, note)
