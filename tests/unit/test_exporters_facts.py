"""What no table holds and US Core wants: it follows from the record, is the same every time, and only of nobody."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.exporters.fhir.chance import chances, choices
from ehrsynth.exporters.fhir.growth import percentile
from ehrsynth.exporters.fhir.resource import Source, literal_links
from ehrsynth.exporters.fhir.resources import BUILT_IN
from ehrsynth.exporters.fhir.studies import study_kind
from ehrsynth.records import Records

PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
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
    """Patients of the small model, some of whose diagnoses are a pregnancy, others that somebody has no home."""
    made = ehrsynth.generate(models.tiny_model(), population=200, seed=8)
    rows = made["condition"].to_pydict()
    female = {row["patient_id"] for row in made["patient"].to_pylist() if row["sex"] == "female"}
    for place, patient in enumerate(rows["patient_id"]):
        if place % 7 == 0:
            rows["code_system"][place] = ICD_10_CM
            rows["code"][place] = "Z34.90" if patient in female and place % 2 else "Z59.00"
            rows["display"][place] = None
            rows["onset_date"][place] = rows["recorded_date"][place]
    table = pa.table(rows, schema=made["condition"].schema)
    return Records(tables={**made.tables, "condition": table}, schema=made.schema, provenance=made.provenance)


@pytest.fixture(scope="module")
def made(records: Records) -> Made:
    return written(records)


def key(reference: Any) -> str:
    return str(reference["reference"].partition("/")[2])


def code(one: Any) -> str:
    return str(one["code"]["coding"][0]["code"])


def answer(one: Any) -> Any:
    return one["valueCodeableConcept"]["coding"][0]["code"]


def test_chance_is_even_and_each_name_has_its_own() -> None:
    keys = pa.array([f"patient {number}" for number in range(20_000)])
    first, second = chances(keys, "patient", "a"), chances(keys, "patient", "b")
    assert ((first >= 0) & (first < 1)).all()
    assert np.histogram(first, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert (chances(keys[5000:], "patient", "a") == first[5000:]).all()
    assert len(chances(keys[:0], "patient", "a")) == 0
    assert choices(np.array([0.0, 0.49, 0.5, 0.99]), [("x", 1), ("y", 1)]).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("measure", "sex", "x", "y", "wanted"),
    [
        # From CDC's own table of percentiles beside the parameters.
        ("body_mass_index", "male", 24, 16.57502768, 50),
        ("body_mass_index", "male", 24, 19.33801062, 95),
        ("body_mass_index", "male", 24, 14.73731947, 5),
        ("head_circumference", "male", 0, 35.81366835, 50),
        ("head_circumference", "male", 0.5, 39.24988502, 90),
        ("weight_for_length", "male", 45, 2.514550, 75),
        ("body_mass_index", "male", 24, 1000.0, 99.9),
    ],
)
def test_percentiles_are_those_of_the_charts(measure: str, sex: str, x: float, y: float, wanted: float) -> None:
    (found,) = percentile(measure, sex, np.array([x]), np.array([y]))
    assert found == pytest.approx(wanted, abs=0.6)


def test_charts_end_where_they_end() -> None:
    months, indices = np.array([12.0, 24.0, 300.0, 60.0]), np.array([16.0, 16.0, 16.0, 0.0])
    found = percentile("body_mass_index", "female", months, indices)
    assert np.isnan(found).tolist() == [True, False, True, True]


def test_who_has_the_diagnosis_is_pregnant_and_nobody_else_near_it(made: Made, records: Records) -> None:
    diagnosed = {
        row["encounter_id"] for row in records["condition"].to_pylist() if (row["code"] or "").startswith("Z34")
    }
    visits = {row["encounter_id"]: row for row in records["encounter"].to_pylist()}
    status = [one for one in made["Observation"] if code(one) == "82810-3"]
    pregnant = {key(one["encounter"]) for one in status if answer(one) == "77386006"}
    assert pregnant == {visit for visit in diagnosed if visits[visit]["status"] == "finished"} != set()
    when = defaultdict(list)
    for visit in diagnosed:
        when[visits[visit]["patient_id"]].append(visits[visit]["start_datetime"])
    sexes = {row["patient_id"]: row["sex"] for row in records["patient"].to_pylist()}
    others = [visits[key(one["encounter"])] for one in status if answer(one) == "60001007"]
    assert others
    for visit in others:
        assert sexes[visit["patient_id"]] == "female"
        assert all(abs((visit["start_datetime"] - other).days) >= 299 for other in when[visit["patient_id"]])


def test_a_screening_says_what_the_record_says(made: Made, records: Records) -> None:
    homeless = defaultdict(list)
    for row in records["condition"].to_pylist():
        if (row["code"] or "").startswith("Z59.0"):
            homeless[row["patient_id"]].append(row["onset_date"])
    born = {row["patient_id"]: row["birth_date"] for row in records["patient"].to_pylist()}
    housing = [one for one in made["Observation"] if code(one) == "71802-3"]
    assert {answer(one) for one in housing} == {"LA30189-7", "LA30190-5"}
    for one in housing:
        then = one["effectiveDateTime"][:10]
        without = any(str(day) <= then for day in homeless[key(one["subject"])])
        assert (answer(one) == "LA30190-5") == without
    for one in (one for one in made["Observation"] if code(one) == "67875-5"):
        years = int(one["effectiveDateTime"][:4]) - born[key(one["subject"])].year
        assert answer(one) == "LA30137-6" or years <= 67
    # Every answer is in the form, and every member of a group is there.
    by_id = {one["id"]: one for one in made["Observation"]}
    forms = {one["id"]: orjson.dumps(one).decode() for one in made["QuestionnaireResponse"]}
    panels = [one for one in made["Observation"] if "hasMember" in one]
    assert {code(one) for one in panels} >= {"93025-5", "93041-2", "93042-0"}
    for panel in panels:
        for member in panel["hasMember"]:
            one = by_id[key(member)]
            assert one["subject"] == panel["subject"]
            if "valueCodeableConcept" in one:
                assert f'"{answer(one)}"' in forms[key(one["derivedFrom"][0])]


def test_a_screening_leaves_to_the_tables_what_they_say(records: Records, made: Made) -> None:
    """The latest answer until the visit counts, in the words of the form; other answers stay what they were."""
    form = {key(one["subject"]): one for one in made["Observation"] if code(one) == "67875-5"}
    patient, one = next(iter(form.items()))
    rows = records["observation"].slice(0, 3).to_pylist()
    visit = datetime.fromisoformat(one["effectiveDateTime"].removesuffix("Z")[:10])
    answers = (("Retired", -400), ("Student", 10), ("Part-time or temporary work", -20))
    for row, (text, days) in zip(rows, answers, strict=True):
        row |= {name: None for name in row if name.startswith("value_")}
        row |= {
            "observation_id": f"0000000{len(text) % 10}-0000-8000-8000-00000000{len(text):04d}",
            "encounter_id": None,
        }
        row |= {"patient_id": patient, "category": "social-history", "code_system": "http://loinc.org"}
        row |= {"code": "67875-5", "display": None, "value_text": text, "absent_reason_code": None}
        row |= {"effective_datetime": visit + timedelta(days=days), "panel_id": None}
    told = pa.concat_tables([records["observation"], pa.Table.from_pylist(rows, schema=records["observation"].schema)])
    tables = {**records.tables, "observation": told.unify_dictionaries()}
    again = written(Records(tables=tables, schema=records.schema, provenance=records.provenance))
    asked = [x for x in again["Observation"] if code(x) == "67875-5" and "derivedFrom" in x]
    new = {key(x["subject"]): answer(x) for x in asked}
    assert new[patient] == "LA30138-4"
    assert {who: said for who, said in new.items() if who != patient} == {
        who: answer(x) for who, x in form.items() if who != patient
    }


def test_nothing_is_made_up_about_real_patients(records: Records) -> None:
    real = Records(
        tables=records.tables, schema=records.schema, provenance=replace(records.provenance, synthetic=False)
    )
    found = written(real)
    told = {code(one) for one in found["Observation"] if "/derived_" in str(one.get("identifier"))}
    # A pregnancy is in the record, and a percentile is computed from it.
    assert told <= {"82810-3", "59576-9", "8289-1", "77606-2"}
    assert "60001007" not in {answer(one) for one in found["Observation"] if code(one) == "82810-3"}
    patients = str(found["Patient"])
    assert "genderIdentity" not in patients
    assert "'old'" not in patients
    assert "'mobile'" not in patients
    assert not found["Endpoint"]
    assert not any("class" in one for one in found["Coverage"])


def test_what_is_derived_is_the_same_again(records: Records, made: Made) -> None:
    assert written(records) == made
    order = np.random.default_rng(1).permutation(records["patient"].num_rows)
    shuffled = {**records.tables, "patient": records["patient"].take(pa.array(order))}
    again = written(Records(tables=shuffled, schema=records.schema, provenance=records.provenance))
    for kind in ("Patient", "Observation", "QuestionnaireResponse"):
        assert {one["id"]: one for one in again[kind]} == {one["id"]: one for one in made[kind]}


def test_an_earlier_name_and_address_end_within_life(made: Made, records: Records) -> None:
    rows = {row["patient_id"]: row for row in records["patient"].to_pylist()}
    moved = 0
    for one in made["Patient"]:
        old = [place for place in one.get("address", ()) if place.get("use") == "old"]
        moved += len(old)
        for ended in [*old, *(name for name in one["name"] if "period" in name)]:
            end = ended["period"]["end"]
            assert one["birthDate"] < end <= str(rows[one["id"]]["record_end_date"] or end)
            assert end <= one.get("deceasedDateTime", end)
        if old:
            assert old[0]["line"] != one["address"][0]["line"]
            assert old[0]["period"]["end"] == one["address"][0]["period"]["start"]
    assert 0 < moved < len(made["Patient"])


def test_what_one_visit_holds_agrees(made: Made) -> None:
    """Medications, procedures, orders and plans have their reason among the same patient's conditions."""
    conditions = {one["id"]: one for one in made["Condition"]}
    reasons = defaultdict(int)
    for kind in ("MedicationRequest", "Procedure", "ServiceRequest", "CarePlan", "Goal"):
        for one in made[kind]:
            for reference in [*one.get("reasonReference", ()), *one.get("addresses", ())]:
                reasons[kind] += 1
                assert conditions[key(reference)]["subject"] == one["subject"]
    assert reasons["ServiceRequest"] > 0
    assert reasons["CarePlan"] > 0
    here = defaultdict(set)
    for one in made["Condition"]:
        if "encounter" in one:
            here[key(one["encounter"])].add(one["id"])
    results = {one["id"]: one for one in made["Observation"]}
    for report in made["DiagnosticReport"]:
        for result in report.get("result", ()):
            assert results[key(result)]["subject"] == report["subject"]
            assert results[key(result)]["encounter"] == report["encounter"]
    for order in made["ServiceRequest"]:
        if order.get("category") and "reasonReference" in order:
            assert here[key(order["encounter"])] == {key(order["reasonReference"][0])}


@pytest.mark.parametrize(
    ("system", "number", "display", "kind"),
    [
        (PCS, "BW03ZZZ", "Plain Radiography of Chest", "radiology"),
        (
            "http://www.cms.gov/Medicare/Coding/ICD10",
            "4A02X4Z",
            "Measurement of Cardiac Electrical Activity",
            "cardiology",
        ),
        (PCS, "0DTJ4ZZ", "Resection of Appendix", None),
        ("http://snomed.info/sct", "40701008", "Echocardiography", "cardiology"),
        ("http://snomed.info/sct", "122548005", "Biopsy of breast", "pathology"),
        ("http://www.ama-assn.org/go/cpt", "71046", None, "radiology"),
        (None, None, None, None),
    ],
)
def test_studies_are_known_by_code_or_name(
    system: str | None, number: str | None, display: str | None, kind: str | None
) -> None:
    assert study_kind(system, number, display) == kind
