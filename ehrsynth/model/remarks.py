"""What a custodian should know of a model that was just learned: blank fields, codes left out, codes nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from ehrsynth import terminology
from ehrsynth.model.patient_model import Coding, PatientModel
from ehrsynth.terminology import library

__all__ = ["remarks"]

_BLANK = frozenset({"", "unknown", "missing"})
_OWN = "urn:ehrsynth:"
"""Systems that a reader made for codes of the source's own: it has said so itself."""


def remarks(model: PatientModel) -> list[str]:
    """Return one sentence for each thing in `model` that its reader would otherwise have to find out."""
    return [*_blank(model), *_left_out(model), *_unknown(model)]


def _blank(model: PatientModel) -> Iterator[str]:
    for variable in model.person.variables:
        if variable.cardinality == 1 and variable.states[0] in _BLANK:
            yield f"Nobody has a known {variable.name}: generated patients have none."


def _left_out(model: PatientModel) -> Iterator[str]:
    for family in model.families:
        count = model.disclosure.left_out.get(family.table, 0)
        if count:
            yield (
                f"{count:,} codes of {family.table} that fewer than {model.disclosure.min_patients} patients have are"
                f" left out; {len(family.codings):,} were learned."
            )


def _unknown(model: PatientModel) -> Iterator[str]:
    by_system: dict[str, list[Coding]] = {}
    for family in model.families:
        for coding in family.codings:
            by_system.setdefault(coding.system, []).append(coding)
    for system, codings in sorted(by_system.items()):
        if system.startswith(_OWN):
            continue
        if library.find_code_system(system) is None:
            yield (
                f"No vocabulary at hand holds the code system {system!r} (codes: {len(codings):,}): no limits of sex or"
                " age are known for them. Your own comes in with --vocabularies."
            )
            continue
        known = terminology.known(system, [coding.code for coding in codings])
        if known is not None and not known.all():
            strange = [coding.code for coding, is_known in zip(codings, known, strict=True) if not is_known]
            yield (
                f"{len(strange):,} of {len(codings):,} codes are not in {system}: {', '.join(strange[:3])}"
                f"{' and others' if len(strange) > 3 else ''}. Is the code system right?"
            )
