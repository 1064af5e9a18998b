"""FHIR in parts of patients: the rows, the account and the errors of reading it whole."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrsynth import api
from ehrsynth.engines.parts_learning import divided
from ehrsynth.errors import SourceError
from ehrsynth.learning import LearningSettings
from ehrsynth.readers import ReadReport, part_keys
from ehrsynth.readers.fhir import FhirReader
from ehrsynth.records import Records

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
SETTINGS = LearningSettings(states=2, classes=2, iterations=4, chunk_visits=300, estimator="numpy", min_patients=5)

Resource = dict[str, Any]


def told(report: ReadReport) -> dict[str, Any]:
    """A report in an order of its own, without examples."""
    said = report.to_dict()
    for name in ("set_aside", "adjusted"):
        said[name] = sorted((one["table"], one["reason"], one["column"], one["count"]) for one in said[name])
    return {**said, "notes": sorted(said["notes"])}


def in_parts(source: Path, into: Path, of: int, *, strict: bool = True) -> tuple[list[Records], ReadReport]:
    """Read a source in parts."""
    into.mkdir()
    reader, keys = FhirReader(), part_keys.KeyFiles(into)
    parts = reader.cut(source).split(into, of, keys, strict=strict)
    read = [reader.read(part, strict=strict) for part in parts]
    for number in keys.find(strict=strict):
        read[number] = reader.read(parts[number], strict=strict)
    for part in parts:
        part.forget()
    return [records for records, _ in read], reduce(ReadReport.together, [report for _, report in read])


def compare(source: Path, into: Path, of: int, *, strict: bool = True) -> tuple[Records, ReadReport]:
    """Read whole and in parts; the rows of patients and the accounts are the same."""
    whole, report = api.read_with_report(source, format="fhir", strict=strict)
    parts, together = in_parts(source, into, of, strict=strict)
    for name, table in whole.tables.items():
        if whole.schema[name].has_patient:
            assert [row for part in parts for row in part[name].to_pylist()] == table.to_pylist(), name
    kinds = dict(
        zip(whole["payer"]["payer_id"].to_pylist(), whole["payer"]["payer_type_code"].to_pylist(), strict=True)
    )
    for part in parts:
        for row in part["payer"].to_pylist():
            assert row["payer_type_code"] == kinds[row["payer_id"]]
        assert part.provenance.synthetic == whole.provenance.synthetic
    assert told(together) == told(report)
    return whole, report


def concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def person(i: int) -> list[Resource]:
    """A patient with an encounter, a ranked diagnosis, a panel in a report and a coverage."""
    me: Resource = {"reference": f"Patient/p{i}"}
    # Some are meant by an identifier, one by a query.
    other = {"identifier": {"system": "urn:mrn", "value": f"m{i}"}} if i % 3 == 0 else me
    query = {"reference": f"Patient?identifier=urn:mrn|m{i}"} if i % 4 == 1 else me
    visit = {"reference": f"Encounter/e{i}"}
    subject = {"subject": me} if i % 2 else {}
    return [
        {
            "resourceType": "Patient",
            "id": f"p{i}",
            "gender": "female",
            "birthDate": f"19{50 + i}-02-03",
            "identifier": [{"system": "urn:mrn", "value": f"m{i}"}],
        },
        {
            "resourceType": "Encounter",
            "id": f"e{i}",
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": query,
            "period": {"start": f"2020-01-{i + 1:02}T10:00:00Z"},
            "serviceProvider": {"reference": "Organization/here"},
            "diagnosis": [{"condition": {"reference": f"Condition/c{i}"}, "rank": 2}],
        },
        {
            "resourceType": "Condition",
            "id": f"c{i}",
            "subject": other,
            "encounter": visit,
            "code": concept(ICD10, "I10"),
        },
        *(
            {
                "resourceType": "Observation",
                "id": f"o{i}{letter}",
                "status": "final",
                "subject": me,
                "encounter": visit,
                "category": [concept("x", "laboratory")],
                "code": concept(LOINC, code),
                "valueQuantity": {"value": i, "unit": "mg/dL"},
            }
            for letter, code in (("a", "2345-7"), ("b", "2160-0"))
        ),
        # Half of the reports do not say whose they are.
        {
            "resourceType": "DiagnosticReport",
            "id": f"r{i}",
            "status": "final",
            **subject,
            "code": concept(LOINC, "24323-8"),
            "result": [{"reference": f"Observation/o{i}{letter}"} for letter in "ab"],
        },
        {
            "resourceType": "Coverage",
            "id": f"k{i}",
            "status": "active",
            "beneficiary": me,
            "payor": [{"reference": "Organization/payer"}],
            **({"type": concept("https://nahdo.org/sopt", "1" if i < 9 else "5")} if i > 4 else {}),
        },
    ]


SHARED = [{"resourceType": "Organization", "id": name, "name": name} for name in ("here", "payer", "here")]


def ndjson(folder: Path, resources: list[Resource]) -> Path:
    """Write a file for each type, in an order in which patients are mixed."""
    folder.mkdir()
    kinds: dict[str, list[Resource]] = {}
    for one in resources:
        kinds.setdefault(one["resourceType"], []).append(one)
    for kind, some in kinds.items():
        mixed = some if kind in ("Patient", "Organization") else some[::2] + some[1::2]
        (folder / f"{kind}.ndjson").write_text("".join(json.dumps(one) + "\n" for one in mixed))
    return folder


@pytest.mark.parametrize("of", [1, 3, 12, 20])
def test_rows_and_account_are_those_of_the_whole(tmp_path: Path, of: int) -> None:
    source = ndjson(tmp_path / "in", SHARED + [one for i in range(12) for one in person(i)])
    whole, report = compare(source, tmp_path / "spill", of)
    assert whole["condition"]["rank"].to_pylist() == [2] * 12
    assert len(set(whole["observation"]["panel_id"].to_pylist())) == 12
    assert whole["payer"]["payer_type_code"].to_pylist() == ["1"]
    assert report.rows_read["Organization"] == 3
    # But what all parts have, and keys to find shared ones by, nothing lies about.
    assert {path.name for path in (tmp_path / "spill").iterdir() if ".all." not in path.name} == {
        path.name for path in (tmp_path / "spill").iterdir() if path.name.startswith("keys-")
    }


def test_bundles_whose_patients_are_created_if_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(6):
        entries = []
        for i in (n, n - 1) if n else (n,):
            # The patient of the Bundle before is in this one under another id.
            for one in person(i) if i == n else [{**person(i)[0], "id": f"again{i}"}]:
                url = f"urn:uuid:{one['id']}"
                condition = {"ifNoneExist": f"identifier=urn:mrn|m{i}"} if one["resourceType"] == "Patient" else {}
                entries.append({"fullUrl": url, "resource": one, "request": {"method": "POST", **condition}})
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        (tmp_path / "in" / f"{n}.json").write_text(json.dumps(bundle))
    shared = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": one} for one in SHARED]}
    (tmp_path / "in" / "0-shared.json").write_text(json.dumps(shared))
    whole, report = compare(tmp_path / "in", tmp_path / "spill", 3)
    assert whole.n_patients == 6
    assert sum(one.count for one in report.set_aside if one.table == "Patient") == 5


def test_what_is_wrong_is_set_aside_alike(tmp_path: Path) -> None:
    resources = SHARED + [one for i in range(12) for one in person(i)]
    lost = {"resourceType": "Condition", "id": "lost", "subject": {"reference": "Patient/nobody"}}
    resources += [{**lost, "code": concept(ICD10, "I10")}, {**lost, "id": "bare", "code": {"text": "pain"}}]
    for one in resources:
        if one["id"] == "e7":
            one["class"] = {"code": "no class"}
        if one["id"] == "c9":
            one["id"] = "c2"
        if one["id"] == "p4":
            one["gender"] = "none of them"
    source = ndjson(tmp_path / "in", resources)
    _, report = compare(source, tmp_path / "spill", 4, strict=False)
    reasons = {(one.table, one.reason) for one in report.set_aside}
    assert ("Condition", "its id is there already") in reasons
    assert ("Condition", "its Encounter was set aside") in reasons
    assert ("Condition", "reference to nowhere") in reasons


def test_an_id_of_two_parts_is_the_error_of_the_whole(tmp_path: Path) -> None:
    resources = SHARED + [one for i in range(12) for one in person(i)]
    for one in resources:
        if one["id"] == "o9a":
            one["id"] = "o2b"
    source = ndjson(tmp_path / "in", [one for one in resources if one["resourceType"] != "DiagnosticReport"])
    said = []
    for of in (None, 4):
        with pytest.raises(SourceError, match="'o2b' is there twice") as error:
            if of is None:
                api.read(source, format="fhir")
            else:
                in_parts(source, tmp_path / "spill", of)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "Observation.ndjson:" in said[0]


@pytest.mark.learn
@pytest.mark.parametrize("form", ["fhir-ndjson", "fhir-bundle"])
def test_learned_in_parts_is_learned_at_once(
    learning_records: ModuleType, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.export(api.generate("cardiometabolic_cohort", population=40, seed=3), tmp_path / "out", formats=[form])
    source = tmp_path / "out" / form
    whole, report = api.learn_from(source, settings=SETTINGS, seed=1, parts=1)
    model, together = api.learn_from(source, settings=SETTINGS, seed=1, parts=4)
    assert max(learning_records.differences(whole, model).values(), default=0.0) < 1e-9
    assert told(together) == told(report)
    assert divided(source, None, None, None) is None
    monkeypatch.setattr("ehrsynth.engines.parts_learning._MANY_ROWS", 1_000)
    assert divided(source, None, None, None) is not None
