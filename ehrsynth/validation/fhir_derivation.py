"""From published FHIR definitions to the compact tables of facts that resources are checked against.

Run when a new version of FHIR or of an implementation guide is taken in, never when resources are checked. What is kept
are facts only: element names, types, cardinalities, targets of references, fixed and pattern values, slices, and the
codes of value sets that a *required* binding names. No prose is kept.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ehrsynth.validation.fhir_value_sets import canonical, expand

__all__ = ["base_document", "definitions_in", "profile_document", "value_set_document"]

Json = dict[str, Any]

_KEPT = ("StructureDefinition", "ValueSet", "CodeSystem")
_SYSTEM_TYPES = {"http://hl7.org/fhirpath/System.String": "string"}
_TYPE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
_CORE = "http://hl7.org/fhir/StructureDefinition/"


def definitions_in(source: Path) -> list[Json]:
    """Return StructureDefinitions, ValueSets and CodeSystems of a package (``.tgz``) or of a folder of ``.json``."""
    documents: list[Json] = []
    if source.is_dir():
        documents = [json.loads(path.read_bytes()) for path in sorted(source.glob("*.json"))]
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                # Only package/NAME.json defines; folders below it hold examples, indexes and other renderings.
                if member.isfile() and re.fullmatch(r"package/[A-Za-z][^/]*\.json", member.name):
                    handle = archive.extractfile(member) or io.BytesIO()
                    documents.append(json.loads(handle.read()))
    return [item for item in documents if isinstance(item, dict) and item.get("resourceType") in _KEPT]


# -- R4 itself --------------------------------------------------------------------------------------------------------


def base_document(definitions: Iterable[Json], **properties: Any) -> Json:
    """Return the table of the types of FHIR itself.

    Returns
    -------
    dict
        `types`: name of a type, or path of a backbone element, to ``{"kind", "base", "elements"}``; an element is
        ``{"type", "min", "many", "choice", "codes", "targets"}`` with what is false or empty left out. `kind` is
        resource, complex, backbone or primitive; elements of `base` are inherited.
    """
    types: dict[str, Json] = {}
    for definition in sorted(definitions, key=lambda item: str(item.get("name"))):
        if definition["resourceType"] != "StructureDefinition" or definition.get("derivation") == "constraint":
            continue
        kind = {"resource": "resource", "complex-type": "complex", "primitive-type": "primitive"}.get(
            definition["kind"]
        )
        if kind == "primitive":
            types[definition["type"]] = {"kind": "primitive"}
        elif kind:
            _base_type(definition, kind, types)
    return {**properties, "types": dict(sorted(types.items()))}


def _base_type(definition: Json, kind: str, types: dict[str, Json]) -> None:
    root = definition["type"]
    parent = definition.get("baseDefinition", "").rsplit("/", 1)[-1]
    types[root] = (
        {"kind": kind, "base": parent, "abstract": True}
        if definition.get("abstract")
        else {"kind": kind, "base": parent}
    )
    types[root]["elements"] = {}
    for element in definition["snapshot"]["element"][1:]:
        path = element["path"]
        if not element["base"]["path"].startswith(f"{root}."):
            continue  # inherited
        owner, _, name = path.rpartition(".")
        if owner not in types:
            types[owner] = {"kind": "backbone", "base": "BackboneElement", "elements": {}}
        for key, entry in _base_elements(name, element):
            if entry.get("type") in ("BackboneElement", "Element"):
                entry["type"] = path
                types.setdefault(path, {"kind": "backbone", "base": _own_type(element), "elements": {}})
            types[owner]["elements"][key] = entry


def _own_type(element: Json) -> str:
    return str(element["type"][0]["code"])


def _base_elements(name: str, element: Json) -> Iterable[tuple[str, Json]]:
    common: Json = {}
    if element["min"]:
        common["min"] = element["min"]
    if element["max"] != "1":
        common["many"] = True
    codes = _required_codes(element)
    if codes:
        common["codes"] = codes
    if "contentReference" in element:
        yield name, {"type": element["contentReference"].rpartition("#")[2], **common}
        return
    if not name.endswith("[x]"):
        yield name, {"type": _type_code(element["type"][0]), **common, **_targets(element["type"])}
        return
    stem = name[:-3]
    for item in element["type"]:
        code = _type_code(item)
        yield stem + code[0].upper() + code[1:], {"type": code, "choice": stem, **common, **_targets([item])}


def _type_code(item: Json) -> str:
    for extension in item.get("extension", ()):
        if extension["url"] == _TYPE_EXTENSION:
            return str(extension.get("valueUrl") or extension.get("valueUri"))
    return _SYSTEM_TYPES.get(item["code"], str(item["code"]))


def _targets(types: Iterable[Json]) -> Json:
    found = [url.rsplit("/", 1)[-1] for item in types for url in item.get("targetProfile", ())]
    return {"targets": sorted(set(found))} if found and "Resource" not in found else {}


def _required_codes(element: Json) -> str:
    """The value set that a value of `element` must be in, empty if there is none."""
    binding = element.get("binding", {})
    if binding.get("strength") == "required":
        return canonical(binding.get("valueSet", ""))
    for extension in binding.get("extension", ()):
        if extension["url"] == _MAX_VALUE_SET:
            return canonical(extension.get("valueCanonical") or extension.get("valueUri") or "")
    return ""


# -- profiles ---------------------------------------------------------------------------------------------------------


def profile_document(definitions: Iterable[Json], base: Json, *, prefix: str, **properties: Any) -> Json:
    """Return the tables of the profiles and extensions whose URL starts with `prefix`: what they ask beyond `base`.

    Returns
    -------
    dict
        `profiles`: URL to ``{"name", "type", "root"}``. A node (`root` is one) is ``{"min", "max", "fixed", "pattern",
        "codes", "types", "targets", "invariants", "children", "slices"}``, with what asks nothing left out; a slice is
        a node with a `name` and a `match`: tests at paths below a value which, if all pass, put it in the slice.
    """
    definitions = [item for item in definitions if item["resourceType"] == "StructureDefinition"]
    chosen = [item for item in definitions if item["url"].startswith(prefix) and item.get("derivation") == "constraint"]
    kinds = {item["url"]: item["type"] for item in definitions}
    # Invariants of R4's own types are checked on every resource, whatever it claims.
    inherited = frozenset(
        constraint["key"]
        for item in definitions
        if item.get("derivation") != "constraint"
        for element in item["snapshot"]["element"]
        for constraint in element.get("constraint", ())
    )
    profiles = {}
    for definition in sorted(chosen, key=lambda item: str(item["url"])):
        root = _Tree(definition, base, kinds, inherited).build()
        profiles[definition["url"]] = {"name": definition["name"], "type": definition["type"], "root": root}
    return {**properties, "profiles": profiles}


class _Tree:
    """Nests the flat snapshot of one profile by element id and keeps what goes beyond the base type."""

    def __init__(self, definition: Json, base: Json, kinds: Mapping[str, str], inherited: frozenset[str]) -> None:
        self.definition, self.types, self.kinds, self.inherited = definition, base["types"], kinds, inherited

    def build(self) -> Json:
        nested: Json = {"element": {}, "children": {}, "slices": {}}
        for element in self.definition["snapshot"]["element"]:
            node = nested
            for segment in element["id"].split(".")[1:]:
                name, _, piece = segment.partition(":")
                node = node["children"].setdefault(name, {"element": {}, "children": {}, "slices": {}})
                if piece:
                    node = node["slices"].setdefault(piece, {"element": {}, "children": {}, "slices": {}})
            node["element"] = element
        return self.node(nested, {}, self.definition["type"])

    def node(self, nested: Json, beyond: Json, type_name: str) -> Json:
        """What `nested` asks beyond `beyond`, its element in the base type."""
        element = nested["element"]
        found = self.own_rules(element, beyond)
        children = {}
        for name, child in nested["children"].items():
            base_element = self.element_of(type_name, name)
            inner = self.node(child, base_element, self.type_of(child["element"], base_element))
            if inner:
                children[name] = inner
        if children:
            found["children"] = children
        slices = [
            item
            for name, piece in nested["slices"].items()
            if (item := self.slice(name, piece, element, beyond, type_name))
        ]
        if slices:
            found["slices"] = slices
        return found

    def own_rules(self, element: Json, beyond: Json) -> Json:
        found: Json = {}
        if element.get("min", 0) > beyond.get("min", 0) and "." in element["path"]:
            found["min"] = element["min"]
        limit = element.get("max", "*")
        if limit not in ("*", "1") or (limit == "1" and beyond.get("many")):
            found["max"] = int(limit)
        for kind in ("fixed", "pattern"):
            for key in element:
                if key.startswith(kind):
                    found[kind] = element[key]
        codes = _required_codes(element)
        if codes and codes != beyond.get("codes"):
            found["codes"] = codes
        found |= self.type_rules(element, beyond)
        keys = [item["key"] for item in element.get("constraint", ()) if item["key"] not in self.inherited]
        if keys:
            found["invariants"] = keys
        return found

    def type_rules(self, element: Json, beyond: Json) -> Json:
        types = element.get("type", [])
        found: Json = {}
        if element.get("path", "").endswith("[x]"):
            codes = [_type_code(item) for item in types]
            if codes and len(codes) < beyond.get("choices", 0):
                found["types"] = codes
        targets = sorted(
            {self.kinds.get(url, url.rsplit("/", 1)[-1]) for item in types for url in item.get("targetProfile", ())}
        )
        if targets and "Resource" not in targets and targets != beyond.get("targets", []):
            found["targets"] = targets
        return found

    def element_of(self, type_name: str, name: str) -> Json:
        """The element `name` of a base type; of a choice, what its members share and how many there are."""
        while type_name in self.types:
            kind = self.types[type_name]
            elements = kind.get("elements", {})
            if name in elements:
                return dict(elements[name])
            if name.endswith("[x]"):
                members = [entry for entry in elements.values() if entry.get("choice") == name[:-3]]
                if members:
                    shared = {key: value for key, value in members[0].items() if key in ("min", "many", "codes")}
                    targets = sorted({target for entry in members for target in entry.get("targets", ())})
                    return {**shared, "choices": len(members), **({"targets": targets} if targets else {})}
            type_name = kind.get("base", "")
        return {}

    def type_of(self, element: Json, base_element: Json) -> str:
        types = element.get("type", [])
        if base_element.get("type") in self.types and self.types[base_element["type"]]["kind"] == "backbone":
            return str(base_element["type"])
        return _type_code(types[0]) if len(types) == 1 else str(base_element.get("type", ""))

    def slice(self, name: str, piece: Json, sliced: Json, beyond: Json, type_name: str) -> Json | None:
        element = piece["element"]
        match = [
            test for item in sliced.get("slicing", {}).get("discriminator", ()) for test in self.tests(item, piece)
        ]
        if not match:
            return None
        rules = self.node(piece, {**beyond, "min": 0}, self.type_of(element, {}) or type_name)
        rules.pop("types", None)
        repeated = {item["key"] for item in sliced.get("constraint", ())}
        if keys := [key for key in rules.pop("invariants", ()) if key not in repeated]:
            rules["invariants"] = keys
        return {"name": name, "match": match, **rules} if rules else None

    def tests(self, discriminator: Json, piece: Json) -> list[Json]:
        """The tests that put a value in the slice, for one discriminator."""
        path = "" if discriminator["path"] == "$this" else discriminator["path"]
        if discriminator["type"] == "type":
            return [{"path": path, "types": [_type_code(item) for item in piece["element"].get("type", ())]}]
        node, walked = piece, path.split(".") if path else []
        for at, name in enumerate([None, *walked]):
            if name is not None:
                node = node["children"].get(name)
                if node is None:
                    break
            place = ".".join(walked[:at])
            for kind in ("fixed", "pattern"):
                for key, value in node["element"].items():
                    if key.startswith(kind):
                        return [{"path": place, kind: value}]
        else:
            codes = _required_codes(node["element"])
            if codes:
                return [{"path": path, "codes": codes}]
        if path == "url":  # an extension of its own profile: its URL is the profile's
            urls = [url for item in piece["element"].get("type", ()) for url in item.get("profile", ())]
            return [{"path": "url", "fixed": urls[0]}] if urls else []
        return []


# -- value sets -------------------------------------------------------------------------------------------------------


def value_set_document(
    definitions: Iterable[Json],
    wanted: Iterable[str],
    *,
    stand_ins: Mapping[str, Json] | None = None,
    **properties: Any,
) -> Json:
    """Return the codes of the `wanted` value sets.

    Returns
    -------
    dict
        `value_sets`: URL to ``{system: [code, ...]}``, with ``["*"]`` where any code of the system passes because its
        codes are not in the definitions; a value set of which nothing is known is not listed, and so not checked.
    """
    items = list(definitions)
    value_sets = {item["url"]: item for item in items if item["resourceType"] == "ValueSet" and "url" in item}
    code_systems = {item["url"]: item for item in items if item["resourceType"] == "CodeSystem" and "url" in item}
    value_sets |= dict(stand_ins or {})
    found = {}
    for url in sorted(set(wanted)):
        codes = expand(url, value_sets, code_systems)
        if codes:
            found[url] = {system: sorted(members) for system, members in sorted(codes.items())}
    return {**properties, "value_sets": found}
