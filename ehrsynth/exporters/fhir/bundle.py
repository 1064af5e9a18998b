"""Transaction Bundles: what all patients share in the first, then one per patient that loads in one POST."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.exporters.fhir.identity import fhir_ids, identifier_system
from ehrsynth.exporters.fhir.joins import whole
from ehrsynth.exporters.fhir.resource import HTEST, Resource, Source, Written, urn_links
from ehrsynth.exporters.fhir.resources import resources
from ehrsynth.exporters.fragments import Slot, constant, row_texts
from ehrsynth.exporters.part import ExportSummary, Part
from ehrsynth.records import Records

__all__ = ["SHARED_FILE", "BundleExporter"]

SHARED_FILE = "00-shared.json"
"""To be posted before the Bundles of patients; its name sorts before theirs."""

_ROWS_AT_A_TIME = 1 << 16
"""Table rows encoded at a time: a block of patients with long histories would not fit in memory as text."""


class BundleExporter:
    """Writes one transaction Bundle per patient, after one of what they share.

    Within a Bundle references are ``urn:uuid:``. Patients' Bundles refer to what is shared by its identifier
    (``Organization?identifier=system|value``), and the shared resources are created only where the server has none
    with that identifier: so Bundles can be posted again, and in any order after the first.
    """

    name = "fhir-bundle"

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield the Bundle of shared resources, if there are any."""
        source = Source(block=shared, shared=shared, links=lambda table: "urn:uuid:")
        written = [one for resource in resources() if resource.shared for one in resource.write(source, _shared_entry)]
        entries = sum(len(one.texts) for one in written)
        if entries:
            texts = [_Texts(one.texts).between(0, len(one.texts)) for one in written]
            yield Part(SHARED_FILE, _bundle(texts, shared.provenance.synthetic), entries)

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield a Bundle per patient."""
        for some in _portions(block):
            yield from _bundles(Source(block=some, shared=shared, links=urn_links))

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield nothing: every Bundle stands alone."""
        yield from ()


def _entry(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    before = (constant(b'{"fullUrl":"urn:uuid:'), row_texts(ids), constant(b'","resource":'))
    request = b',"request":{"method":"POST","url":"%b"}},\n' % resource.type.encode()
    return before, (constant(request),)


def _shared_entry(resource: Resource, ids: pa.Array) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    before, _ = _entry(resource, ids)
    query = f"identifier={identifier_system(resource.kind or resource.table)}|"
    request = f',"request":{{"method":"POST","url":"{resource.type}","ifNoneExist":"{query}'
    return before, (constant(request.encode()), row_texts(ids), constant(b'"}},\n'))


def _bundle(entries: list[memoryview], synthetic: bool) -> bytes:
    security = b'"meta":{"security":[%b]},' % orjson.dumps(HTEST) if synthetic else b""
    entries[-1] = entries[-1][:-2]
    opening = b'{"resourceType":"Bundle",%b"type":"transaction","entry":[\n' % security
    return b"".join([opening, *entries, b"\n]}\n"])


def _bundles(source: Source) -> Iterator[Part]:
    patients = whole(source["patient"]["patient_id"])
    ids = fhir_ids(patients, "patient").to_pylist()
    written = [
        _ByPatient.of(one, patients)
        for resource in resources()
        if not resource.shared
        for one in resource.write(source, _entry)
    ]
    for at, patient in enumerate(ids):
        entries = [one.texts.between(int(one.starts[at]), int(one.starts[at + 1])) for one in written]
        count = sum(int(one.starts[at + 1] - one.starts[at]) for one in written)
        yield Part(f"Patient-{patient}.json", _bundle([text for text in entries if text], source.synthetic), count)


class _Texts:
    """Texts that lie joined in one buffer, cut without copying."""

    def __init__(self, texts: pa.LargeBinaryArray) -> None:
        _, offsets, data = texts.buffers()
        self._ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def between(self, start: int, stop: int) -> memoryview:
        return self._data[int(self._ends[start]) : int(self._ends[stop])]


@dataclass(frozen=True)
class _ByPatient:
    """Resources sorted by patient: those of patient i are the texts from starts[i] to starts[i + 1]."""

    texts: _Texts
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, written: Written, patients: pa.Array) -> _ByPatient:
        owner, texts = _owners(written.rows, patients), written.texts
        if (np.diff(owner) < 0).any():
            order = np.argsort(owner, kind="stable")
            owner, texts = owner[order], texts.take(pa.array(order))
        return cls(_Texts(texts), np.searchsorted(owner, np.arange(len(patients) + 1)))


def _owners(rows: pa.Table, patients: pa.Array) -> npt.NDArray[np.int64]:
    """Return the place in `patients` of each row's patient, shape (n,)."""
    places = pc.index_in(whole(rows["patient_id"]), value_set=patients)
    if places.null_count:
        row = pc.index(places.is_null(), True).as_py()
        raise SourceError(
            f"Rows of patients who are not there: {places.null_count}, the first of {rows['patient_id'][row]}.",
            column="patient_id",
            hint="Run `ehrsynth validate` on the records.",
        )
    found: npt.NDArray[np.int64] = places.to_numpy().astype(np.int64)
    return found


def _portions(block: Records) -> Iterator[Records]:
    """Yield `block` some patients at a time, every table sorted by patient."""
    patients = whole(block["patient"]["patient_id"])
    tables, starts = {}, {}
    for table in block.schema.tables:
        if table.has_patient:
            rows, owner = block[table.name], _owners(block[table.name], patients)
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
