"""Every id and every reference of a set of resources, and which references lead to nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.findings import Findings

__all__ = ["References", "Scope", "name_of"]

_LITERAL = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://.+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
).fullmatch
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(.+)").fullmatch


@dataclass(frozen=True)
class Scope:
    """The Bundle that a resource is in: `names` is fullUrl to ``Type/id``, or to the fullUrl itself without an id."""

    file: str
    names: Mapping[str, str]
    types: Mapping[str, str]


def name_of(kind: str, ident: object, full_url: object = None) -> str:
    """Return what a resource is known by: ``Type/id``, else its fullUrl, else nothing."""
    if type(ident) is str and ident:
        return f"{kind}/{ident}"
    return full_url if type(full_url) is str else ""


class References:
    """The ids seen, and the references that have led to none of them so far; memory grows with the ids.

    A reference is counted where it was first found; what is pending when all has been read leads to nothing.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.checked = 0
        self._names: dict[str, int] = {}
        self._full_urls: set[str] = set()
        self._identifiers: dict[str, set[str]] = {}
        self._pending: dict[tuple[str, str], list[Any]] = {}
        self._conditional: dict[tuple[str, str], list[Any]] = {}

    # -- what is there -----------------------------------------------------------------------------------------------

    def add(self, name: str, content: int, where: Where, scope: Scope | None, seen: set[str] | None) -> None:
        """Take in a resource known by `name`; the same resource may stand in several Bundles, but once in each."""
        kind = name.partition("/")[0]
        known = self._names.get(name)
        if known is None:
            self._names[name] = content
        elif scope is None or seen is None or name in seen:
            self.findings.add("duplicate-id", kind, str(where))
        elif known != content:
            self.findings.add("differing-duplicate", kind, str(where))
        if seen is not None:
            seen.add(name)

    def add_full_urls(self, scope: Scope) -> None:
        """Take in the fullUrls of a Bundle (http ones may be referred to from elsewhere)."""
        self._full_urls.update(url for url in scope.names if not url.startswith("urn:"))

    def add_identifier(self, kind: str, system: str, value: str, *, where: Where, repeated: bool) -> None:
        """Take in an identifier of a resource; `repeated`: the resource itself has been seen in another Bundle."""
        text = f"{system}|{value}"
        known = self._identifiers.setdefault(kind, set())
        if text in known and not repeated:
            self.findings.add("duplicate-identifier", f"{kind}.identifier", f"{where} {text}")
        known.add(text)

    def is_known(self, name: str) -> bool:
        """Whether a resource of that name has been taken in."""
        return name in self._names

    # -- what is referred to -----------------------------------------------------------------------------------------

    def meet(self, reference: str, targets: frozenset[str], place: str, where: Where, scope: Scope | None) -> None:
        """Take in one reference: `targets` are the types it may lead to, empty if any."""
        self.checked += 1
        if reference.startswith("urn:"):
            if scope is None or reference not in scope.names:
                self.findings.add("dangling-reference", place, f"{where} {reference}")
            else:
                self._check_target(scope.types[reference], reference, targets, place, where)
            return
        match = _LITERAL(reference)
        if match is None:
            self._meet_other(reference, targets, place, where, scope)
            return
        kind, ident = match.groups()
        self._check_target(kind, reference, targets, place, where)
        name = f"{kind}/{ident}"
        if name not in self._names and (scope is None or reference not in scope.names):
            self._wait(self._pending, reference, place, where)

    def _meet_other(
        self, reference: str, targets: frozenset[str], place: str, where: Where, scope: Scope | None
    ) -> None:
        match = _CONDITIONAL(reference)
        if match is not None:
            self._check_target(match[1], reference, targets, place, where)
            if scope is None:
                self.findings.add("conditional-outside-bundle", place, f"{where} {reference}")
            self._wait(self._conditional, reference, place, where)
        elif "://" in reference:
            # A URL that is no FHIR resource's: allowed, and out of reach.
            self.findings.add("external-reference", place, f"{where} {reference}")
        else:
            self.findings.add("malformed-reference", place, f"{where} {reference}")

    def _check_target(self, kind: str, reference: str, targets: frozenset[str], place: str, where: Where) -> None:
        if targets and kind not in targets:
            allowed = ", ".join(sorted(targets))
            self.findings.add("reference-target-type", place, f"{where} {reference}", detail=f"Allowed: {allowed}.")

    @staticmethod
    def _wait(waiting: dict[tuple[str, str], list[Any]], reference: str, place: str, where: Where) -> None:
        entry = waiting.get((reference, place))
        if entry is None:
            waiting[reference, place] = [1, where]
        else:
            entry[0] += 1

    def finish(self) -> None:
        """Report what leads to nothing, now that all has been read."""
        for (reference, place), (count, where) in self._pending.items():
            match = _LITERAL(reference)
            if match is None or f"{match[1]}/{match[2]}" in self._names or reference in self._full_urls:
                continue
            check = "external-reference" if "://" in reference else "dangling-reference"
            self.findings.add(check, place, f"{where} {reference}", count=count)
        for (reference, place), (count, where) in self._conditional.items():
            kind, _, query = reference.partition("?")
            wanted = query.partition("identifier=")[2].split("&")[0]
            if wanted not in self._identifiers.get(kind, ()):
                self.findings.add("unmatched-conditional", place, f"{where} {reference}", count=count)
