"""The codes, units and identifiers met in a set of resources, asked about once per distinct one."""

from __future__ import annotations

from typing import Any

from ehrsynth import terminology
from ehrsynth.terminology import ucum
from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.identifiers import NPI, npi_is_valid

__all__ = ["Vocabulary"]

Node = dict[str, Any]


class Vocabulary:
    """Counts codings by system and code; memory grows with the distinct codes."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._met: dict[str, dict[str, list[Any]]] = {}
        self.npis = 0

    def meet(self, system: str, code: str, path: list[str], where: Where) -> None:
        """Take in a code that stands at `path`."""
        codes = self._met.get(system)
        if codes is None:
            codes = self._met[system] = {}
        entry = codes.get(code)
        if entry is None:
            codes[code] = [1, ".".join(path), where]
        else:
            entry[0] += 1

    def meet_identifier(self, identifier: Node, path: list[str], where: Where) -> None:
        """Check an identifier by its system."""
        if identifier.get("system") == NPI and type(identifier.get("value")) is str:
            self.npis += 1
            if not npi_is_valid(identifier["value"]):
                self.findings.add("npi-check-digit", ".".join(path), f"{where} {identifier['value']}")

    def finish(self) -> dict[str, int]:
        """Report units that are not UCUM and codes that their systems do not have; return how many were looked at."""
        checked = {"npi": self.npis, "units": 0, "codes": 0}
        for system, codes in sorted(self._met.items()):
            if system == terminology.UCUM:
                checked["units"] += sum(entry[0] for entry in codes.values())
                for code, (count, place, where) in codes.items():
                    if not ucum.is_valid(code):
                        self.findings.add("not-ucum", place, f"{where} {code}", count=count)
                continue
            known = terminology.known(system, list(codes))
            if known is None:
                continue
            checked["codes"] += sum(entry[0] for entry in codes.values())
            for (code, (count, place, where)), is_known in zip(codes.items(), known, strict=True):
                if not is_known:
                    self.findings.add(
                        "unknown-code", place, f"{where} {code}", count=count, detail=f"System: {system}."
                    )
        return checked
