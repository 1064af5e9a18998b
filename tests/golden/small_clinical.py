"""What happens to the hand-made patients of small_records.py: visits, and what was found, ordered and done there."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

__all__ = ["ICD10", "allergy", "coded", "visit"]

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
CVX = "http://hl7.org/fhir/sid/cvx"

CONDITIONS = (
    (ICD10, "E11.9", "Type 2 diabetes mellitus without complications"),
    (ICD10, "I10", "Essential (primary) hypertension"),
    (ICD10, "J06.9", "Acute upper respiratory infection, unspecified"),
    (SNOMED, "195967001", "Asthma (disorder)"),
    (SNOMED, "44054006", None),
)
LABS = (
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 70.0, 99.0),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 4.0, 5.6),
    ("718-7", None, "g/dL", None, 17.5),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, None),
)
VITALS = (
    ("8867-4", "Heart rate", "/min", 72.0),
    ("9279-1", "Respiratory rate", "/min", 16.0),
    ("8310-5", "Body temperature", "Cel", 36.7),
    ("29463-7", "Body weight", "kg", 81.25),
    ("8302-2", "Body height", "cm", 175.0),
    ("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 26.5),
    ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 97.0),
    ("9843-4", "Head Occipital-frontal circumference", "cm", 56.0),
)
DRUGS = (
    ("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ("314076", "lisinopril 10 MG Oral Tablet"),
    ("745679", None),
)
PROCEDURES = (
    (SNOMED, "430193006", "Medication reconciliation (procedure)"),
    (SNOMED, "80146002", None),
    ("http://www.cms.gov/Medicare/Coding/ICD10", "0DTJ4ZZ", "Resection of Appendix, Percutaneous Endoscopic Approach"),
)
VACCINES = (("140", "Influenza, seasonal, injectable, preservative free"), ("113", None))
SUBSTANCES = (
    (RXNORM, "7980", "penicillin G", "medication"),
    (SNOMED, "762952008", None, "food"),
    (SNOMED, "419199007", "Allergy to substance (finding)", "environment"),
)


def coded(prefix: str, system: str, code: str, display: str | None) -> dict[str, Any]:
    lead = f"{prefix}_" if prefix else "code_"
    return {f"{lead}system": system, f"{prefix}_code" if prefix else "code": code} | (
        {f"{prefix}_display" if prefix else "display": display} if display else {}
    )


def _time(maker: Any, moment: datetime, precision: str | None) -> datetime:
    if precision == "day":
        return moment.replace(hour=0, minute=0, second=0)
    return moment.replace(second=0) if precision == "minute" else moment


def visit(
    maker: Any, n: int, patient: str, who: dict[str, Any], keys: dict[str, list[str]], cover: str, k: int
) -> None:
    precision = ("second", "minute", None, "day")[(n + k) % 4]
    moment = datetime(2016, 1, 5, 9, 30, 15) + timedelta(days=31 * n + 400 * k, minutes=7 * n)
    start, stay = _time(maker, moment, precision), (n + k) % 3
    end = _time(maker, moment + timedelta(days=stay, minutes=45), precision)
    dated = not (n == 5 and k == 0)
    times = {"start_datetime": start, "end_datetime": end} if dated else {}
    encounter = maker.add(
        "encounter",
        {
            "patient_id": patient,
            "sequence": k + 1,
            "status": "finished",
            "encounter_class": ("AMB", "EMER", "IMP")[stay],
            **times,
            **({"time_precision": precision} if precision else {}),
        },
        {
            **coded("type", SNOMED, "185349003", "Encounter for check up (procedure)"),
            **coded("reason", *CONDITIONS[n % 4]),
            "admit_source_code": "emd",
            "discharge_disposition_code": "home",
            "organization_id": maker.pick(keys["organization"]),
            "practitioner_id": maker.pick(keys["practitioner"]),
            "location_id": maker.pick(keys["location"]),
            "coverage_id": cover,
        },
    )
    base = {"patient_id": patient, "encounter_id": encounter}
    practitioner = {"practitioner_id": maker.pick(keys["practitioner"])}
    when = {"effective_datetime": start, **({"time_precision": precision} if precision else {})} if dated else {}
    condition = _conditions(maker, n, k, base, who, start if dated else None, practitioner)
    _observations(maker, n, base, when, practitioner)
    _orders(maker, n, base, precision if dated else None, start if dated else None, condition, practitioner)


def _conditions(
    maker: Any,
    n: int,
    k: int,
    base: dict[str, Any],
    who: dict[str, Any],
    start: datetime | None,
    practitioner: dict[str, Any],
) -> str:
    first = ""
    codes = [CONDITIONS[(n + k) % len(CONDITIONS)]]
    if k == 0 and who["sex"] == "male":
        codes.append((ICD10, "N40.0", "Benign prostatic hyperplasia without lower urinary tract symptoms"))
    if k == 0 and who["sex"] == "female" and date(1970, 1, 1) < who["birth"] < date(1998, 1, 1):
        codes.append((ICD10, "O80", "Encounter for full-term uncomplicated delivery"))
    for rank, triple in enumerate(codes, 1):
        day = start.date() if start else None
        status = ("active", "resolved", "remission", None, "inactive", "recurrence")[(n + k) % 6]
        ended = status in ("resolved", "remission", "inactive")
        times = {
            "onset_date": day,
            "recorded_date": day,
            "abatement_date": day + timedelta(days=20) if ended and day else None,
        }
        key = maker.add(
            "condition",
            {
                **(base if (n + k) % 7 else {"patient_id": base["patient_id"]}),
                "category": ("encounter-diagnosis", "problem-list-item", "health-concern")[
                    (n + rank) % 3 if (n + k) % 7 else 1
                ],
                **coded("", *triple),
            },
            {
                **times,
                "clinical_status": status,
                "verification_status": ("confirmed", "provisional", "unconfirmed", "differential")[n % 4],
                "rank": rank,
                **practitioner,
            },
        )
        first = first or key
    return first


def _observations(maker: Any, n: int, base: dict[str, Any], when: dict[str, Any], practitioner: dict[str, Any]) -> None:
    def add(
        category: str, code: str, display: str | None, value: dict[str, Any], extra: dict[str, Any] | None = None
    ) -> None:
        required = {
            **base,
            **when,
            "category": category,
            "status": "final",
            **coded("", LOINC, code, display),
            **value,
        }
        maker.add("observation", required, {**practitioner, **(extra or {})})

    for code, display, unit, low, high in LABS:
        value = {"value_number": round(float(maker.random.normal(80, 15)), 2), "value_unit": unit}
        flags = {"reference_low": low, "reference_high": high, "interpretation_code": maker.pick(["N", "H", "L"])}
        panel = {"panel_id": base["encounter_id"]} if n % 2 else {}
        add("laboratory", code, display, value | panel, flags)
    value = {"value_number": 5.0, "value_unit": "mg/dL", "value_comparator": maker.pick(["<", ">", "<=", ">="])}
    add("laboratory", "1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", value)
    add("laboratory", "5778-6", "Color of Urine", coded("value", SNOMED, "371244009", "Yellow color (qualifier value)"))
    add("laboratory", "5767-9", "Appearance of Urine", {"value_text": maker.awkward()})
    add("laboratory", "2345-7", LABS[0][1], {"absent_reason_code": maker.pick(["unknown", "error", "not-performed"])})
    add("laboratory", "883-9", "ABO group [Type] in Blood", {})
    add("laboratory", "5792-7", "Glucose [Mass/volume] in Urine by Test strip", {"value_number": 1e-7})
    if not when:
        return
    for code, display, unit, typical in VITALS:
        value = {"value_number": typical + int(maker.random.integers(5)), "value_unit": unit}
        add("vital-signs", code, display, value if n % 6 else {"absent_reason_code": "unknown"})
    for pair in ((118.0, 76.0), (141.5, None)):
        panel = {"panel_id": next(maker.panels)}
        for code, display, number in (
            ("8480-6", "Systolic blood pressure", pair[0]),
            ("8462-4", "Diastolic blood pressure", pair[1]),
        ):
            value = {"value_number": number, "value_unit": "mm[Hg]"} if number else {"absent_reason_code": "error"}
            add("vital-signs", code, display, value | panel)
    smoking = coded("value", SNOMED, "266919005", "Never smoked tobacco (finding)")
    add("social-history", "72166-2", "Tobacco smoking status", smoking)
    add("social-history", "11341-5", "History of Occupation", {"value_text": maker.awkward()})
    add(
        "survey",
        "55758-7",
        "Patient Health Questionnaire 2 item (PHQ-2) total score [Reported]",
        {"value_number": 2.0, "value_unit": "{score}"},
    )
    for category in ("exam", "procedure", "imaging", "therapy", "activity"):
        add(category, "8716-3", "Vital signs", {"value_text": maker.awkward()})


def _orders(
    maker: Any,
    n: int,
    base: dict[str, Any],
    precision: str | None,
    start: datetime | None,
    condition: str,
    practitioner: dict[str, Any],
) -> None:
    coarse = {"time_precision": precision} if precision else {}
    base = base if n % 8 else {"patient_id": base["patient_id"]}
    display = "Cardiac pacemaker, device (physical object)" if n % 4 else None
    day = start.date() if start else None
    drug = DRUGS[n % len(DRUGS)]
    maker.add(
        "medication_request",
        {
            **base,
            "status": maker.pick(["active", "completed", "stopped"]),
            "intent": "order",
            **coded("", RXNORM, *drug),
            **coarse,
        },
        {
            "authored_datetime": start,
            "start_date": day,
            "end_date": day + timedelta(days=20) if day else None,
            "sig": maker.awkward(),
            **coded("route", SNOMED, "26643006", "Oral route (qualifier value)"),
            "dose_value": maker.pick([1.0, 0.5, 2.25]),
            "dose_unit": maker.pick(["mg", "{tbl}"]),
            "frequency_per_day": maker.pick([1.0, 2.0, 0.5]),
            "days_supply": 30,
            "quantity": 30.0,
            "refills": maker.pick([0, 3]),
            **practitioner,
            "reason_condition_id": condition,
        },
    )
    maker.add(
        "procedure",
        {**base, "status": "completed", **coded("", *PROCEDURES[n % len(PROCEDURES)]), **coarse},
        {
            "start_datetime": start,
            "end_datetime": start + timedelta(minutes=30) if start and precision != "day" else start,
            "quantity": 1.0,
            **practitioner,
            "reason_condition_id": condition,
        },
    )
    if start:
        maker.add(
            "immunization",
            {
                **base,
                "status": maker.pick(["completed", "not-done"]),
                **coded("", CVX, *VACCINES[n % 2]),
                "occurrence_datetime": start,
                **coarse,
            },
            {"dose_number": 1 + n % 3, "lot_number": maker.awkward(), "primary_source": bool(n % 2), **practitioner},
        )
    maker.add(
        "device",
        {
            **base,
            **coded("", SNOMED, "14106009", display),
            "status": "active",
            **({"start_datetime": start} if start else {}),
            **coarse,
        },
        {
            "end_datetime": start + timedelta(days=20) if start else None,
            "unique_device_id": f"(01)00844588003288(17)141120(10)7654321D(21)10987654d321{n}",
            "lot_number": "7654321D",
            "serial_number": f"10987654d321{n}",
            "quantity": 1.0,
            **practitioner,
        },
    )


def allergy(maker: Any, n: int, patient: str, keys: dict[str, list[str]]) -> None:
    encounter = maker.rows["encounter"][-1]
    own = {"encounter_id": encounter["encounter_id"]} if n % 4 == 1 and encounter["patient_id"] == patient else {}
    system, code, display, category = SUBSTANCES[n % len(SUBSTANCES)]
    maker.add(
        "allergy_intolerance",
        {"patient_id": patient, **own, **coded("", system, code, display)},
        {
            "allergy_type": maker.pick(["allergy", "intolerance"]),
            "category": category,
            "criticality": maker.pick(["low", "high", "unable-to-assess"]),
            "clinical_status": maker.pick(["active", "inactive", "resolved"]),
            "verification_status": maker.pick(["unconfirmed", "presumed", "confirmed"]),
            "onset_date": date(2015, 3, 1),
            "recorded_date": date(2015, 3, 2),
            **coded("reaction", SNOMED, "271807003", "Eruption of skin (disorder)"),
            "reaction_severity": maker.pick(["mild", "moderate", "severe"]),
            "practitioner_id": maker.pick(keys["practitioner"]),
        },
    )
