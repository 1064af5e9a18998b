"""Bulk NDJSON: one file a type, one resource a line, literal references, and the manifest of a bulk export."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pyarrow as pa

from ehrsynth.exporters.fhir.resource import Resource, Source, literal_links
from ehrsynth.exporters.fhir.resources import resources
from ehrsynth.exporters.fragments import Slot, constant, joined_bytes
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records

__all__ = ["NdjsonExporter"]


class NdjsonExporter:
    """Writes ``Type.ndjson`` files as FHIR Bulk Data Access lays them out, referenced types first in the manifest."""

    name = "fhir-ndjson"

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield organizations, payers, locations, practitioners and their roles."""
        yield from self._parts(shared, shared, shared_ones=True)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the resources of a block of patients."""
        yield from self._parts(block, shared, shared_ones=False)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield ``manifest.json``."""
        order = {f"{resource.type}.ndjson": place for place, resource in reversed(list(enumerate(resources())))}
        files = sorted((path for path in summary.files if path in order), key=lambda path: order[path])
        manifest = {
            "transactionTime": summary.instant,
            "request": "ehrsynth",
            "requiresAccessToken": False,
            "output": [
                {"type": path.removesuffix(".ndjson"), "url": path, "count": summary.files[path]["rows"]}
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
                yield from _lines(resource, source)


def _lines(resource: Resource, source: Source) -> Iterator[Part]:
    for written in resource.write(source, _line):
        yield Part(f"{resource.type}.ndjson", joined_bytes(written.texts), len(written.texts))


def _line(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    return (), (constant(b"\n"),)
