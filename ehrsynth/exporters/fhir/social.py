"""Facts of a person's life as observations: sexual orientation, occupation, whether a woman is or means to be pregnant.

A pregnancy is told where the record has its diagnosis. What the record cannot know is decided by the patient's id, and
of synthetic patients alone: nothing is ever made up about real ones. What the tables say themselves is left to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances, choices
from ehrsynth.exporters.fhir.datatypes import US_CORE
from ehrsynth.exporters.fhir.facts import adult_visits, facts, has_code, mapping, visits
from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, picked, whole
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["employment", "social_facts"]

LOINC = "http://loinc.org"
FERTILE = (15.0, 45.0)
APART_DAYS = 300
"""No woman is called not pregnant so near to a visit with a pregnancy."""


def social_facts(source: Source) -> pa.Table:
    """Return the observations (`FACTS`)."""
    made = [_pregnant(source)]
    if source.synthetic:
        made += [_orientation(source), _occupation(source), *_not_pregnant(source)]
    return pa.concat_tables(made)


def _at(rows: pa.Table) -> dict[str, Any]:
    """Whom and when a fact is about that was told at the visits `rows`."""
    return {
        "patient_id": rows["patient_id"],
        "encounter_id": rows["encounter_id"],
        "practitioner_id": rows["practitioner_id"],
        "effective_datetime": whole(rows["start_datetime"]).cast(pa.timestamp("s")),
        "time_precision": rows["time_precision"].cast(pa.string()),
        "category": "social-history",
        "code_system": LOINC,
    }


def _unsaid(source: Source, rows: pa.Table, code: str) -> pa.Table:
    """The visits of patients of whom no table says `code`."""
    said = source["observation"]
    said = picked(said, hits(said["code"], [code]), ("patient_id",))
    return rows.filter(pc.invert(pc.is_in(whole(rows["patient_id"]), whole(said["patient_id"])))).combine_chunks()


def _answered(rows: pa.Table, what: str, answers: list[dict[str, Any]], table: str = "patient") -> dict[str, pa.Array]:
    """The columns of the answers that chance chooses."""
    chosen = choices(chances(rows[f"{table}_id"], table, what), [(answer, answer["share"]) for answer in answers])
    return {
        f"value_{name}": pa.array([answer.get(name) for answer in answers], pa.string()).take(pa.array(chosen))
        for name in ("system", "code", "display")
    }


def _orientation(source: Source) -> pa.Table:
    known = mapping("social_facts")["sexual_orientation"]
    rows = _unsaid(source, adult_visits(source), known["code"])
    asked = chances(rows["patient_id"], "patient", "asked for orientation") < known["asked"]
    rows = rows.filter(pa.array(asked)).combine_chunks()
    return facts(
        whole(rows["patient_id"]),
        known["code"],
        "patient",
        len(rows),
        **_at(rows),
        code=known["code"],
        profile=US_CORE + "us-core-observation-sexual-orientation",
        **_answered(rows, "orientation", known["answers"]),
    )


def employment(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which answer about work (``work`` of the screening) each visit's patient gives before retiring."""
    return choices(chances(rows["patient_id"], "patient", "work"), mapping("screening")["work"])


def _occupation(source: Source) -> pa.Table:
    """What those do who work, as they answer in the screening too, told at their first visit as adults."""
    known = mapping("social_facts")["occupation"]
    rows = _unsaid(source, adult_visits(source), known["code"])
    working = np.isin(employment(rows), [0, 1]) & (rows["age"].to_numpy() < mapping("screening")["retired_age"])
    working &= chances(rows["patient_id"], "patient", "asked for occupation") < known["asked"]
    rows = rows.filter(pa.array(working)).combine_chunks()
    answers = known["answers"]
    chosen = choices(chances(rows["patient_id"], "patient", "occupation"), [(one, one["share"]) for one in answers])

    def column(values: list[str | None]) -> pa.Array:
        return pa.array(values, pa.string()).take(pa.array(chosen))

    return facts(
        whole(rows["patient_id"]),
        known["code"],
        "patient",
        len(rows),
        **_at(rows),
        code=known["code"],
        profile=US_CORE + "us-core-observation-occupation",
        lasting=True,
        value_system=column([known["system"] if "code" in one else None for one in answers]),
        value_code=column([one.get("code") for one in answers]),
        value_display=column([one["display"] for one in answers]),
        industry_code=column([one["industry"].get("code") for one in answers]),
        industry=column([one["industry"]["display"] for one in answers]),
    )


def _pregnancies(source: Source) -> pa.Table:
    """The visits with the diagnosis of a pregnancy."""
    rows, found = visits(source), source["condition"]
    found = picked(found, has_code(found, mapping("social_facts")["pregnancy_status"]["conditions"]), ("encounter_id",))
    return rows.filter(pc.is_in(whole(rows["encounter_id"]), whole(found["encounter_id"]))).combine_chunks()


def _pregnant(source: Source) -> pa.Table:
    known = mapping("social_facts")["pregnancy_status"]
    rows = _unsaid(source, _pregnancies(source), known["code"])
    return _status(rows, known["pregnant"])


def _status(rows: pa.Table, answer: dict[str, str]) -> pa.Table:
    known = mapping("social_facts")["pregnancy_status"]
    return facts(
        whole(rows["encounter_id"]),
        known["code"],
        "encounter",
        len(rows),
        **_at(rows),
        code=known["code"],
        profile=US_CORE + "us-core-observation-pregnancystatus",
        value_system=answer["system"],
        value_code=answer["code"],
    )


def _not_pregnant(source: Source) -> tuple[pa.Table, pa.Table]:
    """Women who were asked at a visit far from any pregnancy, and of some of them what they intend."""
    status, intent = (mapping("social_facts")[name] for name in ("pregnancy_status", "pregnancy_intent"))
    rows = _unsaid(source, visits(source), status["code"])
    ages = rows["age"].to_numpy()
    asked = hits(rows["encounter_class"], ["AMB"]) & (ages >= FERTILE[0]) & (ages < FERTILE[1])
    asked &= pc.equal(rows["sex"], "female").to_numpy()
    asked &= chances(rows["encounter_id"], "encounter", "asked for pregnancy") < status["asked"]
    rows = rows.filter(pa.array(asked)).combine_chunks()
    near = np.zeros(len(rows), dtype=bool)
    others = _pregnancies(source)
    if len(others):
        when = whole(others["start_datetime"]).cast(pa.date32()).cast(pa.int32()).to_numpy()
        days: dict[str, list[int]] = {}
        for patient, day in zip(others["patient_id"].to_pylist(), when.tolist(), strict=True):
            days.setdefault(patient, []).append(day)
        then = whole(rows["start_datetime"]).cast(pa.date32()).cast(pa.int32()).to_numpy().tolist()
        near = np.array(
            [
                any(abs(day - other) < APART_DAYS for other in days.get(patient, ()))
                for patient, day in zip(rows["patient_id"].to_pylist(), then, strict=True)
            ],
            dtype=bool,
        )
    rows = rows.filter(pa.array(~near)).combine_chunks()
    told = chances(rows["encounter_id"], "encounter", "asked for intent") < intent["asked"]
    intending = _unsaid(source, rows.filter(pa.array(told)).combine_chunks(), intent["code"])
    intending = intending.take(pa.array(first_of_each(grouped(intending["patient_id"])))).combine_chunks()
    intents = facts(
        whole(intending["encounter_id"]),
        intent["code"],
        "encounter",
        len(intending),
        **_at(intending),
        code=intent["code"],
        profile=US_CORE + "us-core-observation-pregnancyintent",
        **_answered(intending, "intent", intent["answers"], "encounter"),
    )
    return _status(rows, status["not_pregnant"]), intents
