"""Single lines of a proposed mapping: how a column is read, and what was seen of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ehrsynth.inspection.findings import LIKELY, ColumnFound, Inspection, TableFound, level
from ehrsynth.inspection.names import is_key_name
from ehrsynth.inspection.roles import encounter_reference, knowledge, patient_reference
from ehrsynth.inspection.rules import Line, Proposed, choice, quoted

__all__ = ["Lines", "known_words", "plain"]


class Lines:
    """Lines about the tables of an inspection."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.tables, self.references = inspection.tables, inspection.references
        self.used: set[str] = set()
        self.measured: set[str] = set()
        self.with_role: dict[str, list[TableFound]] = {}
        for table in inspection.tables:
            if table.role is not None:
                self.with_role.setdefault(table.role.table, []).append(table)

    def rule(
        self, role: str, table: TableFound, lines: list[Line], notes: Sequence[str] = (), *, timed: bool = False
    ) -> Proposed:
        """Return a rule with a note of its table; lines without a value are left out."""
        said = f"{table.name}: {table.rows:,} rows"
        if table.role is not None and table.role.table == role:
            said += f"; a table of {role}: {level(table.role.confidence)}"
        return Proposed(table=role, lines=[line for line in lines if line.value], notes=[said, *notes], timed=timed)

    def whose(self, table: TableFound) -> Line:
        """Return the line that says whose a row is."""
        column = patient_reference(table, self.tables, self.references)
        if column:
            return Line("patient_id", quoted(column), self.why(table, column))
        # Through the encounter, where the row names only that.
        visits = next(iter(self.with_role.get("encounter", [])), None)
        own = encounter_reference(table, self.tables, self.references)
        theirs = patient_reference(visits, self.tables, self.references) if visits is not None else ""
        if visits is None or visits.key is None or not own or not theirs:
            return Line("patient_id", "")
        match = f"[{quoted(own)}, {quoted(visits.key.columns[0])}]"
        value = f"{{ file = {quoted(visits.name)}, column = {quoted(theirs)}, match = {match} }}"
        return Line("patient_id", value, self.why(table, own))

    def in_encounter(self, table: TableFound) -> list[Line]:
        """Return the line that says in which encounter a row was, if the table says it."""
        column = encounter_reference(table, self.tables, self.references)
        if not column:
            return []
        lost = next(one.orphans for one in self.references if (one.table, one.column) == (table.name, column))
        why = self.why(table, column) + (
            f"; {lost:,} lead nowhere: correct them or read with --lenient" if lost else ""
        )
        return [Line("encounter_id", quoted(column), why)]

    def leads(self, table: TableFound, targets: Mapping[str, str]) -> list[Line]:
        """Return lines for the references to tables of these roles."""
        lines = []
        for canonical, role in targets.items():
            names = {one.name for one in self.with_role.get(role, [])[:1]}
            mine = [
                one
                for one in self.inspection.of(table.name)
                if one.to_table in names and not one.orphans and one.confidence >= LIKELY
            ]
            if mine:
                column = min(mine, key=lambda one: (-one.confidence, len(one.column))).column
                lines.append(Line(canonical, quoted(column), self.why(table, column)))
        return lines

    def why(self, table: TableFound, column: str) -> str:
        """Return the evidence of a reference."""
        one = next((one for one in self.inspection.of(table.name) if one.column == column), None)
        return f"{level(one.confidence)}: leads to {one.to_table}, {one.evidence}" if one else "likely: by its name"

    def time(self, canonical: str, column: ColumnFound) -> Line:
        """Return the line of a date or time."""
        seen = self.seen(column)
        if not column.date_format:
            return Line(canonical, quoted(column.name), seen)
        doubt = "" if column.sure_of_format else "; PERHAPS: day and month cannot be told apart, check it"
        return Line(canonical, choice(column.name, format=column.date_format), f"{seen}{doubt}")

    def words(self, canonical: str, column: ColumnFound, other: str | None) -> Line:
        """Return the line of a column of words, with a map of those that are known."""
        known = known_words(canonical, column)
        stated = ", ".join(f"{quoted(word)} = {quoted(value)}" for word, value in known.items())
        rest = [word for word in column.words if word not in known]
        left = "" if other is None else f", other = {quoted(other)}"
        seen = self.seen(column) + (f"; not understood: {', '.join(rest[:8])}" if rest else "")
        return Line(canonical, f"{{ column = {quoted(column.name)}, map = {{ {stated} }}{left} }}", seen)

    def seen(self, column: ColumnFound) -> str:
        """Return what was seen of a column."""
        said = [column.kind]
        if column.low and not is_key_name(column.name):
            said.append(f"{column.low} to {column.high}")
        said.append(f"{column.distinct:,} distinct")
        if column.nulls:
            share = column.nulls / column.rows
            said.append(f"{share:.0%} empty" if share >= 0.01 else "a few empty")
        return ", ".join(said)


def known_words(canonical: str, column: ColumnFound) -> dict[str, str]:
    """Return the words of a column that are known, and what they are here."""
    known: Mapping[str, Any] = knowledge()["words"][canonical]
    return {word: known[word.strip().lower()] for word in column.words if word.strip().lower() in known}


def plain(name: str) -> str:
    """Return a name in lower case, letters and digits only."""
    return re.sub(r"[^0-9a-z]", "", name.lower())
