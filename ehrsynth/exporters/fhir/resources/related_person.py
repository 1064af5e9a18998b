"""RelatedPerson: who is known of only through the patient: a child's guardian, a spouse, who holds the insurance."""

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE, address, concept_of, needing, telecom
from ehrsynth.exporters.fhir.joins import whole, with_columns
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.values import Link, Text

__all__ = ["RELATED_PERSON"]

ADULT_DAYS = 18 * 365.25


def _rows(source: Source) -> pa.Table:
    """Patients whose record gives a reason: children at its end (or at death) have a guardian, the married a spouse.

    A guardian shares the child's family name and home as far as the record has them; a spouse the home, and the name
    where the patient took it (and so has a maiden name). No given name is made up.
    """
    rows = source["patient"]
    until = pc.coalesce(whole(rows["death_datetime"]).cast(pa.date32()), whole(rows["record_end_date"]))
    days = pc.subtract(until.cast(pa.int32()), whole(rows["birth_date"]).cast(pa.int32()))
    child = pc.fill_null(pc.less(days, ADULT_DAYS), False)
    married = pc.fill_null(pc.equal(whole(rows["marital_status_code"]).cast(pa.string()), "M"), False)
    relation = pc.if_else(child, "GUARD", pc.if_else(married, "SPS", None))
    rows = with_columns(
        rows,
        relation=relation,
        shared_name=pc.if_else(
            pc.or_(child, pc.and_(married, whole(rows["maiden_name"]).is_valid())),
            whole(rows["family_name"]).cast(pa.string()),
            None,
        ),
    )
    return rows.filter(relation.is_valid()).combine_chunks()


RELATED_PERSON = Resource(
    type="RelatedPerson",
    table="patient",
    kind="related_person",
    derived=True,
    rows=_rows,
    profile=US_CORE + "us-core-relatedperson",
    elements={
        "active": True,
        "patient": Link("patient"),
        "relationship": [concept_of("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "relation")],
        "name": [needing({"family": Text("shared_name")}, "family")],
        "telecom": [telecom("phone", "phone", "home")],
        "address": [address("home")],
    },
)
