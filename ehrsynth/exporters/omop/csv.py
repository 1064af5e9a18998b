"""OMOP CDM 5.4 as CSV, one file a table, as its tools take it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.compression import check_method, packed, suffix
from ehrsynth.exporters.lines import lines
from ehrsynth.exporters.omop.athena import Athena
from ehrsynth.exporters.omop.concepts import ConceptIds
from ehrsynth.exporters.omop.in_use import account, closing_tables, read_notes
from ehrsynth.exporters.omop.tables import block_tables, shared_tables
from ehrsynth.exporters.part import STAGED, ExportSummary, Note, Part
from ehrsynth.records import Records
from ehrsynth.schema import datapackage, omop

__all__ = ["NOTES", "OmopCsvExporter", "OmopTables", "package_document"]

NOTES = f"{STAGED}notes.ndjson"
_CHUNK_ROWS = 1 << 15


class OmopTables:
    """What the OMOP exporters share: the tables of a block, and what is known when all are written.

    Parameters
    ----------
    athena : str, optional
        A folder of the user's own download of the vocabularies; without it the packaged maps serve.
    """

    def __init__(self, athena: str | None = None) -> None:
        self._athena = Athena(athena) if athena is not None else None

    @cached_property
    def concepts(self) -> ConceptIds:
        """The concept ids."""
        return ConceptIds(self._athena)

    def shared(self, shared: Records) -> tuple[dict[str, pa.Table], bytes]:
        """Return the tables of what patients share, and a note for `closing`."""
        return shared_tables(shared, self.concepts)

    def block(self, block: Records, shared: Records) -> tuple[dict[str, pa.Table], bytes]:
        """Return the tables of a block, and a note for `closing`."""
        return block_tables(block, shared, self.concepts)

    def closing(self, folder: Path, summary: ExportSummary) -> tuple[dict[str, pa.Table], dict[str, Any]]:
        """Return the tables that need the whole, and the account for the manifest."""
        with (folder / NOTES).open("rb") as lines:
            used = read_notes(lines)
        day = str(summary.provenance.get("generated_at") or "1970-01-01")
        return closing_tables(used, self.concepts, summary.provenance, day), account(used)


class OmopCsvExporter:
    """Writes ``<table>.csv`` with a header for every table of the model, and ``datapackage.json``.

    As RFC 4180 has it, in UTF-8, nothing for null, times as ``YYYY-MM-DD HH:MM:SS``.

    Parameters
    ----------
    compress : str, optional
        ``gzip`` packs the files.
    athena : str, optional
        See `OmopTables`.
    """

    name = "omop"
    options = ("compress", "athena")

    def __init__(self, *, compress: str | None = None, athena: str | None = None) -> None:
        check_method(compress)
        self.compress = compress
        self._tables = OmopTables(athena)

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield every table's header, and the rows of the shared tables."""
        for table in omop().tables:
            yield from packed(iter([Part(f"{table.name}.csv", ",".join(table.names).encode() + b"\n")]), self.compress)
        yield from self._parts(*self._tables.shared(shared))

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the rows of a block of patients."""
        yield from self._parts(*self._tables.block(block, shared))

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part | Note]:
        """Yield the vocabulary rows in use, cdm_source, and the account of concepts."""
        tables, counted = self._tables.closing(folder, summary)
        for name, rows in tables.items():
            yield from packed(_csv(name, rows), self.compress)
        yield Note(counted)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``datapackage.json``."""
        packing = {"compression": "gz"} if self.compress else {}
        resources = {}
        for table in omop().tables:
            path = f"{table.name}.csv{suffix(self.compress)}"
            entry = summary.files[path]
            resources[table.name] = {
                "path": path,
                "format": "csv",
                "mediatype": "text/csv",
                **packing,
                "encoding": "utf-8",
                "dialect": {"lineTerminator": "\n"},
                "bytes": entry["bytes"],
                "hash": f"sha256:{entry['sha256']}",
                "rowCount": entry["rows"],
            }
        yield Part("datapackage.json", package_document(summary, resources))

    def _parts(self, tables: dict[str, pa.Table], note: bytes) -> Iterator[Part]:
        for name, rows in tables.items():
            yield from packed(_csv(name, rows), self.compress)
        yield Part(NOTES, note)


def package_document(summary: ExportSummary, resources: dict[str, dict[str, Any]]) -> bytes:
    """Return ``datapackage.json`` of OMOP tables in files."""
    synthetic = bool(summary.provenance.get("synthetic"))
    document = datapackage(
        omop(),
        resources,
        name="ehrsynth-omop",
        title="OMOP CDM 5.4" + (" (synthetic)" if synthetic else ""),
        description=("Synthetic: made by a model, of nobody. " if synthetic else "") + "Tables of the OMOP CDM 5.4.",
        version=omop().version,
        created=summary.instant,
        ehrsynth=dict(summary.provenance),
    )
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _csv(name: str, rows: pa.Table) -> Iterator[Part]:
    for start in range(0, rows.num_rows, _CHUNK_ROWS):
        chunk = rows.slice(start, _CHUNK_ROWS).combine_chunks()
        columns = [_plain(column.chunk(0)) for column in chunk.columns]
        yield Part(f"{name}.csv", lines(pa.table(columns, names=chunk.column_names)), chunk.num_rows)


def _plain(values: pa.Array) -> pa.Array:
    """A column as `lines` is to write it where OMOP differs: a blank within times, nothing for what is no number."""
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.string())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_finite(values), values, None)
    return values
