"""FHIR resources of what happened to patients as rows: encounters, conditions, orders, procedures, vaccinations..."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehrsynth.readers.fhir_elements import (
    Found,
    Refused,
    code_of,
    coded_or_words,
    dicts,
    first,
    node,
    number,
    quantity,
    string,
    whole,
)
from ehrsynth.readers.fhir_people import Row

__all__ = [
    "allergy_intolerance",
    "condition",
    "device",
    "encounter",
    "immunization",
    "medication",
    "medication_request",
    "procedure",
]

_CLASSES = {
    **{code: code for code in ("AMB", "EMER", "FLD", "HH", "IMP", "ACUTE", "NONAC", "OBSENC", "PRENC", "SS", "VR")},
    # What servers and older versions of FHIR call them.
    "ambulatory": "AMB",
    "outpatient": "AMB",
    "emergency": "EMER",
    "field": "FLD",
    "home": "HH",
    "inpatient": "IMP",
    "daytime": "AMB",
    "virtual": "VR",
}
_DAYS = {"s": 1 / 86400, "min": 1 / 1440, "h": 1 / 24, "d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25}
_ABBREVIATED = {"QD": 1, "AM": 1, "PM": 1, "BED": 1, "BID": 2, "TID": 3, "QID": 4, "QOD": 0.5, "Q4H": 6, "Q6H": 4}
_CONDITION_CATEGORIES = ("encounter-diagnosis", "problem-list-item", "health-concern")


def encounter(found: Found) -> Iterator[Row]:
    """An Encounter, and the ranks of its diagnoses."""
    body = found.body
    period, stay = node(body.get("period")), node(body.get("hospitalization"))
    (start, end), precision = found.times(period.get("start"), period.get("end"), element="period")
    code = string(node(body.get("class")).get("code")) or ""
    if code not in _CLASSES:
        raise Refused("its class is none of the table's", element="class")
    participants = dicts(body.get("participant"))
    performers = [
        one for one in participants if any(code_of(kind, _PARTICIPATION) == "PPRF" for kind in dicts(one.get("type")))
    ]
    patient = found.patient("subject")
    yield (
        "encounter",
        {
            "encounter_id": found.key,
            "patient_id": patient,
            "start_datetime": start,
            "end_datetime": end,
            "time_precision": precision,
            "status": found.need("status"),
            "encounter_class": _CLASSES[code],
            **coded_or_words("type", first(body.get("type"))),
            **coded_or_words("reason", first(body.get("reasonCode"))),
            "admit_source_code": _facility_code(found, stay, "admitSource", "admit-source"),
            "discharge_disposition_code": _facility_code(found, stay, "dischargeDisposition", "discharge-disposition"),
            "organization_id": found.link(body.get("serviceProvider"), "Organization"),
            "practitioner_id": found.practitioner([one.get("individual") for one in (*performers, *participants)]),
            "location_id": found.link(first(body.get("location")).get("location"), "Location"),
        },
    )
    for diagnosis in dicts(body.get("diagnosis")):
        rank, key = whole(diagnosis.get("rank")), found.link(diagnosis.get("condition"), "Condition")
        if rank is not None and rank > 0 and key is not None:
            yield "rank", {"condition_id": key, "rank": rank, "patient_id": patient}


_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"


def _facility_code(found: Found, stay: dict[str, Any], element: str, system: str) -> str | None:
    concept = stay.get(element)
    code = code_of(concept, f"http://terminology.hl7.org/CodeSystem/{system}")
    if code is None and node(concept).get("coding"):
        found.adjust("a code of another system than the column's: left out", f"hospitalization.{element}")
    return code


def condition(found: Found) -> Iterator[Row]:
    """A Condition; one without category is a diagnosis where it has an encounter, else an item of the problem list."""
    body = found.body
    stay = found.link(body.get("encounter"), "Encounter")
    codes = [string(c.get("code")) for category in dicts(body.get("category")) for c in dicts(category.get("coding"))]
    category = next((code for code in codes if code in _CONDITION_CATEGORIES), None)
    onset, ended = node(body.get("onsetPeriod")), node(body.get("abatementPeriod"))
    yield (
        "condition",
        {
            "condition_id": found.key,
            "patient_id": found.patient("subject"),
            "encounter_id": stay,
            "category": category or ("encounter-diagnosis" if stay else "problem-list-item"),
            **found.own_code("code"),
            "clinical_status": _any_code(body.get("clinicalStatus")),
            "verification_status": _any_code(body.get("verificationStatus")),
            "onset_date": found.day(body.get("onsetDateTime") or onset.get("start"), "onsetDateTime"),
            "abatement_date": found.day(body.get("abatementDateTime") or ended.get("start"), "abatementDateTime"),
            "recorded_date": found.day(body.get("recordedDate"), "recordedDate"),
            "practitioner_id": found.practitioner([body.get("recorder"), body.get("asserter")]),
        },
    )


def _any_code(concept: Any) -> str | None:
    return string(first(node(concept).get("coding")).get("code"))


def medication(found: Found) -> Iterator[Row]:
    """A Medication that orders refer to."""
    columns = found.own_code("code")
    yield "medication", {"medication_id": found.key, **columns}


def medication_request(found: Found) -> Iterator[Row]:
    """A MedicationRequest; one that refers to a Medication takes its code when all is read."""
    body = found.body
    columns: dict[str, Any] = {}
    if body.get("medicationCodeableConcept") is not None:
        columns = found.own_code("medicationCodeableConcept")
    elif (drug := found.link(body.get("medicationReference"), "Medication")) is not None:
        columns = {"_medication": drug}
    else:
        raise Refused("it names no medication", element="medication[x]")
    dosage, supply = first(body.get("dosageInstruction")), node(body.get("dispenseRequest"))
    timing = node(dosage.get("timing"))
    repeat = node(timing.get("repeat"))
    bounds = node(repeat.get("boundsPeriod")) or node(supply.get("validityPeriod"))
    (authored,), precision = found.times(body.get("authoredOn"), element="authoredOn")
    dose = quantity(first(dosage.get("doseAndRate")).get("doseQuantity"))
    yield (
        "medication_request",
        {
            "medication_request_id": found.key,
            "patient_id": found.patient("subject"),
            "encounter_id": found.link(body.get("encounter"), "Encounter"),
            **columns,
            "status": found.need("status"),
            "intent": found.need("intent"),
            "authored_datetime": authored,
            "time_precision": precision,
            "start_date": found.day(bounds.get("start"), "boundsPeriod.start"),
            "end_date": found.day(bounds.get("end"), "boundsPeriod.end"),
            "sig": string(dosage.get("text")),
            **coded_or_words("route", dosage.get("route")),
            "dose_value": dose.get("value_number"),
            "dose_unit": dose.get("value_unit"),
            "frequency_per_day": _per_day(timing, repeat),
            "days_supply": _supply_days(node(supply.get("expectedSupplyDuration"))),
            "quantity": number(node(supply.get("quantity")).get("value")),
            "refills": whole(supply.get("numberOfRepeatsAllowed")),
            "practitioner_id": found.practitioner([body.get("requester")]),
            "reason_condition_id": _reason(found),
        },
    )


def _per_day(timing: dict[str, Any], repeat: dict[str, Any]) -> float | None:
    """How often a day: frequency per period, or what an abbreviation of the timing says."""
    period, unit = number(repeat.get("period")), string(repeat.get("periodUnit"))
    if period and unit in _DAYS:
        return (number(repeat.get("frequency")) or 1.0) / (period * _DAYS[unit])
    said = _any_code(timing.get("code"))
    return float(_ABBREVIATED[said]) if said in _ABBREVIATED else None


def _supply_days(duration: dict[str, Any]) -> int | None:
    value, unit = number(duration.get("value")), string(duration.get("code")) or string(duration.get("unit"))
    if value is None or unit is None:
        return None
    factor = _DAYS.get(unit, 1.0 if unit in ("day", "days") else None)
    return None if factor is None else round(value * factor)


def _reason(found: Found) -> str | None:
    keys = (found.link(one, "Condition") for one in dicts(found.body.get("reasonReference")))
    return next((key for key in keys if key is not None), None)


def procedure(found: Found) -> Iterator[Row]:
    """A Procedure."""
    body = found.body
    period = node(body.get("performedPeriod"))
    start, end = body.get("performedDateTime") or period.get("start"), period.get("end")
    (started, ended), precision = found.times(start, end, element="performed[x]")
    yield (
        "procedure",
        {
            "procedure_id": found.key,
            "patient_id": found.patient("subject"),
            "encounter_id": found.link(body.get("encounter"), "Encounter"),
            **found.own_code("code"),
            "status": found.need("status"),
            "start_datetime": started,
            "end_datetime": ended,
            "time_precision": precision,
            "practitioner_id": found.practitioner([one.get("actor") for one in dicts(body.get("performer"))]),
            "reason_condition_id": _reason(found),
        },
    )


def immunization(found: Found) -> Iterator[Row]:
    """An Immunization with a date."""
    body = found.body
    (when,), precision = found.times(body.get("occurrenceDateTime"), element="occurrenceDateTime")
    if when is None:
        raise Refused("it has no date", element="occurrence[x]")
    yield (
        "immunization",
        {
            "immunization_id": found.key,
            "patient_id": found.patient("patient"),
            "encounter_id": found.link(body.get("encounter"), "Encounter"),
            **found.own_code("vaccineCode"),
            "status": found.need("status"),
            "occurrence_datetime": when,
            "time_precision": precision,
            "dose_number": whole(first(body.get("protocolApplied")).get("doseNumberPositiveInt")),
            "lot_number": string(body.get("lotNumber")),
            "primary_source": body["primarySource"] if type(body.get("primarySource")) is bool else None,
            "practitioner_id": found.practitioner([one.get("actor") for one in dicts(body.get("performer"))]),
        },
    )


def allergy_intolerance(found: Found) -> Iterator[Row]:
    """An AllergyIntolerance, with its first reaction."""
    body = found.body
    reaction = first(body.get("reaction"))
    categories = body.get("category")
    yield (
        "allergy_intolerance",
        {
            "allergy_intolerance_id": found.key,
            "patient_id": found.patient("patient"),
            "encounter_id": found.link(body.get("encounter"), "Encounter"),
            **found.own_code("code"),
            "allergy_type": string(body.get("type")),
            "category": string(categories[0]) if type(categories) is list and categories else None,
            "criticality": string(body.get("criticality")),
            "clinical_status": _any_code(body.get("clinicalStatus")),
            "verification_status": _any_code(body.get("verificationStatus")),
            "onset_date": found.day(body.get("onsetDateTime"), "onsetDateTime"),
            "recorded_date": found.day(body.get("recordedDate"), "recordedDate"),
            **coded_or_words("reaction", first(reaction.get("manifestation"))),
            "reaction_severity": string(reaction.get("severity")),
            "practitioner_id": found.practitioner([body.get("recorder"), body.get("asserter")]),
        },
    )


def device(found: Found) -> Iterator[Row]:
    """A Device of a patient."""
    body = found.body
    carrier = first(body.get("udiCarrier"))
    yield (
        "device",
        {
            "device_id": found.key,
            "patient_id": found.patient("patient"),
            **found.own_code("type"),
            "status": string(body.get("status")) or "unknown",
            "unique_device_id": string(carrier.get("carrierHRF")) or string(carrier.get("deviceIdentifier")),
            "lot_number": string(body.get("lotNumber")),
            "serial_number": string(body.get("serialNumber")),
        },
    )
