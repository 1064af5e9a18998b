"""Immunization: a vaccination given or not; the influenza vaccination that somebody would not have."""

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances
from ehrsynth.exporters.fhir.datatypes import (
    US_CORE,
    absent_without,
    concept,
    derived_identifier,
    fixed_concept,
    make_concept,
    source_identifier,
)
from ehrsynth.exporters.fhir.facts import visits
from ehrsynth.exporters.fhir.joins import hits, whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Each, When
from ehrsynth.exporters.fhir.values import Boolean, Code, Count, Link, Text, Time

__all__ = ["IMMUNIZATION", "REFUSAL"]

REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
CVX = "http://hl7.org/fhir/sid/cvx"
TIME = Time("occurrence_datetime", "time_precision")

IMMUNIZATION = Resource(
    type="Immunization",
    table="immunization",
    profile=US_CORE + "us-core-immunization",
    elements={
        "identifier": [source_identifier("immunization_id", "immunization")],
        "status": Code("status"),
        # The tables know that it was not done, not why: most often because the patient would not.
        "statusReason": When("status", ("not-done",), fixed_concept(REASON, "PATOBJ", "patient objection")),
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

REFUSED = 0.03
SEASON = (9, 12)
"""Months (September to December) in which influenza vaccination is offered."""

EGG = "102263004"

_REASONS = {"MEDPREC": "medical precaution", "PATOBJ": "patient objection"}


def _refusals(source: Source) -> pa.Table:
    """Visits in the season at which synthetic adults would not have the vaccination, or must not: allergy to eggs.

    Only of records that have vaccinations, and of none that has one against influenza in that year.
    """
    rows, given = visits(source), source["immunization"]
    if not source.synthetic or given.num_rows == 0:
        rows = rows.slice(0, 0)
    month = pc.month(rows["start_datetime"]).to_numpy()
    offered = hits(rows["encounter_class"], ["AMB"]) & (rows["age"].to_numpy() >= 18)
    offered &= (month >= SEASON[0]) & (month <= SEASON[1])
    offered &= chances(rows["encounter_id"], "encounter", "refused influenza") < REFUSED
    offered &= pc.is_in(whole(rows["patient_id"]), whole(given["patient_id"])).to_numpy(zero_copy_only=False)
    rows = rows.filter(pa.array(offered)).combine_chunks()
    shown = given["display"].cast(pa.string()).to_pylist()
    given = given.filter(pa.array([text is not None and "influenza" in text.lower() for text in shown], pa.bool_()))
    had = set(zip(given["patient_id"].to_pylist(), pc.year(given["occurrence_datetime"]).to_pylist(), strict=True))
    years = zip(rows["patient_id"].to_pylist(), pc.year(rows["start_datetime"]).to_pylist(), strict=True)
    rows = rows.filter(pa.array([key not in had for key in years], pa.bool_())).combine_chunks()
    allergies = source["allergy_intolerance"]
    allergic = allergies.filter(pa.array(hits(allergies["code"], [EGG])))
    must_not = pc.is_in(whole(rows["patient_id"]), whole(allergic["patient_id"]))
    return with_columns(rows, why=pc.if_else(must_not, "MEDPREC", "PATOBJ"))


REFUSAL = Resource(
    type="Immunization",
    table="encounter",
    kind="refusal",
    derived=True,
    rows=_refusals,
    profile=US_CORE + "us-core-immunization",
    elements={
        "identifier": [derived_identifier("derived_refusal")],
        "status": "not-done",
        "statusReason": Each(("why",), lambda why: make_concept(REASON, why, _REASONS[why])),
        "vaccineCode": fixed_concept(CVX, "88"),
        "patient": Link("patient"),
        "encounter": Link("encounter"),
        "occurrenceDateTime": Time("start_datetime", "time_precision"),
        "primarySource": True,
        "performer": [{"actor": Link("practitioner")}],
    },
)
