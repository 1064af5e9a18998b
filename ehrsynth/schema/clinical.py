"""The canonical clinical tables, read from ``output_schemas/clinical``."""

from __future__ import annotations

from functools import lru_cache

from ehrsynth import resources
from ehrsynth.schema.dataset import DatasetSchema
from ehrsynth.schema.descriptor import table_from_descriptor

__all__ = ["clinical"]


@lru_cache(maxsize=1)
def clinical() -> DatasetSchema:
    """Return the schema of the canonical clinical tables; read once."""
    package = resources.read_json("output_schemas/clinical/datapackage.json")
    return DatasetSchema(
        name=package["name"],
        version=package["version"],
        tables=tuple(
            table_from_descriptor(
                resources.read_json(f"output_schemas/clinical/{entry['schema']}"), shared=entry["ehrsynth"]["shared"]
            )
            for entry in package["resources"]
        ),
    )
