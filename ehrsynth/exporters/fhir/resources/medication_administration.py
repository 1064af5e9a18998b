"""MedicationAdministration: what was ordered in a stay was given in it."""

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import concept, needing
from ehrsynth.exporters.fhir.joins import hits
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.medication_request import DOSE, INPATIENT, orders
from ehrsynth.exporters.fhir.values import Code, Link, Text, Time

__all__ = ["MEDICATION_ADMINISTRATION"]


def _rows(source: Source) -> pa.Table:
    rows = orders(source)
    given = hits(rows["status"], ["completed", "stopped"]) & hits(rows["encounter_class"], INPATIENT)
    return rows.filter(pc.and_(pa.array(given), rows["authored_datetime"].is_valid())).combine_chunks()


MEDICATION_ADMINISTRATION = Resource(
    type="MedicationAdministration",
    table="medication_request",
    kind="medication_administration",
    derived=True,
    rows=_rows,
    elements={
        "status": Code("status"),
        "medicationCodeableConcept": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "context": Link("encounter"),
        # The first time: of the others no time is known.
        "effectiveDateTime": Time("authored_datetime", "time_precision"),
        "performer": [{"actor": Link("practitioner")}],
        "reasonReference": [Link("condition", "reason_condition_id")],
        "request": Link("medication_request"),
        # mad-1: a dosage has a dose.
        "dosage": needing(
            {
                "text": Text("sig"),
                "route": concept("route_system", "route_code", "route_display"),
                "dose": DOSE,
            },
            "dose",
        ),
    },
)
