"""What a code of a MEDS data set says: of which table it is, in which code system, and under which code there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrsynth.readers.mapping_grammar import SYSTEMS
from ehrsynth.readers.source_codes import condition_code, measurement_code, procedure_code
from ehrsynth.terminology import displays, with_dot
from ehrsynth.terminology.library import value_set

__all__ = ["Meaning", "meaning"]

OWN = "urn:ehrsynth:source:meds"
"""Code system of codes that are the data set's own."""

_SYSTEMS = {
    "icd10cm": "icd-10-cm",
    "icd10": "icd-10-cm",
    "icd9cm": "icd-9-cm",
    "icd9": "icd-9-cm",
    "icd10pcs": "icd-10-pcs",
    "icd9proc": "icd-9-cm",
    "icd9pcs": "icd-9-cm",
    "snomed": "snomed",
    "snomedct": "snomed",
    "loinc": "loinc",
    "rxnorm": "rxnorm",
    "rxnormextension": "rxnorm",
    "ndc": "ndc",
    "cvx": "cvx",
    "cpt4": "cpt",
    "cpt": "cpt",
    "hcpcs": "hcpcs",
    "atc": "atc",
}
_TABLE_OF = {
    "icd-10-cm": "condition",
    "icd-9-cm": "condition",
    "icd-10-pcs": "procedure",
    "cpt": "procedure",
    "hcpcs": "procedure",
    "loinc": "observation",
    "rxnorm": "medication_request",
    "ndc": "medication_request",
    "atc": "medication_request",
    "cvx": "immunization",
}
# First words of codes, without what is no letter or digit.
_KINDS = {
    "condition": ("diagnosis", "diagnoses", "condition", "problem", "dx"),
    "procedure": ("procedure", "procedures", "surgery"),
    "medication_request": (
        "medication",
        "medications",
        "drug",
        "prescription",
        "rx",
        "medicationorder",
        "infusionstart",
    ),
    "immunization": ("immunization", "vaccine", "vaccination"),
    "observation": (
        "lab",
        "labs",
        "labtest",
        "vital",
        "vitals",
        "vitalsign",
        "measurement",
        "observation",
        "fluidoutput",
    ),
    "sex": ("gender", "sex"),
    "race": ("race",),
    "ethnicity": ("ethnicity",),
    "marital": ("maritalstatus",),
    "birth": ("medsbirth", "birth"),
    "death": ("medsdeath", "death"),
    "stay": ("hospitaladmission", "admission", "inpatientadmission"),
    "leave": ("hospitaldischarge", "discharge", "inpatientdischarge"),
    "emergency": ("edregistration", "edadmission", "edarrival"),
    "emergency_leave": ("edout", "eddischarge", "eddeparture"),
    "visit": ("visit", "encounter", "visittype"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
_CLASSES = {
    "ip": "IMP",
    "inpatient": "IMP",
    "inpatientvisit": "IMP",
    "erip": "IMP",
    "9201": "IMP",
    "262": "IMP",
    "er": "EMER",
    "ed": "EMER",
    "emergency": "EMER",
    "emergencyroomvisit": "EMER",
    "9203": "EMER",
    "euobservation": "OBSENC",
    "directobservation": "OBSENC",
    "ambulatoryobservation": "OBSENC",
}
# Of a drug's events those that say that it was stopped or not given are no order.
_BEGUN, _ENDED = ("start",), ("stop", "end")
_UNKNOWN = ("unk", "n/a", "none", "")
_NOT_GIVEN = ("stopped", "not given", "discontinued", "held", "flushed", "refused", "missed", "hold", "not ")
_STATEMENTS = {"snomed/3950001": "birth", "snomed/419620001": "death"}


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a code says.

    Attributes
    ----------
    kind : str
        A canonical table of events; sex, race, ethnicity, marital (`code` is the word); birth, death; stay, leave,
        emergency, emergency_leave, visit (`code` is the encounter class); ended, not given; empty if it is not known.
    system, code, display, unit : str
    """

    kind: str
    system: str = ""
    code: str = ""
    display: str = ""
    unit: str = ""

    @property
    def category(self) -> str:
        """The category of an observation: vital signs are those of FHIR's value set, all others of the laboratory."""
        return "vital-signs" if (self.system, self.code) in value_set("vital-signs") else "laboratory"


def meaning(code: str, *, numeric: bool, description: str = "", parents: Sequence[str] = ()) -> Meaning:
    """Return what a code says.

    Parameters
    ----------
    code : str
        As ``ICD10CM/I10``, ``LAB//50912//mg/dL``, ``DIAGNOSIS//ICD//10//I10`` or ``MEDS_BIRTH``.
    numeric : bool
        Whether any event of it carries a number: a code of an unknown kind that does is a measurement.
    description : str
        Of the data set's ``codes.parquet``.
    parents : sequence of str
        Its ``parent_codes`` there, which often are of a public code system: these are taken before the source's own.
    """
    parts = [part.strip() for part in (code.split("//") if "//" in code else code.split("/", 1))]
    head, rest = _plain(parts[0]), [part for part in parts[1:] if part.lower() not in _UNKNOWN]
    if code.lower() in _STATEMENTS:
        return Meaning(kind=_STATEMENTS[code.lower()])
    if head in _SYSTEMS and rest:
        return _public(_SYSTEMS[head], "/".join(rest), head, numeric, description)
    kind = _KIND_OF.get(head, "")
    if kind in ("birth", "death", "leave", "emergency", "emergency_leave"):
        return Meaning(kind=kind, code="EMER" if kind == "emergency" else "")
    if kind in ("stay", "visit"):
        usual = "IMP" if kind == "stay" else "AMB"
        return Meaning(kind=kind, code=_CLASSES.get(_plain(rest[0]) if rest else "", usual))
    if kind in ("sex", "race", "ethnicity", "marital"):
        return Meaning(kind=kind, code=rest[0].lower() if rest else "")
    if kind and len(parts) > 1 and parts[1].lower() in _UNKNOWN:
        # Given, but not what.
        return Meaning(kind="")
    for parent in parents:
        known = meaning(parent, numeric=numeric, description=description)
        if known.system and known.kind == (kind or known.kind):
            return Meaning(
                kind=known.kind, system=known.system, code=known.code, display=known.display, unit=_unit(rest, kind)
            )
    if kind and rest and rest[0].lower() in _ENDED:
        return Meaning(kind="ended")
    if kind and rest and rest[0].lower() in _BEGUN:
        rest = rest[1:]
    if kind:
        return _coded(kind, rest, description) if rest else Meaning(kind="")
    if numeric:
        unit = _unit(rest)
        own = "//".join([parts[0], *(rest[:-1] if unit else rest)])
        return Meaning(kind="observation", system=OWN, code=own, display=description or own, unit=unit)
    return Meaning(kind="")


def _public(system: str, code: str, head: str, numeric: bool, description: str) -> Meaning:
    kind = _TABLE_OF.get(system, "")
    if head in ("icd9proc", "icd9pcs"):
        kind = "procedure"
    if system in ("hcpcs", "cpt"):
        # Some data sets write what it says in the place of the code.
        found = procedure_code(code)
        return Meaning(
            kind=kind, system=found[0] if found else OWN, code=found[1] if found else code, display=description
        )
    if system == "snomed":
        # A tag such as "(procedure)" says what the concept is; else a number makes it a measurement.
        said = description or (displays(SYSTEMS["snomed"], [code])[0] or "")
        tag = said[said.rfind("(") :].strip("() ").lower()
        kind = {"procedure": "procedure", "substance": "medication_request", "product": "medication_request"}.get(
            tag, "observation" if numeric or tag in ("observable entity",) else "condition"
        )
    if system.startswith("icd"):
        code = _dotted(system, code, kind)
    return Meaning(kind=kind, system=SYSTEMS[system], code=code, display=description)


def _coded(kind: str, rest: Sequence[str], description: str) -> Meaning:
    """Return the meaning of a code of the data set's own whose first word says what it is."""
    first = _plain(rest[0])
    if first == "icd" and len(rest) > 2:
        system = {"9": "icd-9-cm", "10": "icd-10-pcs" if kind == "procedure" else "icd-10-cm"}.get(rest[1], "")
        if system:
            return Meaning(kind=kind, system=SYSTEMS[system], code=_dotted(system, rest[2], kind), display=description)
    if first in _SYSTEMS and len(rest) > 1:
        system = "icd-10-pcs" if kind == "procedure" and first == "icd10" else _SYSTEMS[first]
        code = _dotted(system, rest[1], kind) if system.startswith("icd") else rest[1]
        return Meaning(kind=kind, system=SYSTEMS[system], code=code, display=description)
    if kind == "medication_request" and len(rest) > 1 and rest[1].lower().startswith(_NOT_GIVEN):
        return Meaning(kind="not given")
    read = {"condition": condition_code, "procedure": procedure_code, "observation": measurement_code}.get(kind)
    found = read(rest[0]) if read is not None and not rest[0].isdigit() else None
    system, code = found or (OWN, rest[0])
    return Meaning(kind=kind, system=system, code=code, display=description or rest[0], unit=_unit(rest[1:], kind))


def _dotted(system: str, code: str, kind: str) -> str:
    if system == "icd-10-pcs":
        return code
    found = with_dot([code], version=9 if system == "icd-9-cm" else 10, procedure=kind == "procedure")[0]
    return found or code


def _unit(rest: Sequence[str], kind: str = "observation") -> str:
    """Return the unit at the end of a code in UCUM, if it is one that is known."""
    return UNITS.get(rest[-1], UNITS.get(rest[-1].lower(), "")) if rest and kind in ("observation", "") else ""


def _plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]", "", word.lower())


UNITS: Mapping[str, str] = {
    "bpm": "/min",
    "insp/min": "/min",
    "mmHg": "mm[Hg]",
    "°F": "[degF]",
    "°C": "Cel",
    "K/uL": "10*3/uL",
    "m/uL": "10*6/uL",
    "mEq/L": "meq/L",
    "IU/L": "[iU]/L",
    "%": "%",
    "mg/dL": "mg/dL",
    "g/dL": "g/dL",
    "mmol/L": "mmol/L",
    "ng/mL": "ng/mL",
    "pg/mL": "pg/mL",
    "ug/dL": "ug/dL",
    "mg/L": "mg/L",
    "U/L": "U/L",
    "fL": "fL",
    "pg": "pg",
    "sec": "s",
    "kg": "kg",
    "cm": "cm",
    "mL": "mL",
    "ml": "mL",
}
"""Units as MEDS codes write them, and in UCUM."""
