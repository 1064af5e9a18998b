"""Resources of FHIR taken one by one: each becomes rows, or is set aside for a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.readers import fhir_events, fhir_observation, fhir_people
from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_columns import Collected
from ehrsynth.readers.fhir_elements import Found, Refused, dicts
from ehrsynth.readers.fhir_people import Row
from ehrsynth.readers.fhir_references import Identifiers, key_of
from ehrsynth.readers.fhir_source import Item

__all__ = ["DERIVED", "Reading"]

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

_MEANT = _IDENTIFIED | {"Coverage", "Encounter", "Condition"}
"""Types that tables refer to: only of these it matters later which were set aside."""

DERIVED = "derived from what the other resources say"

_DERIVED = frozenset(("Observation", "DiagnosticReport", "Immunization"))
_DERIVED_SYSTEM = "https://ehrsynth.example/derived_"
"""Our exporter names so what it derives from the records beside rows of the same type: reports whose results no panel
holds together, percentiles, screenings... Read again it would be there twice."""


@lru_cache(maxsize=1)
def _known_types() -> frozenset[str]:
    types = resources.read_json("output_schemas/fhir_r4/us_core_6.1.0/base.json")["types"]
    return frozenset(name for name, item in types.items() if item["kind"] == "resource" and not item.get("abstract"))


class Reading:
    """Takes resources one by one.

    Parameters
    ----------
    account : FhirAccount
    collected : Collected
        Where their rows go.
    identifiers : Identifiers
    """

    def __init__(self, account: FhirAccount, collected: Collected, identifiers: Identifiers) -> None:
        self.account, self.collected, self.identifiers = account, collected, identifiers
        self.gone: dict[str, list[str]] = {}
        self.count = self.labelled = 0

    @property
    def synthetic(self) -> bool:
        """Whether all resources say that they are test data."""
        return 0 < self.labelled == self.count

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
            if kind in _MEANT:
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
