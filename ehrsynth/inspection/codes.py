"""Code systems recognised by the shape of the values, by check digits, and by the vocabularies that come along."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.inspection.findings import CodesFound
from ehrsynth.readers.source_codes import SHAPES, measurement_code, observation_code, procedure_code
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, RXNORM, SNOMED, displays, known, with_dot

__all__ = ["recognise"]

Mask = npt.NDArray[np.bool_]

_SAMPLE = 3000
_LEAST_SHARE = 0.7
_LOST_ZERO = re.compile(r"[0-9]{10}")
"""An NDC as a spreadsheet leaves it."""

# Where a bare number may be a code of the system only if a name says so: words of the column or the table.
_HINTS = {
    "cvx": ("cvx", "vaccin", "immuni"),
    "rxnorm": ("rx", "med", "drug", "ingredient"),
    "ndc": ("ndc", "drug", "med", "prescri", "package", "product"),
    "cpt": ("cpt", "hcpcs", "proc"),
    "hcpcs": ("hcpcs", "cpt", "proc"),
    "atc": ("atc", "drug", "med"),
    "several": ("code", "source_value", "concept"),
    "icd": ("icd", "diag", "dx", "cond", "problem", "proc", "cause", "px"),
}
_WORDS_OF_CODES = ("code", "cd", "icd", "ndc", "loinc", "snomed", "cvx", "cpt", "hcpcs", "atc", "dx", "diag", "rxnorm")


@dataclass(frozen=True)
class _Shape:
    system: str
    fits: Callable[[list[str]], Mask]
    hint: str
    sure: float
    says: str


def recognise(table: str, column: str, values: pa.Array, *, procedures: bool = False) -> CodesFound | None:
    """Return the code system that most of the distinct values are of, None if no system has enough of them.

    Parameters
    ----------
    table, column : str
        Names: a short number is a CVX or RxNorm code only where they speak of vaccines or drugs.
    values : pyarrow.Array
        Distinct values, whole numbers or text.
    procedures : bool
        Whether the table is one of procedures: ICD-9 then means volume 3, and ICD-10 the PCS.
    """
    words = [str(word).strip().upper() for word in values.slice(0, _SAMPLE).to_pylist()]
    if not words or max(map(len, words)) > 20:
        return None
    best: CodesFound | None = None
    name = f"{table} {column}".lower()
    for shape in _shapes(procedures):
        hinted = not shape.hint or any(word in name for word in _HINTS[shape.hint])
        if not hinted:
            continue
        fitting = shape.fits(words)
        share = float(np.mean(fitting))
        if share < _LEAST_SHARE:
            continue
        # A handful of values may fit by chance; a name that speaks of codes makes up for it.
        few = len(words) < 5 and not any(part in column for part in _WORDS_OF_CODES)
        confidence = round(shape.sure * share * (0.6 if few else 1.0), 2)
        if best is None or confidence > best.confidence:
            evidence = f"{int(fitting.sum()):,} of {len(words):,} distinct values {shape.says}"
            best = CodesFound(system=shape.system, share=round(share, 3), confidence=confidence, evidence=evidence)
    return best


def _shapes(procedures: bool) -> tuple[_Shape, ...]:
    diagnoses = (
        _Shape("icd-10-cm", _icd10, "icd", 0.97, "are listed in ICD-10-CM"),
        _Shape("icd-9-cm", _icd9, "icd", 0.95, "are listed in ICD-9-CM"),
        _Shape("icd", _either_icd, "icd", 0.93, "are listed in ICD-9-CM or ICD-10-CM"),
    )
    performed = (
        _Shape("icd-10-pcs", _pcs, "icd", 0.95, "have the shape of ICD-10-PCS"),
        _Shape("icd-9-cm", _matching(SHAPES["icd-9-cm volume 3"]), "icd", 0.8, "have the shape of ICD-9-CM volume 3"),
        _Shape("icd", _either_procedure, "icd", 0.78, "have the shape of ICD-9-CM volume 3 or ICD-10-PCS"),
        _Shape("cpt", _matching(SHAPES["cpt"]), "cpt", 0.6, "have the shape of CPT"),
        _Shape("hcpcs", _matching(SHAPES["hcpcs"]), "hcpcs", 0.7, "have the shape of HCPCS"),
    )
    return (
        *(performed if procedures else diagnoses),
        _Shape("several", _several(procedures), "several", 0.7, "are codes of several systems"),
        _Shape("loinc", _of(measurement_code, LOINC), "", 0.99, "are LOINC with the right check digit"),
        _Shape("snomed", _snomed, "", 0.97, "are SNOMED CT with the right check digit"),
        _Shape("cvx", lambda words: _listed(CVX, words), "cvx", 0.95, "are listed in CVX"),
        _Shape("ndc", _ndc, "ndc", 0.9, "have the shape of NDC"),
        _Shape("rxnorm", _rxnorm, "rxnorm", 0.9, "have the shape of RxNorm, of which some are listed"),
        _Shape("atc", _matching(SHAPES["atc"]), "atc", 0.75, "have the shape of ATC"),
    )


def _matching(pattern: re.Pattern[str]) -> Callable[[list[str]], Mask]:
    return lambda words: np.array([pattern.fullmatch(word) is not None for word in words])


def _of(read: Callable[[str], tuple[str, str] | None], system: str) -> Callable[[list[str]], Mask]:
    return lambda words: np.array([(read(word) or ("",))[0] == system for word in words])


def _several(procedures: bool) -> Callable[[list[str]], Mask]:
    def fits(words: list[str]) -> Mask:
        read = procedure_code if procedures else observation_code
        systems = [(read(word) or ("",))[0] for word in words]
        # Only if none has nearly all of them: else that system stands.
        return np.array([bool(system) for system in systems]) & (len(set(systems) - {""}) > 1)

    return fits


def _listed(system: str, codes: Sequence[str | None]) -> Mask:
    found = known(system, codes)
    return np.zeros(len(codes), dtype=bool) if found is None else found


def _icd(words: list[str], shape: re.Pattern[str], system: str, version: int) -> Mask:
    plain = [word.replace(".", "") if shape.fullmatch(word) else "" for word in words]
    return _listed(system, with_dot(plain, version=version))


def _icd10(words: list[str]) -> Mask:
    return _icd(words, SHAPES["icd-10-cm"], ICD10CM, 10)


def _icd9(words: list[str]) -> Mask:
    # Numbers below 100 have lost their zeros in a float or a spreadsheet, and are no evidence.
    long_enough: Mask = np.array([len(word) > 2 for word in words])
    return _icd(words, SHAPES["icd-9-cm"], ICD9CM, 9) & long_enough


def _either_icd(words: list[str]) -> Mask:
    old, new = _icd9(words), _icd10(words)
    # Only if either has a part of its own: else the simpler answer stands.
    return (old | new) if (old & ~new).any() and (new & ~old).any() else np.zeros(len(words), dtype=bool)


def _ndc(words: list[str]) -> Mask:
    found: Mask = _matching(SHAPES["ndc"])(words) | _matching(_LOST_ZERO)(words)
    return found


def _pcs(words: list[str]) -> Mask:
    system = "http://www.cms.gov/Medicare/Coding/ICD10"
    return _of(procedure_code, system)(words)


def _either_procedure(words: list[str]) -> Mask:
    old, new = _matching(SHAPES["icd-9-cm volume 3"])(words), _pcs(words)
    return (old | new) if old.any() and new.any() else np.zeros(len(words), dtype=bool)


def _snomed(words: list[str]) -> Mask:
    shown = _of(measurement_code, SNOMED)(words)
    # Concepts of 6 digits exist, but only beside longer ones are they believed.
    short = np.array([word.isdigit() and len(word) == 6 for word in words])
    return shown | short if shown.mean() >= 0.5 else shown


def _rxnorm(words: list[str]) -> Mask:
    shaped = _matching(SHAPES["rxnorm"])(words)
    listed = np.array([text is not None for text in displays(RXNORM, words)])
    return shaped if listed.mean() >= 0.2 else listed
