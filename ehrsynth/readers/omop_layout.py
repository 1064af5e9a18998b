"""The tables and columns of the OMOP Common Data Model 5.3 and 5.4 that are read, and what they are called in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.readers import source_codes
from ehrsynth.readers.account import Account
from ehrsynth.readers.omop_concepts import Concepts
from ehrsynth.readers.source import SourceFolder, SourceTable

__all__ = ["EVENTS", "INDISPENSABLE", "TABLES", "Event", "Layout", "Reading"]

INDISPENSABLE = ("person", "visit_occurrence")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table.

    Attributes
    ----------
    columns : mapping of column to type
        Those that are read, with types of `values.parse`; ``key`` for ids.
    required : tuple
        Columns that must be there; of an inner tuple, one.
    older : mapping
        Name in version 5.3 of a column that 5.4 renamed.
    """

    columns: Mapping[str, str]
    required: tuple[str | tuple[str, ...], ...]
    older: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What is where in a table of events, and what does not belong into it.

    Attributes
    ----------
    table, key : str
    concept, source_concept, source_value : str
        Columns that say what happened.
    start, end : (str, str)
        Columns of date and of date and time; empty names where there are none.
    strange_domains : frozenset of str
        Domains of concepts that do not belong into the table: some ETLs write a diagnosis into every table there is.
    recognise : callable
        Tells a code by its shape.
    dates_only : bool
        Only the dates are taken, not the times of day.
    """

    table: str
    key: str
    concept: str
    source_concept: str
    source_value: str
    start: tuple[str, str]
    end: tuple[str, str] = ("", "")
    strange_domains: frozenset[str] = frozenset()
    recognise: Callable[[str], tuple[str, str] | None]
    dates_only: bool = False


def _event_columns(event: Event, more: Mapping[str, str]) -> dict[str, str]:
    columns = {
        event.key: "key",
        "person_id": "key",
        event.concept: "key",
        event.source_concept: "key",
        event.source_value: "string",
        event.start[0]: "date",
        event.start[1]: "datetime",
        event.end[0]: "date",
        event.end[1]: "datetime",
        "visit_occurrence_id": "key",
        "provider_id": "key",
        **more,
    }
    columns.pop("", None)
    return columns


def _event_layout(event: Event, **more: str) -> Layout:
    return Layout(
        columns=_event_columns(event, more),
        required=(
            event.key,
            "person_id",
            tuple(name for name in (event.concept, event.source_concept, event.source_value) if name),
            tuple(name for name in event.start if name),
        ),
    )


EVENTS = {
    event.table: event
    for event in (
        Event(
            table="condition_occurrence",
            key="condition_occurrence_id",
            concept="condition_concept_id",
            source_concept="condition_source_concept_id",
            source_value="condition_source_value",
            start=("condition_start_date", "condition_start_datetime"),
            end=("condition_end_date", "condition_end_datetime"),
            strange_domains=frozenset({"Drug", "Device", "Procedure", "Visit", "Gender", "Race"}),
            recognise=source_codes.condition_code,
            dates_only=True,
        ),
        Event(
            table="drug_exposure",
            key="drug_exposure_id",
            concept="drug_concept_id",
            source_concept="drug_source_concept_id",
            source_value="drug_source_value",
            start=("drug_exposure_start_date", "drug_exposure_start_datetime"),
            end=("drug_exposure_end_date", "drug_exposure_end_datetime"),
            strange_domains=frozenset({"Condition", "Observation", "Procedure", "Measurement", "Visit"}),
            recognise=source_codes.drug_code,
        ),
        Event(
            table="procedure_occurrence",
            key="procedure_occurrence_id",
            concept="procedure_concept_id",
            source_concept="procedure_source_concept_id",
            source_value="procedure_source_value",
            start=("procedure_date", "procedure_datetime"),
            end=("procedure_end_date", "procedure_end_datetime"),
            strange_domains=frozenset({"Condition", "Drug", "Visit"}),
            recognise=source_codes.procedure_code,
        ),
        Event(
            table="measurement",
            key="measurement_id",
            concept="measurement_concept_id",
            source_concept="measurement_source_concept_id",
            source_value="measurement_source_value",
            start=("measurement_date", "measurement_datetime"),
            strange_domains=frozenset({"Condition", "Drug", "Device", "Procedure", "Visit"}),
            recognise=source_codes.measurement_code,
        ),
        Event(
            table="observation",
            key="observation_id",
            concept="observation_concept_id",
            source_concept="observation_source_concept_id",
            source_value="observation_source_value",
            start=("observation_date", "observation_datetime"),
            strange_domains=frozenset({"Condition", "Drug", "Device", "Procedure", "Visit"}),
            recognise=source_codes.observation_code,
        ),
        Event(
            table="device_exposure",
            key="device_exposure_id",
            concept="device_concept_id",
            source_concept="device_source_concept_id",
            source_value="device_source_value",
            start=("device_exposure_start_date", "device_exposure_start_datetime"),
            end=("device_exposure_end_date", "device_exposure_end_datetime"),
            strange_domains=frozenset({"Condition", "Drug", "Visit"}),
            recognise=lambda value: None,
        ),
    )
}

TABLES = {
    "person": Layout(
        columns={
            "person_id": "key",
            "gender_concept_id": "key",
            "gender_source_value": "string",
            "year_of_birth": "integer",
            "month_of_birth": "integer",
            "day_of_birth": "integer",
            "birth_datetime": "datetime",
            "race_concept_id": "key",
            "race_source_value": "string",
            "race_source_concept_id": "key",
            "ethnicity_concept_id": "key",
            "ethnicity_source_value": "string",
            "ethnicity_source_concept_id": "key",
            "location_id": "key",
            "provider_id": "key",
            "care_site_id": "key",
        },
        required=("person_id", ("year_of_birth", "birth_datetime"), ("gender_concept_id", "gender_source_value")),
    ),
    "observation_period": Layout(
        columns={
            "person_id": "key",
            "observation_period_start_date": "date",
            "observation_period_end_date": "date",
        },
        required=("person_id", "observation_period_start_date", "observation_period_end_date"),
    ),
    "death": Layout(
        columns={
            "person_id": "key",
            "death_date": "date",
            "death_datetime": "datetime",
            "cause_concept_id": "key",
            "cause_source_value": "string",
            "cause_source_concept_id": "key",
        },
        required=("person_id", ("death_date", "death_datetime")),
    ),
    "visit_occurrence": Layout(
        columns={
            "visit_occurrence_id": "key",
            "person_id": "key",
            "visit_concept_id": "key",
            "visit_start_date": "date",
            "visit_start_datetime": "datetime",
            "visit_end_date": "date",
            "visit_end_datetime": "datetime",
            "provider_id": "key",
            "care_site_id": "key",
            "visit_source_value": "string",
            "visit_source_concept_id": "key",
            "admitted_from_concept_id": "key",
            "admitted_from_source_value": "string",
            "discharged_to_concept_id": "key",
            "discharged_to_source_value": "string",
        },
        required=(
            "visit_occurrence_id",
            "person_id",
            ("visit_concept_id", "visit_source_value"),
            ("visit_start_date", "visit_start_datetime"),
        ),
        older={
            "admitted_from_concept_id": "admitting_source_concept_id",
            "admitted_from_source_value": "admitting_source_value",
            "discharged_to_concept_id": "discharge_to_concept_id",
            "discharged_to_source_value": "discharge_to_source_value",
        },
    ),
    "condition_occurrence": _event_layout(
        EVENTS["condition_occurrence"],
        condition_type_concept_id="key",
        stop_reason="string",
        condition_status_source_value="string",
    ),
    "drug_exposure": _event_layout(
        EVENTS["drug_exposure"],
        drug_type_concept_id="key",
        verbatim_end_date="date",
        stop_reason="string",
        refills="integer",
        quantity="number",
        days_supply="integer",
        sig="string",
        route_concept_id="key",
        route_source_value="string",
        lot_number="string",
        dose_unit_source_value="string",
    ),
    "procedure_occurrence": _event_layout(EVENTS["procedure_occurrence"], quantity="number"),
    "measurement": _event_layout(
        EVENTS["measurement"],
        measurement_type_concept_id="key",
        measurement_event_id="key",
        meas_event_field_concept_id="key",
        operator_concept_id="key",
        value_as_number="number",
        value_as_concept_id="key",
        unit_concept_id="key",
        unit_source_value="string",
        range_low="number",
        range_high="number",
        value_source_value="string",
    ),
    "observation": _event_layout(
        EVENTS["observation"],
        observation_type_concept_id="key",
        observation_event_id="key",
        obs_event_field_concept_id="key",
        qualifier_concept_id="key",
        qualifier_source_value="string",
        value_as_number="number",
        value_as_string="string",
        value_as_concept_id="key",
        unit_concept_id="key",
        unit_source_value="string",
        value_source_value="string",
    ),
    "device_exposure": _event_layout(
        EVENTS["device_exposure"], device_type_concept_id="key", unique_device_id="string", quantity="number"
    ),
    "provider": Layout(
        columns={
            "provider_id": "key",
            "provider_name": "string",
            "npi": "string",
            "specialty_concept_id": "key",
            "specialty_source_value": "string",
            "care_site_id": "key",
            "gender_concept_id": "key",
        },
        required=("provider_id",),
    ),
    "care_site": Layout(
        columns={
            "care_site_id": "key",
            "care_site_name": "string",
            "care_site_source_value": "string",
            "location_id": "key",
        },
        required=("care_site_id",),
    ),
    "location": Layout(
        columns={
            "location_id": "key",
            "address_1": "string",
            "city": "string",
            "state": "string",
            "zip": "string",
            "location_source_value": "string",
        },
        required=("location_id",),
    ),
    "payer_plan_period": Layout(
        columns={
            "payer_plan_period_id": "key",
            "person_id": "key",
            "payer_plan_period_start_date": "date",
            "payer_plan_period_end_date": "date",
            "payer_concept_id": "key",
            "payer_source_concept_id": "key",
            "payer_source_value": "string",
            "plan_source_value": "string",
        },
        required=("payer_plan_period_id", "person_id", "payer_plan_period_start_date"),
    ),
}


class Reading:
    """One reading of a folder: its files, its concepts, and the account that is kept.

    Parameters
    ----------
    folder : SourceFolder
    account : Account
    """

    def __init__(self, folder: SourceFolder, account: Account) -> None:
        self.folder = folder
        self.account = account
        self.concepts = Concepts(folder, account)

    def open(self, table: str) -> SourceTable | None:
        """Return a table with its columns typed, or None if it is not there.

        Columns that 5.4 renamed have their newer name. Without a column that must be there an indispensable table is an
        error, and leniently any other is set aside as a whole.
        """
        layout = TABLES[table]
        if table in INDISPENSABLE:
            self.folder.require(table, hint="An OMOP data set has at least person and visit_occurrence.")
        elif table not in self.folder:
            self.account.note(f"There is no table {table}.")
            return None
        wanted = {*layout.columns, *layout.older.values()}
        found = self.account.open(self.folder.read(table, wanted=wanted))
        try:
            self.account.require_columns(found, layout.required)
        except SourceError as error:
            if self.account.strict or table in INDISPENSABLE:
                raise
            self.account.set_aside(found, np.ones(len(found), dtype=bool), reason=error.message)
            self.account.close(table, 0)
            return None
        kinds = {
            name: kind for newer, kind in layout.columns.items() for name in (newer, layout.older.get(newer, newer))
        }
        found = self.account.parse(found, kinds)
        for newer, older in layout.older.items():
            if newer not in found and older in found:
                found = found.with_column(newer, found[older])
        return found

    def no_zero(self, table: SourceTable, column: str) -> SourceTable:
        """Return the table with 0 in a column of references as none: how many sources write it."""
        if column not in table:
            return table
        values = table[column]
        zero = pc.equal(values, "0")
        return table.with_column(column, pc.if_else(zero, None, values))
