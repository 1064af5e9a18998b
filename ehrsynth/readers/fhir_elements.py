"""Elements of FHIR resources as values of columns: codings, times, quantities, names, addresses, references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_references import UNRESOLVED, Scope, name_of_reference
from ehrsynth.readers.source_codes import HCPCS, ICD10PCS
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, NDC, RXNORM, SNOMED, UCUM

__all__ = [
    "Found",
    "Refused",
    "code_of",
    "coded",
    "coded_or_words",
    "dicts",
    "exactness",
    "first",
    "identifier_of",
    "node",
    "number",
    "preferred",
    "quantity",
    "string",
    "telecom",
    "whole",
]

NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"

PREFERRED = (ICD10CM, LOINC, RXNORM, CVX, SNOMED, ICD9CM, ICD10PCS, HCPCS, NDC)
"""Of several codings the one whose system stands first here is taken (two of one system: the one that a person chose,
`userSelected`, else the first); codings of other systems only where there is none of these; without a system never."""

_RANK = {system: place for place, system in enumerate(PREFERRED)}

_OTHER_NAMES = {
    "urn:oid:2.16.840.1.113883.6.90": ICD10CM,
    "urn:oid:2.16.840.1.113883.6.103": ICD9CM,
    "urn:oid:2.16.840.1.113883.6.4": ICD10PCS,
    "urn:oid:2.16.840.1.113883.6.96": SNOMED,
    "urn:oid:2.16.840.1.113883.6.1": LOINC,
    "urn:oid:2.16.840.1.113883.6.88": RXNORM,
    "urn:oid:2.16.840.1.113883.6.69": NDC,
    "urn:oid:2.16.840.1.113883.12.292": CVX,
    # As US Core's value sets write it; HL7 Terminology has http.
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": HCPCS,
}
"""Other names of code systems: HL7's object identifiers, as documents that went through CDA have them."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRECISION = {4: "year", 7: "month", 10: "day", 16: "minute"}
_COARSE = ("year", "month", "day", "minute", "second")


class Refused(Exception):  # noqa: N818 - no error of its own: the reader turns it into one, or counts it
    """A resource is not taken; `wrong` says whether it breaks FHIR's rules (else our tables have no place for it)."""

    def __init__(self, reason: str, *, element: str = "", problem: str = "", wrong: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.element, self.wrong = reason, element, wrong
        self.problem = problem or f"{reason[:1].upper()}{reason[1:]}."


# -- pieces of JSON ----------------------------------------------------------------------------------------------------


def string(value: Any) -> str | None:
    """Return a text without white space around it, None for anything else."""
    return (value.strip() or None) if type(value) is str else None


def number(value: Any) -> float | None:
    """Return a number, None for anything else."""
    return float(value) if type(value) in (int, float) else None


def whole(value: Any) -> int | None:
    """Return an integer, None for anything else."""
    return value if type(value) is int else int(value) if type(value) is float and value.is_integer() else None


def node(value: Any) -> dict[str, Any]:
    """Return an object, empty for anything else."""
    return value if type(value) is dict else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, or the one that stands where a list should."""
    if type(value) is list:
        return [item for item in value if type(item) is dict]
    return [value] if type(value) is dict else []


def first(value: Any) -> dict[str, Any]:
    """Return the first object of a list, empty if there is none."""
    found = dicts(value)
    return found[0] if found else {}


# -- codes -------------------------------------------------------------------------------------------------------------


def preferred(concept: Any) -> tuple[str, str, str | None] | None:
    """Return system, code and display of a CodeableConcept's coding by the rule of `PREFERRED`, None without one."""
    concept = node(concept)
    best: tuple[int, bool] | None = None
    chosen: tuple[str, str, str | None] | None = None
    for coding in dicts(concept.get("coding")):
        system, code = string(coding.get("system")), string(coding.get("code"))
        if system is None or code is None:
            continue
        system = _OTHER_NAMES.get(system, system)
        rank = (_RANK.get(system, len(_RANK)), coding.get("userSelected") is not True)
        if best is None or rank < best:
            best, chosen = rank, (system, code, string(coding.get("display")) or string(concept.get("text")))
    return chosen


def coded(prefix: str, concept: Any, *, lead: str = "") -> dict[str, Any]:
    """Return the three columns of a coding: ``<prefix>_system``, ``<prefix>_code`` and ``<prefix>_display``.

    With `lead` the first is ``<lead>_system`` and the others have no prefix, as the tables name their main code.
    """
    found = preferred(concept)
    if found is None:
        return {}
    names = (
        (f"{lead}_system", "code", "display") if lead else (f"{prefix}_system", f"{prefix}_code", f"{prefix}_display")
    )
    return dict(zip(names, found, strict=True))


def coded_or_words(prefix: str, concept: Any) -> dict[str, Any]:
    """Return the three columns of a coding as `coded` does; only the display where the concept is words."""
    words = string(node(concept).get("text")) or string(first(node(concept).get("coding")).get("display"))
    return coded(prefix, concept) or ({f"{prefix}_display": words} if words else {})


def code_of(concept: Any, *systems: str) -> str | None:
    """Return the code of a CodeableConcept's first coding in one of `systems`, in HL7's null flavours, or in none."""
    for coding in dicts(node(concept).get("coding")):
        system, code = string(coding.get("system")), string(coding.get("code"))
        if code is not None and (system is None or system == NULL_FLAVOR or system in systems):
            return code
    return None


def quantity(value: Any) -> dict[str, Any]:
    """Return number, comparator and unit of a Quantity: the UCUM code, else the unit as people write it."""
    value = node(value)
    amount = number(value.get("value"))
    if amount is None:
        return {}
    code, unit = string(value.get("code")), string(value.get("unit"))
    is_ucum = value.get("system") in (UCUM, None)
    return {
        "value_number": amount,
        "value_comparator": string(value.get("comparator")),
        "value_unit": (code if is_ucum else None) or unit or code,
    }


# -- who and where -----------------------------------------------------------------------------------------------------


def identifier_of(resource: dict[str, Any], *, system: str = "", type_code: str = "") -> str | None:
    """Return the value of the first identifier of a system, or with a type of HL7's table 0203."""
    for identifier in dicts(resource.get("identifier")):
        if system and identifier.get("system") != system:
            continue
        codes = [coding.get("code") for coding in dicts(node(identifier.get("type")).get("coding"))]
        if (not type_code or type_code in codes) and (value := string(identifier.get("value"))):
            return value
    return None


def telecom(resource: dict[str, Any], system: str) -> str | None:
    """Return the first telephone number or e-mail address that is not an old one."""
    for point in dicts(resource.get("telecom")):
        if point.get("system") == system and point.get("use") != "old" and (value := string(point.get("value"))):
            return value
    return None


def exactness(*precisions: str | None) -> str | None:
    """Return the coarsest of some precisions, None if there is none."""
    found = [precision for precision in precisions if precision]
    return min(found, key=_COARSE.index) if found else None


@dataclass(slots=True)
class Found:
    """A resource on its way into tables: its type, key, content, place, and what its references may mean."""

    kind: str
    key: str
    body: dict[str, Any]
    file: int
    number: int
    scope: Scope | None
    account: FhirAccount
    contained: dict[str, str] = field(default_factory=dict)

    def adjust(self, what: str, element: str) -> None:
        """Count that the resource is taken with one value changed or left out."""
        self.account.adjust(self.kind, self.file, self.number, what=what, element=element)

    def name(self, reference: Any, expected: str) -> str | None:
        """Return what a reference means; see `name_of_reference`."""
        return name_of_reference(reference, expected, self.scope, self.contained)

    def link(self, reference: Any, expected: str, *instead: str) -> str | None:
        """Return the key of the row that a reference leads to; what is to be resolved later begins with `UNRESOLVED`.

        `instead` are types that stand for the expected one (a role for its practitioner). References to other types
        are none for us.
        """
        name = self.name(reference, expected)
        if name is None:
            return None
        if name[0] == UNRESOLVED:
            kind = name[1:].partition("?")[0]
            return name if kind.startswith(("urn:", "#")) or kind in (expected, *instead) or "/" in kind else None
        kind, _, ident = name.partition("/")
        if kind == expected:
            return ident
        return f"{UNRESOLVED}{name}" if kind in instead else None

    def practitioner(self, references: Sequence[Any]) -> str | None:
        """Return the first of some references that leads to a practitioner, by itself or by a role."""
        for reference in references:
            if (found := self.link(reference, "Practitioner", "PractitionerRole")) is not None:
                return found
        return None

    def patient(self, element: str) -> str:
        """Return the key of the patient that the resource is about."""
        reference = self.body.get(element)
        found = self.link(reference, "Patient")
        if found is None:
            name = self.name(reference, "Patient")
            kind = name.lstrip(UNRESOLVED).partition("/")[0] if name else ""
            raise Refused(f"it is about a {kind}" if kind else "it is about no Patient", element=element)
        return found

    def own_code(self, element: str) -> dict[str, Any]:
        """Return the columns of the main code; a resource without a code of a system has no row."""
        found = coded("", self.body.get(element), lead="code")
        if not found:
            raise Refused("its code is no code of a code system", element=element)
        return found

    def need(self, element: str) -> str:
        """Return an element that FHIR demands."""
        value = string(self.body.get(element))
        if value is None:
            problem = f"The {self.kind} has no {element}, which FHIR demands."
            raise Refused(f"it has no {element}", element=element, problem=problem, wrong=True)
        return value

    def moment(self, value: Any, element: str) -> tuple[int | None, str | None]:
        """Return a date or time as seconds since 1970 (UTC) and how exact it is; (None, None) if there is none.

        A time without a zone, which FHIR does not have, is taken for UTC; fractions of seconds are cut.
        """
        text = string(value)
        if text is None:
            return None, None
        precision = _PRECISION.get(len(text), "second")
        full = text if len(text) > 7 else f"{text}-01" if len(text) == 7 else f"{text}-01-01"
        try:
            when = datetime.fromisoformat(full)
        except ValueError:
            problem = f"{text!r} is no date or time of FHIR."
            raise Refused("a date or time cannot be read", element=element, problem=problem, wrong=True) from None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
            if precision in ("minute", "second"):
                self.adjust("a time without a zone: taken for UTC", element)
        return (when - _EPOCH) // _SECOND, precision

    def day(self, value: Any, element: str) -> int | None:
        """Return a date (of a time: its date in UTC) as days since 1970."""
        seconds, precision = self.moment(value, element)
        if precision in ("year", "month"):
            self.adjust(f"a date exact to the {precision}: taken for its first day", element)
        return None if seconds is None else seconds // 86400

    def times(self, *values: Any, element: str) -> tuple[list[int | None], str | None]:
        """Return some times of one row, and how exact the coarsest of them is: second, minute or day."""
        found = [self.moment(value, element) for value in values]
        precision = exactness(*(how for _, how in found))
        if precision in ("year", "month"):
            self.adjust(f"a time exact to the {precision}: taken for its first day", element)
            precision = "day"
        step = {"day": 86400, "minute": 60}.get(precision or "", 1)
        return [None if seconds is None else seconds // step * step for seconds, _ in found], precision

    def address(self) -> dict[str, Any]:
        """Return the columns of the address: the one at home if there is one, never an old one."""
        places = [place for place in dicts(self.body.get("address")) if place.get("use") != "old"]
        place = next((place for place in places if place.get("use") == "home"), places[0] if places else {})
        lines = place.get("line")
        return {
            "address_line": ", ".join(line.strip() for line in lines if type(line) is str and line.strip()) or None
            if type(lines) is list
            else string(lines),
            "city": string(place.get("city")),
            "state": string(place.get("state")),
            "postal_code": string(place.get("postalCode")),
            "country": string(place.get("country")),
        }

    def contained_ones(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the contained resources and the keys they get: that of the container, ``#`` and their own."""
        for inner in dicts(self.body.get("contained")):
            kind, ident = string(inner.get("resourceType")), string(inner.get("id"))
            if kind and ident:
                key = f"{self.kind}/{self.key}#{ident.removeprefix('#')}"
                self.contained[f"#{ident.removeprefix('#')}"] = f"{kind}/{key}"
                yield inner, key


_SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) - _EPOCH
