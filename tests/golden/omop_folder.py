"""A hand-made OMOP folder: three people, every table that is read, every way a code can come about."""

from __future__ import annotations

import csv
import gzip
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["TABLES", "tables", "write"]

Row = dict[str, Any]
Tables = dict[str, list[Row]]

ONE, TWO, THREE = "-8254164865273971123", "2", "0003"

TABLES: Tables = {
    "location": [
        {"location_id": 1, "address_1": "1 Main St", "city": "Boston", "state": "ma", "zip": "02115"},
        {"location_id": 2, "address_1": "9 Home Ln", "city": "Salem", "state": "Massachusetts", "zip": "019"},
        {"location_id": 3, "address_1": "2 Nowhere", "city": "Lowell", "state": "MA", "zip": "01850-1234"},
    ],
    "care_site": [
        {"care_site_id": 5, "care_site_name": "Ward A", "location_id": 1},
        {"care_site_id": 6, "care_site_name": "", "location_id": 0},
    ],
    "provider": [
        {
            "provider_id": 7,
            "provider_name": "Ana María Núñez",
            "npi": "1234567893",
            "care_site_id": 5,
            "gender_concept_id": 8532,
            "specialty_source_value": "Internal medicine",
        },
        {"provider_id": 8, "provider_name": "", "npi": "12", "care_site_id": "", "gender_concept_id": 0},
    ],
    "person": [
        {
            "person_id": ONE,
            "gender_concept_id": 8507,
            "year_of_birth": 1950,
            "month_of_birth": 3,
            "day_of_birth": 15,
            "race_concept_id": 8527,
            "ethnicity_concept_id": 38003564,
            "location_id": 3,
            "provider_id": 7,
            "care_site_id": 5,
            "gender_source_value": "M",
            "race_source_value": "WHITE",
        },
        {
            "person_id": TWO,
            "gender_concept_id": 8532,
            "year_of_birth": 1980,
            "month_of_birth": 6,
            "day_of_birth": "",
            "race_concept_id": 38003579,
            "ethnicity_concept_id": 0,
            "location_id": 2,
            "provider_id": 0,
            "care_site_id": "",
            "gender_source_value": "F",
            "race_source_value": "Chinese",
        },
        {
            "person_id": THREE,
            "gender_concept_id": 0,
            "year_of_birth": 2001,
            "month_of_birth": "",
            "day_of_birth": "",
            "race_concept_id": 0,
            "ethnicity_concept_id": 0,
            "location_id": "",
            "provider_id": "",
            "care_site_id": "",
            "gender_source_value": "F",
            "race_source_value": "hispanic/latino ",
        },
    ],
    "death": [
        {
            "person_id": TWO,
            "death_date": "2020-05-04",
            "death_datetime": "2020-05-04 13:45:00",
            "cause_concept_id": 0,
            "cause_source_value": "I219",
            "cause_source_concept_id": 0,
        },
    ],
    "observation_period": [
        {
            "observation_period_id": 1,
            "person_id": ONE,
            "observation_period_start_date": "2015-01-01",
            "observation_period_end_date": "2016-12-31",
        },
        {
            "observation_period_id": 2,
            "person_id": ONE,
            "observation_period_start_date": "2014-01-01",
            "observation_period_end_date": "2014-12-31",
        },
        {
            "observation_period_id": 3,
            "person_id": TWO,
            "observation_period_start_date": "1975-01-01",
            "observation_period_end_date": "2020-05-04",
        },
    ],
    "payer_plan_period": [
        {
            "payer_plan_period_id": 1,
            "person_id": ONE,
            "payer_plan_period_start_date": "2014-01-01",
            "payer_plan_period_end_date": "2015-12-31",
            "payer_concept_id": 0,
            "payer_source_value": "Medicare",
        },
        {
            "payer_plan_period_id": 2,
            "person_id": ONE,
            "payer_plan_period_start_date": "2016-01-01",
            "payer_plan_period_end_date": "2016-12-31",
            "payer_concept_id": 0,
            "payer_source_value": "Acme",
        },
    ],
    "visit_occurrence": [
        {
            "visit_occurrence_id": "-11",
            "person_id": ONE,
            "visit_concept_id": 9201,
            "visit_start_date": "2016-02-01",
            "visit_start_datetime": "2016-02-01 08:30:00",
            "visit_end_date": "2016-02-04",
            "visit_end_datetime": "2016-02-04 11:00:00",
            "provider_id": 7,
            "care_site_id": 5,
            "visit_source_value": "x",
            "admitted_from_concept_id": 8870,
            "admitted_from_source_value": "",
            "discharged_to_concept_id": 581476,
            "discharged_to_source_value": "Skilled Nursing Facility",
        },
        {
            "visit_occurrence_id": "10",
            "person_id": ONE,
            "visit_concept_id": 9202,
            "visit_start_date": "2015-01-10",
            "visit_start_datetime": "2015-01-10 09:00:00",
            "visit_end_date": "2015-01-10",
            "visit_end_datetime": "2015-01-10 09:20:00",
        },
        {
            "visit_occurrence_id": "12",
            "person_id": TWO,
            "visit_concept_id": 9203,
            "visit_start_date": "2020-05-01",
            "visit_start_datetime": "2020-05-01 22:00:00",
            "visit_end_date": "2020-05-04",
            "visit_end_datetime": "2020-05-04 18:00:00",
            "discharged_to_concept_id": 4216643,
        },
        {
            "visit_occurrence_id": "13",
            "person_id": THREE,
            "visit_concept_id": 0,
            "visit_start_date": "2019-01-01",
            "visit_start_datetime": "2019-01-01 10:00:00",
            "visit_end_date": "2019-01-03",
            "visit_end_datetime": "2019-01-03 12:00:00",
            "visit_source_value": "walk-in",
        },
        {
            "visit_occurrence_id": "14",
            "person_id": THREE,
            "visit_concept_id": 0,
            "visit_start_date": "2019-03-01",
            "visit_start_datetime": "",
            "visit_end_date": "",
            "visit_end_datetime": "",
            "visit_source_value": "Inpatient",
        },
        {
            "visit_occurrence_id": "15",
            "person_id": THREE,
            "visit_concept_id": 262,
            "visit_start_date": "2018-03-01",
            "visit_start_datetime": "2018-03-01 01:00:00",
            "visit_end_date": "2018-03-02",
            "visit_end_datetime": "2018-03-02 01:00:00",
        },
    ],
    "condition_occurrence": [
        # By the source concept that the folder knows, charted three times in a visit.
        *(
            {
                "condition_occurrence_id": 100 + n,
                "person_id": ONE,
                "condition_concept_id": 201826,
                "condition_start_date": "2016-02-02",
                "condition_start_datetime": f"2016-02-02 0{9 - n}:00:00",
                "condition_end_date": "2016-02-04",
                "visit_occurrence_id": "-11",
                "condition_source_value": "E119",
                "condition_source_concept_id": 45601038,
                "provider_id": 7,
            }
            for n in range(3)
        ),
        # A public source concept that nobody knows: by shape, although the standard concept is known.
        {
            "condition_occurrence_id": 110,
            "person_id": ONE,
            "condition_concept_id": 201826,
            "condition_start_date": "2016-01-30",
            "condition_end_date": "2016-03-01",
            "visit_occurrence_id": "-11",
            "condition_source_value": "4019   ",
            "condition_source_concept_id": 44821949,
        },
        # A local source concept with a standard one; no visit; from the problem list.
        {
            "condition_occurrence_id": 111,
            "person_id": TWO,
            "condition_concept_id": 201826,
            "condition_start_date": "2019-07-01",
            "condition_end_date": "",
            "visit_occurrence_id": 0,
            "condition_source_value": "DM",
            "condition_source_concept_id": 2000000001,
            "condition_type_concept_id": 32840,
        },
        # A local source concept of which only a mapping is known.
        {
            "condition_occurrence_id": 112,
            "person_id": TWO,
            "condition_concept_id": 0,
            "condition_start_date": "2019-08-01",
            "condition_source_value": "DM2",
            "condition_source_concept_id": 2000000002,
        },
        # Nothing but a local concept; nothing but a word; nothing at all.
        {
            "condition_occurrence_id": 113,
            "person_id": TWO,
            "condition_concept_id": 0,
            "condition_start_date": "2019-08-02",
            "condition_source_concept_id": 2000000003,
        },
        {
            "condition_occurrence_id": 114,
            "person_id": TWO,
            "condition_concept_id": 0,
            "condition_start_date": "2019-08-03",
            "condition_source_value": "feels  odd ",
        },
        {
            "condition_occurrence_id": 115,
            "person_id": TWO,
            "condition_concept_id": 0,
            "condition_start_date": "2019-08-04",
        },
        # Before birth; after death; on the day after the death.
        {
            "condition_occurrence_id": 116,
            "person_id": TWO,
            "condition_concept_id": 201826,
            "condition_start_date": "1980-05-31",
        },
        {
            "condition_occurrence_id": 117,
            "person_id": TWO,
            "condition_concept_id": 201826,
            "condition_start_date": "2020-05-06",
        },
        {
            "condition_occurrence_id": 118,
            "person_id": TWO,
            "condition_concept_id": 201826,
            "condition_start_date": "2020-05-05",
        },
    ],
    "drug_exposure": [
        {
            "drug_exposure_id": 200,
            "person_id": ONE,
            "drug_concept_id": 1127433,
            "drug_exposure_start_date": "2016-02-02",
            "drug_exposure_start_datetime": "2016-02-02 10:00:00",
            "drug_exposure_end_date": "2016-02-09",
            "visit_occurrence_id": "-11",
            "quantity": 14,
            "days_supply": 7,
            "refills": 0,
            "sig": "twice a day",
            "route_source_value": "PO",
            "drug_source_value": "00093-0148-01",
            "drug_source_concept_id": 0,
            "stop_reason": "",
        },
        {
            "drug_exposure_id": 201,
            "person_id": ONE,
            "drug_concept_id": 1127433,
            "drug_exposure_start_date": "2016-02-02",
            "drug_exposure_start_datetime": "2016-02-02 20:00:00",
            "visit_occurrence_id": "-11",
            "quantity": -1,
            "drug_source_value": "x",
        },
        {
            "drug_exposure_id": 202,
            "person_id": ONE,
            "drug_concept_id": 40213154,
            "drug_exposure_start_date": "2015-01-10",
            "drug_exposure_start_datetime": "2015-01-10 09:05:00",
            "visit_occurrence_id": "10",
            "lot_number": "0",
            "drug_source_value": "140",
        },
        {
            "drug_exposure_id": 203,
            "person_id": ONE,
            "drug_concept_id": 0,
            "drug_exposure_start_date": "2016-02-02",
            "visit_occurrence_id": "-11",
            "drug_source_value": "99999999999",
            "stop_reason": "rash",
        },
        # A diagnosis that some ETL wrote into every table.
        {
            "drug_exposure_id": 204,
            "person_id": ONE,
            "drug_concept_id": 0,
            "drug_exposure_start_date": "2016-02-02",
            "drug_source_value": "E119",
            "drug_source_concept_id": 45601038,
        },
    ],
    "procedure_occurrence": [
        {
            "procedure_occurrence_id": 300,
            "person_id": ONE,
            "procedure_concept_id": 0,
            "procedure_date": "2016-02-02",
            "procedure_datetime": "2016-02-02 00:00:00",
            "visit_occurrence_id": "-11",
            "procedure_source_value": "99213",
            "quantity": 1,
        },
        {
            "procedure_occurrence_id": 301,
            "person_id": ONE,
            "procedure_concept_id": 0,
            "procedure_date": "2015-06-01",
            "procedure_datetime": "2015-06-01 00:00:00",
            "visit_occurrence_id": "-11",
            "procedure_source_value": "0DTJ4ZZ",
            "quantity": "",
        },
        {
            "procedure_occurrence_id": 302,
            "person_id": ONE,
            "procedure_concept_id": 2414397,
            "procedure_date": "2016-02-03",
            "visit_occurrence_id": "-11",
        },
    ],
    "measurement": [
        {
            "measurement_id": 400,
            "person_id": ONE,
            "measurement_concept_id": 3004501,
            "measurement_date": "2016-02-02",
            "measurement_datetime": "2016-02-02 06:07:08",
            "operator_concept_id": 4171756,
            "value_as_number": 5,
            "unit_concept_id": 8840,
            "unit_source_value": "mg/dl",
            "range_low": 70,
            "range_high": 99,
            "visit_occurrence_id": "-11",
            "measurement_source_value": "2345-7",
            "value_source_value": "<5",
        },
        {
            "measurement_id": 401,
            "person_id": ONE,
            "measurement_concept_id": 0,
            "measurement_date": "2015-01-10",
            "value_as_number": 37.2,
            "unit_source_value": " Cel ",
            "range_low": 9,
            "range_high": 1,
            "visit_occurrence_id": "10",
            "measurement_source_value": "8310-5",
        },
        {
            "measurement_id": 402,
            "person_id": ONE,
            "measurement_concept_id": 0,
            "measurement_date": "2015-01-10",
            "unit_source_value": "mg",
            "visit_occurrence_id": "10",
            "measurement_source_value": "odd test",
            "value_source_value": "cloudy",
        },
        {
            "measurement_id": 403,
            "person_id": ONE,
            "measurement_concept_id": 0,
            "measurement_date": "2015-01-10",
            "value_as_concept_id": 201826,
            "value_source_value": "coded",
            "visit_occurrence_id": "10",
            "measurement_source_value": "odd test",
        },
    ],
    "observation": [
        {
            "observation_id": 400,
            "person_id": TWO,
            "observation_concept_id": 0,
            "observation_date": "2020-05-02",
            "value_as_string": "never",
            "visit_occurrence_id": "12",
            "observation_source_value": "72166-2",
        },
    ],
    "device_exposure": [
        {
            "device_exposure_id": 500,
            "person_id": TWO,
            "device_concept_id": 0,
            "device_exposure_start_date": "2020-05-02",
            "device_exposure_end_date": "2020-05-09",
            "visit_occurrence_id": "12",
            "device_source_value": "pump",
            "unique_device_id": "(01)1",
            "quantity": 1,
        },
    ],
    "2b_concept": [
        {
            "concept_id": 2000000001,
            "concept_name": "Diabetes",
            "domain_id": "Condition",
            "vocabulary_id": "my_dx",
            "concept_code": "DM",
        },
        {
            "concept_id": 2000000003,
            "concept_name": "Odd rhythm",
            "domain_id": "Condition",
            "vocabulary_id": "my_dx",
            "concept_code": " ODD ",
        },
    ],
    "concept": [
        {
            "concept_id": 45601038,
            "concept_name": "T2DM",
            "domain_id": "Condition",
            "vocabulary_id": "ICD10CM",
            "concept_code": "E11.9",
        },
        {
            "concept_id": 201826,
            "concept_name": "Type 2 diabetes mellitus",
            "domain_id": "Condition",
            "vocabulary_id": "SNOMED",
            "concept_code": "44054006",
        },
        {
            "concept_id": 1127433,
            "concept_name": "A drug",
            "domain_id": "Drug",
            "vocabulary_id": "RxNorm",
            "concept_code": "313782",
        },
        {
            "concept_id": 40213154,
            "concept_name": "Influenza",
            "domain_id": "Drug",
            "vocabulary_id": "CVX",
            "concept_code": "140",
        },
        {
            "concept_id": 3004501,
            "concept_name": "Glucose",
            "domain_id": "Measurement",
            "vocabulary_id": "LOINC",
            "concept_code": "2345-7",
        },
        {
            "concept_id": 8840,
            "concept_name": "milligram per deciliter",
            "domain_id": "Unit",
            "vocabulary_id": "UCUM",
            "concept_code": "mg/dL",
        },
        {
            "concept_id": 2414397,
            "concept_name": "Description of the AMA",
            "domain_id": "Procedure",
            "vocabulary_id": "CPT4",
            "concept_code": "99214",
        },
    ],
    "concept_relationship": [
        {"concept_id_1": 2000000002, "concept_id_2": 201826, "relationship_id": "Maps to"},
        {"concept_id_1": 201826, "concept_id_2": 201826, "relationship_id": "Maps to"},
    ],
    "cdm_source": [{"cdm_source_name": "Made by hand", "cdm_version": "5.4"}],
    "note": [{"note_id": 1}],
}


def tables() -> Tables:
    """Return a copy of the tables, to change."""
    return deepcopy(TABLES)


def _texts(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[str(row.get(name, "")) for name in names] for row in rows]


def write(folder: Path, made: Tables, how: str = "csv", *, upper: bool = False) -> Path:
    """Write tables as ``csv``, ``csv.gz``, ``tsv``, ``bom`` (a mark and semicolons) or ``parquet`` (of text)."""
    folder.mkdir(exist_ok=True)
    for table, rows in made.items():
        names, cells = _texts(rows)
        names = [name.upper() for name in names] if upper else names
        stem = table.upper() if upper else table
        if how == "parquet":
            columns = [[cell or None for cell in column] for column in zip(*cells, strict=True)]
            pq.write_table(
                pa.table([pa.array(column, pa.string()) for column in columns], names=names), folder / f"{stem}.parquet"
            )
            continue
        suffix = {"bom": "csv"}.get(how, how)
        mark = {"tsv": "\t", "bom": ";"}.get(how, ",")
        opener = gzip.open if how == "csv.gz" else open
        with opener(
            folder / f"{stem}.{suffix}", "wt", newline="", encoding="utf-8-sig" if how == "bom" else "utf-8"
        ) as handle:
            writer = csv.writer(handle, delimiter=mark)
            writer.writerow(names)
            writer.writerows(cells)
    return folder
