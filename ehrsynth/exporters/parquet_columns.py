"""How each kind of column goes into Parquet: by dictionary or plainly, packed or not, with statistics or without.

What was tried, and what each choice is worth, stands in ``benchmarks/results/2026-11-29-tables.md``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ehrsynth.schema import Column, TableSchema

__all__ = ["MOST_ROWS", "written"]

MOST_ROWS = 1 << 18
"""Rows of the largest row group."""

_LEVELS = {"zstd": 1, "gzip": 1}
_PAGE_BYTES = 1 << 17
"""A page is copied and packed while it is in the processor's cache."""
_DICTIONARY_BYTES = 1 << 21
"""Room for the ids of 50,000 encounters: beyond, a dictionary is given up."""
_ROOM_BYTES = 1 << 16
_RARELY_TWICE = ("encounter", "condition")
"""Keys to these hardly come twice in a table, but for that of observations, of which a visit has many."""
_NEAR = "DELTA_BINARY_PACKED"
_SORTED_BY = ("patient_id",)


def written(table: TableSchema, rows: pa.Table, codec: str, *, empty: bool = False) -> pa.Buffer:
    """Return `rows` as a Parquet file with one row group; with `empty` with none."""
    options = _options(table, codec)
    # Into room that is there at once: a stream that grows copies what it holds, into memory that has to be blanked.
    room = pa.allocate_buffer(rows.nbytes + rows.nbytes // 8 + _ROOM_BYTES * (1 + rows.num_columns))
    try:
        with pa.FixedSizeBufferWriter(room) as sink:
            _write(rows, sink, options, empty=empty)
            return room.slice(0, sink.tell())
    except OSError:
        # Long texts that came as a dictionary, and were too many for one.
        growing = pa.BufferOutputStream()
        _write(rows, growing, options, empty=empty)
        return growing.getvalue()


def _write(rows: pa.Table, sink: pa.NativeFile, options: dict[str, Any], *, empty: bool) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(sink, rows.schema, **options) as writer:
        if not empty:
            writer.write_table(rows, row_group_size=MOST_ROWS)


def _options(table: TableSchema, codec: str) -> dict[str, Any]:
    single = {table.primary_key}
    if table.name != "observation":
        single |= {key.column for key in table.foreign_keys if key.reference_table in _RARELY_TWICE}
    keys = single | {key.column for key in table.foreign_keys}
    packed = {
        column.name: "NONE" if codec == "snappy" and not _pays_to_pack(column, keys) else codec
        for column in table.columns
    }
    # Of times, and of numbered rows, the next one is near.
    near = {
        column.name
        for column in table.columns
        if column.type == "datetime" or (column.type == "integer" and column.name in single)
    }
    return {
        "store_schema": False,
        "compression": packed,
        "compression_level": dict.fromkeys(packed, _LEVELS[codec]) if codec in _LEVELS else None,
        "use_dictionary": [c.name for c in table.columns if c.name not in single | near],
        "column_encoding": dict.fromkeys(sorted(near), _NEAR),
        "write_statistics": [c.name for c in table.columns if c.type != "string" or c.name in _SORTED_BY],
        "data_page_size": _PAGE_BYTES,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
    }


def _pays_to_pack(column: Column, keys: set[str]) -> bool:
    """Whether a quick codec gains more than it costs: with texts of people, not with ids nor numbers of entries."""
    return column.type == "string" and not column.categorical and column.name not in keys
