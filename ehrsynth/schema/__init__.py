"""Tables, columns, keys and constraints: what records look like, described once and used everywhere."""

from ehrsynth.schema.clinical import clinical
from ehrsynth.schema.column import Column, arrow_type
from ehrsynth.schema.dataset import DatasetSchema, ForeignKey, TableSchema
from ehrsynth.schema.descriptor import datapackage, table_from_descriptor
from ehrsynth.schema.omop import omop, omop_rows

__all__ = [
    "Column",
    "DatasetSchema",
    "ForeignKey",
    "TableSchema",
    "arrow_type",
    "clinical",
    "datapackage",
    "omop",
    "omop_rows",
    "table_from_descriptor",
]
