"""Condition: a diagnosis of an encounter, or an item of the problem list."""

from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, concept_of, make_concept, source_identifier
from ehrsynth.exporters.fhir.joins import has_value, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each
from ehrsynth.exporters.fhir.values import Link, Time, look_up

__all__ = ["CONDITION"]

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
US_CORE_CATEGORY = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"

# Chapters and blocks of ICD-10-CM by what they are about (Z55 to Z65: persons with potential health hazards related to
# socioeconomic and psychosocial circumstances).
TOPICS = {
    "sdoh": tuple(f"Z{number}" for number in range(55, 66)),
    "cognitive-status": ("F01", "F02", "F03", "G30", "G31.84", "R41.81"),
    "disability-status": ("F70", "F71", "F72", "F73", "F79", "H54.0", "H54.8", "Z99.3"),
    "functional-status": ("R26", "Z73.6", "Z74"),
}
DISPLAYS = {
    "sdoh": "SDOH",
    "cognitive-status": "Cognitive Status",
    "disability-status": "Disability Status",
    "functional-status": "Functional Status",
}
CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"


def _rows(source: Source) -> pa.Table:
    rows = source["condition"]
    return with_columns(rows, abated=pa.array(has_value(rows["abatement_date"])))


def _clinical_status(
    category: str | None, status: str | None, verification: str | None, abated: bool
) -> dict[str, Any] | None:
    """The clinical status, and where the record has none the one that FHIR's invariants leave."""
    if verification == "entered-in-error":  # con-5
        return None
    if status is None and abated:  # con-4
        status = "resolved"
    if status is None and category == "problem-list-item":  # con-3
        status = "active"
    return make_concept(CLINICAL, status)


def _category(category: str) -> dict[str, Any] | None:
    ours = category == "health-concern"
    return make_concept("http://hl7.org/fhir/us/core/CodeSystem/condition-category" if ours else CATEGORY, category)


def _topic(category: str, system: str | None, code: str | None) -> dict[str, Any] | None:
    """What a problem is about beside a disease: social needs, or how somebody functions and thinks."""
    if category == "encounter-diagnosis" or system != ICD_10_CM or code is None:
        return None
    found = (topic for topic, begins in TOPICS.items() if code.startswith(begins))
    topic = next(found, None)
    return make_concept(US_CORE_CATEGORY, topic, DISPLAYS[topic]) if topic else None


CONDITION = Resource(
    type="Condition",
    table="condition",
    rows=_rows,
    profile=look_up(
        "category",
        {
            "encounter-diagnosis": US_CORE + "us-core-condition-encounter-diagnosis",
            "problem-list-item": US_CORE + "us-core-condition-problems-health-concerns",
            "health-concern": US_CORE + "us-core-condition-problems-health-concerns",
        },
    ),
    elements={
        "identifier": [source_identifier("condition_id", "condition")],
        "clinicalStatus": Each(
            ("category", "clinical_status", "verification_status", "abated"), _clinical_status, needs=()
        ),
        "verificationStatus": concept_of(
            "http://terminology.hl7.org/CodeSystem/condition-ver-status", "verification_status"
        ),
        "category": [Each(("category",), _category), Each(("category", "code_system", "code"), _topic)],
        "code": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "onsetDateTime": Time("onset_date"),
        "abatementDateTime": Time("abatement_date"),
        "recordedDate": Time("recorded_date"),
        "recorder": Link("practitioner"),
    },
)
