"""FHIR cut into parts of its patients: resources are read once, and their rows sorted by patient to files.

Organizations, practitioners, roles, locations and medications belong to every part, and so does what conditional
references to them may mean. Identifiers of patients are kept in a file, and looked at only if something refers to a
patient by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_assembly import Assembly
from ehrsynth.readers.fhir_columns import Collected, FhirTable, schemas, typed
from ehrsynth.readers.fhir_reading import Reading
from ehrsynth.readers.fhir_references import UNRESOLVED, Identifiers
from ehrsynth.readers.fhir_source import fhir_files, read_items
from ehrsynth.readers.part_keys import KeyFiles, PartKeys
from ehrsynth.readers.parting import HELD_BYTES, Numbers, part_bounds

__all__ = ["FhirCut", "FhirPart"]

Ints = npt.NDArray[np.int64]

_SHARED = ("organization", "practitioner", "location", "role", "medication")
_SHARED_TYPES = frozenset({"Organization", "Practitioner", "PractitionerRole", "Location"})
"""Types whose resources every part has, and the first accounts for. (Of a Medication nothing is said.)"""

_WAITING = 1 << 15
"""Identifiers of patients that are held before they go to a file."""
_RESOURCE_BYTES, _PACKED = 1_000, 8
"""What a resource takes as text, and how many bytes of text a byte of gzip makes, about."""


class FhirCut:
    """How a file or folder of FHIR falls into patients; see `ehrsynth.readers.parting.Cut`.

    Parameters
    ----------
    path : Path
    """

    once: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self.path = path

    def about(self) -> int:
        """Return about how many resources there are, by the size of the files."""
        sizes = [(path, path.stat().st_size) for path in fhir_files(self.path)]
        return sum(size * (_PACKED if path.suffix == ".gz" else 1) for path, size in sizes) // _RESOURCE_BYTES

    def split(self, into: Path, of: int, keys: KeyFiles | None = None, *, strict: bool = True) -> list[FhirPart]:
        """Read the resources, and write their rows in `of` parts of consecutive patients to the folder `into`.

        Raises
        ------
        SourceError
            As of `FhirReader.read`, where a resource alone shows it.
        """
        account = FhirAccount(self.path, strict=strict)
        with _Spill(into) as spill:
            collected, identifiers = Collected(spill.send), _PatientsApart(into)
            reading = Reading(account, collected, identifiers)
            for item in read_items(self.path, account, identifiers):
                reading.take(item)
            collected.finish()
        found = _Found(
            path=self.path,
            into=into,
            account=account,
            identifiers=identifiers,
            gone={kind: tuple(names) for kind, names in reading.gone.items()},
            synthetic=reading.synthetic,
            shared={name: typed(name, spill.batches(name)) for name in _SHARED},
        )
        _distribute(spill, found, of)
        return [FhirPart(found, number, None if keys is None else keys.of(number)) for number in range(of)]


@dataclass(kw_only=True)
class _Found:
    """What all parts have."""

    path: Path
    into: Path
    account: FhirAccount
    identifiers: Identifiers
    gone: dict[str, tuple[str, ...]]
    synthetic: bool
    shared: dict[str, FhirTable]
    payer_types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FhirPart:
    """A part of the patients, whose rows lie in files."""

    found: _Found
    number: int
    keys: PartKeys | None

    @property
    def path(self) -> Path:
        """Where the source is."""
        return self.found.path

    def table(self, name: str) -> FhirTable:
        """Return the rows of a table."""
        if name in self.found.shared:
            return self.found.shared[name]
        path = _place(self.found.into, name, self.number)
        if not path.exists():
            return typed(name, ())
        with pa.OSFile(str(path)) as file:
            return typed(name, pa.ipc.open_stream(file))

    def tables(self, *, strict: bool) -> tuple[dict[str, pa.Table], FhirAccount, bool]:
        """Return the canonical tables, their account, and whether all resources of the source are test data."""
        found = self.found
        account = found.account.of_part(self.number, _SHARED_TYPES, strict=strict)
        made = Assembly(
            self, found.identifiers, found.gone, account, keys=self.keys, payer_types=found.payer_types
        ).tables()
        return made, account, found.synthetic

    def forget(self) -> None:
        """Remove what was written of this part."""
        for name in schemas():
            _place(self.found.into, name, self.number).unlink(missing_ok=True)


def _place(into: Path, table: str, number: int) -> Path:
    return into / f"{table}-{number}.arrow"


class _Spill:
    """Rows of each table in one file, in the order in which they come."""

    def __init__(self, into: Path) -> None:
        self._into, self._stack = into, ExitStack()
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> _Spill:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _path(self, table: str) -> Path:
        return self._into / f"{table}.all.arrow"

    def send(self, table: str, rows: pa.RecordBatch) -> None:
        """Write rows of a table."""
        if table not in self._writers:
            self._writers[table] = _writer(self._stack, self._path(table), rows.schema)
        self._writers[table].write_batch(rows)

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table."""
        if table in self._writers:
            with pa.OSFile(str(self._path(table))) as file:
                yield from pa.ipc.open_stream(file)

    def forget(self, table: str) -> None:
        """Remove the rows of a table."""
        self._path(table).unlink(missing_ok=True)


def _writer(stack: ExitStack, path: Path, schema: pa.Schema) -> Any:
    sink = stack.enter_context(pa.OSFile(str(path), "wb"))
    return stack.enter_context(pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")))


class _PatientsApart(Identifiers):
    """Identifiers of which those of patients are in files until somebody asks for one."""

    def __init__(self, into: Path) -> None:
        super().__init__()
        self._into = into
        self._waiting: list[tuple[str, str]] = []
        self._files: list[Path] = []
        self._loaded = False

    def add(self, kind: str, key: str, identifiers: Any) -> None:
        """Note the identifiers of a resource."""
        if kind != "Patient" or self._loaded:
            super().add(kind, key, identifiers)
            return
        self._waiting += [(token, f"{kind}/{key}") for token in self.tokens(kind, identifiers)]
        if len(self._waiting) >= _WAITING:
            path = self._into / f"identifiers-{len(self._files)}.arrow"
            columns = pa.table({"": [list(pair) for pair in self._waiting]})
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns.schema) as writer:
                writer.write_table(columns)
            self._files.append(path)
            self._waiting.clear()

    def find(self, token: str) -> str | None:
        """Return the ``Type/id`` that ``Type?system|value`` leads to."""
        if token.startswith("Patient?") and not self._loaded:
            self._loaded = True
            for path in self._files:
                with pa.OSFile(str(path)) as file:
                    for known, name in pa.ipc.open_file(file).read_all()[""].to_pylist():
                        self.add_token(known, name)
            for known, name in self._waiting:
                self.add_token(known, name)
        return super().find(token)


def _distribute(spill: _Spill, found: _Found, of: int) -> None:
    """Write the rows of each table of patients to the parts."""
    patients = Numbers(batch.column("patient_id") for batch in spill.batches("patient"))
    lookup = Assembly(Collected(), found.identifiers, {}, found.account)
    lookup.knows("Organization", found.shared["organization"]["organization_id"])
    bounds = part_bounds(len(patients), of)
    first_said: dict[str, tuple[int, str]] = {}
    for name, schema in schemas().items():
        if name in _SHARED:
            continue
        with _Shares(found.into, name) as shares:
            for batch in spill.batches(name):
                rows = pa.Table.from_batches([batch])
                who = _patients_of(batch, spill, lookup)
                rows = rows.set_column(schema.get_field_index("patient_id"), "patient_id", who)
                at = patients.find(pa.chunked_array([who]))
                if name == "coverage":
                    _note_payers(first_said, lookup.resolved(batch.column("payer_id"), "Organization"), batch, at)
                part = np.searchsorted(bounds, np.maximum(at, 0), side="right") - 1
                nobody = np.flatnonzero(pc.is_null(who).to_numpy(zero_copy_only=False))
                if len(nobody):
                    # A report that does not say whose it is may be anybody's.
                    rows = pa.concat_tables([rows, *[rows.take(pa.array(nobody))] * (of - 1)])
                    part = np.concatenate([part, np.repeat(np.arange(1, of), len(nobody))])
                shares.add(rows, part)
    for name in schemas():
        spill.forget(name)
    found.payer_types.update({payer: kind for payer, (_, kind) in first_said.items()})


class _Shares:
    """Rows of a table on their way to the parts; some are held, so that they are written in larger pieces."""

    def __init__(self, into: Path, table: str) -> None:
        self._into, self._table, self._stack = into, table, ExitStack()
        self._writers: dict[int, Any] = {}
        self._rows: list[pa.Table] = []
        self._parts: list[Ints] = []

    def __enter__(self) -> _Shares:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._stack:
            if kind is None:
                self._send()

    def add(self, rows: pa.Table, part: Ints) -> None:
        """Take rows, each with the number of its part."""
        self._rows.append(rows)
        self._parts.append(part)
        if sum(one.nbytes for one in self._rows) > HELD_BYTES:
            self._send()

    def _send(self) -> None:
        if not self._rows:
            return
        rows, part = pa.concat_tables(self._rows), np.concatenate(self._parts)
        order = np.argsort(part, kind="stable")
        numbers, first = np.unique(part[order], return_index=True)
        for number, mine in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
            if number not in self._writers:
                place = _place(self._into, self._table, number)
                self._writers[number] = _writer(self._stack, place, rows.schema)
            self._writers[number].write_table(rows.take(pa.array(mine)))
        self._rows.clear()
        self._parts.clear()


def _patients_of(rows: pa.RecordBatch, spill: _Spill, lookup: Assembly) -> pa.Array:
    """Return whose the rows are, where that can be known."""
    who = rows.column("patient_id")
    if pc.any(pc.starts_with(who, UNRESOLVED)).as_py() and not lookup.has("Patient"):
        # To tell what a reference means the keys themselves are needed.
        keys = [batch.column("patient_id") for batch in spill.batches("patient")]
        lookup.knows("Patient", pa.chunked_array(keys, pa.string()).unique())
    return lookup.resolved(who, "Patient")


def _note_payers(said: dict[str, tuple[int, str]], payer: pa.Array, rows: pa.RecordBatch, at: Ints) -> None:
    """Note of each payer the type that the first of the patients says, of those who say one."""
    kind = rows.column("_payer_type")
    there = np.flatnonzero((at >= 0) & pc.and_(kind.is_valid(), payer.is_valid()).to_numpy(zero_copy_only=False))
    there = there[np.argsort(at[there], kind="stable")]
    names = payer.take(pa.array(there)).dictionary_encode()
    _, first = np.unique(names.indices.to_numpy(), return_index=True)
    for row, name in zip(there[np.sort(first)].tolist(), names.dictionary.to_pylist(), strict=True):
        if name not in said or int(at[row]) < said[name][0]:
            said[name] = int(at[row]), kind[row].as_py()
