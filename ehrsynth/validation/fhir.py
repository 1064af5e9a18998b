"""Validation of FHIR R4: every resource of a set, however it is packed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from ehrsynth.validation.fhir_files import FhirFiles, Item
from ehrsynth.validation.fhir_models import ModelCheck
from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.fhir_plausibility import Plausibility
from ehrsynth.validation.fhir_references import References, name_of
from ehrsynth.validation.fhir_requirements import Requirements, requirements
from ehrsynth.validation.fhir_structure import StructureCheck
from ehrsynth.validation.fhir_vocabulary import Vocabulary
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.integrity import check_bulk_manifest
from ehrsynth.validation.issue import ValidationReport

__all__ = ["validate_fhir"]

Node = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch


def validate_fhir(
    source: Path,
    *,
    format: str,  # noqa: A002 - the word users know
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ValidationReport:
    """Check every resource in the NDJSON, Bundle and resource files of `source`, all of them one set.

    Parameters
    ----------
    source : Path
        A file or folder.
    format : str
        What the report calls it.
    sample : int, optional
        How many resources of each type are held against the models of fhir.resources as well; all if None, none if 0.
        Every other check is made on every resource.
    progress : callable, optional
        Called with bytes read and bytes in all.

    Returns
    -------
    ValidationReport
        `counts` is resources by type; `checked` says how many of what each kind of check looked at.
    """
    return _Validation(source, format, sample, progress).run()


class _Validation:
    def __init__(
        self,
        source: Path,
        format_name: str,
        sample: int | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.rules: Requirements = requirements()
        self.findings = Findings()
        self.source, self.format = source, format_name
        self.files = FhirFiles(source, self.findings, progress)
        self.references = References(self.findings)
        self.vocabulary = Vocabulary(self.findings)
        self.structure = StructureCheck(self.rules, self.findings, self.references, self.vocabulary)
        self.plausibility = Plausibility(self.findings)
        self.models = ModelCheck(self.findings, sample)
        self.counts: dict[str, int] = {}
        self._contents: set[int] = set()
        self._expected: dict[str, str] = {}

    def run(self) -> ValidationReport:
        for item in self.files:
            self._take(item)
            while self.files.bundles:
                self._take_bundle(*self.files.bundles.pop())
        while self.files.bundles:  # of a file without entries
            self._take_bundle(*self.files.bundles.pop())
        self.references.finish()
        self.plausibility.finish()
        self.models.finish()
        codes = self.vocabulary.finish()
        manifest = check_bulk_manifest(self.source, self.counts, self.findings)
        resources = sum(self.counts.values())
        checked = {
            "files": len(self.files.files),
            "structure": resources,
            "references": self.references.checked,
            **{f"profile {name}": n for name, n in sorted(self.structure.profiles.checked.items())},
            **self.plausibility.checked,
            "codes of shipped systems": codes["codes"],
            "UCUM units": codes["units"],
            "NPI check digits": codes["npi"],
            "fhir.resources": sum(self.models.checked.values()),
            **({"manifest entries": manifest} if manifest else {}),
        }
        return ValidationReport(
            source=str(self.source),
            format=self.format,
            counts=dict(sorted(self.counts.items())),
            checked=checked,
            issues=self.findings.issues(),
        )

    def _take_bundle(self, head: Node, where: Where) -> None:
        self.counts["Bundle"] = self.counts.get("Bundle", 0) + 1
        self.structure.check(head, where, None)

    def _take(self, item: Item) -> None:
        resource, where, add = item.resource, item.where, self.findings.add
        if item.entry is not None:
            self.structure.check_part(item.entry, "Bundle.entry", where)
        kind = resource.get("resourceType")
        if type(kind) is not str or not kind:
            add("missing-resource-type", where.file, str(where))
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind not in self.rules.resource_types:
            add("unknown-resource-type", kind, str(where))
            return
        ident = resource.get("id")
        full_url = item.entry.get("fullUrl") if item.entry is not None else None
        name = name_of(kind, ident, full_url)
        where = where._replace(name=name or kind)
        self._check_identity(item, kind, ident, name, where)
        self._check_file(kind, where, item)
        self.structure.check(resource, where, item.scope)
        self.plausibility.take(resource, name, where, item.scope)
        self.models.take(resource, name or str(where), where)

    def _check_identity(self, item: Item, kind: str, ident: object, name: str, where: Where) -> None:
        if ident is None:
            # A server gives the id to what is POSTed from a Bundle.
            if item.scope is None or not name:
                self.findings.add("missing-id", kind, str(where))
        elif type(ident) is str and not _ID(ident):
            self.findings.add("malformed-id", kind, str(where))
        content, repeated = self._content(item.resource), False
        if name:
            repeated = self.references.is_known(name)
            self.references.add(name, content, where, item.scope, item.seen)
        if content in self._contents and not repeated:
            self.findings.add("duplicate-content", kind, str(where))
        self._contents.add(content)
        identifiers = item.resource.get("identifier")
        for entry in identifiers if type(identifiers) is list else ():
            if type(entry) is dict and type(entry.get("value")) is str:
                system = entry.get("system")
                self.references.add_identifier(
                    kind, system if type(system) is str else "", entry["value"], where=where, repeated=repeated
                )

    def _content(self, resource: Node) -> int:
        """A hash of everything but the id."""
        without_id = {key: value for key, value in resource.items() if key != "id"}
        return hash(orjson.dumps(without_id, option=orjson.OPT_SORT_KEYS))

    def _check_file(self, kind: str, where: Where, item: Item) -> None:
        if item.scope is not None:
            return
        expected = self._expected.get(where.file)
        if expected is None:
            # Bulk exports name files after the type: Patient.ndjson, Patient.000.ndjson.
            first = re.split(r"[.\-_]", Path(where.file).name)[0] if ".ndjson" in where.file else ""
            expected = self._expected[where.file] = first if first in self.rules.resource_types else ""
        if expected and expected != kind:
            self.findings.add("wrong-file", kind, str(where))
