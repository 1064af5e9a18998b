"""FHIR R4 as records: bulk NDJSON and Bundles, our own, a server's $export, Synthea's, anyone's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from ehrsynth import resources
from ehrsynth.provenance import Provenance
from ehrsynth.readers import assembly, fhir_events, fhir_observation, fhir_people
from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_assembly import Assembly
from ehrsynth.readers.fhir_columns import Collected
from ehrsynth.readers.fhir_elements import Found, Refused, dicts
from ehrsynth.readers.fhir_people import Row
from ehrsynth.readers.fhir_references import Identifiers, key_of
from ehrsynth.readers.fhir_source import Item, is_fhir_file, read_items
from ehrsynth.readers.report import ReadReport
from ehrsynth.readers.source import list_tables
from ehrsynth.records import Records

__all__ = ["FhirReader"]

_TAKEN: dict[str, Callable[[Found], Iterator[Row]]] = {
    "Organization": fhir_people.organization,
    "Practitioner": fhir_people.practitioner,
    "PractitionerRole": fhir_people.practitioner_role,
    "Location": fhir_people.location,
    "Patient": fhir_people.patient,
    "Coverage": fhir_people.coverage,
    "Encounter": fhir_events.encounter,
    "Condition": fhir_events.condition,
    "Observation": fhir_observation.observation,
    "DiagnosticReport": fhir_observation.diagnostic_report,
    "Medication": fhir_events.medication,
    "MedicationRequest": fhir_events.medication_request,
    "Procedure": fhir_events.procedure,
    "Immunization": fhir_events.immunization,
    "AllergyIntolerance": fhir_events.allergy_intolerance,
    "Device": fhir_events.device,
}

_IDENTIFIED = frozenset(("Organization", "Practitioner", "PractitionerRole", "Location", "Patient", "Medication"))
"""Types that conditional and logical references are looked up among: few, or one a patient."""


DERIVED = "derived from what the other resources say"

_DERIVED = frozenset(("Observation", "DiagnosticReport", "Immunization"))
_DERIVED_SYSTEM = "https://ehrsynth.example/derived_"
"""Our exporter names so what it derives from the records beside rows of the same type: reports whose results no panel
holds together, percentiles, screenings... Read again it would be there twice."""


class FhirReader:
    """Reads FHIR R4: NDJSON and Bundles (transaction, batch, collection, searchset), a file or a folder, also ``.gz``.

    Choices made:

    - A row's key is the id of its resource, of one that is yet to be created (POST) the last part of its full URL.
    - References may be literal, absolute, ``urn:uuid:`` within their Bundle, ``#contained``, conditional
      (``Practitioner?identifier=system|value``) or logical (an identifier alone). The last two are looked up among the
      organizations, practitioners, roles, locations, patients and medications of the whole source. A role stands for
      its practitioner.
    - Of several codings see `fhir_elements.PREFERRED`: ICD-10-CM, LOINC, RxNorm, CVX, SNOMED CT, ICD-9-CM... A resource
      whose code is of no code system is set aside.
    - Times become UTC; how exact they are stays in the precision columns. A date without a column for it that is exact
      to the year or month is taken for its first day, and counted.
    - Components of an Observation (blood pressure) are rows that share a ``panel_id``; so do the results of one
      DiagnosticReport. The Observation LOINC 69453-9 is the patient's cause of death.
    - An Organization that a Coverage names as payor, or of type payer or insurer, is a payer.
    - A Medication that an order refers to gives it its code. ``encounter.sequence`` is counted by start.
    - A resource that comes again (what patients share, in the Bundle of each) counts once; a patient's own is an error.
    - References to types of which the source has nothing at all are left out; other references to nowhere are errors.
      Leniently, rows without their patient or encounter are set aside, other such references left out.
    - The records are synthetic if every resource carries the security label HTEST.

    What our exporter derived beside the rows (identifiers of systems ``derived_...``) and what no table is for (Claim,
    CarePlan...) is set aside and counted by type. Files are read line by line and Bundles of more than 64 MiB entry by
    entry: what grows are the columns.
    """

    name = "fhir"

    def recognises(self, source: Path) -> bool:
        """Whether it is a file with FHIR's endings, or a folder of such without tables beside them."""
        if source.is_file():
            return is_fhir_file(source)
        if not source.is_dir() or list_tables(source):
            return False
        return any(is_fhir_file(path) for path in source.iterdir() if path.is_file())

    def read(self, source: Path, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a file or folder of FHIR.

        Raises
        ------
        SourceError
            See `Reader.read`: invalid JSON, a gzip file that is cut off, no id, an unknown resourceType, a reference to
            nowhere, a value that is none of its code system...; with file and line (or entry).
        """
        source = Path(source)
        account = FhirAccount(source, strict=strict)
        reading = _Reading(account)
        for item in read_items(source, account, reading.identifiers):
            reading.take(item)
        tables = Assembly(reading.collected, reading.identifiers, reading.gone, account).tables()
        synthetic = 0 < reading.labelled == reading.count
        provenance = Provenance(
            source=f"FHIR in {source.name}",
            source_format=self.name,
            synthetic=synthetic,
            time_basis=assembly.time_basis(tables),
            details=_manifest(source),
        )
        return Records.from_tables(tables, provenance=provenance), account.close()


@lru_cache(maxsize=1)
def _known_types() -> frozenset[str]:
    types = resources.read_json("output_schemas/fhir_r4/us_core_6.1.0/base.json")["types"]
    return frozenset(name for name, item in types.items() if item["kind"] == "resource" and not item.get("abstract"))


class _Reading:
    """Takes resources one by one."""

    def __init__(self, account: FhirAccount) -> None:
        self.account = account
        self.collected = Collected()
        self.identifiers = Identifiers()
        self.gone: dict[str, list[str]] = {}
        self.count = self.labelled = 0

    def take(self, item: Item) -> None:
        """Turn a resource into rows, or count why not."""
        account, body = self.account, item.resource
        kind = body.get("resourceType")
        if type(kind) is not str or kind not in _known_types():
            shown = kind if type(kind) is str else "none"
            account.read(shown)
            account.refuse(
                shown,
                item.file,
                item.number,
                problem=f"{kind!r} is no resource type of FHIR R4." if kind else "There is no resourceType.",
                reason="unknown resourceType" if kind else "no resourceType",
                element="resourceType",
            )
            return
        account.read(kind)
        self.count += 1
        self.labelled += _is_test_data(body)
        url = item.entry.get("fullUrl")
        key = key_of(body, url)
        if key is None:
            account.refuse(kind, item.file, item.number, problem=f"The {kind} has no id.", reason="no id", element="id")
            return
        if item.scope is not None and type(url) is str and item.scope.already.get(url, key) != key:
            account.set_aside(kind, item.file, item.number, reason="there already, by its identifier")
            return
        self._rows(Found(kind, key, body, item.file, item.number, item.scope, account))

    def _rows(self, found: Found) -> None:
        kind = found.kind
        if kind in _DERIVED and _is_derived(found.body):
            found.account.set_aside(kind, found.file, found.number, reason=DERIVED)
            return
        make = _TAKEN.get(kind)
        if make is None:
            found.account.set_aside(kind, found.file, found.number, reason="no table is for this resource type")
            return
        if "contained" in found.body:
            for body, key in list(found.contained_ones()):
                inner = str(body["resourceType"])
                found.account.read(inner)
                self._rows(
                    Found(inner, key, body, found.file, found.number, found.scope, found.account, found.contained)
                )
        if kind in _IDENTIFIED:
            self.identifiers.add(kind, found.key, found.body.get("identifier"))
        try:
            rows = list(make(found))
        except Refused as refused:
            where = (kind, found.file, found.number)
            if refused.wrong:
                found.account.refuse(*where, problem=refused.problem, reason=refused.reason, element=refused.element)
            else:
                found.account.set_aside(*where, reason=refused.reason, element=refused.element)
            self.gone.setdefault(kind, []).append(found.key)
            return
        for table, row in rows:
            self.collected.add(table, row, found.file, found.number)


def _is_derived(body: dict[str, Any]) -> bool:
    return any(str(one.get("system", "")).startswith(_DERIVED_SYSTEM) for one in dicts(body.get("identifier")))


def _is_test_data(body: dict[str, Any]) -> bool:
    meta = body.get("meta")
    labels = meta.get("security") if type(meta) is dict else None
    return type(labels) is list and any(type(label) is dict and label.get("code") == "HTEST" for label in labels)


def _manifest(source: Path) -> dict[str, Any]:
    """As of when the data are, as the manifest of a bulk export says."""
    try:
        said = orjson.loads((source / "manifest.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    instant = said.get("transactionTime") if type(said) is dict else None
    if type(instant) is not str:
        return {}
    return {"reference_date": instant.removesuffix("T00:00:00Z")}
