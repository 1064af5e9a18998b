"""CareTeam: who cares for a patient with a chronic condition."""

from collections.abc import Mapping

import pyarrow as pa

from ehrsynth.exporters.fhir.chronic import cared_for, carers
from ehrsynth.exporters.fhir.datatypes import US_CORE, fixed_concept
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.templates import Many, compile_template
from ehrsynth.exporters.fhir.values import Link, Text, Time

__all__ = ["CARE_TEAM"]


def _others(source: Source) -> Mapping[str, pa.Table]:
    return {"carers": carers(source)}


# The tables know that they cared, not in which part.
CARER = compile_template(
    {
        "role": [fixed_concept("http://snomed.info/sct", "223366009", "Healthcare professional (occupation)")],
        "member": Link("practitioner"),
    }
)

CARE_TEAM = Resource(
    type="CareTeam",
    table="patient",
    key="patient_id",
    kind="care_team",
    derived=True,
    rows=cared_for,
    others=_others,
    profile=US_CORE + "us-core-careteam",
    elements={
        "status": Text("team_status"),
        "subject": Link("patient"),
        "period": {"start": Time("begun")},
        "participant": Many("carers", "patient_id", "patient_id", CARER),
    },
)
