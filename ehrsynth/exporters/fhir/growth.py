"""Percentiles of children's growth, computed from the measurements that the record has (CDC's growth charts)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.datatypes import US_CORE
from ehrsynth.exporters.fhir.facts import LENGTH, coded_observations, facts, mapping
from ehrsynth.exporters.fhir.joins import hits, joined, picked, whole
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import combined

__all__ = ["growth_facts", "percentile"]

LOINC = "http://loinc.org"
MONTH = 365.25 / 12
_SCALES = {"kg": 1.0, "g": 1e-3, "[lb_av]": 0.45359237, "cm": 1.0, "[in_i]": 2.54, "kg/m2": 1.0}
_PROFILES = {
    "body_mass_index": "pediatric-bmi-for-age",
    "head_circumference": "head-occipital-frontal-circumference-percentile",
    "weight_for_length": "pediatric-weight-for-height",
}

Numbers = npt.NDArray[np.float64]


def percentile(measure: str, sex: str, x: Numbers, y: Numbers) -> Numbers:
    """Return the percentiles of measurements, shape (n,), in [0.1, 99.9], NaN where the chart does not reach.

    Cole's LMS method (Cole and Green 1992) with the parameters of CDC's charts, interpolated between their rows.

    Parameters
    ----------
    measure : str
        ``body_mass_index`` (kg/m2), ``head_circumference`` (cm) or ``weight_for_length`` (kg).
    sex : str
        ``male`` or ``female``.
    x, y : float64 arrays, shape (n,)
        Age in months (of a weight: length in cm), and the measurement.
    """
    chart = mapping("growth")[measure]
    at, *parameters = np.array(chart["rows"][sex]).T
    power, median, spread = (np.interp(x, at, values) for values in parameters)
    ratio = np.where(y > 0, y, np.nan) / median
    with np.errstate(invalid="ignore"):
        z = np.where(np.abs(power) < 1e-6, np.log(ratio) / spread, (ratio**power - 1) / (power * spread))
    found = np.array([50 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()])
    outside = (x < chart["low"]) | (x > chart["high"])
    return np.where(outside, np.nan, np.clip(np.round(found, 1), 0.1, 99.9))


def growth_facts(source: Source) -> pa.Table:
    """Return the observations (`FACTS`): what a table says itself for a patient is not computed again."""
    rows = _measured(source)
    return pa.concat_tables([_facts(source, rows, measure) for measure in _PROFILES])


def _measured(source: Source) -> pa.Table:
    """The vital signs with a number, a unit that is known and a time, of patients up to 20 years old."""
    patients = source["patient"]
    rows = coded_observations(source, [*(mapping("growth")[measure]["of"] for measure in _PROFILES), *LENGTH])
    taken = hits(rows["value_unit"], _SCALES)
    taken &= rows["effective_datetime"].is_valid().to_numpy() & rows["value_number"].is_valid().to_numpy()
    if taken.any():
        taken &= hits(rows["code_system"], [LOINC]) & hits(rows["status"], ["final", "amended", "corrected"])
    rows = picked(rows, taken, rows.column_names)
    birth = joined(rows["patient_id"], patients, "patient_id", "birth_date").cast(pa.int32())
    days = pc.subtract(whole(rows["effective_datetime"]).cast(pa.date32()).cast(pa.int32()), birth)
    rows = rows.append_column("months", pc.divide(pc.fill_null(days, 1 << 20).cast(pa.float64()), MONTH))
    rows = rows.append_column("sex", joined(rows["patient_id"], patients, "patient_id", "sex").cast(pa.string()))
    return rows.filter(pc.less(rows["months"], 240.0)).combine_chunks()


def _scaled(rows: pa.Table) -> Numbers:
    units = rows["value_unit"].cast(pa.string()).to_pylist()
    scale = np.array([_SCALES[unit] for unit in units], dtype=np.float64)
    numbers: Numbers = rows["value_number"].to_numpy() * scale
    return numbers


def _facts(source: Source, measured: pa.Table, measure: str) -> pa.Table:
    chart = mapping("growth")[measure]
    rows = measured.filter(pa.array(hits(measured["code"], [chart["of"]]))).combine_chunks()
    said = coded_observations(source, [chart["code"]], ["patient_id"])
    rows = rows.filter(pc.invert(pc.is_in(whole(rows["patient_id"]), whole(said["patient_id"])))).combine_chunks()
    x: Numbers = rows["months"].to_numpy()
    if chart["x"] == "length":
        x = np.where(x < 36, _length_beside(rows, measured), np.nan)
    y, sexes = _scaled(rows), rows["sex"].to_numpy(zero_copy_only=False)
    found = np.full(len(rows), np.nan)
    for sex in ("male", "female"):
        of = np.flatnonzero(sexes == sex)
        found[of] = percentile(measure, sex, x[of], y[of])
    there = np.flatnonzero(np.isfinite(found))
    rows = rows.take(pa.array(there)).combine_chunks()
    columns: dict[str, Any] = {
        name: rows[name]
        for name in ("patient_id", "encounter_id", "practitioner_id", "effective_datetime", "time_precision")
    }
    return facts(
        whole(rows["observation_id"]),
        chart["code"],
        "observation",
        len(rows),
        **columns,
        category="vital-signs",
        code_system=LOINC,
        code=chart["code"],
        profile=US_CORE + _PROFILES[measure],
        value_number=pa.array(found[there]),
        value_unit="%",
        from_observation_id=rows["observation_id"],
    )


def _length_beside(rows: pa.Table, measured: pa.Table) -> Numbers:
    """The length (cm) that was measured with each weight, NaN where none was."""
    lengths = measured.filter(pa.array(hits(measured["code"], LENGTH))).combine_chunks()
    keys = [
        pa.concat_arrays([whole(some[name]) for some in (lengths, rows)])
        for name in ("patient_id", "effective_datetime")
    ]
    place, first = combined(keys, len(lengths) + len(rows))
    when = np.full(len(first), np.nan)
    # Of several at the same time the last counts.
    when[place[: len(lengths)]] = _scaled(lengths)
    found: Numbers = when[place[len(lengths) :]]
    return found
