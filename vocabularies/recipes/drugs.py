"""RxNorm with ATC classes, NDC to RxNorm, and CVX."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..build import Rows, Sources

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


def _records(path: Path, encoding: str = "utf-8") -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding=encoding, newline="") as handle:
        yield from csv.DictReader(handle)


def _present(text: str) -> str:
    return "" if text in ("NA", "N/A") else text.strip()


def rxnorm(sources: Sources) -> dict[str, Rows]:
    """Return RxNorm drugs by RXCUI; those without a name are there for their ATC class."""
    classes = {row["rxcui"]: _present(row["atc"]) for row in _records(sources.vocab("ndc_rxcui_atc.csv.gz"))}
    found: dict[str, tuple[object, ...]] = {
        code: (code, None, None, atc, None) for code, atc in classes.items() if _present(code) and atc
    }
    for row in _records(sources.vocab("rxnorm_names.csv.gz")):
        # Of several classes the first stands; ATC is by main use.
        atc = classes.get(row["rxcui"]) or _present(row["atc"]).split("|")[0]
        kind = _TERM_TYPES.get(row["tty"], row["tty"])
        found[row["rxcui"]] = (row["rxcui"], row["name"], kind, atc or None, row["omop_concept_id"] or None)
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
