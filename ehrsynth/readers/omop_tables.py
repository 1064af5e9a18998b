"""What sound OMOP events are in the canonical tables, column by column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers.account import is_true
from ehrsynth.readers.omop_codes import coded_column
from ehrsynth.readers.omop_elsewhere import allergic, allergies, carried_out, condition_words, diagnosed
from ehrsynth.readers.omop_events import Rows, open_events
from ehrsynth.readers.omop_layout import Reading
from ehrsynth.readers.omop_people import People
from ehrsynth.readers.omop_places import Places
from ehrsynth.readers.omop_standard import COMPARATOR, CONDITION_CATEGORY, OBSERVATION_CATEGORY, of_unit, translate
from ehrsynth.readers.omop_time import ABSENT, DAY, as_dates, days
from ehrsynth.readers.omop_visits import Visits
from ehrsynth.readers.source import SourceTable
from ehrsynth.schema import clinical
from ehrsynth.terminology import CVX, LOINC, UCUM

__all__ = ["read_conditions", "read_devices", "read_drugs", "read_observations", "read_procedures", "together"]

EXAMINATION = "32836"
"""EHR physical examination."""

Tables = dict[str, pa.Table]


def read_conditions(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read condition_occurrence, each code once a visit.

    Choices made: a row of a visit is an encounter diagnosis, one without a visit (or whose type says problem list) a
    problem. The end is the abatement, unless it is the day on which the visit ended: that is the end of the visit
    written again (but where the reason why it stopped is a state of FHIR). With an abatement the condition is resolved,
    else active, if the source does not say. It is recorded on its onset or, if that lies before the visit, on the
    visit's first day. The source's word of the status is the rank if it is a number.
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
    said = condition_words(rows)
    stated = is_true(pc.is_valid(said["clinical_status"]))
    day = days(pa.chunked_array([said["end"]]) if isinstance(said["end"], pa.Array) else said["end"])
    end = np.where((rows.end == ABSENT) & (day != ABSENT), day * DAY, rows.end)
    abatement = np.where((end == ABSENT) | (linked & (end // DAY == last) & ~stated), ABSENT, end)
    by_type = translate(rows.table.get(f"{rows.event.table.split('_')[0]}_type_concept_id"), CONDITION_CATEGORY)
    category = pc.coalesce(by_type, pc.if_else(pa.array(linked), "encounter-diagnosis", "problem-list-item"))
    columns = {
        **rows.base("condition_id", visits),
        "category": category,
        "clinical_status": pc.coalesce(
            said["clinical_status"], pc.if_else(pa.array(abatement == ABSENT), "active", "resolved")
        ),
        "verification_status": pc.coalesce(said["verification_status"], "confirmed"),
        "rank": said["rank"],
        "onset_date": as_dates(rows.start),
        "abatement_date": as_dates(abatement),
        "recorded_date": as_dates(np.maximum(onset, first) * DAY),
    }
    return pa.table(columns)


def read_drugs(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read drug_exposure, each code once a day: vaccines (CVX) are immunizations, all else medication requests.

    Choices made: with a stop reason the order is stopped (or what the reason is, if that is a state of FHIR), with an
    end completed, else of unknown state. Where the table states verbatim ends an order without one has no end, and is
    active: OMOP wants an end date of every row. A quantity and days of zero are none, refills of zero are no refills.
    The route is a concept or the source's own word. A procedure that OMOP calls a drug is one (`carried_out`).
    """
    rows = open_events(reading, people, places, visits, "drug_exposure", once="day", standard=True)
    if rows is None:
        return {}
    reading.account.close(rows.table)
    acts = carried_out(rows)
    moved = rows.keep(acts)
    rows = rows.keep(~acts)
    is_vaccine = np.array([coding.system == CVX for coding in rows.codes.codings] or [False])[rows.codes.index]
    vaccines, drugs = rows.keep(is_vaccine), rows.keep(~is_vaccine)
    immunizations = {
        **vaccines.base("immunization_id", visits),
        **vaccines.times("occurrence_datetime"),
        "status": pa.array(["completed"] * len(vaccines.table), pa.string()),
        "lot_number": _no_zero_text(vaccines.table.get("lot_number")),
    }
    end, status = _ends(drugs)
    requests = {
        **drugs.base("medication_request_id", visits),
        **drugs.times("authored_datetime"),
        "status": status,
        "intent": pa.array(["order"] * len(drugs.table), pa.string()),
        "start_date": as_dates(drugs.start),
        "end_date": as_dates(end),
        "sig": drugs.table.get("sig"),
        **coded_column(drugs.table, "route_concept_id", reading.concepts, source_value="route_source_value").columns(
            "route"
        ),
        "dose_unit": drugs.table.get("dose_unit_source_value"),
        "days_supply": _count(reading, drugs, "days_supply", pa.int64()),
        "quantity": _count(reading, drugs, "quantity", pa.float64()),
        "refills": _count(reading, drugs, "refills", pa.int64(), zero=True),
    }
    found = {"medication_request": pa.table(requests), "immunization": pa.table(immunizations)}
    return found | _moved_procedures(reading, moved, visits)


def _ends(drugs: Rows) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], pa.ChunkedArray]:
    """The end of each order, and its state."""
    verbatim = is_true(pc.is_valid(drugs.table.get("verbatim_end_date", pa.date32())))
    reason = drugs.table.get("stop_reason")
    stated = bool(verbatim.any())
    end = np.where(verbatim, drugs.end, ABSENT) if stated else drugs.end
    known = pc.is_in(reason, value_set=pa.array(clinical()["medication_request"]["status"].enum))
    by_reason = pc.if_else(pc.is_valid(reason), pc.if_else(known, reason, "stopped"), None)
    by_end = pc.if_else(pa.array(end != ABSENT), "completed", "active" if stated else "unknown")
    return end, pc.coalesce(by_reason, by_end)


def read_procedures(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read procedure_occurrence, each code once a day; what is in the records has been done (`completed`)."""
    rows = open_events(reading, people, places, visits, "procedure_occurrence", once="day")
    if rows is None:
        return {}
    reading.account.close(rows.table)
    return {"procedure": _procedures(reading, rows, visits)}


def _procedures(reading: Reading, rows: Rows, visits: Visits) -> pa.Table:
    columns = {
        **rows.base("procedure_id", visits),
        **rows.times("start_datetime", "end_datetime"),
        "status": pa.array(["completed"] * len(rows.table), pa.string()),
        "quantity": _count(reading, rows, "quantity", pa.float64()),
    }
    return pa.table(columns)


def _moved_procedures(reading: Reading, rows: Rows, visits: Visits) -> Tables:
    """The procedures among the rows of another table, under keys that say where they come from."""
    if not len(rows.table):
        return {}
    found = _procedures(reading, rows, visits)
    key = pc.binary_join_element_wise(rows.event.table, found["procedure_id"], "-")
    return {"procedure": found.set_column(0, "procedure_id", key)}


def read_devices(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read device_exposure, each code once a day: active without an end, else inactive."""
    rows = open_events(reading, people, places, visits, "device_exposure", once="day")
    if rows is None:
        return {}
    reading.account.close(rows.table)
    acts = carried_out(rows)
    moved = rows.keep(acts)
    rows = rows.keep(~acts)
    columns = {
        **rows.base("device_id", visits),
        **rows.times("start_datetime", "end_datetime"),
        "status": pc.if_else(pa.array(rows.end == ABSENT), "active", "inactive"),
        "unique_device_id": rows.table.get("unique_device_id"),
        "quantity": _count(reading, rows, "quantity", pa.float64()),
    }
    return {"device": pa.table(columns)} | _moved_procedures(reading, moved, visits)


def read_observations(reading: Reading, people: People, places: Places, visits: Visits) -> Tables:
    """Read measurement and observation into one table; keys of the second get the prefix ``observation-``.

    A diagnosis (ICD) among the observations, of a type that says where diagnoses are written down (an encounter, the
    problem list), is a condition that OMOP keeps there: Z00.00 is no disorder. Allergies are allergies, procedures
    procedures, see `omop_elsewhere`.

    Choices made: the category is that of the LOINC code where the packaged map knows it (vital signs, social history),
    else what the type says (an examination), else a measurement is of the laboratory and an observation a survey. The
    unit is the source's text if it leads to the unit concept, else the UCUM code of that, else the text. Words are
    taken only where there is neither a number nor a code; they are the display of a value without a code where its
    concept is 0, if the table tells 0 from nothing. Rows that lead to the same row of their table are a panel. A range
    whose ends are reversed is left out.
    """
    found: Tables = {}
    for table, category in (("measurement", "laboratory"), ("observation", "survey")):
        rows = open_events(reading, people, places, visits, table)
        if rows is None:
            continue
        reading.account.close(rows.table)
        diagnoses = diagnosed(rows)
        if diagnoses.any():
            found["condition"] = _conditions(rows.keep(diagnoses), visits)
            rows = rows.keep(~diagnoses)
        allergies_ = allergic(rows)
        if allergies_.any():
            found["allergy_intolerance"] = allergies(reading, rows.keep(allergies_), visits)
            rows = rows.keep(~allergies_)
        acts = carried_out(rows)
        for name, part in _moved_procedures(reading, rows.keep(acts), visits).items():
            found[name] = together(found[name], part) if name in found else part
        rows = rows.keep(~acts)
        part = _observations(reading, rows, visits, category)
        found["observation"] = together(found["observation"], part) if "observation" in found else part
    return found


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
    term, listed = table.get("value_source_value"), _listed_values(table, bare)
    low, high = table.get("range_low", pa.float64()), table.get("range_high", pa.float64())
    reversed_ = is_true(pc.greater(low, high))
    reading.account.adjust(table, reversed_, what="range of which the ends are reversed: left out", column="range_low")
    columns = {
        **rows.base("observation_id", visits),
        **rows.times("effective_datetime"),
        "panel_id": _panels(rows),
        "category": pc.coalesce(
            kinds.take(pa.array(rows.codes.index)),
            pc.if_else(pc.equal(table.get(f"{rows.event.table}_type_concept_id"), EXAMINATION), "exam", None),
            category,
        ),
        "status": pa.array(["final"] * n, pa.string()),
        "value_number": number,
        "value_comparator": comparator,
        "value_unit": pc.if_else(pc.is_valid(number), _units(reading, table), None),
        **coded.columns("value"),
        "value_display": pc.if_else(listed, term, coded.columns("value")["value_display"].cast(pa.string())),
        "value_text": pc.if_else(pc.and_(bare, pc.invert(listed)), words, None),
        "reference_low": pc.if_else(pa.array(reversed_), None, low),
        "reference_high": pc.if_else(pa.array(reversed_), None, high),
    }
    return pa.table(columns)


def _panels(rows: Rows) -> pa.Array | pa.ChunkedArray:
    """The panel of each row: those that lead to the same row of the same table are of one."""
    name, table = rows.event.table, rows.table
    leads = table.get(f"{name}_event_id")
    field = table.get("meas_event_field_concept_id" if name == "measurement" else "obs_event_field_concept_id")
    here = pc.and_(
        pc.is_in(leads, value_set=_flat(table[rows.event.key])),
        pc.or_(pc.is_null(field), pc.fill_null(pc.equal(field, "0"), False)),
    )
    return pc.if_else(here, pc.binary_join_element_wise(name, leads, "-"), None)


def _listed_values(table: SourceTable, bare: pa.ChunkedArray) -> pa.Array:
    """Which rows have a value of a list of which no concept is known."""
    concept = table.get("value_as_concept_id")
    zero = pc.and_(pc.fill_null(pc.equal(concept, "0"), False), pc.is_valid(table.get("value_source_value")))
    there = pc.and_(pc.and_(zero, bare), pc.is_null(table.get("value_as_string")))
    return _flat(there if concept.null_count else pc.and_(there, False))


def _units(reading: Reading, table: SourceTable) -> pa.ChunkedArray:
    found = coded_column(table, "unit_concept_id", reading.concepts)
    codes = pa.array([coding.code if coding.system == UCUM else None for coding in found.codings], pa.string())
    text = pc.utf8_trim_whitespace(table.get("unit_source_value"))
    distinct = pc.unique(text).cast(pa.string())
    leads = pa.array([of_unit(one or "") for one in distinct.to_pylist()], pa.string())
    led = leads.take(pc.index_in(text, value_set=distinct).combine_chunks())
    same = pc.fill_null(pc.equal(led, table.get("unit_concept_id")), False)
    return pc.coalesce(pc.if_else(same, text, None), codes.take(pa.array(found.index, mask=found.index < 0)), text)


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
