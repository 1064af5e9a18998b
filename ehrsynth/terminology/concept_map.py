"""A concept map: what a code of one system is in another."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from ehrsynth.terminology.code_system import as_texts
from ehrsynth.terminology.coding import Coding
from ehrsynth.terminology.package import VocabularyPackage

__all__ = ["ConceptMap"]


class ConceptMap(VocabularyPackage):
    """Equivalents, as a data package with a resource ``map``.

    Its columns are ``source_code`` and ``target_code``, with ``source_system`` and ``target_system`` beside them where
    the descriptor does not fix one for all (``"ehrsynth": {"source": URI, "target": URI}``), and optionally
    ``target_display``. The first row of a source code is its best equivalent.
    """

    @cached_property
    def _targets(self) -> dict[tuple[str, str], list[Coding]]:
        rows = self.table("map")
        n = rows.num_rows

        def column(name: str, constant: str | None) -> list[str | None]:
            return rows[name].to_pylist() if name in rows.column_names else [constant] * n

        found: dict[tuple[str, str], list[Coding]] = {}
        for source, code, system, target, text in zip(
            column("source_system", self.properties.get("source")),
            column("source_code", None),
            column("target_system", self.properties.get("target")),
            column("target_code", None),
            column("target_display", None),
            strict=True,
        ):
            if source and code and system and target:
                found.setdefault((source, code), []).append(Coding(system=system, code=target, display=text))
        return found

    def translate(self, system: str, code: str) -> list[Coding]:
        """Return the equivalents of a code, the best first; empty if there is none."""
        return list(self._targets.get((system, code), ()))

    def first(self, system: str, codes: Iterable[str | None]) -> list[str | None]:
        """Return the code of the best equivalent of each code, None where there is none."""
        targets = self._targets
        return [
            hits[0].code if code is not None and (hits := targets.get((system, code))) else None
            for code in as_texts(codes)
        ]
