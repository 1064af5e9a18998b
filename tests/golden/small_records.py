"""Twenty hand-made patients: every table, every optional column present and absent, awkward text, coarse dates, deaths.

They are clean (keys hold, dates lie within lives and encounters, codes are possible for sex and age), so that whoever
tests a check can break one thing and whoever tests a writer can expect no finding. Codes and units are real; people,
places and numbers belong to nobody. Other tests get them through the fixture ``small_records``.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.randomness import identifiers, stream
from ehrsynth.records import Records
from ehrsynth.schema import clinical

__all__ = ["AWKWARD", "N_PATIENTS", "replicate", "small_records", "split"]

N_PATIENTS = 20
SEED = 20

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
CVX = "http://hl7.org/fhir/sid/cvx"

AWKWARD = (
    'O"Brien',
    "Núñez Ünal",
    "back\\slash",
    "comma, and ; semicolon",
    "two\nlines",
    "tab\there",
    "李小龍",
    "smile 😀 end",
    "a\u2028b",
    " lead and trail ".strip() + "\u00a0x",
    "<b>&amp;</b>",
    "=1+1",
    "'single'",
)
"""Text that a careless writer breaks on; none starts or ends with white space, which FHIR forbids."""

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


def npi(number: int) -> str:
    """Return a ten-digit identifier with the check digit of the NPI (Luhn over 80840 and nine digits)."""
    base = f"{number:09d}"
    total = sum(
        sum(divmod(int(digit) * (2 if place % 2 == 0 else 1), 10))
        for place, digit in enumerate(reversed("80840" + base))
    )
    return base + str(-total % 10)


class _Maker:
    """Collects rows and hands out keys and awkward texts in turn."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in clinical().tables}
        self.ids = {table.name: iter(identifiers(SEED, table.name, 0, 4000).tolist()) for table in clinical().tables}
        self.panels = iter(identifiers(SEED, "panel", 0, 400).tolist())
        self.random = stream(SEED, "small-records")
        self.texts = 0

    def pick(self, choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def awkward(self) -> str:
        self.texts += 1
        return AWKWARD[self.texts % len(AWKWARD)]

    def add(self, table: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> str:
        """Add a row and return its key: the first of a table is full, the second bare, later ones in between."""
        number, optional = len(self.rows[table]), optional or {}
        # System, code and display of one coding come or go together.
        groups = {
            name: name.rsplit("_", 1)[0] if name.rsplit("_", 1)[0] + "_system" in optional else name
            for name in optional
        }
        there = {
            group: number == 0 or (number != 1 and self.random.random() < 0.65)
            for group in dict.fromkeys(groups.values())
        }
        kept = {name: value for name, value in optional.items() if there[groups[name]]}
        key = next(self.ids[table])
        self.rows[table].append({clinical()[table].primary_key: key, **required, **kept})
        return key


def _coded(prefix: str, system: str, code: str, display: str | None) -> dict[str, Any]:
    lead = f"{prefix}_" if prefix else "code_"
    return {f"{lead}system": system, f"{prefix}_code" if prefix else "code": code} | (
        {f"{prefix}_display" if prefix else "display": display} if display else {}
    )


def _address(maker: _Maker, number: int) -> dict[str, Any]:
    return {
        "address_line": f"{100 + number} {maker.awkward()} Street",
        "city": maker.pick(["Boston", "Saint-Étienne", "Springfield"]),
        "state": maker.pick(["MA", "NY", "PR"]),
        "postal_code": maker.pick(["02115", "10001-0001"]),
        "country": "US",
    }


def _shared(maker: _Maker) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {"organization": [], "practitioner": [], "location": [], "payer": []}
    for n in range(4):
        keys["organization"].append(
            maker.add(
                "organization",
                {"name": f"Clinic {maker.awkward()}"},
                {
                    "organization_type_code": "prov",
                    "npi": npi(299999900 + n),
                    "phone": f"555-010{n}",
                    **_address(maker, n),
                },
            )
        )
    for n in range(5):
        keys["practitioner"].append(
            maker.add(
                "practitioner",
                {"family_name": maker.awkward()},
                {
                    "npi": npi(199999900 + n),
                    "name_prefix": "Dr.",
                    "given_name": maker.awkward(),
                    "sex": maker.pick(["male", "female", "other", "unknown"]),
                    "specialty_code": "207Q00000X",
                    "specialty_display": "Family Medicine Physician",
                    "organization_id": maker.pick(keys["organization"]),
                    "phone": f"555-011{n}",
                    "email": f"practitioner{n}@example.org",
                },
            )
        )
    for n in range(3):
        keys["location"].append(
            maker.add(
                "location",
                {"name": f"Ward {maker.awkward()}"},
                {
                    "location_type_code": maker.pick(["HOSP", "ER", "OF"]),
                    "organization_id": keys["organization"][n],
                    "phone": f"555-012{n}",
                    **_address(maker, n),
                },
            )
        )
    for n in range(3):
        keys["payer"].append(
            maker.add(
                "payer",
                {"name": f"Payer {maker.awkward()}"},
                {"payer_type_code": maker.pick(["1", "2", "5"]), "phone": f"555-013{n}", **_address(maker, n)},
            )
        )
    return keys


def _patient(maker: _Maker, n: int, keys: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    birth_precision = ("day", None, "month", "year")[n % 4]
    birth = date(
        1940 + 3 * n, 1 if birth_precision == "year" else 1 + n % 12, 1 if birth_precision in ("year", "month") else 14
    )
    sex = ("female", "male", "other", "unknown")[n % 4] if n < 8 else ("female", "male")[n % 2]
    optional = {
        "birth_sex": {"female": "F", "male": "M"}.get(sex, "UNK"),
        "race_code": ("2106-3", "2054-5", "2028-9", "1002-5", "2076-8", "2131-1")[n % 6],
        "ethnicity_code": ("2186-5", "2135-2")[n % 2],
        "marital_status_code": ("M", "S", "D", "W", "UNK")[n % 5],
        "language_code": ("en-US", "es", "zh")[n % 3],
        "record_start_date": date(2015, 1, 1),
        "record_end_date": date(2020, 12, 31) if n % 5 else None,
        "name_prefix": maker.pick(["Mr.", "Ms.", "Dr."]),
        "given_name": maker.awkward(),
        "middle_name": maker.awkward(),
        "family_name": maker.awkward(),
        "maiden_name": maker.awkward(),
        **_address(maker, n),
        "phone": f"555-01{40 + n}",
        "email": f"patient{n}@example.org",
        "medical_record_number": f"MRN-{n:04d}",
        "social_security_number": f"999-{10 + n}-{1000 + n}",
        "organization_id": maker.pick(keys["organization"]),
        "practitioner_id": maker.pick(keys["practitioner"]),
    }
    death: dict[str, Any] = {}
    if n in (0, 3, 7, 11):
        death = {"death_datetime": datetime(2021, 2, n + 1), "death_precision": "day"}
        if n != 3:
            death = {
                "death_datetime": datetime(2021, 2, n + 1, 4, 5),
                "death_precision": ("second", None, "minute")[n % 3],
            }
        death |= _coded("cause_of_death", ICD10, "I21.9", "Acute myocardial infarction, unspecified")
    required = {
        "birth_date": birth,
        "sex": sex,
        **({"birth_date_precision": birth_precision} if birth_precision else {}),
    }
    return maker.add("patient", {**required, **death}, optional), {"sex": sex, "birth": birth, "alive": not death}


def _time(maker: _Maker, moment: datetime, precision: str | None) -> datetime:
    if precision == "day":
        return moment.replace(hour=0, minute=0, second=0)
    return moment.replace(second=0) if precision == "minute" else moment


def _visit(
    maker: _Maker, n: int, patient: str, who: dict[str, Any], keys: dict[str, list[str]], cover: str, k: int
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
            **_coded("type", SNOMED, "185349003", "Encounter for check up (procedure)"),
            **_coded("reason", *CONDITIONS[n % 4]),
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
    maker: _Maker,
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
    for rank, coded in enumerate(codes, 1):
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
                **_coded("", *coded),
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


def _observations(
    maker: _Maker, n: int, base: dict[str, Any], when: dict[str, Any], practitioner: dict[str, Any]
) -> None:
    def add(
        category: str, code: str, display: str | None, value: dict[str, Any], extra: dict[str, Any] | None = None
    ) -> None:
        required = {
            **base,
            **when,
            "category": category,
            "status": "final",
            **_coded("", LOINC, code, display),
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
    add(
        "laboratory", "5778-6", "Color of Urine", _coded("value", SNOMED, "371244009", "Yellow color (qualifier value)")
    )
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
    smoking = _coded("value", SNOMED, "266919005", "Never smoked tobacco (finding)")
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
    maker: _Maker,
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
            **_coded("", RXNORM, *drug),
            **coarse,
        },
        {
            "authored_datetime": start,
            "start_date": day,
            "end_date": day + timedelta(days=20) if day else None,
            "sig": maker.awkward(),
            **_coded("route", SNOMED, "26643006", "Oral route (qualifier value)"),
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
        {**base, "status": "completed", **_coded("", *PROCEDURES[n % len(PROCEDURES)]), **coarse},
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
                **_coded("", CVX, *VACCINES[n % 2]),
                "occurrence_datetime": start,
                **coarse,
            },
            {"dose_number": 1 + n % 3, "lot_number": maker.awkward(), "primary_source": bool(n % 2), **practitioner},
        )
    maker.add(
        "device",
        {
            **base,
            **_coded("", SNOMED, "14106009", display),
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


def _allergy(maker: _Maker, n: int, patient: str, keys: dict[str, list[str]]) -> None:
    encounter = maker.rows["encounter"][-1]
    own = {"encounter_id": encounter["encounter_id"]} if n % 4 == 1 and encounter["patient_id"] == patient else {}
    system, code, display, category = SUBSTANCES[n % len(SUBSTANCES)]
    maker.add(
        "allergy_intolerance",
        {"patient_id": patient, **own, **_coded("", system, code, display)},
        {
            "allergy_type": maker.pick(["allergy", "intolerance"]),
            "category": category,
            "criticality": maker.pick(["low", "high", "unable-to-assess"]),
            "clinical_status": maker.pick(["active", "inactive", "resolved"]),
            "verification_status": maker.pick(["unconfirmed", "presumed", "confirmed"]),
            "onset_date": date(2015, 3, 1),
            "recorded_date": date(2015, 3, 2),
            **_coded("reaction", SNOMED, "271807003", "Eruption of skin (disorder)"),
            "reaction_severity": maker.pick(["mild", "moderate", "severe"]),
            "practitioner_id": maker.pick(keys["practitioner"]),
        },
    )


def small_records() -> Records:
    """Return the twenty patients; the same on every call."""
    maker = _Maker()
    keys = _shared(maker)
    for n in range(N_PATIENTS):
        patient, who = _patient(maker, n, keys)
        cover = maker.add(
            "coverage",
            {"patient_id": patient, "payer_id": keys["payer"][n % 3]},
            {
                "member_id": f"M-{n:05d}",
                "status": maker.pick(["active", "cancelled"]),
                "relationship_code": maker.pick(["self", "child", "spouse"]),
                "start_date": date(2014, 1, 1),
                "end_date": date(2020, 12, 31),
            },
        )
        # One patient has never been anywhere.
        for k in range(0 if n == 9 else 1 + n % 3):
            _visit(maker, n, patient, who, keys, cover, k)
        if n % 2:
            _allergy(maker, n, patient, keys)
    tables = {
        table.name: pa.Table.from_pylist(maker.rows[table.name], schema=table.arrow) for table in clinical().tables
    }
    provenance = Provenance(
        source="twenty hand-made patients",
        source_format="ehrsynth",
        licence="Apache-2.0",
        synthetic=True,
        details={"seed": SEED, "generated_at": "2024-01-01T00:00:00Z"},
    )
    return Records.from_tables(tables, provenance=provenance)


def split(records: Records) -> tuple[Records, Records]:
    """Return the (block, shared) that an exporter's `encode` is given: patients' tables only, shared tables only."""
    empty = {table.name: table.arrow.empty_table() for table in records.schema.tables}
    block = {t.name: empty[t.name] if t.shared else records[t.name] for t in records.schema.tables}
    shared = {t.name: records[t.name] if t.shared else empty[t.name] for t in records.schema.tables}
    return tuple(Records(tables=half, schema=records.schema, provenance=records.provenance) for half in (block, shared))  # type: ignore[return-value]


def replicate(records: Records, times: int) -> Records:
    """Return `times` copies of every patient under new keys, the shared tables once: for measuring speed."""
    tables = {}
    for table in records.schema.tables:
        rows = records[table.name]
        if table.shared:
            tables[table.name] = rows
            continue
        own = {
            table.primary_key,
            "panel_id",
            *(k.column for k in table.foreign_keys if not records.schema[k.reference_table].shared),
        }
        copies = []
        for copy in range(times):
            renamed = rows
            for name in own & set(rows.column_names):
                position = rows.column_names.index(name)
                renamed = renamed.set_column(position, name, _renamed(rows[name], copy))
            copies.append(renamed)
        # Copies of a patient stay together with nothing else's: sorted by patient, as records are.
        tables[table.name] = pa.concat_tables(copies).unify_dictionaries().combine_chunks()
    return Records(tables=tables, schema=records.schema, provenance=records.provenance)


def _renamed(values: pa.ChunkedArray, copy: int) -> pa.ChunkedArray:
    texts = [None if text is None else f"{text[:28]}{copy:08x}" for text in values.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])
