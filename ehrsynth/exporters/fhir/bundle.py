"""Transaction Bundles: one per patient that loads in one POST, and what all patients share before them or in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ehrsynth.errors import UsageError
from ehrsynth.exporters.fhir.belonging import Texts, owners, patients_tables, uses_of_shared
from ehrsynth.exporters.fhir.identity import SYSTEM, fhir_ids, identifier_system
from ehrsynth.exporters.fhir.joins import whole
from ehrsynth.exporters.fhir.resource import (
    HTEST,
    Frame,
    Links,
    Resource,
    Source,
    Written,
    literal_links,
    urn_links,
)
from ehrsynth.exporters.fhir.resources import resources
from ehrsynth.exporters.fragments import Slot, constant, row_texts
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records

__all__ = ["SHARED_FILE", "BundleExporter", "PutExporter"]

SHARED_FILE = "00-shared.json"
"""To be posted before the Bundles of patients; its name sorts before theirs."""

_ROWS_AT_A_TIME = 3 << 14
"""Table rows encoded at a time: a block of patients with long histories would not fit in memory as text."""


SHARED = ("first", "inline")

BASE = f"{SYSTEM}/fhir"
"""Root of the full URLs of what is PUT: references by type and id resolve within a Bundle (FHIR R4, Bundle, 2.36.4)."""


class BundleExporter:
    """Writes one transaction Bundle per patient.

    Within a Bundle references are ``urn:uuid:``. What patients share is created only where the server has none with its
    identifier: so Bundles can be posted again.

    Parameters
    ----------
    shared : str
        ``first``: what patients share is in a Bundle of its own that has to be posted before; patients' Bundles refer
        to it by its identifier (``Organization?identifier=system|value``). ``inline``: every Bundle holds what its
        patient needs of it, with ``ifNoneExist``, and loads by itself.
    """

    name = "fhir-bundle"
    options: tuple[str, ...] = ("shared",)

    def __init__(self, *, shared: str = "first") -> None:
        if shared not in SHARED:
            raise UsageError(f"What patients share cannot be written {shared!r}.", hint="Use first or inline.")
        self.inline = shared == "inline"

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the Bundle of shared resources, if there are any."""
        if not self.inline:
            source = Source(block=shared, shared=shared, links=lambda table: "urn:uuid:")
            yield from _shared_bundle(source, _shared_entry)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield a Bundle per patient."""
        links: Links = (lambda table: "urn:uuid:") if self.inline else urn_links
        for some in _portions(block):
            yield from _bundles(Source(block=some, shared=shared, links=links), _entry, inline=self.inline)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing: every Bundle stands alone."""
        yield from ()


class PutExporter:
    """Writes the same graph as PUT by id, one transaction Bundle per patient after one of what they share.

    References are ``Type/id``: posting the Bundles again, or later with more in them, changes nothing else.
    """

    name = "fhir-put"

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the Bundle of shared resources, if there are any."""
        yield from _shared_bundle(Source(block=shared, shared=shared, links=literal_links), _put_entry)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield a Bundle per patient."""
        for some in _portions(block):
            yield from _bundles(Source(block=some, shared=shared, links=literal_links), _put_entry)

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing: every Bundle stands alone."""
        yield from ()


def _shared_bundle(source: Source, frame: Frame) -> Iterator[Part]:
    written = [one for resource in resources() if resource.shared for one in resource.write(source, frame)]
    entries = sum(len(one.texts) for one in written)
    if entries:
        texts = [Texts(one.texts).between(0, len(one.texts)) for one in written]
        yield Part(SHARED_FILE, _bundle(texts, source.synthetic), entries)


def _entry(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    before = (constant(b'{"fullUrl":"urn:uuid:'), row_texts(ids), constant(b'","resource":'))
    request = b',"request":{"method":"POST","url":"%b"}},\n' % resource.type.encode()
    return before, (constant(request),)


def _shared_entry(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    before, _ = _entry(resource, ids)
    query = f"identifier={identifier_system(resource.kind or resource.table)}|"
    request = f',"request":{{"method":"POST","url":"{resource.type}","ifNoneExist":"{query}'
    return before, (constant(request.encode()), row_texts(ids), constant(b'"}},\n'))


def _put_entry(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    before = (constant(f'{{"fullUrl":"{BASE}/{resource.type}/'.encode()), row_texts(ids), constant(b'","resource":'))
    request = f',"request":{{"method":"PUT","url":"{resource.type}/'
    return before, (constant(request.encode()), row_texts(ids), constant(b'"}},\n'))


def _bundle(entries: list[memoryview], synthetic: bool) -> bytes:
    security = b'"meta":{"security":[%b]},' % orjson.dumps(HTEST) if synthetic else b""
    entries[-1] = entries[-1][:-2]
    opening = b'{"resourceType":"Bundle",%b"type":"transaction","entry":[\n' % security
    return b"".join([opening, *entries, b"\n]}\n"])


def _bundles(source: Source, frame: Frame, *, inline: bool = False) -> Iterator[Part]:
    patients = whole(source["patient"]["patient_id"])
    ids = fhir_ids(patients, "patient").to_pylist()
    written = []
    if inline:
        uses = uses_of_shared(source, {name: owners(source[name], patients) for name in patients_tables(source)})
        for resource in resources():
            if resource.shared:
                key = source.shared.schema[resource.table].primary_key
                for one in resource.write(source, _shared_entry):
                    owner, place = uses.rows(resource.table, one.rows[key])
                    written.append(_ByPatient.sorted(owner, one.texts.take(pa.array(place)), len(patients)))
    written += [
        _ByPatient.of(one, patients)
        for resource in resources()
        if not resource.shared
        for one in resource.write(source, frame)
    ]
    for at, patient in enumerate(ids):
        entries = [one.texts.between(int(one.starts[at]), int(one.starts[at + 1])) for one in written]
        count = sum(int(one.starts[at + 1] - one.starts[at]) for one in written)
        yield Part(f"Patient-{patient}.json", _bundle([text for text in entries if text], source.synthetic), count)


@dataclass(frozen=True)
class _ByPatient:
    """Resources sorted by patient: those of patient i are the texts from starts[i] to starts[i + 1]."""

    texts: Texts
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, written: Written, patients: pa.Array) -> _ByPatient:
        return cls.sorted(owners(written.rows, patients), written.texts, len(patients))

    @classmethod
    def sorted(cls, owner: npt.NDArray[np.int64], texts: pa.LargeBinaryArray, n: int) -> _ByPatient:
        if (np.diff(owner) < 0).any():
            order = np.argsort(owner, kind="stable")
            owner, texts = owner[order], texts.take(pa.array(order))
        return cls(Texts(texts), np.searchsorted(owner, np.arange(n + 1)))


def _portions(block: Records) -> Iterator[Records]:
    """Yield `block` some patients at a time, every table sorted by patient."""
    patients = whole(block["patient"]["patient_id"])
    tables, starts = {}, {}
    for table in block.schema.tables:
        if table.has_patient:
            rows, owner = block[table.name], owners(block[table.name], patients)
            if (np.diff(owner) < 0).any():
                order = np.argsort(owner, kind="stable")
                rows, owner = rows.take(pa.array(order)), owner[order]
            tables[table.name] = rows
            starts[table.name] = np.searchsorted(owner, np.arange(len(patients) + 1))
    reached = np.sum(list(starts.values()), axis=0)
    start = 0
    while start < len(patients):
        stop = int(np.searchsorted(reached, reached[start] + _ROWS_AT_A_TIME, side="right")) - 1
        stop = min(max(stop, start + 1), len(patients))
        cut = {
            name: rows.slice(starts[name][start], starts[name][stop] - starts[name][start])
            for name, rows in tables.items()
        }
        yield Records(tables={**block.tables, **cut}, schema=block.schema, provenance=block.provenance)
        start = stop
