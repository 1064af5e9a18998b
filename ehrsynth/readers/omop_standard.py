"""What the fixed concepts of the OMOP standard, and the words sources write beside them, are in FHIR."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.terminology import UCUM, library

__all__ = [
    "ADMIT_SOURCE",
    "COMPARATOR",
    "CONDITION_CATEGORY",
    "DISCHARGE_DISPOSITION",
    "ENCOUNTER_CLASS",
    "OBSERVATION_CATEGORY",
    "OMOP",
    "RACE_AND_ETHNICITY",
    "SEX",
    "allergy_concepts",
    "of_unit",
    "system_of",
    "translate",
    "words",
]

OMOP = "https://fhir-terminology.ohdsi.org"
"""URI of the OMOP concepts, as HL7's FHIR to OMOP guide names them."""

_ALLERGY = "urn:ehrsynth:allergy-to"
_WORDS = "urn:ehrsynth:source:text"
_DISCHARGE_STATUS = "https://www.nubc.org/CodeSystem/PatDischargeStatus"

SEX = "http://hl7.org/fhir/administrative-gender"
RACE_AND_ETHNICITY = "urn:oid:2.16.840.1.113883.6.238"
ENCOUNTER_CLASS = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ADMIT_SOURCE = "http://terminology.hl7.org/CodeSystem/admit-source"
DISCHARGE_DISPOSITION = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
COMPARATOR = "http://hl7.org/fhir/quantity-comparator"
CONDITION_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


@lru_cache(maxsize=32)
def _targets(source: str, target: str) -> tuple[pa.Array, pa.Array]:
    rows = library.concept_map("omop_standard").table("map")
    chosen = rows.filter(pc.and_(pc.equal(rows["source_system"], source), pc.equal(rows["target_system"], target)))
    return chosen["source_code"].combine_chunks(), chosen["target_code"].combine_chunks()


@lru_cache(maxsize=1)
def _systems() -> dict[str, str]:
    rows = library.concept_map("omop_standard").table("vocabularies")
    return dict(zip(rows["vocabulary_id"].to_pylist(), rows["system"].to_pylist(), strict=True))


def system_of(vocabulary_id: str) -> str | None:
    """Return the URI of a vocabulary that OMOP names, None for one that is not public (a source's own)."""
    return _systems().get(vocabulary_id)


def translate(codes: pa.ChunkedArray | pa.Array, target: str, *, source: str = OMOP) -> pa.Array:
    """Return what each concept id is in the code system `target`, null where the standard does not say."""
    keys, values = _targets(source, target)
    found = pc.index_in(codes, value_set=keys)
    return values.take(found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found)


@lru_cache(maxsize=1)
def allergy_concepts() -> tuple[str, ...]:
    """Return the ids of the concepts that the packaged map knows as allergies."""
    rows = library.concept_map("omop_vocabulary").table("map")
    found = rows.filter(pc.equal(rows["source_system"], _ALLERGY))["target_code"].cast(pa.string())
    return tuple(sorted({str(one) for one in found.to_pylist()}))


@lru_cache(maxsize=1)
def _units() -> dict[str, str]:
    rows = library.concept_map("omop_vocabulary").table("map")
    units = rows.filter(pc.equal(rows["source_system"], UCUM))
    return dict(zip(units["source_code"].to_pylist(), units["target_code"].cast(pa.string()).to_pylist(), strict=True))


def of_unit(text: str) -> str | None:
    """Return the concept id that a unit leads to, None if it is none of UCUM's that the packaged map knows."""
    return _units().get(text)


def words(values: pa.ChunkedArray, target: str) -> pa.Array:
    """Return what each word of a source is in the code system `target`; case and spaces around it do not count."""
    upper = pc.utf8_upper(pc.utf8_trim_whitespace(values))
    found = translate(upper, target, source=_WORDS)
    if target == DISCHARGE_DISPOSITION:
        return pc.coalesce(found, translate(upper, target, source=_DISCHARGE_STATUS))
    return found
