"""A FHIR resource declared over a table, and its writer: from records to one JSON text per resource."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from ehrsynth.exporters.fhir.alike import made_alike
from ehrsynth.exporters.fhir.identity import derived_ids, fhir_ids, identifier_system
from ehrsynth.exporters.fhir.rows import Node, Rows
from ehrsynth.exporters.fhir.templates import Object, compile_template
from ehrsynth.exporters.fhir.values import OwnId
from ehrsynth.exporters.fragments import Slot, joined_in_parts
from ehrsynth.records import Records

__all__ = [
    "TARGETS",
    "TEXT_ROWS",
    "Addition",
    "Frame",
    "Links",
    "Resource",
    "Source",
    "Target",
    "Written",
    "literal_links",
    "urn_links",
]

CHUNK_ROWS = 1 << 17
"""Rows that a template is applied to at a time: so many that Python's share vanishes."""

TEXT_ROWS = 1 << 14
"""Rows written at a time: few enough (20 MB of text) for flat memory."""

HTEST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What rows of a table are as resources: their type, and whether they belong to no patient."""

    type: str
    shared: bool = False


TARGETS: dict[str, Target] = {
    "organization": Target(type="Organization", shared=True),
    "payer": Target(type="Organization", shared=True),
    "practitioner": Target(type="Practitioner", shared=True),
    "practitioner_role": Target(type="PractitionerRole", shared=True),
    "location": Target(type="Location", shared=True),
    "patient": Target(type="Patient"),
    "coverage": Target(type="Coverage"),
    "encounter": Target(type="Encounter"),
    "condition": Target(type="Condition"),
    "observation": Target(type="Observation"),
    "medication_request": Target(type="MedicationRequest"),
    "procedure": Target(type="Procedure"),
    "immunization": Target(type="Immunization"),
    "allergy_intolerance": Target(type="AllergyIntolerance"),
    "device": Target(type="Device"),
    "related_person": Target(type="RelatedPerson"),
    "laboratory_order": Target(type="ServiceRequest"),
    "procedure_order": Target(type="ServiceRequest"),
    "specimen": Target(type="Specimen"),
    "laboratory_panel": Target(type="DiagnosticReport"),
    "study_report": Target(type="DiagnosticReport"),
    "questionnaire_response": Target(type="QuestionnaireResponse"),
    "document": Target(type="DocumentReference"),
    "care_team": Target(type="CareTeam"),
    "goal": Target(type="Goal"),
    "claim": Target(type="Claim"),
    "derived_observation": Target(type="Observation"),
    "screening_response": Target(type="QuestionnaireResponse"),
    "endpoint": Target(type="Endpoint", shared=True),
}
"""The resources that a reference can lead to, by table, or by the kind of what is derived from tables."""

Links = Callable[[str], str]
"""From a table's name to the text before the id in a reference to a row of it."""


def literal_links(table: str) -> str:
    """Return ``Type/``: literal references."""
    return f"{TARGETS[table].type}/"


def urn_links(table: str) -> str:
    """Return ``urn:uuid:`` for what is in a patient's Bundle, ``Type?identifier=system|`` for what patients share."""
    target = TARGETS[table]
    return f"{target.type}?identifier={identifier_system(table)}|" if target.shared else "urn:uuid:"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A block of patients and what they share, and how resources are to refer to each other."""

    block: Records
    shared: Records
    links: Links
    _made: dict[str, pa.Table] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, make: Callable[[Source], pa.Table]) -> pa.Table:
        """Return the table that `make` derives from the records; several resources that need it share it."""
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]

    @property
    def synthetic(self) -> bool:
        """Whether a model made the records up."""
        return self.block.provenance.synthetic or self.shared.provenance.synthetic

    def __getitem__(self, table: str) -> pa.Table:
        return (self.shared if self.shared.schema[table].shared else self.block)[table]


@dataclass(frozen=True, kw_only=True)
class Written:
    """Resources as `texts` (large_binary) and the table rows that they come from, both of length n."""

    texts: pa.LargeBinaryArray
    rows: pa.Table


Frame = Callable[["Resource", pa.Array], tuple[tuple[Slot, ...], tuple[Slot, ...]]]
"""From a resource and its ids to the slots before and after each of them."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """How rows of a table become resources of a type.

    Attributes
    ----------
    type : str
        The FHIR type.
    table : str
        The table whose rows they are.
    elements : mapping
        The template, element by element in the order of the StructureDefinition, without resourceType, id and meta.
    profile : str or Node
        The profile that is claimed, or the node that says which; empty if none.
    rows : callable, optional
        From a `Source` to the rows, with columns added or rows left out; by default the table as it is.
    key : str
        The column that ids are made from; by default the primary key of the table.
    kind : str
        What the key is a key of, if not of the table.
    derived : bool
        The key is the key of something else as well: ids are made from it and never equal to it.
    others : callable, optional
        From a `Source` to the tables that `Many` looks into.
    """

    type: str
    table: str
    elements: Mapping[str, Any]
    profile: Any = ""
    rows: Callable[[Source], pa.Table] | None = None
    key: str = ""
    kind: str = ""
    derived: bool = False
    others: Callable[[Source], Mapping[str, pa.Table]] | None = None

    @property
    def shared(self) -> bool:
        """Whether it belongs to no patient."""
        return self.table in TARGETS and TARGETS[self.table].shared

    def with_addition(self, addition: Addition) -> Resource:
        """Return the resource with the elements of `addition`; items are added to a list that is there (extensions)."""
        merged = dict(self.elements)
        for name, value in addition.elements.items():
            ours = merged.get(name)
            merged[name] = [*ours, *value] if isinstance(ours, list) and isinstance(value, list) else value
        return replace(self, elements=merged)

    @cached_property
    def _parts(self) -> tuple[tuple[str, Node], ...]:
        return tuple((name, made_alike(compile_template(value))) for name, value in self.elements.items())

    def write(self, source: Source, frame: Frame, size: int = TEXT_ROWS) -> Iterator[Written]:
        """Yield the resources of `source`, each within `frame`, `size` at a time, in the order of the rows."""
        table = source[self.table] if self.rows is None else self.rows(source)
        others = {} if self.others is None else self.others(source)
        for start in range(0, table.num_rows, CHUNK_ROWS):
            yield from self._write(table.slice(start, CHUNK_ROWS).combine_chunks(), source, others, frame, size)

    def _write(
        self, table: pa.Table, source: Source, others: Mapping[str, pa.Table], frame: Frame, size: int
    ) -> Iterator[Written]:
        rows = Rows(table=table, link=source.links, ids=fhir_ids, others=others)
        key, kind = self.key or source.block.schema[self.table].primary_key, self.kind or self.table
        ids = derived_ids(rows.column(key), kind) if self.derived else rows.keys(key, kind)
        root = Object(
            (
                ("resourceType", compile_template(self.type)),
                ("id", OwnId()),
                ("meta", self._meta(source)),
                *self._parts,
            )
        )
        rows = replace(rows, own=ids)
        pieces = {name: part.piece(rows) for name, part in root.parts}
        before, after = frame(self, ids)
        slots = (*before, *root.enclosed(pieces, True, rows).slots, *after)
        for number, texts in enumerate(joined_in_parts(slots, len(rows), size)):
            yield Written(texts=texts, rows=table.slice(number * size, size))

    def _meta(self, source: Source) -> Node:
        profile = (("profile", compile_template([self.profile])),) if self.profile else ()
        # Real records that pass through here must not be called test data.
        security = (("security", compile_template([HTEST])),) if source.synthetic else ()
        return Object((*profile, *security), stays=source.synthetic)


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Elements that a plug-in adds to the resources of a type, or of a type and a table."""

    type: str
    elements: Mapping[str, Any]
    table: str = ""

    def fits(self, resource: Resource) -> bool:
        """Whether it is for `resource`."""
        return resource.type == self.type and self.table in ("", resource.table)
