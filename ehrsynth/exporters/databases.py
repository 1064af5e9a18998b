"""The canonical tables as one database file (DuckDB, SQLite), and as SQL that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ehrsynth.databases import DIALECTS, Address, load, script
from ehrsynth.databases.target import plain_schema
from ehrsynth.exporters.parquet import finished, table_parts
from ehrsynth.exporters.part import STAGED, ExportSummary, Made, Part
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, clinical

__all__ = ["DuckdbExporter", "SqlExporter", "SqliteExporter"]

_BATCH_ROWS = 1 << 16


class _DatabaseExporter:
    """Stages blocks as Parquet, and builds the database from it at the end: a table at a time, in flat memory.

    The rows stand in the file in the order of the blocks, with every constraint of the schema checked by the database.
    """

    enforces_keys = True
    name = ""

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the rows of the shared tables, staged."""
        for table in shared.schema.tables:
            rows = shared[table.name] if table.shared else shared[table.name].slice(0, 0)
            yield from table_parts(table, rows, _staged(table), "snappy", begin=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the rows of a block of patients, staged."""
        for table in block.schema.tables:
            if not table.shared:
                yield from table_parts(table, block[table.name], _staged(table), "snappy")

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part | Made]:
        """Build the database."""
        for table in clinical().tables:
            yield from finished(table, _staged(table), folder, summary)
        path = folder / f"records.{self.name}"
        target = Address(kind=self.name, shown=path.name, path=path)
        counts = load(target, clinical(), lambda table: _rows(table, folder), metadata=dict(summary.provenance))
        yield Made(path.name, sum(counts.values()))

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing: what the records are stands in the database."""
        return iter(())


class DuckdbExporter(_DatabaseExporter):
    """Writes ``records.duckdb``.

    Its content is the same for any number of workers, its bytes are not: DuckDB lays pages out as it goes.
    """

    name = "duckdb"


class SqliteExporter(_DatabaseExporter):
    """Writes ``records.sqlite``; with one version of SQLite same content, same bytes."""

    name = "sqlite"


class SqlExporter:
    """Writes the schema as SQL, for databases that are filled from CSV: ``schema.<dialect>.sql``."""

    enforces_keys = True
    name = "sql"

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield a script for each dialect."""
        for dialect in DIALECTS.values():
            yield Part(f"schema.{dialect.name}.sql", script(shared.schema, dialect).encode())

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield nothing: the schema holds no rows."""
        return iter(())

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing more."""
        return iter(())


def _staged(table: TableSchema) -> str:
    return f"{STAGED}{table.name}.parquet"


def _rows(table: TableSchema, folder: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / _staged(table)) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                yield batch.cast(plain_schema(table))
