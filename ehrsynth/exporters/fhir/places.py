"""Where practitioners work: a location of the organization that they belong to."""

from __future__ import annotations

import pyarrow as pa

from ehrsynth.exporters.fhir.joins import grouped, joined, whole
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import least_of_each

__all__ = ["work_places"]


def work_places(source: Source, practitioners: pa.Table) -> pa.Array:
    """Return a location for each of `practitioners`: of those of the organization the one of the least key, or null."""
    rows = source["location"]
    rows = rows.filter(rows["organization_id"].is_valid()).combine_chunks()
    first = least_of_each(grouped(rows["organization_id"]), whole(rows["location_id"]))
    return joined(practitioners["organization_id"], rows.take(pa.array(first)), "organization_id", "location_id")
