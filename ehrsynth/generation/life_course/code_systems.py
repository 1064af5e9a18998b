"""The URIs of the code systems that the content names shortly."""

from __future__ import annotations

from functools import cache

__all__ = ["CVX", "ICD10CM", "LOINC", "RXNORM", "SNOMED", "system"]

ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
CVX = "http://hl7.org/fhir/sid/cvx"
_SYSTEMS = {
    "SNOMED": SNOMED,
    "ICD10PCS": "http://www.cms.gov/Medicare/Coding/ICD10",
    "HCPCS": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "LOINC": LOINC,
    "RXNORM": RXNORM,
    "ICD10CM": ICD10CM,
    "CVX": CVX,
}


@cache
def system(name: str) -> str:
    """Return the URI of a code system that the content names shortly."""
    return _SYSTEMS.get(name.upper().replace("-", "").replace("_", "").replace(" CT", ""), name)
