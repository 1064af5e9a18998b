"""Device and DeviceUseStatement: what a patient carries, and from when to when."""

import re
from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, period, source_identifier
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Code, Link, Text, clean_text, look_up

__all__ = ["DEVICE", "DEVICE_USE_STATEMENT"]

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

DEVICE_USE_STATEMENT = Resource(
    type="DeviceUseStatement",
    table="device",
    kind="device_use",
    derived=True,
    elements={
        # Its codes are of the use: a device that is inactive was in use until it was.
        "status": look_up(
            "status",
            {
                "active": "active",
                "inactive": "completed",
                "entered-in-error": "entered-in-error",
                "unknown": "active",
            },
        ),
        "subject": Link("patient"),
        "timingPeriod": period("start_datetime", "end_datetime", "time_precision"),
        "source": Link("practitioner"),
        "device": Link("device"),
    },
)
