"""The canonical tables as CSV, one file each, with the data package that describes them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.compression import check_method, packed, suffix
from ehrsynth.exporters.fragments import Slot, constant, join, joined_bytes, pool_of, row_texts, time_slots
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, clinical, datapackage

__all__ = ["CsvExporter", "package_document"]

CHUNK_ROWS = 1 << 15
_MOST_QUOTED = 256
_QUOTED: dict[tuple[int, ...], tuple[pa.Array, pa.LargeBinaryArray]] = {}
_SPECIAL = (b'"', b",", b"\n", b"\r")


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
                yield from packed(_parts(table, shared), self.compress)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the rows of a block of patients."""
        for table in block.schema.tables:
            if not table.shared:
                yield from packed(_parts(table, block), self.compress)

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


def _parts(table: TableSchema, records: Records) -> Iterator[Part]:
    rows = records[table.name]
    for start in range(0, rows.num_rows, CHUNK_ROWS):
        chunk = rows.slice(start, CHUNK_ROWS).combine_chunks()
        yield Part(f"{table.name}.csv", _encode(chunk), chunk.num_rows)


def _encode(rows: pa.Table) -> memoryview:
    slots: list[Slot] = []
    for place, name in enumerate(rows.column_names):
        if place:
            slots.append(constant(b","))
        slots += _column(rows[name].chunk(0))
    return joined_bytes(join([*slots, constant(b"\n")], rows.num_rows))


def _column(values: pa.Array) -> list[Slot]:
    if values.null_count == len(values):
        return []
    kind = values.type
    if pa.types.is_temporal(kind):
        return time_slots(values)
    if pa.types.is_dictionary(kind):
        return [_quoted(values)]
    if pa.types.is_string(kind):
        return [_quoted(values.dictionary_encode()) if _has_special(values) else row_texts(values)]
    if pa.types.is_floating(kind):
        # What is not a number is no value; Table Schema writes infinity so.
        values = pc.if_else(pc.is_nan(values), None, values)
    encoded = values.dictionary_encode()
    texts = encoded.dictionary.cast(pa.string())
    if pa.types.is_floating(kind):
        texts = pc.replace_substring(texts, "inf", "INF")
    index = pc.fill_null(encoded.indices, -1).to_numpy()
    return [Slot(texts.cast(pa.large_binary()), index, foldable=pa.types.is_boolean(kind))]


def _has_special(values: pa.Array) -> bool:
    _, offsets, data = values.buffers()
    if data is None:
        return False
    # Of a slice, what lies before and after is not asked for: it would be searched again for every slice.
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(values) + 1, offset=4 * values.offset)
    content = data.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes()
    return any(mark in content for mark in _SPECIAL)


def _quoted(values: pa.DictionaryArray) -> Slot:
    dictionary = values.dictionary
    # A run's parts share their dictionaries: a model's thousands of codes are looked at once.
    key = (len(dictionary), dictionary.offset, *(part.address for part in dictionary.buffers() if part is not None))
    kept = _QUOTED.get(key)
    if kept is None:
        if len(_QUOTED) >= _MOST_QUOTED:
            _QUOTED.clear()
        texts = [_quote(text) for text in dictionary.cast(pa.binary()).to_pylist()]
        # The dictionary is kept as well: while it lives nobody else's is at its place.
        kept = _QUOTED[key] = (dictionary, pool_of(texts))
    index = pc.fill_null(values.indices, -1).to_numpy().astype(np.int32, copy=False)
    return Slot(kept[1], index)


@lru_cache(maxsize=1 << 14)
def _quote(text: bytes | None) -> bytes:
    if text is None or not any(mark in text for mark in _SPECIAL):
        return text or b""
    return b'"' + text.replace(b'"', b'""') + b'"'
