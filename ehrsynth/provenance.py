"""Where data, models and exports come from: source, licence, parent, versions, and that they are synthetic."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Provenance", "sha256_file", "versions"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The origin of a set of records or of a model.

    Attributes
    ----------
    source : str
        What it was read or made from, in words a person understands.
    source_format : str
        Name of the reader or generator: ``omop``, ``tables``, ``ehrsynth``...
    licence : str
        Licence of the source, empty if unknown.
    synthetic : bool
        True only for what a model generated.
    time_basis : str
        ``calendar`` (true dates), ``shifted`` (dates moved per patient, intervals true), ``offset`` (days from an
        origin) or ``order`` (only the order of encounters is known).
    details : mapping
        Anything else, JSON-serialisable: seed, model hash, parent, settings.
    """

    source: str
    source_format: str = ""
    licence: str = ""
    synthetic: bool = False
    time_basis: str = "calendar"
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable copy."""
        return asdict(self)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of ehrsynth and of `distributions`; those not installed are left out."""
    found = {name: _version(name) for name in ("ehrsynth", *distributions)}
    return {name: version for name, version in found.items() if version is not None}


@lru_cache(maxsize=64)
def _version(distribution: str) -> str | None:
    # A run asks twice, and every time a whole README would be read as the headers of a letter.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
