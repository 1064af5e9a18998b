"""Files of FHIR: broken lines, gzip, manifests, any order; what can be read is checked, the rest is counted."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.errors import SourceError
from ehrsynth.validation import ValidationReport, validate
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


def test_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "set.ndjson", GOOD)
    lines = path.read_bytes().split(b"\n")
    lines[10] = lines[10][:-5]
    lines[12] = b"\xff" + lines[12]
    lines[13] = b"[1, 2]"
    path.write_bytes(b"\n".join(lines))
    report = check(path)
    examples = {(issue.check, issue.example.split(" ")[0].rstrip(":")) for issue in report.issues}
    assert ("invalid-json", "set.ndjson:11") in examples
    assert ("not-utf8", "set.ndjson:13") in examples
    # What referred to lab1 now leads to nothing; the other lines are all there.
    assert "dangling-reference" in errors(report)
    assert sum(report.counts.values()) == len(GOOD) - 3
    json_issue = next(issue for issue in report.issues if issue.check == "invalid-json")
    assert json_issue.count == 2


def test_gzip_that_is_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "Observation.ndjson.gz"
    lines = []
    for number in range(3000):
        lines.append(json.dumps({**GOOD[11], "id": f"x{number}", "code": {"text": f"{number * 7919 % 10007}"}}))
    packed = gzip.compress("\n".join(lines).encode())
    path.write_bytes(packed[: len(packed) // 2])
    report = check(path)
    assert "unreadable-file" in errors(report)
    assert 500 < report.counts["Observation"] < 3000
    path.write_bytes(packed)
    whole = check(path)
    assert "unreadable-file" not in errors(whole)
    assert whole.counts["Observation"] == 3000


def test_gzip_ndjson_equals_plain(tmp_path: Path) -> None:
    plain = write(tmp_path / "set.ndjson", GOOD)
    packed = tmp_path / "z" / "set.ndjson.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert check(packed).counts == check(plain).counts
    assert check(packed).issues == []


def test_files_may_come_in_any_order(tmp_path: Path) -> None:
    for item in GOOD:
        with (tmp_path / f"{item['resourceType']}.ndjson").open("a") as handle:
            handle.write(json.dumps(item) + "\n")
    report = check(tmp_path)
    assert report.issues == []
    assert report.checked["files"] == len({item["resourceType"] for item in GOOD})


def test_a_resource_in_the_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "Patient.000.ndjson").write_text("".join(json.dumps(item) + "\n" for item in GOOD))
    (found,) = {issue.check for issue in check(tmp_path).issues}
    assert found == "wrong-file"


def test_single_resources_in_files(tmp_path: Path) -> None:
    for item in GOOD:
        (tmp_path / f"{item['resourceType']}-{item['id']}.json").write_text(json.dumps(item, indent=2))
    report = check(tmp_path)
    assert report.issues == []
    assert sum(report.counts.values()) == len(GOOD)


def test_bulk_manifest_is_held_against_the_files(tmp_path: Path) -> None:
    write(tmp_path / "set.ndjson", GOOD)
    manifest = {
        "output": [
            {"type": "Observation", "url": "https://example.org/x/set.ndjson", "count": 6},
            {"type": "Patient", "url": "Patient.ndjson", "count": 2},
        ]
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    found = {(issue.check, issue.place) for issue in check(tmp_path).issues}
    assert found == {("wrong-count", "Observation"), ("missing-file", "manifest.json")}


def test_no_fhir_at_all(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Nothing to validate"):
        validate(tmp_path)
    with pytest.raises(SourceError, match="There is no such"):
        validate(tmp_path / "none")
    empty = tmp_path / "Patient.ndjson"
    empty.touch()
    assert validate(empty).counts == {}


def test_the_sample_is_the_same_in_any_order(tmp_path: Path) -> None:
    items = copy.deepcopy(GOOD)
    for number in range(40):
        items.append({**copy.deepcopy(items[10]), "id": f"more{number}", "status": "done" if number % 4 else "final"})
    forward = check(write(tmp_path / "set.ndjson", items), sample=5)
    items.reverse()
    backward = check(write(tmp_path / "set.ndjson", items), sample=5)
    counts = [[i.count for i in r.issues if i.check == "r4-model"] for r in (forward, backward)]
    assert counts[0] == counts[1]
    assert forward.checked["fhir.resources"] == backward.checked["fhir.resources"] == 22


def test_fhir_resources_is_asked_too(tmp_path: Path) -> None:
    items = copy.deepcopy(GOOD)
    items[12]["colour"] = "red"
    path = write(tmp_path / "set.ndjson", items)
    assert "r4-model" not in errors(check(path, sample=0))
    issue = next(issue for issue in check(path, sample=None).issues if issue.check == "r4-model")
    assert issue.place == "Observation.colour"


def test_progress_ends_at_all_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "set.ndjson", GOOD)
    seen: list[tuple[int, int]] = []
    validate(path, sample=0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
