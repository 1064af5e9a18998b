"""MedicationDispense: the first supply of an order that was filled outside of a hospital."""

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE, concept, fixed_concept, needing
from ehrsynth.exporters.fhir.joins import hits
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.medication_request import DOSAGE, INPATIENT, orders
from ehrsynth.exporters.fhir.templates import First
from ehrsynth.exporters.fhir.values import Link, Number, Time

__all__ = ["MEDICATION_DISPENSE"]

UCUM = "http://unitsofmeasure.org"


def _rows(source: Source) -> pa.Table:
    """Orders that were taken (active, completed, stopped), from an encounter that was no stay."""
    rows = orders(source)
    taken = hits(rows["status"], ["active", "completed", "stopped"])
    outside = ~hits(rows["encounter_class"], INPATIENT) & rows["encounter_class"].is_valid().to_numpy()
    return rows.filter(pc.and_(pa.array(taken & outside), rows["authored_datetime"].is_valid())).combine_chunks()


MEDICATION_DISPENSE = Resource(
    type="MedicationDispense",
    table="medication_request",
    kind="medication_dispense",
    derived=True,
    rows=_rows,
    profile=US_CORE + "us-core-medicationdispense",
    elements={
        "status": "completed",
        "medicationCodeableConcept": concept("code_system", "code", "display"),
        "subject": Link("patient"),
        "context": Link("encounter"),
        "performer": [
            needing(
                {"actor": First((Link("organization", "encounter_organization_id"), Link("practitioner")))},
                "actor",
            )
        ],
        "authorizingPrescription": [Link("medication_request")],
        "type": fixed_concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "FF", "First Fill"),
        "quantity": needing({"value": Number("quantity")}, "value"),
        "daysSupply": needing({"value": Number("days_supply"), "unit": "days", "system": UCUM, "code": "d"}, "value"),
        "whenHandedOver": Time("authored_datetime", "time_precision"),
        "dosageInstruction": DOSAGE,
    },
)
