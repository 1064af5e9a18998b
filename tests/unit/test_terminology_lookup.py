"""Codes by system: displays, membership, categories, the dot of ICD, search, and vocabularies of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth import terminology
from ehrsynth.errors import ResourceError, UsageError
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, NDC, RXNORM, SNOMED, Coding, library


def test_displays_of_each_system() -> None:
    assert terminology.display(ICD10CM, "E11.9") == "Type 2 diabetes mellitus without complications"
    assert terminology.display(ICD10CM, "E11") == "Type 2 diabetes mellitus"
    assert terminology.display(ICD9CM, "401.9") == "Unspecified essential hypertension"
    assert terminology.display(ICD9CM, "428") == "Heart failure"
    assert terminology.display(LOINC, "8480-6") == "Systolic blood pressure"
    assert terminology.display(RXNORM, "860975") == "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"
    assert terminology.display(CVX, "03") == "MMR"
    assert terminology.display(SNOMED, "8517006") == "Ex-smoker"
    assert terminology.display("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IMP") == "inpatient encounter"
    assert terminology.display("urn:oid:2.16.840.1.113883.6.238", "2106-3") == "White"


def test_unknown_codes_and_systems_have_no_display() -> None:
    assert terminology.display(ICD10CM, "E11.99") is None
    assert terminology.display("urn:nowhere", "1") is None
    assert terminology.displays("urn:nowhere", ["1", None]) == [None, None]
    assert terminology.displays(ICD10CM, []) == []


@pytest.mark.parametrize(
    "codes",
    [
        ["I10", None, "nope"],
        np.array(["I10", None, "nope"], dtype=object),
        pa.array(["I10", None, "nope"]),
        pa.chunked_array([["I10"], [None, "nope"]]),
        pa.array(["I10", None, "nope"]).dictionary_encode(),
        (code for code in ("I10", None, "nope")),
    ],
    ids=["list", "numpy", "arrow", "chunked", "dictionary", "generator"],
)
def test_codes_may_come_in_any_shape(codes: object) -> None:
    assert terminology.displays(ICD10CM, codes) == ["Essential (primary) hypertension", None, None]  # type: ignore[arg-type]


def test_known_says_none_where_it_cannot_say() -> None:
    mask = terminology.known(ICD10CM, ["I10", "I10.99", None])
    assert mask is not None
    assert mask.tolist() == [True, False, False]
    assert terminology.known(SNOMED, ["1"]) is None
    assert terminology.known("urn:nowhere", ["1"]) is None


def test_icd_9_procedures_are_not_listed_and_so_not_unknown() -> None:
    mask = terminology.known(ICD9CM, ["91.55", "39", "401.9", "401.99", "V27.0", "E999.99", "?", None])
    assert mask is not None
    assert mask.tolist() == [True, True, True, False, True, False, False, False]


def test_retired_codes_are_still_known() -> None:
    mask = terminology.known(ICD10CM, ["M51.36", "F32.8"])
    assert mask is not None
    assert mask.all()


def test_chronic_and_category() -> None:
    codes = ["E11.9", "I10", "J44.9", "N18.3", "F32.9", "J06.9", "S52.501A", "Z00.00", "E11", "nope"]
    assert terminology.chronic(ICD10CM, codes).tolist() == [True] * 5 + [False] * 3 + [True, False]
    assert terminology.chronic("urn:nowhere", ["1"]).tolist() == [False]
    assert terminology.category(ICD10CM, ["E11.9", "I10", "J06.9", "nope"]) == ["END002", "CIR007", "RSP006", None]
    assert terminology.display("ccsr", "END002") == "Diabetes mellitus without complication"
    assert terminology.category(RXNORM, ["860975"]) == ["A10BA"]
    assert terminology.chronic(ICD9CM, ["250.00", "401.9", "466.0"]).tolist() == [True, True, False]


def test_the_dot_of_icd() -> None:
    assert terminology.with_dot(["E119", "I10", " e11.9 ", "O80", None, ""]) == [
        "E11.9",
        "I10",
        "E11.9",
        "O80",
        None,
        None,
    ]
    nine = ["4019", "25000", "E8849", "V270", "428", "V27", "E884"]
    assert terminology.with_dot(nine, version=9) == ["401.9", "250.00", "E884.9", "V27.0", "428", "V27", "E884"]
    assert terminology.with_dot(["38", "8.45", "8", "250.8"], version=9) == ["038", "008.45", "008", "250.8"]
    assert terminology.with_dot(["9155", "39"], version=9, procedure=True) == ["91.55", "39"]
    assert terminology.with_dot(["0DTJ4ZZ"], procedure=True) == ["0DTJ4ZZ"]
    assert terminology.without_dot(["E11.9", " I10", None]) == ["E119", "I10", None]


def test_concept_maps_translate() -> None:
    icd = library.concept_map("icd9cm_to_icd10cm")
    assert icd.translate(ICD9CM, "401.9") == [Coding(system=ICD10CM, code="I10")]
    assert icd.first(ICD9CM, ["250.00", "nope", None]) == ["E11.9", None, None]
    assert icd.translate(ICD10CM, "401.9") == []
    drug = library.concept_map("ndc_to_rxnorm").translate(NDC, "17478071310")
    assert drug == [Coding(system=RXNORM, code="312075")]
    concepts = library.concept_map("omop_concepts")
    assert concepts.translate("https://fhir-terminology.ohdsi.org", "35208414") == [
        Coding(system=ICD10CM, code="K92.2")
    ]


def test_value_sets_hold_codings() -> None:
    races = library.value_set("omb-race-category")
    assert ("urn:oid:2.16.840.1.113883.6.238", "2106-3") in races
    assert Coding(system="urn:oid:2.16.840.1.113883.6.238", code="2054-5", display="anything") in races
    assert ("urn:oid:2.16.840.1.113883.6.238", "2135-2") not in races
    assert len(library.value_set("smoking-status")) == 8
    assert {coding.system for coding in library.value_set("vital-signs")} == {LOINC}


def test_search_finds_codes_and_words_best_first() -> None:
    codes = [hit.coding.code for hit in library.search("E11.9")]
    assert codes[0] == "E11.9"
    assert all(hit.coding.code.startswith("E11") for hit in library.search("e11", system="icd10cm", limit=5))
    hits = library.search("diabetes KIDNEY type 2", system=ICD10CM, limit=3)
    assert hits[0].coding == Coding(
        system=ICD10CM, code="E11.2", display="Type 2 diabetes mellitus with kidney complications"
    )
    assert {hit.vocabulary for hit in library.search("systolic")} >= {"loinc"}
    assert library.search("zzqx no such thing") == []
    assert library.search("   ") == []
    assert len(library.search("fracture", limit=7)) == 7


def test_names_that_are_not_there_get_near_names() -> None:
    with pytest.raises(UsageError, match="icd10cm"):
        library.code_system("icd10")
    with pytest.raises(UsageError, match="smoking-status"):
        library.value_set("smoking_status")
    with pytest.raises(UsageError, match="concept map"):
        library.concept_map("nothing")


def package(folder: Path, ours: dict[str, object], **entry: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    resource = {
        "name": "codes",
        "path": "codes.csv",
        "schema": {"fields": [{"name": "code"}, {"name": "display"}]},
    } | entry
    descriptor = {"name": folder.name, "version": "7", "ehrsynth": ours, "resources": [resource]}
    (folder / "datapackage.json").write_text(json.dumps(descriptor))
    return folder


def test_a_vocabulary_of_ones_own_is_a_folder_of_data(tmp_path: Path) -> None:
    mine = package(tmp_path / "shelf" / "house", {"kind": "code_system", "uri": "urn:house"})
    (mine / "codes.csv").write_text("code,display\n001,Cough\n002,\n")
    shelf = library.Library()
    before = len(shelf.packages())
    assert [one.name for one in shelf.add_folder(tmp_path / "shelf")] == ["house"]
    house = shelf.code_system("urn:house")
    assert house is shelf.code_system("house")
    # Codes are text, whatever they look like.
    assert house.displays(["001", "002", "1"]) == ["Cough", None, None]
    assert [hit.coding.code for hit in shelf.search("cough", system="house")] == ["001"]
    assert len(shelf.packages()) == before + 1
    assert library.find_code_system("urn:house") is None


def test_a_later_vocabulary_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    mine = package(tmp_path / "cvx", {"kind": "code_system", "uri": CVX})
    (mine / "codes.csv").write_text("code,display\n03,My own MMR\n")
    assert library.Library((mine,)).code_system(CVX).displays(["03"]) == ["My own MMR"]


def test_the_environment_names_folders(tmp_path: Path) -> None:
    mine = package(tmp_path / "house", {"kind": "code_system", "uri": "urn:house"})
    (mine / "codes.csv").write_text("code,display\n1,Cough\n")
    code = "from ehrsynth import terminology; print(terminology.display('urn:house', '1'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={library.ENVIRONMENT: str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Cough\n"


def test_broken_vocabularies_say_what_and_where(tmp_path: Path) -> None:
    shelf = library.Library()
    with pytest.raises(UsageError, match="no such folder"):
        shelf.add_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="No vocabulary"):
        shelf.add_folder(tmp_path / "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "datapackage.json").write_text("{")
    with pytest.raises(ResourceError, match="Not a vocabulary"):
        shelf.add_folder(tmp_path / "bad")
    with pytest.raises(ResourceError, match="does not say"):
        shelf.add_folder(package(tmp_path / "kind", {"kind": "poem"}))
    with pytest.raises(ResourceError, match="URI"):
        shelf.add_folder(package(tmp_path / "uri", {"kind": "code_system"}))
    altered = package(tmp_path / "altered", {"kind": "code_system", "uri": "urn:a"}, hash="sha256:" + "0" * 64)
    (altered / "codes.csv").write_text("code,display\n1,x\n")
    shelf.add_folder(altered)
    with pytest.raises(ResourceError, match="altered"):
        shelf.code_system("urn:a").displays(["1"])
    ragged = package(tmp_path / "ragged", {"kind": "code_system", "uri": "urn:r"})
    (ragged / "codes.csv").write_text("other\n1\n")
    shelf.add_folder(ragged)
    with pytest.raises(ResourceError, match="schema"):
        shelf.code_system("urn:r").displays(["1"])


def test_importing_the_room_loads_no_data_and_nothing_heavy() -> None:
    code = """
import builtins, io, pathlib, sys
opened = []
real = io.open
def spy(file, *args, **kwargs):
    opened.append(str(file))
    return real(file, *args, **kwargs)
builtins.open = io.open = spy
import ehrsynth.terminology
print(sorted({"numpy", "pyarrow", "pandas"} & set(sys.modules)), [name for name in opened if "vocabularies" in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
