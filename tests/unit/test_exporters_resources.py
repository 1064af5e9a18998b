"""The rules of each resource: what profiles and invariants ask for, and what is said where a record does not know."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest

from ehrsynth.exporters.fhir.resource import Source, literal_links
from ehrsynth.exporters.fhir.resources import BUILT_IN
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import clinical

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
P, E, D = ("11111111-1111-4111-8111-11111111111" + digit for digit in "123")
LOINC = "http://loinc.org"
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}


def resources_of(tables: dict[str, list[dict[str, Any]]], type_name: str, *, synthetic: bool = True) -> list[Any]:
    made = {name: pa.Table.from_pylist(rows, schema=clinical()[name].arrow) for name, rows in tables.items()}
    records = Records.from_tables(made, provenance=Provenance(source="test", synthetic=synthetic))
    source = Source(block=records, shared=records, links=literal_links)
    texts = [
        text
        for resource in BUILT_IN
        if resource.type == type_name
        for written in resource.write(source, lambda resource, ids: ((), ()))
        for text in written.texts.to_pylist()
    ]
    return [orjson.loads(text) for text in texts]


def patient(**columns: Any) -> dict[str, Any]:
    return {"patient_id": P, "birth_date": date(1980, 5, 6), "sex": "female", **columns}


def observation(key: str, **columns: Any) -> dict[str, Any]:
    own = {"category": "laboratory", "status": "final", "code_system": LOINC, "code": "2345-7"}
    return {"observation_id": f"{key}-1111-4111-8111-111111111111", "patient_id": P, **own, **columns}


# -- patient -----------------------------------------------------------------------------------------------------------


def test_a_patient_without_a_name_says_so() -> None:
    (found,) = resources_of({"patient": [patient()]}, "Patient")
    assert found["name"] == [ABSENT]
    assert found["identifier"] == [{"system": "https://ehrsynth.example/patient", "value": P}]
    assert found["gender"] == "female"
    assert found["birthDate"] == "1980-05-06"
    assert set(found) == {"resourceType", "id", "meta", "identifier", "name", "gender", "birthDate"}


def test_a_prefix_alone_is_no_name() -> None:
    (found,) = resources_of({"patient": [patient(name_prefix="Dr.")]}, "Patient")
    assert found["name"] == [ABSENT]


@pytest.mark.parametrize(("precision", "written"), [("year", "1980"), ("month", "1980-05"), ("day", "1980-05-06")])
def test_a_birth_date_is_as_exact_as_it_is_known(precision: str, written: str) -> None:
    (found,) = resources_of({"patient": [patient(birth_date_precision=precision)]}, "Patient")
    assert found["birthDate"] == written


def test_race_has_its_category_and_its_text() -> None:
    codes = {"2106-3": "ombCategory", "UNK": "ombCategory", "1019-9": "detailed", "OTH": None}
    for code, part in codes.items():
        (found,) = resources_of({"patient": [patient(race_code=code)]}, "Patient")
        (race,) = found["extension"]
        assert race["url"] == US_CORE + "us-core-race"
        urls = [one["url"] for one in race["extension"]]
        assert urls == ([part, "text"] if part else ["text"])
        assert race["extension"][-1]["valueString"]
        if part:
            null = code == "UNK"
            coding = race["extension"][0]["valueCoding"]
            assert coding["code"] == code
            expected = (
                "http://terminology.hl7.org/CodeSystem/v3-NullFlavor" if null else "urn:oid:2.16.840.1.113883.6.238"
            )
            assert coding["system"] == expected


def test_a_cause_of_death_is_an_observation_of_its_own() -> None:
    death = {"death_datetime": datetime(2020, 1, 2), "death_precision": "day"}
    cause = {"cause_of_death_system": "http://hl7.org/fhir/sid/icd-10-cm", "cause_of_death_code": "I21.9"}
    (found,) = resources_of({"patient": [patient(**death, **cause)]}, "Observation")
    assert found["code"]["coding"][0]["code"] == "69453-9"
    assert found["effectiveDateTime"] == "2020-01-02"
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "I21.9"
    assert found["id"] != P


def test_made_up_records_say_so_and_real_ones_do_not() -> None:
    (found,) = resources_of({"patient": [patient()]}, "Patient")
    assert [one["code"] for one in found["meta"]["security"]] == ["HTEST"]
    (found,) = resources_of({"patient": [patient()]}, "Patient", synthetic=False)
    assert found["meta"] == {"profile": [US_CORE + "us-core-patient"]}


# -- condition, allergy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({"category": "problem-list-item"}, "active"),
        ({"category": "encounter-diagnosis"}, None),
        ({"category": "encounter-diagnosis", "abatement_date": date(2020, 1, 1)}, "resolved"),
        (
            {"category": "problem-list-item", "abatement_date": date(2020, 1, 1), "clinical_status": "remission"},
            "remission",
        ),
        (
            {"category": "problem-list-item", "clinical_status": "active", "verification_status": "entered-in-error"},
            None,
        ),
    ],
)
def test_clinical_status_keeps_the_invariants(columns: dict[str, Any], status: str | None) -> None:
    own = {"condition_id": D, "patient_id": P, "code_system": "http://snomed.info/sct", "code": "44054006"}
    (found,) = resources_of({"condition": [{**own, **columns}]}, "Condition")
    assert found.get("clinicalStatus", {"coding": [{"code": None}]})["coding"][0]["code"] == status
    name = "encounter-diagnosis" if columns["category"] == "encounter-diagnosis" else "problems-health-concerns"
    assert found["meta"]["profile"] == [f"{US_CORE}us-core-condition-{name}"]


def test_an_allergy_has_a_clinical_status_unless_it_was_an_error() -> None:
    own = {"patient_id": P, "code_system": "http://snomed.info/sct", "code": "762952008", "reaction_severity": "mild"}
    rows = [
        {"allergy_intolerance_id": D, **own},
        {"allergy_intolerance_id": E, **own, "clinical_status": "resolved", "verification_status": "entered-in-error"},
    ]
    first, second = resources_of({"allergy_intolerance": rows}, "AllergyIntolerance")
    assert first["clinicalStatus"]["coding"][0]["code"] == "active"
    assert "clinicalStatus" not in second
    # A severity without a manifestation is no reaction.
    assert "reaction" not in first


# -- observation -------------------------------------------------------------------------------------------------------


def test_only_one_value_is_written_and_none_has_a_reason() -> None:
    rows = [
        observation("aaaaaaa1", value_number=1.5, value_unit="mg/dL", value_text="lost", absent_reason_code="error"),
        observation("aaaaaaa2", value_system="http://snomed.info/sct", value_code="1", value_text="lost"),
        observation("aaaaaaa3", value_text="cloudy", absent_reason_code="error"),
        observation("aaaaaaa4", absent_reason_code="error"),
        observation("aaaaaaa5"),
        observation("aaaaaaa6", value_number=float("nan")),
        observation("aaaaaaa7", category="survey"),
    ]
    found = resources_of({"observation": rows}, "Observation")
    values = [[name for name in one if name.startswith(("value", "dataAbsent"))] for one in found]
    reason = ["dataAbsentReason"]
    assert values == [["valueQuantity"], ["valueCodeableConcept"], ["valueString"], reason, reason, reason, []]
    reasons = [one["dataAbsentReason"]["coding"][0]["code"] for one in found[3:6]]
    assert reasons == ["error", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("columns", "profile"),
    [
        ({}, "us-core-observation-lab"),
        ({"code_system": "urn:oid:1.2.3"}, None),
        (
            {"category": "vital-signs", "code": "8867-4", "value_number": 70.0, "value_unit": "/min"},
            "us-core-heart-rate",
        ),
        ({"category": "vital-signs", "code": "8867-4", "value_number": 70.0, "value_unit": "/h"}, None),
        ({"category": "vital-signs", "code": "8867-4"}, "us-core-heart-rate"),
        ({"category": "vital-signs", "code": "11111-1"}, "us-core-simple-observation"),
        ({"category": "social-history", "code": "72166-2"}, "us-core-simple-observation"),
        (
            {
                "category": "social-history",
                "code": "72166-2",
                "value_code": "1",
                "effective_datetime": datetime(2020, 1, 1),
            },
            "us-core-smokingstatus",
        ),
        ({"category": "survey"}, "us-core-observation-screening-assessment"),
        ({"category": "imaging"}, "us-core-observation-clinical-result"),
    ],
)
def test_a_profile_is_claimed_only_if_it_is_kept(columns: dict[str, Any], profile: str | None) -> None:
    (found,) = resources_of({"observation": [observation("aaaaaaa1", **columns)]}, "Observation")
    assert found["meta"].get("profile") == (None if profile is None else [US_CORE + profile])


def test_pulse_oximetry_has_both_codes_and_a_vital_sign_without_time_says_so() -> None:
    row = observation("aaaaaaa1", category="vital-signs", code="59408-5", value_number=97.0, value_unit="%")
    (found,) = resources_of({"observation": [row]}, "Observation")
    assert [one["code"] for one in found["code"]["coding"]] == ["59408-5", "2708-6"]
    assert found["_effectiveDateTime"] == ABSENT


def pressure(key: str, code: str, number: float | None, panel: str | None, **columns: Any) -> dict[str, Any]:
    own = {"category": "vital-signs", "code": code, "value_number": number, "value_unit": "mm[Hg]", "panel_id": panel}
    return observation(key, **own, effective_datetime=datetime(2020, 1, 1, 8), **columns)


def test_the_pressures_of_a_panel_are_components_of_one_observation() -> None:
    panel = "bbbbbbbb-1111-4111-8111-111111111111"
    rows = [pressure("aaaaaaa1", "8462-4", 80.0, panel), pressure("aaaaaaa2", "8480-6", 120.0, panel)]
    (found,) = resources_of({"observation": rows}, "Observation")
    assert found["identifier"] == [{"system": "https://ehrsynth.example/panel", "value": panel}]
    assert found["code"]["coding"][0]["code"] == "85354-9"
    parts = [
        (one["code"]["coding"][0]["code"], one["valueQuantity"]["value"], one["id"][:8]) for one in found["component"]
    ]
    assert parts == [("8480-6", 120, "aaaaaaa2"), ("8462-4", 80, "aaaaaaa1")]


def test_no_pressure_is_lost_where_panels_are_odd() -> None:
    panel = "bbbbbbbb-1111-4111-8111-111111111111"
    rows = [
        pressure("aaaaaaa1", "8480-6", 120.0, panel),
        pressure("aaaaaaa2", "8480-6", 121.0, panel),
        pressure("aaaaaaa3", "8462-4", None, panel, absent_reason_code="error"),
        pressure("aaaaaaa4", "8462-4", 70.0, None),
    ]
    found = resources_of({"observation": rows}, "Observation")
    values = [[part.get("valueQuantity", {}).get("value") for part in one["component"]] for one in found]
    assert values == [[120, None], [121, None], [None, 70]]
    reasons = [
        part["dataAbsentReason"]["coding"][0]["code"] for one in found for part in one["component"] if "id" not in part
    ]
    assert reasons == ["unknown", "unknown"]
    (error,) = [part for one in found for part in one["component"] if part.get("id", "").startswith("aaaaaaa3")]
    assert error["dataAbsentReason"]["coding"][0]["code"] == "error"


def test_the_results_of_a_panel_are_one_report() -> None:
    panel = "bbbbbbbb-1111-4111-8111-111111111111"
    at = {"effective_datetime": datetime(2020, 1, 1, 8), "encounter_id": E}
    rows = [
        observation("aaaaaaa1", panel_id=panel, **at),
        observation("aaaaaaa2"),
        observation("aaaaaaa3", panel_id=panel, **at),
        observation("aaaaaaa4", panel_id=D, effective_datetime=datetime(2020, 1, 1), time_precision="day"),
        pressure("aaaaaaa5", "8480-6", 120.0, P),
    ]
    encounter = {"encounter_id": E, "patient_id": P, "sequence": 1, "status": "finished", "encounter_class": "AMB"}
    tables = {"observation": rows, "encounter": [{**encounter, "organization_id": P}]}
    reports = {
        one["identifier"][0]["value"]: one for one in resources_of(tables, "DiagnosticReport") if "result" in one
    }
    first, second = reports[panel], reports[D]
    # What is in no panel is a report of its own.
    alone = [one for one in resources_of(tables, "DiagnosticReport") if one["category"][0].get("text") == "Laboratory"]
    assert len(alone) == 3
    assert first["identifier"] == [{"system": "https://ehrsynth.example/panel", "value": panel}]
    assert first["id"] != panel
    results = [one["reference"].removeprefix("Observation/")[:8] for one in first["result"]]
    assert results == ["aaaaaaa1", "aaaaaaa3"]
    assert first["issued"] == first["effectiveDateTime"] == "2020-01-01T08:00:00Z"
    assert first["performer"] == [{"reference": f"Organization/{P}"}]
    assert second["effectiveDateTime"] == "2020-01-01"
    assert "issued" not in second
    assert second["_issued"] == ABSENT


# -- orders ------------------------------------------------------------------------------------------------------------


def order(key: str, **columns: Any) -> dict[str, Any]:
    own = {"code_system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "860975", "status": "active"}
    return {"medication_request_id": key, "patient_id": P, **own, "intent": "order", **columns}


def test_an_order_has_a_requester() -> None:
    encounter = {"patient_id": P, "sequence": 1, "status": "finished", "encounter_class": "IMP"}
    encounters = [
        {"encounter_id": "e1", **encounter, "practitioner_id": "p2", "organization_id": "o1"},
        {"encounter_id": "e2", **encounter, "organization_id": "o1"},
    ]
    rows = [
        order("m1", practitioner_id="p1", encounter_id="e1"),
        order("m2", encounter_id="e1"),
        order("m3", encounter_id="e2"),
        order("m4"),
    ]
    found = resources_of({"medication_request": rows, "encounter": encounters}, "MedicationRequest")
    who = [one["requester"].get("reference", "").split("/")[0] for one in found]
    assert who == ["Practitioner", "Practitioner", "Organization", ""]
    assert found[0]["requester"] != found[1]["requester"]
    assert found[3]["requester"]["extension"] == ABSENT["extension"]
    assert [one.get("category", [{"text": None}])[0]["text"] for one in found] == ["Inpatient"] * 3 + [None]
    # A key that could be no resource id is kept as an identifier.
    assert found[0]["identifier"] == [{"system": "https://ehrsynth.example/medication_request", "value": "m1"}]


@pytest.mark.parametrize(
    ("per_day", "expected"), [(1.0, (1, 1)), (3.0, (3, 1)), (0.5, (1, 2)), (1 / 7, (1, 7)), (1.5, (3, 2)), (0.0, None)]
)
def test_doses_a_day_are_a_frequency_and_a_period(per_day: float, expected: tuple[int, int] | None) -> None:
    (found,) = resources_of({"medication_request": [order(D, frequency_per_day=per_day)]}, "MedicationRequest")
    if expected is None:
        assert "dosageInstruction" not in found
    else:
        repeat = found["dosageInstruction"][0]["timing"]["repeat"]
        assert repeat == {"frequency": expected[0], "period": expected[1], "periodUnit": "d"}


@pytest.mark.parametrize(("unit", "coded"), [("mg", True), ("{tbl}", True), ("tablet", False), ("TAB", False)])
def test_the_unit_of_a_dose_is_a_code_only_if_ucum_has_it(unit: str, coded: bool) -> None:
    (found,) = resources_of({"medication_request": [order(D, dose_value=1.0, dose_unit=unit)]}, "MedicationRequest")
    dose = found["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]
    assert dose["unit"] == unit
    assert (dose.get("code") == unit) is coded
    assert ("system" in dose) is coded


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_what_was_done_was_done_at_some_time() -> None:
    own = {"patient_id": P, "code_system": "http://snomed.info/sct", "code": "80146002", "status": "completed"}
    start, end = datetime(2020, 1, 1, 8), datetime(2020, 1, 1, 9)
    rows = [
        {"procedure_id": P, **own, "start_datetime": start, "end_datetime": end},
        {"procedure_id": E, **own, "start_datetime": start},
        {"procedure_id": D, **own},
    ]
    found = resources_of({"procedure": rows}, "Procedure")
    times = [{name: one[name] for name in one if "performed" in name} for one in found]
    assert times == [
        {"performedPeriod": {"start": "2020-01-01T08:00:00Z", "end": "2020-01-01T09:00:00Z"}},
        {"performedDateTime": "2020-01-01T08:00:00Z"},
        {"_performedDateTime": ABSENT},
    ]


def test_an_encounter_has_a_type_by_its_class() -> None:
    own = {"patient_id": P, "sequence": 1, "status": "finished"}
    rows = [
        {"encounter_id": E, **own, "encounter_class": "EMER"},
        {"encounter_id": D, **own, "encounter_class": "AMB", "type_system": "http://snomed.info/sct", "type_code": "1"},
        {"encounter_id": P, **own, "encounter_class": "AMB"},
    ]
    found = resources_of({"encounter": rows}, "Encounter")
    assert [one["type"][0]["coding"][0]["code"] for one in found] == ["50849002", "1", "308335008"]
    assert "period" not in found[0]
    assert "participant" not in found[0]


def test_a_role_claims_its_profile_only_with_a_telecom() -> None:
    rows = [
        {"practitioner_id": P, "family_name": "A", "organization_id": "o1", "phone": "555-0100"},
        {"practitioner_id": E, "family_name": "B", "organization_id": "o1"},
        {"practitioner_id": D, "family_name": "C"},
    ]
    found = resources_of({"practitioner": rows}, "PractitionerRole")
    assert [one["meta"].get("profile") for one in found] == [[US_CORE + "us-core-practitionerrole"], None]
    assert found[0]["practitioner"] == {"reference": f"Practitioner/{P}"}


def test_an_organization_and_a_payer_of_the_same_key_do_not_collide() -> None:
    tables = {
        "organization": [{"organization_id": "1", "name": "A"}],
        "payer": [{"payer_id": "1", "name": "B"}],
    }
    first, second = resources_of(tables, "Organization")
    assert first["id"] != second["id"]
    assert second["type"][0]["coding"][0]["code"] == "pay"


def test_a_device_carries_its_identifier() -> None:
    own = {"patient_id": P, "code_system": "http://snomed.info/sct", "code": "14106009", "status": "active"}
    rows = [{"device_id": D, **own, "unique_device_id": "(01)00844588003288(17)141120"}, {"device_id": E, **own}]
    first, second = resources_of({"device": rows}, "Device")
    carrier = {"deviceIdentifier": "00844588003288", "carrierHRF": "(01)00844588003288(17)141120"}
    assert first["udiCarrier"] == [carrier]
    assert first["meta"]["profile"] == [US_CORE + "us-core-implantable-device"]
    assert "profile" not in second["meta"]
    (plain,) = resources_of({"device": rows[1:]}, "Device", synthetic=False)
    assert "meta" not in plain


def test_a_coverage_says_when_nobody_knows_the_member() -> None:
    rows = [{"coverage_id": D, "patient_id": P, "payer_id": "x"}]
    payers = [{"payer_id": "x", "name": "X", "payer_type_code": "1"}]
    (found,) = resources_of({"coverage": rows, "payer": payers}, "Coverage")
    assert found["identifier"][0]["_value"] == ABSENT
    assert found["status"] == "active"
    assert found["relationship"]["coding"][0]["code"] == "unknown"
    assert found["type"]["coding"][0] | {"display": ""} == {
        "system": "https://nahdo.org/sopt",
        "code": "1",
        "display": "",
    }


@pytest.mark.parametrize(
    ("codes", "panel"),
    [
        (("6690-2", "718-7", "4544-3", "777-3"), "58410-2"),
        (("6690-2", "718-7", "4544-3", "777-3", "770-8", "736-9"), "57021-8"),
        (("2345-7", "3094-0", "2160-0", "2951-2", "2823-3"), "51990-0"),
        # Too few to tell, one that no panel has, a test alone.
        (("6690-2", "718-7"), None),
        (("6690-2", "718-7", "4544-3", "777-3", "4548-4"), None),
        (("4548-4",), "4548-4"),
    ],
)
def test_a_laboratory_report_is_called_by_what_its_tests_tell(codes: tuple[str, ...], panel: str | None) -> None:
    own = {
        "patient_id": P,
        "category": "laboratory",
        "status": "final",
        "panel_id": E,
        "code_system": "http://loinc.org",
        "value_number": 1.0,
        "effective_datetime": datetime(2024, 1, 2, 3, 4, 5),
    }
    rows = [{"observation_id": f"{D[:-1]}{at}", "code": code, **own} for at, code in enumerate(codes)]
    (report,) = resources_of({"observation": rows}, "DiagnosticReport")
    (order,) = resources_of({"observation": rows}, "ServiceRequest")
    assert report["code"]["coding"][0]["code"] == (panel or "11502-2")
    assert order["code"]["coding"][0]["code"] == (panel or "108252007")


def test_words_without_a_code_are_a_text_alone() -> None:
    own = {"patient_id": P, "code_system": "http://snomed.info/sct", "code": "762952008"}
    row = {"allergy_intolerance_id": D, **own, "reaction_display": "Skin rash"}
    (found,) = resources_of({"allergy_intolerance": [row]}, "AllergyIntolerance")
    assert found["reaction"] == [{"manifestation": [{"text": "Skin rash"}]}]
