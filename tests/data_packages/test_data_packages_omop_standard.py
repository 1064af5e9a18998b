"""The concept map of the OMOP standard leads only to codes that there are, and that the schema takes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ehrsynth.readers import omop_standard
from ehrsynth.readers.source_codes import measurement_code
from ehrsynth.schema import clinical
from ehrsynth.terminology import LOINC, library


def targets(system: str) -> set[str]:
    rows = library.concept_map("omop_standard").table("map").to_pylist()
    return {row["target_code"] for row in rows if row["target_system"] == system}


@pytest.mark.parametrize(
    ("system", "table", "column"),
    [
        (omop_standard.SEX, "patient", "sex"),
        (omop_standard.ENCOUNTER_CLASS, "encounter", "encounter_class"),
        (omop_standard.COMPARATOR, "observation", "value_comparator"),
        (omop_standard.CONDITION_CATEGORY, "condition", "category"),
        (omop_standard.OBSERVATION_CATEGORY, "observation", "category"),
    ],
)
def test_targets_are_values_of_the_schema(system: str, table: str, column: str) -> None:
    assert targets(system)
    assert targets(system) <= set(clinical()[table][column].enum)


@pytest.mark.parametrize("system", [omop_standard.ADMIT_SOURCE, omop_standard.DISCHARGE_DISPOSITION])
def test_targets_are_codes_of_their_system(system: str) -> None:
    found = library.find_code_system(system)
    assert found is not None
    assert targets(system)
    assert all(code in found for code in targets(system))


def test_races_and_ethnicities_are_the_categories() -> None:
    assert targets(omop_standard.RACE_AND_ETHNICITY) == {
        "1002-5", "2028-9", "2054-5", "2076-8", "2106-3", "2131-1", "2135-2", "2186-5",
    }  # fmt: skip


def test_loinc_codes_have_their_check_digit_and_vital_signs_are_all_there() -> None:
    rows = library.concept_map("omop_standard").table("map").to_pylist()
    mine = {row["source_code"] for row in rows if row["source_system"] == LOINC}
    assert all(measurement_code(code) == (LOINC, code) for code in mine)
    vital = {row["source_code"] for row in rows if row["target_code"] == "vital-signs"}
    assert {coding.code for coding in library.value_set("vital-signs")} <= vital


@pytest.mark.parametrize(
    ("value", "system", "expected"),
    [
        ("8507", omop_standard.SEX, "male"),
        ("262", omop_standard.ENCOUNTER_CLASS, "IMP"),
        ("8870", omop_standard.ENCOUNTER_CLASS, "EMER"),
        ("8870", omop_standard.ADMIT_SOURCE, "emd"),
        ("38003579", omop_standard.RACE_AND_ETHNICITY, "2028-9"),
        ("4", omop_standard.SEX, None),
        (None, omop_standard.SEX, None),
    ],
)
def test_a_concept_by_use(value: str | None, system: str, expected: str | None) -> None:
    assert omop_standard.translate(pa.array([value], pa.string()), system).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("word", "system", "expected"),
    [
        (" home health care", omop_standard.DISCHARGE_DISPOSITION, "home"),
        ("03", omop_standard.DISCHARGE_DISPOSITION, "snf"),
        ("03", omop_standard.ADMIT_SOURCE, None),
        ("Emergency Room", omop_standard.ADMIT_SOURCE, "emd"),
    ],
)
def test_a_word_by_use(word: str, system: str, expected: str | None) -> None:
    column = pa.chunked_array([pa.array([word], pa.string())])
    assert omop_standard.words(column, system).to_pylist() == [expected]
