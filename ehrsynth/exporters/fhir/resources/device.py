"""Device: what a patient carries."""

import calendar
import re
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances
from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, source_identifier
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Code, Link, Text, Time, clean_text

__all__ = ["DEVICE"]

SHELF_DAYS = 5 * 365
"""Sterile implants are commonly sold for five years."""

_TISSUE = re.compile(
    r"\b(?:allograft|homograft|xenograft|tissue|bone graft|cornea|skin graft|heart valve)", re.IGNORECASE
)
_MADE = re.compile(r"\(11\)(\d{6})")
_EXPIRES = re.compile(r"\(17\)(\d{6})")
_GTIN = re.compile(r"\(01\)\s*(\d{14})")


def _carrier(carrier: str) -> dict[str, Any] | None:
    """The carrier of a Unique Device Identifier as people read it, and the device identifier in it (GS1: (01))."""
    text = clean_text(carrier)
    if text is None:
        return None
    found = _GTIN.search(text)
    return {"deviceIdentifier": found.group(1) if found else text, "carrierHRF": text}


def _rows(source: Source) -> pa.Table:
    """Devices with what their identifier says of when they were made and until when they can be implanted.

    Of synthetic implants whose identifier does not say it: implanted within half of the time that they keep.
    """
    rows = source["device"]
    carriers = [clean_text(text) for text in rows["unique_device_id"].to_pylist()]
    made, expires = _dates(carriers, _MADE), _dates(carriers, _EXPIRES)
    if source.synthetic:
        chance = chances(rows["device_id"], "device", "age")
        implanted = whole(rows["start_datetime"]).cast(pa.date32()).cast(pa.int32())
        guess = pc.subtract(implanted, pa.array((30 + chance * SHELF_DAYS / 2).astype(np.int32)))
        guess = pc.if_else(pa.array([text is not None for text in carriers], pa.bool_()), guess, None)
        shelf = pa.scalar(SHELF_DAYS, pa.int32())
        made = pc.coalesce(made, pc.subtract(expires, shelf), guess)
        expires = pc.coalesce(expires, pc.add(made, shelf))
    return with_columns(
        rows,
        made=made.cast(pa.date32()),
        expires=expires.cast(pa.date32()),
        # Only cells, tissues and their products have one (21 CFR 1271.290(c)).
        tissue=pc.if_else(pa.array(_is_tissue(rows), pa.bool_()), whole(rows["serial_number"]).cast(pa.string()), None),
    )


def _dates(carriers: list[str | None], part: re.Pattern[str]) -> pa.Array:
    """The days since 1970 that identifiers name; day 00 is the last of the month (GS1 General Specifications)."""
    made: list[int | None] = []
    for text in carriers:
        found = part.search(text or "")
        if found is None or not 1 <= int(found[1][2:4]) <= 12:
            made.append(None)
            continue
        year, month, day = 2000 + int(found[1][:2]), int(found[1][2:4]), int(found[1][4:])
        last = calendar.monthrange(year, month)[1]
        made.append((date(year, month, min(day, last) or last) - date(1970, 1, 1)).days)
    return pa.array(made, pa.int32())


def _is_tissue(rows: pa.Table) -> list[bool]:
    return [bool(text and _TISSUE.search(text)) for text in rows["display"].cast(pa.string()).to_pylist()]


DEVICE = Resource(
    type="Device",
    table="device",
    rows=_rows,
    # Only an implant is known to carry a UDI; a walking frame is a device too.
    profile=Each(
        ("unique_device_id",), lambda udi: US_CORE + "us-core-implantable-device" if clean_text(udi) else None
    ),
    elements={
        "identifier": [source_identifier("device_id", "device")],
        "udiCarrier": [Each(("unique_device_id",), _carrier)],
        "status": Code("status"),
        "distinctIdentifier": Text("tissue"),
        "manufactureDate": Time("made"),
        "expirationDate": Time("expires"),
        "lotNumber": Text("lot_number"),
        "serialNumber": Text("serial_number"),
        "type": concept("code_system", "code", "display"),
        "patient": Link("patient"),
    },
)
