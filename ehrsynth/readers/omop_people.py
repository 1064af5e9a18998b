"""OMOP person, death, observation_period and payer_plan_period as patients and their coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import Known, is_true, positions
from ehrsynth.readers.omop_codes import coded_column, resolve
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_places import Places, address, link
from ehrsynth.readers.omop_standard import RACE_AND_ETHNICITY, SEX, translate, words
from ehrsynth.readers.omop_time import ABSENT, DAY, Exactness, Lives, as_times, days, moments
from ehrsynth.readers.source import SourceTable
from ehrsynth.readers.source_codes import condition_code

__all__ = ["People", "read_coverage", "read_people"]

_NEVER = np.iinfo(np.int64).max
_SOPT = "https://nahdo.org/sopt"


@dataclass(frozen=True, kw_only=True)
class People:
    """The patients.

    Attributes
    ----------
    table : pyarrow.Table
        Of the canonical schema's columns.
    known : Known
        Their keys.
    lives : Lives
    """

    table: pa.Table
    known: Known
    lives: Lives


def read_people(reading: Reading, places: Places) -> People:
    """Read person, death and observation_period.

    Choices made:

    - The date of birth is year, month and day of birth; without day (or month) it is the first and says so. A
      `birth_datetime` counts only where there is no year, or where the columns month and day are missing altogether:
      where they are there but empty, somebody hid them, and sources fill `birth_datetime` with 1 January.
    - Sex, race and ethnicity by their standard concept, then by what their source concept maps to, then by their source
      value. A race that says Hispanic is an ethnicity. Detailed races become the categories of the OMB.
    - A death at exactly midnight is exact to the day, the rest as exact as the file; a second death of a person, and
      one before birth, is set aside.
    - The record lasts from the first start to the last end of the person's observation periods, not before birth.
    - Identifiers of the source (`person_source_value`), street addresses and names of locations are not read: nothing
      that is learned may depend on them.
    """
    account = reading.account
    person = reading.open("person")
    assert person is not None  # indispensable
    source_keys = person["person_id"]
    person = account.keys(person, "person_id")
    person = _births(reading, person)
    for column, target, key in (
        ("location_id", places.location, "location_id"),
        ("provider_id", places.provider, "provider_id"),
        ("care_site_id", places.care_site, "care_site_id"),
    ):
        person = link(reading, person, column, target, key)
    account.close(person)
    known = Known("person", person["person_id"], source_keys)
    birth_day = days(person["birth_date"])
    race, ethnicity = _race_and_ethnicity(reading, person)
    columns = {
        "patient_id": person["person_id"],
        "birth_date": person["birth_date"],
        "birth_date_precision": person["birth_date_precision"],
        "sex": pc.coalesce(
            translate(person.get("gender_concept_id"), SEX), words(person.get("gender_source_value"), SEX), "unknown"
        ),
        "race_code": race,
        "ethnicity_code": ethnicity,
        "organization_id": person.get("care_site_id"),
        "practitioner_id": person.get("provider_id"),
    }
    if places.location is not None:
        at = positions(person.get("location_id"), places.location["location_id"])
        columns |= address(places.location, at, line=False)
    death, died = _deaths(reading, known, birth_day)
    columns |= died
    columns |= _observation(reading, known, birth_day, person)
    return People(table=pa.table(columns), known=known, lives=Lives(birth_day=birth_day, death=death))


def _births(reading: Reading, person: SourceTable) -> SourceTable:
    def part(name: str) -> npt.NDArray[np.int64]:
        numbers: npt.NDArray[np.int64] = pc.fill_null(person.get(f"{name}_of_birth", pa.int64()), 0).to_numpy().copy()
        return numbers

    account = reading.account
    year, month, day = (part(name) for name in ("year", "month", "day"))
    whole = person.get("birth_datetime", pa.timestamp("s"))
    in_parts = "month_of_birth" in person or "day_of_birth" in person
    use = is_true(pc.is_valid(whole)) & ((year == 0) | (not in_parts))
    for unit, numbers in (("year", year), ("month", month), ("day", day)):
        numbers[use] = pc.fill_null(getattr(pc, unit)(whole), 0).to_numpy()[use]
    day[month == 0] = 0
    dates = _valid_dates(year, month, day)
    precision = pa.array(["year", "month", "day"]).take(pa.array((month > 0).astype(np.int8) + (day > 0)))
    person = person.with_column("birth_date", dates).with_column("birth_date_precision", precision)
    return account.refuse(
        person,
        is_true(pc.is_null(dates)),
        problem="There is no date of birth.",
        reason="no date of birth, or one that cannot be",
        column="year_of_birth",
        hint="Give year_of_birth, and month and day if they are known.",
    )


def _valid_dates(year: npt.NDArray[np.int64], month: npt.NDArray[np.int64], day: npt.NDArray[np.int64]) -> pa.Array:
    first = np.array(year - 1970, dtype="datetime64[Y]").astype("datetime64[M]") + (np.maximum(month, 1) - 1)
    dates = first.astype("datetime64[D]") + (np.maximum(day, 1) - 1)
    # A month of 13 or a 30th of February runs over into the next year or month.
    sound = (
        (year > 0)
        & (year < 10_000)
        & (month <= 12)
        & (month >= 0)
        & (day >= 0)
        & (dates.astype("datetime64[M]") == first)
    )
    return pa.array(dates, mask=~sound)


def _race_and_ethnicity(reading: Reading, person: SourceTable) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    def code(kind: str) -> pa.ChunkedArray:
        source = person.get(f"{kind}_source_concept_id")
        ids = [one for one in pc.unique(source).to_pylist() if one and one != "0"]
        to = reading.concepts.maps_to(ids) if ids else {}
        mapped = pa.array([to.get(one) for one in ids], pa.string())
        target = mapped.take(pc.index_in(source, value_set=pa.array(ids, pa.string())).combine_chunks())
        return pc.coalesce(
            translate(person.get(f"{kind}_concept_id"), RACE_AND_ETHNICITY),
            translate(target, RACE_AND_ETHNICITY),
            words(person.get(f"{kind}_source_value"), RACE_AND_ETHNICITY),
        )

    ethnic = pa.array(["2135-2", "2186-5"])
    race, ethnicity = code("race"), code("ethnicity")
    is_ethnic = pc.is_in(race, value_set=ethnic)
    ethnicity = pc.coalesce(
        pc.if_else(pc.is_in(ethnicity, value_set=ethnic), ethnicity, None), pc.if_else(is_ethnic, race, None)
    )
    return pc.if_else(is_ethnic, None, race), ethnicity


def _deaths(
    reading: Reading, known: Known, birth_day: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], dict[str, pa.Array]]:
    account, n = reading.account, len(known.taken)
    last = np.full(n, _NEVER, dtype=np.int64)
    death = reading.open("death")
    if death is None:
        return last, {}
    death = account.references(death, "person_id", known, required=True)
    death = account.refuse(
        death,
        moments(death, "death_date", "death_datetime")[0] == ABSENT,
        problem="There is no date of death.",
        reason="no date of death",
        column="death_date",
        hint="Take the row away if the person is alive.",
    )
    who = positions(death["person_id"], known.taken)
    again = np.ones(len(death), dtype=bool)
    again[np.unique(who, return_index=True)[1]] = False
    death = account.set_aside(death, again, reason="the person died already", column="person_id")
    who = who[~again]
    moment, timed = moments(death, "death_date", "death_datetime")
    early = moment // DAY < birth_day[who]
    death = account.set_aside(death, early, reason="before birth", column="death_date")
    who, moment, timed = who[~early], moment[~early], timed[~early]
    # Midnight is what a date becomes when it is written as a time, and nobody's exact hour of death often enough.
    exact = Exactness.of((moment, timed & (moment % DAY != 0)))
    last[who] = np.where(exact.timed, moment, moment // DAY * DAY + DAY - 1)
    account.close(death)
    cause = resolve(
        death,
        reading.concepts,
        source_concept="cause_source_concept_id",
        concept="cause_concept_id",
        source_value="cause_source_value",
        recognise=condition_code,
    )
    at = np.full(n, -1, dtype=np.int64)
    at[who] = np.arange(len(who))
    where = pa.array(at, mask=at < 0)
    rows = {
        "death_datetime": as_times(exact.floor(moment)),
        "death_precision": exact.names(),
        **cause.columns("cause_of_death"),
    }
    return last, {name: values.take(where) for name, values in rows.items()}


def _observation(
    reading: Reading, known: Known, birth_day: npt.NDArray[np.int64], person: SourceTable
) -> dict[str, pa.Array]:
    account, n = reading.account, len(known.taken)
    period = reading.open("observation_period")
    if period is None:
        return {}
    period = account.references(period, "person_id", known, required=True)
    start, end = (days(period[f"observation_period_{side}_date"]) for side in ("start", "end"))
    bad = (start == ABSENT) | (end == ABSENT) | (end < start)
    period = account.set_aside(
        period, bad, reason="without start or end, or ends before it starts", column="observation_period_end_date"
    )
    start, end = start[~bad], end[~bad]
    account.close(period)
    who = positions(period["person_id"], known.taken)
    first, last = np.full(n, _NEVER, dtype=np.int64), np.full(n, ABSENT, dtype=np.int64)
    np.minimum.at(first, who, start)
    np.maximum.at(last, who, end)
    several = int((np.bincount(who, minlength=n) > 1).sum())
    if several:
        account.note(f"{several:,} patients have several observation periods: the record spans them all.")
    without = int((last == ABSENT).sum())
    if without:
        account.note(f"{without:,} patients have no observation period: their record has no bounds.")
    there = last != ABSENT
    account.adjust(
        person,
        there & (first < birth_day),
        what="observed before birth: the record starts at birth",
        column="person_id",
    )
    first = np.maximum(first, birth_day)
    keep = there & (first <= last)

    def dates(values: npt.NDArray[np.int64]) -> pa.Array:
        return pa.array(np.where(keep, values, 0).astype(np.int32), mask=~keep).cast(pa.date32())

    return {"record_start_date": dates(first), "record_end_date": dates(last)}


def read_coverage(reading: Reading, people: People) -> dict[str, pa.Table]:
    """Read payer_plan_period: each distinct payer is a payer, each row a coverage.

    A payer is known by its source value, else by its concept, else it is unknown; its key is that text. What kind it is
    says the concept, else the source's concept, where that is of SOPT.
    """
    account = reading.account
    period = reading.open("payer_plan_period")
    if period is None:
        return {}
    period = account.keys(period, "payer_plan_period_id")
    period = account.references(period, "person_id", people.known, required=True)
    start, end = (
        days(period["payer_plan_period_start_date"]),
        days(period.get("payer_plan_period_end_date", pa.date32())),
    )
    period = account.set_aside(
        period,
        (start == ABSENT) | ((end != ABSENT) & (end < start)),
        reason="without start, or ends before it starts",
        column="payer_plan_period_start_date",
    )
    account.close(period)
    payer = coded_column(period, "payer_concept_id", reading.concepts)
    own = coded_column(period, "payer_source_concept_id", reading.concepts)
    where = pa.array(payer.index, mask=payer.index < 0)
    texts = pa.array([coding.display or coding.code for coding in payer.codings], pa.string()).take(where)
    kinds = pa.array([coding.code if coding.system == _SOPT else None for coding in payer.codings], pa.string()).take(
        where
    )
    own_kinds = pa.array([coding.code if coding.system == _SOPT else None for coding in own.codings], pa.string())
    kinds = pc.coalesce(kinds, own_kinds.take(pa.array(own.index, mask=own.index < 0)))
    name = pc.coalesce(period.get("payer_source_value"), texts, "Unknown payer").combine_chunks()
    names = pc.unique(name)
    first = pa.array(np.unique(positions(name, names), return_index=True)[1])
    return {
        "payer": pa.table({"payer_id": names, "name": names, "payer_type_code": kinds.take(first)}),
        "coverage": pa.table(
            {
                "coverage_id": period["payer_plan_period_id"],
                "patient_id": period["person_id"],
                "payer_id": name,
                "status": pa.array(["active"] * len(period), pa.string()),
                "start_date": period["payer_plan_period_start_date"],
                "end_date": period.get("payer_plan_period_end_date", pa.date32()),
            }
        ),
    }
