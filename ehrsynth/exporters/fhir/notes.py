"""Short clinical notes that say what the record says of an encounter, written by columns.

A note is plain text: a head with the patient and the visit, then under a heading each a line per reason, diagnosis,
medication, procedure, immunization and result, code first. Nothing stands in it that is not in the tables.
"""

from __future__ import annotations

import binascii

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.joins import first_of_each, grouped, joined, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.fragments import Slot, constant, join, time_slots

__all__ = ["SECTIONS", "documented_encounters"]

SECTIONS = (
    ("Diagnoses", "condition"),
    ("Medications", "medication_request"),
    ("Procedures", "procedure"),
    ("Immunizations", "immunization"),
    ("Results", "observation"),
)
"""Heading and table, in the order of the note."""

_CLASSES = {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient", "HH": "home", "VR": "virtual"}


def documented_encounters(source: Source) -> pa.Table:
    """Return the finished encounters of a known date, each with its note in Base64 (``note``) and its UTC dates."""
    return source.once("documented_encounters", _documented)


def _documented(source: Source) -> pa.Table:
    rows = source["encounter"]
    rows = rows.filter(
        pc.and_(pc.equal(rows["status"].cast(pa.string()), "finished"), rows["start_datetime"].is_valid())
    )
    rows = rows.combine_chunks()
    noted = pc.coalesce(whole(rows["end_datetime"]), whole(rows["start_datetime"]))
    return with_columns(rows, noted=noted, note=_base64(_padded(join(_slots(rows, source), len(rows)))))


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
        *_after(b"Reason: ", _coded(rows, "reason_code", "reason_display"), b"\n"),
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
    return _after(lead, _said(texts), b"\n")


def _dated(lead: bytes, days: pa.Array) -> list[Slot]:
    where: npt.NDArray[np.int32] | int = 0
    if days.null_count:
        where = days.is_valid().to_numpy(zero_copy_only=False).astype(np.int32) - np.int32(1)
    return [constant(lead, where), *time_slots(days, close=b"\n")]


def _said(texts: pa.Array) -> Slot:
    """The slot of texts, on one line each; of nothing where there is none."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    made = [" ".join(text.split()) for text in encoded.dictionary.to_pylist()]
    index = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int32, copy=False)
    there = np.array([*(bool(text) for text in made), False], dtype=bool)
    return Slot(pa.array(made, pa.large_binary()), np.where(there[index], index, np.int32(-1)), foldable=False)


def _joined_names(given: pa.Array, family: pa.Array) -> pa.Array:
    # Arrow's null_handling="skip" loses the rows in which both are null (pyarrow 25).
    given, family = given.cast(pa.string()), family.cast(pa.string())
    return pc.coalesce(pc.binary_join_element_wise(given, family, " "), given, family)


def _coded(rows: pa.Table, code: str, display: str) -> Slot:
    """``code display`` of each row, nothing without a code; made once per distinct pair."""
    group = grouped(rows[code], rows[display])
    distinct = rows.select([code, display]).take(pa.array(first_of_each(group))).to_pylist()
    texts = ["" if row[code] is None else " ".join(f"{row[code]} {row[display] or ''}".split()) for row in distinct]
    there = np.array([bool(text) for text in texts], dtype=bool)
    index = group.astype(np.int32)
    return Slot(pa.array(texts, pa.large_binary()), np.where(there[group], index, np.int32(-1)), foldable=False)


_VALUE = ("value_number", "value_unit", "value_display", "value_code", "value_text")


def _section(heading: str, rows: pa.Table, keys: pa.Array, n: int) -> list[Slot]:
    """The slots of a heading and the lines below it; nothing for encounters without any."""
    owner = pc.index_in(whole(rows["encounter_id"]), value_set=keys)
    order = np.argsort(pc.fill_null(owner, -1).to_numpy(), kind="stable")[owner.null_count :]
    if len(order) == 0:
        return []
    wanted = [name for name in ("code", "display", *_VALUE) if name in rows.column_names]
    rows = rows.select(wanted).take(pa.array(order)).combine_chunks()
    owners = owner.take(pa.array(order)).to_numpy()
    lines = [constant(b"- "), _coded(rows, "code", "display")]
    if "value_number" in wanted:
        lines += _value(rows)
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
    """`` = value unit`` of results that have one: the number, else what stands in its place."""
    numbers = whole(rows["value_number"])
    numbers = pc.if_else(pc.is_finite(numbers), numbers, None)
    number = _said(numbers.dictionary_encode().cast(pa.dictionary(pa.int32(), pa.string())))
    unit = _said(pc.if_else(numbers.is_valid(), whole(rows["value_unit"]), None))
    words = rows.filter(numbers.is_null()).combine_chunks()
    said = pc.coalesce(
        *(whole(words[name]).cast(pa.string()) for name in ("value_display", "value_code", "value_text"))
    )
    beside = _said(said)
    place = np.full(len(rows), -1, dtype=np.int32)
    place[numbers.is_null().to_numpy(zero_copy_only=False)] = beside.index
    return [
        *_after(b" = ", number),
        *_after(b" = ", Slot(beside.pool, place, foldable=False)),
        *_after(b" ", unit),
    ]


def _after(lead: bytes, slot: Slot, close: bytes = b"") -> list[Slot]:
    """The slots of a text between `lead` and `close`; of nothing where there is none."""
    where = np.minimum(slot.index, np.int32(0))
    if not where.any():
        return [constant(lead), slot, constant(close)]
    return [constant(lead, where), slot, constant(close, where)]


def _padded(texts: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """Texts with line feeds at their end up to a multiple of three bytes: so all can go into Base64 as one."""
    short = (-pc.binary_length(texts).to_numpy()) % 3
    index = np.arange(len(texts), dtype=np.int32)
    pads = Slot(pa.array([b"", b"\n", b"\n\n"], pa.large_binary()), short.astype(np.int32))
    return join([Slot(texts, index, foldable=False), pads], len(texts))


def _base64(texts: pa.LargeBinaryArray) -> pa.Array:
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
    content = b"" if data is None else memoryview(data)[: int(ends[-1])]
    coded = binascii.b2a_base64(content, newline=False)
    bounds = ends // 3 * 4
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds.tobytes()), pa.py_buffer(coded))
