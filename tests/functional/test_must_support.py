"""The account of must-support elements: what occurs counts, what only says that nobody knows does not, and ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ehrsynth
from ehrsynth.records import Records

URL = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-x"


@pytest.fixture(scope="module")
def must_support() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "must_support.py"
    spec = importlib.util.spec_from_file_location("ehrsynth_tests_must_support", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def group(**asked: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {":extensions": [], ":slices": [], ":elements": []}
    return {":profile_url": URL, ":must_supports": empty | {f":{name}": value for name, value in asked.items()}}


def missing(module: ModuleType, asked: dict[str, Any], **resource: Any) -> list[str]:
    ((count, _, absent),) = module.coverage([{"meta": {"profile": [URL]}, **resource}], [asked]).values()
    assert count == 1
    return list(absent)


def test_elements_and_choices(must_support: ModuleType) -> None:
    asked = group(
        elements=[{":path": "a.b"}, {":path": "c"}, {":path": "d"}, {":path": "e[x]"}],
        choices=[{":paths": ["c", "d"]}],
    )
    assert missing(must_support, asked, a=[{}, {"b": 1}], c=0, eString="x") == []
    assert missing(must_support, asked, a=[{}], e=1) == ["a.b", "c", "d", "e[x]"]
    nobody_knows = {"extension": [{"url": "u", "valueCode": "unknown"}]}
    assert missing(must_support, asked, a={"b": nobody_knows}, d=1, eCode=1) == ["a.b"]


def test_slices_and_extensions(must_support: ModuleType) -> None:
    rule = {":type": "patternCodeableConcept", ":path": "code", ":code": "1", ":system": "s"}
    asked = group(
        slices=[{":slice_id": "X.part:one", ":slice_name": "one", ":path": "part", ":discriminator": rule}],
        elements=[{":path": "part:one.value"}],
        extensions=[{":id": "X.extension:y", ":path": "extension", ":url": "y"}],
    )
    right = {"code": {"coding": [{"system": "s", "code": "1"}]}}
    wrong = {"code": {"coding": [{"system": "t", "code": "1"}]}, "value": 5}
    assert missing(must_support, asked, part=[right, wrong], extension=[{"url": "y"}]) == ["part:one.value"]
    assert missing(must_support, asked, part=[wrong]) == ["X.extension:y", "X.part:one", "part:one.value"]


@pytest.mark.shared
def test_what_the_hand_made_records_cover(
    must_support: ModuleType, shared: Path, small_records: Records, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    ehrsynth.export(small_records, tmp_path / "out", formats=["fhir-ndjson"])
    groups = must_support.load_groups(shared / "fhir" / "packages" / "inferno" / "metadata-v6.1.0.yml")
    found = must_support.coverage(must_support.read(tmp_path / "out" / "fhir-ndjson"), groups)
    absent = {url.rpartition("/")[2]: names for url, (_, _, names) in found.items()}
    for whole in ("medicationrequest", "medicationdispense", "careplan", "careteam", "goal", "procedure", "encounter"):
        assert absent[f"us-core-{whole}"] == []
    assert sum(len(names) for _, names, _ in found.values()) >= 440


@pytest.mark.shared
def test_the_shipped_population_has_all_that_its_profiles_must_support(
    must_support: ModuleType, shared: Path, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    ehrsynth.generate_files(None, tmp_path / "out", formats=["fhir-ndjson"], population=150, seed=7)
    groups = must_support.load_groups(shared / "fhir" / "packages" / "inferno" / "metadata-v6.1.0.yml")
    found = must_support.coverage(must_support.read(tmp_path / "out" / "fhir-ndjson"), groups)
    assert len(found) >= 44
    assert {url: names for url, (_, _, names) in found.items() if names} == {}
