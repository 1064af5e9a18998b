"""Short clinical notes that say what the record says of an encounter, written by columns.

A note is plain text: a head with the patient and the visit, then under a heading each a line per reason, diagnosis,
medication, procedure, immunization and result, code first. Nothing stands in it that is not in the tables.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, joined, kept, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.fragments import Slot, constant, join, pool_of, row_texts, time_slots
from ehrsynth.exporters.keys import distinct, listed, numbers_of, places_in, rows_by_owner
from ehrsynth.native import compiled

__all__ = ["SECTIONS", "documented_encounters", "note_texts"]

SECTIONS = (
    ("Diagnoses", "condition"),
    ("Medications", "medication_request"),
    ("Procedures", "procedure"),
    ("Immunizations", "immunization"),
    ("Results", "observation"),
)
"""Heading and table, in the order of the note."""

_SHOWN = ("code", "display", "value_number", "value_unit", "value_display", "value_code", "value_text")

_CLASSES = {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient", "HH": "home", "VR": "virtual"}


def documented_encounters(source: Source) -> pa.Table:
    """Return the finished encounters of a known date, each with its note in Base64 (``note``) and its UTC dates."""
    return source.once("documented_encounters", _documented)


def note_texts(source: Source) -> tuple[pa.Table, pa.Array]:
    """Return the finished encounters of a known date, and the note of each as text."""
    rows = _finished(source)
    return rows, join(_slots(rows, source), len(rows)).cast(pa.large_string())


def _finished(source: Source) -> pa.Table:
    rows = source["encounter"]
    return kept(rows, hits(rows["status"], ["finished"]) & rows["start_datetime"].is_valid().to_numpy())


def _documented(source: Source) -> pa.Table:
    rows = _finished(source)
    noted = pc.coalesce(whole(rows["end_datetime"]), whole(rows["start_datetime"]))
    return with_columns(rows, noted=noted, note=_base64(join(_slots(rows, source), len(rows))))


def _slots(rows: pa.Table, source: Source) -> list[Slot]:
    n, patients = len(rows), source["patient"]

    def of_patient(column: str) -> pa.Array:
        return joined(rows["patient_id"], patients, "patient_id", column)

    classes = _spoken(whole(rows["encounter_class"]).cast(pa.string()))
    slots = [
        *_line(b"Patient: ", _joined_names(of_patient("given_name"), of_patient("family_name"))),
        *_line(b"Sex: ", of_patient("sex")),
        *_dated(b"Born: ", of_patient("birth_date")),
        *_dated(b"Visit: ", whole(rows["start_datetime"]).cast(pa.date32())),
        *_dated(b"Until: ", whole(rows["end_datetime"]).cast(pa.date32())),
        *_line(b"Kind: ", classes),
        *_coded(b"Reason: ", rows, "reason_code", "reason_display", b"\n"),
    ]
    keys = whole(rows["encounter_id"])
    for heading, table in SECTIONS:
        slots += _section(heading, source[table], keys, n)
    return slots


def _spoken(classes: pa.Array) -> pa.Array:
    encoded = classes.dictionary_encode()
    names = pa.array([_CLASSES.get(one, one) for one in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def _line(lead: bytes, texts: pa.Array) -> list[Slot]:
    """The slots of a line of text; of nothing where there is no text."""
    texts = _plain(texts)
    slot = row_texts(texts)
    where: npt.NDArray[np.int32] | int = 0
    if texts.null_count:
        where = texts.is_valid().to_numpy(zero_copy_only=False).astype(np.int32) - np.int32(1)
    return [constant(lead, where), slot, constant(b"\n", where)]


def _dated(lead: bytes, days: pa.Array) -> list[Slot]:
    where: npt.NDArray[np.int32] | int = 0
    if days.null_count:
        where = days.is_valid().to_numpy(zero_copy_only=False).astype(np.int32) - np.int32(1)
    return [constant(lead, where), *time_slots(days, close=b"\n")]


def _plain(texts: pa.Array) -> pa.Array:
    """Texts on one line each."""
    encoded = texts.cast(pa.string()).dictionary_encode()
    made = [" ".join(text.split()) or None for text in encoded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(encoded.indices)


def _joined_names(given: pa.Array, family: pa.Array) -> pa.Array:
    # Arrow's null_handling="skip" loses the rows in which both are null (pyarrow 25).
    given, family = given.cast(pa.string()), family.cast(pa.string())
    return pc.coalesce(pc.binary_join_element_wise(given, family, " "), given, family)


def _coded(lead: bytes, rows: pa.Table, code: str, display: str, close: bytes) -> list[Slot]:
    """The slots of ``code display`` of each row, nothing without a code; made once per distinct pair."""
    group = grouped(rows[code], rows[display])
    first = first_of_each(group)
    codes, displays = (listed(whole(rows[name]), first) for name in (code, display))
    texts = [None if c is None else f"{c} {d}" if d else c for c, d in zip(codes, displays, strict=True)]
    return _distinct(lead, texts, group, close)


def _distinct(
    lead: bytes, texts: Iterable[str | None], index: npt.NDArray[np.integer[Any]], close: bytes
) -> list[Slot]:
    """The slots of the texts that `index` says, each on one line; of nothing where there is none (or -1)."""
    plain = [" ".join(text.split()) if text else "" for text in texts]
    there = np.array([*(bool(text) for text in plain), False], dtype=bool)[index]
    at = np.where(there, index, -1).astype(np.int32)
    where: npt.NDArray[np.int32] | int = 0 if there.all() else there.astype(np.int32) - np.int32(1)
    pool = pool_of([text.encode() for text in plain])
    return [constant(lead, where), Slot(pool, at, foldable=False), *([constant(close, where)] if close else [])]


def _section(heading: str, rows: pa.Table, keys: pa.Array, n: int) -> list[Slot]:
    """The slots of a heading and the lines below it; nothing for encounters without any."""
    owner = places_in(keys, whole(rows["encounter_id"]))
    order = rows_by_owner(owner)
    if len(order) == 0:
        return []
    rows = rows.select([name for name in _SHOWN if name in rows.column_names])
    if len(order) < len(owner) or (np.diff(order) < 0).any():
        rows = rows.take(pa.array(order)).combine_chunks()
    owners = owner[order]
    lines = [constant(b"- "), *_coded(b"", rows, "code", "display", b"")]
    if "value_number" in rows.column_names:
        lines += [*_value(rows)]
    texts = join([*lines, constant(b"\n")], len(rows))
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
    counts = np.bincount(owners, minlength=n)
    bounds = ends[np.concatenate(([0], np.cumsum(counts)))]
    lists = pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [None, pa.py_buffer(bounds.tobytes()), data])
    there = np.where(counts > 0, np.arange(n), -1).astype(np.int32)
    mark = np.where(counts > 0, 0, -1).astype(np.int32)
    return [constant(f"{heading}:\n".encode(), mark), Slot(lists, there, foldable=False)]


def _value(rows: pa.Table) -> list[Slot]:
    """`` = value unit`` of results that have one: a number, or the words of a code, or a text."""
    numbers = whole(rows["value_number"])
    numbers = pc.if_else(pc.is_finite(numbers), numbers, None)
    taken = np.zeros(len(rows), dtype=bool)
    slots: list[Slot] = []
    index, first = distinct(numbers)
    shown = [(numbers.take(pa.array(first)).cast(pa.string()), index)]
    for name in ("value_display", "value_code", "value_text"):
        column = whole(rows[name])
        if pa.types.is_dictionary(column.type):
            shown.append((column.dictionary, numbers_of(column)))
        elif column.null_count < len(column):
            index, first = distinct(column)
            shown.append((column.take(pa.array(first)), index))
    for texts, index in shown:
        here = ~taken & (index >= 0)
        if here.any():
            slots += _distinct(b" = ", texts.to_pylist(), np.where(here, index, -1), b"")
            taken |= here
    unit = whole(rows["value_unit"])
    index = np.where(shown[0][1] >= 0, numbers_of(unit), -1)
    where = np.where(index >= 0, 0, -1).astype(np.int32)
    units = Slot(unit.dictionary.cast(pa.large_binary()), index.astype(np.int32), foldable=False)
    return [*slots, constant(b" ", where), units]


def _padded(texts: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """Texts with line feeds at their end up to a multiple of three bytes: so all can go into Base64 as one."""
    short = (-pc.binary_length(texts).to_numpy()) % 3
    index = np.arange(len(texts), dtype=np.int32)
    pads = Slot(pa.array([b"", b"\n", b"\n\n"], pa.large_binary()), short.astype(np.int32))
    return join([Slot(texts, index, foldable=False), pads], len(texts))


def _base64(texts: pa.LargeBinaryArray) -> pa.Array:
    native = compiled()
    if native is None:
        texts = _padded(texts)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
    content = b"" if data is None else memoryview(data)[: int(ends[-1])]
    bounds = ends // 3 * 4
    coded = binascii.b2a_base64(content, newline=False) if native is None else native.base64(content, ends, bounds)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds), pa.py_buffer(coded))
