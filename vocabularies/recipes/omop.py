"""OMOP concept ids to the public codes they stand for."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, NDC, RXNORM, UCUM

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["omop_concepts"]

_HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"

# Vocabulary -> (URI, whether a code system of this library has its displays).
_PUBLIC = {
    "CVX": (CVX, True),
    "HCPCS": (_HCPCS, False),
    "ICD10CM": (ICD10CM, True),
    "ICD9CM": (ICD9CM, True),
    "ICD9Proc": (ICD9CM, False),
    "LOINC": (LOINC, True),
    "NDC": (NDC, False),
    "RxNorm": (RXNORM, True),
    "UCUM": (UCUM, True),
}


def omop_concepts(sources: Sources) -> dict[str, Rows]:
    """Return the code of each concept id; CDT (HCPCS D codes) is the American Dental Association's and left out."""
    found = {}
    with gzip.open(sources.vocab("omop_concepts.csv.gz"), "rt", encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            code, vocabulary = row["concept_code"].strip(), row["vocabulary_id"]
            if vocabulary not in _PUBLIC or not code or (vocabulary == "HCPCS" and code.startswith("D")):
                continue
            system, has_display = _PUBLIC[vocabulary]
            name = None if has_display else " ".join(row["concept_name"].split())
            found[int(row["concept_id"])] = (row["concept_id"], system, code, name)
    return {"map": [found[key] for key in sorted(found)]}
