"""From the three ways in which OMOP says what happened (source concept, standard concept, source value) to one code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.readers.assembly import dictionary
from ehrsynth.readers.omop_concepts import Concept, Concepts, local_system
from ehrsynth.readers.source import SourceTable
from ehrsynth.readers.source_codes import tidy
from ehrsynth.terminology import CVX, NDC, RXNORM, Coding, displays, library

__all__ = ["Resolved", "coded_column", "resolve"]

_ROUTES = {
    "source": "by their source concept",
    "standard": "by their standard concept",
    "mapped": "by what their source concept maps to",
    "ndc": "by their NDC's RxNorm drug",
    "shape": "by the shape of their source value",
    "local": "as codes of the source's own",
}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The code of each row.

    Attributes
    ----------
    index : int64 array, shape (n,)
        Position among `codings`, -1 where the row has no code.
    codings : list of Coding
        Distinct.
    domain : list of str
        OMOP domain of each distinct (coding, domain) that `domain_index` leads to; empty if unknown.
    routes : mapping of str to int
        How many rows were resolved by which route.
    """

    index: npt.NDArray[np.int64]
    codings: list[Coding]
    domain_index: npt.NDArray[np.int64]
    domains: list[str]
    routes: dict[str, int] = field(default_factory=dict)

    def take(self, keep: npt.NDArray[np.bool_]) -> Resolved:
        """Return the codes of the rows that are kept."""
        return Resolved(
            index=self.index[keep],
            codings=self.codings,
            domain_index=self.domain_index[keep],
            domains=self.domains,
            routes=self.routes,
        )

    def columns(self, prefix: str = "") -> dict[str, pa.Array]:
        """Return the columns system, code and display (``code_system``, ``code``, ``display`` without a prefix)."""
        names = (
            (f"{prefix}_system", f"{prefix}_code", f"{prefix}_display")
            if prefix
            else ("code_system", "code", "display")
        )
        parts: tuple[list[str | None], ...] = (
            [coding.system for coding in self.codings],
            [coding.code for coding in self.codings],
            [coding.display for coding in self.codings],
        )
        return {name: dictionary(self.index, part) for name, part in zip(names, parts, strict=True)}

    def explain(self, table: str) -> str:
        """Return a note on how the rows of `table` came to their codes."""
        total = sum(self.routes.values())
        parts = [f"{self.routes[route]:,} {text}" for route, text in _ROUTES.items() if self.routes.get(route)]
        return f"Codes of {table} ({total:,} rows): {'; '.join(parts)}." if parts else f"Codes of {table}: none."


def resolve(
    table: SourceTable,
    concepts: Concepts,
    *,
    source_concept: str,
    concept: str,
    source_value: str,
    recognise: Callable[[str], tuple[str, str] | None],
    prefer_standard: bool = False,
) -> Resolved:
    """Return one code for each row.

    The order of preference, by distinct (source concept, standard concept, source value):

    1. the source concept, if its vocabulary is public (ICD, NDC, LOINC...: what the clinician or coder wrote); if its
       id is a public one of which nothing is known here, the source value, if it has the shape of a code (`recognise`);
    2. the standard concept, if its vocabulary is public; and what the source concept maps to, if the row does not say;
    3. the source value, if it has the shape of a code;
    4. the source concept in the source's own vocabulary, as ``urn:ehrsynth:source:<vocabulary>``;
    5. the source value itself, as ``urn:ehrsynth:source:<column>``, or the bare concept id as ``...:omop-concept``.

    For drugs (`prefer_standard`) a source concept of RxNorm or CVX comes first, then the standard concept, then the
    RxNorm drug of the NDC: a drug has many packages, each with its NDC, and one RxNorm code.
    """
    names = (source_concept, concept, source_value)
    distinct, inverse, counts = _distinct([table.get(name) for name in names])
    known = concepts.find(one for row in distinct for one in row[:2] if one)
    unmapped = [s for s, c, _ in distinct if s and (not c or c not in known)]
    mapped = concepts.maps_to(unmapped) if unmapped else {}
    targets = concepts.find(mapped.values())
    packages = _drugs_of_packages([row[2] for row in distinct], recognise) if prefer_standard else {}
    concepts.learn_domains(distinct, known)
    step = _Step(known, mapped, targets, packages, recognise, prefer_standard, local_system(source_value), concepts)
    codings: dict[tuple[str, str], int] = {}
    listed: list[Coding] = []
    domains: dict[str, int] = {}
    routes: dict[str, int] = {}
    index = np.full(len(distinct), -1, dtype=np.int64)
    domain_index = np.full(len(distinct), -1, dtype=np.int64)
    for at, row in enumerate(distinct):
        found = step.one(*row)
        if found is None:
            continue
        route, coding, domain = found
        routes[route] = routes.get(route, 0) + int(counts[at])
        key = (coding.system, coding.code)
        if key not in codings:
            codings[key] = len(listed)
            listed.append(coding)
        index[at] = codings[key]
        domain_index[at] = domains.setdefault(domain, len(domains))
    return Resolved(
        index=index[inverse],
        codings=_with_displays(listed),
        domain_index=domain_index[inverse],
        domains=list(domains),
        routes=routes,
    )


def coded_column(table: SourceTable, column: str, concepts: Concepts, *, source_value: str = "") -> Resolved:
    """Return the code of each row for a lone concept column (a unit, a route, a value), 0 and null being none."""
    return resolve(
        table,
        concepts,
        source_concept="",
        concept=column,
        source_value=source_value,
        recognise=lambda value: None,
    )


@dataclass(frozen=True)
class _Step:
    known: dict[str, Concept]
    mapped: dict[str, str]
    targets: dict[str, Concept]
    packages: dict[str, str]
    recognise: Callable[[str], tuple[str, str] | None]
    prefer_standard: bool
    own: str
    concepts: Concepts

    def one(self, source: str | None, standard: str | None, value: str | None) -> tuple[str, Coding, str] | None:
        """Return route, coding and domain of one distinct row."""
        word = tidy(value)
        of_source = self.known.get(source or "")
        of_standard = self.known.get(standard or "")
        domain = self.concepts.domain_of(source, of_source, of_standard)
        by_source = ("source", of_source.coding, domain) if of_source and of_source.public else None
        by_standard = ("standard", of_standard.coding, domain) if of_standard and of_standard.public else None
        shape = self.recognise(word) if word and (of_source is None or of_source.public) else None
        by_shape = ("shape", Coding(system=shape[0], code=shape[1]), domain) if shape else None
        if self.prefer_standard:
            by_package = (
                ("ndc", Coding(system=RXNORM, code=self.packages[word]), domain) if word in self.packages else None
            )
            # A source that speaks RxNorm or CVX itself says more than the standard concept beside it can.
            own = by_source if of_source and of_source.coding.system in (RXNORM, CVX) else None
            best = own or by_standard or by_package or by_source
        elif of_source is None and _is_public_id(source):
            best = by_shape or by_standard
        else:
            best = by_source or by_standard
        if best:
            return best
        target = self.targets.get(self.mapped.get(source or "", ""))
        if target and target.public:
            return "mapped", target.coding, target.domain
        if by_shape:
            return by_shape
        for local in (of_source, of_standard, target):
            if local:
                return "local", local.coding, domain
        if word:
            return "local", Coding(system=self.own, code=word), domain
        bare = next((one for one in (standard, source) if one and one != "0"), None)
        return ("local", Coding(system=local_system("omop-concept"), code=bare), "") if bare else None


def _is_public_id(concept_id: str | None) -> bool:
    # OMOP leaves ids above two billion to the sources; 0 is no concept.
    return bool(concept_id and concept_id.isdigit() and 0 < int(concept_id) < 2_000_000_000)


def _distinct(
    columns: list[pa.ChunkedArray],
) -> tuple[list[tuple[str | None, ...]], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct rows of columns of text, which of them each row is, and how many rows each has."""
    key = np.zeros(len(columns[0]), dtype=np.int64)
    parts: list[tuple[npt.NDArray[np.int64], list[str | None]]] = []
    for column in columns:
        encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
        codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        values = encoded.dictionary.to_pylist()
        parts.append((codes, values))
        # Made dense again after each column, so that the product of three large vocabularies cannot overflow.
        _, key = np.unique(key * (len(values) + 1) + codes + 1, return_inverse=True)
    _, first, inverse, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    rows = list(
        zip(
            *([values[code] if code >= 0 else None for code in codes[first].tolist()] for codes, values in parts),
            strict=True,
        )
    )
    return rows, inverse.astype(np.int64), counts.astype(np.int64)


def _drugs_of_packages(values: list[str | None], recognise: Callable[[str], tuple[str, str] | None]) -> dict[str, str]:
    """Return the RxNorm code of each source value that is an NDC of a known drug."""
    if not any(package.name == "ndc_to_rxnorm" for package in library.packages("concept_map")):
        return {}
    words = list(dict.fromkeys(word for value in values if (word := tidy(value))))
    codes = {word: found[1] for word in words if (found := recognise(word)) and found[0] == NDC}
    drugs = library.concept_map("ndc_to_rxnorm").first(NDC, list(codes.values()))
    return {word: drug for word, drug in zip(codes, drugs, strict=True) if drug}


def _with_displays(codings: list[Coding]) -> list[Coding]:
    """Fill in the displays that the source does not carry, where a packaged vocabulary has them."""
    bare: dict[str, list[int]] = {}
    for at, coding in enumerate(codings):
        if coding.display is None:
            bare.setdefault(coding.system, []).append(at)
    out = list(codings)
    for system, places in bare.items():
        for at, text in zip(places, displays(system, [codings[at].code for at in places]), strict=True):
            if text:
                out[at] = Coding(system=system, code=codings[at].code, display=tidy(text))
    return out
