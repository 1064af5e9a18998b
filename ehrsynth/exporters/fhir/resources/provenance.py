"""Provenance: who wrote down what belongs to an encounter, and who passed it on."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, fixed_concept, needing
from ehrsynth.exporters.fhir.joins import kept, whole
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import First, Many, When
from ehrsynth.exporters.fhir.values import Link, LinkByKind, Time

__all__ = ["PROVENANCE"]

TARGETS = ("condition", "medication_request", "procedure", "immunization", "allergy_intolerance", "device")

ENDED = When("time_precision", ("day",), Time("recorded", "time_precision"), unless=True)


def _rows(source: Source) -> pa.Table:
    """Encounters of a known organization: it passes on what its practitioner, or else itself, wrote."""
    rows = source["encounter"]
    rows = rows.append_column("recorded", pc.coalesce(whole(rows["end_datetime"]), whole(rows["start_datetime"])))
    return kept(rows, rows["organization_id"].is_valid())


def _others(source: Source) -> Mapping[str, pa.Table]:
    """What was written: the encounter first, then its patient, as registered there, then what belongs to it.

    With the patient as a target it is in the patient's compartment: servers find it by that alone.
    """
    parts = []
    names = ("encounter", "patient", *TARGETS)
    for number, table in enumerate(names):
        rows = source["encounter" if table == "patient" else table]
        key = source.block.schema[table].primary_key
        kind = pa.DictionaryArray.from_arrays(np.full(rows.num_rows, number, dtype=np.int32), pa.array(names))
        columns = {"owner": rows["encounter_id"], "kind": kind, "target_id": rows[key]}
        parts.append(pa.table(columns))
    return {"targets": pa.concat_tables(parts).combine_chunks()}


TARGET = LinkByKind("kind", "target_id", ("encounter", "patient", *TARGETS))

PROVENANCE = Resource(
    type="Provenance",
    table="encounter",
    kind="provenance",
    derived=True,
    rows=_rows,
    others=_others,
    profile=US_CORE + "us-core-provenance",
    elements={
        "target": Many("targets", "owner", "encounter_id", TARGET),
        # An instant has a time of day, which not every record knows.
        "recorded": ENDED,
        "_recorded": absent_without(ENDED),
        "agent": [
            needing(
                {
                    "type": fixed_concept(
                        "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author"
                    ),
                    "who": First((Link("practitioner"), Link("organization"))),
                    "onBehalfOf": Link("organization"),
                },
                "who",
            ),
            needing(
                {
                    "type": fixed_concept(
                        "http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type",
                        "transmitter",
                        "Transmitter",
                    ),
                    "who": Link("organization"),
                },
                "who",
            ),
        ],
    },
)
