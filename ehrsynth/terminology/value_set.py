"""A value set: codes, of one system or several, from which a field takes its value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from ehrsynth.terminology.coding import Coding
from ehrsynth.terminology.package import VocabularyPackage

__all__ = ["ValueSet"]


class ValueSet(VocabularyPackage):
    """A set of codings, as a data package with a resource ``codes`` (columns system, code, display)."""

    @property
    def uri(self) -> str:
        """Canonical URL of the value set, empty if it has none."""
        return str(self.properties.get("uri", ""))

    @cached_property
    def codings(self) -> tuple[Coding, ...]:
        """The codings, in the order of the source."""
        rows = self.table("codes")
        return tuple(
            Coding(system=system, code=code, display=display)
            for system, code, display in zip(
                *(rows[name].to_pylist() for name in ("system", "code", "display")), strict=True
            )
        )

    @cached_property
    def _members(self) -> frozenset[tuple[str, str]]:
        return frozenset((coding.system, coding.code) for coding in self.codings)

    def __len__(self) -> int:
        return len(self.codings)

    def __iter__(self) -> Iterator[Coding]:
        return iter(self.codings)

    def __contains__(self, coding: object) -> bool:
        """Whether a `Coding` or a pair (system, code) is in the set."""
        pair = (coding.system, coding.code) if isinstance(coding, Coding) else coding
        return pair in self._members
