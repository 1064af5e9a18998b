"""Laboratory orders: the results that were ordered together, and the specimens that they were made of."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources, terminology
from ehrsynth.exporters.fhir.joins import (
    first_of_each,
    grouped,
    hits,
    joined,
    picked,
    whole,
    with_columns,
)
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import least_of_each

__all__ = ["LOINC", "laboratory_orders", "laboratory_results", "specimen_type", "specimens"]

LOINC = "http://loinc.org"

_IN = re.compile(r" (?:in|of) (?P<system>[A-Z0-9][^\[\]]*?)(?: by .*| --.*| from .*)?$")


_GROUPED = (
    *("observation_id", "patient_id", "encounter_id", "panel_id", "effective_datetime"),
    *("code_system", "code", "display"),
)
"""What has to be known of every result; the other columns are looked up for the few rows that speak for many."""


@lru_cache(maxsize=1)
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/specimens.json")
    return facts


@lru_cache(maxsize=1 << 14)
def specimen_type(system: str | None, code: str | None, display: str | None) -> str | None:
    """Return the kind of specimen (``blood``, ``urine``...) that the name of a LOINC code says, None if none."""
    if system != LOINC or code is None:
        return None
    found = _IN.search(terminology.display(system, code) or display or "")
    words: dict[str, str] = _facts()["words"]
    return words.get(found["system"].strip()) if found else None


def laboratory_results(source: Source) -> pa.Table:
    """Return the laboratory observations with the key of their order and of their specimen.

    What shares a panel was ordered together; without a panel what has the same encounter and time. The key of an order
    is its panel, or the least key of its results; the key of a specimen is the least of the results made of it, null
    where the name of the test does not say of what. Their ``place`` is their row in the table, of which they have the
    columns that group them.
    """
    return source.once("laboratory_results", _results)


def _results(source: Source) -> pa.Table:
    rows = source["observation"]
    place = np.flatnonzero(hits(rows["category"], ["laboratory"]))
    rows = rows.select(_GROUPED).take(pa.array(place)).combine_chunks()
    keys = whole(rows["observation_id"])
    order = grouped(rows["patient_id"], rows["encounter_id"], rows["effective_datetime"], rows["panel_id"])
    order_key = pc.coalesce(whole(rows["panel_id"]), keys.take(pa.array(least_of_each(order, keys)[order])))
    kinds = _kinds(rows)
    specimen = grouped(order_key, kinds)
    specimen_key = keys.take(pa.array(least_of_each(specimen, keys)[specimen]))
    return with_columns(
        rows,
        place=pa.array(place),
        order_key=order_key,
        specimen_kind=kinds,
        specimen_key=pc.if_else(kinds.is_valid(), specimen_key, None),
    )


def _kinds(rows: pa.Table) -> pa.Array:
    group = grouped(rows["code_system"], rows["code"], rows["display"])
    distinct = rows.select(["code_system", "code", "display"]).take(pa.array(first_of_each(group)))
    found = [specimen_type(*row.values()) for row in distinct.to_pylist()]
    return pa.array(found, pa.string()).take(pa.array(group))


@lru_cache(maxsize=1)
def _panels() -> dict[str, Any]:
    panels: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/panels.json")["panels"]
    return panels


def _panel_of_each(rows: pa.Table, group: npt.NDArray[np.int64], n: int) -> pa.Array:
    """Return the LOINC code of the panel that the results of each group make up, null where they are none, shape (n,).

    Every panel has a bit, the smaller ones the lower; a group has those of the panels that all of its tests are in.
    """
    panels = sorted(_panels(), key=lambda code: len(_panels()[code]["members"]))
    codes = whole(rows["code"])
    bits = np.zeros(len(codes.dictionary) + 1, dtype=np.int64)
    for at, text in enumerate(codes.dictionary.to_pylist()):
        bits[at] = sum(1 << place for place, panel in enumerate(panels) if text in _panels()[panel]["members"])
    own = bits[pc.fill_null(codes.indices, -1).to_numpy()]
    own[~hits(rows["code_system"], [LOINC])] = 0
    common = np.full(n, -1, dtype=np.int64)
    np.bitwise_and.at(common, group, own)
    count = np.bincount(group, minlength=n)
    found = np.full(n, -1, dtype=np.int64)
    for place, panel in reversed(list(enumerate(panels))):
        found[(common >> place & 1 == 1) & (count >= _panels()[panel]["least"])] = place
    return pa.array(panels, pa.string()).take(pa.array(found, mask=found < 0))


def laboratory_orders(source: Source) -> pa.Table:
    """Return one row an order: the result of the least key, who gave care there, whether all is one test or a panel."""
    return source.once("laboratory_orders", _orders)


def _orders(source: Source) -> pa.Table:
    rows = laboratory_results(source)
    group = grouped(rows["order_key"])
    first = least_of_each(group, whole(rows["observation_id"]))
    one_test = _same(grouped(rows["code_system"], rows["code"]), group, first)
    panel = _panel_of_each(rows, group, len(first))
    rows = _whole_rows(source, rows, first)
    names = {"organization_id": "organization_id", "encounter_practitioner_id": "practitioner_id"}
    found = {
        ours: joined(rows["encounter_id"], source["encounter"], "encounter_id", name) for ours, name in names.items()
    }
    reasons = source["condition"]
    reasons = picked(reasons, reasons["encounter_id"].is_valid(), ("encounter_id", "condition_id"))
    by_encounter = grouped(reasons["encounter_id"])
    alone = np.bincount(by_encounter, minlength=1) == 1
    reasons = reasons.filter(pa.array(alone[by_encounter])).combine_chunks()
    return with_columns(
        rows,
        one_test=pa.array(one_test),
        panel_code=panel,
        # A visit with one diagnosis had it as the reason of its orders; of several nobody knows which.
        reason_condition_id=joined(rows["encounter_id"], reasons, "encounter_id", "condition_id"),
        **found,
    )


def _whole_rows(source: Source, results: pa.Table, at: npt.NDArray[np.int64]) -> pa.Table:
    """Return the rows of the table that some results are, with what was found of them."""
    found = results.select([name for name in results.column_names if name not in _GROUPED]).take(pa.array(at))
    return with_columns(
        source["observation"].take(found["place"]), **{name: whole(found[name]) for name in found.column_names}
    )


def _same(
    values: npt.NDArray[np.int64], group: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return of which groups all rows have the value of the first, shape (k,)."""
    same = np.ones(len(first), dtype=bool)
    same[group[values != values[first[group]]]] = False
    return same


def specimens(source: Source) -> pa.Table:
    """Return one row a specimen: the result of the least key that was made of it."""
    return source.once("specimens", _specimens)


def _specimens(source: Source) -> pa.Table:
    rows = laboratory_results(source)
    place = np.flatnonzero(rows["specimen_key"].is_valid().to_numpy())
    keys, ids = (whole(rows[name]).take(pa.array(place)) for name in ("specimen_key", "observation_id"))
    return _whole_rows(source, rows, place[least_of_each(grouped(keys), ids)])
