"""Endpoint: where an organization takes messages, at an address that nobody can have."""

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import fixed_concept, shared_identifier
from ehrsynth.exporters.fhir.identity import fhir_ids
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.values import Link, Text

__all__ = ["ENDPOINT"]

FORMAT = "http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode"


def _rows(source: Source) -> pa.Table:
    """The organizations of synthetic records; of a real one we do not know where it takes messages."""
    rows = source["organization"]
    if not source.synthetic:
        rows = rows.slice(0, 0)
    ids = fhir_ids(whole(rows["organization_id"]), "organization").to_pylist()
    addresses = pa.array([f"mailto:records@{name}.direct.example" for name in ids], pa.string())
    return with_columns(rows, direct_address=addresses)


ENDPOINT = Resource(
    type="Endpoint",
    table="organization",
    kind="endpoint",
    derived=True,
    rows=_rows,
    elements={
        "identifier": [shared_identifier("endpoint")],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "direct-project",
            "display": "Direct Project",
        },
        "name": Text("name"),
        "managingOrganization": Link("organization"),
        "payloadType": [fixed_concept(FORMAT, "urn:hl7-org:sdwg:ccda-structuredBody:1.1")],
        "address": Text("direct_address"),
    },
)
