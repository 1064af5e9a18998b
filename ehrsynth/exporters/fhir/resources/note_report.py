"""DiagnosticReport: the note on a stay or an emergency, with the laboratory results that it tells."""

from collections.abc import Mapping

import pyarrow as pa

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, derived_report, fixed_concept
from ehrsynth.exporters.fhir.joins import hits
from ehrsynth.exporters.fhir.notes import documented_encounters
from ehrsynth.exporters.fhir.orders import laboratory_results
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.document_reference import note_type
from ehrsynth.exporters.fhir.templates import Each, First, Many, When
from ehrsynth.exporters.fhir.values import Link, Plain, Time

__all__ = ["NOTE_REPORT"]

START = Time("start_datetime", "time_precision")
INSTANT = When("time_precision", ("day",), Time("end_datetime", "time_precision"), unless=True)


def _rows(source: Source) -> pa.Table:
    rows = documented_encounters(source)
    stays = hits(rows["encounter_class"], ["IMP", "ACUTE", "NONAC", "EMER"])
    return rows.filter(pa.array(stays)).combine_chunks()


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"results": laboratory_results(source)}


NOTE_REPORT = Resource(
    type="DiagnosticReport",
    table="encounter",
    kind="note_report",
    derived=True,
    rows=_rows,
    others=_others,
    profile=US_CORE + "us-core-diagnosticreport-note",
    elements={
        "identifier": [derived_report()],
        "status": "final",
        # None of US Core's three (cardiology, pathology, radiology) is true of every visit.
        "category": [fixed_concept("http://loinc.org", "LP173421-1", "Report")],
        "code": Each(("encounter_class",), note_type, needs=()),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": START,
        "issued": INSTANT,
        "_issued": absent_without(INSTANT),
        "performer": [First((Link("practitioner"), Link("organization")))],
        "result": Many("results", "encounter_id", "encounter_id", Link("observation")),
        "presentedForm": [{"contentType": "text/plain; charset=utf-8", "data": Plain("note")}],
    },
)
