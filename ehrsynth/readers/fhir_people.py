"""FHIR resources of people and places as rows: Patient, Coverage, Organization, Practitioner, roles, Location."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehrsynth.readers.fhir_elements import (
    Found,
    Refused,
    code_of,
    dicts,
    first,
    identifier_of,
    node,
    preferred,
    string,
    telecom,
)

__all__ = ["Row", "coverage", "location", "organization", "patient", "practitioner", "practitioner_role"]

Row = tuple[str, dict[str, Any]]
"""The table (or side table of the reader) that a row belongs to, and its values by column."""

NPI = "http://hl7.org/fhir/sid/us-npi"
SSN = "http://hl7.org/fhir/sid/us-ssn"
SOP = "https://nahdo.org/sopt"
_PAYERS = ("pay", "ins")


def organization(found: Found) -> Iterator[Row]:
    """An Organization; whether it gives care or pays for it is known when all is read."""
    body = found.body
    name = string(body.get("name"))
    if name is None:
        raise Refused("it has no name", element="name")
    kinds = [string(coding.get("code")) for kind in dicts(body.get("type")) for coding in dicts(kind.get("coding"))]
    system = "http://terminology.hl7.org/CodeSystem/organization-type"
    yield (
        "organization",
        {
            "organization_id": found.key,
            "name": name,
            "organization_type_code": _first_code(body.get("type"), system),
            "npi": identifier_of(body, system=NPI),
            "phone": telecom(body, "phone"),
            **found.address(),
            "_payer": any(code in _PAYERS for code in kinds),
        },
    )


def _first_code(concepts: Any, system: str) -> str | None:
    return next((code for concept in dicts(concepts) if (code := code_of(concept, system))), None)


def practitioner(found: Found) -> Iterator[Row]:
    """A Practitioner; specialty and organization come from the roles."""
    body = found.body
    name = first(body.get("name"))
    family = string(name.get("family")) or string(name.get("text"))
    if family is None:
        raise Refused("it has no name", element="name")
    given = name.get("given")
    prefix = name.get("prefix")
    yield (
        "practitioner",
        {
            "practitioner_id": found.key,
            "npi": identifier_of(body, system=NPI),
            "name_prefix": string(prefix[0]) if type(prefix) is list and prefix else None,
            "given_name": string(given[0]) if type(given) is list and given else None,
            "family_name": family,
            "sex": string(body.get("gender")),
            "phone": telecom(body, "phone"),
            "email": telecom(body, "email"),
        },
    )


def practitioner_role(found: Found) -> Iterator[Row]:
    """A PractitionerRole: what its practitioner is, and where."""
    body = found.body
    who = found.link(body.get("practitioner"), "Practitioner")
    if who is None:
        raise Refused("it is the role of no Practitioner", element="practitioner")
    specialty = preferred(first(body.get("specialty"))) or preferred(first(body.get("code")))
    nucc = specialty if specialty and specialty[0] == "http://nucc.org/provider-taxonomy" else None
    yield (
        "role",
        {
            "role_id": found.key,
            "practitioner_id": who,
            "organization_id": found.link(body.get("organization"), "Organization"),
            "specialty_code": nucc[1] if nucc else None,
            "specialty_display": nucc[2] if nucc else None,
            "phone": telecom(body, "phone"),
            "email": telecom(body, "email"),
        },
    )


def location(found: Found) -> Iterator[Row]:
    """A Location."""
    body = found.body
    name = string(body.get("name"))
    if name is None:
        raise Refused("it has no name", element="name")
    system = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
    yield (
        "location",
        {
            "location_id": found.key,
            "name": name,
            "location_type_code": _first_code(body.get("type"), system),
            "organization_id": found.link(body.get("managingOrganization"), "Organization"),
            "phone": telecom(body, "phone"),
            **found.address(),
        },
    )


def patient(found: Found) -> Iterator[Row]:
    """A Patient, with US Core's extensions."""
    body = found.body
    birth, precision = found.moment(body.get("birthDate"), "birthDate")
    if birth is None:
        raise Refused("it has no birthDate", element="birthDate")
    (death,), how = found.times(body.get("deceasedDateTime"), element="deceasedDateTime")
    if death is None and body.get("deceasedBoolean") is True:
        found.adjust("dead, but nobody says since when: left out", "deceasedBoolean")
    languages = dicts(body.get("communication"))
    language = next((entry for entry in languages if entry.get("preferred") is True), languages[0] if languages else {})
    yield (
        "patient",
        {
            "patient_id": found.key,
            "birth_date": birth // 86400,
            "birth_date_precision": precision if precision in ("year", "month") else "day",
            "sex": string(body.get("gender")) or "unknown",
            "birth_sex": _birth_sex(body),
            "race_code": _category(body, "us-core-race"),
            "ethnicity_code": _category(body, "us-core-ethnicity"),
            "marital_status_code": code_of(
                body.get("maritalStatus"), "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
            ),
            "language_code": code_of(language.get("language"), "urn:ietf:bcp:47"),
            "death_datetime": death,
            "death_precision": how,
            **_names(body),
            **found.address(),
            "phone": telecom(body, "phone"),
            "email": telecom(body, "email"),
            "medical_record_number": identifier_of(body, type_code="MR"),
            "social_security_number": identifier_of(body, system=SSN),
            "organization_id": found.link(body.get("managingOrganization"), "Organization"),
            "practitioner_id": found.practitioner(dicts(body.get("generalPractitioner"))),
        },
    )


def _extension(body: dict[str, Any], name: str) -> dict[str, Any]:
    for extension in dicts(body.get("extension")):
        if str(extension.get("url", "")).rpartition("/")[2] == name:
            return extension
    return {}


def _category(body: dict[str, Any], name: str) -> str | None:
    """Race or ethnicity: the first category, else the first detailed code."""
    parts = dicts(_extension(body, name).get("extension"))
    for wanted in ("ombCategory", "detailed"):
        for part in parts:
            if part.get("url") == wanted and (code := string(node(part.get("valueCoding")).get("code"))):
                return code
    return None


def _birth_sex(body: dict[str, Any]) -> str | None:
    return string(_extension(body, "us-core-birthsex").get("valueCode"))


def _names(body: dict[str, Any]) -> dict[str, Any]:
    """The official name, else the first that is neither old nor a maiden name; and the maiden name."""
    names = dicts(body.get("name"))
    current = [name for name in names if name.get("use") not in ("maiden", "old")]
    name = next((name for name in current if name.get("use") == "official"), current[0] if current else {})
    maiden: dict[str, Any] = next((name for name in names if name.get("use") == "maiden"), {})
    given = [text for part in name.get("given") or () if (text := string(part))]
    prefix = [text for part in name.get("prefix") or () if (text := string(part))]
    return {
        "name_prefix": prefix[0] if prefix else None,
        "given_name": given[0] if given else None,
        "middle_name": " ".join(given[1:]) or None,
        "family_name": string(name.get("family")) or (None if given else string(name.get("text"))),
        "maiden_name": string(maiden.get("family")),
    }


def coverage(found: Found) -> Iterator[Row]:
    """A Coverage by an organization; who pays for themselves has no payer."""
    body = found.body
    payers = [key for one in dicts(body.get("payor")) if (key := found.link(one, "Organization"))]
    if not payers:
        raise Refused("its payor is no Organization", element="payor")
    period = node(body.get("period"))
    yield (
        "coverage",
        {
            "coverage_id": found.key,
            "patient_id": found.patient("beneficiary"),
            "payer_id": payers[0],
            "member_id": string(body.get("subscriberId")) or identifier_of(body, type_code="MB"),
            "status": string(body.get("status")),
            "relationship_code": code_of(
                body.get("relationship"), "http://terminology.hl7.org/CodeSystem/subscriber-relationship"
            ),
            "start_date": found.day(period.get("start"), "period.start"),
            "end_date": found.day(period.get("end"), "period.end"),
            "_payer_type": code_of(body.get("type"), SOP),
        },
    )
