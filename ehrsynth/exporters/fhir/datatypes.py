"""FHIR's data types as templates: codings, quantities, identifiers, names, addresses, and what stands for absence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ehrsynth import terminology
from ehrsynth.exporters.fhir.identity import identifier_system
from ehrsynth.exporters.fhir.rows import NOTHING, Node, Piece, Rows
from ehrsynth.exporters.fhir.templates import Each, First, Instead, Later, Object, compile_template
from ehrsynth.exporters.fhir.values import Code, Id, Number, OwnId, SourceKey, Text, Time, clean_code, clean_text

__all__ = [
    "ABSENT",
    "UCUM",
    "US_CORE",
    "absent_without",
    "address",
    "coding",
    "coding_of",
    "concept",
    "concept_of",
    "derived_identifier",
    "derived_report",
    "fixed_concept",
    "make_coding",
    "make_concept",
    "needing",
    "own_identifier",
    "panel_identifier",
    "period",
    "quantity",
    "shared_identifier",
    "source_identifier",
    "telecom",
]

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
"""Root of the profiles and extensions of US Core."""

UCUM = "http://unitsofmeasure.org"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
# HL7 Terminology names HCPCS by http; the value sets of procedures of US Core 6.1.0, which bind, by https.
_WRITTEN = {
    "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
}
_NULL_CODES = ("UNK", "ASKU", "OTH", "NI", "NASK", "NA", "MSK")

ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
"""Stands for an element that has to be there and whose value nobody knows."""


def needing(template: dict[str, Any], *needs: str, one_of: tuple[str, ...] = ()) -> Object:
    """Return the object of `template` that is left out unless all of `needs` and one of `one_of` are there."""
    node = compile_template(template)
    assert isinstance(node, Object)
    return Object(node.parts, needs, one_of)


# -- codes -------------------------------------------------------------------------------------------------------------


def make_coding(system: str | None, code: str | None, display: str | None = None) -> dict[str, Any] | None:
    """Return a Coding, or None without a code; the vocabularies' display stands in for an empty one."""
    code = clean_code(code)
    if code is None:
        return None
    system = clean_code(system)
    shown = clean_text(display) or (terminology.display(system, code) if system else None)
    made = {"system": _WRITTEN.get(system or "", system), "code": code, "display": shown}
    return {key: value for key, value in made.items() if value is not None}


def make_concept(system: str | None, code: str | None, display: str | None = None) -> dict[str, Any] | None:
    """Return a CodeableConcept: a Coding, and its display as text; of text alone where there is no code."""
    coded = make_coding(system, code, display)
    text = clean_text(display) if coded is None else coded.get("display")
    made = {"coding": [coded] if coded else None, "text": text}
    return {key: value for key, value in made.items() if value is not None} or None


def coding(system: str, code: str, display: str) -> Each:
    """Return the node of a Coding from three columns."""
    return Each((code, system, display), lambda c, s, d: make_coding(s, c, d))


@dataclass(frozen=True)
class _Concept(Each):
    """A CodeableConcept of code, system and display; of words alone where there is no code."""

    def piece(self, rows: Rows) -> Piece:
        code, _, display = self.columns
        return NOTHING if rows.valid(code) is False and rows.valid(display) is False else super().piece(rows)


def concept(system: str, code: str, display: str) -> Each:
    """Return the node of a CodeableConcept from three columns; of text alone where only the display is there."""
    return _Concept((code, system, display), lambda c, s, d: make_concept(s, c, d), needs=())


def coding_of(system: str, code: str) -> Each:
    """Return the node of a Coding from the column `code`, all of one code system (or a null flavour)."""
    return Each((code,), lambda c: make_coding(NULL_FLAVOR if c in _NULL_CODES else system, c))


def concept_of(system: str, code: str) -> Each:
    """Return the node of a CodeableConcept from the column `code`, all of one code system (or a null flavour)."""
    return Each((code,), lambda c: make_concept(NULL_FLAVOR if c in _NULL_CODES else system, c))


def fixed_concept(system: str, code: str, display: str | None = None) -> Later:
    """Return the constant CodeableConcept of one code."""
    return Later(lambda: make_concept(system, code, display))


# -- numbers and times -------------------------------------------------------------------------------------------------


def quantity(value: str, unit: str, comparator: str = "") -> Object:
    """Return the node of a Quantity in a UCUM unit; of a bare number where there is none."""
    return needing(
        {
            "value": Number(value),
            **({"comparator": Code(comparator)} if comparator else {}),
            "unit": Code(unit),
            "system": Each((unit,), lambda code: UCUM if clean_code(code) else None),
            "code": Code(unit),
        },
        "value",
    )


def period(start: str, end: str, precision: str = "") -> dict[str, Any]:
    """Return the template of a Period."""
    return {"start": Time(start, precision), "end": Time(end, precision)}


def absent_without(*nodes: Node) -> Instead:
    """Return what stands beside a primitive element (``_name``) where `nodes` are absent: that nobody knows."""
    return Instead(nodes, compile_template(ABSENT))


# -- who and where -----------------------------------------------------------------------------------------------------


def own_identifier(key: str, table: str) -> dict[str, Any]:
    """Return the template of the Identifier by which our own systems know a row: its key."""
    return {"system": identifier_system(table), "value": First((SourceKey(key, table), Id(key, table)))}


def shared_identifier(kind: str) -> dict[str, Any]:
    """Return the template of the Identifier that conditional references look for: the resource id, safe in a URL."""
    return {"system": identifier_system(kind), "value": OwnId()}


def derived_identifier(kind: str) -> dict[str, Any]:
    """Return the template of the Identifier of what was derived from the records and is not read back as one.

    `kind` begins with ``derived_``: that is how the reader knows it.
    """
    assert kind.startswith("derived_")
    return shared_identifier(kind)


def derived_report() -> dict[str, Any]:
    """Return the template of the Identifier of a report whose results no panel of the records holds together."""
    return derived_identifier("derived_report")


def panel_identifier() -> dict[str, Any]:
    """Return the template of the Identifier by which rows of one panel know that they belong together."""
    return {"system": identifier_system("panel"), "value": Text("panel_id")}


def source_identifier(key: str, table: str) -> Object:
    """Return the template of an Identifier that keeps a key which could not serve as resource id."""
    return needing({"system": identifier_system(table), "value": SourceKey(key, table)}, "value")


def address(use: str = "") -> dict[str, Any]:
    """Return the template of an Address from the columns that all tables with addresses share."""
    return {
        **({"use": use} if use else {}),
        "line": [Text("address_line")],
        "city": Text("city"),
        "state": Text("state"),
        "postalCode": Text("postal_code"),
        "country": Text("country"),
    }


def telecom(system: str, column: str, use: str = "") -> dict[str, Any]:
    """Return the template of a ContactPoint."""
    return {"system": system, "value": Text(column), **({"use": use} if use else {})}
