"""Synthea's CSV tables written as Synthea's FHIR exporter does: its bundles, references, identifiers and zones."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

__all__ = ["tables", "write"]

SYNTHEA = "https://github.com/synthetichealth/synthea"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
RXNORM, CVX = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://hl7.org/fhir/sid/cvx"
BOSTON = timezone(timedelta(hours=-5))
CLASSES = {"emergency": "EMER", "inpatient": "IMP", "home": "HH", "virtual": "VR"}

Row = dict[str, str]


def tables(folder: Path) -> dict[str, list[Row]]:
    """Read the CSV tables."""
    found = {}
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
            found[path.name.removesuffix(".csv.gz")] = list(csv.DictReader(handle))
    return found


def when(text: str) -> str:
    """A time as the exporter writes it: of where the patient lives."""
    return datetime.fromisoformat(text).astimezone(BOSTON).isoformat()


def concept(system: str, code: str, text: str) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": text}], "text": text}


def npi(row: Row) -> str:
    """The number that the exporter gives a provider: no NPI at all, but of that system."""
    return str(9999000000 + int(row["Id"][:4], 16))


def entry(resource: dict[str, Any], *, shared: bool = False) -> dict[str, Any]:
    """An entry of a Bundle."""
    request = {"method": "POST", "url": resource["resourceType"]}
    if shared:
        first = resource["identifier"][0]
        request["ifNoneExist"] = f"identifier={first['system']}|{first['value']}"
    return {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource, "request": request}


def bundle(path: Path, kind: str, entries: list[dict[str, Any]]) -> None:
    """Write a Bundle."""
    path.write_text(json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}, indent=2))


def write(source: Path, folder: Path) -> dict[str, list[Row]]:
    """Write the Bundles of the CSV tables in `source`; return the tables."""
    rows = tables(source)
    folder.mkdir()
    hospitals = []
    for row in rows["organizations"]:
        own = {"identifier": [{"system": SYNTHEA, "value": row["Id"]}], "name": row["NAME"]}
        place = {"line": [row["ADDRESS"]], "city": row["CITY"], "state": row["STATE"], "country": "US"}
        hospitals.append(
            entry({"resourceType": "Organization", "id": row["Id"], **own, "address": [place]}, shared=True)
        )
        logical = {"identifier": own["identifier"][0], "display": row["NAME"]}
        ident = f"{row['Id'][:-4]}10ca"
        site = {"resourceType": "Location", "id": ident, **own, "address": place, "managingOrganization": logical}
        site["identifier"] = [{"system": SYNTHEA, "value": ident}]
        hospitals.append(entry(site, shared=True))
    bundle(folder / "hospitalInformation1700000000000.json", "batch", hospitals)
    people = []
    for row in rows["providers"]:
        given, family = row["NAME"].split(" ", 1)
        who = {"system": "http://hl7.org/fhir/sid/us-npi", "value": npi(row)}
        name = {"family": family, "given": [given], "prefix": ["Dr."]}
        gender = "male" if row["GENDER"] == "M" else "female"
        doctor = {
            "resourceType": "Practitioner",
            "id": row["Id"],
            "identifier": [who],
            "name": [name],
            "gender": gender,
        }
        people.append(entry(doctor, shared=True))
        role = {
            "resourceType": "PractitionerRole",
            "id": f"{row['Id'][:-4]}401e",
            "practitioner": {"identifier": who, "display": row["NAME"]},
            "organization": {"identifier": {"system": SYNTHEA, "value": row["ORGANIZATION"]}},
            "code": [concept("http://nucc.org/provider-taxonomy", "208D00000X", "General Practice Physician")],
        }
        people.append(entry(role))
    bundle(folder / "practitionerInformation1700000000000.json", "batch", people)
    for row in rows["patients"]:
        entries = [entry(resource) for resource in _patient(row, rows)]
        bundle(folder / f"{row['FIRST']}_{row['LAST']}_{row['Id']}.json", "transaction", entries)
    return rows


def _race(name: str, code: str, text: str) -> dict[str, Any]:
    coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": code, "display": text}
    parts = [{"url": "ombCategory", "valueCoding": coding}, {"url": "text", "valueString": text}]
    return {"url": US_CORE + name, "extension": parts}


def _patient(row: Row, rows: dict[str, list[Row]]) -> list[dict[str, Any]]:
    ident = row["Id"]
    races = {"white": "2106-3", "black": "2054-5", "asian": "2028-9", "native": "1002-5", "hawaiian": "2076-8"}
    ethnic = (
        ("2135-2", "Hispanic or Latino") if row["ETHNICITY"] == "hispanic" else ("2186-5", "Non Hispanic or Latino")
    )
    numbers = "http://terminology.hl7.org/CodeSystem/v2-0203"
    person: dict[str, Any] = {
        "resourceType": "Patient",
        "id": ident,
        "extension": [
            _race("us-core-race", races.get(row["RACE"], "2131-1"), row["RACE"]),
            _race("us-core-ethnicity", *ethnic),
            {"url": "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName", "valueString": "Mama123"},
            {"url": US_CORE + "us-core-birthsex", "valueCode": row["GENDER"]},
            {"url": "http://synthetichealth.github.io/synthea/disability-adjusted-life-years", "valueDecimal": 0.1},
        ],
        "identifier": [
            {"system": SYNTHEA, "value": ident},
            {
                "type": concept(numbers, "MR", "Medical Record Number"),
                "system": "http://hospital.smarthealthit.org",
                "value": ident,
            },
            {
                "type": concept(numbers, "SS", "Social Security Number"),
                "system": "http://hl7.org/fhir/sid/us-ssn",
                "value": row["SSN"],
            },
        ],
        "name": [{"use": "official", "family": row["LAST"], "given": [row["FIRST"]]}],
        "gender": "male" if row["GENDER"] == "M" else "female",
        "birthDate": row["BIRTHDATE"],
        "address": [
            {"line": [row["ADDRESS"]], "city": row["CITY"], "state": "MA", "postalCode": row["ZIP"], "country": "US"}
        ],
        "communication": [{"language": concept("urn:ietf:bcp:47", "en-US", "English")}],
    }
    if row["DEATHDATE"]:
        person["deceasedDateTime"] = f"{row['DEATHDATE'][:10]}T13:00:00-05:00"
    made = [person]
    doctors = {provider["Id"]: provider for provider in rows["providers"]}
    me = {"reference": f"urn:uuid:{ident}"}

    def mine(table: str) -> list[tuple[str, Row, dict[str, Any]]]:
        found = []
        for number, item in enumerate(rows[table]):
            if item["PATIENT"] == ident:
                stay = {"encounter": {"reference": f"urn:uuid:{item['ENCOUNTER']}"}} if item.get("ENCOUNTER") else {}
                found.append((f"{ident[:-6]}{sorted(rows).index(table):02x}{number:04x}", item, stay))
        return found

    for _, item, _ in mine("encounters"):
        doctor = {
            "reference": f"Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|{npi(doctors[item['PROVIDER']])}"
        }
        house = {"reference": f"Organization?identifier={SYNTHEA}|{item['ORGANIZATION']}"}
        site = {"reference": f"Location?identifier={SYNTHEA}|{item['ORGANIZATION'][:-4]}10ca"}
        participation = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
        made.append(
            {
                "resourceType": "Encounter",
                "id": item["Id"],
                "status": "finished",
                "class": {"code": CLASSES.get(item["ENCOUNTERCLASS"], "AMB")},
                "type": [concept(SNOMED, item["CODE"], item["DESCRIPTION"])],
                "subject": me,
                "participant": [{"type": [concept(participation, "PPRF", "primary performer")], "individual": doctor}],
                "period": {"start": when(item["START"]), "end": when(item["STOP"])},
                "location": [{"location": site}],
                "serviceProvider": house,
            }
        )
        made.append({"resourceType": "Claim", "id": f"{item['Id'][:-4]}c1a1", "status": "active", "patient": me})
        cover = {"resourceType": "Coverage", "id": "coverage", "payor": [{"display": "Humana"}], "beneficiary": me}
        made.append({"resourceType": "ExplanationOfBenefit", "id": f"{item['Id'][:-4]}e0b0", "contained": [cover]})
    made += _events(mine, me)
    return made


def _events(mine: Any, me: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def add(kind: str, ident: str, stay: dict[str, Any], subject: str = "subject", **elements: Any) -> None:
        made.append({"resourceType": kind, "id": ident, subject: me, **stay, **elements})

    status = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    for ident, item, stay in mine("conditions"):
        ended = {"abatementDateTime": f"{item['STOP']}T12:00:00-05:00"} if item["STOP"] else {}
        category = concept(
            "http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis", "Diagnosis"
        )
        started = f"{item['START']}T12:00:00-05:00"
        clinical = {"coding": [{"system": status, "code": "resolved" if ended else "active"}]}
        add("Condition", ident, stay, clinicalStatus=clinical, category=[category], onsetDateTime=started,
            code=concept(SNOMED, item["CODE"], item["DESCRIPTION"]), recordedDate=started, **ended)  # fmt: skip
    for ident, item, stay in mine("medications"):
        drug = concept(RXNORM, item["CODE"], item["DESCRIPTION"])
        if int(ident[-1], 16) % 4 == 0:
            # What was given in a hospital refers to a Medication, which comes after it.
            what: dict[str, Any] = {"medicationReference": {"reference": f"urn:uuid:{ident[:-4]}feed"}}
            what["medicationReference"]["reference"] = f"urn:uuid:{'feed' + ident[4:]}"
        else:
            what = {"medicationCodeableConcept": drug}
        add("MedicationRequest", ident, stay, status="stopped" if item["STOP"] else "active", intent="order",
            authoredOn=when(item["START"]), **what)  # fmt: skip
        if "medicationReference" in what:
            made.append({"resourceType": "Medication", "id": "feed" + ident[4:], "code": drug})
    for ident, item, stay in mine("procedures"):
        add("Procedure", ident, stay, status="completed", code=concept(SNOMED, item["CODE"], item["DESCRIPTION"]),
            performedPeriod={"start": when(item["START"]), "end": when(item["STOP"])})  # fmt: skip
    for ident, item, stay in mine("immunizations"):
        add("Immunization", ident, stay, "patient", status="completed", occurrenceDateTime=when(item["DATE"]),
            vaccineCode=concept(CVX, item["CODE"], item["DESCRIPTION"]), primarySource=True)  # fmt: skip
    for ident, item, _ in mine("allergies"):
        substance = concept(SNOMED if "SNOMED" in item["SYSTEM"] else RXNORM, item["CODE"], item["DESCRIPTION"])
        add("AllergyIntolerance", ident, {}, "patient", type=item["TYPE"], category=[item["CATEGORY"]], code=substance)
    for ident, item, _ in mine("devices"):
        add("Device", ident, {}, "patient", status="active", type=concept(SNOMED, item["CODE"], item["DESCRIPTION"]),
            udiCarrier=[{"deviceIdentifier": "13465995954590", "carrierHRF": item["UDI"]}])  # fmt: skip
    together: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    reports: dict[str, list[str]] = defaultdict(list)
    for ident, item, stay in mine("observations"):
        code = concept(LOINC, item["CODE"], item["DESCRIPTION"])
        if item["TYPE"] == "numeric":
            units = {"unit": item["UNITS"], "system": "http://unitsofmeasure.org", "code": item["UNITS"]}
            value = {"valueQuantity": {"value": float(item["VALUE"]), **units}}
        else:
            value = {"valueString": item["VALUE"]}
        if item["CODE"] in ("8480-6", "8462-4"):
            together[(item["ENCOUNTER"], item["DATE"])].append({"code": code, **value})
            continue
        kinds = {"category": [concept(category, item["CATEGORY"], item["CATEGORY"])]} if item["CATEGORY"] else {}
        add(
            "Observation",
            ident,
            stay,
            status="final",
            code=code,
            effectiveDateTime=when(item["DATE"]),
            **kinds,
            **value,
        )
        if item["CATEGORY"] == "laboratory":
            reports[item["ENCOUNTER"]].append(ident)
    for number, ((visit, date), halves) in enumerate(together.items()):
        stay = {"encounter": {"reference": f"urn:uuid:{visit}"}}
        add("Observation", f"{visit[:-4]}b{number:03x}", stay, status="final", component=halves,
            code=concept(LOINC, "85354-9", "Blood pressure panel"), effectiveDateTime=when(date),
            category=[concept(category, "vital-signs", "vital-signs")])  # fmt: skip
    for visit, results in reports.items():
        stay = {"encounter": {"reference": f"urn:uuid:{visit}"}}
        add("DiagnosticReport", f"{visit[:-4]}d1a9", stay, status="final", code=concept(LOINC, "51990-0", "Panel"),
            result=[{"reference": f"urn:uuid:{ident}"} for ident in results])  # fmt: skip
    return made
