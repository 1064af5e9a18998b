"""FHIR Observations and laboratory reports as rows: a row a value, the components of a panel each their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.readers.fhir_elements import (
    Found,
    Refused,
    coded,
    dicts,
    first,
    identifier_of,
    node,
    number,
    quantity,
    string,
)
from ehrsynth.readers.fhir_people import Row
from ehrsynth.terminology import LOINC

__all__ = ["diagnostic_report", "observation"]

CAUSE_OF_DEATH = "69453-9"
PANEL = "https://ehrsynth.example/panel"
"""Our exporter keeps the key of a panel under this system; other panels are known by the resource's id."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_CATEGORIES = (
    "laboratory",
    "vital-signs",
    "social-history",
    "survey",
    "exam",
    "procedure",
    "imaging",
    "therapy",
    "activity",
)


@lru_cache(maxsize=1)
def _vital_signs() -> frozenset[str]:
    facts = resources.read_json("output_schemas/fhir_r4/mapping/observation_profiles.json")
    pressure = (facts["blood_pressure"][part]["code"] for part in ("panel", "systolic", "diastolic"))
    return frozenset((*facts["vital_signs"], *pressure))


def observation(found: Found) -> Iterator[Row]:
    """An Observation: one row, or one per component; the cause of a death goes to the patient."""
    body = found.body
    code = coded("", body.get("code"), lead="code")
    patient = found.patient("subject")
    if code.get("code") == CAUSE_OF_DEATH and code["code_system"] == LOINC:
        cause = coded("cause_of_death", body.get("valueCodeableConcept"))
        if cause:
            yield "cause", {"patient_id": patient, **cause}
            return
    period = node(body.get("effectivePeriod"))
    effective = body.get("effectiveDateTime") or body.get("effectiveInstant") or period.get("start")
    (when,), precision = found.times(effective, element="effective[x]")
    common = {
        "patient_id": patient,
        "encounter_id": found.link(body.get("encounter"), "Encounter"),
        "category": _category(found, code),
        "status": found.need("status"),
        "effective_datetime": when,
        "time_precision": precision,
        "practitioner_id": found.practitioner(dicts(body.get("performer"))),
    }
    panel = identifier_of(body, system=PANEL)
    members = [key for one in dicts(body.get("hasMember")) if (key := found.link(one, "Observation"))]
    for member in members:
        yield "panel", {"observation_id": member, "panel_id": panel or found.key, "patient_id": patient}
    value = _value(found, body)
    rows = list(_components(found))
    if not code and not rows:
        raise Refused("its code is no code of a code system", element="code")
    own = bool(code) and (bool(value.get("_there")) or not (rows or members))
    if own:
        keys = {"observation_id": found.key, "panel_id": (panel or found.key) if rows or members else panel}
        yield "observation", {**keys, **common, **code, **value}
    # A panel of one is none.
    together = panel or (found.key if len(rows) > 1 or own else None)
    for name, row in rows:
        yield "observation", {"observation_id": name, "panel_id": together, **common, **row}


def _category(found: Found, code: dict[str, Any]) -> str:
    codes = [
        string(coding.get("code"))
        for category in dicts(found.body.get("category"))
        for coding in dicts(category.get("coding"))
    ]
    for one in codes:
        if one in _CATEGORIES:
            return one
    vital = code.get("code_system") == LOINC and code.get("code") in _vital_signs()
    guess = "vital-signs" if vital else "exam"
    found.adjust(f"no category of the table's: taken for {guess}", "category")
    return guess


def _components(found: Found) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of the components. What only fills the place of the other half of a panel is none."""
    # Our exporter derives what oxygen was inhaled: no row is behind it.
    components = [
        one for one in dicts(found.body.get("component")) if not str(one.get("id", "")).startswith("derived-")
    ]
    named = any(_UUID(str(component.get("id", ""))) for component in components)
    taken: set[str] = set()
    for component in components:
        code = coded("", component.get("code"), lead="code")
        if not code:
            found.adjust("a component without a code: left out", "component.code")
            continue
        ident = str(component.get("id", ""))
        value = _value(found, component)
        if named and not _UUID(ident) and not value.get("_there"):
            continue
        key = ident if _UUID(ident) else f"{found.key}.{code['code']}"
        while key in taken:
            key += "x"
        taken.add(key)
        yield key, {**code, **value}


def _value(found: Found, body: dict[str, Any]) -> dict[str, Any]:
    """The columns of a value, its reference range and interpretation; ``_there`` if there is a value."""
    row: dict[str, Any] = {}
    if "valueQuantity" in body:
        row = quantity(body["valueQuantity"])
    elif "valueCodeableConcept" in body:
        concept = body["valueCodeableConcept"]
        row = coded("value", concept) or _text(
            string(node(concept).get("text")) or string(first(node(concept).get("coding")).get("display"))
        )
    elif "valueInteger" in body:
        row = {"value_number": number(body["valueInteger"])}
    elif "valueBoolean" in body:
        row = _text(str(body["valueBoolean"]).lower())
    else:
        for name in ("valueString", "valueDateTime", "valueTime"):
            if name in body:
                row = _text(string(body[name]))
        for name, make in (("valueRange", _range), ("valueRatio", _ratio)):
            if name in body:
                row = _text(make(node(body[name])))
        for name in ("valuePeriod", "valueSampledData"):
            if name in body:
                found.adjust("a value of a kind the table has no column for: left out", name)
    row = {name: value for name, value in row.items() if value is not None}
    there = bool(row)
    span = first(body.get("referenceRange"))
    low, high = quantity(span.get("low")), quantity(span.get("high"))
    unit = row.get("value_unit") or low.get("value_unit") or high.get("value_unit")
    reason = None if there else string(first(node(body.get("dataAbsentReason")).get("coding")).get("code"))
    return {
        **row,
        "value_unit": unit,
        "reference_low": low.get("value_number"),
        "reference_high": high.get("value_number"),
        "interpretation_code": string(first(first(body.get("interpretation")).get("coding")).get("code")),
        "absent_reason_code": reason,
        "_there": there,
    }


def _text(text: str | None) -> dict[str, Any]:
    return {"value_text": text} if text else {}


def _range(value: dict[str, Any]) -> str | None:
    ends = [_shown(node(value.get(name))) for name in ("low", "high")]
    return " - ".join(end or "" for end in ends).strip() if any(ends) else None


def _ratio(value: dict[str, Any]) -> str | None:
    ends = [_shown(node(value.get(name))) for name in ("numerator", "denominator")]
    return ":".join(end for end in ends if end) if all(ends) else None


def _shown(value: dict[str, Any]) -> str | None:
    amount = value.get("value")
    return None if amount is None else " ".join(str(part) for part in (amount, value.get("unit")) if part is not None)


def diagnostic_report(found: Found) -> Iterator[Row]:
    """A DiagnosticReport: which observations belong together. It has no row of its own."""
    panel = identifier_of(found.body, system=PANEL) or found.key
    patient = found.link(found.body.get("subject"), "Patient")
    for result in dicts(found.body.get("result")):
        key = found.link(result, "Observation")
        if key is not None:
            yield "panel", {"observation_id": key, "panel_id": panel, "patient_id": patient}
