"""The library: every vocabulary by name or URI, the packaged ones and the user's own folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from ehrsynth import resources
from ehrsynth.errors import UsageError
from ehrsynth.terminology.code_system import CodeSystem
from ehrsynth.terminology.coding import Coding
from ehrsynth.terminology.concept_map import ConceptMap
from ehrsynth.terminology.package import KINDS, VocabularyPackage
from ehrsynth.terminology.value_set import ValueSet

__all__ = [
    "ENVIRONMENT",
    "Hit",
    "Library",
    "add_folder",
    "code_system",
    "code_systems",
    "concept_map",
    "find_code_system",
    "identity",
    "packages",
    "search",
    "standard",
    "use_folders",
    "value_set",
]

ENVIRONMENT = "EHRSYNTH_VOCABULARIES"
"""Environment variable that names more folders of vocabularies, separated as in PATH; workers inherit it."""

_CLASSES: dict[str, type[VocabularyPackage]] = {
    "code_system": CodeSystem,
    "value_set": ValueSet,
    "concept_map": ConceptMap,
    "identity": VocabularyPackage,
}


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A code that a search found: its coding, and the name of its code system."""

    coding: Coding
    vocabulary: str


class Library:
    """Vocabularies by kind and name. A later folder's vocabulary takes the place of an earlier one of the same name.

    Parameters
    ----------
    folders : sequence of path
        The user's own folders: each a vocabulary (it holds a ``datapackage.json``), or a folder of such folders.
    """

    def __init__(self, folders: tuple[str | Path, ...] = ()) -> None:
        self._packages: dict[str, dict[str, VocabularyPackage]] = {kind: {} for kind in KINDS}
        self._by_uri: dict[str, CodeSystem] = {}
        for house in resources.list_folders("vocabularies"):
            for name in resources.list_folders(f"vocabularies/{house}"):
                self._add(resources.folder(f"vocabularies/{house}/{name}"))
        for folder in folders:
            self.add_folder(folder)

    def _add(self, folder: Traversable) -> VocabularyPackage:
        package = VocabularyPackage(folder)
        package = _CLASSES[package.kind](folder)
        self._packages[package.kind][package.name] = package
        if isinstance(package, CodeSystem):
            # Some systems go by two names: HCPCS by http at HL7 and by https in US Core.
            for uri in (package.uri, *package.properties.get("also", ())):
                self._by_uri[uri] = package
        return package

    def add_folder(self, path: str | Path) -> list[VocabularyPackage]:
        """Take in a vocabulary, or all vocabularies of a folder, and return them.

        Raises
        ------
        UsageError
            There is no such folder, or no vocabulary in it.
        ResourceError
            A descriptor that does not say what it is.
        """
        root = Path(path)
        if not root.is_dir():
            raise UsageError("There is no such folder of vocabularies.", file=root)
        found = (
            [root]
            if (root / "datapackage.json").is_file()
            else sorted(p.parent for p in root.rglob("datapackage.json"))
        )
        if not found:
            raise UsageError("No vocabulary in this folder.", file=root, hint="A vocabulary holds a datapackage.json.")
        return [self._add(folder) for folder in found]

    def packages(self, kind: str | None = None) -> list[VocabularyPackage]:
        """Return the vocabularies of a kind, or all, sorted by kind and name."""
        kinds = KINDS if kind is None else (kind,)
        return [self._packages[one][name] for one in kinds for name in sorted(self._packages[one])]

    def _get(self, kind: str, name: str) -> VocabularyPackage:
        try:
            return self._packages[kind][name]
        except KeyError:
            from ehrsynth.plugins import nearest  # costs more to import than all of this room

            known = sorted(self._packages[kind])
            raise UsageError(f"There is no {kind.replace('_', ' ')} {name!r}.", hint=nearest(name, known)) from None

    def code_systems(self) -> list[CodeSystem]:
        """Return the code systems, sorted by name."""
        return [package for package in self.packages("code_system") if isinstance(package, CodeSystem)]

    def find_code_system(self, name: str) -> CodeSystem | None:
        """Return the code system of a name or URI; None if there is none."""
        found: VocabularyPackage | None = self._by_uri.get(name)
        if found is None:
            # Not by "or": whether a system has codes is only known when it is read.
            found = self._packages["code_system"].get(name)
        return found if isinstance(found, CodeSystem) else None

    def code_system(self, name: str) -> CodeSystem:
        """Return the code system of a name or URI.

        Raises
        ------
        UsageError
            There is none; near names are suggested.
        """
        found = self.find_code_system(name)
        if found is None:
            found = self._get("code_system", name)  # type: ignore[assignment]
        assert isinstance(found, CodeSystem)
        return found

    def value_set(self, name: str) -> ValueSet:
        """Return the value set of a name; UsageError if there is none."""
        found = self._get("value_set", name)
        assert isinstance(found, ValueSet)
        return found

    def concept_map(self, name: str) -> ConceptMap:
        """Return the concept map of a name; UsageError if there is none."""
        found = self._get("concept_map", name)
        assert isinstance(found, ConceptMap)
        return found

    def identity(self, name: str) -> VocabularyPackage:
        """Return the identity data (names, places) of a name; UsageError if there is none."""
        return self._get("identity", name)

    def search(self, text: str, *, system: str | None = None, limit: int = 20) -> list[Hit]:
        """Return the codes whose code begins with `text` or whose display holds all its words.

        The order: the code itself, then codes that begin with it, then displays, the shortest first (the shorter, the
        more general), then by system and code.

        Parameters
        ----------
        text : str
            Words or a code; case does not matter.
        system : str, optional
            Name or URI of the only code system to look in.
        limit : int
            At most so many.
        """
        systems = self.code_systems() if system is None else [self.code_system(system)]
        ranked = [entry for one in systems for entry in _search(one, text, limit)]
        ranked.sort(key=lambda entry: entry[0])
        return [hit for _, hit in ranked[:limit]]


def _search(system: CodeSystem, text: str, limit: int) -> Iterator[tuple[tuple[int, int, str, str], Hit]]:
    import pyarrow.compute as pc

    words = text.lower().split()
    if not words or not len(system):
        return
    codes = system.codes["code"]
    displays = pc.coalesce(system.codes["display"], "") if "display" in system.codes.column_names else codes
    lower = pc.utf8_lower(codes)
    by_code = pc.starts_with(lower, words[0]) if len(words) == 1 else pc.equal(lower, " ".join(words))
    matches = pc.match_substring(displays, words[0], ignore_case=True)
    for word in words[1:]:
        matches = pc.and_(matches, pc.match_substring(displays, word, ignore_case=True))
    rows = pc.indices_nonzero(pc.or_(by_code, matches))
    found = zip(
        codes.take(rows).to_pylist(), displays.take(rows).to_pylist(), by_code.take(rows).to_pylist(), strict=True
    )
    ranked = []
    for code, display, is_code in found:
        rank = 0 if code.lower() == text.lower() else 1 if is_code else 2
        key = (rank, len(code) if is_code else len(display), system.name, code)
        coding = Coding(system=system.uri, code=code, display=display or None)
        ranked.append((key, Hit(coding=coding, vocabulary=system.name)))
    ranked.sort(key=lambda entry: entry[0])
    yield from ranked[:limit]


_standard: list[Library] = []


def standard() -> Library:
    """Return the process's library: the packaged vocabularies and the folders that EHRSYNTH_VOCABULARIES names."""
    if not _standard:
        extra = os.environ.get(ENVIRONMENT, "")
        _standard.append(Library(tuple(path for path in extra.split(os.pathsep) if path)))
    return _standard[0]


def add_folder(path: str | Path) -> list[VocabularyPackage]:
    """Take the user's vocabularies into this process's library; see `Library.add_folder`."""
    return standard().add_folder(path)


def use_folders(paths: Iterable[str | Path]) -> None:
    """Take the user's vocabularies into the library of this process and of the processes that it starts from now on."""
    for path in paths:
        add_folder(path)
        others = [one for one in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if one]
        os.environ[ENVIRONMENT] = os.pathsep.join([*others, str(Path(path).resolve())])


def packages(kind: str | None = None) -> list[VocabularyPackage]:
    """Return all vocabularies, or those of a kind."""
    return standard().packages(kind)


def code_systems() -> list[CodeSystem]:
    """Return the code systems, sorted by name."""
    return standard().code_systems()


def code_system(name: str) -> CodeSystem:
    """Return the code system of a name or URI; UsageError if there is none."""
    return standard().code_system(name)


def find_code_system(name: str) -> CodeSystem | None:
    """Return the code system of a name or URI; None if there is none."""
    return standard().find_code_system(name)


def value_set(name: str) -> ValueSet:
    """Return a value set; UsageError if there is none."""
    return standard().value_set(name)


def concept_map(name: str) -> ConceptMap:
    """Return a concept map; UsageError if there is none."""
    return standard().concept_map(name)


def identity(name: str) -> VocabularyPackage:
    """Return identity data: names, places; UsageError if there is none."""
    return standard().identity(name)


def search(text: str, system: str | None = None, limit: int = 20) -> list[Hit]:
    """Return codes by code or words of their display; see `Library.search`."""
    return standard().search(text, system=system, limit=limit)
