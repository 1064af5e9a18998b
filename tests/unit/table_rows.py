"""Good rows of canonical tables, for tests to break: two patients, three encounters, and what refers to them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

Table = list[dict[str, str]]
Tables = dict[str, Table]

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"


def good() -> Tables:
    """Two patients, three encounters, and a row or two of what refers to them; only the columns that are needed."""
    dated = {"time_precision": "second"}
    return {
        "organization": [{"organization_id": "o1", "name": "Made-up Clinic", "npi": "1234567893", "state": "MA"}],
        "patient": [
            {
                "patient_id": "p1",
                "birth_date": "1960-05-04",
                "birth_date_precision": "",
                "sex": "female",
                "birth_sex": "F",
                "death_datetime": "2021-06-01T08:00:00Z",
                "death_precision": "",
                "medical_record_number": "M1",
                "postal_code": "01101",
                "organization_id": "o1",
            },
            {
                "patient_id": "p2",
                "birth_date": "2001-01-01",
                "birth_date_precision": "year",
                "sex": "male",
                "birth_sex": "UNK",
                "death_datetime": "2022-01-01T00:00:00Z",
                "death_precision": "day",
                "medical_record_number": "M2",
                "postal_code": "01101-0001",
                "organization_id": "",
            },
        ],
        "encounter": [
            {
                "encounter_id": f"e{number}",
                "patient_id": patient,
                "sequence": sequence,
                "start_datetime": f"{day}T08:00:00Z",
                "end_datetime": f"{day}T18:00:00Z",
                "status": "finished",
                "encounter_class": "AMB",
                **dated,
            }
            for number, patient, sequence, day in (
                (1, "p1", "1", "2020-03-01"),
                (2, "p1", "2", "2020-04-01"),
                (3, "p2", "1", "2019-07-01"),
            )
        ],
        "condition": [
            {
                "condition_id": f"c{number}",
                "patient_id": "p1",
                "encounter_id": encounter,
                "category": "encounter-diagnosis",
                "code_system": ICD10,
                "code": code,
                "onset_date": "2015-01-01",
                "abatement_date": "2020-05-01",
                "recorded_date": day,
                "rank": "1",
            }
            for number, encounter, code, day in ((1, "e1", "I10", "2020-03-01"), (2, "e2", "E11.9", "2020-04-01"))
        ],
        "observation": [
            {
                "observation_id": "b1",
                "patient_id": "p1",
                "encounter_id": "e1",
                "category": "laboratory",
                "status": "final",
                "code_system": LOINC,
                "code": "2345-7",
                "effective_datetime": "2020-03-01 09:30:00",
                "value_number": "95.5",
                "value_unit": "mg/dL",
                "reference_low": "70",
                "reference_high": "99",
                **dated,
            }
        ],
        "immunization": [
            {
                "immunization_id": "i1",
                "patient_id": "p1",
                "encounter_id": "e1",
                "code_system": "http://hl7.org/fhir/sid/cvx",
                "code": "140",
                "status": "completed",
                "occurrence_datetime": "2020-03-01T00:00:00+00:00",
                "time_precision": "day",
                "primary_source": "true",
            }
        ],
    }


def write(folder: Path, tables: Tables) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8")
    return folder
