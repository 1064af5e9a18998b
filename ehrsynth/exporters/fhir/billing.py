"""Bills: insured encounters, what stands on their bills, and what it comes to."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import resources
from ehrsynth.exporters.fhir.joins import counted, hits, joined, kept, picked, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import places_in

__all__ = ["billed_conditions", "billed_encounters", "billed_items", "billed_procedures", "charges"]


@lru_cache(maxsize=1)
def charges() -> dict[str, Any]:
    """Return what encounters and procedures are billed at, and the share that a payer pays."""
    facts: dict[str, Any] = resources.read_json("output_schemas/fhir_r4/mapping/charges.json")
    return facts


def billed_encounters(source: Source) -> pa.Table:
    """Return the finished encounters with a coverage, a date and somebody to pay, and what they come to.

    An encounter is billed once, a stay per day begun; a completed procedure in it once. The payer pays its share of the
    total, the patient the rest; shares are rounded to cents and add up.
    """
    return source.once("billed_encounters", _encounters)


def _encounters(source: Source) -> pa.Table:
    rows, facts = source["encounter"], charges()
    there = rows["coverage_id"].is_valid().to_numpy() & rows["start_datetime"].is_valid().to_numpy()
    there &= (rows["organization_id"].is_valid().to_numpy()) | rows["practitioner_id"].is_valid().to_numpy()
    there &= hits(rows["status"], ["finished"])
    rows = kept(rows, there)
    start = whole(rows["start_datetime"]).cast(pa.date32())
    end = pc.coalesce(whole(rows["end_datetime"]).cast(pa.date32()), start)
    days = pc.subtract(end.cast(pa.int32()), start.cast(pa.int32())).to_numpy() + 1
    classes = whole(rows["encounter_class"])
    names, index = classes.dictionary.to_pylist(), pc.fill_null(classes.indices, -1).to_numpy()
    usual = facts["encounter_default"]
    price = np.array([*(facts["encounter"].get(name, usual) for name in names), usual])
    stays = np.array([*(name in facts["per_day"] for name in names), False])
    net = price[index] * np.where(stays[index], days, 1).astype(np.float64)
    rows = with_columns(
        rows,
        stay=pa.array(stays[index]),
        days=pa.array(np.where(stays[index], days, 1).astype(np.int64)),
        price=pa.array(price[index].astype(np.float64)),
        net=pa.array(net),
        created=end,
        payer_id=joined(rows["coverage_id"], source["coverage"], "coverage_id", "payer_id"),
    )
    total = net + facts["procedure"] * _count(source["procedure"], rows, source)
    paid = np.round(total * facts["payer_share"], 2)
    return with_columns(rows, total=pa.array(total), paid=pa.array(paid), owed=pa.array(np.round(total - paid, 2)))


def _count(procedures: pa.Table, rows: pa.Table, source: Source) -> npt.NDArray[np.int64]:
    done = picked(procedures, hits(procedures["status"], ["completed"]), ("encounter_id",))
    at = places_in(whole(rows["encounter_id"]), whole(done["encounter_id"]))
    return np.bincount(at[at >= 0], minlength=len(rows)).astype(np.int64)


def billed_procedures(source: Source) -> pa.Table:
    """Return the completed procedures of billed encounters, numbered within them."""
    return source.once("billed_procedures", _procedures)


def _procedures(source: Source) -> pa.Table:
    rows = source["procedure"]
    done = hits(rows["status"], ["completed"])
    return _numbered(picked(rows, done, ("encounter_id", "procedure_id", "code_system", "code", "display")), source)


def billed_conditions(source: Source) -> pa.Table:
    """Return the conditions of billed encounters, numbered within them."""
    return source.once("billed_conditions", _conditions)


def _conditions(source: Source) -> pa.Table:
    return _numbered(source["condition"].select(["encounter_id", "condition_id"]), source)


def _numbered(rows: pa.Table, source: Source) -> pa.Table:
    at = places_in(whole(billed_encounters(source)["encounter_id"]), whole(rows["encounter_id"]))
    rows = kept(rows, at >= 0)
    return with_columns(rows, number=pa.array(counted(at[at >= 0].astype(np.int64))))


def billed_items(source: Source) -> pa.Table:
    """Return the lines of bills: the encounter itself as the first, then its procedures."""
    return source.once("billed_items", _items)


def _items(source: Source) -> pa.Table:
    rows, done = billed_encounters(source), billed_procedures(source)
    amount = pa.array(np.full(len(done), float(charges()["procedure"])))
    own = pa.table(
        {
            "encounter_id": rows["encounter_id"],
            "number": pa.array(np.ones(len(rows), dtype=np.int64)),
            "code_system": rows["type_system"].cast(pa.string()),
            "code": rows["type_code"].cast(pa.string()),
            "display": rows["type_display"].cast(pa.string()),
            "encounter_class": rows["encounter_class"].cast(pa.string()),
            "quantity": rows["days"],
            "price": rows["price"],
            "net": rows["net"],
        }
    )
    lines = pa.table(
        {
            "encounter_id": done["encounter_id"],
            "number": pc.add(done["number"], 1),
            "code_system": done["code_system"].cast(pa.string()),
            "code": done["code"].cast(pa.string()),
            "display": done["display"].cast(pa.string()),
            "encounter_class": pa.nulls(len(done), pa.string()),
            "quantity": pa.array(np.ones(len(done), dtype=np.int64)),
            "price": amount,
            "net": amount,
        }
    )
    return pa.concat_tables([own, lines]).combine_chunks()
