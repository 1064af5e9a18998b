"""Observation of blood pressure: the systolic and diastolic values of one panel as components of one resource."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import (
    US_CORE,
    absent_without,
    concept_of,
    fixed_concept,
    make_concept,
    panel_identifier,
    quantity,
)
from ehrsynth.exporters.fhir.joins import hits, picked, whole
from ehrsynth.exporters.fhir.resource import Resource, Source
from ehrsynth.exporters.fhir.resources.observation import ABSENT_REASON, CATEGORY, is_blood_pressure, profiles
from ehrsynth.exporters.fhir.templates import First, Instead, Later
from ehrsynth.exporters.fhir.values import Code, Id, Link, Time

__all__ = ["BLOOD_PRESSURE"]

_OWN = ("panel_id", "patient_id", "encounter_id", "status", "effective_datetime", "time_precision", "practitioner_id")
_PART = ("observation_id", "value_number", "value_unit", "absent_reason_code", "interpretation_code")


def _rows(source: Source) -> pa.Table:
    """One row a panel: a pressure without its counterpart is a panel of which the other half is absent."""
    rows = source["observation"]
    rows = picked(rows, is_blood_pressure(rows), dict.fromkeys((*_OWN, *_PART, "code")))
    systolic = hits(rows["code"], [profiles()["blood_pressure"]["systolic"]["code"]])
    keys = pc.coalesce(whole(rows["panel_id"]), whole(rows["observation_id"]))
    group, first = _groups(keys, systolic)
    # A second systolic value under the same panel is a measurement of its own.
    spare = first[np.where(systolic, 0, 1), group] != np.arange(len(rows))
    if spare.any():
        keys = pc.if_else(pa.array(spare), whole(rows["observation_id"]), keys)
        group, first = _groups(keys, systolic)
    leading = np.where(first[0] >= 0, first[0], first[1])
    columns = {"panel_key": keys.take(pa.array(leading))}
    columns |= {name: rows[name].take(pa.array(leading)) for name in _OWN}
    for part, at in zip(("systolic", "diastolic"), first, strict=True):
        taken = pa.array(at, mask=at < 0)
        columns |= {f"{part}_{name}": rows[name].take(taken) for name in _PART}
    return pa.table(columns)


def _groups(keys: pa.Array, systolic: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each row's group, and each group's first systolic and first diastolic row (-1: none), shape (2, k)."""
    encoded = keys.dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    first = np.full((2, len(encoded.dictionary)), -1, dtype=np.int64)
    for half, where in enumerate((systolic, ~systolic)):
        at = np.flatnonzero(where)[::-1]
        first[half, group[at]] = at
    return group, first


def _code(part: str) -> Later:
    return Later(lambda: make_concept(profiles()["system"], **profiles()["blood_pressure"][part]))


def _component(part: str) -> dict[str, Any]:
    value = quantity(f"{part}_value_number", f"{part}_value_unit")
    reason = First(
        (
            concept_of(ABSENT_REASON, f"{part}_absent_reason_code"),
            fixed_concept(ABSENT_REASON, "unknown"),
        )
    )
    return {
        # The row that the component comes from keeps its name.
        "id": Id(f"{part}_observation_id", "observation"),
        "code": _code(part),
        "valueQuantity": value,
        "dataAbsentReason": Instead((value,), reason),
        "interpretation": [
            concept_of(
                "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", f"{part}_interpretation_code"
            )
        ],
    }


TIME = Time("effective_datetime", "time_precision")

BLOOD_PRESSURE = Resource(
    type="Observation",
    table="observation",
    key="panel_key",
    kind="blood_pressure",
    derived=True,
    rows=_rows,
    profile=US_CORE + "us-core-blood-pressure",
    elements={
        "identifier": [panel_identifier()],
        "status": Code("status"),
        "category": [fixed_concept(CATEGORY, "vital-signs")],
        "code": _code("panel"),
        "subject": Link("patient"),
        "encounter": Link("encounter"),
        "effectiveDateTime": TIME,
        "_effectiveDateTime": absent_without(TIME),
        "performer": [Link("practitioner")],
        "component": [_component("systolic"), _component("diastolic")],
    },
)
