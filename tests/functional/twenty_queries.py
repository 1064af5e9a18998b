"""Twenty questions in SQL that every database understands, and FHIR as NDJSON dressed as tables for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["QUERIES", "VIEWS", "answer", "fhir_views"]

YEAR = "substr(CAST({column} AS VARCHAR), 1, 4)"
START = YEAR.format(column="start_datetime")

QUERIES = {
    "patients by sex": "SELECT sex, count(*) FROM patient GROUP BY sex",
    "patients by year of birth": f"SELECT {YEAR.format(column='birth_date')}, count(*) FROM patient GROUP BY 1",
    "who died": "SELECT patient_id FROM patient WHERE death_datetime IS NOT NULL",
    "people of one name": "SELECT family_name, count(*) FROM patient GROUP BY family_name",
    "visits by class": "SELECT encounter_class, count(*) FROM encounter GROUP BY encounter_class",
    "visits by year": f"SELECT {START}, count(*) FROM encounter GROUP BY 1",
    "visits of each patient": """
        SELECT p.patient_id, count(e.encounter_id) FROM patient p
        LEFT JOIN encounter e ON e.patient_id = p.patient_id GROUP BY p.patient_id""",
    "never in hospital": """
        SELECT count(*) FROM patient p
        WHERE NOT EXISTS (
            SELECT 1 FROM encounter e WHERE e.patient_id = p.patient_id AND e.encounter_class = 'IMP')""",
    "first visit": "SELECT patient_id, substr(CAST(min(start_datetime) AS VARCHAR), 1, 10) FROM encounter GROUP BY 1",
    "visits by organization": """
        SELECT organization_id, count(DISTINCT patient_id) FROM encounter GROUP BY organization_id""",
    "conditions by code": "SELECT code, count(*), count(DISTINCT patient_id) FROM condition GROUP BY code",
    "conditions by sex": """
        SELECT p.sex, c.code, count(*) FROM condition c JOIN patient p ON p.patient_id = c.patient_id GROUP BY 1, 2""",
    "conditions that have abated": "SELECT count(*), count(abatement_date), min(onset_date) FROM condition",
    "conditions of a class of visit": """
        SELECT e.encounter_class, count(DISTINCT c.code) FROM condition c
        JOIN encounter e ON e.encounter_id = c.encounter_id GROUP BY 1""",
    "numbers by code": """
        SELECT code, value_unit, count(*), min(value_number), max(value_number) FROM observation
        WHERE value_number IS NOT NULL GROUP BY 1, 2""",
    "measured at visits": """
        SELECT e.encounter_class, o.code, count(*) FROM observation o
        JOIN encounter e ON e.encounter_id = o.encounter_id WHERE o.value_number IS NOT NULL GROUP BY 1, 2""",
    "drugs by code": "SELECT code, status, count(*) FROM medication_request GROUP BY 1, 2",
    "drugs for conditions": """
        SELECT c.code, m.code, count(*) FROM medication_request m
        JOIN condition c ON c.condition_id = m.reason_condition_id GROUP BY 1, 2""",
    "procedures and vaccines": """
        SELECT 'procedure', code, count(*) FROM procedure GROUP BY 2
        UNION ALL SELECT 'vaccine', code, count(*) FROM immunization
        WHERE primary_source AND status = 'completed' GROUP BY 2""",
    "seen by whom": """
        SELECT w.specialty_code, count(DISTINCT e.encounter_id) FROM encounter e
        JOIN practitioner w ON w.practitioner_id = e.practitioner_id GROUP BY 1""",
}
"""By name. What FHIR alone derives of the records is not asked for.

`procedure` and others that are words of SQL somewhere are words of none of these databases.
"""

VIEWS = {
    "patient": """
        SELECT id AS patient_id, gender AS sex, birthDate AS birth_date, name[1].family AS family_name,
            deceasedDateTime AS death_datetime FROM {Patient}""",
    "encounter": """
        SELECT id AS encounter_id, subject.reference[9:] AS patient_id, "class".code AS encounter_class,
            period.start AS start_datetime, serviceProvider.reference[14:] AS organization_id,
            participant[1].individual.reference[14:] AS practitioner_id FROM {Encounter}""",
    "condition": """
        SELECT id AS condition_id, subject.reference[9:] AS patient_id, encounter.reference[11:] AS encounter_id,
            code.coding[1].code AS code, onsetDateTime AS onset_date, abatementDateTime AS abatement_date
        FROM {Condition}""",
    "observation": """
        WITH whole AS (
            SELECT * FROM {Observation}
            WHERE identifier IS NULL OR identifier[1].system NOT LIKE '%/derived_observation'),
        parts AS (
            SELECT encounter, code, valueQuantity FROM whole WHERE valueQuantity IS NOT NULL
            UNION ALL SELECT encounter, c.code, c.valueQuantity FROM (
                SELECT encounter, unnest(component) AS c FROM whole WHERE component IS NOT NULL)
            WHERE coalesce(c.id, '') NOT LIKE 'derived-%')
        SELECT encounter.reference[11:] AS encounter_id, code.coding[1].code AS code,
            valueQuantity."value"::DOUBLE AS value_number, valueQuantity.code AS value_unit FROM parts""",
    "medication_request": """
        SELECT medicationCodeableConcept.coding[1].code AS code, status,
            reasonReference[1].reference[11:] AS reason_condition_id FROM {MedicationRequest}""",
    "procedure": "SELECT code.coding[1].code AS code FROM {Procedure}",
    "immunization": """
        SELECT vaccineCode.coding[1].code AS code, primarySource AS primary_source, status FROM {Immunization}""",
    "practitioner": """
        SELECT w.id AS practitioner_id, r.specialty[1].coding[1].code AS specialty_code FROM {Practitioner} w
        JOIN {PractitionerRole} r ON r.practitioner.reference[14:] = w.id""",
}


_REFERENCE = "STRUCT(reference VARCHAR)"
_CONCEPT = "STRUCT(coding STRUCT(code VARCHAR)[])"
_QUANTITY = 'STRUCT("value" DOUBLE, code VARCHAR)'

ELEMENTS: dict[str, dict[str, str]] = {
    "Patient": {"id": "VARCHAR", "gender": "VARCHAR", "birthDate": "VARCHAR", "deceasedDateTime": "VARCHAR"}
    | {"name": "STRUCT(family VARCHAR)[]"},
    "Encounter": {"id": "VARCHAR", "subject": _REFERENCE, "class": "STRUCT(code VARCHAR)"}
    | {"period": 'STRUCT("start" VARCHAR)', "serviceProvider": _REFERENCE}
    | {"participant": f"STRUCT(individual {_REFERENCE})[]"},
    "Condition": {"id": "VARCHAR", "subject": _REFERENCE, "encounter": _REFERENCE, "code": _CONCEPT}
    | {"onsetDateTime": "VARCHAR", "abatementDateTime": "VARCHAR"},
    "Observation": {"encounter": _REFERENCE, "code": _CONCEPT, "valueQuantity": _QUANTITY}
    | {"component": f"STRUCT(id VARCHAR, code {_CONCEPT}, valueQuantity {_QUANTITY})[]"}
    | {"identifier": "STRUCT(system VARCHAR)[]"},
    "MedicationRequest": {"medicationCodeableConcept": _CONCEPT, "status": "VARCHAR"}
    | {"reasonReference": f"{_REFERENCE}[]"},
    "Procedure": {"code": _CONCEPT},
    "Immunization": {"vaccineCode": _CONCEPT, "primarySource": "BOOLEAN", "status": "VARCHAR"},
    "Practitioner": {"id": "VARCHAR"},
    "PractitionerRole": {"practitioner": _REFERENCE, "specialty": f"{_CONCEPT}[]"},
}
"""The elements that the views ask for: some populations have no resource that holds one, or none of a type."""


def fhir_views(connection: Any, folder: Path) -> None:
    """Make tables of the NDJSON in `folder` in a DuckDB connection."""
    files = {}
    for kind, elements in ELEMENTS.items():
        path = folder / f"{kind}.ndjson"
        if path.is_file():
            files[kind] = f"read_json('{path}', format = 'newline_delimited', columns = {elements})"
        else:
            nothing = ", ".join(f'NULL::{of} AS "{name}"' for name, of in elements.items())
            files[kind] = f"(SELECT {nothing} WHERE false)"
    for name, query in VIEWS.items():
        connection.execute(f"CREATE TABLE {name} AS {query.format_map(files)}")


def answer(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of an answer in an order of their own, dates as text, numbers as such."""

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return value if isinstance(value, int | float) else str(value)

    made = [tuple(plain(value) for value in row) for row in rows]
    return sorted(made, key=lambda row: [(value is None, str(value)) for value in row])
