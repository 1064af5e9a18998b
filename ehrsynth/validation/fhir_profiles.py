"""The rules of the profiles that a resource claims, and of the extensions that it carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.fhir_requirements import US_CORE, Element, Profile, Requirements
from ehrsynth.validation.findings import Findings

__all__ = ["ProfileCheck", "matches"]

Node = dict[str, Any]
Rule = Mapping[str, Any]


def matches(value: Any, pattern: Any) -> bool:
    """Whether `value` has all that `pattern` has (ElementDefinition.pattern[x]); it may have more, in any order."""
    if type(pattern) is dict:
        return type(value) is dict and all(key in value and matches(value[key], item) for key, item in pattern.items())
    if type(pattern) is list:
        return type(value) is list and all(any(matches(item, wanted) for item in value) for wanted in pattern)
    return bool(value == pattern)


class ProfileCheck:
    """Checks resources against the profiles in ``meta.profile``; says which profiles it cannot know."""

    def __init__(self, rules: Requirements, findings: Findings) -> None:
        self.rules, self.findings = rules, findings
        self.checked: dict[str, int] = {}
        self._choices: dict[tuple[str, str], list[Element]] = {}

    def check(self, resource: Node, where: Where) -> None:
        """Check `resource` against every profile that it claims."""
        meta = resource.get("meta")
        claimed = meta.get("profile") if type(meta) is dict else None
        for url in claimed if type(claimed) is list else ():
            if type(url) is not str:
                continue
            profile = self.rules.profiles.get(url.partition("|")[0])
            kind = resource["resourceType"]
            if profile is None:
                known = url.startswith(US_CORE)
                self.findings.add(
                    "unknown-profile" if known else "unchecked-profile",
                    kind,
                    f"{where} {url}",
                    detail="" if known else f"{url}.",
                )
            elif profile.type != kind:
                self.findings.add("profile-of-another-type", kind, f"{where} {url}")
            else:
                self.checked[profile.name] = self.checked.get(profile.name, 0) + 1
                _Visit(self, profile, where, [kind]).node(resource, profile.root, kind)

    def check_extension(self, extension: Node, where: Where, path: list[str]) -> None:
        """Check one extension against its definition, if that is known."""
        url = extension.get("url")
        profile = self.rules.profiles.get(url) if type(url) is str else None
        if profile is not None and profile.type == "Extension":
            _Visit(self, profile, where, [*path, profile.name]).node(extension, profile.root, "Extension")

    def choices(self, type_name: str, stem: str) -> list[Element]:
        """The elements of a choice, remembered."""
        found = self._choices.get((type_name, stem))
        if found is None:
            found = self._choices[type_name, stem] = self.rules.choices(type_name, stem)
        return found


class _Visit:
    """One resource under one profile."""

    def __init__(self, check: ProfileCheck, profile: Profile, where: Where, path: list[str]) -> None:
        self.check, self.profile, self.where, self.path = check, profile, where, path
        self.rules = check.rules

    def add(self, name: str, value: object = "", *, detail: str = "") -> None:
        text = f"{self.profile.name}: {detail}" if detail else f"{self.profile.name}."
        self.check.findings.add(name, ".".join(self.path), f"{self.where} {value}".rstrip(), detail=text)

    def node(self, value: Any, rule: Rule, type_name: str) -> None:
        """Check one value against what `rule` asks of it; one that is told only by extensions is asked nothing."""
        if value is None:
            return
        if "fixed" in rule and value != rule["fixed"]:
            self.add("profile-fixed-value", _short(value), detail=f"It is to be {rule['fixed']!r}.")
        if "pattern" in rule and not matches(value, rule["pattern"]):
            self.add("profile-fixed-value", _short(value), detail=f"It is to have {_pattern_text(rule['pattern'])}.")
        if "codes" in rule:
            members = self.rules.value_set(rule["codes"])
            if members is not None and not members.has(value):
                self.add("profile-value-set", _short(value), detail=f"Value set: {members.name}.")
        if "targets" in rule:
            self.target(value, rule["targets"])
        for key in rule.get("invariants", ()):
            invariant = self.rules.invariants.get(key)
            if invariant is not None and (type(value) is dict or invariant.of_text) and not invariant.holds(value):
                self.check.findings.add(
                    key, ".".join(self.path), f"{self.where} {_short(value)}", detail=f"{self.profile.name}."
                )
        children = rule.get("children")
        if children and type(value) is dict:
            for name, inner in children.items():
                self.child(value, name, inner, type_name)

    def child(self, parent: Node, name: str, rule: Rule, type_name: str) -> None:
        """Check the element `name` of `parent`: how many values, and each of them."""
        self.path.append(name)
        values, kinds = self.values(parent, name, type_name)
        self.count(len(values), rule)
        allowed = rule.get("types")
        for value, kind in zip(values, kinds, strict=True):
            if allowed and kind not in allowed:
                self.add("profile-choice-type", kind, detail=f"Allowed: {', '.join(allowed)}.")
            self.node(value, rule, kind if type(value) is dict else "")
        for piece in rule.get("slices", ()):
            members = [
                (value, kind)
                for value, kind in zip(values, kinds, strict=True)
                if all(self.passes(value, kind, test) for test in piece["match"])
            ]
            self.path[-1] = f"{name}:{piece['name']}"
            self.count(len(members), piece)
            for value, kind in members:
                self.node(value, piece, kind if type(value) is dict else "")
        self.path.pop()

    def count(self, n: int, rule: Rule) -> None:
        if n < rule.get("min", 0):
            detail = "" if rule["min"] == 1 else f"At least {rule['min']}."
            self.add("profile-missing-element", detail=detail)
        if n > rule.get("max", n):
            self.add("profile-too-many", n, detail=f"At most {rule['max']}.")

    def values(self, parent: Node, name: str, type_name: str) -> tuple[list[Any], list[str]]:
        """The values of an element and the type of each; a value told only by extensions counts as there."""
        if name.endswith("[x]"):
            for element in self.check.choices(type_name, name[:-3]):
                if element.name in parent:
                    return [parent[element.name]], [element.type]
                if f"_{element.name}" in parent:
                    return [None], [element.type]
            return [], []
        member = self.rules.type(type_name).elements.get(name) if type_name else None
        kind = member.type if member is not None else ""
        found = parent.get(name)
        if found is None:
            found = parent.get(f"_{name}")
            return ([None], [kind]) if found else ([], [])
        items = found if type(found) is list else [found]
        return items, [kind] * len(items)

    def passes(self, value: Any, kind: str, test: Rule) -> bool:
        """Whether `value` passes one test of a slice; of several values at a path one is enough."""
        if "types" in test:
            return kind in test["types"]
        for item in _at(value, test["path"]):
            if "fixed" in test and item == test["fixed"]:
                return True
            if "pattern" in test and matches(item, test["pattern"]):
                return True
            if "codes" in test:
                members = self.rules.value_set(test["codes"])
                if members is not None and members.has(item):
                    return True
        return False

    def target(self, value: Any, targets: list[str]) -> None:
        """The type a literal reference names; that of a urn: reference is known only when the Bundle is resolved."""
        reference = value.get("reference") if type(value) is dict else None
        if (
            type(reference) is str
            and "/" in reference
            and "?" not in reference
            and not reference.startswith(("urn:", "#"))
        ):
            parts = reference.partition("/_history/")[0].rsplit("/", 2)
            if len(parts) >= 2 and parts[-2] in self.rules.resource_types and parts[-2] not in targets:
                self.add("profile-target-type", reference, detail=f"Allowed: {', '.join(targets)}.")


def _at(value: Any, path: str) -> Iterator[Any]:
    if not path:
        yield value
        return
    head, _, rest = path.partition(".")
    found = value.get(head) if type(value) is dict else None
    for item in found if type(found) is list else [found]:
        if item is not None:
            yield from _at(item, rest)


def _pattern_text(pattern: Any) -> str:
    if type(pattern) is dict and type(pattern.get("coding")) is list:
        return ", ".join(f"{item.get('system', '')}|{item.get('code', '')}" for item in pattern["coding"])
    return repr(pattern)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
