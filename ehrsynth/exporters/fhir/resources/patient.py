"""Patient: the person, with US Core's extensions for race, ethnicity and birth sex."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import (
    ABSENT,
    US_CORE,
    address,
    concept_of,
    fixed_concept,
    make_coding,
    make_concept,
    needing,
    own_identifier,
    telecom,
)
from ehrsynth.exporters.fhir.facts import mapping
from ehrsynth.exporters.fhir.persons import persons
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each, First, Later, compile_template
from ehrsynth.exporters.fhir.values import Code, Link, Text, Time, look_up

__all__ = ["PATIENT"]

CDCREC = "urn:oid:2.16.840.1.113883.6.238"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"

# The categories of the Office of Management and Budget that US Core's slice ombCategory takes; any other code of CDCREC
# is a finer one.
OMB = ("1002-5", "2028-9", "2054-5", "2076-8", "2106-3", "2131-1", "2135-2", "2186-5")

# US Core's sex is SNOMED CT, or data-absent-reason's codes.
SEX = {"F": "248152002", "M": "248153007", "UNK": "unknown", "ASKU": "asked-unknown"}


def _category(profile: str) -> Each:
    """The extension for race or ethnicity: the category, or a finer code, and always its text."""

    def make(code: str) -> dict[str, Any] | None:
        unknown = code in ("UNK", "ASKU", "NASK", "NI", "OTH")
        coded = make_coding(NULL_FLAVOR if unknown else CDCREC, code)
        if coded is None:
            return None
        # The slice takes two null flavours: unknown, and asked but unknown.
        omb = code in (*OMB, "UNK", "ASKU")
        parts: list[dict[str, Any]] = []
        if omb or not unknown:
            parts.append({"url": "ombCategory" if omb else "detailed", "valueCoding": coded})
        parts.append({"url": "text", "valueString": coded.get("display", code)})
        return {"extension": parts, "url": US_CORE + profile}

    return Each((f"{profile.removeprefix('us-core-')}_code",), make)


def _identity(sex: str) -> dict[str, Any] | None:
    known = mapping("social_facts")["gender_identity"]
    return make_concept(known["system"], **known[sex])


def _tribe(state: str) -> dict[str, Any]:
    """The tribe that is at home in the state."""
    known = mapping("social_facts")["tribes"]
    found = known["by_state"].get(state, known["elsewhere"])
    return {
        "extension": [{"url": "tribalAffiliation", "valueCodeableConcept": make_concept(known["system"], **found)}],
        "url": US_CORE + "us-core-tribal-affiliation",
    }


def _social_security() -> dict[str, Any]:
    codings = [make_coding(IDENTIFIER_TYPE, code) for code in ("SS", "SB")]
    return {"coding": codings, "text": "Social Security number"}


PATIENT = Resource(
    type="Patient",
    table="patient",
    rows=persons,
    profile=US_CORE + "us-core-patient",
    elements={
        "extension": [
            _category("us-core-race"),
            _category("us-core-ethnicity"),
            {"url": US_CORE + "us-core-birthsex", "valueCode": Code("birth_sex")},
            {"url": US_CORE + "us-core-sex", "valueCode": look_up("birth_sex", SEX)},
            {"url": US_CORE + "us-core-genderIdentity", "valueCodeableConcept": Each(("gender_identity",), _identity)},
            Each(("tribe",), _tribe),
        ],
        "identifier": [
            own_identifier("patient_id", "patient"),
            {
                "type": fixed_concept(IDENTIFIER_TYPE, "MR"),
                "system": "https://ehrsynth.example/medical_record_number",
                "value": Text("medical_record_number"),
            },
            {
                # SS is what the United States use, SB what FHIR R4's value set has for it.
                "type": Later(_social_security),
                "system": "http://hl7.org/fhir/sid/us-ssn",
                "value": Text("social_security_number"),
            },
        ],
        "name": [
            First(
                (
                    needing(
                        {
                            "use": "official",
                            "family": Text("family_name"),
                            "given": [Text("given_name"), Text("middle_name")],
                            "prefix": [Text("name_prefix")],
                            "suffix": [Text("suffix")],
                        },
                        one_of=("family", "given"),
                    ),
                    compile_template(ABSENT),
                )
            ),
            needing(
                {
                    "use": "maiden",
                    "family": Text("maiden_name"),
                    "given": [Text("given_name")],
                    "period": {"end": Time("married")},
                },
                "family",
            ),
        ],
        "telecom": [
            telecom("phone", "phone", "home"),
            telecom("phone", "mobile", "mobile"),
            telecom("email", "email", "home"),
        ],
        "gender": Code("sex"),
        "birthDate": Time("birth_date", "birth_date_precision"),
        "deceasedDateTime": Time("death_datetime", "death_precision"),
        "address": [
            address("home") | {"period": {"start": Time("moved")}},
            needing(
                address("old") | {"line": [Text("earlier_line")], "period": {"end": Time("moved")}},
                "line",
            ),
        ],
        "maritalStatus": concept_of("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "marital_status_code"),
        "communication": [
            {"language": concept_of("urn:ietf:bcp:47", "language_code"), "preferred": True},
        ],
        "generalPractitioner": [Link("practitioner")],
        "managingOrganization": Link("organization"),
    },
)
