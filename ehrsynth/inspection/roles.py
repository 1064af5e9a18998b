"""What a table holds and what its columns are, by their names, their types and where they lead."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ehrsynth import resources
from ehrsynth.inspection.findings import ColumnFound, ReferenceFound, RoleFound, TableFound
from ehrsynth.inspection.names import entities, entity_of, is_key_name, words

__all__ = [
    "EVENTS",
    "SHARED",
    "assign_roles",
    "columns_for",
    "encounter_reference",
    "knowledge",
    "patient_reference",
    "time_basis",
]

SHARED = ("organization", "practitioner", "payer")
"""Canonical tables that belong to no patient."""

EVENTS = (
    "condition",
    "observation",
    "medication_request",
    "procedure",
    "immunization",
    "allergy_intolerance",
    "device",
)
_TIMES = ("date", "datetime")
_THIS_FAR = "2030"


@lru_cache(maxsize=1)
def knowledge() -> Mapping[str, Any]:
    """Return what tables, columns and words are called (``output_schemas/ehrsynth/inspection.toml``)."""
    return tomllib.loads(resources.read_bytes("output_schemas/ehrsynth/inspection.toml").decode())


def assign_roles(tables: Sequence[TableFound], references: Sequence[ReferenceFound]) -> list[TableFound]:
    """Return the tables with their roles; those that none fits have none."""
    patient = _patient_table(tables, references)
    people = patient.name if patient is not None else ""
    scored = {table.name: _scored(table, references, people) for table in tables}
    # What only names its encounter is of the patient whose encounter it was.
    visits = {name for name, roles in scored.items() if any(role == "encounter" for role, _ in roles)}
    scored |= {table.name: _scored(table, references, people, visits) for table in tables if not scored[table.name]}
    encounters = [
        (score, table.rows, table.name) for table in tables for role, score in scored[table.name] if role == "encounter"
    ]
    main = max(encounters)[2] if encounters else ""
    found = []
    for table in tables:
        if table.name == people:
            role: str = "patient"
            score = 0.95
        else:
            fitting = [(s, r) for r, s in scored[table.name] if r != "encounter" or table.name == main]
            if not fitting:
                found.append(table)
                continue
            score, role = max(fitting)
        columns = columns_for(table, role)
        evidence = f"called {table.name}" + (f"; {', '.join(columns.values())}" if columns else "")
        found.append(
            replace(table, role=RoleFound(table=role, confidence=round(score, 2), evidence=evidence, columns=columns))
        )
    return found


def patient_reference(table: TableFound, tables: Sequence[TableFound], references: Sequence[ReferenceFound]) -> str:
    """Return the column of a table that says whose a row is, empty for none."""
    return _leading_to("patient", table, tables, references) or _named_after_people(table)


def encounter_reference(table: TableFound, tables: Sequence[TableFound], references: Sequence[ReferenceFound]) -> str:
    """Return the column of a table that says in which encounter a row was, empty for none."""
    return _leading_to("encounter", table, tables, references)


def _leading_to(
    role: str, table: TableFound, tables: Sequence[TableFound], references: Sequence[ReferenceFound]
) -> str:
    targets = {one.name for one in tables if one.role is not None and one.role.table == role}
    mine = [one for one in references if one.table == table.name and one.to_table in targets]
    # Of several columns the one called like the target's key: `person_id` before `referring_person_id`.
    mine.sort(key=lambda one: (-one.confidence, len(one.column)))
    return mine[0].column if mine else ""


def _named_after_people(table: TableFound) -> str:
    people = knowledge()["tables"]["patient"]
    for column in table.columns:
        if is_key_name(column.name) and entity_of(column.name) in people and column.kind != "empty":
            return column.name
    return ""


def time_basis(tables: Sequence[TableFound]) -> str:
    """Return what kind of time a source has: calendar, shifted (years to come), offset (days), or order."""
    highs = [
        column.high
        for table in tables
        if table.role is not None
        for column in table.columns
        if column.kind in _TIMES and not column.date_format and "birth" not in column.name
    ]
    if highs:
        return (
            "shifted"
            if max(highs) > _THIS_FAR and sum(high > _THIS_FAR for high in highs) * 2 > len(highs)
            else "calendar"
        )
    written = any(column.kind in _TIMES for table in tables for column in table.columns)
    if written:
        return "calendar"
    days = any(
        words(column.name)[-1:] in (["day"], ["days"], ["futime"], ["offset"]) and column.kind in ("integer", "number")
        for table in tables
        for column in table.columns
    )
    return "offset" if days else "order"


def _patient_table(tables: Sequence[TableFound], references: Sequence[ReferenceFound]) -> TableFound | None:
    known = knowledge()["tables"]["patient"]
    best: tuple[float, TableFound] | None = None
    for table in tables:
        if table.key is None or len(table.key.columns) != 1:
            continue
        key = table.key.columns[0]
        led = len({one.table for one in references if one.to_table == table.name})
        columns = columns_for(table, "patient")
        named = bool(set(entities(table.name)) & set(known))
        keyed = entity_of(key) in known
        about = len({"birth_date", "birth_year", "age", "sex"} & set(columns))
        if not (named or (about and keyed) or (about >= 2 and led)):
            continue
        score = 2.0 * named + keyed + 0.5 * about + min(led, 10) / 10
        if best is None or score > best[0]:
            best = score, table
    return best[1] if best else None


def _scored(
    table: TableFound, references: Sequence[ReferenceFound], people: str, visits: Set[str] = frozenset()
) -> list[tuple[str, float]]:
    parts = [part for name in words(table.name) for part in entities(name)]
    if set(parts) & set(knowledge()["never"]) and not set(entities(table.name)) & {"payer_plan_period"}:
        return []
    mine = {one.to_table for one in references if one.table == table.name}
    linked = people in mine or bool(_named_after_people(table)) or bool(mine & visits)
    found = []
    for role, names in knowledge()["tables"].items():
        if role == "patient":
            continue
        own = entities(table.name)
        score = 0.95 if set(own) & set(names) else 0.75 if set(parts[-1:]) & set(names) else 0.0
        score = score or (0.7 if set(parts) & set(names) else 0.0)
        if not score and role == "encounter" and table.key is not None and len(table.key.columns) == 1:
            score = 0.65 if entity_of(table.key.columns[0]) in names else 0.0
        if not score:
            continue
        single = table.key is not None and len(table.key.columns) == 1
        if role in SHARED:
            if not single or linked:
                continue
        elif not linked:
            continue
        if role == "encounter" and not single:
            continue
        found.append((role, score))
    return found


def columns_for(table: TableFound, role: str) -> dict[str, str]:
    """Return which columns give which canonical ones; a column of codes before one that is only called so."""
    found: dict[str, str] = {}
    for canonical, names in knowledge()["columns"].get(role, {}).items():
        kinds = _TIMES if canonical.endswith(("_date", "_datetime")) else ()
        fitting = [
            (_preference(canonical, column, names.index(name)), column.name)
            for column in table.columns
            for name in names
            if column.kind != "empty" and (not kinds or column.kind in kinds) and _called(column, name, table.name)
        ]
        if fitting:
            found[canonical] = min(fitting)[1]
    return found


def _preference(canonical: str, column: ColumnFound, at: int) -> float:
    if canonical == "code" and column.codes is not None:
        return at - 100.0 * column.codes.confidence
    # A column with hardly any value is the last choice.
    return at + (50.0 if column.rows and column.nulls > 0.9 * column.rows else 0.0)


def _called(column: ColumnFound, name: str, table: str) -> bool:
    plain, sought = _plain(column.name), _plain(name)
    if plain == sought:
        return True
    for part in (*entities(table), *words(entities(table)[0] if entities(table) else "")):
        if plain.startswith(_plain(part)) and plain[len(_plain(part)) :] == sought:
            return True
    return False


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())
