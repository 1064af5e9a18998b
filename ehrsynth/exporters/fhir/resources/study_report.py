"""DiagnosticReport: what an imaging, cardiology or pathology study ended in, with the note of the visit."""

from typing import Any

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, derived_report, make_concept
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.studies import studies
from ehrsynth.exporters.fhir.templates import Each, First, When
from ehrsynth.exporters.fhir.values import Link, Plain, Time

__all__ = ["STUDY_REPORT"]

LOINC = "http://loinc.org"

# US Core's three categories of reports, and LOINC's general name of such a study.
KINDS = {
    "radiology": (("LP29684-5", "Radiology"), ("18748-4", "Diagnostic imaging study")),
    "cardiology": (("LP29708-2", "Cardiology"), ("26441-6", "Cardiology studies (set)")),
    "pathology": (("LP7839-6", "Pathology"), ("11526-1", "Pathology study")),
}

INSTANT = When("time_precision", ("day",), Time("reported", "time_precision"), unless=True)


def _code(study: str, display: str | None) -> dict[str, Any] | None:
    made = make_concept(LOINC, *KINDS[study][1])
    return made and made | {"text": display or made["text"]}


STUDY_REPORT = Resource(
    type="DiagnosticReport",
    table="procedure",
    kind="study_report",
    derived=True,
    rows=studies,
    profile=US_CORE + "us-core-diagnosticreport-note",
    elements={
        "identifier": [derived_report()],
        "basedOn": [Link("procedure_order", "procedure_id", derived=True)],
        "status": "final",
        "category": [Each(("study",), lambda study: make_concept(LOINC, *KINDS[study][0]))],
        "code": Each(("study", "display"), _code),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": Time("start_datetime", "time_precision"),
        "issued": INSTANT,
        "_issued": absent_without(INSTANT),
        "performer": [First((Link("practitioner"), Link("organization")))],
        "presentedForm": [{"contentType": "text/plain; charset=utf-8", "data": Plain("note")}],
    },
)
