"""OMOP CDM 5.4 as CSV, one file a table, as its tools take it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.compression import check_method, packed, suffix
from ehrsynth.exporters.fragments import Slot, constant, join, joined_bytes, pool_of, row_texts
from ehrsynth.exporters.omop.athena import Athena
from ehrsynth.exporters.omop.concepts import ConceptIds
from ehrsynth.exporters.omop.in_use import account, closing_tables, read_notes
from ehrsynth.exporters.omop.tables import block_tables, shared_tables
from ehrsynth.exporters.part import STAGED, ExportSummary, Note, Part
from ehrsynth.records import Records
from ehrsynth.schema import TableSchema, datapackage, omop

__all__ = ["NOTES", "OmopCsvExporter", "OmopTables", "package_document"]

NOTES = f"{STAGED}notes.ndjson"
_CHUNK_ROWS = 1 << 15
_SPECIAL = '[",\n\r]'


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
    table = omop()[name]
    for start in range(0, rows.num_rows, _CHUNK_ROWS):
        chunk = rows.slice(start, _CHUNK_ROWS).combine_chunks()
        yield Part(f"{name}.csv", _encode(table, chunk), chunk.num_rows)


def _encode(table: TableSchema, rows: pa.Table) -> memoryview:
    slots: list[Slot] = []
    for place, name in enumerate(rows.column_names):
        if place:
            slots.append(constant(b","))
        slots += _column(name, rows[name].chunk(0), name == table.primary_key)
    return joined_bytes(join([*slots, constant(b"\n")], rows.num_rows))


def _column(name: str, values: pa.Array, single: bool) -> list[Slot]:
    if values.null_count == len(values):
        return []
    kind = values.type
    if pa.types.is_timestamp(kind):
        return _times(values)
    if pa.types.is_date(kind):
        absent = values.is_null().to_numpy(zero_copy_only=False)
        return [_day_slot(pc.fill_null(values.cast(pa.int32()), 0).to_numpy(), absent)]
    if pa.types.is_integer(kind):
        if single:
            return [row_texts(values.cast(pa.string()))]
        encoded = values.dictionary_encode()
        return [_slot(encoded.dictionary.cast(pa.string()), encoded.indices, foldable=name.endswith("concept_id"))]
    if pa.types.is_floating(kind):
        # What is no number is no value to a database.
        values = pc.if_else(pc.is_finite(values), values, None)
        encoded = values.dictionary_encode()
        return [_slot(encoded.dictionary.cast(pa.string()), encoded.indices, foldable=False)]
    encoded = values.dictionary_encode()
    return [_slot(_quoted(encoded.dictionary), encoded.indices, foldable=not single)]


def _slot(texts: pa.Array, indices: pa.Array, *, foldable: bool) -> Slot:
    index = pc.fill_null(indices, -1).to_numpy().astype(np.int32, copy=False)
    return Slot(texts.cast(pa.large_binary()), index, foldable=foldable)


def _quoted(texts: pa.Array) -> pa.Array:
    """The texts, in quotation marks where a mark of the format is in them."""
    special = pc.match_substring_regex(texts, _SPECIAL)
    if not pc.any(special).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


def _times(values: pa.Array) -> list[Slot]:
    absent = values.is_null().to_numpy(zero_copy_only=False)
    day, second = np.divmod(pc.fill_null(values.cast(pa.int64()), 0).to_numpy(), 86400)
    minute, rest = np.divmod(second, 60)
    return [
        _day_slot(day, absent),
        Slot(_minutes(), np.where(absent, -1, minute).astype(np.int32), foldable=False),
        Slot(_seconds(), np.where(absent, -1, rest).astype(np.int32), foldable=False),
    ]


def _day_slot(days: np.ndarray[Any, Any], absent: np.ndarray[Any, Any]) -> Slot:
    """Days since 1970 as dates, nothing where `absent`: texts of whole years are made once and kept."""
    there = days[~absent]
    first, last = (
        np.datetime64(int(one), "D").astype("datetime64[Y]").astype(int) for one in (there.min(), there.max())
    )
    texts = [_year(year) for year in range(int(first), int(last) + 1)]
    start = np.datetime64(int(first), "Y").astype("datetime64[D]").astype(int)
    index = np.where(absent, -1, days - start).astype(np.int32)
    return Slot(texts[0] if len(texts) == 1 else pa.concat_arrays(texts), index, foldable=False)


@lru_cache(maxsize=512)
def _year(year: int) -> pa.LargeBinaryArray:
    """The dates of a year, counted from 1970."""
    days = np.arange(np.datetime64(year, "Y"), np.datetime64(year + 1, "Y"), dtype="datetime64[D]")
    return pa.array(np.datetime_as_string(days, unit="D"), pa.string()).cast(pa.large_binary())


@lru_cache(maxsize=1)
def _minutes() -> pa.LargeBinaryArray:
    return pool_of([b" %02d:%02d" % divmod(minute, 60) for minute in range(1440)])


@lru_cache(maxsize=1)
def _seconds() -> pa.LargeBinaryArray:
    return pool_of([b":%02d" % second for second in range(60)])
