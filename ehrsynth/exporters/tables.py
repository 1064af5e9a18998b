"""The canonical tables as CSV, one file each, with the data package that describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ehrsynth.exporters.compression import check_method, packed, suffix
from ehrsynth.exporters.lines import lines
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, clinical, datapackage

__all__ = ["CsvExporter", "package_document"]

_PACKED_ROWS = 1 << 15
"""In a part that is packed: the members of a file are its bytes."""
_PLAIN_ROWS = 1 << 13
"""In a part that is not: it is still in the processor's cache when it is hashed and written."""


class CsvExporter:
    r"""Writes comma-separated values as RFC 4180 has them, in UTF-8, with a header, and ``datapackage.json``.

    Quotation marks stand only where they are needed. Rows end with a line feed and not with RFC 4180's carriage return
    and line feed: every reader takes both, and what works by lines (cut, awk, diff, git) does not take the carriage
    return for a part of the last column. Times are UTC and say so (``Z``). Nothing and the empty text are both empty.
    """

    name = "csv"
    options = ("compress",)

    def __init__(self, *, compress: str | None = None) -> None:
        check_method(compress)
        self.compress = compress

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield every table's header, and the rows of the shared tables."""
        for table in shared.schema.tables:
            yield from packed(_header(table), self.compress)
            if table.shared:
                yield from packed(self._parts(table, shared), self.compress)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the rows of a block of patients."""
        for table in block.schema.tables:
            if not table.shared:
                yield from packed(self._parts(table, block), self.compress)

    def _parts(self, table: TableSchema, records: Records) -> Iterator[Part]:
        rows, size = records[table.name], _PACKED_ROWS if self.compress else _PLAIN_ROWS
        for start in range(0, rows.num_rows, size):
            chunk = rows.slice(start, size).combine_chunks()
            yield Part(f"{table.name}.csv", lines(chunk), chunk.num_rows)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``datapackage.json``."""
        paths = {table.name: f"{table.name}.csv{suffix(self.compress)}" for table in clinical().tables}
        packing = {"compression": suffix(self.compress)[1:]} if self.compress else {}
        resources = {
            table.name: {
                "path": paths[table.name],
                "format": "csv",
                "mediatype": "text/csv",
                **packing,
                "encoding": "utf-8",
                "dialect": {"lineTerminator": "\n"},
                "bytes": summary.files[paths[table.name]]["bytes"],
                "hash": f"sha256:{summary.files[paths[table.name]]['sha256']}",
                "description": table.description,
                "rowCount": summary.files[paths[table.name]]["rows"],
            }
            for table in clinical().tables
            if paths[table.name] in summary.files
        }
        document = package_document(summary, resources)
        yield Part("datapackage.json", orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def package_document(summary: ExportSummary, resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the ``datapackage.json`` of canonical tables in files, `resources` by table (see `datapackage`)."""
    synthetic = bool(summary.provenance.get("synthetic"))
    made_up = "Synthetic: made by a model, of nobody. " if synthetic else ""
    return datapackage(
        clinical(),
        resources,
        name="ehrsynth-records",
        title="Health records" + (" (synthetic)" if synthetic else ""),
        description=f"{made_up}The canonical tables of ehrsynth {clinical().version}, linked by their keys.",
        version=clinical().version,
        created=summary.instant,
        ehrsynth=dict(summary.provenance),
    )


def _header(table: TableSchema) -> Iterator[Part]:
    yield Part(f"{table.name}.csv", ",".join(table.names).encode() + b"\n")
