"""What OMOP has no place for: values of our tables that no column of its holds, counted for the account."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.omop.block import Block, flat
from ehrsynth.exporters.omop.events import done
from ehrsynth.records import Records

__all__ = ["PATIENTS", "SHARED", "lost_in_block", "lost_in_shared"]

PATIENTS: Mapping[str, tuple[str, ...]] = {
    "patient": (
        *("name_prefix", "given_name", "middle_name", "family_name", "maiden_name"),
        *("phone", "email", "medical_record_number", "social_security_number"),
        *("birth_sex", "marital_status_code", "language_code"),
    ),
    "coverage": ("member_id", "status", "relationship_code"),
    "encounter": ("reason_code", "location_id", "coverage_id"),
    "observation": ("interpretation_code", "absent_reason_code"),
    "medication_request": ("intent", "dose_value", "frequency_per_day", "reason_condition_id"),
    "procedure": ("reason_condition_id",),
    "immunization": ("dose_number", "primary_source"),
    "device": ("lot_number", "serial_number"),
}
SHARED: Mapping[str, tuple[str, ...]] = {
    "organization": ("organization_type_code", "npi", "phone"),
    "practitioner": ("name_prefix", "phone", "email"),
    "location": (
        *("name", "location_type_code", "organization_id", "phone"),
        *("address_line", "city", "state", "postal_code", "country"),
    ),
    "payer": ("phone", "address_line", "city", "state", "postal_code", "country"),
}
"""Columns of which OMOP holds nothing; what it holds of some rows only is counted where it is written."""
_USUAL = {"encounter": "finished", "procedure": "completed", "immunization": "completed", "observation": "final"}
"""The states that are taken for granted of what OMOP holds: others than these that are no loss of the whole row."""


def lost_in_block(block: Block) -> None:
    """Count what is lost of a block of patients."""
    _count(block, block.records, PATIENTS)
    for name, usual in _USUAL.items():
        rows = block.records[name]
        status = flat(rows["status"].cast(pa.string()))
        other = pc.fill_null(pc.not_equal(status, usual), False).to_numpy(zero_copy_only=False)
        block.used.lose(f"{name}.status", int(np.count_nonzero(other & done(rows, "status"))))
    orders = block.records["medication_request"]
    uncoded = pc.and_(pc.is_null(orders["route_code"]), pc.is_valid(orders["route_display"]))
    block.used.lose("medication_request.route_display", pc.sum(uncoded).as_py() or 0)


def lost_in_shared(block: Block) -> None:
    """Count what is lost of what patients share."""
    _count(block, block.shared, SHARED)


def _count(block: Block, records: Records, columns: Mapping[str, tuple[str, ...]]) -> None:
    for table, names in columns.items():
        rows = records[table]
        for name in names:
            block.used.lose(f"{table}.{name}", rows.num_rows - rows[name].null_count)
