"""Practitioner and PractitionerRole: who gives care, and where and as what."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, make_concept, needing, shared_identifier, telecom
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.places import work_places
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Code, Link, Text

__all__ = ["PRACTITIONER", "PRACTITIONER_ROLE"]

ROLES = {
    "physician": ("309343006", "Physician (occupation)"),
    "other": ("223366009", "Healthcare professional (occupation)"),
}
NUCC = "http://nucc.org/provider-taxonomy"

PRACTITIONER = Resource(
    type="Practitioner",
    table="practitioner",
    profile=US_CORE + "us-core-practitioner",
    elements={
        "identifier": [
            shared_identifier("practitioner"),
            {"system": "http://hl7.org/fhir/sid/us-npi", "value": Text("npi")},
        ],
        "active": True,
        "name": [
            needing(
                {"family": Text("family_name"), "given": [Text("given_name")], "prefix": [Text("name_prefix")]},
                one_of=("family", "given"),
            )
        ],
        "telecom": [telecom("phone", "phone", "work"), telecom("email", "email", "work")],
        "gender": Code("sex"),
    },
)


def _roles(source: Source) -> pa.Table:
    """A role for every practitioner of whom an organization or a specialty is known."""
    rows = source["practitioner"]
    rows = rows.append_column("specialty_system", pa.array([NUCC] * rows.num_rows, pa.string()))
    rows = rows.filter(pc.or_(rows["organization_id"].is_valid(), rows["specialty_code"].is_valid())).combine_chunks()
    endpoint = whole(rows["organization_id"]) if source.synthetic else pa.nulls(len(rows), pa.string())
    return with_columns(rows, location_id=work_places(source, rows), endpoint_id=endpoint)


def _code(specialty: str | None) -> dict[str, Any] | None:
    """What sort of professional: NUCC's codes of physicians begin with 20."""
    physician = specialty is not None and specialty.startswith("20")
    code, display = ROLES["physician" if physician else "other"]
    return make_concept("http://snomed.info/sct", code, display)


PRACTITIONER_ROLE = Resource(
    type="PractitionerRole",
    table="practitioner",
    kind="practitioner_role",
    derived=True,
    rows=_roles,
    # Its invariant pd-1 asks for a telecom or an endpoint: without one the profile cannot be claimed.
    profile=Each(
        ("phone", "email"),
        lambda phone, email: US_CORE + "us-core-practitionerrole" if phone or email else None,
        needs=(),
    ),
    elements={
        "identifier": [shared_identifier("practitioner_role")],
        "active": True,
        "practitioner": Link("practitioner"),
        "organization": Link("organization"),
        "code": [Each(("specialty_code",), _code, needs=())],
        "specialty": [concept("specialty_system", "specialty_code", "specialty_display")],
        "location": [Link("location")],
        "telecom": [telecom("phone", "phone", "work"), telecom("email", "email", "work")],
        "endpoint": [Link("endpoint", "endpoint_id", derived=True)],
    },
)
