"""Codes as sources write them, recognised by their shape: ICD with its dot restored, NDC, LOINC, SNOMED CT, CPT..."""

from __future__ import annotations

import re

from ehrsynth.terminology import ICD9CM, ICD10CM, LOINC, NDC, SNOMED, known, with_dot

__all__ = [
    "CPT",
    "HCPCS",
    "ICD10PCS",
    "SHAPES",
    "condition_code",
    "drug_code",
    "measurement_code",
    "observation_code",
    "procedure_code",
    "tidy",
]

CPT = "http://www.ama-assn.org/go/cpt"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
ICD10PCS = "http://www.cms.gov/Medicare/Coding/ICD10"

Found = tuple[str, str] | None

SHAPES = {
    name: re.compile(pattern)
    for name, pattern in {
        "icd-10-cm": r"[A-Z][0-9][0-9AB]\.?[0-9A-Z]{0,4}",
        "icd-9-cm": r"[0-9]{3}\.?[0-9]{0,2}|V[0-9]{2}\.?[0-9]{0,2}|E[0-9]{3}\.?[0-9]?",
        "icd-9-cm volume 3": r"[0-9]{2}\.?[0-9]{1,2}",
        "icd-10-pcs": r"[0-9B-DF-HX][0-9A-HJ-NP-Z]{6}",
        "cpt": r"[0-9]{4}[0-9FTU]",
        "hcpcs": r"[A-V][0-9]{4}",
        "loinc": r"[0-9]{1,5}-[0-9]",
        "ndc": r"[0-9]{11}|([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})",
        "rxnorm": r"[0-9]{1,8}",
        "atc": r"[A-Z][0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?",
    }.items()
}
"""What codes of each system look like, in upper case, with or without the dot of ICD."""

# Verhoeff (1969): the dihedral group D5 as multiplication table, and the permutation of each place.
_D5 = tuple(
    tuple((a + b) % 5 + (5 if b >= 5 else 0) if a < 5 else (a - b) % 5 + (5 if b < 5 else 0) for b in range(10))
    for a in range(10)
)
_STEP = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def tidy(value: str | None) -> str | None:
    """Return a code or word without spaces around it or twice in it, None if nothing is left (FHIR forbids both)."""
    return " ".join((value or "").split()) or None


def condition_code(value: str) -> Found:
    """Return system and code of a diagnosis: ICD-10-CM, ICD-9-CM or SNOMED CT.

    A number of 3 to 5 digits is ICD-9-CM if that has it. A letter and digits are ICD-10-CM, except that V and E codes
    exist in both: the one that lists the code wins; if both or neither do, a V code is ICD-9-CM (in ICD-10-CM V codes
    are transport accidents of 7 characters) and an E code ICD-10-CM.
    """
    text = value.upper().replace(".", "")
    old_shape = SHAPES["icd-9-cm"].fullmatch(text)
    if old_shape and text.isdigit():
        code = _dotted(text, 9)
        return (ICD9CM, code) if _is_known(ICD9CM, code) else None
    new = (ICD10CM, _dotted(text, 10)) if SHAPES["icd-10-cm"].fullmatch(text) else None
    old = (ICD9CM, _dotted(text, 9)) if old_shape else None
    if new and old:
        listed = _is_known(*new), _is_known(*old)
        if listed[0] != listed[1]:
            return new if listed[0] else old
        return old if text.startswith("V") else new
    return new or old or _snomed(text)


def drug_code(value: str) -> Found:
    """Return system and code of a drug package: NDC in 11 digits (zeros put before the short parts of 5-4-2)."""
    match = SHAPES["ndc"].fullmatch(value)
    if not match:
        return None
    if match[1] is None:
        return (NDC, value)
    return (NDC, match[1].zfill(5) + match[2].zfill(4) + match[3].zfill(2))


def procedure_code(value: str) -> Found:
    """Return system and code of a procedure: ICD-10-PCS, CPT, HCPCS, ICD-9-CM volume 3 or SNOMED CT."""
    text = value.upper()
    # Seven digits are more often an item of the source; those of ICD-10-PCS are in section 0.
    if SHAPES["icd-10-pcs"].fullmatch(text) and (not text.isdigit() or text[0] == "0"):
        return (ICD10PCS, text)
    if SHAPES["cpt"].fullmatch(text):
        return (CPT, text)
    if SHAPES["hcpcs"].fullmatch(text):
        return (HCPCS, text)
    if SHAPES["icd-9-cm volume 3"].fullmatch(text):
        return (ICD9CM, with_dot([text], version=9, procedure=True)[0] or text)
    return _snomed(text)


def measurement_code(value: str) -> Found:
    """Return system and code of a measurement: LOINC (with its check digit right) or SNOMED CT."""
    return (LOINC, value) if SHAPES["loinc"].fullmatch(value) and _loinc_check(value) else _snomed(value)


def observation_code(value: str) -> Found:
    """Return system and code of an observation: LOINC, or as a diagnosis, or HCPCS."""
    found = measurement_code(value) or (condition_code(value) if not value.isdigit() else None)
    return found or ((HCPCS, value) if SHAPES["hcpcs"].fullmatch(value) else None)


def _dotted(text: str, version: int) -> str:
    return with_dot([text], version=version)[0] or text


def _is_known(system: str, code: str) -> bool:
    mask = known(system, [code])
    return bool(mask is not None and mask[0])


def _loinc_check(value: str) -> bool:
    digits, check = value.split("-")
    # Luhn's algorithm (modulus 10), LOINC users' guide, appendix B.
    total = sum(sum(divmod(int(d) * (2 if at % 2 == 0 else 1), 10)) for at, d in enumerate(reversed(digits)))
    return (10 - total % 10) % 10 == int(check)


def _snomed(text: str) -> Found:
    """A SNOMED CT identifier of a concept: partition 00 or 10, Verhoeff's check digit; 7 digits or more.

    Shorter ones exist, but numbers of 6 digits are more often items of the source.
    """
    if not (text.isdigit() and 7 <= len(text) <= 18 and text[0] != "0" and text[-3:-1] in ("00", "10")):
        return None
    check = 0
    for place, digit in enumerate(reversed(text)):
        number = int(digit)
        for _ in range(place % 8):
            number = _STEP[number]
        check = _D5[check][number]
    return (SNOMED, text) if check == 0 else None
