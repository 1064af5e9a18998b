"""DocumentReference: a short note on an encounter, written from the record itself."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, fixed_concept, make_concept, own_identifier, period
from ehrsynth.exporters.fhir.notes import documented_encounters
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.templates import Each, First, When
from ehrsynth.exporters.fhir.values import Link, OwnId, Plain, Time

__all__ = ["DOCUMENT_REFERENCE", "note_type"]

_TYPES = {
    "EMER": ("34111-5", "Emergency department Note"),
    "IMP": ("18842-5", "Discharge summary"),
    "ACUTE": ("18842-5", "Discharge summary"),
    "NONAC": ("18842-5", "Discharge summary"),
}


def note_type(encounter_class: str | None) -> dict[str, Any] | None:
    """Return what a note on an encounter of a class is called."""
    code, display = _TYPES.get(encounter_class or "", ("11506-3", "Progress note"))
    return make_concept("http://loinc.org", code, display)


DOCUMENT_REFERENCE = Resource(
    type="DocumentReference",
    table="encounter",
    kind="document",
    derived=True,
    rows=documented_encounters,
    profile=US_CORE + "us-core-documentreference",
    elements={
        "identifier": [{**own_identifier("encounter_id", "document"), "value": OwnId()}],
        "status": "current",
        "type": Each(("encounter_class",), note_type, needs=()),
        "category": [
            fixed_concept(
                "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                "clinical-note",
                "Clinical Note",
            )
        ],
        "subject": Link("patient"),
        # An instant has a time of day, which not every record knows.
        "date": When("time_precision", ("day",), Time("noted", "time_precision"), unless=True),
        "author": [First((Link("practitioner"), Link("organization")))],
        "custodian": Link("organization"),
        "content": [
            {
                "attachment": {"contentType": "text/plain; charset=utf-8", "data": Plain("note")},
                "format": {
                    "system": "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
                    "code": "urn:ihe:iti:xds:2017:mimeTypeSufficient",
                    "display": "mimeType Sufficient",
                },
            }
        ],
        "context": {
            "encounter": [Link("encounter")],
            "period": period("start_datetime", "end_datetime", "time_precision"),
        },
    },
)
