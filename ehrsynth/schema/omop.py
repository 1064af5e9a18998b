"""The tables of the OMOP Common Data Model 5.4, read from ``output_schemas/omop_cdm_5.4``."""

from __future__ import annotations

import csv
import io
from functools import lru_cache

from ehrsynth import resources
from ehrsynth.schema.column import Column
from ehrsynth.schema.dataset import DatasetSchema, ForeignKey, TableSchema

__all__ = ["OMOP_FOLDER", "omop", "omop_rows"]

OMOP_FOLDER = "output_schemas/omop_cdm_5.4"

_TYPES = {"integer": "integer", "float": "number", "date": "date", "datetime": "datetime"}

# Referenced tables first, as far as that can be: vocabulary and concept name each other.
_FIRST = (
    "concept_class",
    "domain",
    "vocabulary",
    "relationship",
    "concept",
    "location",
    "care_site",
    "provider",
    "person",
    "observation_period",
    "payer_plan_period",
    "visit_occurrence",
    "visit_detail",
)
_SHARED = ("location", "care_site", "provider")


def omop_rows(resource: str) -> list[dict[str, str]]:
    """Return the rows of a table of the data package: ``tables``, ``fields``, ``checks`` or ``kinds``."""
    text = resources.read_package(OMOP_FOLDER, resource).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


@lru_cache(maxsize=1)
def omop() -> DatasetSchema:
    """Return the schema of OMOP CDM 5.4; read once.

    A table that the model gives no primary key (death, cdm_source, cohort...) has an empty one.
    """
    fields: dict[str, list[dict[str, str]]] = {row["table"]: [] for row in omop_rows("tables")}
    for row in omop_rows("fields"):
        fields[row["table"]].append(row)
    names = [*_FIRST, *(name for name in fields if name not in _FIRST)]
    return DatasetSchema(name="omop-cdm", version="5.4", tables=tuple(_table(name, fields[name]) for name in names))


def _table(name: str, rows: list[dict[str, str]]) -> TableSchema:
    return TableSchema(
        name=name,
        columns=tuple(
            Column(
                name=row["field"],
                type=_TYPES.get(row["type"], "string"),
                required=row["required"] == "true",
                unique=row["primary_key"] == "true",
            )
            for row in rows
        ),
        primary_key=next((row["field"] for row in rows if row["primary_key"] == "true"), ""),
        foreign_keys=tuple(
            ForeignKey(
                column=row["field"],
                reference_table=row["foreign_table"],
                reference_column=row["foreign_field"],
            )
            for row in rows
            if row["foreign_table"]
        ),
        shared=name in _SHARED,
    )
