"""Compiled writers against naive ones: a dict a row, built by plain Python without any of the templates' code."""

from __future__ import annotations

import math
import uuid
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth import terminology
from ehrsynth.exporters.fhir.resource import Resource, Source, literal_links
from ehrsynth.exporters.fhir.resources.observation import OBSERVATION
from ehrsynth.exporters.fhir.resources.patient import PATIENT
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import clinical

UUIDS = tuple(f"{digit * 8}-1111-4111-8111-{digit * 12}" for digit in "123456")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
THO = "http://terminology.hl7.org/CodeSystem/"
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
UCUM = "http://unitsofmeasure.org"


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def tidy(text: str | None) -> str | None:
    if text is None:
        return None
    return "".join(c for c in text if c >= " " or c in "\t\n\r").strip() or None


def code_of(text: str | None) -> str | None:
    cleaned = tidy(text)
    return " ".join(cleaned.split()) or None if cleaned else None


def without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None} or None
    if isinstance(value, list):
        return [inner for inner in map(without_nothing, value) if inner is not None] or None
    return value


def naive_concept(system: str | None, code: str | None, display: str | None = None) -> Any:
    system, code, shown = code_of(system), code_of(code), tidy(display)
    if code is None:
        return None
    shown = shown or (terminology.display(system, code) if system else None)
    return {"coding": [{"system": system, "code": code, "display": shown}], "text": shown}


def naive_quantity(value: float | None, unit: str | None, comparator: str | None = None) -> Any:
    if value is None or not math.isfinite(value):
        return None
    unit = code_of(unit)
    system = UCUM if unit else None
    return {"value": value, "comparator": comparator, "unit": unit, "system": system, "code": unit}


def when(moment: datetime | None, precision: str | None) -> str | None:
    if moment is None:
        return None
    return moment.date().isoformat() if precision == "day" else moment.isoformat() + "Z"


def link(kind: str, key: str | None) -> Any:
    return None if key is None else {"reference": f"{kind}/{key}"}


def normal(value: Any) -> Any:
    """1.0 and 1 are the same number in JSON."""
    if isinstance(value, dict):
        return {key: normal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def compare(resource: Resource, table: str, rows: list[dict[str, Any]], expected: list[Any]) -> None:
    # As of real patients: of synthetic ones more is derived than the row says.
    made = {table: pa.Table.from_pylist(rows, schema=clinical()[table].arrow)}
    records = Records.from_tables(made, provenance=Provenance(source="test", synthetic=False))
    source = Source(block=records, shared=records, links=literal_links)
    texts = [text for one in resource.write(source, lambda *_: ((), ())) for text in one.texts.to_pylist()]
    assert len(texts) == len(rows)
    for text, naive in zip(texts, expected, strict=True):
        found = orjson.loads(text)
        assert normal(found) == normal(naive)
        # The same order of elements, and nothing written but what orjson would write.
        assert [*found] == [*naive]
        if not any(isinstance(inner, float) for inner in leaves(naive)):
            assert text == orjson.dumps(naive)


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for one in inner for leaf in leaves(one)]


OBSERVATIONS = st.fixed_dictionaries(
    {
        "observation_id": st.sampled_from(UUIDS),
        "patient_id": st.sampled_from(UUIDS),
        "encounter_id": maybe(st.sampled_from(UUIDS)),
        "category": st.sampled_from(["laboratory", "vital-signs", "social-history", "survey", "exam"]),
        "status": st.sampled_from(["final", "amended"]),
        "code_system": st.sampled_from(["http://loinc.org", "urn:oid:1.2.3"]),
        "code": st.sampled_from(["2345-7", "8867-4", "29463-7", "72166-2"]),
        "display": maybe(TEXT),
        "effective_datetime": maybe(
            st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda t: t.replace(microsecond=0))
        ),
        "time_precision": maybe(st.sampled_from(["day", "minute", "second"])),
        "value_number": maybe(st.floats() | st.integers(-100, 100).map(float)),
        "value_comparator": maybe(st.sampled_from(["<", ">="])),
        "value_unit": maybe(st.sampled_from(["/min", "kg", "mg/dL"])),
        "value_system": st.just("http://snomed.info/sct"),
        "value_code": maybe(st.sampled_from(["266919005", "371244009"])),
        "value_display": maybe(TEXT),
        "value_text": maybe(TEXT),
        "reference_low": maybe(st.floats(-10, 10)),
        "reference_high": maybe(st.floats(10, 20)),
        "interpretation_code": maybe(st.sampled_from(["H", "L"])),
        "absent_reason_code": maybe(st.sampled_from(["error", "unknown"])),
        "practitioner_id": maybe(st.sampled_from(UUIDS)),
    }
)
VITALS = {"8867-4": ("us-core-heart-rate", ("/min",)), "29463-7": ("us-core-body-weight", ("g", "kg", "[lb_av]"))}
BY_CATEGORY = {
    "laboratory": "us-core-observation-lab",
    "vital-signs": "us-core-simple-observation",
    "social-history": "us-core-simple-observation",
    "survey": "us-core-observation-screening-assessment",
    "exam": "us-core-observation-clinical-result",
}


def naive_response(row: dict[str, Any], rows: list[dict[str, Any]]) -> Any:
    """The link from an answer in a survey to the response with all that was answered together."""

    def answers(one: dict[str, Any]) -> bool:
        number = one["value_number"] is not None and math.isfinite(one["value_number"])
        known = number or one["value_code"] is not None or tidy(one["value_text"]) is not None
        return known and one["category"] == "survey" and one["effective_datetime"] is not None

    if not answers(row):
        return None
    together = [
        one["observation_id"]
        for one in rows
        if answers(one) and all(one[name] == row[name] for name in ("patient_id", "encounter_id", "effective_datetime"))
    ]
    # The digits of the least key but version and variant, turned by those of the name of what is derived.
    name = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "https://ehrsynth.example"), "questionnaire_response")
    turned = (
        digit if at in (14, 19) or digit == "-" else f"{int(digit, 16) ^ int(other, 16):x}"
        for at, (digit, other) in enumerate(zip(min(together), str(name), strict=True))
    )
    return [link("QuestionnaireResponse", "".join(turned))]


def naive_observation(row: dict[str, Any], rows: list[dict[str, Any]]) -> Any:
    number = naive_quantity(row["value_number"], row["value_unit"], row["value_comparator"])
    coded = naive_concept(row["value_system"], row["value_code"], row["value_display"]) if number is None else None
    text = tidy(row["value_text"]) if number is None and coded is None else None
    reason = None
    if number is None and coded is None and text is None:
        wanted = row["category"] in ("laboratory", "vital-signs")
        reason = naive_concept(THO + "data-absent-reason", row["absent_reason_code"] or ("unknown" if wanted else None))
    profile = None
    if row["code_system"] == "http://loinc.org":
        profile = BY_CATEGORY[row["category"]]
        if row["category"] == "vital-signs" and row["code"] in VITALS:
            name, units = VITALS[row["code"]]
            profile = name if number is None or row["value_unit"] in units else None
        timed = row["effective_datetime"] is not None
        if row["category"] == "social-history" and row["code"] == "72166-2" and coded and timed:
            profile = "us-core-smokingstatus"
    untimed = row["effective_datetime"] is None and row["category"] == "vital-signs"
    return without_nothing(
        {
            "resourceType": "Observation",
            "id": row["observation_id"],
            "meta": {"profile": [CORE + profile] if profile else None},
            "status": row["status"],
            "category": [naive_concept(THO + "observation-category", row["category"])],
            "code": naive_concept(row["code_system"], row["code"], row["display"]),
            "subject": link("Patient", row["patient_id"]),
            "encounter": link("Encounter", row["encounter_id"]),
            "effectiveDateTime": when(row["effective_datetime"], row["time_precision"]),
            "_effectiveDateTime": ABSENT if untimed else None,
            "performer": [link("Practitioner", row["practitioner_id"])],
            "valueQuantity": number,
            "valueCodeableConcept": coded,
            "valueString": text,
            "dataAbsentReason": reason,
            "interpretation": [naive_concept(THO + "v3-ObservationInterpretation", row["interpretation_code"])],
            "referenceRange": [
                {
                    "low": naive_quantity(row["reference_low"], row["value_unit"]),
                    "high": naive_quantity(row["reference_high"], row["value_unit"]),
                }
            ],
            "derivedFrom": naive_response(row, rows),
        }
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(OBSERVATIONS, min_size=1, max_size=12))
def test_observations_are_what_a_naive_writer_makes(rows: list[dict[str, Any]]) -> None:
    # What an observation was ordered and made of is derived from its neighbours: test_exporters_derived.py.
    own = {name: value for name, value in OBSERVATION.elements.items() if name not in ("basedOn", "specimen")}
    compare(replace(OBSERVATION, elements=own), "observation", rows, [naive_observation(row, rows) for row in rows])


PATIENTS = st.fixed_dictionaries(
    {
        "patient_id": st.sampled_from(UUIDS),
        "birth_date": st.dates(date(1900, 1, 1), date(2024, 1, 1)),
        "birth_date_precision": maybe(st.sampled_from(["year", "month", "day"])),
        "sex": st.sampled_from(["male", "female", "other", "unknown"]),
        "death_datetime": maybe(st.just(datetime(2024, 5, 6, 7, 8, 9))),
        "death_precision": maybe(st.sampled_from(["day", "second"])),
        **{
            name: maybe(TEXT)
            for name in (
                "name_prefix",
                "given_name",
                "middle_name",
                "family_name",
                "maiden_name",
                "address_line",
                "city",
            )
        },
        "phone": maybe(st.just("555-0100")),
        "email": maybe(TEXT),
        "medical_record_number": maybe(TEXT),
        "marital_status_code": maybe(st.sampled_from(["M", "UNK"])),
        "organization_id": maybe(st.sampled_from(UUIDS)),
        "practitioner_id": maybe(st.sampled_from(UUIDS)),
    }
)


def naive_patient(row: dict[str, Any]) -> Any:
    text = {name: tidy(value) for name, value in row.items() if isinstance(value, str)}

    def of(name: str) -> str | None:
        return text.get(name)

    name: Any = {
        "family": of("family_name"),
        "given": [of("given_name"), of("middle_name")],
        "prefix": [of("name_prefix")],
    }
    known = any(of(part) for part in ("family_name", "given_name", "middle_name"))
    maiden = {"use": "maiden", "family": of("maiden_name"), "given": [of("given_name")]} if of("maiden_name") else None
    number = of("medical_record_number")
    mrn = {"type": naive_concept(THO + "v2-0203", "MR"), "system": "https://ehrsynth.example/medical_record_number"}
    marital = row["marital_status_code"]
    address = {"line": [of("address_line")], "city": of("city")}
    length = {"year": 4, "month": 7}.get(row["birth_date_precision"], 10)
    return without_nothing(
        {
            "resourceType": "Patient",
            "id": row["patient_id"],
            "meta": {"profile": [CORE + "us-core-patient"]},
            "identifier": [
                {"system": "https://ehrsynth.example/patient", "value": row["patient_id"]},
                mrn | {"value": number} if number else None,
            ],
            "name": [{"use": "official", **name} if known else ABSENT, maiden],
            "telecom": [
                {"system": kind, "value": of(column), "use": "home"} if of(column) else None
                for kind, column in (("phone", "phone"), ("email", "email"))
            ],
            "gender": row["sex"],
            "birthDate": row["birth_date"].isoformat()[:length],
            "deceasedDateTime": when(row["death_datetime"], row["death_precision"]),
            "address": [{"use": "home", **address}] if any(map(of, ("address_line", "city"))) else None,
            "maritalStatus": naive_concept(
                THO + ("v3-NullFlavor" if marital == "UNK" else "v3-MaritalStatus"), marital
            ),
            "generalPractitioner": [link("Practitioner", row["practitioner_id"])],
            "managingOrganization": link("Organization", row["organization_id"]),
        }
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(PATIENTS, min_size=1, max_size=12))
def test_patients_are_what_a_naive_writer_makes(rows: list[dict[str, Any]]) -> None:
    compare(PATIENT, "patient", rows, [naive_patient(row) for row in rows])
