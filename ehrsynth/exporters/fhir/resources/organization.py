"""Organization: who gives care, and who pays for it."""

from ehrsynth.exporters.fhir.datatypes import US_CORE, address, concept_of, fixed_concept, shared_identifier, telecom
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.values import Text

__all__ = ["ORGANIZATION", "PAYER"]

ORGANIZATION_TYPE = "http://terminology.hl7.org/CodeSystem/organization-type"

ORGANIZATION = Resource(
    type="Organization",
    table="organization",
    profile=US_CORE + "us-core-organization",
    elements={
        "identifier": [
            shared_identifier("organization"),
            {"system": "http://hl7.org/fhir/sid/us-npi", "value": Text("npi")},
        ],
        "active": True,
        "type": [concept_of(ORGANIZATION_TYPE, "organization_type_code")],
        "name": Text("name"),
        "telecom": [telecom("phone", "phone", "work")],
        "address": [address("work")],
    },
)

PAYER = Resource(
    type="Organization",
    table="payer",
    profile=US_CORE + "us-core-organization",
    elements={
        "identifier": [shared_identifier("payer")],
        "active": True,
        "type": [fixed_concept(ORGANIZATION_TYPE, "pay")],
        "name": Text("name"),
        "telecom": [telecom("phone", "phone", "work")],
        "address": [address("work")],
    },
)
