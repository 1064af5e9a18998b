"""Patients as OMOP persons, with their homes, deaths, observation periods and plans; places and providers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.exporters.omop.block import Block, Ints, Sheet, at, facts, flat, look_up, positions

__all__ = ["deaths", "homes", "observation_periods", "persons", "places", "plans"]

_SOPT = "https://nahdo.org/sopt"
NEVER = np.iinfo(np.int64).max


def places(block: Block) -> dict[str, dict[str, object]]:
    """Return the columns of location, care_site and provider, from what patients share.

    An organization is a care site at its address. Keys are the places of the rows, from 1; homes follow them.
    """
    shared = block.shared
    sites, doctors = shared["organization"], shared["practitioner"]
    n = sites.num_rows
    keys = pa.array(np.arange(1, n + 1))
    names = _names(doctors["given_name"], doctors["family_name"])
    nucc = look_up_codes(block, doctors)
    return {
        "location": {"location_id": keys, **_address(sites), "location_source_value": _short(sites["name"])},
        "care_site": {
            "care_site_id": keys,
            "care_site_name": _short(sites["name"], 255),
            "location_id": keys,
            "care_site_source_value": _short(sites["organization_id"]),
        },
        "provider": {
            "provider_id": pa.array(np.arange(1, doctors.num_rows + 1)),
            "provider_name": _short(names, 255),
            "npi": doctors["npi"],
            "care_site_id": at(positions(doctors["organization_id"], block.care_sites)),
            "gender_concept_id": look_up(doctors["sex"], facts()["sex"], 0),
            "gender_source_value": doctors["sex"].cast(pa.string()),
            "provider_source_value": _short(doctors["practitioner_id"]),
            "specialty_concept_id": nucc,
            "specialty_source_value": _short(
                pc.coalesce(doctors["specialty_display"].cast(pa.string()), doctors["specialty_code"].cast(pa.string()))
            ),
        },
    }


def _names(given: pa.ChunkedArray, family: pa.ChunkedArray) -> pa.Array:
    """Return whole names; of one part where the other is null, null where both are."""
    # Not with null_handling="skip": Arrow leaves rows out in which all is null.
    first, last = flat(given.cast(pa.string())), flat(family.cast(pa.string()))
    return pc.coalesce(pc.binary_join_element_wise(first, last, " "), first, last)


def look_up_codes(block: Block, doctors: pa.Table) -> pa.Array:
    """Return no concept for specialties: of NUCC's no id is known."""
    return pc.if_else(flat(pc.is_valid(doctors["specialty_code"])), pa.scalar(0, pa.int64()), None)


def persons(block: Block) -> Sheet:
    """Return person: the parts of the birth date that are known; sex, race, ethnicity by concept and word."""
    patient, known = block.records["patient"], facts()
    birth, precision = (
        flat(patient["birth_date"]),
        pc.fill_null(flat(patient["birth_date_precision"].cast(pa.string())), "day"),
    )
    by_day, by_year = pc.equal(precision, "day"), pc.equal(precision, "year")
    race, ethnicity = (flat(patient[name].cast(pa.string())) for name in ("race_code", "ethnicity_code"))
    words = known["race_words"]
    race_word = race
    for code, word in words.items():
        race_word = pc.if_else(pc.fill_null(pc.equal(race_word, code), False), word, race_word)
    here = np.arange(patient.num_rows)
    return Sheet(
        table="person",
        person=here,
        columns={
            "gender_concept_id": look_up(patient["sex"], known["sex"], 0),
            "year_of_birth": pc.year(birth),
            "month_of_birth": pc.if_else(by_year, None, pc.month(birth)),
            "day_of_birth": pc.if_else(by_day, pc.day(birth), None),
            "birth_datetime": pc.if_else(by_day, birth.cast(pa.timestamp("s")), None),
            "race_concept_id": pc.fill_null(look_up(race, known["race"], 0), 0),
            "ethnicity_concept_id": pc.fill_null(look_up(ethnicity, known["ethnicity"], 0), 0),
            "location_id": pa.array(home_ids(block), mask=~_at_home(patient)),
            "provider_id": at(positions(patient["practitioner_id"], block.providers)),
            "care_site_id": at(positions(patient["organization_id"], block.care_sites)),
            "person_source_value": _short(patient["patient_id"]),
            "gender_source_value": patient["sex"].cast(pa.string()),
            "gender_source_concept_id": np.zeros(len(here), np.int64),
            "race_source_value": race_word,
            "race_source_concept_id": np.zeros(len(here), np.int64),
            "ethnicity_source_value": ethnicity,
            "ethnicity_source_concept_id": np.zeros(len(here), np.int64),
        },
    )


def home_ids(block: Block) -> Ints:
    """Return the keys of homes: they follow those of the care sites."""
    found: Ints = np.arange(len(block.persons)) + block.first + 1 + len(block.care_sites)
    return found


def _at_home(patient: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    there = [pc.is_valid(patient[name]) for name in ("address_line", "city", "state", "postal_code")]
    any_: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.logical_or.reduce(
        [flat(one).to_numpy(zero_copy_only=False) for one in there]
    )
    return any_


def homes(block: Block) -> Sheet:
    """Return the locations of the patients who have an address."""
    patient = block.records["patient"]
    sheet = Sheet(
        table="location",
        person=np.arange(patient.num_rows),
        columns={"location_id": home_ids(block), **_address(patient)},
    )
    return sheet.keep(_at_home(patient))


def _address(rows: pa.Table) -> dict[str, object]:
    return {
        "address_1": _short(rows["address_line"]),
        "city": _short(rows["city"]),
        "state": rows["state"].cast(pa.string()),
        # Nine characters have room for a long code without its dash.
        "zip": pc.utf8_slice_codeunits(pc.replace_substring(rows["postal_code"], "-", ""), 0, 9),
        "country_source_value": rows["country"].cast(pa.string()),
    }


def _short(values: pa.ChunkedArray | pa.Array, most: int = 50) -> pa.Array:
    return flat(pc.utf8_slice_codeunits(values.cast(pa.string()), 0, most))


def deaths(block: Block) -> Sheet:
    """Return death: the moment as exactly as it is known, and the cause."""
    patient = block.records["patient"]
    dead = flat(pc.is_valid(patient["death_datetime"])).to_numpy(zero_copy_only=False)
    moment = flat(patient["death_datetime"])
    timed = pc.not_equal(pc.fill_null(flat(patient["death_precision"].cast(pa.string())), "second"), "day")
    cause = block.coded(patient, "cause_of_death", domain="Condition")
    block.used.count("death", cause)
    kind = facts()["type"]["default"]
    block.used.concepts.add(kind)
    return Sheet(
        table="death",
        person=np.arange(patient.num_rows),
        columns={
            "death_date": moment.cast(pa.date32()),
            "death_datetime": pc.if_else(timed, moment, None),
            "death_type_concept_id": np.full(len(dead), kind),
            "cause_concept_id": cause.standard_ids,
            "cause_source_value": cause.texts,
            "cause_source_concept_id": cause.source_ids,
        },
    ).keep(dead)


def observation_periods(block: Block, first: Ints, last: Ints) -> Sheet:
    """Return one period a person: as the record states it, else from the first to the last event, else the birth.

    Parameters
    ----------
    first, last : int64 arrays, shape (n_patients,), days since 1970
        Of the events of each person; `NEVER` and its negative where there are none.
    """
    patient = block.records["patient"]
    birth = flat(patient["birth_date"]).cast(pa.int32()).to_numpy().astype(np.int64)
    stated = [
        flat(pc.fill_null(patient[name].cast(pa.int32()).cast(pa.int64()), NEVER)).to_numpy()
        for name in ("record_start_date", "record_end_date")
    ]
    start = np.where(stated[0] != NEVER, stated[0], np.where(first == NEVER, birth, first))
    end = np.where(stated[1] != NEVER, stated[1], np.where(last == -NEVER, start, np.maximum(last, start)))
    kinds = facts()["type"]
    kind = np.where((stated[0] != NEVER) & (stated[1] != NEVER), kinds["default"], kinds["period"])
    block.used.concepts |= set(np.unique(kind).tolist())
    return Sheet(
        table="observation_period",
        person=np.arange(patient.num_rows),
        columns={
            "observation_period_start_date": pa.array(start.astype(np.int32)).cast(pa.date32()),
            "observation_period_end_date": pa.array(end.astype(np.int32)).cast(pa.date32()),
            "period_type_concept_id": kind,
        },
    )


def plans(block: Block, until: Ints) -> Sheet:
    """Return payer_plan_period: a coverage each, with name and kind of payer; without an end it lasts as the record."""
    coverage, payer = block.records["coverage"], block.shared["payer"]
    person = positions(coverage["patient_id"], block.persons)
    payers = positions(coverage["payer_id"], flat(payer["payer_id"]))
    start = flat(coverage["start_date"])
    ended = pc.coalesce(flat(coverage["end_date"]), pa.array(until[person].astype(np.int32)).cast(pa.date32()))
    names = _short(payer["name"]).take(pa.array(payers, mask=payers < 0))
    kinds = flat(payer["payer_type_code"].cast(pa.string()))
    coded = block.coded(
        pa.table(
            {"code_system": pa.array([_SOPT] * len(kinds)), "code": kinds, "display": pa.nulls(len(kinds), pa.string())}
        ),
        domain="Payer",
    )
    sheet = Sheet(
        table="payer_plan_period",
        person=person,
        columns={
            "payer_plan_period_start_date": start,
            "payer_plan_period_end_date": pc.max_element_wise(ended, start),
            "payer_source_value": names,
            "payer_source_concept_id": coded.source_ids.take(pa.array(payers, mask=payers < 0)),
            "plan_source_value": _short(coverage["coverage_id"]),
        },
    )
    dated = flat(pc.is_valid(start)).to_numpy(zero_copy_only=False)
    block.used.drop("coverage without a first day", int((~dated).sum()))
    return sheet.keep(dated)
