"""Bundles: requests, fullUrls, references inside and between them, and Bundles too large or broken to parse whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.validation import ValidationReport
from ehrsynth.validation.fhir import validate_fhir

Node = dict[str, Any]
GOOD = [json.loads(line) for line in (Path(__file__).parent / "fhir_good.ndjson").read_text().splitlines()]


def write(path: Path, items: list[Node]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def errors(report: ValidationReport) -> set[str]:
    return {issue.check for issue in report.issues}


def check(path: Path, sample: int | None = 0) -> ValidationReport:
    return validate_fhir(path, format="fhir", sample=sample)


def uuid(item: Node) -> str:
    number = GOOD.index(next(good for good in GOOD if good["id"] == item["id"]))
    return f"urn:uuid:00000000-0000-4000-8000-{number:012d}"


def bundle() -> Node:
    """The good resources as a transaction with urn:uuid references."""
    names = {f"{item['resourceType']}/{item['id']}": uuid(item) for item in GOOD}
    text = json.dumps(GOOD)
    for name, url in names.items():
        text = text.replace(f'"{name}"', f'"{url}"')
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": uuid(item), "resource": item, "request": {"method": "POST", "url": item["resourceType"]}}
            for item in json.loads(text)
        ],
    }


def write_bundle(tmp_path: Path, document: Node, name: str = "bundle.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(document))
    return path


def test_a_good_bundle_is_found_good(tmp_path: Path) -> None:
    report = check(write_bundle(tmp_path, bundle()), sample=None)
    assert report.issues == []
    assert report.counts["Bundle"] == 1
    assert sum(report.counts.values()) == len(GOOD) + 1


def _entry(number: int, **changes: object) -> Callable[[Node], None]:
    def change(document: Node) -> None:
        for key, value in changes.items():
            if value is None:
                del document["entry"][number][key]
            else:
                document["entry"][number][key] = value

    return change


BROKEN_BUNDLES: dict[str, tuple[Callable[[Node], None], str]] = {
    "no request": (_entry(3, request=None), "bundle-request"),
    "request to another type": (_entry(3, request={"method": "POST", "url": "Patient"}), "bundle-request"),
    "PUT to another id": (_entry(3, request={"method": "PUT", "url": "PractitionerRole/zzz"}), "bundle-request"),
    "unknown method": (_entry(3, request={"method": "SEND", "url": "x"}), "code-not-in-value-set"),
    "no fullUrl": (_entry(3, fullUrl=None), "bundle-full-url"),
    "malformed uuid": (_entry(3, fullUrl="urn:uuid:1234"), "bundle-full-url"),
    "fullUrl twice": (_entry(3, fullUrl=uuid(GOOD[21])), "bundle-full-url"),
    "fullUrl of a version": (_entry(3, fullUrl="http://x.org/PractitionerRole/r1/_history/1"), "bdl-8"),
    "no resource": (_entry(3, resource=None), "bundle-request"),
    "entry of a collection without one": (
        lambda document: (document.update(type="collection"), document["entry"][3].pop("resource")),
        "bundle-resource",
    ),
    "request in a collection": (lambda document: document.update(type="collection"), "bundle-request"),
    "no type": (lambda document: document.pop("type"), "missing-element"),
    "unknown Bundle type": (lambda document: document.update(type="heap"), "code-not-in-value-set"),
    "total of a transaction": (lambda document: document.update(total=3), "bdl-1"),
    "reference to no entry": (lambda document: document["entry"].pop(4), "dangling-reference"),
    "uuid of the wrong type": (
        lambda document: document["entry"][12]["resource"]["subject"].update(reference=uuid(GOOD[6])),
        "reference-target-type",
    ),
    "same id twice": (
        lambda document: document["entry"].append(
            {**copy.deepcopy(document["entry"][8]), "fullUrl": "urn:uuid:" + "f" * 8 + "-0000-4000-8000-" + "f" * 12}
        ),
        "duplicate-id",
    ),
    "entry is a number": (lambda document: document["entry"].append(7), "json-type"),
}


@pytest.mark.parametrize("name", BROKEN_BUNDLES)
def test_what_is_broken_in_a_bundle_is_found(name: str, tmp_path: Path) -> None:
    change, wanted = BROKEN_BUNDLES[name]
    document = bundle()
    change(document)
    assert wanted in errors(check(write_bundle(tmp_path, document)))


def test_ids_may_be_left_to_the_server(tmp_path: Path) -> None:
    document = bundle()
    for entry in document["entry"]:
        del entry["resource"]["id"]
    assert errors(check(write_bundle(tmp_path, document))) == set()


def test_shared_resources_may_stand_in_several_bundles(tmp_path: Path) -> None:
    write_bundle(tmp_path, bundle(), "a.json")
    other = bundle()
    write_bundle(tmp_path, other, "b.json")
    assert errors(check(tmp_path)) == set()
    other["entry"][0]["resource"]["name"] = "Another name"
    write_bundle(tmp_path, other, "b.json")
    assert errors(check(tmp_path)) == {"differing-duplicate"}


def test_conditional_references_match_identifiers_of_other_bundles(tmp_path: Path) -> None:
    document = bundle()
    shared = {**document, "entry": [document["entry"].pop(2)]}
    npi = "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|1245319599"
    text = json.dumps(document).replace(uuid(GOOD[2]), npi)
    (tmp_path / "b.json").write_text(text)
    # provenance-1 and the like look at the type that a reference names.
    assert errors(check(tmp_path)) == {"unmatched-conditional"}
    write_bundle(tmp_path, shared, "a.json")
    assert errors(check(tmp_path)) == set()


def test_a_bundle_that_is_cut_off_gives_its_whole_entries(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, bundle())
    text = path.read_text()
    path.write_text(text[: text.rindex('"fullUrl"') + 200])
    report = check(path)
    assert "invalid-json" in errors(report)
    assert sum(report.counts.values()) == len(GOOD) - 1 + 1


def test_large_bundles_are_taken_apart_entry_by_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = bundle()
    document["entry"][4]["resource"]["name"][0]["family"] = 'brackets ]}" and \\ quotes {["'
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(document, indent=1))
    whole = check(path)
    monkeypatch.setattr("ehrsynth.validation.fhir_files._WHOLE_LIMIT", 10)
    assert check(path) == whole
    assert whole.issues == []
    text = path.read_text().replace('"status": "final"', '"status": final', 1)
    path.write_text(text)
    broken = check(path)
    assert "invalid-json" in errors(broken)
    assert sum(broken.counts.values()) == len(GOOD)
    path.write_text(json.dumps(bundle())[:-300])
    cut = check(path)
    assert "invalid-json" in errors(cut)
    assert sum(cut.counts.values()) == len(GOOD)
