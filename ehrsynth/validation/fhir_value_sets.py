"""The codes of a FHIR value set, from its definition and those of the code systems that it draws on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ANY", "canonical", "expand"]

Json = dict[str, Any]
Codes = dict[str, set[str]]

ANY = "*"
"""Stands for every code of a system: its codes are not at hand, or are too many to list."""


def canonical(url: str) -> str:
    """Return `url` without its version (``|4.0.1``)."""
    return url.partition("|")[0]


def expand(url: str, value_sets: Mapping[str, Json], code_systems: Mapping[str, Json]) -> Codes | None:
    """Return the codes of the value set `url` by system, or None if they cannot be told from the definitions given.

    Where a filter or a code system is not at hand, any code of that system passes (`ANY`): it is never too narrow.
    """
    definition = value_sets.get(canonical(url))
    if definition is None or "compose" not in definition:
        return None
    found: Codes = {}
    for include in definition["compose"].get("include", ()):
        part = _part(include, value_sets, code_systems)
        if part is None:
            return None
        for system, codes in part.items():
            found.setdefault(system, set()).update(codes)
    for exclude in definition["compose"].get("exclude", ()):
        # Only what is excluded code by code is taken out: an exclusion by filter may be wider than what we know of it.
        for concept in exclude.get("concept", ()):
            found.get(exclude.get("system", ""), set()).discard(concept["code"])
    return {system: {ANY} if ANY in codes else codes for system, codes in found.items() if codes}


def _part(include: Json, value_sets: Mapping[str, Json], code_systems: Mapping[str, Json]) -> Codes | None:
    others = [expand(item, value_sets, code_systems) for item in include.get("valueSet", ())]
    if any(item is None for item in others):
        return None
    own = _of_system(include, code_systems) if "system" in include else None
    parts = [part for part in (own, *others) if part is not None]
    if not parts:
        return None
    joined = parts[0]
    for part in parts[1:]:  # several value sets in one include, and system beside value set, mean intersection
        joined = {system: _both(codes, part[system]) for system, codes in joined.items() if system in part}
    return joined


def _both(a: set[str], b: set[str]) -> set[str]:
    if ANY in a:
        return b
    return a if ANY in b else a & b


def _of_system(include: Json, code_systems: Mapping[str, Json]) -> Codes:
    system = include["system"]
    if "concept" in include:
        return {system: {concept["code"] for concept in include["concept"]}}
    definition = code_systems.get(system)
    if definition is None or definition.get("content") != "complete":
        return {system: {ANY}}
    filters = include.get("filter", ())
    if not filters:
        return {system: set(_below(definition.get("concept", ())))}
    codes: set[str] = set(_below(definition.get("concept", ())))
    for item in filters:
        if item["property"] != "concept" or item["op"] not in ("is-a", "descendent-of"):
            return {system: {ANY}}
        codes &= _descendants(definition, item["value"], itself=item["op"] == "is-a")
    return {system: codes}


def _below(concepts: Any) -> list[str]:
    found = []
    stack = list(concepts)
    while stack:
        concept = stack.pop()
        found.append(concept["code"])
        stack.extend(concept.get("concept", ()))
    return found


def _descendants(definition: Json, root: str, *, itself: bool) -> set[str]:
    """Codes below `root`, by nesting or by the property `subsumedBy` (how v3 code systems write several parents)."""
    children: dict[str, set[str]] = {}
    stack = [(None, concept) for concept in definition.get("concept", ())]
    while stack:
        parent, concept = stack.pop()
        parents = {
            item.get("valueCode") for item in concept.get("property", ()) if item["code"] in ("subsumedBy", "parent")
        }
        for name in {parent, *parents} - {None}:
            children.setdefault(str(name), set()).add(concept["code"])
        stack.extend((concept["code"], child) for child in concept.get("concept", ()))
    found, todo = set(), [root]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found | {root} if itself else found - {root}
