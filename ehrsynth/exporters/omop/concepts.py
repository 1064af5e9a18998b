"""OMOP concept ids of codes: their own, the standard one, and ids of our own for codes that have none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from ehrsynth.exporters.omop.athena import Athena
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, NDC, RXNORM, UCUM, library

__all__ = ["ALLERGY", "Code", "Concept", "ConceptIds", "Target", "local_id", "source_concept"]

ALLERGY = "urn:ehrsynth:allergy-to"
"""System of the packaged map for substances as what somebody is allergic to."""

LOCAL = 2_000_000_000
"""Concept ids above are the sources' own (OMOP's convention)."""

# Every shipped code system has a million ids, by the row of the code in it; half of them for values.
_SYSTEMS = ("icd10cm", "icd9cm", "rxnorm", "loinc", "cvx", "snomed", "ccsr", "cdcrec", "nucc", "sopt")
_ROOM, _VALUES = 1_000_000, 500_000
# Codes that no shipped system lists: 47 bits of a hash, above all that fits into 32 bits.
_FAR, _HASH_BITS = 1 << 33, 47

# Systems of which a longer code is a child of the shorter one it begins with; of HCPCS whole codes are stated.
_HIERARCHIES = {
    ICD10CM: "icd10cm",
    "http://www.cms.gov/Medicare/Coding/ICD10": "icd10pcs",
    "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "hcpcs",
}

# Not ICD-9-CM: it has diagnoses and procedures.
_DOMAINS = {ICD10CM: "Condition", RXNORM: "Drug", CVX: "Drug", NDC: "Drug", LOINC: "Measurement"}


class Code(NamedTuple):
    """A code as the records have it. `role` is ``value`` where it is the value of a measurement, else empty."""

    system: str
    code: str
    display: str | None
    role: str = ""


class Target(NamedTuple):
    """Where a code leads: its own concept id, the standard one (0: none), its domain, and how it was found.

    `relation` is ``mapped``, ``broader`` (the standard concept says less), ``chapter`` (it says no more than a chapter
    of the classification: a disorder of the skin) or ``none``.
    """

    source: int
    standard: int
    domain: str
    relation: str


class Concept(NamedTuple):
    """A row of the table of concepts."""

    concept_id: int
    concept_name: str
    domain_id: str
    vocabulary_id: str
    concept_class_id: str
    standard_concept: str | None
    concept_code: str


class ConceptIds:
    """Concept ids, by the packaged maps or by a user's own download of the vocabularies.

    Parameters
    ----------
    athena : Athena, optional
        What it knows comes first.
    """

    def __init__(self, athena: Athena | None = None) -> None:
        self._athena = athena
        self._known: dict[Code, Target] = {}

    def resolve(self, codes: Sequence[Code]) -> list[Target]:
        """Return where each code leads; asked for once, it is remembered."""
        new = list(dict.fromkeys(code for code in codes if code not in self._known))
        if new:
            if self._athena is not None:
                found = self._athena.targets([(_vocabularies(code.system), code.code) for code in new])
                for code, hit in zip(new, found, strict=True):
                    if hit is not None and hit[1]:
                        self._known[code] = Target(*hit, "mapped")
            for code in new:
                if code not in self._known:
                    self._known[code] = self._packaged(code)
        return [self._known[code] for code in codes]

    def _packaged(self, code: Code) -> Target:
        source, standard, domain, relation = _shipped_map().get((code.system, code.code), (0, 0, "", "none"))
        if not standard and (name := _hierarchy(code)):
            standard, domain, relation = _broader(name, code.system, code.code)
        if code.role == "value" and domain != "Meas Value":
            # The value of a measurement has to be of one domain; a concept of our own is of it.
            source, standard = 0, 0
        return Target(source or local_id(code), standard, domain, relation)

    def describes(self, concept_id: int) -> bool:
        """Whether `describe` knows a concept."""
        if concept_id in _shipped_concepts():
            return True
        # Ids of our own are above, and never in a download.
        return self._athena is not None and concept_id < LOCAL and self._athena.has(concept_id)

    def is_public(self, system: str) -> bool:
        """Whether OMOP has a name for a code system."""
        return bool(_vocabularies(system))

    def units(self, units: Iterable[str | None]) -> list[int | None]:
        """Return the concept id of each UCUM unit, 0 where there is none, None where there is no unit."""
        shipped = _shipped_map()
        return [None if unit is None else shipped.get((UCUM, unit), (0, 0, "", ""))[1] for unit in units]

    def ingredients(self, concept_ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """Return what is in each drug; an ingredient is its own."""
        found = _shipped_ingredients()
        return {one: found[one] for one in concept_ids if one in found}

    def describe(self, concept_ids: Iterable[int], names: Mapping[int, str]) -> list[Concept]:
        """Return the rows of concepts with these ids, as far as they are known.

        Parameters
        ----------
        names : mapping of concept id to text
            What to call concepts whose own names are not ours to give: the text of a code that leads to them.
        """
        wanted = sorted(set(concept_ids))
        rows: dict[int, Concept] = self._athena.concepts(wanted) if self._athena is not None else {}
        for one in wanted:
            if one not in rows and (shipped := _shipped_concepts().get(one)) is not None:
                name = shipped.concept_name or names.get(one) or f"OMOP concept {one}"
                # The code of a SNOMED CT concept is SNOMED's: ours says that it is none.
                rows[one] = shipped._replace(concept_name=name, concept_code=shipped.concept_code or f"OMOP:{one}")
        return [rows[one] for one in wanted if one in rows]

    @cached_property
    def version(self) -> str:
        """What the vocabularies are called, for ``vocabulary_version``."""
        return "packaged maps" if self._athena is None else self._athena.version


def local_id(code: Code) -> int:
    """Return a concept id of our own: the same for the same code, in every run of this version.

    A code that a shipped system lists has the id of its place there, within 32 bits; any other that of its hash,
    within 48.
    """
    system = library.find_code_system(code.system)
    row = -1 if system is None or system.name not in _SYSTEMS else int(system.rows([code.code])[0])
    if row >= 0 and system is not None:
        place = _SYSTEMS.index(system.name) * _ROOM + row + (_VALUES if code.role else 0)
        return LOCAL + 1 + place
    text = "\0".join((code.system, code.code, code.role)).encode()
    return _FAR + (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> (64 - _HASH_BITS))


def source_concept(code: Code, concept_id: int, domain: str) -> Concept:
    """Return the row of a code of which no vocabulary at hand describes the concept."""
    names = _vocabularies(code.system)
    name = " ".join((code.display or code.code).split())[:255]
    kind = "Meas Value" if code.role else _DOMAINS.get(code.system, domain)
    vocabulary = names[0] if names else _slug(code.system)
    return Concept(concept_id, name, kind, vocabulary, "Undefined", None, code.code)


def _slug(system: str) -> str:
    """The last part of a URI: a source's own vocabulary is ``urn:ehrsynth:source:<name>``.

    It is not cut to the 20 characters that the model has for it (nor is a code to 50): as in OHDSI's own conversion of
    MIMIC-IV, a source's vocabulary has to be known again by its name.
    """
    return system.rstrip("/").replace(":", "/").rpartition("/")[2] or "source"


@lru_cache(maxsize=256)
def _vocabularies(system: str) -> tuple[str, ...]:
    rows = library.concept_map("omop_standard").table("vocabularies")
    pairs = zip(rows["vocabulary_id"].to_pylist(), rows["system"].to_pylist(), strict=True)
    return tuple(name for name, uri in pairs if uri == system)


@lru_cache(maxsize=1)
def _shipped_map() -> dict[tuple[str, str], tuple[int, int, str, str]]:
    rows = library.concept_map("omop_vocabulary").table("map").to_pydict()
    return {
        (system, code): (int(source or 0), int(target), domain, relation)
        for system, code, source, target, domain, relation in zip(*rows.values(), strict=True)
    }


@lru_cache(maxsize=1)
def _beginnings() -> dict[tuple[str, str], tuple[int, str, str]]:
    rows = library.concept_map("omop_vocabulary").table("broader").to_pylist()
    return {
        (row["source_system"], row["source_code"]): (int(row["target_code"]), row["domain"], row["relation"])
        for row in rows
    }


def _hierarchy(code: Code) -> str | None:
    """The name by which beginnings of a code are stated; of ICD-9-CM procedures have two digits before the dot."""
    if code.system == ICD9CM:
        return "icd9proc" if code.code[2:3] == "." else "icd9cm"
    return _HIERARCHIES.get(code.system)


def _broader(name: str, system: str, code: str) -> tuple[int, str, str]:
    """The concept of the nearest ancestor of an ICD code that has one, by the beginning of the code."""
    exact, by_hand = _shipped_map(), _beginnings()
    for stop in range(len(code), 0, -1):
        part = code[:stop].rstrip(".")
        if (name, part) in by_hand:
            return by_hand[name, part]
        # Only whole categories are ancestors; shorter beginnings are stated by hand.
        if stop < len(code) and len(part) >= 3 and (hit := exact.get((system, part))) is not None:
            return hit[1], hit[2], "broader"
    return 0, "", "none"


@lru_cache(maxsize=1)
def _shipped_concepts() -> dict[int, Concept]:
    rows = library.concept_map("omop_vocabulary").table("concepts").to_pylist()
    return {
        row["concept_id"]: Concept(
            row["concept_id"],
            row["concept_name"] or "",
            row["domain_id"],
            row["vocabulary_id"],
            row["concept_class_id"],
            row["standard_concept"],
            row["concept_code"] or "",
        )
        for row in rows
    }


@lru_cache(maxsize=1)
def _shipped_ingredients() -> dict[int, tuple[int, ...]]:
    rows = library.concept_map("omop_vocabulary").table("ingredients").to_pydict()
    found: dict[int, tuple[int, ...]] = {}
    for drug, part in zip(*rows.values(), strict=True):
        found[drug] = (*found.get(drug, ()), part)
    for one in _shipped_concepts().values():
        if one.concept_class_id == "Ingredient" and one.vocabulary_id == "RxNorm":
            found.setdefault(one.concept_id, (one.concept_id,))
    return found
