"""Real sources inspected: every key that a person would name, none that is wrong; and what is proposed can be learned.

The truth is written by hand. MIMIC-IV: the constraints that its authors publish (MIT-LCP/mimic-code,
``mimic-iv/buildmimic/postgres/constraint.sql`` and the same of mimic-iv-ed), less the parts of a key without which it
is still one; for ``omr`` and ``pyxis``, which have none there, what the documentation says of ``seq_num``, ``med_rn``
and ``gsn_rn``. Synthea: its CSV data dictionary; tables without an Id have no key there. OMOP: the field specification
of CDM 5.4, for the tables that are there.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

import ehrsynth
from ehrsynth.api import read_with_report
from ehrsynth.inspection import Inspection

pytestmark = pytest.mark.shared

KEYS: dict[str, dict[str, str]] = {
    "mimic4_demo_native": {
        "admissions": "hadm_id",
        "d_labitems": "itemid",
        "diagnoses_icd": "hadm_id seq_num",
        "microbiologyevents": "microevent_id",
        "omr": "subject_id chartdate seq_num result_name",
        "patients": "subject_id",
        "pharmacy": "pharmacy_id",
        "prescriptions": "pharmacy_id drug_type drug",
        "procedures_icd": "hadm_id seq_num",
        "services": "hadm_id transfertime",
        "transfers": "transfer_id",
    },
    "mimic4_ed_demo": {
        "edstays": "stay_id",
        "triage": "stay_id",
        "diagnosis": "stay_id seq_num",
        "vitalsign": "stay_id charttime",
        "pyxis": "stay_id med_rn gsn_rn",
    },
    "synthea_csv_27": dict.fromkeys(
        [
            "careplans",
            "claims",
            "claims_transactions",
            "encounters",
            "imaging_studies",
            "organizations",
            "patients",
            "payers",
            "providers",
        ],
        "id",
    ),
    "omop_synthea_1k": {
        name: f"{name}_id"
        for name in [
            "concept",
            "condition_era",
            "condition_occurrence",
            "drug_era",
            "drug_exposure",
            "measurement",
            "observation",
            "observation_period",
            "person",
            "procedure_occurrence",
            "visit_occurrence",
        ]
    },
}

SUBJECT, STAY, HADM = "patients.subject_id", "edstays.stay_id", "admissions.hadm_id"
PATIENT, VISIT = "patients.id", "encounters.id"
BOTH = {"patient": PATIENT, "encounter": VISIT}
OF_CLAIMS = {
    "patientid": PATIENT,
    "providerid": "providers.id",
    "supervisingproviderid": "providers.id",
    "appointmentid": VISIT,
}
REFERENCES: dict[str, dict[str, dict[str, str]]] = {
    "mimic4_demo_native": {
        "admissions": {"subject_id": SUBJECT},
        "diagnoses_icd": {"subject_id": SUBJECT, "hadm_id": HADM},
        "drgcodes": {"subject_id": SUBJECT, "hadm_id": HADM},
        "microbiologyevents": {"subject_id": SUBJECT, "hadm_id": HADM},
        "omr": {"subject_id": SUBJECT},
        "pharmacy": {"subject_id": SUBJECT, "hadm_id": HADM},
        "prescriptions": {"subject_id": SUBJECT, "hadm_id": HADM, "pharmacy_id": "pharmacy.pharmacy_id"},
        "procedures_icd": {"subject_id": SUBJECT, "hadm_id": HADM},
        "services": {"subject_id": SUBJECT, "hadm_id": HADM},
        "transfers": {"subject_id": SUBJECT, "hadm_id": HADM},
    },
    "mimic4_ed_demo": {name: {"stay_id": STAY} for name in ("diagnosis", "medrecon", "pyxis", "triage", "vitalsign")},
    "synthea_csv_27": {
        **dict.fromkeys(
            [
                "allergies",
                "careplans",
                "conditions",
                "devices",
                "imaging_studies",
                "immunizations",
                "observations",
                "procedures",
                "supplies",
            ],
            BOTH,
        ),
        "medications": {**BOTH, "payer": "payers.id"},
        "encounters": {
            "patient": PATIENT,
            "organization": "organizations.id",
            "provider": "providers.id",
            "payer": "payers.id",
        },
        "providers": {"organization": "organizations.id"},
        "payer_transitions": {"patient": PATIENT, "payer": "payers.id", "secondary_payer": "payers.id"},
        "claims": {
            **OF_CLAIMS,
            "referringproviderid": "providers.id",
            "primarypatientinsuranceid": "payers.id",
            "secondarypatientinsuranceid": "payers.id",
        },
        # The dictionary says that patientinsuranceid leads to a membership; in the data it is the patient.
        "claims_transactions": {
            **OF_CLAIMS,
            "claimid": "claims.id",
            "placeofservice": "organizations.id",
            "patientinsuranceid": PATIENT,
        },
    },
    "omop_synthea_1k": {
        table: {
            column: {
                "person_id": "person.person_id",
                "visit_occurrence_id": "visit_occurrence.visit_occurrence_id",
            }.get(column.removeprefix("preceding_"), "concept.concept_id")
            for column in columns.split()
        }
        for table, columns in {
            "condition_era": "person_id condition_concept_id",
            "condition_occurrence": "person_id condition_concept_id condition_type_concept_id "
            "condition_status_concept_id visit_occurrence_id condition_source_concept_id",
            "drug_era": "person_id drug_concept_id",
            "drug_exposure": "person_id drug_concept_id drug_type_concept_id route_concept_id visit_occurrence_id "
            "drug_source_concept_id",
            "measurement": "person_id measurement_concept_id measurement_type_concept_id operator_concept_id "
            "value_as_concept_id unit_concept_id visit_occurrence_id measurement_source_concept_id "
            "unit_source_concept_id meas_event_field_concept_id",
            "observation": "person_id observation_concept_id observation_type_concept_id value_as_concept_id "
            "qualifier_concept_id unit_concept_id visit_occurrence_id observation_source_concept_id "
            "obs_event_field_concept_id",
            "observation_period": "person_id period_type_concept_id",
            "person": "gender_concept_id race_concept_id ethnicity_concept_id gender_source_concept_id "
            "race_source_concept_id ethnicity_source_concept_id",
            "procedure_occurrence": "person_id procedure_concept_id procedure_type_concept_id modifier_concept_id "
            "visit_occurrence_id procedure_source_concept_id",
            "visit_occurrence": "person_id visit_concept_id visit_type_concept_id visit_source_concept_id "
            "admitted_from_concept_id discharged_to_concept_id preceding_visit_occurrence_id",
        }.items()
    },
}

_FOUND: dict[str, tuple[Inspection, str]] = {}


def found(shared: Path, name: str) -> tuple[Inspection, str]:
    """What an inspection says of a source, once."""
    if name not in _FOUND:
        _FOUND[name] = ehrsynth.inspect(shared / "data" / name)
    return _FOUND[name]


@pytest.mark.parametrize("name", KEYS)
def test_every_key_that_a_person_would_name_and_no_other(shared: Path, name: str) -> None:
    inspection, _ = found(shared, name)
    assert inspection.primary_keys == {table: tuple(key.split()) for table, key in KEYS[name].items()}
    references: dict[str, dict[str, str]] = {}
    for one in inspection.references:
        references.setdefault(one.table, {})[one.column] = f"{one.to_table}.{one.to_column}"
    assert references == REFERENCES[name]


def test_a_layout_that_has_a_reader_of_its_own_is_named(shared: Path) -> None:
    for name, format_ in (
        ("mimic4_demo_native", "mimic-iv"),
        ("synthea_csv_27", "synthea-csv"),
        ("omop_synthea_1k", "omop"),
    ):
        assert any(f"--format {format_} " in note for note in found(shared, name)[0].notes)


def test_codes_and_roles_of_the_sources(shared: Path) -> None:
    def codes(name: str) -> dict[str, str]:
        return {
            f"{table.name}.{column.name}": column.codes.system
            for table in found(shared, name)[0].tables
            if table.role is not None
            for column in table.columns
            if column.codes is not None
        }

    synthea = codes("synthea_csv_27")
    assert synthea["immunizations.code"] == "cvx"
    assert synthea["medications.code"] == "rxnorm"
    assert synthea["observations.code"] == "loinc"
    assert synthea["conditions.code"] == synthea["procedures.code"] == synthea["encounters.reasoncode"] == "snomed"
    mimic = codes("mimic4_demo_native")
    assert mimic == {"diagnoses_icd.icd_code": "icd", "procedures_icd.icd_code": "icd", "prescriptions.ndc": "ndc"}
    assert found(shared, "mimic4_ed_demo")[0].time_basis == "shifted"
    assert found(shared, "omop_synthea_1k")[0].time_basis == "calendar"


ROWS = {
    "mimic4_demo_native": {"patient": 100, "encounter": 1110, "condition": 4506, "procedure": 722},
    "synthea_csv_27": {
        "patient": 27,
        "encounter": 602,
        "condition": 438,
        "medication_request": 663,
        "procedure": 249,
        "immunization": 29,
        "allergy_intolerance": 40,
        "device": 3,
        "coverage": 1051,
    },
    "omop_synthea_1k": {"patient": 1130, "encounter": 32153, "condition": 7900, "procedure": 17333},
}


@pytest.mark.learn
@pytest.mark.parametrize("name", ROWS)
def test_the_proposed_mapping_is_read_and_learned_from(shared: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("pomegranate")
    from ehrsynth.learning import LearningSettings

    mapping = tmp_path / "mapping.toml"
    mapping.write_text(found(shared, name)[1])
    records, report = read_with_report(shared / "data" / name, mapping=mapping)
    assert {table: records.row_counts[table] for table in ROWS[name]} == ROWS[name]
    assert records.check_keys() == []
    for table, read in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == table)
        assert read == report.rows_taken.get(table, 0) + aside, table
    settings = LearningSettings(states=2, classes=1, name=name, min_patients=2)
    model = ehrsynth.learn(records.head(25), seed=1, settings=settings)
    made = ehrsynth.generate(model, population=30, seed=1)
    assert made["encounter"].num_rows > 30
    assert set(pc.unique(made["condition"]["code"].cast("string")).to_pylist()) <= set(
        pc.unique(records["condition"]["code"].cast("string")).to_pylist()
    )
