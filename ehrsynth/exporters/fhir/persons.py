"""What a record keeps of a person beside the patient's row: an earlier name and address, a second telephone, a tribe.

The tables hold one of each. That there was another, and since when not any more, is decided by the patient's id, and of
synthetic patients alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances
from ehrsynth.exporters.fhir.facts import YEAR, mapping
from ehrsynth.exporters.fhir.joins import has_text, hits, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["persons", "until"]

MOVED = 0.35
"""Share of adults whose record keeps an earlier address."""

MOBILE = 0.5
SUFFIXES = (("III", 0.004), ("Jr.", 0.03))
STREETS = ("Oak", "Maple", "Cedar", "Pine", "Elm", "Walnut", "Park", "Lake", "Hill", "Washington", "Church", "Mill")
MARRIED_AT = (20.0, 34.0)

Days = npt.NDArray[np.int64]


def until(source: Source) -> pa.Array:
    """Return the last day that is known of each patient: of death, else of the record; null where neither is."""
    rows = source["patient"]
    return pc.coalesce(whole(rows["death_datetime"]).cast(pa.date32()), whole(rows["record_end_date"]))


def persons(source: Source) -> pa.Table:
    """Return the patients with columns for what else a record keeps; all of them empty for real patients."""
    return source.once("persons", _persons)


def _persons(source: Source) -> pa.Table:
    rows = source["patient"].combine_chunks()
    n = len(rows)
    if not source.synthetic or n == 0:
        texts = ("gender_identity", "tribe", "suffix", "earlier_line", "mobile")
        empty = dict.fromkeys(texts, pa.nulls(n, pa.string()))
        return with_columns(rows, **empty, **dict.fromkeys(("moved", "married"), pa.nulls(n, pa.date32())))

    def chance(what: str) -> npt.NDArray[np.float64]:
        return chances(rows["patient_id"], "patient", what)

    born = whole(rows["birth_date"]).cast(pa.int32()).to_numpy().astype(np.int64)
    last = pc.fill_null(until(source).cast(pa.int32()), 0).to_numpy().astype(np.int64)
    lived = (last - born) / YEAR
    adult = lived >= 18
    known = mapping("social_facts")
    sexes = rows["sex"].cast(pa.string())
    identity = np.where(pc.equal(sexes, "male").to_numpy(), "male", "female").astype(object)
    other = np.where(identity == "male", "female", "male")
    identity = np.where(chance("identity") < known["gender_identity"]["as_born"], identity, other)
    told = adult & (chance("asked for identity") < known["gender_identity"]["asked"])
    told &= hits(rows["sex"], ["male", "female"])
    tribal = hits(rows["race_code"], [known["tribes"]["race"]]) & (chance("tribe") < known["tribes"]["known"])
    states = rows["state"].cast(pa.string()).to_numpy(zero_copy_only=False)
    moved = adult & has_text(rows["address_line"]) & (chance("moved") < MOVED)
    share = chance("moved when")
    day = born + np.round((18 + 0.9 * share * np.maximum(lived - 18, 0)) * YEAR).astype(np.int64)
    wed = born + np.round((MARRIED_AT[0] + share * (MARRIED_AT[1] - MARRIED_AT[0])) * YEAR).astype(np.int64)
    renamed = has_text(rows["maiden_name"]) & (wed < last)
    return with_columns(
        rows,
        gender_identity=pa.array(identity, pa.string(), mask=~told),
        tribe=pa.array([state or "" for state in states], pa.string(), mask=~tribal),
        suffix=_suffixes(chance("suffix"), hits(rows["sex"], ["male"]) & has_text(rows["family_name"])),
        earlier_line=_streets(chance("earlier street"), moved),
        mobile=_mobiles(rows["phone"], chance("mobile"), adult & (chance("has mobile") < MOBILE)),
        moved=_dates(day, moved),
        married=_dates(wed, renamed),
    )


def _dates(days: Days, where: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(days.astype(np.int32), pa.int32(), mask=~where).cast(pa.date32())


def _suffixes(numbers: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> pa.Array:
    found = np.full(len(numbers), None, dtype=object)
    for suffix, share in reversed(SUFFIXES):
        found[where & (numbers < share)] = suffix
    return pa.array(found.tolist(), pa.string())


def _streets(numbers: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> pa.Array:
    places = (numbers * len(STREETS) * 900).astype(np.int64)
    lines = [
        f"{100 + place // len(STREETS)} {STREETS[place % len(STREETS)]} Street" if there else None
        for place, there in zip(places.tolist(), where.tolist(), strict=True)
    ]
    return pa.array(lines, pa.string())


def _mobiles(phones: pa.ChunkedArray, numbers: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> pa.Array:
    """Another number of the same exchange, among those that belong to nobody: 555-0100 to 555-0199."""
    made: list[str | None] = []
    for phone, number, there in zip(
        phones.cast(pa.string()).to_pylist(), numbers.tolist(), where.tolist(), strict=True
    ):
        if not there or phone is None or not phone[-4:].startswith("01") or not phone[-2:].isdigit():
            made.append(None)
            continue
        made.append(f"{phone[:-2]}{(int(phone[-2:]) + 1 + int(number * 98)) % 100:02d}")
    return pa.array(made, pa.string())
