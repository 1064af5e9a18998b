"""RxNorm with ATC classes, NDC to RxNorm, and CVX."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["cvx", "ndc_to_rxnorm", "rxnorm"]

# What the OMOP vocabulary calls RxNorm's term types.
_TERM_TYPES = {
    "Branded Dose Group": "SBDG",
    "Branded Drug": "SBD",
    "Branded Drug Comp": "SBDC",
    "Branded Drug Form": "SBDF",
    "Branded Pack": "BPCK",
    "Clinical Drug": "SCD",
    "Clinical Drug Comp": "SCDC",
    "Clinical Drug Form": "SCDF",
    "Clinical Pack": "GPCK",
    "Ingredient": "IN",
    "Multiple Ingredients": "MIN",
    "Precise Ingredient": "PIN",
    # "Quant" is a drug with a quantity factor, of the same term type.
    "Quant Branded Drug": "SBD",
    "Quant Clinical Drug": "SCD",
}


# Not a concept of RxNorm: what a list of modules writes where a code is to be filled in.
_PLACEHOLDERS = {"1234"}

_STRENGTH = re.compile(
    r"(?<![\w.])\d[\d.]*(?: MG| MCG| G| UNT| MEQ| MMOL| ML| MCI| HR| CELLS)(?:/(?:ML|MG|HR|ACTUAT|MEQ))?(?![\w/])"
)
# "24 HR ", "0.3 ML ", "120 ACTUAT ", "Osmotic 24 HR ": how long or how much, before the first ingredient.
_QUANTITY = re.compile(r"^(?:NDA\d+ )?(?:(?:Osmotic|Modified|Sensor|Abuse-Deterrent) )?\d[\d.]* (?:HR|ML|ACTUAT|DAY) ")
_PRODUCTS = ("SCD", "SBD")


def _strength_and_form(name: str, kind: str) -> tuple[str | None, str | None]:
    """Return the strengths and the dose form that the name of a product states; None where it is none."""
    plain = re.sub(r" \[.*\]$", "", _QUANTITY.sub("", name))
    found = list(_STRENGTH.finditer(plain))
    if kind not in _PRODUCTS or not found or plain.startswith("{"):
        return None, None
    return " / ".join(match[0] for match in found), plain[found[-1].end() :].strip() or None


def _without_strength(name: str) -> str:
    plain = re.sub(r" \[.*\]$", "", _QUANTITY.sub("", name))
    return " ".join(_STRENGTH.sub("", plain).lower().split())


def _records(path: Path, encoding: str = "utf-8") -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding=encoding, newline="") as handle:
        yield from csv.DictReader(handle)


def _present(text: str) -> str:
    return "" if text in ("NA", "N/A") else text.strip()


def rxnorm(sources: Sources) -> dict[str, Rows]:
    """Return RxNorm drugs by RXCUI; those without a name are there for their ATC class."""
    classes = {row["rxcui"]: _present(row["atc"]) for row in _records(sources.vocab("ndc_rxcui_atc.csv.gz"))}
    found: dict[str, tuple[object, ...]] = {
        code: (code, None, None, atc, None, None, None) for code, atc in classes.items() if _present(code) and atc
    }
    siblings: dict[str, set[str]] = {}
    drugs = [row for row in _records(sources.vocab("rxnorm_names.csv.gz")) if row["rxcui"] not in _PLACEHOLDERS]
    for row in drugs:
        # Of several classes the first stands; ATC is by main use.
        row["atc"] = classes.get(row["rxcui"]) or _present(row["atc"]).split("|")[0]
        if row["atc"]:
            siblings.setdefault(_without_strength(row["name"]), set()).add(row["atc"])
    for row in drugs:
        # A product of which the source does not say whether it is branded: the brand stands in brackets.
        kind = _TERM_TYPES.get(row["tty"], row["tty"]) or ("SBD" if row["name"].endswith("]") else "SCD")
        alike = siblings.get(_without_strength(row["name"]), set()) if kind in _PRODUCTS else set()
        atc = row["atc"] or (next(iter(alike)) if len(alike) == 1 else None)
        number = row["omop_concept_id"] or None
        found[row["rxcui"]] = (row["rxcui"], row["name"], kind, atc, number, *_strength_and_form(row["name"], kind))
    return {"codes": [found[code] for code in sorted(found, key=int)]}


def ndc_to_rxnorm(sources: Sources) -> dict[str, Rows]:
    """Return the RXCUI of each NDC of 11 digits."""
    rows = sorted(
        (row["NDC"].strip(), _present(row["rxcui"]), row["ndc_status"] == "ACTIVE")
        for row in _records(sources.vocab("ndc_rxcui_atc.csv.gz"))
        if _present(row["rxcui"])
    )
    return {"map": rows}


def cvx(sources: Sources) -> dict[str, Rows]:
    """Return the vaccines; codes of one digit are written with two, as CVX does."""
    rows: list[tuple[str, str, str, str]] = [
        (
            row["CVXCode"].strip().zfill(2),
            " ".join(row["ShortDescription"].split()),
            " ".join(row["FullVaccinename"].split()),
            row["Status"].lower(),
        )
        for row in _records(sources.vocab("cvx.csv.gz"), "cp1252")
    ]
    rows.sort(key=lambda row: int(row[0]))
    return {"codes": rows}
