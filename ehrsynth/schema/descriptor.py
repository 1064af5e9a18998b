"""Table Schema documents to and from our classes (Frictionless Data Package 2.0)."""

from __future__ import annotations

from typing import Any

from ehrsynth.schema.column import Column
from ehrsynth.schema.dataset import DatasetSchema, ForeignKey, TableSchema

__all__ = ["datapackage", "table_descriptor", "table_from_descriptor"]


def table_from_descriptor(document: dict[str, Any], *, shared: bool = False) -> TableSchema:
    """Return the table that a Table Schema document describes."""
    rules = document.get("ehrsynth", {})
    return TableSchema(
        name=document["name"],
        description=document.get("description", ""),
        columns=tuple(_column(entry) for entry in document["fields"]),
        primary_key=document["primaryKey"][0],
        foreign_keys=tuple(
            ForeignKey(
                column=key["fields"][0],
                reference_table=key["reference"]["resource"],
                reference_column=key["reference"]["fields"][0],
            )
            for key in document.get("foreignKeys", ())
        ),
        order=tuple((first, second) for first, second in rules.get("order", ())),
        within_life=tuple(rules.get("within_life", ())),
        within_encounter=tuple(rules.get("within_encounter", ())),
        sex_age_limits=rules.get("sex_age_limits", False),
        shared=shared,
    )


def _column(entry: dict[str, Any]) -> Column:
    limits, ours = entry.get("constraints", {}), entry.get("ehrsynth", {})
    return Column(
        name=entry["name"],
        type=entry["type"],
        description=entry.get("description", ""),
        required=limits.get("required", False),
        unique=limits.get("unique", False),
        enum=tuple(limits.get("enum", ())),
        pattern=limits.get("pattern", ""),
        minimum=limits.get("minimum"),
        maximum=limits.get("maximum"),
        categorical=ours.get("categorical", False),
        code_system=ours.get("codeSystem", ""),
        precision_column=ours.get("precisionColumn", ""),
    )


def table_descriptor(table: TableSchema) -> dict[str, Any]:
    """Return the plain Table Schema of `table`: what any Frictionless tool understands, without our own keys."""
    fields = []
    for column in table.columns:
        entry: dict[str, Any] = {"name": column.name, "type": column.type, "description": column.description}
        limits: dict[str, Any] = {
            name: value
            for name, value in (
                ("required", column.required),
                ("unique", column.unique),
                ("enum", list(column.enum)),
                ("pattern", column.pattern),
            )
            if value
        }
        limits |= {
            name: value
            for name, value in (("minimum", column.minimum), ("maximum", column.maximum))
            if value is not None
        }
        if limits:
            entry["constraints"] = limits
        fields.append(entry)
    document: dict[str, Any] = {"fields": fields}
    if table.primary_key:
        document["primaryKey"] = [table.primary_key]
    document["missingValues"] = [""]
    if table.foreign_keys:
        document["foreignKeys"] = [
            {"fields": [key.column], "reference": {"resource": key.reference_table, "fields": [key.reference_column]}}
            for key in table.foreign_keys
        ]
    return document


def datapackage(schema: DatasetSchema, resources: dict[str, dict[str, Any]], **properties: Any) -> dict[str, Any]:
    """Return a ``datapackage.json`` document.

    Parameters
    ----------
    schema : DatasetSchema
    resources : mapping of table name to resource properties
        ``path``, ``bytes``, ``hash``... of the tables that are there.
    **properties
        Properties of the package: title, description, licenses, sources...
    """
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        **properties,
        "resources": [
            {"name": table.name, "type": "table", **resources[table.name], "schema": table_descriptor(table)}
            for table in schema.tables
            if table.name in resources
        ],
    }
