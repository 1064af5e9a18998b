"""Device: what a patient carries."""

import re
from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, source_identifier
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Code, Link, Text, clean_text

__all__ = ["DEVICE"]

_GTIN = re.compile(r"\(01\)\s*(\d{14})")


def _carrier(carrier: str) -> dict[str, Any] | None:
    """The carrier of a Unique Device Identifier as people read it, and the device identifier in it (GS1: (01))."""
    text = clean_text(carrier)
    if text is None:
        return None
    found = _GTIN.search(text)
    return {"deviceIdentifier": found.group(1) if found else text, "carrierHRF": text}


DEVICE = Resource(
    type="Device",
    table="device",
    # Only an implant is known to carry a UDI; a walking frame is a device too.
    profile=Each(
        ("unique_device_id",), lambda udi: US_CORE + "us-core-implantable-device" if clean_text(udi) else None
    ),
    elements={
        "identifier": [source_identifier("device_id", "device")],
        "udiCarrier": [Each(("unique_device_id",), _carrier)],
        "status": Code("status"),
        "lotNumber": Text("lot_number"),
        "serialNumber": Text("serial_number"),
        "type": concept("code_system", "code", "display"),
        "patient": Link("patient"),
    },
)
