"""What a code says, whether it is known, and whom it can befall: questions by system and code, answered in columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ehrsynth.terminology import library
from ehrsynth.terminology.code_system import as_texts
from ehrsynth.terminology.value_set import ValueSet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["category", "chronic", "display", "displays", "known", "limits", "sex_numbers", "subset"]

Limits = tuple["npt.NDArray[np.int8]", "npt.NDArray[np.float64]", "npt.NDArray[np.float64]"]


def display(system: str, code: str) -> str | None:
    """Return what a code says; None if the system or the code is not known."""
    return displays(system, [code])[0]


def displays(system: str, codes: Iterable[str | None]) -> list[str | None]:
    """Return what each code says, None where the system or the code is not known; length n.

    Parameters
    ----------
    system : str
        URI (or name) of the code system.
    codes : iterable of str or None
        List, numpy array, Arrow array or column; give distinct codes where there are many rows.
    """
    found = library.find_code_system(system)
    return [None] * len(as_texts(codes)) if found is None else found.displays(codes)


def known(system: str, codes: Iterable[str | None]) -> npt.NDArray[np.bool_] | None:
    """Return whether each code is of the system, shape (n,); None if the system is not shipped, or only a part of it.

    A system that is shipped in part (SNOMED, LOINC...: ``"ehrsynth": {"content": "fragment"}``) cannot say that a code
    does not exist. Of one whose codes of some shape are not listed (``"unlisted"``, a regular expression: ICD-9-CM's
    procedures beside its diagnoses) those are taken for known.
    """
    found = library.find_code_system(system)
    if found is None or found.properties.get("content") == "fragment":
        return None
    texts = as_texts(codes)
    mask: npt.NDArray[np.bool_] = found.rows(texts) >= 0
    if pattern := found.properties.get("unlisted"):
        import re

        shape = re.compile(pattern)
        for at in (~mask).nonzero()[0].tolist():
            mask[at] = shape.fullmatch(texts[at] or "") is not None
    return mask


def limits(system: str, codes: Iterable[str | None]) -> Limits:
    """Return whom each code is possible for.

    Returns
    -------
    sex : int8 array, shape (n,)
        0 any, 1 female only, 2 male only.
    min_age, max_age : float arrays, shape (n,), years
        Possible when ``min_age <= age < max_age``; half-open, so that completed years and exact ages agree (newborn is
        [0, 1), maternity [9, 65)).

    Codes and systems that are not known are possible for all: (0, 0, inf). In ICD a code that is not listed takes the
    limits of its nearest listed ancestor.

    The limits of ICD-10-CM come from rules in the spirit of the age and sex edits of CMS's Medicare Code Editor; they
    stand, with their reasons, in ``vocabularies/code_systems/icd10cm/limit_rules.csv``.
    """
    import numpy as np

    texts = as_texts(codes)
    sex = np.zeros(len(texts), dtype=np.int8)
    min_age = np.zeros(len(texts))
    max_age = np.full(len(texts), np.inf)
    found = library.find_code_system(system)
    if found is None:
        return sex, min_age, max_age
    rows = found.ancestor_rows(texts)
    hit = np.flatnonzero(rows >= 0)
    taken = found.codes.take(rows[hit])
    if "sex" in taken.column_names:
        sex[hit] = [_SEXES.get(value, 0) for value in taken["sex"].to_pylist()]
    for name, ages in (("min_age", min_age), ("max_age", max_age)):
        if name in taken.column_names:
            stated = taken[name].to_numpy()
            ages[hit] = np.where(np.isnan(stated), ages[hit], stated)
    return sex, min_age, max_age


_SEXES = {"female": 1, "male": 2}


def sex_numbers(sexes: Iterable[str | None]) -> npt.NDArray[np.int64]:
    """Return each sex as `limits` numbers them, int64[n]: 1 female, 2 male, 0 any other, whom no code is limited to."""
    import numpy as np

    return np.array([_SEXES.get(sex or "", 0) for sex in sexes], dtype=np.int64)


def chronic(system: str, codes: Iterable[str | None]) -> npt.NDArray[np.bool_]:
    """Return whether each code is of a chronic condition, shape (n,); False where that is not known.

    ICD-10-CM by AHRQ's Chronic Condition Indicator Refined: lasting 12 months or longer and limiting, or needing care.
    """
    import numpy as np

    return np.array([value is True for value in _values(system, "chronic", codes)], dtype=bool)


def category(system: str, codes: Iterable[str | None]) -> list[str | None]:
    """Return the category of each code, None where there is none; length n.

    ICD-10-CM by AHRQ's Clinical Classifications Software Refined (CCSR), the default category of a principal diagnosis;
    what it says is a code of the code system ``ccsr``. Drugs by their ATC class.
    """
    return _values(system, "category", codes)


def subset(system: str, name: str) -> frozenset[str] | None:
    """Return the codes of `system` that are in the value set or the category of a name, in any case; None if none is.

    Categories are those of `category`: a CCSR category is a value set of ICD-10-CM codes.
    """
    for package in library.packages("value_set"):
        if package.name.lower() == name.lower() and isinstance(package, ValueSet):
            return frozenset(coding.code for coding in package if coding.system == system) or None
    found = library.find_code_system(system)
    if found is None or "category" not in found.codes.column_names:
        return None
    import pyarrow.compute as pc

    rows = found.codes.filter(pc.equal(found.codes["category"], name.upper()))
    return frozenset(rows["code"].to_pylist()) or None


def _values(system: str, name: str, codes: Iterable[str | None]) -> list[pa.Scalar]:
    found = library.find_code_system(system)
    return [None] * len(as_texts(codes)) if found is None else found.column(name, codes)
