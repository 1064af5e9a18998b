"""Code systems and value sets out of HL7's packages, and the CDC's race and ethnicity codes."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["cdcrec", "from_package"]


@lru_cache(maxsize=8)
def _package(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {item.name: item.read_bytes() for item in path.glob("*.json")}
    with tarfile.open(path) as package:
        found = {}
        for member in package.getmembers():
            name = member.name.removeprefix("package/")
            handle = package.extractfile(member) if name.startswith(("CodeSystem-", "ValueSet-")) else None
            if handle:
                found[name] = handle.read()
    return found


def _concepts(entries: list[dict[str, Any]], parent: str = "") -> Iterator[tuple[str, str, set[str]]]:
    """Yield code, display and parents of each concept of a code system, nested or linked by `subsumedBy`."""
    for entry in entries:
        parents = {parent} if parent else set()
        parents |= {p["valueCode"] for p in entry.get("property", []) if p.get("code") == "subsumedBy"}
        yield entry["code"], entry.get("display", ""), parents
        yield from _concepts(entry.get("concept", []), entry["code"])


def _active(document: dict[str, Any]) -> dict[str, tuple[str, set[str]]]:
    return {code: (display, parents) for code, display, parents in _concepts(document.get("concept", []))}


def _below(concepts: dict[str, tuple[str, set[str]]], root: str) -> set[str]:
    found = {root}
    while True:
        more = {code for code, (_, parents) in concepts.items() if parents & found} - found
        if not more:
            return found - {root}
        found |= more


def from_package(wanted: Mapping[str, Any]) -> Callable[[Sources], dict[str, Rows]]:
    """Return the recipe for a code system or value set of an HL7 package.

    Parameters
    ----------
    wanted : mapping
        What the descriptor says under ``ehrsynth.hl7``: ``package`` and ``resource``; of a code system all codes, only
        ``codes``, or those ``below`` a code.
    """

    def recipe(sources: Sources) -> dict[str, Rows]:
        files = _package(sources.fhir(wanted["package"]))
        document = json.loads(files[wanted["resource"]])
        if document["resourceType"] == "ValueSet":
            return {"codes": list(_value_set(document, sources))}
        concepts = _active(document)
        chosen = wanted.get("codes") or sorted(_below(concepts, wanted["below"]) if "below" in wanted else concepts)
        return {"codes": [(code, concepts[code][0]) for code in chosen if not code.startswith("_")]}

    return recipe


def _value_set(document: dict[str, Any], sources: Sources) -> Iterator[tuple[str, str, str]]:
    for include in document["compose"]["include"]:
        names = _names(include["system"], sources)
        for entry in include["concept"]:
            yield include["system"], entry["code"], entry.get("display") or names.get(entry["code"], "")


def _names(system: str, sources: Sources) -> dict[str, str]:
    for package in ("hl7.terminology.r4-7.0.1.tgz", "hl7.fhir.us.core-6.1.0.tgz"):
        for name, data in _package(sources.fhir(package)).items():
            if name.startswith("CodeSystem-") and f'"{system}"'.encode() in data:
                document = json.loads(data)
                if document.get("url") == system:
                    return {code: display for code, (display, _) in _active(document).items()}
    return {}


def cdcrec(sources: Sources) -> dict[str, Rows]:
    """Return the CDC's race and ethnicity codes; `path` is the place in the hierarchy (R5.01 is below R5, White)."""
    with gzip.open(sources.vocab("cdc_race_ethnicity.csv.gz"), "rt", encoding="cp1252", newline="") as handle:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(handle)]
    return {
        "codes": [
            (row["Concept Code"].strip(), " ".join(row["Concept Name"].split()), row["Hierarchical Property"].strip())
            for row in rows
        ]
    }
