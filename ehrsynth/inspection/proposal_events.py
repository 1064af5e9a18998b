"""Rules of a proposed mapping for tables of events: conditions, drugs, measurements..."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ehrsynth.inspection.findings import ColumnFound, TableFound, level
from ehrsynth.inspection.names import words as cut
from ehrsynth.inspection.proposal_lines import Lines, plain
from ehrsynth.inspection.roles import knowledge
from ehrsynth.inspection.rules import Line, Proposed, choice, constant, quoted

__all__ = ["Events"]


class Events(Lines):
    """Rules for events."""

    def event(self, table: TableFound, role: str) -> Proposed | None:
        """Return the rule that reads a table of events; None if it does not say whose they are, or what."""
        assert table.role is not None
        columns = dict(table.role.columns)
        if not self.whose(table).value:
            return None
        lines = [Line("file", quoted(table.name)), *self._required(table, role, columns), self.whose(table)]
        lines += self.in_encounter(table)
        timed = [
            self.time(key, table[column])
            for key, column in columns.items()
            if key.endswith(("_date", "_datetime")) and table[column].kind in ("date", "datetime")
        ]
        lines += timed
        if role == "observation" and "code" not in columns:
            wide = self._side_by_side(table)
            if not wide:
                return None
            return self.rule(role, table, [lines[0], *wide[:2], *lines[1:], *wide[2:]], timed=bool(timed))
        if "code" not in columns:
            return None
        lines += self._coded_lines(table, columns)
        if role == "observation":
            lines += self._values(table, columns)
        for key in ("rank", "days_supply", "refills", "quantity"):
            if key in columns and table[columns[key]].kind == "integer" and not table[columns[key]].low.startswith("-"):
                lines.append(Line(key, quoted(columns[key]), self.seen(table[columns[key]])))
        return self.rule(role, table, lines, timed=bool(timed))

    def _required(self, table: TableFound, role: str, columns: Mapping[str, str]) -> list[Line]:
        """Rows without a code, or of immunizations without a day, are set aside."""
        needed = [columns[key] for key in ("code", "occurrence_datetime") if key in columns]
        kept = [f"{{ column = {quoted(name)}, present = true }}" for name in needed if table[name].nulls]
        code = columns.get("code", "")
        if code and table[code].codes is not None and table[code].codes.system == "ndc":  # type: ignore[union-attr]
            kept.append(f'{{ column = {quoted(code)}, not_in = ["0"] }}')
        if (
            role == "observation"
            and "category" in table
            and table["category"].nulls
            and self._category(table)[0] != "{"
        ):
            kept.append('{ column = "category", present = true }')
        if not kept:
            return []
        return [Line("keep", kept[0] if len(kept) == 1 else f"[{', '.join(kept)}]")]

    def _coded_lines(self, table: TableFound, columns: Mapping[str, str]) -> list[Line]:
        column = table[columns["code"]]
        codes = column.codes
        stated = next((one for one in table.columns if self._names_systems(one)), None)
        lines = []
        if stated is not None:
            lines.append(self.words("code_system", stated, None))
            system = "icd" if any("icd" in one for one in self._said(stated)) else ""
        elif codes is not None and codes.system == "several":
            system = ""
            own = quoted(_own(table, column))
            value = f'{{ column = {quoted(column.name)}, as = "system", other = {own} }}'
            lines.append(Line("code_system", value, f"{level(codes.confidence)}: {codes.evidence}"))
        elif codes is not None and codes.confidence >= 0.5:
            system = "icd-10-cm" if codes.system == "icd" else codes.system
            lines.append(Line("code_system", constant(system), f"{level(codes.confidence)}: {codes.evidence}"))
        else:
            system = ""
            lines.append(Line("code_system", constant(_own(table, column)), "codes of the source's own"))
        seen = self.seen(column)
        plain = "icd" in system
        lines.append(Line("code", choice(column.name, **{"as": "icd"}) if plain else quoted(column.name), seen))
        display = columns.get("display")
        if display and display != column.name:
            lines.append(Line("display", quoted(display), self.seen(table[display])))
        elif (said := self._said_elsewhere(table, column.name)) is not None:
            lines.append(said)
        return lines

    def _said_elsewhere(self, table: TableFound, code: str) -> Line | None:
        """The line that takes what a code says from the table that it leads to: ``d_labitems.label`` of ``itemid``."""
        one = next((one for one in self.inspection.of(table.name) if one.column == code), None)
        if one is None:
            return None
        names = knowledge()["columns"]["observation"]["display"]
        called = [name for name in (*names, "name", "long_title") if name in self.inspection[one.to_table]]
        if not called:
            return None
        match = f"[{quoted(code)}, {quoted(one.to_column)}]"
        value = f"{{ file = {quoted(one.to_table)}, column = {quoted(called[0])}, match = {match} }}"
        return Line("display", value, self.why(table, code))

    def _said(self, column: ColumnFound) -> list[str]:
        known = knowledge()["words"]["code_system"]
        return [known.get(word.lower(), "") for word in column.words]

    def _names_systems(self, column: ColumnFound) -> bool:
        """Whether a column says of which code system a row's code is: ``icd_version``, ``SYSTEM``."""
        tail = cut(column.name)
        called = {"version", "system", "vocabulary", "codesystem", "vocab"} & set(tail)
        return bool(called) and bool(column.words) and all(self._said(column)) and not column.nulls

    def _values(self, table: TableFound, columns: Mapping[str, str]) -> list[Line]:
        lines = [Line("category", self._category(table))]
        if "value" not in columns:
            return lines
        column = table[columns["value"]]
        unit = columns.get("value_unit")
        kinds = next((one for one in table.columns if "numeric" in [word.lower() for word in one.words]), None)
        if column.kind in ("integer", "number"):
            lines.append(Line("value_number", quoted(column.name), self.seen(column)))
            if unit:
                lines.append(Line("value_unit", quoted(unit), self.seen(table[unit])))
        elif kinds is not None:
            word = next(word for word in kinds.words if word.lower() == "numeric")
            numeric = f"{{ column = {quoted(kinds.name)}, in = [{quoted(word)}] }}"
            other = f"{{ column = {quoted(kinds.name)}, not_in = [{quoted(word)}] }}"
            lines.append(Line("value_number", f"{{ column = {quoted(column.name)}, when = {numeric} }}"))
            if unit:
                lines.append(Line("value_unit", f"{{ column = {quoted(unit)}, when = {numeric} }}"))
            lines.append(Line("value_text", f"{{ column = {quoted(column.name)}, when = {other} }}"))
        else:
            lines.append(Line("value_text", quoted(column.name), "numbers and words together; part them with keep"))
        return lines

    def _category(self, table: TableFound) -> str:
        allowed = {"laboratory", "vital-signs", "social-history", "survey", "exam", "procedure", "imaging", "therapy"}
        if "category" in table and table["category"].words and set(table["category"].words) <= {*allowed, "activity"}:
            return quoted("category")
        vital = any(word.startswith(("vital", "triage", "omr")) for word in cut(table.name))
        return constant("vital-signs" if vital else "laboratory")

    def _side_by_side(self, table: TableFound) -> list[Line]:
        known = knowledge()["measurements"]
        names = [
            column.name
            for column in table.columns
            if plain(column.name) in known and column.kind in ("integer", "number")
        ]
        self.measured |= set(names)
        if not names:
            return []
        return [
            Line("each", f"[{', '.join(map(quoted, names))}]", "likely: by their names"),
            Line("lookup", '{ column = "@name", in = "measurements" }'),
            Line("code_system", constant("loinc")),
            Line("value_number", quoted("@value")),
        ]

    def codes_beside(self, table: TableFound) -> list[Proposed]:
        """Diagnoses that stand in columns of a table of encounters or patients."""
        coded = [
            column
            for column in table.columns
            if column.codes is not None
            and column.codes.system.startswith("icd-")
            and not {"reason", "cause"} & set(cut(column.name))
        ]
        if not coded:
            return []
        system = coded[0].codes.system  # type: ignore[union-attr]
        names = [column.name for column in coded if column.codes is not None and column.codes.system == system]
        whose = self.whose(table) if table.role and table.role.table != "patient" else Line("patient_id", "")
        if not whose.value and table.key is not None:
            whose = Line("patient_id", quoted(table.key.columns[0]))
        lines = [Line("file", quoted(table.name)), Line("each", f"[{', '.join(map(quoted, names))}]"), whose]
        if table.role is not None and table.role.table == "encounter" and table.key is not None:
            lines.append(Line("encounter_id", quoted(table.key.columns[0])))
        evidence = coded[0].codes.evidence  # type: ignore[union-attr]
        lines += [
            Line("code_system", constant(system), f"{level(coded[0].codes.confidence)}: {evidence}"),  # type: ignore[union-attr]
            Line("code", choice("@value", **{"as": "icd"})),
            Line("rank", quoted("@number")),
        ]
        return [self.rule("condition", table, lines)]


def _own(table: TableFound, column: ColumnFound) -> str:
    """Return the URI of codes that are the source's own."""
    return ":".join(["urn:source", *(re.sub("[^0-9a-z]+", "-", name).strip("-") for name in (table.name, column.name))])
