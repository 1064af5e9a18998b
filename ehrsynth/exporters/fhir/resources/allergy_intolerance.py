"""AllergyIntolerance: what a patient does not tolerate, and how that shows."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, concept_of, make_concept, needing, source_identifier
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Code, Link, Time

__all__ = ["ALLERGY_INTOLERANCE"]

CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"


def _clinical_status(status: str | None, verification: str | None) -> dict[str, Any] | None:
    """The clinical status: always there (ait-1), but for what was entered in error (ait-2)."""
    return None if verification == "entered-in-error" else make_concept(CLINICAL, status or "active")


ALLERGY_INTOLERANCE = Resource(
    type="AllergyIntolerance",
    table="allergy_intolerance",
    profile=US_CORE + "us-core-allergyintolerance",
    elements={
        "identifier": [source_identifier("allergy_intolerance_id", "allergy_intolerance")],
        "clinicalStatus": Each(("clinical_status", "verification_status"), _clinical_status, needs=()),
        "verificationStatus": concept_of(
            "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "verification_status"
        ),
        "type": Code("allergy_type"),
        "category": [Code("category")],
        "criticality": Code("criticality"),
        "code": concept("code_system", "code", "display"),
        "patient": Link("patient"),
        "encounter": Link("encounter"),
        "onsetDateTime": Time("onset_date"),
        "recordedDate": Time("recorded_date"),
        "recorder": Link("practitioner"),
        "reaction": [
            needing(
                {
                    "manifestation": [concept("reaction_system", "reaction_code", "reaction_display")],
                    "severity": Code("reaction_severity"),
                },
                "manifestation",
            )
        ],
    },
)
