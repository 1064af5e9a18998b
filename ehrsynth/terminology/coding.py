"""A coding: a code, the system it is of, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CVX", "ICD9CM", "ICD10CM", "LOINC", "NDC", "RXNORM", "SNOMED", "UCUM", "Coding"]

ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9CM = "http://hl7.org/fhir/sid/icd-9-cm"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
CVX = "http://hl7.org/fhir/sid/cvx"
UCUM = "http://unitsofmeasure.org"


@dataclass(frozen=True, kw_only=True)
class Coding:
    """A code of a code system.

    Attributes
    ----------
    system : str
        URI of the code system, as FHIR names it.
    code : str
        As the code system writes it (ICD-10-CM with its dot).
    display : str or None
        What it says.
    """

    system: str
    code: str
    display: str | None = None
