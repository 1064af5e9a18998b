"""Whom codes are possible for, against lists made by hand and against real patients."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from ehrsynth.terminology import ICD9CM, ICD10CM, LOINC, SNOMED, limits, with_dot


def codes_in(text: str) -> list[str]:
    """Return the codes of a list with spaces between them."""
    return text.split()


FEMALE = codes_in(
    """
    A34 B37.3 C50.911 C51.9 C53.9 C54.1 C56.9 C79.60 D06.9 D25.9 D27.9 D39.10 E28.2 E28.319 E89.40 F52.31 F53.0
    I86.3 L29.2 N70.91 N71.9 N72 N73.9 N76.0 N80.9 N81.4 N83.20 N85.00 N87.9 N89.8 N91.2 N92.0 N93.9 N94.6 N95.1
    N97.9 N98.1 N99.3 O00.90 O09.90 O14.90 O24.410 O80 O82 O99.89 O9A.112 Q50.0 Q51.9 Q52.3 Q96.9 Q97.0 R87.610
    S31.40XA S37.60XA T19.2XXA T83.31XA Z01.419 Z12.4 Z30.430 Z30.41 Z32.01 Z33.1 Z34.90 Z36.9 Z37.0 Z39.2 Z3A.39
    Z79.3 Z85.41 Z86.32 Z87.51 Z90.710 Z97.5 Z98.51
    """
)
MALE = codes_in(
    """
    A54.22 B26.0 C50.921 C60.9 C61 C62.90 C63.2 D07.5 D29.1 D40.0 E29.1 E89.5 F52.21 F52.4 I86.1 L29.1 N35.010
    N40.0 N40.1 N41.0 N42.9 N43.3 N44.00 N45.1 N46.9 N47.1 N48.1 N49.2 N50.9 N51 N52.9 N53.12 Q53.9 Q54.9 Q55.9
    Q98.4 R36.1 R39.84 R86.8 R97.20 S31.20XA S31.30XA S37.822A T19.4XXA T83.410A Z12.5 Z12.71 Z41.2 Z85.46 Z98.52
    """
)
ANYBODY = codes_in(
    """
    A09 A41.9 B18.2 B34.9 C18.9 C34.90 C43.9 C44.90 C50.A0 C64.9 C67.9 C71.9 C73 C79.51 C79.82 C90.00 D05.10 D12.6
    D22.9 D24.9 D50.9 D64.9 E03.9 E05.90 E10.9 E11.9 E23.0 E66.9 E78.5 E86.0 E87.6 F10.20 F17.210 F32.9 F41.1
    F52.6 F64.0 F90.9 G40.909 G43.909 G47.33 G89.29 H10.9 H26.9 H66.90 I10 I21.9 I25.10 I48.91 I50.9 I63.9 I70.0
    J02.9 J06.9 J18.9 J44.9 J45.909 K21.9 K40.90 K57.30 K59.00 K62.5 K80.20 L03.90 L20.9 L22 L29.3 L40.0 L70.0
    M08.00 M17.9 M41.122 M54.50 M62.81 M79.7 N13.30 N17.9 N18.6 N20.0 N30.00 N39.0 N39.3 N39.41 N60.19 N61.0 N62
    N63.0 N64.4 P07.30 P27.1 Q21.0 Q56.0 Q64.0 Q90.9 R05.9 R07.9 R10.2 R10.9 R31.9 R33.9 R51.9 R53.83 R62.51
    S06.0X0A S72.001A S93.401A T14.90XA T38.5X5A T74.91XA U07.1 V89.2XXA W19.XXXA Y93.9 Z00.8 Z04.9 Z11.3 Z12.11
    Z12.39 Z15.01 Z20.828 Z23 Z30.09 Z30.2 Z31.41 Z31.69 Z32.2 Z51.11 Z63.0 Z72.51 Z80.41 Z80.42 Z83.41 Z85.3
    Z86.73 Z87.890 Z90.10 Z94.0 Z98.890 Z99.2
    """
)
# Code -> completed years that are possible, and years that are not.
AGES: dict[str, tuple[list[int], list[int]]] = {
    "Z38.00": ([0], [1, 30]),
    "P22.0": ([0], [1, 5]),
    "P59.9": ([0], [1, 40]),
    "P07.30": ([0, 3, 40], []),
    "P27.1": ([0, 4], []),
    "Z00.110": ([0], [1]),
    "A33": ([0], [1]),
    "Z00.129": ([0, 12, 21], [30]),
    "Z68.54": ([3, 20], [21, 50]),
    "Z68.30": ([18, 90], [5]),
    "Z76.2": ([0, 17], [18]),
    "O80": ([9, 30, 64], [5, 65, 80]),
    "Z34.90": ([15, 45], [8, 70]),
    "Z3A.39": ([30], [8, 65]),
    "Z39.2": ([30], [8, 70]),
    "Z32.02": ([12], [3, 70]),
    "Z00.00": ([18, 90], [10]),
    "H25.9": ([60], [3]),
    "N40.0": ([50], [4]),
    "N95.1": ([50], [9]),
    "G30.9": ([70], [9]),
    "T74.02XA": ([5], [18]),
    "T74.01XA": ([40], [10]),
    "I10": ([0, 50, 110], []),
    "J45.909": ([0, 2, 80], []),
    "E11.9": ([0, 8, 100], []),
}


def test_codes_of_women() -> None:
    sex, _, _ = limits(ICD10CM, FEMALE)
    assert [code for code, one in zip(FEMALE, sex, strict=True) if one != 1] == []


def test_codes_of_men() -> None:
    sex, _, _ = limits(ICD10CM, MALE)
    assert [code for code, one in zip(MALE, sex, strict=True) if one != 2] == []


def test_codes_of_anybody() -> None:
    sex, _, _ = limits(ICD10CM, ANYBODY)
    assert [code for code, one in zip(ANYBODY, sex, strict=True) if one != 0] == []


@pytest.mark.parametrize("code", AGES)
def test_ages(code: str) -> None:
    _, low, high = limits(ICD10CM, [code])
    possible, impossible = AGES[code]
    for years in possible:
        assert low[0] <= years < high[0]
    for years in impossible:
        assert not low[0] <= years < high[0]


def test_exact_ages_agree_with_completed_years() -> None:
    _, low, high = limits(ICD10CM, ["Z38.00", "O80"])
    for age in (0.0, 0.5, 0.999):
        assert low[0] <= age < high[0]
    assert low[1] <= 64.99 < high[1]
    assert not low[1] <= 8.99


def test_unknown_codes_and_systems_are_possible_for_all() -> None:
    for system, codes in ((ICD10CM, ["nope", None, ""]), ("urn:nowhere", ["O80"]), (ICD10CM, [])):
        sex, low, high = limits(system, codes)
        assert sex.dtype == np.int8
        assert len(sex) == len(low) == len(high) == len(codes)
        assert not sex.any()
        assert not low.any()
        assert np.isinf(high).all()


def test_a_code_that_is_not_listed_takes_the_limits_of_its_nearest_ancestor() -> None:
    sex, low, high = limits(ICD10CM, ["O60.9999", "C61.99", "N80.ZZ"])
    assert sex.tolist() == [1, 2, 1]
    assert (low[0], high[0]) == (9.0, 65.0)
    # Nothing above U99 is listed.
    assert limits(ICD10CM, ["U99.9"])[0].tolist() == [0]


def test_a_heading_admits_whom_its_codes_admit() -> None:
    sex, low, high = limits(ICD10CM, ["C50", "N35", "O80", "Z12", "Z68"])
    assert sex.tolist() == [0, 0, 1, 0, 0]
    assert low[4] == 0.0
    assert np.isinf(high[4])


def test_icd_9() -> None:
    women = ["650", "V27.0", "218.9", "256.4", "614.9", "627.2", "V22.1", "V76.2", "174.9", "625.6", "867.4"]
    men = ["185", "600.00", "607.84", "V10.46", "175.9", "608.9"]
    both = ["250.00", "401.9", "428.0", "428", "611.72", "788.20", "V10.3", "765.00", "599.0", "723.1", "172.5"]
    sex, low, high = limits(ICD9CM, [*women, *men, *both])
    assert sex.tolist() == [1] * len(women) + [2] * len(men) + [0] * len(both)
    assert (low[0], high[0]) == (9.0, 65.0)
    assert limits(ICD9CM, ["V30.00", "798.0"])[2].tolist() == [1.0, 1.0]


def test_other_systems() -> None:
    assert limits(LOINC, ["2857-1", "2106-3", "718-7", "5813-1"])[0].tolist() == [2, 1, 0, 0]
    assert limits(SNOMED, ["77386006", "8517006"])[0].tolist() == [1, 0]
    assert limits("nucc", ["208000000X"])[2].tolist() == [22.0]


def test_no_real_patient_is_impossible(shared: Path) -> None:
    """Diagnoses of the 100 patients of the MIMIC-IV demo: none may be called impossible for its patient."""
    hosp = shared / "data" / "mimic4_demo_native"

    def rows(name: str) -> list[dict[str, str]]:
        path = next(path for path in sorted(hosp.rglob("*")) if path.name.split(".")[0] == name)
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as handle:  # type: ignore[operator]
            return list(csv.DictReader(handle))

    people = {row["subject_id"]: row for row in rows("patients")}
    year = {row["hadm_id"]: int(row["admittime"][:4]) for row in rows("admissions")}
    diagnoses = rows("diagnoses_icd")
    seen = 0
    for version, system in ((9, ICD9CM), (10, ICD10CM)):
        some = [row for row in diagnoses if row["icd_version"] == str(version)]
        sex, low, high = limits(system, with_dot([row["icd_code"] for row in some], version=version))
        for at, row in enumerate(some):
            person = people[row["subject_id"]]
            age = int(person["anchor_age"]) + year[row["hadm_id"]] - int(person["anchor_year"])
            assert sex[at] in (0, 1 if person["gender"] == "F" else 2), row
            assert low[at] <= age < high[at], row
        seen += int((sex > 0).sum())
    assert len(diagnoses) > 4000
    assert seen > 20
