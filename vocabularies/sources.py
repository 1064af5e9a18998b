"""What recipes of vocabularies read from, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HERE", "Recipe", "Rows", "Sources"]

HERE = Path(__file__).parent

Rows = Iterable[Sequence[object]]
Recipe = Callable[["Sources"], Mapping[str, Rows]]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the recipes read from: the folder of sources, that of downloads, and the vocabularies themselves."""

    root: Path
    downloads: Path | None = None
    here: Path = HERE

    def vocab(self, name: str) -> Path:
        """Return a file of ``SOURCES/vocab``."""
        return self.root / "vocab" / name

    def fhir(self, name: str) -> Path:
        """Return a file of ``SOURCES/fhir/packages``."""
        return self.root / "fhir" / "packages" / name

    def download(self, name: str) -> Path:
        """Return a file of the folder of downloads."""
        return (self.downloads or self.root) / name
