"""What OMOP files by the domain of its concept comes back where the records have it: others' data as well as ours."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ehrsynth import api
from ehrsynth.records import Records

CONCEPTS = """concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code
4240902,Allergy to peanuts,Observation,SNOMED,Clinical Finding,S,91935009
439224,Drug allergy,Observation,SNOMED,Clinical Finding,S,416098002
1728416,Penicillin G,Drug,RxNorm,Ingredient,S,7980
4141779,No known allergy,Observation,SNOMED,Clinical Finding,S,716186003
4237494,Food allergy diet,Observation,SNOMED,Procedure,S,409002
2617206,Prostate cancer screening,Measurement,HCPCS,HCPCS,S,G0103
35225404,Contact with tuberculosis,Observation,ICD10CM,5-char,,Z20.1
"""
PERSON = "person_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id\n1,8507,1950,0,0\n"
VISIT = (
    "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date,visit_type_concept_id,"
    "visit_source_value\n10,1,9202,2020-05-01,2020-05-01,32817,{word}\n"
)
OBSERVATION = (
    "observation_id,person_id,observation_concept_id,observation_date,observation_type_concept_id,value_as_string,"
    "value_as_concept_id,observation_source_value,observation_source_concept_id,qualifier_source_value,"
    "visit_occurrence_id\n"
)


def read(folder: Path, *, word: str = "AMB", **tables: str) -> Records:
    files = {"person": PERSON, "visit_occurrence": VISIT.format(word=word), "concept": CONCEPTS} | tables
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return api.read(folder, format="omop")


def test_allergies_are_known_by_their_concept_or_name_and_their_substance_by_the_value(tmp_path: Path) -> None:
    rows = [
        "1,1,4240902,2020-05-01,32817,Hives,,91935009,4240902,,10",
        "2,1,439224,2020-05-01,32817,,1728416,pen,0,,10",
        "3,1,4141779,2020-05-01,32817,,,x,4141779,,10",
        "4,1,4237494,2020-05-01,32817,,,x,4237494,,10",
        "5,1,439224,2020-05-01,32817,Rash,1728416,7980,1728416,intolerance 2019-02-03 high medication resolved,10",
    ]
    made = read(tmp_path, observation=OBSERVATION + "\n".join(rows) + "\n")
    found = {row["allergy_intolerance_id"]: row for row in made["allergy_intolerance"].to_pylist()}
    assert {key: row["code"] for key, row in found.items()} == {"1": "91935009", "2": "7980", "5": "7980"}
    assert found["1"]["reaction_display"] == "Hives"
    assert found["2"]["code_system"].endswith("rxnorm")
    assert (
        found["5"]
        | {
            "allergy_type": "intolerance",
            "onset_date": date(2019, 2, 3),
            "criticality": "high",
            "category": "medication",
            "clinical_status": "resolved",
            "verification_status": "confirmed",
        }
        == found["5"]
    )
    assert sorted(made["observation"]["observation_id"].to_pylist()) == ["3", "4"]


def test_procedures_that_omop_calls_measurements_are_procedures_if_they_have_no_result(tmp_path: Path) -> None:
    head = (
        "measurement_id,person_id,measurement_concept_id,measurement_date,measurement_type_concept_id,value_as_number,"
        "measurement_source_value,visit_occurrence_id\n"
    )
    rows = [
        "1,1,2617206,2020-05-01,32827,,G0103,10",
        "2,1,2617206,2020-05-01,32827,4.5,G0103,10",
        "3,1,2617206,2020-05-01,32817,,G0103,10",
    ]
    made = read(tmp_path, measurement=head + "\n".join(rows) + "\n")
    assert made["procedure"]["procedure_id"].to_pylist() == ["measurement-1"]
    assert made["observation"]["observation_id"].to_pylist() == ["2", "3"]


def test_diagnoses_among_observations_say_in_the_qualifier_what_became_of_them(tmp_path: Path) -> None:
    rows = [
        "1,1,0,2020-05-01,32827,,,Z20.1,35225404,resolved 2020-06-01 rank 2,10",
        "2,1,0,2020-05-01,32840,,,Z20.1,35225404,,",
    ]
    made = read(tmp_path, observation=OBSERVATION + "\n".join(rows) + "\n")
    one, two = made["condition"].sort_by("condition_id").to_pylist()
    assert (one["clinical_status"], one["abatement_date"], one["rank"]) == ("resolved", date(2020, 6, 1), 2)
    assert (two["clinical_status"], two["abatement_date"], two["rank"]) == ("active", None, None)


@pytest.mark.parametrize(("word", "kind"), [("AMB", "AMB"), ("SS", "SS"), ("ACUTE", "AMB"), ("Office visit", "AMB")])
def test_a_class_of_hl7_stands_where_it_says_more_than_the_concept(tmp_path: Path, word: str, kind: str) -> None:
    assert read(tmp_path, word=word)["encounter"]["encounter_class"].to_pylist() == [kind]


DRUGS = (
    "drug_exposure_id,person_id,drug_concept_id,drug_exposure_start_date,drug_exposure_end_date,verbatim_end_date,"
    "stop_reason,drug_type_concept_id,drug_source_value,visit_occurrence_id\n"
)


def test_an_end_that_omop_had_to_make_up_is_none_where_the_source_states_others(tmp_path: Path) -> None:
    rows = [
        "1,1,1728416,2020-05-01,2020-05-30,,,32838,x,10",
        "2,1,1728416,2020-05-02,2020-05-30,2020-05-30,,32838,x,10",
        "3,1,1728416,2020-05-03,2020-05-30,2020-05-30,on-hold,32838,x,10",
        "4,1,1728416,2020-05-03,2020-06-30,2020-06-30,felt better,32838,x,10",
    ]
    made = read(tmp_path, drug_exposure=DRUGS + "\n".join(rows) + "\n")["medication_request"].to_pylist()
    assert [(row["status"], row["end_date"] and row["end_date"].day) for row in made] == [
        ("active", None),
        ("completed", 30),
        ("on-hold", 30),
        ("stopped", 30),
    ]
    bare = "1,1,1728416,2020-05-01,2020-05-30,,,32838,x,10\n"
    (row,) = read(tmp_path, drug_exposure=DRUGS + bare)["medication_request"].to_pylist()
    assert (row["status"], row["end_date"]) == ("completed", date(2020, 5, 30))
