"""Immunization: a vaccination given or declined."""

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, concept, source_identifier
from ehrsynth.exporters.fhir.resource import Resource
from ehrsynth.exporters.fhir.values import Boolean, Code, Count, Link, Text, Time

__all__ = ["IMMUNIZATION"]

TIME = Time("occurrence_datetime", "time_precision")

IMMUNIZATION = Resource(
    type="Immunization",
    table="immunization",
    profile=US_CORE + "us-core-immunization",
    elements={
        "identifier": [source_identifier("immunization_id", "immunization")],
        "status": Code("status"),
        "vaccineCode": concept("code_system", "code", "display"),
        "patient": Link("patient"),
        "encounter": Link("encounter"),
        "occurrenceDateTime": TIME,
        "_occurrenceDateTime": absent_without(TIME),
        "primarySource": Boolean("primary_source"),
        "lotNumber": Text("lot_number"),
        "performer": [{"actor": Link("practitioner")}],
        "protocolApplied": [{"doseNumberPositiveInt": Count("dose_number", minimum=1)}],
    },
)
