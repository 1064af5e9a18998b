"""How ICD writes its codes: with a dot that many sources leave out."""

from __future__ import annotations

from collections.abc import Iterable

from ehrsynth.terminology.code_system import as_texts

__all__ = ["with_dot", "without_dot"]


def with_dot(codes: Iterable[str | None], *, version: int = 10, procedure: bool = False) -> list[str | None]:
    """Return ICD codes with their dot: after the third character; ICD-9 E codes the fourth, its procedures the second.

    Spaces around a code and a dot that is already there are no matter; None and empty text give None. ICD-10-PCS codes
    (``version=10, procedure=True``) have no dot. ICD-9 categories that were taken for numbers and so lost their zeros
    (``38`` for 038, ``8.45`` for 008.45) get them back.

    Parameters
    ----------
    version : int
        9 or 10.
    procedure : bool
        Procedure codes.
    """
    out: list[str | None] = []
    for raw in as_texts(codes):
        text = _with_zeros((raw or "").strip().upper(), version, procedure).replace(".", "")
        at = _dot_at(text, version, procedure)
        out.append((f"{text[:at]}.{text[at:]}" if len(text) > at else text) or None)
    return out


def _with_zeros(text: str, version: int, procedure: bool) -> str:
    category, dot, rest = text.partition(".")
    width = 2 if procedure else 3
    return category.zfill(width) + dot + rest if version == 9 and category.isdigit() else text


def _dot_at(text: str, version: int, procedure: bool) -> int:
    if version == 10:
        return len(text) if procedure else 3
    if procedure:
        return 2
    return 4 if text.startswith("E") else 3


def without_dot(codes: Iterable[str | None]) -> list[str | None]:
    """Return codes without dot or spaces around them; None and empty text give None."""
    return [(raw or "").strip().replace(".", "") or None for raw in as_texts(codes)]
