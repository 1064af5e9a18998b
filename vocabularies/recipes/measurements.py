"""LOINC: the common codes with their UCUM unit, specimen and reference ranges."""

from __future__ import annotations

import csv
import gzip
import json
import re
import tarfile
from typing import TYPE_CHECKING, Any

from .limit_rules import apply, read_rules

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["loinc"]

_SPECIMEN = re.compile(
    r" (?:in|of) (Serum or Plasma|Serum, Plasma or Blood|Serum or Blood|Platelet poor plasma|Serum|Plasma"
    r"|Urine sediment|24 hour Urine|Urine|Capillary blood|Arterial blood|Venous blood|Cord blood|Red Blood Cells|Blood"
    r"|Stool|Cerebral spinal fluid|Body fluid|Synovial fluid|Pleural fluid|Peritoneal fluid|Amniotic fluid|Semen|Saliva"
    r"|Sputum|Nasopharynx|Respiratory specimen|Upper respiratory specimen|Throat|Cervix|Tissue|Bone marrow)\b",
    re.IGNORECASE,
)


def _table(sources: Sources, name: str) -> list[dict[str, str]]:
    with gzip.open(sources.vocab(name), "rt", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _us_core_names(sources: Sources) -> dict[str, str]:
    """Return the display that US Core's value sets and fixed patterns give LOINC codes."""
    names: dict[str, str] = {}
    with tarfile.open(sources.fhir("hl7.fhir.us.core-6.1.0.tgz")) as package:
        for member in sorted(package.getmembers(), key=lambda member: member.name):
            if member.name.startswith("package/ValueSet-"):
                handle = package.extractfile(member)
                document = json.load(handle) if handle else {}
                for include in document.get("compose", {}).get("include", []):
                    if include.get("system") == "http://loinc.org":
                        names.update({entry["code"]: entry.get("display", "") for entry in include.get("concept", [])})
    return names


def loinc(sources: Sources) -> dict[str, Rows]:
    """Return the codes and the reference ranges.

    A name with LOINC's own brackets stands before a local one; what ``common.csv`` and ``ranges.csv`` say stands before
    all.
    """
    by_hand = {}
    with (sources.here / "code_systems/loinc/common.csv").open(newline="", encoding="utf-8") as handle:
        by_hand = {row["code"]: row for row in csv.DictReader(handle)}
    names: dict[str, list[str]] = {}
    for code, name in _us_core_names(sources).items():
        names.setdefault(code, []).append(name)
    for row in _table(sources, "loinc_common.csv.gz"):
        names.setdefault(row["loinc"], []).append(row["name"])
    for row in _table(sources, "common_clinical_codes.csv.gz"):
        if row["system"] == "LOINC":
            names.setdefault(row["code"], []).append(row["display"])
    units = {}
    for row in _table(sources, "loinc_preferred_units.csv.gz"):
        # The source writes the unit of enzymes in the brackets of arbitrary units, which UCUM does not know.
        units[row["concept_code.x"]] = row["concept_code.y"].replace("[U]", "U")
        names.setdefault(row["concept_code.x"], []).append(row["concept_name.x.x"])
    own_ranges: dict[str, list[tuple[Any, ...]]] = {}
    with (sources.here / "code_systems/loinc/ranges.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            own_ranges.setdefault(row["code"], []).append(tuple(value or None for value in row.values()))
    ranges = json.loads(sources.vocab("reference_ranges.json").read_bytes())["ranges"]
    units |= {code: variants[0]["unit"] for code, variants in ranges.items()}

    rules = read_rules(sources.here / "code_systems/loinc/limit_rules.csv")
    rows = []
    for code in sorted({*names, *by_hand}, key=_order):
        own = by_hand.get(code, {})
        name = own.get("display") or _best(names.get(code, []))
        if not name or not _is_loinc(code):
            continue
        specimen = _SPECIMEN.search(name)
        unit = own.get("unit") or units.get(code) or None
        rows.append((code, name, unit, specimen[1] if specimen else None, *apply(rules, code, name).row()))
    sexes = {"F": "female", "M": "male", None: None}
    intervals: list[tuple[Any, ...]] = [
        (
            code,
            sexes[variant.get("sex")],
            variant.get("min_age"),
            None,
            variant.get("low"),
            variant.get("high"),
            variant["unit"],
        )
        for code in ranges
        if code not in own_ranges
        for variant in ranges[code]
    ]
    intervals += [row for found in own_ranges.values() for row in found]
    intervals.sort(key=lambda row: _order(row[0]))
    return {"codes": rows, "reference_ranges": intervals}


def _is_loinc(code: str) -> bool:
    """Whether a code is an observation's: digits, a dash and their check digit (modulus 10, LOINC Users' Guide)."""
    match = re.fullmatch(r"(\d{1,7})-(\d)", code)
    if not match:
        return False
    total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(match[1])))
    return -total % 10 == int(match[2])


def _best(names: list[str]) -> str:
    present = [" ".join(name.split()) for name in names if name]
    return next((name for name in present if "[" in name), present[0] if present else "")


def _order(code: str) -> tuple[str, int]:
    stem = code.split("-")[0]
    return (stem.rstrip("0123456789"), int(re.sub(r"\D", "", stem) or 0))
