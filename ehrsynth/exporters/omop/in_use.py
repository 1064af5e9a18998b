"""The concepts that blocks write: noted by each, put together at the end as the vocabulary tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import orjson
import pyarrow as pa

from ehrsynth.exporters.omop.block import RELATIONS, Used, facts
from ehrsynth.exporters.omop.concepts import Concept, ConceptIds
from ehrsynth.schema import omop

__all__ = ["account", "closing_tables", "note_of", "read_notes"]

_START, _END = date(1970, 1, 1), date(2099, 12, 31)
_RELATIONSHIPS = (("Maps to", "Standard to Non-standard map (OMOP)", "Mapped from"), ("Mapped from", "", "Maps to"))


def note_of(used: Used) -> bytes:
    """Return what a block used as a line of JSON: the same line for the same block, whoever wrote it."""
    document = {
        "concepts": sorted(used.concepts),
        "codes": [list(used.codes[key]) for key in sorted(used.codes)],
        "maps": sorted(used.maps),
        "names": sorted(used.names.items()),
        "systems": sorted(used.systems.items()),
        "counts": used.counts,
        "dropped": used.dropped,
        "lost": used.lost,
        "last_day": used.last_day,
        "time_basis": used.time_basis,
    }
    return orjson.dumps(document) + b"\n"


def read_notes(lines: Iterable[bytes]) -> Used:
    """Return what all blocks used together."""
    whole = Used()
    for line in lines:
        note = orjson.loads(line)
        whole.concepts |= set(note["concepts"])
        whole.codes |= {row[0]: Concept(*row) for row in note["codes"]}
        whole.maps |= {(one, two) for one, two in note["maps"]}
        for key, text in note["names"]:
            whole.names[key] = min(text, whole.names.get(key, text))
        for name, system in note["systems"]:
            whole.systems[name] = min(system, whole.systems.get(name, system))
        for table, counts in note["counts"].items():
            total = whole.counts.setdefault(table, [0] * len(RELATIONS))
            whole.counts[table] = [one + two for one, two in zip(total, counts, strict=True)]
        for what, count in note["dropped"].items():
            whole.drop(what, count)
        for column, count in note["lost"].items():
            whole.lose(column, count)
        whole.time_basis = note["time_basis"] or whole.time_basis
        days = [day for day in (whole.last_day, note["last_day"]) if day is not None]
        whole.last_day = max(days) if days else None
    return whole


def account(used: Used) -> dict[str, Any]:
    """Return how many rows of each table have a standard concept, and what was left out: rows, and values."""
    tables = {
        table: {"rows": sum(counts), **dict(zip((*RELATIONS[:-1], "no_standard_concept"), counts, strict=True))}
        for table, counts in sorted(used.counts.items())
    }
    total = sum(entry["rows"] for entry in tables.values())
    lacking = sum(entry["no_standard_concept"] for entry in tables.values())
    return {
        "rows_with_code": total,
        "rows_with_standard_concept": total - lacking,
        "standard_concepts": tables,
        "not_carried": dict(sorted(used.dropped.items())),
        "values_not_carried": dict(sorted(used.lost.items())),
    }


def closing_tables(used: Used, concepts: ConceptIds, provenance: Mapping[str, Any], day: str) -> dict[str, pa.Table]:
    """Return the vocabulary rows in use, cdm_source, and metadata.

    Parameters
    ----------
    used : Used
        Of all blocks.
    day : str
        As of which the data are; where it is not known, the last day of the record is.
    """
    known = {one.concept_id: one for one in concepts.describe(used.concepts, used.names)}
    known |= {key: one for key, one in used.codes.items() if key not in known}
    rows = [known[key] for key in sorted(known)]
    maps = sorted(pair for pair in used.maps if pair[0] in known and pair[1] in known)
    local = {name: uri for name, uri in used.systems.items() if not concepts.is_public(uri)}
    names = {"Maps to": maps, "Mapped from": sorted((two, one) for one, two in maps)}
    dated = {"valid_start_date": _START, "valid_end_date": _END}
    return {
        "concept": _table("concept", [dict(zip(Concept._fields, row, strict=True)) | dated for row in rows]),
        "vocabulary": _table(
            "vocabulary",
            [
                {"vocabulary_id": one, "vocabulary_name": one, "vocabulary_version": concepts.version}
                # The URI of a vocabulary that is a source's own: of the others OHDSI's name says enough.
                | {"vocabulary_concept_id": 0, "vocabulary_reference": local.get(one)}
                for one in sorted({row.vocabulary_id for row in rows})
            ],
        ),
        "domain": _table(
            "domain",
            [
                {"domain_id": one, "domain_name": one, "domain_concept_id": 0}
                for one in sorted({row.domain_id for row in rows})
            ],
        ),
        "concept_class": _table(
            "concept_class",
            [
                {"concept_class_id": one, "concept_class_name": one, "concept_class_concept_id": 0}
                for one in sorted({row.concept_class_id for row in rows})
            ],
        ),
        "relationship": _table(
            "relationship",
            [
                {
                    "relationship_id": one,
                    "relationship_name": text or one,
                    "is_hierarchical": "0",
                    "defines_ancestry": "0",
                    "reverse_relationship_id": other,
                    "relationship_concept_id": 0,
                }
                for one, text, other in _RELATIONSHIPS
            ],
        ),
        "concept_relationship": _table(
            "concept_relationship",
            [
                {"concept_id_1": one, "concept_id_2": two, "relationship_id": name} | dated
                for name, pairs in names.items()
                for one, two in pairs
                if one and two
            ],
        ),
        "concept_ancestor": _table(
            "concept_ancestor",
            [
                {"ancestor_concept_id": part, "descendant_concept_id": drug}
                | dict.fromkeys(("min_levels_of_separation", "max_levels_of_separation"), int(part != drug))
                for drug, parts in sorted(concepts.ingredients(known).items())
                for part in parts
                if part in known
            ],
        ),
        "metadata": _table("metadata", _metadata(used, provenance)),
        "cdm_source": _table("cdm_source", [_source(used, concepts, provenance, day)]),
    }


def _source(used: Used, concepts: ConceptIds, provenance: Mapping[str, Any], day: str) -> dict[str, Any]:
    as_of = date.fromisoformat(day[:10])
    if as_of == date(1970, 1, 1) and used.last_day is not None:
        as_of = date(1970, 1, 1) + timedelta(days=used.last_day)
    model = (provenance.get("model") or {}).get("title", "")
    made = "Synthetic patients, of nobody" if provenance.get("synthetic") else "Records"
    return {
        "cdm_source_name": f"ehrsynth: {model or made}"[:255],
        "cdm_source_abbreviation": "ehrsynth",
        "cdm_holder": "ehrsynth",
        "source_description": f"{made}; written by ehrsynth.",
        "cdm_etl_reference": "ehrsynth, exporter omop",
        "source_release_date": as_of,
        "cdm_release_date": as_of,
        "cdm_version": "v5.4",
        "cdm_version_concept_id": facts()["cdm_version"],
        "vocabulary_version": concepts.version[:20],
    }


def _metadata(used: Used, provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What cdm_source has no field for: whether dates are true, and whether the people are."""
    said = {
        "time_basis": used.time_basis or "calendar",
        "synthetic": str(bool(provenance.get("synthetic"))),
    }
    return [
        {
            "metadata_id": at,
            "metadata_concept_id": 0,
            "metadata_type_concept_id": 0,
            "name": name,
            "value_as_string": text,
        }
        for at, (name, text) in enumerate(said.items(), 1)
    ]


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = omop()[name]
    columns = [pa.array([row.get(one.name) for row in rows], one.arrow_type) for one in schema.columns]
    return pa.table(columns, schema=schema.arrow)
