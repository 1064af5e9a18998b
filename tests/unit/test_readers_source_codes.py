"""Codes by their shape."""

from __future__ import annotations

import pytest

from ehrsynth.readers import source_codes
from ehrsynth.terminology import ICD9CM, ICD10CM, LOINC, NDC, SNOMED


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("78791", (ICD9CM, "787.91")),
        ("4019", (ICD9CM, "401.9")),
        ("E1122", (ICD10CM, "E11.22")),
        ("I10", (ICD10CM, "I10")),
        ("i10", (ICD10CM, "I10")),
        ("U07.1", (ICD10CM, "U07.1")),
        ("V4582", (ICD9CM, "V45.82")),
        ("V270XXA", (ICD10CM, "V27.0XXA")),
        ("E8788", (ICD9CM, "E878.8")),
        ("E785", (ICD10CM, "E78.5")),
        ("43878008", (SNOMED, "43878008")),
        ("43878009", None),
        ("225106", None),
        ("99999", None),
        ("AF (Atrial Fibrillation)", None),
    ],
)
def test_diagnoses(value: str, expected: tuple[str, str] | None) -> None:
    assert source_codes.condition_code(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("00002751001", (NDC, "00002751001")),
        ("0002-7510-01", (NDC, "00002751001")),
        ("50090-347-1", (NDC, "50090034701")),
        ("NS 500 mL Bag", None),
        ("834060", None),
    ],
)
def test_packages(value: str, expected: tuple[str, str] | None) -> None:
    assert source_codes.drug_code(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0DTJ0ZZ", (source_codes.ICD10PCS, "0DTJ0ZZ")),
        ("99213", (source_codes.CPT, "99213")),
        ("0001F", (source_codes.CPT, "0001F")),
        ("G0378", (source_codes.HCPCS, "G0378")),
        ("3893", (ICD9CM, "38.93")),
        ("38.93", (ICD9CM, "38.93")),
        ("73761001", (SNOMED, "73761001")),
        ("2237951", None),
        ("223795", None),
    ],
)
def test_procedures(value: str, expected: tuple[str, str] | None) -> None:
    assert source_codes.procedure_code(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2345-7", (LOINC, "2345-7")), ("2345-6", None), ("8480-6", (LOINC, "8480-6")), ("glucose", None)],
)
def test_measurements(value: str, expected: tuple[str, str] | None) -> None:
    assert source_codes.measurement_code(value) == expected


def test_observations_may_be_nearly_anything() -> None:
    assert source_codes.observation_code("72166-2") == (LOINC, "72166-2")
    assert source_codes.observation_code("Z87.891") == (ICD10CM, "Z87.891")
    assert source_codes.observation_code("12345") is None


def test_spaces_are_tidied() -> None:
    assert source_codes.tidy("  ACETAMINOPHEN   (RECTAL) ") == "ACETAMINOPHEN (RECTAL)"
    assert source_codes.tidy(" ") is None
    assert source_codes.tidy(None) is None


def test_every_single_digit_error_of_a_snomed_code_is_noticed() -> None:
    code = "430193006"
    for place, digit in enumerate(code):
        for other in "0123456789":
            if other != digit:
                wrong = code[:place] + other + code[place + 1 :]
                assert source_codes.measurement_code(wrong) is None
