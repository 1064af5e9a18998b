"""What is derived says what the record says: notes, orders, specimens, plans of care, bills, supplies, provenance."""

from __future__ import annotations

import base64
from collections import defaultdict
from datetime import date
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.exporters.fhir.joins import counted, first_of_each, grouped
from ehrsynth.exporters.fhir.notes import SECTIONS
from ehrsynth.exporters.fhir.orders import specimen_type
from ehrsynth.exporters.fhir.resource import Source, literal_links
from ehrsynth.exporters.fhir.resources import BUILT_IN
from ehrsynth.exporters.keys import least_of_each
from ehrsynth.records import Records

Made = dict[str, list[Any]]


def written(records: Records) -> Made:
    source = Source(block=records, shared=records, links=literal_links)
    found: Made = defaultdict(list)
    for resource in BUILT_IN:
        for one in resource.write(source, lambda *_: ((), ())):
            found[resource.type] += map(orjson.loads, one.texts.to_pylist())
    return found


@pytest.fixture(scope="module")
def records(models: ModuleType) -> Records:
    """Patients of the small model: insured, of all ages, in stays and emergencies, some dead."""
    return ehrsynth.generate(models.tiny_model(), population=150, seed=3)


@pytest.fixture(scope="module")
def made(records: Records) -> Made:
    return written(records)


@pytest.fixture(scope="module")
def small_made(small_records: Records) -> Made:
    return written(small_records)


def key(reference: Any) -> str:
    return str(reference["reference"].partition("/")[2])


def category(observation: Any) -> Any:
    return observation["category"][0]["coding"][0]["code"]


def parse(note: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The head of a note, and its lines by heading."""
    head: dict[str, str] = {}
    lines: dict[str, list[str]] = {}
    for line in note.rstrip("\n").split("\n"):
        if line.startswith("- "):
            lines[list(lines)[-1]].append(line[2:])
        elif line.endswith(":"):
            lines[line[:-1]] = []
        else:
            name, _, value = line.partition(": ")
            head[name] = value
    return head, lines


@pytest.mark.parametrize("whose", ["generated", "hand-made"])
def test_a_note_says_what_the_record_says(
    whose: str, records: Records, small_records: Records, made: Made, small_made: Made
) -> None:
    told, found = (records, made) if whose == "generated" else (small_records, small_made)
    of_visit: dict[str, dict[str, list[Any]]] = {table: defaultdict(list) for _, table in SECTIONS}
    for table, rows in of_visit.items():
        for row in told[table].to_pylist():
            rows[row["encounter_id"]].append(row)
    visits = {row["encounter_id"]: row for row in told["encounter"].to_pylist()}
    patients = {row["patient_id"]: row for row in told["patient"].to_pylist()}
    assert len(found["DocumentReference"]) == sum(row["start_datetime"] is not None for row in visits.values())
    for one in found["DocumentReference"]:
        visit = visits[key(one["context"]["encounter"][0])]
        patient = patients[visit["patient_id"]]
        head, lines = parse(base64.b64decode(one["content"][0]["attachment"]["data"]).decode())
        assert head["Born"] == patient["birth_date"].isoformat()
        assert head["Visit"] == visit["start_datetime"].date().isoformat()
        assert head["Sex"] == patient["sex"]
        assert head.get("Reason", "").partition(" ")[0] == (visit["reason_code"] or "")
        for heading, table in SECTIONS:
            want = of_visit[table][visit["encounter_id"]]
            got = lines.get(heading, [])
            assert [line.partition(" ")[0] for line in got] == [row["code"] for row in want]
            for line, row in zip(got, want, strict=True):
                if row.get("value_number") is not None and np.isfinite(row["value_number"]):
                    assert float(line.rpartition(" = ")[2].split(" ")[0]) == row["value_number"]


def test_a_stay_has_its_note_as_a_report(made: Made) -> None:
    notes = {key(one["context"]["encounter"][0]): one for one in made["DocumentReference"]}
    reports = [one for one in made["DiagnosticReport"] if "presentedForm" in one]
    assert reports
    for one in reports:
        twin = notes[key(one["encounter"])]
        assert one["presentedForm"][0]["data"] == twin["content"][0]["attachment"]["data"]
        # The report on a study is called after the study, the note on a stay after the stay.
        assert ("basedOn" in one) != (one["code"] == twin["type"])


def test_results_orders_reports_and_specimens_agree(made: Made, records: Records) -> None:
    labs = {one["id"]: one for one in made["Observation"] if category(one) == "laboratory"}
    assert len(labs) == records["observation"]["category"].to_pylist().count("laboratory") > 0
    orders = {one["id"]: one for one in made["ServiceRequest"]}
    specimens = {one["id"]: one for one in made["Specimen"]}
    reported: list[str] = []
    for report in made["DiagnosticReport"]:
        if "presentedForm" in report:
            continue
        order = orders[key(report["basedOn"][0])]
        results = [labs[key(one)] for one in report["result"]]
        assert {key(one) for one in report["specimen"]} == {key(one["specimen"]) for one in results}
        for result in results:
            reported.append(result["id"])
            assert result["basedOn"] == report["basedOn"]
            assert result.get("effectiveDateTime") == order.get("occurrenceDateTime")
            assert result["subject"] == report["subject"] == order["subject"]
            specimen = specimens[key(result["specimen"])]
            assert specimen["subject"] == report["subject"]
            assert specimen["type"]["text"] == "Blood specimen (specimen)"
    assert sorted(reported) == sorted(labs)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("2345-7", "blood"), ("718-7", "blood"), ("5767-9", "urine"), ("72166-2", None), ("nothing", None)],
)
def test_the_name_of_a_test_says_what_it_is_made_of(code: str, kind: str | None) -> None:
    assert specimen_type("http://loinc.org", code, None) == kind
    assert specimen_type("http://snomed.info/sct", code, "Glucose in Blood") is None


def test_the_dead_have_no_active_plan(made: Made, records: Records) -> None:
    dead = {row["patient_id"] for row in records["patient"].to_pylist() if row["death_datetime"]}
    conditions = {one["id"]: one for one in made["Condition"]}
    goals = {one["id"]: one for one in made["Goal"]}
    seen = {"dead": 0, "active": 0}
    for plan in made["CarePlan"]:
        assert conditions[key(plan["addresses"][0])]["subject"] == plan["subject"]
        gone = key(plan["subject"]) in dead
        seen["dead"] += gone
        seen["active"] += plan["status"] == "active"
        assert not (gone and plan["status"] == "active")
        for reference in plan.get("goal", ()):
            goal = goals[key(reference)]
            assert (goal["lifecycleStatus"] == "active") == (plan["status"] == "active")
            assert goal["addresses"] == plan["addresses"]
    assert min(seen.values()) > 0
    for team in made["CareTeam"]:
        assert not (key(team["subject"]) in dead and team["status"] == "active")


def test_a_plan_follows_what_lasts(made: Made, records: Records) -> None:
    visits = {row["encounter_id"]: row for row in records["encounter"].to_pylist()}
    days: dict[tuple[str, str], list[date]] = defaultdict(list)
    for row in records["condition"].to_pylist():
        seen = row["recorded_date"] or visits[row["encounter_id"]]["start_datetime"].date()
        days[row["patient_id"], row["code"]].append(seen)
    lasting = {pair for pair, when in days.items() if (max(when) - min(when)).days >= 90}
    conditions = {row["condition_id"]: row for row in records["condition"].to_pylist()}
    planned = [conditions[key(plan["addresses"][0])] for plan in made["CarePlan"]]
    assert sorted((row["patient_id"], row["code"]) for row in planned) == sorted(lasting)


def test_bills_add_up(made: Made, records: Records) -> None:
    claims = {one["id"]: one for one in made["Claim"]}
    insured = [row for row in records["encounter"].to_pylist() if row["coverage_id"] is not None]
    assert len(claims) == len(insured) > 0
    procedures = 0
    for one in made["ExplanationOfBenefit"]:
        claim = claims.pop(key(one["claim"]))
        total = claim["total"]["value"]
        assert total == sum(item["net"]["value"] for item in claim["item"])
        for item in claim["item"]:
            assert item["net"]["value"] == item["quantity"]["value"] * item["unitPrice"]["value"]
        amounts = {part["category"]["coding"][0]["code"]: part["amount"]["value"] for part in one["total"]}
        assert amounts["submitted"] == total
        assert round(amounts["benefit"] + amounts["copay"], 2) == total
        assert one["payment"]["amount"]["value"] == amounts["benefit"]
        numbers = [item["sequence"] for item in claim["item"]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(claim.get("procedure", ())) == len(numbers) - 1
        procedures += len(claim.get("procedure", ()))
        assert claim["insurer"] == one["insurer"]
    assert claims == {}
    assert procedures


def test_an_order_is_either_dispensed_or_given(made: Made) -> None:
    classes = {one["id"]: one["class"]["code"] for one in made["Encounter"]}
    dispensed = {key(one["authorizingPrescription"][0]) for one in made["MedicationDispense"]}
    given = {key(one["request"]) for one in made["MedicationAdministration"]}
    assert dispensed
    assert given
    assert not dispensed & given
    for order in made["MedicationRequest"]:
        if order["id"] in dispensed | given:
            assert (classes[key(order["encounter"])] == "IMP") == (order["id"] in given)


def test_only_a_reason_in_the_record_makes_a_relative(made: Made, records: Records) -> None:
    relation = {key(one["patient"]): one["relationship"][0]["coding"][0]["code"] for one in made["RelatedPerson"]}
    for row in records["patient"].to_pylist():
        end = row["death_datetime"].date() if row["death_datetime"] else row["record_end_date"]
        child = (end - row["birth_date"]).days < 18 * 365.25
        expected = "GUARD" if child else "SPS" if row["marital_status_code"] == "M" else None
        assert relation.get(row["patient_id"]) == expected
    assert set(relation.values()) == {"GUARD", "SPS"}


def test_provenance_names_all_of_an_encounter(made: Made, records: Records) -> None:
    want: dict[str, set[str]] = defaultdict(set)
    names = {"condition": "Condition", "medication_request": "MedicationRequest", "immunization": "Immunization"}
    for table, name in names.items():
        for row in records[table].to_pylist():
            want[row["encounter_id"]].add(f"{name}/{row[f'{table}_id']}")
    for one in made["Provenance"]:
        first, *rest = [target["reference"] for target in one["target"]]
        assert first.startswith("Encounter/")
        assert want[first.partition("/")[2]] <= set(rest)
    assert len(made["Provenance"]) == records["encounter"].num_rows


def test_survey_answers_make_a_response(small_made: Made) -> None:
    surveys = [one for one in small_made["Observation"] if category(one) == "survey" and "valueQuantity" in one]
    items = [item for one in small_made["QuestionnaireResponse"] if "questionnaire" not in one for item in one["item"]]
    responses = {one["id"] for one in small_made["QuestionnaireResponse"]}
    assert all(key(one["derivedFrom"][0]) in responses for one in surveys)
    answers = [item["answer"][0]["valueDecimal"] for item in items if "valueDecimal" in item["answer"][0]]
    assert surveys
    assert sorted(answers) == sorted(one["valueQuantity"]["value"] for one in surveys)


def test_groups_are_numbered_and_have_their_first_and_least() -> None:
    group = grouped(pa.array(["b", "a", "b", None, "a"]), pa.array([1, 1, 1, 1, 2]))
    assert group.tolist() == [0, 1, 0, 2, 3]
    assert first_of_each(group).tolist() == [0, 1, 3, 4]
    assert counted(group).tolist() == [1, 1, 2, 1, 1]
    assert least_of_each(group, pa.array(["z", "y", "x", "w", "v"])).tolist() == [2, 1, 3, 4]
    assert first_of_each(grouped(pa.array([], pa.string()))).tolist() == []
