"""What sound OMOP events are in the canonical tables, column by column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import is_true
from ehrsynth.readers.omop_codes import coded_column
from ehrsynth.readers.omop_events import Rows, open_events
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_people import People
from ehrsynth.readers.omop_places import Places
from ehrsynth.readers.omop_standard import COMPARATOR, CONDITION_CATEGORY, OBSERVATION_CATEGORY, translate
from ehrsynth.readers.omop_time import ABSENT, DAY, as_dates
from ehrsynth.readers.omop_visits import Visits
from ehrsynth.readers.source import SourceTable
from ehrsynth.terminology import CVX, ICD9CM, ICD10CM, LOINC, UCUM

__all__ = ["read_conditions", "read_devices", "read_drugs", "read_observations", "read_procedures", "together"]

DIAGNOSIS_TYPES = ("32827", "32840")
"""EHR encounter record, EHR problem list."""

Tables = dict[str, pa.Table]


def read_conditions(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read condition_occurrence, each code once a visit.

    Choices made: a row of a visit is an encounter diagnosis, one without a visit (or whose type says problem list) a
    problem. The end is the abatement, unless it is the day on which the visit ended: that is the end of the visit
    written again. With an abatement the condition is resolved, else active. It is recorded on its onset or, if that
    lies before the visit, on the visit's first day.
    """
    rows = open_events(reading, people, places, visits, "condition_occurrence", once="visit")
    if rows is None:
        return {}
    reading.account.close(rows.table)
    return {"condition": _conditions(rows, visits)}


def _conditions(rows: Rows, visits: Visits) -> pa.Table:
    linked, at = rows.visits >= 0, np.maximum(rows.visits, 0)
    first, last = (
        (np.where(linked, days[at], ABSENT) if len(days) else np.full(len(at), ABSENT))
        for days in (visits.first_day, visits.last_day)
    )
    onset = rows.start // DAY
    abatement = np.where((rows.end == ABSENT) | (linked & (rows.end // DAY == last)), ABSENT, rows.end)
    by_type = translate(rows.table.get(f"{rows.event.table.split('_')[0]}_type_concept_id"), CONDITION_CATEGORY)
    category = pc.coalesce(by_type, pc.if_else(pa.array(linked), "encounter-diagnosis", "problem-list-item"))
    columns = {
        **rows.base("condition_id", visits),
        "category": category,
        "clinical_status": pc.if_else(pa.array(abatement == ABSENT), "active", "resolved"),
        "verification_status": pa.array(["confirmed"] * len(onset), pa.string()),
        "onset_date": as_dates(rows.start),
        "abatement_date": as_dates(abatement),
        "recorded_date": as_dates(np.maximum(onset, first) * DAY),
    }
    return pa.table(columns)


def read_drugs(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read drug_exposure, each code once a day: vaccines (CVX) are immunizations, all else medication requests.

    Choices made: with a stop reason the order is stopped, with an end completed, else of unknown state. A quantity and
    days of zero are none, refills of zero are no refills. The route is a concept or the source's own word.
    """
    rows = open_events(reading, people, places, visits, "drug_exposure", once="day", standard=True)
    if rows is None:
        return {}
    reading.account.close(rows.table)
    is_vaccine = np.array([coding.system == CVX for coding in rows.codes.codings] or [False])[rows.codes.index]
    vaccines, drugs = rows.keep(is_vaccine), rows.keep(~is_vaccine)
    immunizations = {
        **vaccines.base("immunization_id", visits),
        **vaccines.times("occurrence_datetime"),
        "status": pa.array(["completed"] * len(vaccines.table), pa.string()),
        "lot_number": _no_zero_text(vaccines.table.get("lot_number")),
    }
    stopped = pc.is_valid(drugs.table.get("stop_reason"))
    status = pc.if_else(stopped, "stopped", pc.if_else(pa.array(drugs.end != ABSENT), "completed", "unknown"))
    requests = {
        **drugs.base("medication_request_id", visits),
        **drugs.times("authored_datetime"),
        "status": status,
        "intent": pa.array(["order"] * len(drugs.table), pa.string()),
        "start_date": as_dates(drugs.start),
        "end_date": as_dates(drugs.end),
        "sig": drugs.table.get("sig"),
        **coded_column(drugs.table, "route_concept_id", reading.concepts, source_value="route_source_value").columns(
            "route"
        ),
        "dose_unit": drugs.table.get("dose_unit_source_value"),
        "days_supply": _count(reading, drugs, "days_supply", pa.int64()),
        "quantity": _count(reading, drugs, "quantity", pa.float64()),
        "refills": _count(reading, drugs, "refills", pa.int64(), zero=True),
    }
    return {"medication_request": pa.table(requests), "immunization": pa.table(immunizations)}


def read_procedures(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read procedure_occurrence, each code once a day; what is in the records has been done (`completed`)."""
    rows = open_events(reading, people, places, visits, "procedure_occurrence", once="day")
    if rows is None:
        return {}
    reading.account.close(rows.table)
    columns = {
        **rows.base("procedure_id", visits),
        **rows.times("start_datetime", "end_datetime"),
        "status": pa.array(["completed"] * len(rows.table), pa.string()),
        "quantity": _count(reading, rows, "quantity", pa.float64()),
    }
    return {"procedure": pa.table(columns)}


def read_devices(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read device_exposure, each code once a day: active without an end, else inactive."""
    rows = open_events(reading, people, places, visits, "device_exposure", once="day")
    if rows is None:
        return {}
    reading.account.close(rows.table)
    columns = {
        **rows.base("device_id", visits),
        **rows.times("start_datetime", "end_datetime"),
        "status": pc.if_else(pa.array(rows.end == ABSENT), "active", "inactive"),
        "unique_device_id": rows.table.get("unique_device_id"),
        "quantity": _count(reading, rows, "quantity", pa.float64()),
    }
    return {"device": pa.table(columns)}


def read_observations(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read measurement and observation into one table; keys of the second get the prefix ``observation-``.

    A diagnosis (ICD) among the observations, of a type that says where diagnoses are written down (an encounter, the
    problem list), is a condition that OMOP keeps there: Z00.00 is no disorder.

    Choices made: the category is that of the LOINC code where the packaged map knows it (vital signs, social history),
    else a measurement is of the laboratory and an observation a survey. The unit is the UCUM code of the unit concept,
    else the source's text. Words are taken only where there is neither a number nor a code. A range whose ends are
    reversed is left out.
    """
    found: Tables = {}
    for table, category in (("measurement", "laboratory"), ("observation", "survey")):
        rows = open_events(reading, people, places, visits, table)
        if rows is None:
            continue
        reading.account.close(rows.table)
        diagnosed = _diagnosed(rows)
        if diagnosed.any():
            found["condition"] = _conditions(rows.keep(diagnosed), visits)
            rows = rows.keep(~diagnosed)
        part = _observations(reading, rows, visits, category)
        found["observation"] = together(found["observation"], part) if "observation" in found else part
    return found


def _diagnosed(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which observations are diagnoses."""
    if rows.event.table != "observation" or not len(rows.table):
        return np.zeros(len(rows.table), dtype=bool)
    icd = np.array([coding.system in (ICD9CM, ICD10CM) for coding in rows.codes.codings] or [False])
    written = pc.is_in(rows.table.get("observation_type_concept_id"), value_set=pa.array(DIAGNOSIS_TYPES))
    return icd[rows.codes.index] & is_true(written)


def together(one: pa.Table, two: pa.Table) -> pa.Table:
    """Return the rows of two tables of one kind, read from two of OMOP; the first column is their key.

    OMOP's tables count their keys on their own: only where they meet do the second's get another name.
    """
    parts, key = [one, two], one.column_names[0]
    if pc.any(pc.is_in(two[key], value_set=_flat(one[key]))).as_py():
        renamed = pc.binary_join_element_wise("observation", two[key], "-")
        parts[1] = two.set_column(0, key, renamed)
    plain = [
        pa.table(
            [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in part.columns],
            names=part.column_names,
        )
        for part in parts
    ]
    return pa.concat_tables(plain)


def _observations(reading: Reading, rows: Rows, visits: Visits, category: str) -> pa.Table:
    table, n = rows.table, len(rows.table)
    codes = [coding.code if coding.system == LOINC else None for coding in rows.codes.codings]
    kinds = translate(pa.chunked_array([pa.array(codes, pa.string())]), OBSERVATION_CATEGORY, source=LOINC)
    coded = coded_column(table, "value_as_concept_id", reading.concepts)
    number = table.get("value_as_number", pa.float64())
    comparator = pc.if_else(pc.is_valid(number), translate(table.get("operator_concept_id"), COMPARATOR), None)
    words = pc.coalesce(table.get("value_as_string"), table.get("value_source_value"))
    bare = pc.and_(pc.is_null(number), pa.array(coded.index < 0))
    low, high = table.get("range_low", pa.float64()), table.get("range_high", pa.float64())
    reversed_ = is_true(pc.greater(low, high))
    reading.account.adjust(table, reversed_, what="range of which the ends are reversed: left out", column="range_low")
    columns = {
        **rows.base("observation_id", visits),
        **rows.times("effective_datetime"),
        "category": pc.coalesce(kinds.take(pa.array(rows.codes.index)), category),
        "status": pa.array(["final"] * n, pa.string()),
        "value_number": number,
        "value_comparator": comparator,
        "value_unit": pc.if_else(pc.is_valid(number), _units(reading, table), None),
        **coded.columns("value"),
        "value_text": pc.if_else(bare, words, None),
        "reference_low": pc.if_else(pa.array(reversed_), None, low),
        "reference_high": pc.if_else(pa.array(reversed_), None, high),
    }
    return pa.table(columns)


def _units(reading: Reading, table: SourceTable) -> pa.ChunkedArray:
    found = coded_column(table, "unit_concept_id", reading.concepts)
    codes = pa.array([coding.code if coding.system == UCUM else None for coding in found.codings], pa.string())
    return pc.coalesce(
        codes.take(pa.array(found.index, mask=found.index < 0)),
        pc.utf8_trim_whitespace(table.get("unit_source_value")),
    )


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _count(reading: Reading, rows: Rows, column: str, kind: pa.DataType, *, zero: bool = False) -> pa.ChunkedArray:
    values = rows.table.get(column, kind)
    if zero:
        bad, what = is_true(pc.less(values, 0)), "below zero: left out"
    else:
        bad, what = is_true(pc.less_equal(values, 0)), "zero or less: left out"
    reading.account.adjust(rows.table, bad, what=what, column=column)
    return pc.if_else(pa.array(bad), None, values)


def _no_zero_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(values, "0"), None, values)
