"""Bulk NDJSON: one file a type, one resource a line, literal references, and the manifest of a bulk export."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.exporters.compression import check_method, packed
from ehrsynth.exporters.fhir.resource import TEXT_ROWS, Resource, Source, literal_links
from ehrsynth.exporters.fhir.resources import resources
from ehrsynth.exporters.fragments import Slot, constant, joined_bytes
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records

__all__ = ["NdjsonExporter"]

_PART_BYTES = 1 << 20
"""Size of the parts of files that are split: so near to the limit are they filled."""

_PLAIN_ROWS = 1 << 11
"""Resources at a time where parts leave no trace in the files: their text stays in the processor's cache."""


class NdjsonExporter:
    """Writes ``Type.ndjson`` files as FHIR Bulk Data Access lays them out, referenced types first in the manifest.

    Parameters
    ----------
    compress : str, optional
        ``gzip`` packs the files (``Type.ndjson.gz``).
    split_mb : int, optional
        Largest size of a file in millions of bytes: there are ``Type.000.ndjson``, ``Type.001.ndjson``... A resource is
        never cut.
    """

    name = "fhir-ndjson"
    options = ("compress", "split_mb")

    def __init__(self, *, compress: str | None = None, split_mb: int | None = None) -> None:
        # Bulk data is plain or gzip: what reads NDJSON of FHIR reads nothing else.
        check_method(compress, ("gzip",))
        if split_mb is not None and split_mb < 1:
            raise UsageError(f"Files cannot be split at {split_mb} MB.", hint="Use 1 or more.")
        self.compress = compress
        self.split_at = 0 if split_mb is None else split_mb * 1_000_000

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield organizations, payers, locations, practitioners and their roles."""
        yield from self._parts(shared, shared, shared_ones=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the resources of a block of patients."""
        yield from self._parts(block, shared, shared_ones=False)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``manifest.json``."""
        order = {resource.type: place for place, resource in reversed(list(enumerate(resources())))}
        files = sorted(summary.files, key=lambda path: (order[_type_of(path)], path))
        manifest = {
            "transactionTime": summary.instant,
            "request": "ehrsynth",
            "requiresAccessToken": False,
            "output": [
                {"type": _type_of(path), "url": path, "count": summary.files[path]["rows"]}
                for path in files
                if summary.files[path]["rows"]
            ],
            "error": [],
            "deleted": [],
        }
        yield Part("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")

    def _parts(self, block: Records, shared: Records, *, shared_ones: bool) -> Iterator[Part]:
        source = Source(block=block, shared=shared, links=literal_links)
        for resource in resources():
            if resource.shared == shared_ones:
                size = _PLAIN_ROWS if self.compress is None and not self.split_at else TEXT_ROWS
                yield from packed(_lines(resource, source, self.split_at, size), self.compress)


def _type_of(path: str) -> str:
    return path.partition(".")[0]


def _lines(resource: Resource, source: Source, split_at: int, size: int) -> Iterator[Part]:
    for written in resource.write(source, _line, size):
        texts = written.texts
        for start, stop in _cuts(texts) if split_at else [(0, len(texts))]:
            yield Part(f"{resource.type}.ndjson", joined_bytes(texts, start, stop), stop - start, split_at)


def _cuts(texts: pa.LargeBinaryArray) -> Iterator[tuple[int, int]]:
    """Yield from where to where `texts` are no longer than a part, or a single one."""
    ends = np.frombuffer(texts.buffers()[1], dtype=np.int64, count=len(texts) + 1, offset=8 * texts.offset)
    start = 0
    while start < len(texts):
        stop = max(int(np.searchsorted(ends, ends[start] + _PART_BYTES, side="right")) - 1, start + 1)
        yield start, stop
        start = stop


def _line(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    return (), (constant(b"\n"),)
