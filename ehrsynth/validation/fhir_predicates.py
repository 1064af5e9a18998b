"""Small questions about objects of FHIR, of whatever shape they are, from which invariants are put together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ehrsynth.validation.fhir_primitives import is_later, parse_when

__all__ = [
    "SNOMED",
    "UCUM",
    "acts_for_others",
    "all_contained",
    "any_of",
    "at_least",
    "codes",
    "codings",
    "components_have_other_codes",
    "condition_abated",
    "day_known",
    "entered_in_error",
    "has",
    "has_content",
    "identifier_like",
    "implied",
    "in_order",
    "member_id",
    "name_or_reason",
    "needs",
    "not_both",
    "number",
    "objects_in",
    "one_of",
    "range_in_order",
    "says_something",
    "snomed_value",
    "status_in",
    "ucum_quantity",
    "ucum_value",
    "value_or_reason",
    "whole_ratio",
    "without_use",
]

Node = dict[str, Any]
UCUM = "http://unitsofmeasure.org"
SNOMED = "http://snomed.info/sct"
_TERMS = "http://terminology.hl7.org/CodeSystem/"


def has(node: Node, name: str) -> bool:
    """Whether the element is there, by value or by extension; ``value[x]`` means any of its types."""
    if name.endswith("[x]"):
        stem, length = name[:-3], len(name) - 3
        return any(
            (key[:length] == stem and key[length : length + 1].isupper()) or key[: length + 1] == f"_{stem}"
            for key in node
        )
    return name in node or f"_{name}" in node


def any_of(*names: str) -> Callable[[Node], bool]:
    """Any of the elements is there."""
    return lambda node: any(has(node, name) for name in names)


def not_both(first: str, second: str) -> Callable[[Node], bool]:
    """The two elements exclude each other."""
    return lambda node: not (has(node, first) and has(node, second))


def needs(first: str, *others: str) -> Callable[[Node], bool]:
    """If `first` is there, so is one of `others`."""
    return lambda node: not has(node, first) or any(has(node, name) for name in others)


def one_of(first: str, second: str) -> Callable[[Node], bool]:
    """One of the two elements is there, not both."""
    return lambda node: has(node, first) != has(node, second)


def objects_in(value: Any) -> list[Node]:
    """The objects of an array, or the one object."""
    if type(value) is dict:
        return [value]
    return [item for item in value if type(item) is dict] if type(value) is list else []


def codes(node: Node, name: str, system: str = "") -> set[str]:
    """The codes of a CodeableConcept, or of several; of one system if it is given."""
    return {
        str(coding.get("code"))
        for concept in objects_in(node.get(name))
        for coding in objects_in(concept.get("coding"))
        if not system or coding.get("system") == system
    }


def codings(node: Node, name: str) -> set[tuple[str, str]]:
    """The codings of a CodeableConcept, or of several, as (system, code)."""
    return {
        (str(coding.get("system")), str(coding.get("code")))
        for concept in objects_in(node.get(name))
        for coding in objects_in(concept.get("coding"))
    }


def number(value: Any) -> float | None:
    """A JSON number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def at_least(name: str, limit: float) -> Callable[[Node], bool]:
    """The number, if it is there, is not below the limit."""

    def holds(node: Node) -> bool:
        value = number(node.get(name))
        return value is None or value >= limit

    return holds


def in_order(first: str, second: str) -> Callable[[Node], bool]:
    """The first date, if both are there, is not later than the second."""

    def holds(node: Node) -> bool:
        a, b = node.get(first), node.get(second)
        if type(a) is not str or type(b) is not str:
            return True
        start, end = parse_when(a), parse_when(b)
        return start is None or end is None or not is_later(start, end)

    return holds


def range_in_order(node: Node) -> bool:
    """Of a Range: low is not above high, where their units agree."""
    low, high = node.get("low"), node.get("high")
    if type(low) is not dict or type(high) is not dict or low.get("code") != high.get("code"):
        return True
    a, b = number(low.get("value")), number(high.get("value"))
    return a is None or b is None or a <= b


def whole_ratio(node: Node) -> bool:
    """Of a Ratio: both parts, or at least an extension."""
    return ("numerator" in node) == ("denominator" in node) and ("numerator" in node or "extension" in node)


def ucum_quantity(node: Node) -> bool:
    """Of a Quantity: a value has a code, and the code is UCUM's."""
    if "value" in node and "code" not in node:
        return False
    return bool(node.get("system", UCUM) == UCUM)


def status_in(*statuses: str) -> Callable[[Node], bool]:
    """The status is one of these."""
    return lambda node: node.get("status") in statuses


def implied(test: Callable[[Node], bool], then: Callable[[Node], bool]) -> Callable[[Node], bool]:
    """If `test` holds, so does `then`."""
    return lambda node: not test(node) or then(node)


def condition_abated(node: Node) -> bool:
    """Of a Condition: what has abated is inactive, resolved or in remission."""
    if not has(node, "abatement[x]"):
        return True
    return bool(codes(node, "clinicalStatus", f"{_TERMS}condition-clinical") & {"resolved", "remission", "inactive"})


def entered_in_error(system: str) -> Callable[[Node], bool]:
    """The verification status is `entered-in-error`."""
    return lambda node: "entered-in-error" in codes(node, "verificationStatus", f"{_TERMS}{system}")


def components_have_other_codes(node: Node) -> bool:
    """Of an Observation with a value: no component has its code."""
    if not has(node, "value[x]"):
        return True
    own = codings(node, "code")
    return not any(own & codings(part, "code") for part in objects_in(node.get("component")))


def without_use(name: str, use: str) -> Callable[[Node], bool]:
    """None of the values of an element has this use."""
    return lambda node: all(item.get("use") != use for item in objects_in(node.get(name)))


def value_or_reason(node: Node) -> bool:
    """Of an Observation: a value, a reason for its absence, components or members."""
    return "component" in node or "hasMember" in node or has(node, "dataAbsentReason") or has(node, "value[x]")


def day_known(node: Any) -> bool:
    """Of an effective[x]: a dateTime is at least as exact as a day."""
    return type(node) is not str or len(node) >= 10


def ucum_value(node: Node) -> bool:
    """Of a value[x]: a quantity is in UCUM."""
    return "value" not in node or bool(node.get("system", UCUM) == UCUM)


def snomed_value(node: Node) -> bool:
    """Of a value[x]: a concept is in SNOMED CT."""
    return all(item.get("system", SNOMED) == SNOMED for item in objects_in(node.get("coding")))


def name_or_reason(node: Node) -> bool:
    """Of a HumanName: family, given, or a reason for their absence."""
    if has(node, "family") or has(node, "given"):
        return True
    return any(
        item.get("url") == "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
        for item in objects_in(node.get("extension"))
    )


def has_content(node: Node) -> bool:
    """Of an Attachment: its data or where they are."""
    return has(node, "url") or has(node, "data")


def member_id(node: Node) -> bool:
    """Of a Coverage: the member's identifier."""
    return has(node, "subscriberId") or any(
        "MB" in codes(item, "type", f"{_TERMS}v2-0203") for item in objects_in(node.get("identifier"))
    )


def acts_for_others(node: Node) -> bool:
    """Of an agent: it is a practitioner or a device, as far as its reference says."""
    who = node.get("who")
    reference = who.get("reference") if type(who) is dict else None
    return type(reference) is str and reference.startswith(("Practitioner/", "Device/"))


def identifier_like(pattern: str) -> Callable[[Node], bool]:
    """The identifier's value has this form."""
    match = re.compile(pattern, re.ASCII).fullmatch
    return lambda node: "value" not in node or match(str(node["value"])) is not None


def all_contained(test: Callable[[Node, Node], bool]) -> Callable[[Node], bool]:
    """`test` of every contained resource and its meta."""

    def holds(node: Node) -> bool:
        return all(
            test(item, item["meta"] if type(item.get("meta")) is dict else {})
            for item in objects_in(node.get("contained"))
        )

    return holds


def says_something(node: Node) -> bool:
    """Of a Narrative: more than markup and white space."""
    div = node.get("div")
    return type(div) is not str or re.sub(r"<(?!img)[^>]*>", "", div).strip() != ""
