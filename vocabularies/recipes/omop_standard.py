"""Public codes to OMOP standard concepts, as far as public data sets and equal names say."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, NDC, RXNORM, SNOMED, UCUM, with_dot

if TYPE_CHECKING:
    from ..sources import Rows, Sources

__all__ = ["omop_vocabulary"]

_HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
ALLERGY = "urn:ehrsynth:allergy-to"
"""System of substances as what somebody is allergic to."""

# Vocabularies of which a code's own concept may be the standard one.
_OWN = {
    "CVX": CVX,
    "HCPCS": _HCPCS,
    "ICD9Proc": ICD9CM,
    "LOINC": LOINC,
    "RxNorm": RXNORM,
    "UCUM": UCUM,
}
_FIXED = ("Ethnicity", "Gender", "Race", "Type Concept", "Visit")
_DOMAINS = ("Condition", "Observation", "Procedure", "Measurement", "Device", "Specimen", "Drug", "Unit")
# OHDSI's own, which the data sets do not name: version of the model, ranks of diagnoses, places of visits... Ids and
# names that public code states, looked up in November 2026: 32817 and 32840 in the list of OMOP's type concepts of a
# LinkML schema (`EHR`, `EHR problem list`); 581478, 581385 and 8717 in N3C's crosswalk of PCORnet's encounters
# (National-Clinical-Cohort-Collaborative/Data-Ingestion-and-Harmonization, n3c_xwalk_mapping.sql; 581385 as
# "Observation room", 8676 and 8756 also in peleese/n3c_macrovisits, 1-inpatient_microvisits.sql); 8756, 8717 and 8870
# in PEDSnet's conventions for visits, 8920 ("Rehabilitation Facility") and 38004301 ("Assisted Living Facility")
# among their discharge statuses; 8971 and 722455 in HL7's FHIR to OMOP guide 1.0.0 (EncounterAdmitSource,
# EncounterClass).
_HAND = (
    ("0", "No matching concept", "Metadata", "None", "Undefined", "", "No matching concept"),
    ("756265", "OMOP CDM Version 5.4.0", "Metadata", "CDM", "CDM", "S", "CDM v5.4.0"),
    ("32817", "EHR", "Type Concept", "Type Concept", "Type Concept", "S", "OMOP4976890"),
    ("32840", "EHR problem list", "Type Concept", "Type Concept", "Type Concept", "S", "OMOP4976913"),
    ("32902", "Primary diagnosis", "Condition Status", "Condition Status", "Condition Status", "S", "OMOP4977976"),
    ("32908", "Secondary diagnosis", "Condition Status", "Condition Status", "Condition Status", "S", "OMOP4977982"),
    ("581476", "Home Visit", "Visit", "Visit", "Visit", "S", "OMOP4822460"),
    ("581478", "Ambulance Visit", "Visit", "Visit", "Visit", "S", "OMOP4822458"),
    ("581385", "Observation Room", "Visit", "Visit", "Visit", "S", "OMOP4822459"),
    ("42898160", "Non-hospital institution Visit", "Visit", "Visit", "Visit", "S", "LTCP"),
    ("722455", "Telehealth", "Visit", "Visit", "Visit", "S", ""),
    ("8717", "Inpatient Hospital", "Visit", "CMS Place of Service", "Visit", "S", "21"),
    ("8870", "Emergency Room - Hospital", "Visit", "CMS Place of Service", "Visit", "S", "23"),
    ("8676", "Nursing Facility", "Visit", "CMS Place of Service", "Visit", "S", "32"),
    ("8971", "Inpatient Psychiatric Facility", "Visit", "CMS Place of Service", "Visit", "S", "51"),
    ("8920", "Comprehensive Inpatient Rehabilitation Facility", "Visit", "CMS Place of Service", "Visit", "S", "61"),
    ("8756", "Outpatient Hospital", "Visit", "CMS Place of Service", "Visit", "S", "22"),
    ("8863", "Skilled Nursing Facility", "Visit", "CMS Place of Service", "Visit", "S", "31"),
    ("8546", "Hospice", "Visit", "CMS Place of Service", "Visit", "S", "34"),
    ("38004301", "Assisted Living Facility", "Visit", "NUCC", "Visit", "S", "310400000X"),
    ("4171756", "<", "Meas Value Operator", "SNOMED", "Qualifier Value", "S", ""),
    ("4171754", "<=", "Meas Value Operator", "SNOMED", "Qualifier Value", "S", ""),
    ("4171755", ">=", "Meas Value Operator", "SNOMED", "Qualifier Value", "S", ""),
    ("4172704", ">", "Meas Value Operator", "SNOMED", "Qualifier Value", "S", ""),
    ("44818668", "US dollar", "Currency", "Currency", "Currency", "S", "USD"),
)


# Ingredients of new drugs that the data sets do not have. OHDSI's LEGEND-T2DM (ohdsi-studies/LegendT2dm,
# inst/settings/ExposuresOfInterest.csv) names dulaglutide 45774435, semaglutide 793143, empagliflozin 45774751 and
# dapagliflozin 44785829. 45774435 stands for empagliflozin or liraglutide in some hand-written lists, which contradict
# it and each other. 1502905 is insulin glargine in the drugs of Oxford's hospitals, looked up in Athena
# (answerdigital/oxford-omop-data-mapper), and among insulins in OHDSI's cohorts.
_INGREDIENTS = {
    "43013024": ("apixaban", "1364430"),
    "40241331": ("rivaroxaban", "1114195"),
    "40228152": ("dabigatran etexilate", "1037042"),
    "45774751": ("empagliflozin", "1545653"),
    "44785829": ("dapagliflozin", "1488564"),
    "45774435": ("dulaglutide", "1551291"),
    "793143": ("semaglutide", "1991302"),
    "1502905": ("insulin glargine", "274783"),
    "1567198": ("insulin aspart, human", "51428"),
    "715939": ("escitalopram", "321988"),
}
# OMOP writes some units otherwise than UCUM: as UCUM has it, as OMOP has it.
_UNITS = {
    "U/L": "[U]/L",
    "U/mL": "[U]/mL",
    "[IU]/L": "[iU]/L",
    "[IU]/mL": "[iU]/mL",
    "[pH]": "pH",
    "m[IU]/L": "10*-3.[iU]/L",
    "m[IU]/mL": "10*-3.[iU]/mL",
    "mU/L": "10*-3.[U]/L",
    "mU/mL": "10*-3.[U]/mL",
    "u[IU]/mL": "10*-6.[iU]/mL",
    "mL/min/{1.73_m2}": "mL/min/(173.10*-2.m2)",
    "{score}": "[score]",
}
_SPECIMEN = "4048506"
_CHECKS = "riab/libs/DataQualityDashboard/inst/csv/OMOP_CDMv5.4_Concept_Level.csv"
_WHEEL = "rabbit_in_a_blender-0.0.74-py3-none-any.whl"
# Allergies as OMOP has them, by the substances of the code system snomed.
_ALLERGIES = {
    "762952008": "Allergy to peanuts",
    "102263004": "Allergy to eggs",
    "735029006": "Shellfish allergy",
    "227037002": "Allergy to fish",
    "3718001": "Allergy to dairy product",
    "256277009": "Allergy to grass pollen",
    "782576004": "Allergy to tree pollen",
    "264287008": "Allergy to animal dander",
    "111088007": "Latex allergy",
    "288328004": "Allergy to bee venom",
    "764146007": "Drug allergy",
    "387406002": "Drug allergy",
}


class _Concept(NamedTuple):
    concept_id: str
    concept_name: str
    domain_id: str
    vocabulary_id: str
    concept_class_id: str
    standard_concept: str
    concept_code: str


def omop_vocabulary(sources: Sources) -> dict[str, Rows]:
    """Return the map, the concepts that it leads to, and the ingredients of drugs.

    A code's standard concept is, in this order: its own concept where that is standard; what an ETL of a public data
    set mapped it to; the standard SNOMED concept of the same name; for ICD-10-CM, what the ICD-9-CM codes that the
    equivalence map leads to it were mapped to, if they agree. Drugs without a concept of their own take that of their
    first ingredient. Codes and names of SNOMED CT are left out.
    """
    concepts = {one.concept_id: one for one in _concepts(sources.vocab("omop_concepts.csv.gz"))}
    concepts |= {row[0]: _Concept(*row) for row in _HAND}
    for new, (name, rxcui) in _INGREDIENTS.items():
        concepts.setdefault(new, _Concept(new, name, "Drug", "RxNorm", "Ingredient", "S", rxcui))
    named = _named_by_checks(sources.download(_WHEEL))
    for code, title in _pairs(sources.here / "code_systems/loinc/codes.csv.gz", "code", "display"):
        if (hit := named.get(title.lower())) and hit not in concepts:
            concepts[hit] = _Concept(hit, title, "Measurement", "LOINC", "Lab Test", "S", code)
    by_code = {(one.vocabulary_id, one.concept_code): one for one in concepts.values()}
    titles = dict(_pairs(sources.here / "code_systems/icd10cm/codes.csv.gz", "code", "display"))
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for vocabulary, system in _OWN.items():
        for one in concepts.values():
            if one.vocabulary_id == vocabulary and one.standard_concept == "S" and one.domain_id in _DOMAINS:
                if vocabulary == "HCPCS" and one.concept_code.startswith("D"):
                    continue  # the American Dental Association's
                found[system, one.concept_code] = (one.concept_id, one.concept_id, one.domain_id, "mapped")
    for written, theirs in _UNITS.items():
        one = by_code["UCUM", theirs]
        found.setdefault((UCUM, written), (one.concept_id, one.concept_id, "Unit", "mapped"))
    listed = dict(_pairs(sources.here / "code_systems/snomed/codes.csv", "code", "display"))
    for code in listed:
        own = by_code.get(("SNOMED", code))
        if own and own.standard_concept == "S" and own.domain_id in _DOMAINS:
            found[SNOMED, code] = (own.concept_id, own.concept_id, own.domain_id, "mapped")
    snomed = {one.concept_name: one for one in concepts.values() if one.vocabulary_id == "SNOMED"}
    for substance, allergy in _ALLERGIES.items():
        found[ALLERGY, substance] = ("", snomed[allergy].concept_id, "Observation", "mapped")
    for key, value in _diagnoses(sources, concepts, titles).items():
        found.setdefault(key, value)
    ingredients = {
        re.sub(r"[(),]", " ", one.concept_name.lower()): one for one in concepts.values() if _is_ingredient(one)
    }
    found |= {key: value for key, value in _drugs(sources, concepts, by_code, ingredients).items() if key not in found}
    # Of a code's own id that no data set describes, the code says all there is.
    used = {one for row in found.values() for one in row[:2] if one in concepts or one == row[1]}
    used |= {one.concept_id for one in concepts.values() if one.vocabulary_id in _FIXED} | {row[0] for row in _HAND}
    hand = _read(sources.here / "concept_maps/omop_vocabulary/broader.csv")
    used |= {row["target_code"] for row in hand} | {_SPECIMEN}
    parts: list[tuple[str, str]] = [
        (one.concept_id, part.concept_id)
        for one in concepts.values()
        if one.concept_id in used and one.domain_id == "Drug" and one.vocabulary_id == "RxNorm"
        for part in _parts(one.concept_name, ingredients)
    ]
    used |= {part for _, part in parts}
    parts.sort(key=lambda pair: (int(pair[0]), int(pair[1])))
    return {
        "map": [(*key, *found[key]) for key in sorted(found)],
        "concepts": [_row(concepts.get(one), one, listed) for one in sorted(used, key=int)],
        "ingredients": parts,
    }


def _row(one: _Concept | None, concept_id: str, listed: Mapping[str, str]) -> tuple[str, ...]:
    if one is None:
        # Of a SNOMED concept that only a map names nothing is known but where it was written.
        return (concept_id, "SNOMED", "", "Condition", "Undefined", "S", "")
    open_ = one.vocabulary_id != "SNOMED" or one.concept_code in listed
    return (
        one.concept_id,
        one.vocabulary_id,
        one.concept_code if open_ else "",
        one.domain_id,
        one.concept_class_id,
        one.standard_concept,
        " ".join(one.concept_name.split()) if open_ else "",
    )


def _diagnoses(
    sources: Sources, concepts: Mapping[str, _Concept], titles: Mapping[str, str]
) -> dict[tuple[str, str], tuple[str, str, str, str]]:
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    older = {code for code, _ in _pairs(sources.here / "code_systems/icd9cm/codes.csv.gz", "code", "display")}
    for row in _read(sources.vocab("icd_to_omop_condition.csv.gz")):
        text, target = row["condition_source_value"].strip(), row["condition_concept_id"]
        source = row["condition_source_concept_id"]
        key = _diagnosis(text, source, titles, older)
        if key and target != "0":
            domain = concepts[target].domain_id if target in concepts else "Condition"
            found.setdefault(key, (source, target, domain, "mapped"))
    names = {
        _words(one.concept_name): one
        for one in sorted(concepts.values(), key=lambda one: -int(one.concept_id))
        if one.vocabulary_id == "SNOMED" and one.standard_concept == "S" and one.domain_id == "Condition"
    }
    for code, title in titles.items():
        same = names.get(_words(title))
        if same:
            found.setdefault((ICD10CM, code), ("", same.concept_id, same.domain_id, "mapped"))
    through: dict[str, set[tuple[str, str]]] = {}
    for row in _read(sources.here / "concept_maps/icd9cm_to_icd10cm/map.csv.gz"):
        old = found.get((ICD9CM, row["source_code"]))
        # External causes of ICD-9-CM name the injury (E887, a fracture), those of ICD-10-CM the event.
        if old and row["target_code"][0] not in "VWXY":
            through.setdefault(row["target_code"], set()).add((old[1], old[2]))
    for code, targets in through.items():
        if len(targets) == 1:
            target, domain = targets.pop()
            found.setdefault((ICD10CM, code), ("", target, domain, "mapped"))
    return found


def _diagnosis(text: str, source: str, titles: Mapping[str, str], older: set[str]) -> tuple[str, str] | None:
    new, old = with_dot([text], version=10)[0] or text, with_dot([text], version=9)[0] or text
    # Concept ids of ICD-9-CM are 44,8xx,xxx: V and E codes are in both.
    nine = source.startswith("448")
    if nine and old in older:
        return ICD9CM, old
    return (ICD10CM, new) if not nine and new in titles else None


def _drugs(
    sources: Sources,
    concepts: Mapping[str, _Concept],
    by_code: Mapping[tuple[str, str], _Concept],
    ingredients: Mapping[str, _Concept],
) -> dict[tuple[str, str], tuple[str, str, str, str]]:
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for code, name in _pairs(sources.here / "code_systems/rxnorm/codes.csv.gz", "code", "display"):
        own = by_code.get(("RxNorm", code))
        if own is not None and own.standard_concept == "S":
            continue
        parts = _parts(name, ingredients)
        if parts:
            # Of several the first: it is an ancestor of the drug too.
            found[RXNORM, code] = ("", parts[0].concept_id, "Drug", "broader")
    packages = dict(_pairs(sources.here / "concept_maps/ndc_to_rxnorm/map.csv.gz", "source_code", "target_code"))
    for one in concepts.values():
        drug = by_code.get(("RxNorm", packages.get(one.concept_code, "")))
        if one.vocabulary_id == "NDC" and drug and drug.standard_concept == "S":
            found[NDC, one.concept_code] = (one.concept_id, drug.concept_id, "Drug", "mapped")
    return found


def _named_by_checks(wheel: Path) -> dict[str, str]:
    """Concept ids of measurements by name, as the dashboard's list of plausible units gives them."""
    with zipfile.ZipFile(wheel) as file:
        text = file.read(_CHECKS).decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return {row["conceptName"].lower(): row["conceptId"] for row in rows if row["cdmTableName"] == "MEASUREMENT"}


def _is_ingredient(one: _Concept) -> bool:
    return one.vocabulary_id == "RxNorm" and one.concept_class_id == "Ingredient" and one.standard_concept == "S"


def _parts(name: str, ingredients: Mapping[str, _Concept]) -> list[_Concept]:
    """Return the ingredients of a drug that are known, by its name: in each part the longest name of one."""
    text = re.sub(r"\[.*?\]|[{}(),]", " ", name.lower())
    found: list[_Concept] = []
    for part in text.split(" / "):
        words = part.split()
        spans = [(first, last) for first in range(len(words)) for last in range(first + 1, len(words) + 1)]
        hits = [
            (last - first, -first, ingredients[" ".join(words[first:last])])
            for first, last in spans
            if last - first <= 6 and " ".join(words[first:last]) in ingredients
        ]
        if hits:
            best = max(hits, key=lambda hit: hit[:2])[2]
            if best not in found:
                found.append(best)
    return found


def _words(title: str) -> str:
    """A name as a key: without case, brackets, order, and the words that say that nothing more is known."""
    text = re.sub(r"\(.*?\)", "", title.lower()).replace(", unspecified", "").replace("unspecified ", "")
    return " ".join(sorted(re.sub(r"[^a-z0-9 ]", " ", text.replace("'s", "")).split()))


def _concepts(path: Path) -> Iterator[_Concept]:
    for row in _read(path):
        yield _Concept(*(row[name].strip() for name in _Concept._fields))


def _pairs(path: Path, one: str, two: str) -> Iterator[tuple[str, str]]:
    for row in _read(path):
        yield row[one], row[two]


def _read(path: Path) -> list[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
