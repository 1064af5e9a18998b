"""Location: a place where care is given."""

from ehrsynth.exporters.fhir.datatypes import US_CORE, address, concept_of, shared_identifier, telecom
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.values import Link, Text

__all__ = ["LOCATION"]

LOCATION = Resource(
    type="Location",
    table="location",
    profile=US_CORE + "us-core-location",
    elements={
        "identifier": [shared_identifier("location")],
        "status": "active",
        "name": Text("name"),
        "mode": "instance",
        "type": [concept_of("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "location_type_code")],
        "telecom": [telecom("phone", "phone", "work")],
        "address": address("work"),
        "managingOrganization": Link("organization"),
    },
)
