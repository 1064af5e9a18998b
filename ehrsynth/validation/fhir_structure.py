"""One visit to every element of a resource: names, JSON types, forms, cardinality, required codes, invariants."""

from __future__ import annotations

from typing import Any

from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.fhir_primitives import JSON_TYPES, PRIMITIVES
from ehrsynth.validation.fhir_profiles import ProfileCheck
from ehrsynth.validation.fhir_references import References, Scope
from ehrsynth.validation.fhir_requirements import Element, Requirements, Type
from ehrsynth.validation.fhir_vocabulary import Vocabulary
from ehrsynth.validation.findings import Findings

__all__ = ["StructureCheck"]

Node = dict[str, Any]


class StructureCheck:
    """Checks resources one by one against the types of R4.

    Parameters
    ----------
    rules : Requirements
    findings : Findings
    references : References
        Told of every reference.
    vocabulary : Vocabulary
        Told of every coding, unit and identifier.
    """

    def __init__(self, rules: Requirements, findings: Findings, references: References, vocabulary: Vocabulary) -> None:
        self.rules, self.findings = rules, findings
        self.references, self.vocabulary = references, vocabulary
        self.profiles = ProfileCheck(rules, findings)
        self._path: list[str] = []
        self._where = Where("", 0)
        self._scope: Scope | None = None
        self._contained: frozenset[str] = frozenset()
        self._local: set[str] = set()
        self._visits = {
            "Reference": self._reference,
            "Extension": self._extension,
            "Coding": self._coding,
            "Quantity": self._coding,
            "Identifier": self._identifier,
        }
        self._types: dict[str, Type] = {}

    def check(self, resource: Node, where: Where, scope: Scope | None) -> None:
        """Check one resource whose type is known; `scope` is the Bundle it is in, if any."""
        kind = resource["resourceType"]
        self._path, self._where, self._scope = [kind], where, scope
        contained = resource.get("contained")
        inner = [item for item in contained if type(item) is dict] if type(contained) is list else []
        self._contained = frozenset(str(item.get("id")) for item in inner)
        self._local = set()
        self._object(resource, self._type(kind), None)
        for item in inner:
            if f"#{item.get('id')}" not in self._local and "#" not in self._local:
                self._add("dom-3", f"#{item.get('id')}")
        self.profiles.check(resource, where)

    def check_part(self, node: Node, kind: str, where: Where) -> None:
        """Check an object of a backbone element by itself (an entry of a Bundle without its resource)."""
        self._path, self._where, self._scope, self._contained = kind.split("."), where, None, frozenset()
        self._object(node, self._type(kind), None)

    # -- the visit ---------------------------------------------------------------------------------------------------

    def _type(self, name: str) -> Type:
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = self.rules.type(name)
        return found

    def _object(self, node: Node, kind: Type, element: Element | None) -> None:
        if not node:
            self._add("empty-object")
            return
        elements, path = kind.elements, self._path
        chosen: set[str] | None = None
        for key, value in node.items():
            child = elements.get(key)
            if child is None:
                if key != "resourceType" or kind.name not in self.rules.resource_types:
                    self._other(key, value, node, kind)
                continue
            if child.choice:
                if chosen is None:
                    chosen = {child.choice}
                elif child.choice in chosen:
                    self._add("several-choices", key, at=f"{child.choice}[x]")
                else:
                    chosen.add(child.choice)
            if (type(value) is list) is not child.many:
                self._wrong_array(key, value, child)
                continue
            valid = child.valid
            if valid is not None:
                if child.many:
                    self._primitives(key, value, child, node)
                elif not valid(value):
                    self._bad_primitive(key, value, child)
                elif child.value_set is not None and not child.value_set.has_code(value):
                    self._bad_code(key, value, child)
            elif child.many:
                if not value:
                    self._add("empty-array", at=key)
                path.append(key)
                for item in value:
                    self._child(item, child)
                path.pop()
            else:
                path.append(key)
                self._child(value, child)
                path.pop()
        for name, slots in kind.required:
            for slot in slots:
                if slot in node:
                    break
            else:
                self._add("missing-element", at=name)
        for invariant in kind.invariants:
            if not invariant.holds(node):
                self._add(invariant.key, _short(node))
        visit = self._visits.get(kind.name)
        if visit is not None:
            visit(node, element)

    def _child(self, value: Any, element: Element) -> None:
        if type(value) is not dict:
            self._not_an_object(value)
            return
        if element.value_set is not None and value and not element.value_set.has(value):
            self._add("code-not-in-value-set", _short(value), detail=f"Value set: {element.value_set.name}.")
        if element.type == "Resource":
            self._inner_resource(value)
            return
        self._object(value, self._type(element.type), element)

    def _inner_resource(self, value: Node) -> None:
        kind = value.get("resourceType")
        if type(kind) is not str or kind not in self.rules.resource_types:
            self._add("unknown-resource-type" if kind else "missing-resource-type", repr(kind))
            return
        if self._path[-1] == "contained" and "id" not in value:
            self._add("missing-id", kind)
        self._object(value, self._type(kind), None)

    # -- visits to some types ----------------------------------------------------------------------------------------

    def _reference(self, node: Node, element: Element | None) -> None:
        reference = node.get("reference")
        if type(reference) is not str:
            return
        if reference.startswith("#"):
            self._local.add(reference)
            if reference != "#" and reference[1:] not in self._contained:
                self._add("dangling-contained", reference)
            return
        targets = element.targets if element is not None else frozenset()
        self.references.meet(reference, targets, ".".join(self._path), self._where, self._scope)

    def _extension(self, node: Node, element: Element | None) -> None:
        self.profiles.check_extension(node, self._where, self._path)

    def _coding(self, node: Node, element: Element | None) -> None:
        system, code = node.get("system"), node.get("code")
        if type(system) is str and type(code) is str:
            self.vocabulary.meet(system, code, self._path, self._where)

    def _identifier(self, node: Node, element: Element | None) -> None:
        self.vocabulary.meet_identifier(node, self._path, self._where)

    # -- what is wrong, told apart -----------------------------------------------------------------------------------

    def _add(self, check: str, value: str = "", *, at: str = "", detail: str = "") -> None:
        place = ".".join((*self._path, at)) if at else ".".join(self._path)
        self.findings.add(check, place, f"{self._where} {value}".rstrip(), detail=detail)

    def _primitives(self, key: str, values: list[Any], element: Element, node: Node) -> None:
        if not values:
            self._add("empty-array", at=key)
        valid = element.valid or PRIMITIVES["string"]
        for value in values:
            if not valid(value):
                # Null holds the place of a value that has only extensions.
                if value is not None or type(node.get(f"_{key}")) is not list:
                    self._bad_primitive(key, value, element)
            elif element.value_set is not None and not element.value_set.has_code(value):
                self._bad_code(key, value, element)

    def _bad_primitive(self, key: str, value: Any, element: Element) -> None:
        if value is None:
            self._add("null-value", at=key)
        elif type(value) is str and (not value or value.isspace()):
            self._add("empty-string", at=key)
        elif type(value) not in JSON_TYPES[element.type]:
            self._add(
                "json-type", _short(value), at=key, detail=f"It is to be {_JSON_NAMES[JSON_TYPES[element.type][-1]]}."
            )
        else:
            self._add("malformed-value", _short(value), at=key, detail=f"Type: {element.type}.")

    def _bad_code(self, key: str, value: str, element: Element) -> None:
        name = element.value_set.name if element.value_set is not None else ""
        self._add("code-not-in-value-set", repr(value), at=key, detail=f"Value set: {name}.")

    def _wrong_array(self, key: str, value: Any, element: Element) -> None:
        if value is None:
            self._add("null-value", at=key)
        elif value == {}:
            self._add("empty-object", at=key)
        else:
            self._add("wrong-array", _short(value), at=key)

    def _not_an_object(self, value: Any) -> None:
        if value is None:
            self._add("null-value")
        elif value == "":
            self._add("empty-string")
        elif value == []:
            self._add("empty-array")
        else:
            self._add("json-type", _short(value), detail="It is to be an object.")

    def _other(self, key: str, value: Any, node: Node, kind: Type) -> None:
        """A key that is no element: the extensions of a primitive, or unknown."""
        element = kind.elements.get(key[1:]) if key.startswith("_") else None
        if element is None or element.valid is None:
            self._add("unknown-element", _short(value), at=key)
            return
        if (type(value) is list) is not element.many:
            self._wrong_array(key, value, element)
            return
        partner = node.get(key[1:])
        self._path.append(key)
        if not value:
            self._add("empty-array" if element.many else "empty-object")
        for at, item in enumerate(value if element.many else [value]):
            if item is None and type(partner) is list and at < len(partner) and partner[at] is not None:
                continue
            if type(item) is not dict:
                self._not_an_object(item)
            else:
                self._object(item, self._type("Element"), None)
        self._path.pop()


_JSON_NAMES = {str: "text", bool: "true or false", int: "a number", float: "a number"}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
