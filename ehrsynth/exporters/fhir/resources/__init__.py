"""The FHIR resources we write, one file each, and those that plug-ins add."""

from __future__ import annotations

from functools import lru_cache

from ehrsynth import plugins
from ehrsynth.exporters.fhir.resource import Addition, Resource
from ehrsynth.exporters.fhir.resources.allergy_intolerance import ALLERGY_INTOLERANCE
from ehrsynth.exporters.fhir.resources.blood_pressure import BLOOD_PRESSURE
from ehrsynth.exporters.fhir.resources.condition import CONDITION
from ehrsynth.exporters.fhir.resources.coverage import COVERAGE
from ehrsynth.exporters.fhir.resources.device import DEVICE
from ehrsynth.exporters.fhir.resources.diagnostic_report import DIAGNOSTIC_REPORT
from ehrsynth.exporters.fhir.resources.encounter import ENCOUNTER
from ehrsynth.exporters.fhir.resources.immunization import IMMUNIZATION
from ehrsynth.exporters.fhir.resources.location import LOCATION
from ehrsynth.exporters.fhir.resources.medication_request import MEDICATION_REQUEST
from ehrsynth.exporters.fhir.resources.observation import CAUSE_OF_DEATH, OBSERVATION
from ehrsynth.exporters.fhir.resources.organization import ORGANIZATION, PAYER
from ehrsynth.exporters.fhir.resources.patient import PATIENT
from ehrsynth.exporters.fhir.resources.practitioner import PRACTITIONER, PRACTITIONER_ROLE
from ehrsynth.exporters.fhir.resources.procedure import PROCEDURE

__all__ = ["BUILT_IN", "GROUP", "resources"]

GROUP = "ehrsynth.fhir_resources"
"""Entry points of this group name a `Resource`, an `Addition`, or a list of them."""

BUILT_IN: tuple[Resource, ...] = (
    ORGANIZATION,
    PAYER,
    LOCATION,
    PRACTITIONER,
    PRACTITIONER_ROLE,
    PATIENT,
    COVERAGE,
    ENCOUNTER,
    CONDITION,
    OBSERVATION,
    BLOOD_PRESSURE,
    CAUSE_OF_DEATH,
    DIAGNOSTIC_REPORT,
    MEDICATION_REQUEST,
    PROCEDURE,
    IMMUNIZATION,
    ALLERGY_INTOLERANCE,
    DEVICE,
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
