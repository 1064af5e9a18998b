"""Reading FHIR of all sorts: what references mean, which code is taken, how exact dates are, and what is refused."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from ehrsynth import api
from ehrsynth.errors import SourceError
from ehrsynth.readers import ReadReport, fhir_source
from ehrsynth.readers.fhir import FhirReader
from ehrsynth.records import Records

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"

Resource = dict[str, Any]


def concept(*codings: tuple[str, str], **more: Any) -> Resource:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code} for system, code in codings], **more}


def patient(ident: str = "p1", **more: Any) -> Resource:
    """A patient."""
    return {"resourceType": "Patient", "id": ident, "gender": "female", "birthDate": "1950-02-03", **more}


def visit(ident: str = "e1", **more: Any) -> Resource:
    """An encounter of the first patient."""
    known = {"status": "finished", "class": {"code": "AMB"}, "subject": {"reference": "Patient/p1"}}
    return {"resourceType": "Encounter", "id": ident, **known, "period": {"start": "2020-01-02T10:00:00Z"}, **more}


def finding(ident: str = "c1", **more: Any) -> Resource:
    """A condition of the first patient."""
    known = {"subject": {"reference": "Patient/p1"}, "code": concept((ICD10, "I10"))}
    return {"resourceType": "Condition", "id": ident, **known, **more}


def result(ident: str = "o1", **more: Any) -> Resource:
    """An observation of the first patient."""
    known = {"status": "final", "subject": {"reference": "Patient/p1"}, "code": concept((LOINC, "2345-7"))}
    return {"resourceType": "Observation", "id": ident, **known, "category": [concept(("x", "laboratory"))], **more}


def lines(path: Path, *resources: Resource) -> Path:
    """Write NDJSON."""
    path.write_text("".join(json.dumps(resource) + "\n" for resource in resources))
    return path


def read(path: Path, *, strict: bool = True) -> tuple[Records, ReadReport]:
    """Read FHIR, and check that every resource is accounted for."""
    records, report = api.read_with_report(path, format="fhir", strict=strict)
    assert records.check_keys() == []
    for kind, count in report.rows_read.items():
        aside = sum(entry.count for entry in report.set_aside if entry.table == kind)
        assert count == report.rows_taken[kind] + aside
    return records, report


def row(records: Records, table: str, at: int = 0) -> dict[str, Any]:
    """A row of a table."""
    found: dict[str, Any] = records[table].slice(at, 1).to_pylist()[0]
    return found


# -- references --------------------------------------------------------------------------------------------------------

DOCTOR = {
    "resourceType": "Practitioner",
    "id": "d1",
    "identifier": [{"system": "urn:s", "value": "a b"}],
    "name": [{"family": "Who"}],
}
ROLE = {"resourceType": "PractitionerRole", "id": "r1", "practitioner": {"reference": "Practitioner/d1"}}


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": "Practitioner/d1"},
        {"reference": "Practitioner/d1/_history/3"},
        {"reference": "https://server.example/fhir/Practitioner/d1"},
        {"reference": "Practitioner?identifier=urn:s|a b"},
        {"reference": "Practitioner?identifier=urn%3As%7Ca%20b"},
        {"reference": "Practitioner?_id=d1"},
        {"identifier": {"system": "urn:s", "value": "a b"}},
        {"reference": "urn:uuid:d1"},
        {"reference": "PractitionerRole/r1"},
    ],
)
def test_references_of_every_kind(tmp_path: Path, reference: Resource) -> None:
    seen = visit(participant=[{"individual": {"reference": "Patient/p1"}}, {"individual": reference}])
    records, report = read(lines(tmp_path / "all.ndjson", seen, patient(), ROLE, DOCTOR))
    assert row(records, "encounter")["practitioner_id"] == "d1"
    assert report.adjusted == []


def test_contained_resources_become_rows(tmp_path: Path) -> None:
    drug = {
        "resourceType": "Medication",
        "id": "m",
        "code": concept(("http://www.nlm.nih.gov/research/umls/rxnorm", "1")),
    }
    house = {"resourceType": "Organization", "id": "h", "name": "House"}
    order = {
        "resourceType": "MedicationRequest",
        "id": "x",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "contained": [drug, {**DOCTOR, "id": "w"}],
        "medicationReference": {"reference": "#m"},
        "requester": {"reference": "#w"},
    }
    seen = visit(contained=[house], serviceProvider={"reference": "#h"})
    records, report = read(lines(tmp_path / "all.ndjson", patient(), seen, order))
    assert row(records, "medication_request")["code"] == "1"
    assert row(records, "medication_request")["practitioner_id"] == row(records, "practitioner")["practitioner_id"]
    assert row(records, "encounter")["organization_id"] == row(records, "organization")["organization_id"]
    assert report.rows_taken["Medication"] == report.rows_taken["Organization"] == 1


def test_bundles_that_create(tmp_path: Path) -> None:
    def bundle(name: str, who: str, house: str) -> None:
        made = {"resourceType": "Organization", "identifier": [{"system": "s", "value": "1"}], "name": "House"}
        condition = {"method": "POST", "url": "Organization", "ifNoneExist": "identifier=s|1"}
        person = patient(managingOrganization={"reference": f"urn:uuid:{house}"})
        del person["id"]
        entries = [
            {
                "fullUrl": f"urn:uuid:{who}",
                "resource": {**person, "managingOrganization": {"reference": f"urn:uuid:{house}"}},
            },
            {"fullUrl": f"urn:uuid:{house}", "resource": made, "request": condition},
        ]
        document = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        (tmp_path / name).write_text(json.dumps(document))

    bundle("1.json", "aa", "ha")
    bundle("2.json", "bb", "hb")
    records, report = read(tmp_path)
    assert records["patient"]["patient_id"].to_pylist() == ["aa", "bb"]
    assert records["patient"]["organization_id"].to_pylist() == ["ha", "ha"]
    assert [(entry.table, entry.count) for entry in report.set_aside] == [("Organization", 1)]


@pytest.mark.parametrize("kind", ["collection", "searchset", "batch", "transaction"])
def test_bundles_of_every_type_plain_packed_and_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    entries = [{"fullUrl": f"http://s/fhir/{r['resourceType']}/{r['id']}", "resource": r} for r in (visit(), patient())]
    text = json.dumps({"resourceType": "Bundle", "type": kind, "entry": [*entries, {"response": {"status": "200"}}]})
    (tmp_path / "b.json").write_text(text)
    wanted = read(tmp_path / "b.json")[0].tables
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / "c.json.gz")[0].tables == wanted
    monkeypatch.setattr(fhir_source, "_WHOLE_LIMIT", 100)
    assert read(tmp_path / "b.json")[0].tables == wanted
    assert read(tmp_path / "c.json.gz")[0].tables == wanted


# -- values ------------------------------------------------------------------------------------------------------------


def test_the_preferred_code_is_taken(tmp_path: Path) -> None:
    one = finding("1", code=concept((SNOMED, "38341003"), (ICD10, "I10"), text="High"))
    two = finding("2", code=concept(("urn:local", "x"), ("urn:oid:2.16.840.1.113883.6.96", "38341003")))
    chosen = {"system": SNOMED, "code": "59621000", "userSelected": True}
    three = finding("3", code={"coding": [{"system": SNOMED, "code": "38341003"}, chosen]})
    four = finding("4", code={"text": "high blood pressure"})
    records, report = read(lines(tmp_path / "all.ndjson", patient(), one, two, three, four))
    assert [row(records, "condition", n)["code"] for n in range(3)] == ["I10", "38341003", "59621000"]
    assert row(records, "condition")["display"] == "High"
    assert row(records, "condition", 1)["code_system"] == SNOMED
    assert [(e.table, e.count, e.column) for e in report.set_aside] == [("Condition", 1, "code")]


@pytest.mark.parametrize(
    ("text", "moment", "precision"),
    [
        ("2020-03-01", datetime(2020, 3, 1), "day"),
        ("2020-03-01T23:30:00-05:00", datetime(2020, 3, 2, 4, 30), "second"),
        ("2020-03-01T23:30:59.987Z", datetime(2020, 3, 1, 23, 30, 59), "second"),
        ("2020-03-01T23:30", datetime(2020, 3, 1, 23, 30), "minute"),
        ("2020-03", datetime(2020, 3, 1), "day"),
        ("1921-03-01T00:00:01+01:00", datetime(1921, 2, 28, 23, 0, 1), "second"),
    ],
)
def test_times_are_utc_and_as_exact_as_they_were(tmp_path: Path, text: str, moment: datetime, precision: str) -> None:
    records, _ = read(lines(tmp_path / "all.ndjson", patient(), visit(period={"start": text})))
    found = row(records, "encounter")
    assert (found["start_datetime"], found["time_precision"]) == (moment, precision)


@pytest.mark.parametrize(("text", "precision"), [("1950", "year"), ("1950-01", "month"), ("1950-01-01", "day")])
def test_birth_dates_may_be_partial(tmp_path: Path, text: str, precision: str) -> None:
    found = row(read(lines(tmp_path / "all.ndjson", patient(birthDate=text)))[0], "patient")
    assert (found["birth_date"], found["birth_date_precision"]) == (date(1950, 1, 1), precision)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (
            {"valueQuantity": {"value": 5, "code": "mg", "system": UCUM, "comparator": "<"}},
            {"value_number": 5.0, "value_unit": "mg", "value_comparator": "<"},
        ),
        ({"valueQuantity": {"value": 5, "unit": "Pille", "code": "x", "system": "urn:l"}}, {"value_unit": "Pille"}),
        ({"valueInteger": 3}, {"value_number": 3.0}),
        ({"valueBoolean": True}, {"value_text": "true"}),
        ({"valueString": "cloudy"}, {"value_text": "cloudy"}),
        ({"valueCodeableConcept": {"text": "cloudy"}}, {"value_text": "cloudy", "value_code": None}),
        ({"valueCodeableConcept": concept((SNOMED, "1"))}, {"value_code": "1", "value_system": SNOMED}),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, {"value_text": "1:128"}),
        ({"valueRange": {"low": {"value": 1}, "high": {"value": 2}}}, {"value_text": "1 - 2"}),
        ({"dataAbsentReason": concept(("x", "unknown"))}, {"absent_reason_code": "unknown"}),
        ({"valueQuantity": {"value": 5}, "referenceRange": [{"low": {"value": 1}}]}, {"reference_low": 1.0}),
    ],
)
def test_values_of_every_kind(tmp_path: Path, value: Resource, wanted: dict[str, Any]) -> None:
    found = row(read(lines(tmp_path / "all.ndjson", patient(), result(**value)))[0], "observation")
    assert {name: found[name] for name in wanted} == wanted


def test_panels(tmp_path: Path) -> None:
    halves = [{"code": concept((LOINC, code)), "valueQuantity": {"value": 1}} for code in ("8480-6", "8462-4")]
    panel = result("bp", code=concept((LOINC, "85354-9")), component=halves)
    report = {
        "resourceType": "DiagnosticReport",
        "id": "d",
        "status": "final",
        "result": [{"reference": "Observation/a"}],
    }
    head = result("h", hasMember=[{"reference": "Observation/b"}, {"reference": "Observation/c"}])
    records, _ = read(lines(tmp_path / "all.ndjson", report, patient(), panel, head, *map(result, "abc")))
    found = {r["observation_id"]: (r["code"], r["panel_id"]) for r in records["observation"].to_pylist()}
    assert found == {
        "bp.8480-6": ("8480-6", "bp"),
        "bp.8462-4": ("8462-4", "bp"),
        "a": ("2345-7", "d"),
        "b": ("2345-7", "h"),
        "c": ("2345-7", "h"),
    }


def test_payers_ranks_and_causes_of_death(tmp_path: Path) -> None:
    pays = {"resourceType": "Organization", "id": "pay", "name": "Pays"}
    cares = {"resourceType": "Organization", "id": "care", "name": "Cares", "address": [{"state": "Massachusetts"}]}
    cover = {
        "resourceType": "Coverage",
        "id": "c",
        "status": "active",
        "beneficiary": {"reference": "Patient/p1"},
        "payor": [{"reference": "Organization/pay"}],
        "type": concept(("https://nahdo.org/sopt", "1")),
    }
    seen = visit(diagnosis=[{"condition": {"reference": "Condition/c1"}, "rank": 2}])
    death = result(code=concept((LOINC, "69453-9")), valueCodeableConcept=concept((ICD10, "I21.9")))
    resources = (pays, cares, cover, seen, death, finding(), patient(deceasedDateTime="2021"))
    records, report = read(lines(tmp_path / "all.ndjson", *resources))
    assert [r["payer_type_code"] for r in records["payer"].to_pylist()] == ["1"]
    assert records["organization"]["organization_id"].to_pylist() == ["care"]
    assert row(records, "condition")["rank"] == 2
    assert row(records, "condition")["category"] == "problem-list-item"
    assert row(records, "patient")["cause_of_death_code"] == "I21.9"
    assert row(records, "patient")["death_precision"] == "day"
    assert records["observation"].num_rows == 0
    assert {entry.column for entry in report.adjusted} == {"state", "deceasedDateTime"}


def test_only_test_data_throughout_is_synthetic(tmp_path: Path) -> None:
    label = {"meta": {"security": [{"code": "HTEST"}]}}
    assert read(lines(tmp_path / "a.ndjson", patient(**label), visit(**label)))[0].provenance.synthetic
    assert not read(lines(tmp_path / "b.ndjson", patient(**label), visit()))[0].provenance.synthetic


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ('{"resourceType": "Patient", ', ["not JSON"]),
        ('["Patient"]', ["no object"]),
        ({"resourceType": "Condition"}, ["no id"]),
        ({"id": "x"}, ["no resourceType"]),
        ({"resourceType": "Conditon", "id": "x"}, ["'Conditon'", "R4"]),
        (finding(subject={"reference": "Patient/p9"}), ["Patient", "'p9'", "nowhere"]),
        (finding(encounter={"reference": "Encounter/e9"}), ["Encounter", "'e9'", "nowhere"]),
        (finding(recorder={"reference": "Practitioner?identifier=s|7"}), ["Practitioner?s|7", "nowhere"]),
        (finding(onsetDateTime="2020-13-01"), ["2020-13-01", "onsetDateTime"]),
        (visit("e2", status="done"), ["'done'", "status", "finished"]),
        (visit("e2", status=None), ["no status"]),
        (visit(), ["'e1'", "twice"]),
    ],
)
def test_wrong_lines_stop_the_reading_or_are_counted(tmp_path: Path, broken: Any, words: list[str]) -> None:
    good = [json.dumps(item) for item in (patient(), visit(), DOCTOR)]
    good += [json.dumps(result(f"o{number}")) for number in range(808)]
    path = tmp_path / "all.ndjson"
    path.write_text(
        "\n".join([*good, broken if isinstance(broken, str) else json.dumps(broken), json.dumps(result("last"))])
    )
    with pytest.raises(SourceError) as caught:
        read(path)
    said = str(caught.value)
    assert "all.ndjson:812" in said
    assert all(word in said for word in words), said
    records, report = read(path, strict=False)
    assert records["observation"].num_rows == 809
    entries = [entry for entry in (*report.set_aside, *report.adjusted) if "812" in entry.example]
    assert [entry.count for entry in entries] == [1]


def test_references_to_types_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    one = finding(encounter={"reference": "Encounter/e1"}, recorder={"reference": "Practitioner/d1"})
    records, report = read(lines(tmp_path / "all.ndjson", patient(), one))
    assert row(records, "condition")["encounter_id"] is None
    assert {entry.column for entry in report.adjusted} == {"encounter_id", "practitioner_id"}
    with pytest.raises(SourceError, match="nowhere"):
        read(lines(tmp_path / "all.ndjson", one))


def test_what_is_about_rows_that_were_set_aside_goes_with_them(tmp_path: Path) -> None:
    odd = visit("odd", **{"class": {"code": "XYZ"}})
    resources = (patient(), patient("p2", birthDate=None), odd, finding(encounter={"reference": "Encounter/odd"}))
    other = finding("c2", subject={"reference": "Patient/p2"})
    group = finding("c3", subject={"reference": "Group/g"})
    records, report = read(lines(tmp_path / "all.ndjson", *resources, other, group))
    assert records["condition"].num_rows == 0
    reasons = sorted(entry.reason for entry in report.set_aside if entry.table == "Condition")
    assert reasons == ["it is about a Group", "its Encounter was set aside", "its Patient was set aside"]


def test_resources_without_a_table_are_counted(tmp_path: Path) -> None:
    claims = [{"resourceType": "Claim", "id": str(n)} for n in range(3)]
    _, report = read(
        lines(tmp_path / "all.ndjson", patient(), *claims, {"resourceType": "OperationOutcome", "id": "x"})
    )
    assert {(entry.table, entry.count) for entry in report.set_aside} == {("Claim", 3), ("OperationOutcome", 1)}


@pytest.mark.parametrize("name", ["all.ndjson.gz", "all.json.gz"])
def test_a_gzip_that_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    people = [patient(f"p{n}", name=[{"family": f"{n * 7919:x}"}]) for n in range(5000)]
    if "ndjson" in name:
        text = "\n".join(json.dumps(one) for one in people)
    else:
        text = json.dumps(
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in people]}
        )
    packed = gzip.compress(text.encode())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceError, match="cut off") as caught:
        read(path)
    assert name in str(caught.value)
    records, report = read(path, strict=False)
    assert 0 < records.n_patients < 5000
    assert any("cut off" in entry.reason for entry in report.set_aside)


def test_a_bundle_with_a_broken_entry_gives_the_others(tmp_path: Path) -> None:
    entries = [json.dumps({"resource": patient(f"p{n}")}) for n in range(4)]
    entries[2] = entries[2].replace('"female"', "female")
    (tmp_path / "b.json").write_text(
        '{"resourceType": "Bundle", "type": "collection", "entry": [' + ",".join(entries) + "]}"
    )
    with pytest.raises(SourceError, match="not JSON"):
        read(tmp_path / "b.json")
    records, report = read(tmp_path / "b.json", strict=False)
    assert records["patient"]["patient_id"].to_pylist() == ["p0", "p1", "p3"]
    assert "b.json entry 3" in {entry.example for entry in report.set_aside}


def test_folders_that_are_recognised(tmp_path: Path, small_records: Records) -> None:
    reader = FhirReader()
    api.export(small_records, tmp_path / "out", formats=["csv", "fhir-ndjson", "fhir-bundle"])
    assert [reader.recognises(tmp_path / "out" / name) for name in ("csv", "fhir-ndjson", "fhir-bundle")] == [0, 1, 1]
    assert not reader.recognises(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert not reader.recognises(tmp_path / "empty")
    for path, word in ((tmp_path / "empty", "no FHIR"), (tmp_path / "none", "no such")):
        with pytest.raises(SourceError, match=word):
            read(path)
    (tmp_path / "empty" / "x.json").write_text("")
    with pytest.raises(SourceError, match="empty"):
        read(tmp_path / "empty")
