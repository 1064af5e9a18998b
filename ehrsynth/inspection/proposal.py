"""A mapping file proposed for a source, in the grammar of MAPPING.md, with what was seen beside every line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from ehrsynth.inspection.findings import Inspection, TableFound, level
from ehrsynth.inspection.names import words as cut
from ehrsynth.inspection.proposal_events import Events
from ehrsynth.inspection.proposal_lines import known_words, plain
from ehrsynth.inspection.roles import EVENTS, SHARED, columns_for, encounter_reference, knowledge, patient_reference
from ehrsynth.inspection.rules import Line, Proposed, choice, constant, quoted, table_of

__all__ = ["propose"]


def propose(inspection: Inspection, *, name: str = "") -> str:
    """Return the text of a mapping file for what `inspection` found.

    The text is TOML that `ehrsynth learn SOURCE --mapping FILE` reads. Every line that was guessed says how sure it is
    and what was seen; tables that found no use are listed at the end.
    """
    name = name or re.sub(r"[^0-9A-Za-z]+", "_", PurePath(inspection.source.split("?")[0]).stem).strip("_") or "source"
    work = _Work(inspection)
    rules = work.rules()
    lines = [
        f"# Proposed by ehrsynth inspect for {inspection.source}. Read it, correct it, then:",
        f"#   ehrsynth learn {inspection.source} --mapping {name}.toml -o mine.ehrsynth",
        "# Behind each guess: how sure it is (sure, likely, perhaps) and what was seen. The grammar is in MAPPING.md.",
        f"name = {quoted(name)}",
        f"source = {quoted(f'{name}, as ehrsynth inspect understood it')}",
        f"time_basis = {quoted(inspection.time_basis)}",
        'missing = ["?"]',
        "",
    ]
    several = [rule.table for rule in rules]
    for rule in rules:
        header = f"[[{rule.table}]]" if several.count(rule.table) > 1 else f"[{rule.table}]"
        lines += [*(f"# {note}" for note in rule.notes), header, *(str(line) for line in rule.lines), ""]
    if work.measured:
        lines += ["[lookups.measurements]"]
        entries = knowledge()["measurements"]
        lines += [f"{quoted(column)} = {table_of(entries[plain(column)])}" for column in sorted(work.measured)]
        lines += [""]
    lines += ["# Keys and references that were found:", *_keys(inspection)]
    unused = [table for table in inspection.tables if table.name not in work.used]
    if unused:
        lines += ["", "# Tables that are not read:"]
        lines += [
            f"#   {table.name}: {table.rows:,} rows, {len(table.columns)} columns{_guess(table)}" for table in unused
        ]
    return "\n".join(lines) + "\n"


def _guess(table: TableFound) -> str:
    return f"; looks like {table.role.table}, of which another table says more" if table.role else ""


def _keys(inspection: Inspection) -> Iterable[str]:
    for table in inspection.tables:
        if table.key is not None:
            key = table.key
            yield f"#   {table.name} ({', '.join(key.columns)}): {level(key.confidence)}, {key.evidence}"
        for one in inspection.of(table.name):
            lost = f"; {one.orphans:,} lead nowhere" if one.orphans else ""
            yield (
                f"#     {one.column} -> {one.to_table}.{one.to_column}: {level(one.confidence)}, {one.evidence}{lost}"
            )


class _Work(Events):
    """A proposal while it is made."""

    def rules(self) -> list[Proposed]:
        """Return the rules in the order in which they are read."""
        found = [self._shared(table, role) for role in SHARED for table in self.with_role.get(role, [])[:1]]
        visits = next(iter(self.with_role.get("encounter", [])), None)
        people = next(iter(self.with_role.get("patient", [])), None)
        found.append(self._patient(people, visits))
        if "payer" in self.with_role:
            found += [rule for table in self.with_role.get("coverage", [])[:1] if (rule := self._coverage(table))]
        if visits is not None:
            found.append(self._encounter(visits))
        events: list[tuple[Proposed, bool]] = []
        for role in EVENTS:
            for table in self._best(role):
                rule = self.event(table, role)
                if rule is not None:
                    self.used.add(table.name)
                    events.append((rule, bool(encounter_reference(table, self.tables, self.references))))
        for table in [one for one in (visits, people) if one is not None]:
            events += [(rule, table is visits) for rule in self.codes_beside(table)]
        loose = sorted({rule.table for rule, linked in events if (not linked or visits is None) and rule.timed})
        if loose:
            notes = ["A day without an encounter of its own becomes one."]
            lines = [Line("from", f"[{', '.join(map(quoted, loose))}]"), Line("encounter_class", constant("AMB"))]
            found.append(Proposed(table="encounter", lines=lines, notes=notes))
        return [*found, *(rule for rule, _ in events)]

    def _best(self, role: str) -> list[TableFound]:
        """The tables of a role; of drugs only those with codes, if any has: orders and supplies say it twice."""
        tables = self.with_role.get(role, [])
        if role != "medication_request":
            return tables
        coded = [table for table in tables if table.role and self._coded(table)]
        return coded or tables[:1]

    def _coded(self, table: TableFound) -> bool:
        assert table.role is not None
        code = table.role.columns.get("code", "")
        return bool(code) and table[code].codes is not None

    # -- single rules --------------------------------------------------------------------------------------------------

    def _shared(self, table: TableFound, role: str) -> Proposed:
        assert table.role is not None
        assert table.key is not None
        self.used.add(table.name)
        lines = [Line("file", quoted(table.name)), self._key(f"{role}_id", table)]
        columns = dict(table.role.columns)
        needed = "family_name" if role == "practitioner" else "name"
        columns.setdefault(needed, table.key.columns[0])
        lines += [Line(key, quoted(column), self.seen(table[column])) for key, column in columns.items()]
        if role == "practitioner":
            lines += self.leads(table, {"organization_id": "organization"})
        return self.rule(role, table, lines)

    def _key(self, canonical: str, table: TableFound) -> Line:
        assert table.key is not None
        return Line(canonical, quoted(table.key.columns[0]), f"{level(table.key.confidence)}: {table.key.evidence}")

    def _patient(self, people: TableFound | None, visits: TableFound | None) -> Proposed:
        table = people or self._table_of_people(visits)
        if table is None:
            notes = ["No table of patients was found: say which it is, and which columns hold birth date and sex."]
            missing = [Line("file", quoted("?")), Line("patient_id", quoted("?")), Line("birth_date", quoted("?"))]
            return Proposed(table="patient", lines=missing, notes=notes)
        self.used.add(table.name)
        lines = [Line("file", quoted(table.name))]
        if people is not None:
            lines.append(self._key("patient_id", people))
        else:
            whose = patient_reference(table, (), ())
            lines += [Line("one_per", f"[{quoted(whose)}]"), Line("patient_id", quoted(whose), "likely: by its name")]
            if table.key is not None and len(table.key.columns) == 1 and table.key.columns[0] != whose:
                lines.append(Line("order_by", quoted(table.key.columns[0])))
        columns = columns_for(table, "patient")
        lines += self._birth(table, columns)
        for canonical in ("sex", "race_code", "ethnicity_code", "marital_status_code"):
            if canonical in columns:
                other = "unknown" if canonical == "sex" else ""
                lines.append(self.words(canonical, table[columns[canonical]], other))
        death = columns.get("death_datetime")
        if death and table[death].kind in ("date", "datetime"):
            lines.append(self.time("death_datetime", table[death]))
        notes = (
            []
            if any(line.key == "birth_date" for line in lines)
            else ["No date of birth, year of birth or age was found, and it is required: add birth_date."]
        )
        return self.rule("patient", table, lines, notes)

    def _table_of_people(self, visits: TableFound | None) -> TableFound | None:
        """The table that says most about people where none has them for its rows."""

        def says(table: TableFound) -> int:
            return len({"birth_date", "birth_year", "age", "sex"} & set(columns_for(table, "patient")))

        named = [table for table in self.tables if patient_reference(table, (), ())]
        return max(named, key=lambda table: (says(table), table is visits), default=None)

    def _birth(self, table: TableFound, columns: Mapping[str, str]) -> list[Line]:
        if "birth_date" in columns:
            column = table[columns["birth_date"]]
            there = [Line("keep", "{ column = " + quoted(column.name) + ", present = true }")] if column.nulls else []
            return [*there, self.time("birth_date", column)]
        if "birth_year" in columns:
            column = table[columns["birth_year"]]
            return [Line("birth_date", choice(column.name, **{"as": "year"}), self.seen(column))]
        if "age" not in columns:
            return []
        column = table[columns["age"]]
        seen = self.seen(column)
        if "age_year" in columns:
            return [Line("birth_date", choice(column.name, **{"as": "age_in_year", "year": columns["age_year"]}), seen)]
        if column.kind in ("integer", "number"):
            return [Line("birth_date", choice(column.name, **{"as": "age_years"}), f"{seen}; on the nominal day")]
        return [Line("birth_date", choice(column.name, **{"as": "age_band"}), f"{seen}; on the nominal day")]

    def _coverage(self, table: TableFound) -> Proposed | None:
        assert table.role is not None
        whose = patient_reference(table, self.tables, self.references)
        payer = self.leads(table, {"payer_id": "payer"})
        if not whose or not payer:
            return None
        self.used.add(table.name)
        times = [self.time(key, table[column]) for key, column in table.role.columns.items()]
        return self.rule("coverage", table, [Line("file", quoted(table.name)), self.whose(table), *payer, *times])

    def _encounter(self, table: TableFound) -> Proposed:
        assert table.role is not None
        self.used.add(table.name)
        columns = table.role.columns
        lines = [Line("file", quoted(table.name)), self._key("encounter_id", table), self.whose(table)]
        start = columns.get("start_datetime")
        if start:
            if table[start].nulls:
                lines.insert(1, Line("keep", "{ column = " + quoted(start) + ", present = true }"))
            lines.append(self.time("start_datetime", table[start]))
            end = columns.get("end_datetime")
            if end and end != start:
                lines.append(self.time("end_datetime", table[end]))
        elif table.key is not None:
            lines.append(Line("order_by", quoted(table.key.columns[0]), "perhaps: there is no date"))
        usual = self._usual_class(table)
        column = columns.get("encounter_class")
        if column and known_words("encounter_class", table[column]):
            lines.append(self.words("encounter_class", table[column], usual))
        else:
            lines.append(Line("encounter_class", constant(usual), "perhaps: by the table's name"))
        lines += self.leads(table, {"organization_id": "organization", "practitioner_id": "practitioner"})
        return self.rule("encounter", table, lines)

    def _usual_class(self, table: TableFound) -> str:
        said = set(cut(table.name))
        if said & {"admissions", "admission", "hospitalizations", "inpatient", "icustays"}:
            return "IMP"
        return "EMER" if said & {"edstays", "ed", "emergency"} else "AMB"
