"""Good FHIR is found good, and every single thing that is broken in it is found by the check named for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.validation import CHECKS, ValidationReport
from ehrsynth.validation.fhir import validate_fhir

Node = dict[str, Any]
GOOD = [json.loads(line) for line in (Path(__file__).parent / "fhir_good.ndjson").read_text().splitlines()]


class Corpus:
    """The good resources by id, to break one of."""

    def __init__(self) -> None:
        self.items = copy.deepcopy(GOOD)

    def __getitem__(self, ident: str) -> Node:
        return next(item for item in self.items if item.get("id") == ident)

    def write(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(item) + "\n" for item in self.items))
        return path


def check(path: Path, sample: int | None = 0) -> ValidationReport:
    return validate_fhir(path, format="fhir", sample=sample)


def put(ident: str, path: str, value: object) -> Callable[[Corpus], None]:
    """Set what stands at `path` (steps by name or number) of a resource."""

    def change(corpus: Corpus) -> None:
        node: Any = corpus[ident]
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        for step in steps:
            node = node[step]
        node[last] = value

    return change


def drop(ident: str, path: str) -> Callable[[Corpus], None]:
    """Take away what stands at `path`."""

    def change(corpus: Corpus) -> None:
        node: Any = corpus[ident]
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        for step in steps:
            node = node[step]
        del node[last]

    return change


def rename(ident: str, old: str, new: str) -> Callable[[Corpus], None]:
    def change(corpus: Corpus) -> None:
        corpus[ident][new] = corpus[ident].pop(old)

    return change


def twice(ident: str, **changes: object) -> Callable[[Corpus], None]:
    return lambda corpus: corpus.items.append({**copy.deepcopy(corpus[ident]), **changes})


TERMS = "http://terminology.hl7.org/CodeSystem/"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
UCUM = "http://unitsofmeasure.org"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
PERIOD = {"start": "2020-03-02T00:00:00Z", "end": "2020-03-01T00:00:00Z"}


def concept(system: str, code: str) -> Node:
    return {"coding": [{"system": system, "code": code}]}


# What is done to the good resources, the check that must find it, and where.
BROKEN: dict[str, tuple[Callable[[Corpus], None], str, str]] = {
    # identity
    "no type": (drop("hr1", "resourceType"), "missing-resource-type", "set.ndjson"),
    "unknown type": (put("hr1", "resourceType", "Observatoin"), "unknown-resource-type", "Observatoin"),
    "type of R5 only": (put("hr1", "resourceType", "Transport"), "unknown-resource-type", "Transport"),
    "no id": (drop("hr1", "id"), "missing-id", "Observation"),
    "malformed id": (put("hr1", "id", "hr_1"), "malformed-id", "Observation"),
    "id of 65": (put("hr1", "id", "x" * 65), "malformed-id", "Observation"),
    "id twice": (twice("hr1"), "duplicate-id", "Observation"),
    "same content twice": (twice("lab2", id="other"), "duplicate-content", "Observation"),
    "identifier of another": (put("p2", "identifier/0/value", "MRN-1"), "duplicate-identifier", "Patient.identifier"),
    # JSON
    "null": (put("hr1", "issued", None), "null-value", "Observation.issued"),
    "null in an array": (put("p1", "name/0/given", ["Maria", None]), "null-value", "Patient.name.given"),
    "null object": (put("hr1", "performer", None), "null-value", "Observation.performer"),
    "empty text": (put("p1", "name/0/family", ""), "empty-string", "Patient.name.family"),
    "blank text": (put("p1", "name/0/family", "  "), "empty-string", "Patient.name.family"),
    "empty array": (put("p1", "address", []), "empty-array", "Patient.address"),
    "empty array of texts": (put("p1", "name/0/given", []), "empty-array", "Patient.name.given"),
    "empty object": (put("hr1", "referenceRange", [{}]), "empty-object", "Observation.referenceRange"),
    "number as text": (put("hr1", "valueQuantity/value", "72"), "json-type", "Observation.valueQuantity.value"),
    "boolean as text": (put("i1", "primarySource", "true"), "json-type", "Immunization.primarySource"),
    "text as number": (put("p1", "name/0/family", 7), "json-type", "Patient.name.family"),
    "boolean as number": (put("p1", "communication/0/preferred", 1), "json-type", "Patient.communication.preferred"),
    "number as boolean": (put("hr1", "valueQuantity/value", True), "json-type", "Observation.valueQuantity.value"),
    "text for an object": (put("hr1", "code", "8867-4"), "json-type", "Observation.code"),
    "one for many": (put("p1", "name", {"family": "X"}), "wrong-array", "Patient.name"),
    "many for one": (put("hr1", "status", ["final"]), "wrong-array", "Observation.status"),
    "fraction for an integer": (
        put("m1", "dosageInstruction/0/timing/repeat/frequency", 1.5),
        "json-type",
        "MedicationRequest.dosageInstruction.timing.repeat.frequency",
    ),
    "count of zero": (
        put("m1", "dosageInstruction/0/timing/repeat/frequency", 0),
        "malformed-value",
        "MedicationRequest.dosageInstruction.timing.repeat.frequency",
    ),
    # forms
    "month 13": (put("c1", "recordedDate", "2019-13-45"), "malformed-value", "Condition.recordedDate"),
    "30 February": (put("p1", "birthDate", "1960-02-30"), "malformed-value", "Patient.birthDate"),
    "time for a date": (put("p1", "birthDate", "1960-05-04T00:00:00Z"), "malformed-value", "Patient.birthDate"),
    "time without zone": (
        put("hr1", "effectiveDateTime", "2020-03-01T10:00:00"),
        "malformed-value",
        "Observation.effectiveDateTime",
    ),
    "instant of a day": (put("dr1", "issued", "2020-03-01"), "malformed-value", "DiagnosticReport.issued"),
    "code with blanks": (put("c1", "code/coding/0/code", " I10"), "malformed-value", "Condition.code.coding.code"),
    "uri with blanks": (
        put("c1", "code/coding/0/system", "http://x y"),
        "malformed-value",
        "Condition.code.coding.system",
    ),
    # elements
    "unknown element": (put("hr1", "colour", "red"), "unknown-element", "Observation.colour"),
    "misspelt element": (rename("m1", "authoredOn", "authoredon"), "unknown-element", "MedicationRequest.authoredon"),
    "extension of what has none": (put("hr1", "_code", {"id": "x"}), "unknown-element", "Observation._code"),
    "no status": (drop("hr1", "status"), "missing-element", "Observation.status"),
    "no occurrence": (drop("i1", "occurrenceDateTime"), "missing-element", "Immunization.occurrence[x]"),
    "no beneficiary": (drop("cv1", "beneficiary"), "missing-element", "Coverage.beneficiary"),
    "no extension url": (drop("p1", "extension/1/url"), "missing-element", "Patient.extension.url"),
    "two values": (put("hr1", "valueString", "72"), "several-choices", "Observation.value[x]"),
    "status unknown": (put("hr1", "status", "done"), "code-not-in-value-set", "Observation.status"),
    "gender unknown": (put("p1", "gender", "F"), "code-not-in-value-set", "Patient.gender"),
    "clinical status unknown": (
        put("c1", "clinicalStatus", concept(f"{TERMS}condition-clinical", "chronic")),
        "code-not-in-value-set",
        "Condition.clinicalStatus",
    ),
    # references
    "reference to nothing": (
        put("hr1", "subject/reference", "Patient/p9"),
        "dangling-reference",
        "Observation.subject",
    ),
    "uuid outside a Bundle": (
        put("hr1", "subject/reference", "urn:uuid:" + "0" * 8),
        "dangling-reference",
        "Observation.subject",
    ),
    "contained missing": (
        put("hr1", "performer", [{"reference": "#x"}]),
        "dangling-contained",
        "Observation.performer",
    ),
    "malformed reference": (put("hr1", "subject/reference", "p1"), "malformed-reference", "Observation.subject"),
    "wrong target": (put("hr1", "subject/reference", "Encounter/e1"), "reference-target-type", "Observation.subject"),
    "conditional in NDJSON": (
        put("m1", "requester/reference", "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|1245319599"),
        "conditional-outside-bundle",
        "MedicationRequest.requester",
    ),
    "conditional that matches nothing": (
        put("m1", "requester/reference", "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|1234567893"),
        "unmatched-conditional",
        "MedicationRequest.requester",
    ),
    "reference out of the data": (
        put("m1", "requester/reference", "https://example.org/fhir/Practitioner/1"),
        "external-reference",
        "MedicationRequest.requester",
    ),
    # profiles
    "unknown US Core profile": (put("p2", "meta/profile/0", f"{US_CORE}us-core-person"), "unknown-profile", "Patient"),
    "foreign profile": (put("p2", "meta/profile/0", "https://example.org/p"), "unchecked-profile", "Patient"),
    "profile of another type": (
        put("p2", "meta/profile/0", f"{US_CORE}us-core-location"),
        "profile-of-another-type",
        "Patient",
    ),
    "no identifier": (drop("p2", "identifier"), "profile-missing-element", "Patient.identifier"),
    "identifier without system": (
        drop("p2", "identifier/0/system"),
        "profile-missing-element",
        "Patient.identifier.system",
    ),
    "encounter without type": (drop("e2", "type"), "profile-missing-element", "Encounter.type"),
    "vital sign without category": (
        put("hr1", "category/0/coding/0/code", "laboratory"),
        "profile-missing-element",
        "Observation.category:VSCat",
    ),
    "race without text": (
        drop("p1", "extension/0/extension/1"),
        "profile-missing-element",
        "Patient.extension.us-core-race.extension:text",
    ),
    "race unknown": (
        put("p1", "extension/0/extension/0/valueCoding/code", "9999-9"),
        "profile-value-set",
        "Patient.extension.us-core-race.extension:ombCategory.value[x]",
    ),
    "two birth sexes": (
        lambda corpus: corpus["p1"]["extension"].append({"url": f"{US_CORE}us-core-birthsex", "valueCode": "M"}),
        "profile-too-many",
        "Patient.extension:birthsex",
    ),
    "vital sign in another unit": (
        put("hr1", "valueQuantity/code", "/h"),
        "profile-fixed-value",
        "Observation.value[x]:valueQuantity.code",
    ),
    "another code": (put("hr1", "code/coding/0/code", "8310-5"), "profile-fixed-value", "Observation.code"),
    "pressure without its diastole": (
        drop("bp1", "component/1"),
        "profile-missing-element",
        "Observation.component:diastolic",
    ),
    "smoking status of a period": (
        lambda corpus: (
            corpus["sm1"].pop("effectiveDateTime"),
            corpus["sm1"].update(effectivePeriod={"start": "2020-03-01"}),
        ),
        "profile-choice-type",
        "Observation.effective[x]",
    ),
    "subject the profile forbids": (
        put("lab1", "subject/reference", "Location/l1"),
        "profile-target-type",
        "Observation.subject",
    ),
    # invariants
    "us-core-1": (put("lab1", "effectiveDateTime", "2020-03"), "us-core-1", "Observation.effective[x]"),
    "us-core-2": (drop("lab2", "dataAbsentReason"), "us-core-2", "Observation"),
    "us-core-3": (
        put("lab1", "valueQuantity/system", "https://example.org/units"),
        "us-core-3",
        "Observation.value[x]",
    ),
    "us-core-6": (put("p2", "name/0", {"text": "Paul"}), "us-core-6", "Patient.name"),
    "us-core-7": (drop("pr1", "performedPeriod"), "us-core-7", "Procedure"),
    "us-core-8": (drop("dr1", "effectiveDateTime"), "us-core-8", "DiagnosticReport"),
    "us-core-9": (drop("dr1", "issued"), "us-core-9", "DiagnosticReport"),
    "us-core-15": (drop("cv1", "identifier"), "us-core-15", "Coverage"),
    "us-core-21": (drop("m1", "requester"), "us-core-21", "MedicationRequest"),
    "pd-1": (drop("r1", "telecom"), "pd-1", "PractitionerRole"),
    "provenance-1": (drop("pv1", "agent/0/onBehalfOf"), "provenance-1", "Provenance.agent"),
    "vs-2": (drop("hr1", "valueQuantity"), "vs-2", "Observation"),
    "vs-3": (drop("bp1", "component/0/valueQuantity"), "vs-3", "Observation.component"),
    "obs-3": (put("lab1", "referenceRange", [{"type": {"text": "x"}}]), "obs-3", "Observation.referenceRange"),
    "obs-6": (put("lab1", "dataAbsentReason", {"text": "x"}), "obs-6", "Observation"),
    "con-4": (put("c1", "abatementDateTime", "2020-01-01"), "con-4", "Condition"),
    "ait-1": (drop("a1", "clinicalStatus"), "ait-1", "AllergyIntolerance"),
    "per-1": (put("e1", "period", PERIOD), "per-1", "Encounter.period"),
    "cpt-2": (drop("p1", "telecom/0/system"), "cpt-2", "Patient.telecom"),
    "qty-3": (drop("lab1", "referenceRange/0/low/system"), "qty-3", "Observation.referenceRange.low"),
    "tim-2": (
        drop("m1", "dosageInstruction/0/timing/repeat/periodUnit"),
        "tim-2",
        "MedicationRequest.dosageInstruction.timing.repeat",
    ),
    "ext-1": (drop("p1", "extension/1/valueCode"), "ext-1", "Patient.extension"),
    "dom-3": (put("hr1", "contained", [{"resourceType": "Device", "id": "x"}]), "dom-3", "Observation"),
    "org-1": (lambda corpus: [corpus["o1"].pop(key) for key in ("name", "identifier")], "org-1", "Organization"),
    # vocabulary
    "wrong check digit": (put("d1", "identifier/0/value", "1245319598"), "npi-check-digit", "Practitioner.identifier"),
    "NPI of nine digits": (put("o1", "identifier/0/value", "123456789"), "npi-check-digit", "Organization.identifier"),
    "not UCUM": (put("lab1", "valueQuantity/code", "mg/DL"), "not-ucum", "Observation.valueQuantity"),
    "no such ICD-10-CM code": (put("c1", "code", concept(ICD10, "I10.99")), "unknown-code", "Condition.code.coding"),
    # plausibility
    "before birth": (put("hr1", "effectiveDateTime", "1959-01-01"), "before-birth", "Observation.effectiveDateTime"),
    "after death": (
        put("hr1", "effectiveDateTime", "2021-06-01T08:00:01Z"),
        "after-death",
        "Observation.effectiveDateTime",
    ),
    "encounter after death": (
        put("e1", "period", {"start": "2021-06-02T00:00:00Z", "end": "2021-06-02T01:00:00Z"}),
        "after-death",
        "Encounter.period.start",
    ),
    "abated before onset": (put("c2", "abatementDateTime", "2015-01-01"), "reversed-order", "Condition.onsetDateTime"),
    "death before birth": (put("p1", "deceasedDateTime", "1950-01-01"), "reversed-order", "Patient.birthDate"),
    "outside its encounter": (
        put("hr1", "effectiveDateTime", "2020-03-04T00:00:00Z"),
        "outside-encounter",
        "Observation.effectiveDateTime",
    ),
    "another patient's encounter": (
        put("hr1", "encounter/reference", "Encounter/e2"),
        "other-patients-encounter",
        "Observation.effectiveDateTime",
    ),
    "prostate of a woman": (put("c1", "code", concept(ICD10, "N40.0")), "impossible-for-sex", "Condition.code"),
    "newborn of 60": (
        lambda corpus: corpus["c1"].update(code=concept(ICD10, "P22.0"), onsetDateTime="2020-03-01"),
        "impossible-for-age",
        "Condition.code",
    ),
    "person of 200": (
        lambda corpus: (corpus["p2"].update(birthDate="1801"), corpus["p1"].pop("deceasedDateTime")),
        "implausible-age",
        "Encounter.period.start",
    ),
}


def test_the_good_resources_are_found_good(tmp_path: Path) -> None:
    report = check(Corpus().write(tmp_path / "set.ndjson"), sample=None)
    assert report.issues == []
    assert report.counts["Observation"] == 5
    assert sum(report.counts.values()) == len(GOOD) == report.checked["fhir.resources"]
    assert report.checked["dates"] > 20
    assert report.checked["NPI check digits"] == 2
    assert report.checked["UCUM units"] == 7


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_by_its_check(name: str, tmp_path: Path) -> None:
    change, wanted, place = BROKEN[name]
    corpus = Corpus()
    change(corpus)
    report = check(corpus.write(tmp_path / "set.ndjson"))
    found = [issue for issue in report.issues if issue.check == wanted]
    assert found, [(issue.check, issue.place) for issue in report.issues]
    assert place in {issue.place for issue in found}
    assert found[0].example.startswith("set.ndjson")
    assert found[0].count >= 1


def test_every_check_named_is_listed() -> None:
    names = [item.name for item in CHECKS]
    assert len(names) == len(set(names))
    assert {wanted for _, wanted, _ in BROKEN.values()} <= set(names)
    assert len(BROKEN) >= 100
    for item in CHECKS:
        assert item.name == item.name.lower().strip("-")
        assert item.sentence.endswith(".")


def test_counts_and_one_example(tmp_path: Path) -> None:
    corpus = Corpus()
    for ident in ("lab1", "hr1", "bp1"):
        corpus[ident]["status"] = "done"
    (found,) = check(corpus.write(tmp_path / "set.ndjson")).issues
    assert (found.check, found.count, found.place) == ("code-not-in-value-set", 3, "Observation.status")
    assert found.example == "set.ndjson:11 Observation/lab1 'done'"
    assert "observation-status" in found.message
