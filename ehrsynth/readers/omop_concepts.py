"""OMOP concepts: what the concept tables beside the records say of an id, else what the packaged vocabularies know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Account
from ehrsynth.readers.omop_standard import OMOP, system_of
from ehrsynth.readers.source import SourceFolder, SourceTable
from ehrsynth.readers.source_codes import CPT, tidy
from ehrsynth.readers.values import parse
from ehrsynth.terminology import CodeSystem, Coding, library

__all__ = ["Concept", "Concepts", "local_system"]

_COLUMNS = ("concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_code")


@dataclass(frozen=True, kw_only=True)
class Concept:
    """What is known of a concept id: coding, domain (empty if unknown), and whether its vocabulary is public."""

    coding: Coding
    domain: str
    public: bool


_URI = re.compile(r"(urn|https?):\S+")


def _is_local(concept_id: str) -> bool:
    # OMOP leaves ids above two billion to the sources.
    return concept_id.isdigit() and int(concept_id) > 2_000_000_000


def local_system(name: str) -> str:
    """Return the URI of a source's own vocabulary or column: ``urn:ehrsynth:source:mimiciv-drug-ndc``."""
    return f"urn:ehrsynth:source:{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'unknown'}"


class Concepts:
    """Concepts by id.

    The folder's concept tables are every table named ``concept`` with or without something before it (``2b_concept``:
    the local concepts that the OHDSI MIMIC data set keeps apart); ``concept_relationship`` likewise, of which only
    "Maps to" is used. Both may be as large as the full vocabularies: they are held as columns and searched for the ids
    that are asked for. Ids that are not there are looked up in the packaged vocabularies: concept maps whose source is
    OMOP, and code systems with a column ``omop_concept_id``.

    Parameters
    ----------
    folder : SourceFolder
    account : Account
    """

    def __init__(self, folder: SourceFolder, account: Account) -> None:
        self._folder = folder
        self._account = account
        self._found: dict[str, Concept | None] = {}
        self._learned: dict[str, str] = {}

    @cached_property
    def _tables(self) -> list[SourceTable]:
        tables = []
        for stem in self._folder.matching(r"(.*[_\W])?concept"):
            table = self._folder.read("concept", stem=stem, wanted=_COLUMNS)
            self._account.require_columns(table, _COLUMNS)
            table = self._account.open(table)
            self._account.close(table)
            tables.append(table.with_column("concept_id", parse(table["concept_id"], "key").values))
        if not tables:
            self._account.note(
                "There is no concept table: codes come from the source values and the packaged vocabularies."
            )
        return tables

    @cached_property
    def _maps_to(self) -> list[tuple[pa.ChunkedArray, pa.ChunkedArray]]:
        pairs = []
        for stem in self._folder.matching(r"(.*[_\W])?concept_relationship"):
            wanted = ("concept_id_1", "concept_id_2", "relationship_id")
            table = self._folder.read("concept_relationship", stem=stem, wanted=wanted)
            self._account.require_columns(table, wanted)
            columns = table.columns.filter(pc.equal(table["relationship_id"], "Maps to"))
            one, two = (parse(columns[name], "key").values for name in wanted[:2])
            other = pc.not_equal(one, two)
            pairs.append((one.filter(other), two.filter(other)))
        return pairs

    @cached_property
    def _references(self) -> dict[str, str]:
        """The URI of each vocabulary of the source's own that says it."""
        if "vocabulary" not in self._folder:
            return {}
        table = self._folder.read("vocabulary", wanted=("vocabulary_id", "vocabulary_reference"))
        if "vocabulary_id" not in table or "vocabulary_reference" not in table:
            return {}
        pairs = zip(table["vocabulary_id"].to_pylist(), table["vocabulary_reference"].to_pylist(), strict=True)
        return {one: uri for one, uri in pairs if one and uri and _URI.match(uri)}

    def find(self, ids: Iterable[str]) -> dict[str, Concept]:
        """Return what is known of each id; ids of which nothing is known, and 0 (no concept), are left out."""
        asked = list(dict.fromkeys(ids))
        new = [one for one in asked if one not in self._found]
        if new:
            self._found.update(dict.fromkeys(new))
            for table in self._tables:
                self._found.update(_rows_of(table, new, self._references))
            rest = [one for one in new if self._found[one] is None]
            self._found.update(_packaged(rest))
            self._found["0"] = None
        return {one: concept for one in asked if (concept := self._found[one]) is not None}

    def learn_domains(self, rows: Iterable[tuple[str | None, ...]], known: Mapping[str, Concept]) -> None:
        """Remember the domain of source concepts of which nothing is known but the standard concept beside them.

        Some ETLs write a diagnosis into every table there is, with a standard concept only where it belongs: what the
        table of conditions says of a source concept holds in the table of drugs.
        """
        for source, standard, *_ in rows:
            beside = known.get(standard or "")
            if source and source not in known and beside is not None and beside.domain:
                self._learned.setdefault(source, beside.domain)

    def domain_of(self, source_id: str | None, source: Concept | None, standard: Concept | None) -> str:
        """Return the domain of a row: of its standard concept, else of its source concept; empty if unknown."""
        if standard is not None:
            return standard.domain
        return source.domain if source is not None else self._learned.get(source_id or "", "")

    def maps_to(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the standard concept that each id maps to, where the folder says so (the first of several)."""
        asked = pa.array(list(dict.fromkeys(ids)), pa.string())
        found: dict[str, str] = {}
        for one, two in self._maps_to:
            here = pc.is_in(one, value_set=asked)
            for source, target in zip(one.filter(here).to_pylist(), two.filter(here).to_pylist(), strict=True):
                found.setdefault(source, target)
        return found


def _rows_of(table: SourceTable, ids: list[str], references: Mapping[str, str]) -> dict[str, Concept]:
    rows = table.columns.filter(pc.is_in(table["concept_id"], value_set=pa.array(ids, pa.string())))
    found = {}
    for one, name, domain, vocabulary, code in zip(*(rows[column].to_pylist() for column in _COLUMNS), strict=True):
        system, text = system_of(vocabulary or ""), tidy(code)
        if text is None:
            continue
        if text == f"OMOP:{one}":
            # Written by us: the code is another's to give, the domain is known.
            coding = Coding(system=local_system("omop-concept"), code=one, display=tidy(name))
            found[one] = Concept(coding=coding, domain=domain or "", public=False)
            continue
        # The descriptions of CPT are the American Medical Association's and go no further.
        display = None if system == CPT else tidy(name)
        own = references.get(vocabulary or "") if _is_local(one) else None
        # A concept has to have a name: of a code without a text it is the code.
        display = None if display == text and (system or own) else display
        coding = Coding(system=system or own or local_system(vocabulary or "unknown"), code=text, display=display)
        found[one] = Concept(coding=coding, domain=domain or "", public=system is not None)
    return found


def _packaged(ids: list[str]) -> dict[str, Concept]:
    found: dict[str, Concept] = {}
    if not ids:
        return found
    for package in library.packages("concept_map"):
        if package.properties.get("source") == OMOP:
            for one in ids:
                hits = library.concept_map(package.name).translate(OMOP, one)
                if hits and one not in found:
                    found[one] = Concept(coding=hits[0], domain="", public=True)
    wanted = pa.array(ids, pa.string())
    for system in library.code_systems():
        if "omop_concept_id" not in _columns(system):
            continue
        rows = system.codes.filter(pc.is_in(system.codes["omop_concept_id"].cast(pa.string()), value_set=wanted))
        texts = rows["display"].to_pylist() if "display" in rows.column_names else [None] * rows.num_rows
        for one, code, text in zip(rows["omop_concept_id"].to_pylist(), rows["code"].to_pylist(), texts, strict=True):
            found.setdefault(
                str(one),
                Concept(coding=Coding(system=system.uri, code=code, display=text), domain="", public=True),
            )
    return found


def _columns(system: CodeSystem) -> set[str]:
    # From the descriptor: the table itself need not be read to know that it has no such column.
    return {
        field["name"]
        for entry in system.descriptor["resources"]
        if entry["name"] == "codes"
        for field in entry["schema"]["fields"]
    }
