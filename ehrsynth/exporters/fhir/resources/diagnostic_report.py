"""DiagnosticReport: the laboratory results of one panel, derived from the observations that share it."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE, absent_without, fixed_concept, panel_identifier
from ehrsynth.exporters.fhir.joins import hits, joined, whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Many, When
from ehrsynth.exporters.fhir.values import Code, Link, Time

__all__ = ["DIAGNOSTIC_REPORT"]

TIME = Time("effective_datetime", "time_precision")
INSTANT = When("time_precision", ("day",), TIME, unless=True)


def _results(source: Source) -> pa.Table:
    rows = source["observation"]
    return rows.filter(pc.and_(pa.array(hits(rows["category"], ["laboratory"])), rows["panel_id"].is_valid()))


def _rows(source: Source) -> pa.Table:
    """One row a panel: its first result speaks for it."""
    rows = _results(source)
    if rows.num_rows:
        encoded = whole(rows["panel_id"]).dictionary_encode()
        first = np.empty(len(encoded.dictionary), dtype=np.int64)
        first[encoded.indices.to_numpy()[::-1]] = np.arange(rows.num_rows - 1, -1, -1)
        rows = rows.take(pa.array(first))
    organizations = joined(rows["encounter_id"], source["encounter"], "encounter_id", "organization_id")
    return with_columns(rows, organization_id=organizations)


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"results": _results(source)}


DIAGNOSTIC_REPORT = Resource(
    type="DiagnosticReport",
    table="observation",
    key="panel_id",
    kind="laboratory_panel",
    derived=True,
    rows=_rows,
    others=_others,
    profile=US_CORE + "us-core-diagnosticreport-lab",
    elements={
        "identifier": [panel_identifier()],
        "status": Code("status"),
        "category": [fixed_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
        # The tables know which results belong together, not what the panel is called.
        "code": fixed_concept("http://loinc.org", "11502-2", "Laboratory report"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": TIME,
        "_effectiveDateTime": absent_without(TIME),
        # us-core-8 and 9 want both times of a final report. An instant has a time of day, which not every record knows.
        "issued": INSTANT,
        "_issued": absent_without(INSTANT),
        "performer": [Link("organization")],
        "result": Many("results", "panel_id", "panel_id", Link("observation")),
    },
)
