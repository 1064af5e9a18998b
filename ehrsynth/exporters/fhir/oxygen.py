"""Oxygen that was given while the saturation was measured: a part of pulse oximetry that no table has a row for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.joins import hits, joined
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["oxygen_flow"]

SATURATION = ("59408-5", "2708-6")
INHALED = ("3151-8", "3150-0")
IN_HOSPITAL = ("IMP", "ACUTE", "EMER", "OBSENC")
TARGET, SEVERE = 94.0, 88.0
"""Oxygen is given below a saturation of 94 % (British Thoracic Society guideline, 2017: target 94 to 98 %)."""


def oxygen_flow(source: Source, rows: pa.Table) -> pa.Array:
    """Return the flow (L/min) by nasal cannula under which each of some observations was made; null for most.

    Where a synthetic patient in hospital is short of oxygen: 2 L/min, below 88 % 4 L/min; and nowhere where the tables
    have the oxygen that was inhaled as observations of their own.
    """
    low = hits(rows["code"], SATURATION)
    if not low.any() or not source.synthetic or hits(source["observation"]["code"], INHALED).any():
        return pa.nulls(len(rows), pa.float64())
    values = pc.fill_null(rows["value_number"], 100.0).to_numpy()
    low &= hits(rows["category"], ["vital-signs"]) & (values < TARGET) & (values > 0)
    at = np.flatnonzero(low)
    few = rows.take(pa.array(at))
    there = joined(few["encounter_id"], source["encounter"], "encounter_id", "encounter_class").cast(pa.string())
    low[at] = pc.fill_null(pc.is_in(there, pa.array(IN_HOSPITAL)), False).to_numpy(zero_copy_only=False)
    return pa.array(np.where(values < SEVERE, 4.0, 2.0), pa.float64(), mask=~low)
