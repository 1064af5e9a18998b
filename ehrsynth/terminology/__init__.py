"""Code systems, value sets and concept maps by name: what a code means, whom it can befall, what it corresponds to.

Importing this costs nothing; a vocabulary is read when it is first asked for. Times and sizes are in the note of each
data package under ``vocabularies/``.
"""

from ehrsynth.terminology.code_system import CodeSystem
from ehrsynth.terminology.coding import (
    CVX,
    ICD9CM,
    ICD10CM,
    LOINC,
    NDC,
    RXNORM,
    SNOMED,
    UCUM,
    Coding,
)
from ehrsynth.terminology.concept_map import ConceptMap
from ehrsynth.terminology.icd import with_dot, without_dot
from ehrsynth.terminology.lookup import category, chronic, display, displays, known, limits, sex_numbers, subset
from ehrsynth.terminology.package import VocabularyPackage
from ehrsynth.terminology.value_set import ValueSet

__all__ = [
    "CVX",
    "ICD9CM",
    "ICD10CM",
    "LOINC",
    "NDC",
    "RXNORM",
    "SNOMED",
    "UCUM",
    "CodeSystem",
    "Coding",
    "ConceptMap",
    "ValueSet",
    "VocabularyPackage",
    "category",
    "chronic",
    "display",
    "displays",
    "known",
    "limits",
    "sex_numbers",
    "subset",
    "with_dot",
    "without_dot",
]
