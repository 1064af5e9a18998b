"""Facts of a person's life as observations: sexual orientation, occupation, whether a woman is or means to be pregnant.

Each is declared once, in `TOLD`: at which visits it is told, and what is answered. A pregnancy is told where the
record has its diagnosis. What the record cannot know is decided by the patient's id, and of synthetic patients alone:
nothing is ever made up about real ones. What the tables say themselves is left to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.fhir.chance import chances, choices
from ehrsynth.exporters.fhir.datatypes import US_CORE
from ehrsynth.exporters.fhir.facts import adult_visits, coded_observations, facts, has_code, mapping, visits
from ehrsynth.exporters.fhir.joins import first_of_each, grouped, hits, picked, whole
from ehrsynth.exporters.fhir.resource import Source

__all__ = ["TOLD", "Told", "employment", "social_facts"]

LOINC = "http://loinc.org"
FERTILE = (15.0, 45.0)
APART_DAYS = 300
"""No woman is called not pregnant so near to a visit with a pregnancy."""

Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Told:
    """A fact that is told at visits.

    Attributes
    ----------
    name : str
        Its entry in the mapping ``social_facts``: its code, and the answers there are.
    profile : str
        The end of the URL of US Core's profile.
    at : callable
        From a `Source` to the visits at which it is told; patients of whom a table says it already are left out.
    answer : callable
        From these visits to the columns of `facts` that say what is answered.
    of : str
        ``patient`` if it is told once of each, ``encounter`` if again and again: whose key its id is made from.
    recorded : bool
        It follows from the record, so it is told of real patients too.
    """

    name: str
    profile: str
    at: Callable[[Source], pa.Table]
    answer: Callable[[pa.Table], Columns]
    of: str = "encounter"
    recorded: bool = False


def social_facts(source: Source) -> pa.Table:
    """Return the observations (`FACTS`)."""
    return pa.concat_tables([_observed(source, told) for told in TOLD if told.recorded or source.synthetic])


def _observed(source: Source, told: Told) -> pa.Table:
    code = mapping("social_facts")[told.name]["code"]
    rows = _unsaid(source, told.at(source), code)
    return facts(
        whole(rows[f"{told.of}_id"]),
        code,
        told.of,
        len(rows),
        patient_id=rows["patient_id"],
        encounter_id=rows["encounter_id"],
        practitioner_id=rows["practitioner_id"],
        effective_datetime=whole(rows["start_datetime"]).cast(pa.timestamp("s")),
        time_precision=rows["time_precision"].cast(pa.string()),
        category="social-history",
        code_system=LOINC,
        code=code,
        profile=f"{US_CORE}us-core-observation-{told.profile}",
        **told.answer(rows),
    )


def _unsaid(source: Source, rows: pa.Table, code: str) -> pa.Table:
    """The visits of patients of whom no table says `code`."""
    said = coded_observations(source, [code], ["patient_id"])
    return rows.filter(pc.invert(pc.is_in(whole(rows["patient_id"]), whole(said["patient_id"])))).combine_chunks()


def _asked(rows: pa.Table, name: str, what: str, of: str = "patient") -> npt.NDArray[np.bool_]:
    """Which visits' patients are asked for it, by chance, shape (n,)."""
    asked: npt.NDArray[np.bool_] = (
        chances(rows[f"{of}_id"], of, f"asked for {what}") < mapping("social_facts")[name]["asked"]
    )
    return asked


# -- what is answered --------------------------------------------------------------------------------------------------


def _always(name: str, answer: str) -> Callable[[pa.Table], Columns]:
    def columns(rows: pa.Table) -> Columns:
        known = mapping("social_facts")[name][answer]
        return {f"value_{part}": known[part] for part in ("system", "code")}

    return columns


def _by_chance(name: str, what: str, of: str) -> Callable[[pa.Table], Columns]:
    def columns(rows: pa.Table) -> Columns:
        answers = mapping("social_facts")[name]["answers"]
        return _chosen(rows, of, what, answers, {f"value_{part}": part for part in ("system", "code", "display")})

    return columns


def _chosen(
    rows: pa.Table, of: str, what: str, answers: list[dict[str, Any]], columns: dict[str, str]
) -> dict[str, pa.Array]:
    """The columns of the answers that chance chooses; `columns` says which part of an answer each is."""
    chosen = pa.array(choices(chances(rows[f"{of}_id"], of, what), [(answer, answer["share"]) for answer in answers]))
    return {
        column: pa.array([answer.get(part) for answer in answers], pa.string()).take(chosen)
        for column, part in columns.items()
    }


def _occupation(rows: pa.Table) -> Columns:
    known = mapping("social_facts")["occupation"]
    answers = [
        {
            **answer,
            "system": known["system"] if "code" in answer else None,
            "industry": answer["industry"]["display"],
            "industry_code": answer["industry"].get("code"),
        }
        for answer in known["answers"]
    ]
    parts = {f"value_{part}": part for part in ("system", "code", "display")}
    parts |= {part: part for part in ("industry_code", "industry")}
    return {"lasting": True, **_chosen(rows, "patient", "occupation", answers, parts)}


# -- where it is told --------------------------------------------------------------------------------------------------


def _adults(source: Source) -> pa.Table:
    """The first visits of adults who are asked for their orientation."""
    rows = adult_visits(source)
    return rows.filter(pa.array(_asked(rows, "sexual_orientation", "orientation"))).combine_chunks()


def employment(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which answer about work (``work`` of the screening) each visit's patient gives before retiring."""
    return choices(chances(rows["patient_id"], "patient", "work"), mapping("screening")["work"])


def _workers(source: Source) -> pa.Table:
    """The first visits as adults of those who work, as they answer in the screening too."""
    rows = adult_visits(source)
    working = np.isin(employment(rows), [0, 1]) & (rows["age"].to_numpy() < mapping("screening")["retired_age"])
    working &= _asked(rows, "occupation", "occupation")
    return rows.filter(pa.array(working)).combine_chunks()


def _pregnant(source: Source) -> pa.Table:
    """The visits with the diagnosis of a pregnancy."""
    rows, found = visits(source), source["condition"]
    found = picked(found, has_code(found, mapping("social_facts")["pregnancy_status"]["conditions"]), ("encounter_id",))
    return rows.filter(pc.is_in(whole(rows["encounter_id"]), whole(found["encounter_id"]))).combine_chunks()


def _not_pregnant(source: Source) -> pa.Table:
    """The visits far from any pregnancy at which women were asked."""
    return source.once("not_pregnant", _asked_women)


def _asked_women(source: Source) -> pa.Table:
    rows = _unsaid(source, visits(source), mapping("social_facts")["pregnancy_status"]["code"])
    ages = rows["age"].to_numpy()
    asked = hits(rows["encounter_class"], ["AMB"]) & (ages >= FERTILE[0]) & (ages < FERTILE[1])
    asked &= pc.equal(rows["sex"], "female").to_numpy()
    asked &= _asked(rows, "pregnancy_status", "pregnancy", "encounter")
    rows = rows.filter(pa.array(asked)).combine_chunks()
    others: dict[str, list[int]] = {}
    for patient, day in zip(*_when(_pregnant(source)), strict=True):
        others.setdefault(patient, []).append(day)
    far = [
        all(abs(day - other) >= APART_DAYS for other in others.get(patient, ()))
        for patient, day in zip(*_when(rows), strict=True)
    ]
    return rows.filter(pa.array(far, pa.bool_())).combine_chunks()


def _when(rows: pa.Table) -> tuple[list[str], list[int]]:
    """Whose visits they are, and on which day since 1970."""
    days = whole(rows["start_datetime"]).cast(pa.date32()).cast(pa.int32())
    return rows["patient_id"].to_pylist(), days.to_pylist()


def _intending(source: Source) -> pa.Table:
    """Of the women who are not pregnant, the first visits at which they are asked what they intend."""
    rows = _not_pregnant(source)
    rows = rows.filter(pa.array(_asked(rows, "pregnancy_intent", "intent", "encounter"))).combine_chunks()
    return rows.take(pa.array(first_of_each(grouped(rows["patient_id"])))).combine_chunks()


TOLD = (
    Told(
        name="pregnancy_status",
        profile="pregnancystatus",
        at=_pregnant,
        answer=_always("pregnancy_status", "pregnant"),
        recorded=True,
    ),
    Told(
        name="sexual_orientation",
        profile="sexual-orientation",
        at=_adults,
        answer=_by_chance("sexual_orientation", "orientation", "patient"),
        of="patient",
    ),
    Told(name="occupation", profile="occupation", at=_workers, answer=_occupation, of="patient"),
    Told(
        name="pregnancy_status",
        profile="pregnancystatus",
        at=_not_pregnant,
        answer=_always("pregnancy_status", "not_pregnant"),
    ),
    Told(
        name="pregnancy_intent",
        profile="pregnancyintent",
        at=_intending,
        answer=_by_chance("pregnancy_intent", "intent", "encounter"),
    ),
)
"""What is told of people's lives, in the order in which it is written."""
