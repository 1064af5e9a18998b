"""Which rows belong to which patient, and what of the shared tables each patient's rows lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.errors import SourceError
from ehrsynth.exporters.fhir.joins import whole
from ehrsynth.exporters.fhir.places import work_places
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import places_in

__all__ = ["Texts", "Uses", "owners", "patients_tables", "uses_of_shared"]

Places = npt.NDArray[np.int64]


class Texts:
    """Texts that lie joined in one buffer, cut without copying."""

    def __init__(self, texts: pa.LargeBinaryArray) -> None:
        _, offsets, data = texts.buffers()
        self._ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def between(self, start: int, stop: int) -> memoryview:
        return self._data[int(self._ends[start]) : int(self._ends[stop])]


def owners(rows: pa.Table, patients: pa.Array) -> npt.NDArray[np.int64]:
    """Return the place in `patients` of each row's patient, shape (n,)."""
    places = places_in(patients, whole(rows["patient_id"]))
    missing = np.flatnonzero(places < 0)
    if len(missing):
        raise SourceError(
            f"Rows of patients who are not there: {len(missing)}, the first of {rows['patient_id'][int(missing[0])]}.",
            column="patient_id",
            hint="Run `ehrsynth validate` on the records.",
        )
    return places.astype(np.int64)


def patients_tables(source: Source) -> list[str]:
    """Return the names of the tables whose rows belong to patients."""
    return [table.name for table in source.block.schema.tables if table.has_patient]


@dataclass(frozen=True)
class Uses:
    """Which rows of shared tables patients need: per table pairs of a patient's place and a row, sorted, none twice."""

    pairs: Mapping[str, tuple[Places, Places]]
    keys: Mapping[str, pa.Array]

    def rows(self, table: str, keys: pa.ChunkedArray) -> tuple[Places, Places]:
        """Return the pairs of a patient and a place in `keys`, some primary keys of `table`, that the patient needs."""
        owner, row = self.pairs[table]
        place = places_in(whole(keys), self.keys[table].take(pa.array(row)))
        return owner[place >= 0], place[place >= 0].astype(np.int64)


def uses_of_shared(source: Source, owner_of: Mapping[str, Places]) -> Uses:
    """Return what patients need of the shared tables: what their rows lead to, and what that leads to in turn.

    Parameters
    ----------
    source : Source
    owner_of : mapping of table name to int64 array, shape (rows,)
        The place of each row's patient.
    """
    schema = source.block.schema
    shared = [table for table in schema.tables if table.shared]
    keys = {table.name: whole(source[table.name][table.primary_key]) for table in shared}
    sizes = {name: max(len(values), 1) for name, values in keys.items()}
    found = {name: np.empty(0, dtype=np.int64) for name in keys}

    def follow(table: str, rows: pa.Table, owner: Places) -> bool:
        grown = False
        links = [(key.reference_table, whole(rows[key.column])) for key in schema[table].foreign_keys]
        if table == "practitioner":
            links.append(("location", work_places(source, rows)))
        for name, values in links:
            if name not in keys:
                continue
            place = places_in(keys[name], values)
            there = place >= 0
            codes = owner[there] * sizes[name] + place[there]
            merged = np.union1d(found[name], codes)
            grown |= len(merged) > len(found[name])
            found[name] = merged
        return grown

    for table, owner in owner_of.items():
        follow(table, source[table], owner)
    growing = True
    while growing:
        growing = False
        for name in keys:
            owner, row = np.divmod(found[name], sizes[name])
            growing |= follow(name, source[name].take(pa.array(row)), owner)
    pairs = {name: (codes // sizes[name], codes % sizes[name]) for name, codes in found.items()}
    return Uses(pairs, keys)
