"""The URIs of the code systems that the content names shortly."""

from __future__ import annotations

from functools import cache

from ehrsynth.terminology import CVX, ICD10CM, LOINC, RXNORM, SNOMED

__all__ = ["system"]

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
