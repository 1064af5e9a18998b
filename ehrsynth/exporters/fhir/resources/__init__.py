"""The FHIR resources we write, one file each, and those that plug-ins add."""

from __future__ import annotations

from functools import lru_cache

from ehrsynth import plugins
from ehrsynth.exporters.fhir.resource import Addition, Resource
from ehrsynth.exporters.fhir.resources.allergy_intolerance import ALLERGY_INTOLERANCE
from ehrsynth.exporters.fhir.resources.blood_pressure import BLOOD_PRESSURE
from ehrsynth.exporters.fhir.resources.care_plan import CARE_PLAN
from ehrsynth.exporters.fhir.resources.care_team import CARE_TEAM
from ehrsynth.exporters.fhir.resources.claim import CLAIM, EXPLANATION_OF_BENEFIT
from ehrsynth.exporters.fhir.resources.condition import CONDITION
from ehrsynth.exporters.fhir.resources.coverage import COVERAGE
from ehrsynth.exporters.fhir.resources.derived_observation import DERIVED_OBSERVATION
from ehrsynth.exporters.fhir.resources.device import DEVICE
from ehrsynth.exporters.fhir.resources.diagnostic_report import DIAGNOSTIC_REPORT
from ehrsynth.exporters.fhir.resources.document_reference import DOCUMENT_REFERENCE
from ehrsynth.exporters.fhir.resources.encounter import ENCOUNTER
from ehrsynth.exporters.fhir.resources.endpoint import ENDPOINT
from ehrsynth.exporters.fhir.resources.goal import GOAL
from ehrsynth.exporters.fhir.resources.immunization import IMMUNIZATION, REFUSAL
from ehrsynth.exporters.fhir.resources.location import LOCATION
from ehrsynth.exporters.fhir.resources.medication_administration import MEDICATION_ADMINISTRATION
from ehrsynth.exporters.fhir.resources.medication_dispense import MEDICATION_DISPENSE
from ehrsynth.exporters.fhir.resources.medication_request import MEDICATION_REQUEST
from ehrsynth.exporters.fhir.resources.note_report import NOTE_REPORT
from ehrsynth.exporters.fhir.resources.observation import CAUSE_OF_DEATH, OBSERVATION
from ehrsynth.exporters.fhir.resources.organization import ORGANIZATION, PAYER
from ehrsynth.exporters.fhir.resources.patient import PATIENT
from ehrsynth.exporters.fhir.resources.practitioner import PRACTITIONER, PRACTITIONER_ROLE
from ehrsynth.exporters.fhir.resources.procedure import PROCEDURE
from ehrsynth.exporters.fhir.resources.provenance import PROVENANCE
from ehrsynth.exporters.fhir.resources.questionnaire_response import QUESTIONNAIRE_RESPONSE
from ehrsynth.exporters.fhir.resources.related_person import RELATED_PERSON
from ehrsynth.exporters.fhir.resources.screening_response import SCREENING_RESPONSE
from ehrsynth.exporters.fhir.resources.service_request import LABORATORY_ORDER, PROCEDURE_ORDER
from ehrsynth.exporters.fhir.resources.specimen import SPECIMEN
from ehrsynth.exporters.fhir.resources.study_report import STUDY_REPORT

__all__ = ["BUILT_IN", "GROUP", "resources"]

GROUP = "ehrsynth.fhir_resources"
"""Entry points of this group name a `Resource`, an `Addition`, or a list of them."""

BUILT_IN: tuple[Resource, ...] = (
    ORGANIZATION,
    PAYER,
    ENDPOINT,
    LOCATION,
    PRACTITIONER,
    PRACTITIONER_ROLE,
    PATIENT,
    RELATED_PERSON,
    COVERAGE,
    ENCOUNTER,
    CONDITION,
    LABORATORY_ORDER,
    PROCEDURE_ORDER,
    SPECIMEN,
    OBSERVATION,
    BLOOD_PRESSURE,
    CAUSE_OF_DEATH,
    DERIVED_OBSERVATION,
    DIAGNOSTIC_REPORT,
    NOTE_REPORT,
    STUDY_REPORT,
    DOCUMENT_REFERENCE,
    MEDICATION_REQUEST,
    MEDICATION_DISPENSE,
    MEDICATION_ADMINISTRATION,
    CARE_TEAM,
    GOAL,
    CARE_PLAN,
    PROCEDURE,
    IMMUNIZATION,
    REFUSAL,
    ALLERGY_INTOLERANCE,
    DEVICE,
    QUESTIONNAIRE_RESPONSE,
    SCREENING_RESPONSE,
    CLAIM,
    EXPLANATION_OF_BENEFIT,
    PROVENANCE,
)
"""Our own, referenced types first: the order in which they are written and listed."""


@lru_cache(maxsize=1)
def resources() -> tuple[Resource, ...]:
    """Return all resources that are written: ours, with the additions of plug-ins, then those of plug-ins."""
    found: list[Resource | Addition] = []
    for name in plugins.names(GROUP):
        loaded = plugins.load(GROUP, name)
        found += loaded if isinstance(loaded, list | tuple) else [loaded]
    return extended(BUILT_IN, found)


def extended(ours: tuple[Resource, ...], found: list[Resource | Addition]) -> tuple[Resource, ...]:
    """Return `ours` and what else was `found`, the additions among it applied to all that they fit."""
    merged = [*ours, *(item for item in found if isinstance(item, Resource))]
    for addition in found:
        if isinstance(addition, Addition):
            merged = [item.with_addition(addition) if addition.fits(item) else item for item in merged]
    return tuple(merged)
