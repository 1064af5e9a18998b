"""OMOP CDM 5.4 as a DuckDB file, with the keys of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.databases import Address, load
from ehrsynth.databases.target import plain_schema
from ehrsynth.exporters.omop.csv import OmopTables
from ehrsynth.exporters.omop.parquet import row_groups
from ehrsynth.exporters.parquet import finished
from ehrsynth.exporters.part import STAGED, ExportSummary, Made, Note, Part
from ehrsynth.records import Records
from ehrsynth.schema import DatasetSchema, TableSchema, omop

__all__ = ["OmopDuckdbExporter", "database_schema"]

_BATCH_ROWS = 1 << 16


@lru_cache(maxsize=1)
def database_schema() -> DatasetSchema:
    """Return the model with the foreign keys that a database can check while tables are filled one after the other.

    Concepts name their vocabulary and a vocabulary its concept: of such a pair the key of the table that comes first is
    left out.
    """
    seen: set[str] = set()
    tables = []
    for table in omop().tables:
        seen.add(table.name)
        kept = tuple(
            key
            for key in table.foreign_keys
            if key.reference_table in seen and omop()[key.reference_table].primary_key == key.reference_column
        )
        tables.append(replace(table, foreign_keys=kept))
    return DatasetSchema(name="omop-cdm", version="5.4", tables=tuple(tables))


class OmopDuckdbExporter:
    """Writes ``omop.duckdb``: blocks are staged as Parquet, and the database is built from it at the end.

    Parameters
    ----------
    athena : str, optional
        See `OmopTables`.
    """

    enforces_keys = True
    name = "omop-duckdb"
    options = ("athena",)

    def __init__(self, *, athena: str | None = None) -> None:
        self._tables = OmopTables(athena)

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the rows of the shared tables, staged."""
        yield from row_groups(*self._tables.shared(shared), folder=STAGED, codec="snappy", begin=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the rows of a block of patients, staged."""
        yield from row_groups(*self._tables.block(block, shared), folder=STAGED, codec="snappy")

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part | Made | Note]:
        """Build the database; note the account of concepts."""
        closing, counted = self._tables.closing(folder, summary)
        for table in omop().tables:
            yield from finished(table, f"{STAGED}{table.name}.parquet", folder, summary)
        path = folder / "omop.duckdb"
        target = Address(kind="duckdb", shown=path.name, path=path)
        metadata = dict(summary.provenance)
        counts = load(target, database_schema(), lambda table: _rows(table, folder, closing), metadata=metadata)
        yield Made(path.name, sum(counts.values()))
        yield Note(counted)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing: what the records are stands in the database."""
        return iter(())


def _rows(table: TableSchema, folder: Path, closing: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    if table.name in closing:
        yield from closing[table.name].to_batches(max_chunksize=_BATCH_ROWS)
        return
    with pq.ParquetFile(folder / STAGED / f"{table.name}.parquet") as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield batch.cast(plain_schema(table))
