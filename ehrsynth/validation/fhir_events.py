"""Where the types of FHIR say who, in which encounter, what and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ehrsynth.validation.fhir_primitives import When, parse_when

__all__ = ["EVENTS", "Event", "first_at", "is_in_error", "when_at", "whens_at"]

Node = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """What of a type of resource lies within a life.

    Attributes
    ----------
    patient, encounter, code : str
        Elements that lead to the patient and the encounter, and say what it is.
    within_encounter : tuple of str
        Elements (stems of choices) that lie on a day of the encounter too.
    within_life : tuple of str
    from_birth : tuple of str
        Elements that may lie after death: what is planned, billed, filed.
    order : tuple of (str, str)
        Elements of which the first may not be later.
    """

    patient: str = "subject"
    encounter: str = "encounter"
    code: str = ""
    within_encounter: tuple[str, ...] = ()
    within_life: tuple[str, ...] = ()
    from_birth: tuple[str, ...] = ()
    order: tuple[tuple[str, str], ...] = ()


EVENTS: dict[str, Event] = {
    "AdverseEvent": Event(within_life=("date",)),
    "AllergyIntolerance": Event(
        patient="patient", code="code", within_life=("onset", "recordedDate"), order=(("onset", "recordedDate"),)
    ),
    "CarePlan": Event(within_life=("period.start",), from_birth=("period.end",)),
    "CareTeam": Event(within_life=("period.start",), from_birth=("period.end",)),
    "Claim": Event(patient="patient", within_life=("billablePeriod",), from_birth=("created",)),
    "ClinicalImpression": Event(within_encounter=("effective",), within_life=("effective",)),
    "Condition": Event(
        code="code",
        within_encounter=("recordedDate",),
        within_life=("onset", "abatement", "recordedDate"),
        order=(("onset", "abatement"), ("onset", "recordedDate")),
    ),
    "Coverage": Event(patient="beneficiary", from_birth=("period",)),
    "DiagnosticReport": Event(
        code="code", within_encounter=("effective",), within_life=("effective",), from_birth=("issued",)
    ),
    "DocumentReference": Event(encounter="context.encounter", from_birth=("date", "context.period")),
    "Encounter": Event(encounter="", within_life=("period",)),
    "EpisodeOfCare": Event(patient="patient", encounter="", within_life=("period",)),
    "ExplanationOfBenefit": Event(patient="patient", within_life=("billablePeriod",), from_birth=("created",)),
    "Goal": Event(encounter="", within_life=("start",)),
    "ImagingStudy": Event(within_encounter=("started",), within_life=("started",)),
    "Immunization": Event(
        patient="patient", code="vaccineCode", within_encounter=("occurrence",), within_life=("occurrence",)
    ),
    "Media": Event(within_life=("created",)),
    "MedicationAdministration": Event(
        encounter="context",
        code="medicationCodeableConcept",
        within_encounter=("effective",),
        within_life=("effective",),
    ),
    "MedicationDispense": Event(
        encounter="context", code="medicationCodeableConcept", within_life=("whenPrepared", "whenHandedOver")
    ),
    "MedicationRequest": Event(
        code="medicationCodeableConcept", within_encounter=("authoredOn",), within_life=("authoredOn",)
    ),
    "MedicationStatement": Event(encounter="context", code="medicationCodeableConcept", within_life=("effective",)),
    "Observation": Event(
        code="code", within_encounter=("effective",), within_life=("effective",), from_birth=("issued",)
    ),
    "Procedure": Event(code="code", within_encounter=("performed",), within_life=("performed",)),
    "QuestionnaireResponse": Event(within_encounter=("authored",), within_life=("authored",)),
    "ServiceRequest": Event(code="code", within_encounter=("authoredOn",), within_life=("authoredOn",)),
    "Specimen": Event(
        encounter="", within_life=("collection.collected",), order=(("collection.collected", "receivedTime"),)
    ),
}

_SUFFIXES = ("", "DateTime", "Period", "Instant", "Date")


def is_in_error(resource: Node) -> bool:
    """Whether a resource says that it is not true: entered in error, or refuted."""
    if resource.get("status") == "entered-in-error":
        return True
    concept = resource.get("verificationStatus")
    codings = concept.get("coding") if type(concept) is dict else None
    return type(codings) is list and any(
        type(item) is dict and item.get("code") in ("entered-in-error", "refuted") for item in codings
    )


def first_at(resource: Node, path: str) -> Any:
    """The value at a path; the first of several."""
    value: Any = resource
    for name in path.split("."):
        value = value.get(name) if type(value) is dict else None
        if type(value) is list:
            value = value[0] if value else None
    return value


def when_at(node: Any, key: str) -> When | None:
    """The date at a key, None if there is none."""
    value = node.get(key)
    return parse_when(value) if type(value) is str else None


def whens_at(resource: Node, element: str) -> Iterator[tuple[str, When]]:
    """Yield the dates at `element`, whichever type a choice has; start and end of a period are two."""
    *parents, stem = element.split(".")
    node = first_at(resource, ".".join(parents)) if parents else resource
    if type(node) is not dict:
        return
    prefix = f"{parents[0]}." if parents else ""
    for suffix in _SUFFIXES:
        value = node.get(stem + suffix)
        if type(value) is str:
            when = parse_when(value)
            if when is not None:
                yield prefix + stem + suffix, when
        elif type(value) is dict:
            for end in ("start", "end"):
                when = when_at(value, end)
                if when is not None:
                    yield f"{prefix}{stem}{suffix}.{end}", when
