"""What FHIR R4 and US Core 6.1.0 require, read from the packaged tables and compiled for checking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.validation.fhir_invariants import INVARIANTS, Invariant
from ehrsynth.validation.fhir_primitives import PRIMITIVES
from ehrsynth.validation.fhir_value_sets import ANY

__all__ = ["FOLDER", "Element", "Profile", "Requirements", "Type", "ValueSet", "requirements"]

FOLDER = "output_schemas/fhir_r4/us_core_6.1.0"
US_CORE = "http://hl7.org/fhir/us/core/"


@dataclass(frozen=True)
class ValueSet:
    """The codes of a value set by system; a system with `ANY` has all of its codes in it."""

    name: str
    systems: Mapping[str, frozenset[str]]
    codes: frozenset[str]
    open: bool

    def has_code(self, code: str) -> bool:
        """Whether a bare code, whose system goes without saying, is in it."""
        return self.open or code in self.codes

    def has_coding(self, coding: Any) -> bool:
        """Whether the coding is in it."""
        if type(coding) is not dict:
            return False
        members = self.systems.get(coding.get("system", ""))
        return members is not None and (ANY in members or coding.get("code") in members)

    def has(self, value: Any) -> bool:
        """Whether a code, Coding, Quantity or CodeableConcept is in it (of a concept: any of its codings)."""
        if type(value) is str:
            return self.has_code(value)
        if type(value) is dict and "value" in value and "code" not in value:
            return True  # a quantity without a unit's code: nothing to hold against it
        if type(value) is dict and "coding" in value:
            codings = value["coding"]
            return type(codings) is list and any(self.has_coding(item) for item in codings)
        return self.has_coding(value)


@dataclass(slots=True)
class Element:
    """An element of a type; `valid` tests a primitive value, `type` is the name of its type."""

    name: str
    type: str
    valid: Callable[[Any], bool] | None
    many: bool = False
    required: bool = False
    choice: str = ""
    value_set: ValueSet | None = None
    targets: frozenset[str] = frozenset()


@dataclass(slots=True)
class Type:
    """A type or backbone element, with the elements it inherits.

    `required` names elements that must be there, each with its choices; `invariants` hold for every object of the type.
    """

    name: str
    elements: dict[str, Element] = field(default_factory=dict)
    required: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    invariants: tuple[Invariant, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A profile: URL, short name, the type it is for, and the tree of what it asks beyond R4 (`profile_document`)."""

    url: str
    name: str
    type: str
    root: Mapping[str, Any]


class Requirements:
    """Types, profiles and value sets by name; a type is compiled when it is first asked for."""

    def __init__(self, base: Mapping[str, Any], profiles: Mapping[str, Any], value_sets: Mapping[str, Any]) -> None:
        self._types = base["types"]
        self._compiled: dict[str, Type] = {}
        self._value_sets = {url: _value_set(url, systems) for url, systems in value_sets["value_sets"].items()}
        self.profiles = {
            url: Profile(url, url.rsplit("/", 1)[-1], item["type"], item["root"])
            for url, item in profiles["profiles"].items()
        }
        self.resource_types = frozenset(
            name for name, item in self._types.items() if item["kind"] == "resource" and not item.get("abstract")
        )
        self.invariants = {item.key: item for item in INVARIANTS}

    def value_set(self, url: str) -> ValueSet | None:
        """Return the value set `url`, None if its codes are not known."""
        return self._value_sets.get(url)

    def type(self, name: str) -> Type:
        """Return the type `name`."""
        found = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = self._compile(name)
        return found

    def choices(self, type_name: str, stem: str) -> list[Element]:
        """Return the elements of the choice `stem` [x] of a type."""
        return [element for element in self.type(type_name).elements.values() if element.choice == stem]

    def _compile(self, name: str) -> Type:
        chain, at = [], name
        while at in self._types:
            chain.append(at)
            at = self._types[at].get("base", "")
        result = Type(name=name)
        required: dict[str, tuple[str, ...]] = {}
        for owner in reversed(chain):
            for key, entry in self._types[owner].get("elements", {}).items():
                result.elements[key] = self._element(key, entry)
                if entry.get("min"):
                    slot = f"{entry['choice']}[x]" if "choice" in entry else key
                    required[slot] = (*required.get(slot, ()), key, f"_{key}")
        result.required = list(required.items())
        kinds = {*chain, "Resource"} if name in self.resource_types else set(chain)
        result.invariants = tuple(item for item in INVARIANTS if item.type in kinds)
        return result

    def _element(self, key: str, entry: Mapping[str, Any]) -> Element:
        return Element(
            name=key,
            type=entry["type"],
            valid=PRIMITIVES.get(entry["type"]),
            many=entry.get("many", False),
            required=bool(entry.get("min")),
            choice=entry.get("choice", ""),
            value_set=self._value_sets.get(entry.get("codes", "")),
            targets=frozenset(entry.get("targets", ())),
        )


def _value_set(url: str, systems: Mapping[str, list[str]]) -> ValueSet:
    members = {system: frozenset(codes) for system, codes in systems.items()}
    return ValueSet(
        name=url.rsplit("/", 1)[-1],
        systems=members,
        codes=frozenset().union(*members.values()),
        open=any(ANY in codes for codes in members.values()),
    )


@lru_cache(maxsize=1)
def requirements() -> Requirements:
    """Return the requirements of R4 4.0.1 and US Core 6.1.0; read once (20 ms)."""
    import orjson

    base, profiles, value_sets = (
        orjson.loads(resources.read_package(FOLDER, name)) for name in ("base", "profiles", "value-sets")
    )
    return Requirements(base, profiles, value_sets)
