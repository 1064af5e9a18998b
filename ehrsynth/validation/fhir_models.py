"""A second opinion on structure: the R4B models of fhir.resources, on all resources or a fixed sample of each type."""

from __future__ import annotations

import hashlib
import heapq
from typing import Any

from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.findings import Findings

__all__ = ["ModelCheck"]

Node = dict[str, Any]


class ModelCheck:
    """Holds resources against fhir.resources.

    The models coerce ``"95.5"`` to a number and ``"true"`` to a boolean, so they do not replace the visit of structure.

    Parameters
    ----------
    findings : Findings
    sample : int or None
        How many resources of each type: those with the smallest hash of ``Type/id``, so the same data give the same
        sample in any order. None: all of them, as they come.
    """

    def __init__(self, findings: Findings, sample: int | None) -> None:
        self.findings, self.sample = findings, sample
        self.checked: dict[str, int] = {}
        self._kept: dict[str, list[tuple[int, int, Where, Node]]] = {}
        self._models: dict[str, Any] = {}
        self._count = 0

    def take(self, resource: Node, name: str, where: Where) -> None:
        """Check a resource now, or keep it for the sample."""
        if self.sample is None:
            self._check(resource, where)
            return
        if self.sample == 0:
            return
        self._count += 1
        mark = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        kept = self._kept.setdefault(resource["resourceType"], [])
        # The heap's head is the largest mark kept; the running count keeps equal marks from comparing resources.
        item = (-mark, -self._count, where, resource)
        if len(kept) < self.sample:
            heapq.heappush(kept, item)
        elif item[:2] > kept[0][:2]:
            heapq.heapreplace(kept, item)

    def finish(self) -> None:
        """Check what was kept."""
        for kind in sorted(self._kept):
            for _, _, where, resource in sorted(self._kept[kind], key=lambda item: item[:2], reverse=True):
                self._check(resource, where)

    def _model(self, kind: str) -> Any:
        if kind not in self._models:
            # Imported late: the models of one type take 0.2 s, and nothing but this check needs them.
            from fhir.resources.R4B import get_fhir_model_class

            try:
                self._models[kind] = get_fhir_model_class(kind)
            except KeyError:
                self._models[kind] = None  # R4 has types that R4B dropped
        return self._models[kind]

    def _check(self, resource: Node, where: Where) -> None:
        import pydantic

        kind = resource["resourceType"]
        model = self._model(kind)
        if model is None:
            return
        self.checked[kind] = self.checked.get(kind, 0) + 1
        try:
            model.model_validate(resource)
        except pydantic.ValidationError as error:
            for fault in error.errors(include_url=False, include_context=False, include_input=False):
                path = [str(part) for part in fault["loc"] if not isinstance(part, int)]
                self.findings.add("r4-model", ".".join((kind, *path)), str(where), detail=_first_line(fault["msg"]))


def _first_line(text: str) -> str:
    return text.splitlines()[0][:160] if text else ""
