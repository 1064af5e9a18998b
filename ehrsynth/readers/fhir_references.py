"""What FHIR references mean: literal, absolute, within a Bundle, contained, conditional and logical ones."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

__all__ = ["UNRESOLVED", "Identifiers", "Scope", "key_of", "name_of_reference", "split_name"]

UNRESOLVED = "?"
"""First letter of a reference that has to wait until everything is read; no id begins with it."""

_LITERAL = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([^/?#\s]+?)(?:/_history/[^/]*)?\Z")
_CONDITIONAL = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)\?(.*)\Z", re.DOTALL)


class Scope:
    """The names that the entries of a Bundle have: from full URLs to ``Type/id``.

    `already` has the ids of those that are not created because an earlier resource has their identifier.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.already: dict[str, str] = {}

    def add(self, resource: dict[str, Any], url: Any, condition: Any, identifiers: Identifiers) -> None:
        """Note an entry; of two with one URL the first is meant.

        One that is to be created only where none has its identifier (`condition`) is the one that has it already.
        """
        kind = resource.get("resourceType")
        key = key_of(resource, url)
        if type(url) is not str or type(kind) is not str or key is None:
            return
        name = f"{kind}/{key}"
        if type(condition) is str and condition.startswith("identifier="):
            found = identifiers.find(f"{kind}?{unquote(condition.removeprefix('identifier='))}")
            if found is not None:
                name = found
                self.already[url] = found.partition("/")[2]
        self.names.setdefault(url, name)


def key_of(resource: dict[str, Any], url: Any = None) -> str | None:
    """Return the id of a resource; one that is yet to be created is known by its full URL's last part."""
    found = resource.get("id")
    if type(found) is str and found:
        return found
    if type(url) is str and url:
        return url.removeprefix("urn:uuid:").removeprefix("urn:oid:").rstrip("/").rsplit("/", 1)[-1] or None
    return None


def name_of_reference(reference: Any, expected: str, scope: Scope | None, contained: dict[str, str]) -> str | None:
    """Return ``Type/id`` for a Reference, or a text that begins with `UNRESOLVED`; None if it points at nothing.

    Parameters
    ----------
    reference : Any
        The Reference: literal (``Type/id``), absolute, ``urn:uuid:``, contained (``#id``), conditional
        (``Type?identifier=system|value``) or logical (an Identifier without ``reference``).
    expected : str
        The type it should lead to, where it does not say.
    scope : Scope, optional
        The names of the Bundle.
    contained : mapping
        From ``#id`` to the names of the resources that the one with the reference contains.
    """
    if type(reference) is not dict:
        return None
    text = reference.get("reference")
    if type(text) is not str or not text:
        return _logical(reference, expected)
    if scope is not None and (found := scope.names.get(text)) is not None:
        return found
    if text[0] == "#":
        return contained.get(text, f"{UNRESOLVED}{text}")
    if text.startswith("urn:"):
        return f"{UNRESOLVED}{text}"
    kind, _, ident = text.partition("/")
    if ident and kind.isalpha() and "/" not in ident and "?" not in ident:
        return text
    if match := _LITERAL.match(text):
        return f"{match[1]}/{match[2]}"
    if match := _CONDITIONAL.match(text):
        query = dict(part.partition("=")[::2] for part in match[2].split("&"))
        if set(query) == {"identifier"}:
            return f"{UNRESOLVED}{match[1]}?{unquote(query['identifier'])}"
        if set(query) == {"_id"}:
            return f"{match[1]}/{query['_id']}"
    return f"{UNRESOLVED}{text}"


def _logical(reference: dict[str, Any], expected: str) -> str | None:
    identifier = reference.get("identifier")
    if type(identifier) is not dict or type(identifier.get("value")) is not str:
        return None
    kind = reference.get("type") or expected
    return f"{UNRESOLVED}{kind}?{identifier.get('system') or ''}|{identifier['value']}"


def split_name(name: str) -> tuple[str, str]:
    """Return type and id of ``Type/id``."""
    kind, _, ident = name.partition("/")
    return kind, ident


class Identifiers:
    """Who has which identifier: what conditional and logical references are looked up in."""

    def __init__(self) -> None:
        self._names: dict[str, str | None] = {}

    def add(self, kind: str, key: str, identifiers: Any) -> None:
        """Note the identifiers of a resource; one that two resources have leads to neither."""
        for token in self.tokens(kind, identifiers):
            self.add_token(token, f"{kind}/{key}")

    @staticmethod
    def tokens(kind: str, identifiers: Any) -> list[str]:
        """Return the ``Type?system|value`` of the identifiers of a resource."""
        return [
            f"{kind}?{identifier.get('system') or ''}|{identifier['value']}"
            for identifier in (identifiers if type(identifiers) is list else ())
            if type(identifier) is dict and type(identifier.get("value")) is str
        ]

    def add_token(self, token: str, name: str) -> None:
        """Note that the resource ``Type/id`` has an identifier."""
        self._names[token] = name if self._names.get(token, name) == name else None

    def find(self, token: str) -> str | None:
        """Return the ``Type/id`` that ``Type?system|value`` leads to."""
        return self._names.get(token)
