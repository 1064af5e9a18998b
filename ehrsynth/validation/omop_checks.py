"""The checks of the OHDSI Data Quality Dashboard, by its published list, as queries over loaded tables.

Names, categories and thresholds are the dashboard's (``output_schemas/omop_cdm_5.4``); what counts as a violation, and
what the share is of, follows its SQL. A check has failed if the share of violations is above its threshold. It does not
apply where its table or field is missing or empty, or nothing is there that it could count (for cdmTable and cdmField
that is the failure). One query counts many checks of a table: a list of 2,500 takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from ehrsynth.schema import omop, omop_rows
from ehrsynth.validation.omop_source import Loaded

__all__ = ["Outcome", "Rule", "rules", "run"]

GENDERS = {"male": 8507, "female": 8532}
_GRACE_DAYS = 60
_VISIT_DAYS = 7


@dataclass(frozen=True)
class Rule:
    """One check of the published list.

    Attributes
    ----------
    check, table, field : str
    threshold : float
        Percent that may violate it.
    value : str
        What it is held against.
    concepts : tuple of int
        Of checks of concepts: the concept, or several together.
    unit_concept_id : int or None
    """

    check: str
    table: str
    field: str
    threshold: float
    value: str
    concepts: tuple[int, ...]
    unit_concept_id: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of a check: rows that violate it, of how many; `applies` is False where it could not be made."""

    rule: Rule
    violated: int
    total: int
    applies: bool = True

    @property
    def failed(self) -> bool:
        """Whether more rows violate it than may."""
        share = 100.0 * self.violated / self.total if self.total else 0.0
        return self.applies and self.violated > 0 and (self.rule.threshold == 0 or share > self.rule.threshold)


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """Return the published list."""
    return tuple(
        Rule(
            check=row["check"],
            table=row["table"],
            field=row["field"],
            threshold=float(row["threshold"] or 0),
            value=row["value"],
            concepts=tuple(int(one) for one in row["concept_id"].split(",") if one),
            unit_concept_id=int(row["unit_concept_id"]) if row["unit_concept_id"] else None,
        )
        for row in omop_rows("checks")
    )


def run(connection: Any, loaded: Loaded, *, today: date) -> Iterator[Outcome]:
    """Yield the outcome of every check of the list."""
    counter = _Counter(connection, loaded, today)
    by_table: dict[str, list[Rule]] = {}
    for rule in rules():
        by_table.setdefault(rule.table, []).append(rule)
    for table, listed in by_table.items():
        yield from counter.table(table, listed)


class _Counter:
    def __init__(self, connection: Any, loaded: Loaded, today: date) -> None:
        self.connection, self.loaded, self.today = connection, loaded, today

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table with rows, and columns of it, are there."""
        return bool(self.loaded.rows.get(table)) and set(columns) <= set(self.loaded.columns.get(table, ()))

    def table(self, table: str, listed: Sequence[Rule]) -> Iterator[Outcome]:
        """Yield the outcomes of a table's checks."""
        counts: list[tuple[Rule, str, str]] = []
        for rule in listed:
            made = getattr(self, f"_{rule.check}", None)
            if rule.check in ("cdmTable", "cdmField"):
                yield self._presence(rule)
            elif rule.check == "cdmDatatype":
                yield self._datatype(rule)
            elif not self.has(table, *([rule.field] if rule.field else [])):
                yield Outcome(rule, 0, 0, applies=False)
            elif not rule.concepts and (pair := self._counted(rule)) is not None:
                counts.append((rule, *pair))
            elif made is not None:
                yield made(rule)
            else:
                yield Outcome(rule, 0, 0, applies=False)
        yield from self._together(table, counts)
        yield from self._concepts(table, [rule for rule in listed if rule.concepts])

    # -- what one query per table counts: (condition of a violation, condition of being counted) -----------------------

    def _counted(self, rule: Rule) -> tuple[str, str] | None:
        field, there = _name(rule.field), f"{_name(rule.field)} IS NOT NULL"
        match rule.check:
            case "isRequired" | "measureValueCompleteness":
                return f"{field} IS NULL", "true"
            case "standardConceptRecordCompleteness" | "sourceConceptRecordCompleteness":
                numbers = rule.field == "unit_concept_id" and rule.table in ("measurement", "observation")
                if numbers and self.has(rule.table, "value_as_number"):
                    return f"{field} = 0 AND value_as_number IS NOT NULL", "value_as_number IS NOT NULL"
                return f"{field} = 0", "true"
            case "plausibleValueLow" | "plausibleValueHigh":
                sign = "<" if rule.check == "plausibleValueLow" else ">"
                return f"{self._comparable(rule)} {sign} {self._bound(rule.value)}", there
            case "plausibleStartBeforeEnd":
                if not self.has(rule.table, rule.value):
                    return None
                both = f"{there} AND {_name(rule.value)} IS NOT NULL"
                return f"{both} AND CAST({field} AS DATE) > CAST({_name(rule.value)} AS DATE)", both
            case "plausibleTemporalAfter":
                other, column = rule.value.split(".")
                if other == "person" or not self.has(rule.table, column):
                    return None
                return f"CAST({_name(column)} AS DATE) > CAST({field} AS DATE)", "true"
        return None

    def _comparable(self, rule: Rule) -> str:
        kind = omop()[rule.table][rule.field].type
        return f"CAST({_name(rule.field)} AS DATE)" if kind in ("date", "datetime") else _name(rule.field)

    def _bound(self, value: str) -> str:
        if value.upper().startswith("DATEADD"):
            return f"DATE '{self.today + timedelta(days=1)}'"
        if value.upper().startswith("YEAR"):
            return str(self.today.year + 1)
        if len(value) == 8 and value.isdigit():
            return f"DATE '{value[:4]}-{value[4:6]}-{value[6:]}'"
        return str(float(value))

    def _together(self, table: str, counts: list[tuple[Rule, str, str]]) -> Iterator[Outcome]:
        if not counts:
            return
        parts = [f"count(*) FILTER ({bad}), count(*) FILTER ({base})" for _, bad, base in counts]
        row = self._one(f"SELECT {', '.join(parts)} FROM {_name(table)}")
        for at, (rule, _, _) in enumerate(counts):
            yield self._outcome(rule, row[2 * at], row[2 * at + 1])

    def _outcome(self, rule: Rule, violated: int, total: int) -> Outcome:
        return Outcome(rule, violated, total, applies=total > 0)

    def _one(self, sql: str) -> Any:
        return self.connection.execute(sql).fetchone()

    # -- presence and type ---------------------------------------------------------------------------------------------

    def _presence(self, rule: Rule) -> Outcome:
        if rule.table not in self.loaded.rows:
            return Outcome(rule, 1, 1, applies=rule.check == "cdmTable")
        missing = rule.check == "cdmField" and rule.field not in self.loaded.columns[rule.table]
        return Outcome(rule, int(missing), 1)

    def _datatype(self, rule: Rule) -> Outcome:
        if not self.has(rule.table, rule.field):
            return Outcome(rule, 0, 0, applies=False)
        bad, _ = self.loaded.not_integers.get((rule.table, rule.field), (0, ""))
        return Outcome(rule, bad, self.loaded.rows[rule.table])

    # -- tables --------------------------------------------------------------------------------------------------------

    def _measurePersonCompleteness(self, rule: Rule) -> Outcome:  # noqa: N802 - the dashboard's name
        if not self.has("person", "person_id"):
            return Outcome(rule, 0, 0, applies=False)
        sql = f"SELECT count(*) FROM person p WHERE p.person_id NOT IN (SELECT person_id FROM {_name(rule.table)}"
        violated = self._one(f"{sql} WHERE person_id IS NOT NULL)")[0]
        return Outcome(rule, violated, self.loaded.rows["person"])

    def _measureConditionEraCompleteness(self, rule: Rule) -> Outcome:  # noqa: N802
        if not self.has("condition_occurrence", "person_id"):
            return Outcome(rule, 0, 0, applies=False)
        sql = (
            "SELECT count(DISTINCT person_id) FILTER (person_id NOT IN (SELECT person_id FROM condition_era)), "
            "count(DISTINCT person_id) FROM condition_occurrence"
        )
        return self._outcome(rule, *self._one(sql))

    # -- keys and concepts ---------------------------------------------------------------------------------------------

    def _isPrimaryKey(self, rule: Rule) -> Outcome:  # noqa: N802
        field = _name(rule.field)
        groups = f"SELECT count(*) n FROM {_name(rule.table)} GROUP BY {field} HAVING n > 1"
        violated = self._one(f"SELECT coalesce(sum(n), 0) FROM ({groups})")[0]
        return Outcome(rule, int(violated), self.loaded.rows[rule.table])

    def _isForeignKey(self, rule: Rule) -> Outcome:  # noqa: N802
        target = rule.value
        schema = omop()[rule.table]
        column = next((key.reference_column for key in schema.foreign_keys if key.column == rule.field), f"{target}_id")
        vocabulary = target in ("concept", "domain", "concept_class", "vocabulary", "relationship")
        # Without the vocabularies nothing can be said of concepts.
        if vocabulary and not self.has(target, column):
            return Outcome(rule, 0, 0, applies=False)
        if target not in self.loaded.rows:
            sql = f"SELECT count({_name(rule.field)}) FROM {_name(rule.table)}"
        else:
            sql = (
                f"SELECT count(*) FROM {_name(rule.table)} t ANTI JOIN {_name(target)} f "
                f"ON t.{_name(rule.field)} = f.{_name(column)} WHERE t.{_name(rule.field)} IS NOT NULL"
            )
        return Outcome(rule, self._one(sql)[0], self.loaded.rows[rule.table])

    def _of_concept(self, rule: Rule, violation: str) -> Outcome:
        if not self.has("concept", "concept_id", "domain_id", "concept_class_id", "standard_concept"):
            return Outcome(rule, 0, 0, applies=False)
        sql = (
            f"SELECT count(*) FROM {_name(rule.table)} t JOIN concept co ON t.{_name(rule.field)} = co.concept_id "
            f"WHERE co.concept_id != 0 AND ({violation})"
        )
        return Outcome(rule, self._one(sql)[0], self.loaded.rows[rule.table])

    def _fkDomain(self, rule: Rule) -> Outcome:  # noqa: N802
        # The dashboard writes several as "Procedure OR Regimen".
        domains = ", ".join(f"'{one.strip()}'" for one in rule.value.replace(" OR ", ",").split(","))
        return self._of_concept(rule, f"co.domain_id NOT IN ({domains})")

    def _fkClass(self, rule: Rule) -> Outcome:  # noqa: N802
        return self._of_concept(rule, f"co.concept_class_id != '{rule.value}'")

    def _isStandardValidConcept(self, rule: Rule) -> Outcome:  # noqa: N802
        invalid = " OR co.invalid_reason IS NOT NULL" if self.has("concept", "invalid_reason") else ""
        return self._of_concept(rule, f"co.standard_concept IS DISTINCT FROM 'S'{invalid}")

    def _sourceValueCompleteness(self, rule: Rule) -> Outcome:  # noqa: N802
        if not self.has(rule.table, rule.value):
            return Outcome(rule, 0, 0, applies=False)
        field = _name(rule.field)
        distinct = f"count(DISTINCT {field}) {{0}} + count(DISTINCT CASE WHEN {field} IS NULL THEN 1 END) {{0}}"
        bad = distinct.format(f"FILTER ({_name(rule.value)} = 0)")
        return self._outcome(rule, *self._one(f"SELECT {bad}, {distinct.format('')} FROM {_name(rule.table)}"))

    # -- times ---------------------------------------------------------------------------------------------------------

    def _against(self, rule: Rule, other: str, violation: str, *, whole: bool = False) -> Outcome:
        field = f"t.{_name(rule.field)}"
        total = "count(*)" if whole else f"count({field})"
        sql = (
            f"SELECT count(*) FILTER (o.person_id IS NOT NULL AND {violation}), {total} "
            f"FROM {_name(rule.table)} t {other}"
        )
        return self._outcome(rule, *self._one(sql))

    def _plausibleTemporalAfter(self, rule: Rule) -> Outcome:  # noqa: N802
        if not self.has("person", "birth_datetime", "year_of_birth") or not self.has(rule.table, "person_id"):
            return Outcome(rule, 0, 0, applies=False)
        born = "coalesce(CAST(o.birth_datetime AS DATE), make_date(o.year_of_birth, 6, 1))"
        join = (
            "LEFT JOIN person o ON t.person_id = o.person_id"
            if rule.table != "person"
            else "JOIN person o USING (person_id)"
        )
        return self._against(rule, join, f"{born} > CAST(t.{_name(rule.field)} AS DATE)", whole=True)

    def _plausibleAfterBirth(self, rule: Rule) -> Outcome:  # noqa: N802
        if not self.has("person", "year_of_birth") or not self.has(rule.table, "person_id"):
            return Outcome(rule, 0, 0, applies=False)
        known = self.loaded.columns["person"]
        parts = [f"coalesce(o.{name}, 1)" if name in known else "1" for name in ("month_of_birth", "day_of_birth")]
        born = f"make_date(o.year_of_birth, {parts[0]}, {parts[1]})"
        if "birth_datetime" in known:
            born = f"coalesce(CAST(o.birth_datetime AS DATE), {born})"
        violation = f"CAST(t.{_name(rule.field)} AS DATE) < {born}"
        return self._against(rule, "LEFT JOIN person o ON t.person_id = o.person_id", violation)

    def _after_death(self, rule: Rule, *, whole: bool) -> Outcome:
        if not self.has("death", "person_id", "death_date") or not self.has(rule.table, "person_id"):
            return Outcome(rule, 0, 0, applies=False)
        violation = f"CAST(t.{_name(rule.field)} AS DATE) > o.death_date + {_GRACE_DAYS}"
        return self._against(rule, "JOIN death o ON t.person_id = o.person_id", violation, whole=whole)

    def _plausibleBeforeDeath(self, rule: Rule) -> Outcome:  # noqa: N802
        return self._after_death(rule, whole=False)

    def _plausibleDuringLife(self, rule: Rule) -> Outcome:  # noqa: N802
        return self._after_death(rule, whole=True)

    def _withinVisitDates(self, rule: Rule) -> Outcome:  # noqa: N802
        visit = ("visit_occurrence_id", "visit_start_date", "visit_end_date")
        if not self.has("visit_occurrence", *visit) or not self.has(rule.table, "visit_occurrence_id"):
            return Outcome(rule, 0, 0, applies=False)
        day = f"CAST(t.{_name(rule.field)} AS DATE)"
        sql = (
            f"SELECT count(*) FILTER ({day} < v.visit_start_date - {_VISIT_DAYS} OR {day} > v.visit_end_date + "
            f"{_VISIT_DAYS}), count(*) FROM {_name(rule.table)} t JOIN visit_occurrence v USING (visit_occurrence_id)"
        )
        return self._outcome(rule, *self._one(sql))

    # -- concepts ------------------------------------------------------------------------------------------------------

    def _concepts(self, table: str, listed: list[Rule]) -> Iterator[Outcome]:
        """Yield the outcomes of checks of single concepts, from one count by concept and sex, and one by unit."""
        listed = [rule for rule in listed if self.has(table, rule.field)]
        by: dict[str, Callable[[list[Rule]], Iterator[Outcome]]] = {
            "plausibleGender": self._genders,
            "plausibleGenderUseDescendants": self._genders_of_descendants,
            "plausibleUnitConceptIds": self._units,
        }
        for check, count in by.items():
            some = [rule for rule in listed if rule.check == check]
            if some:
                yield from count(some)
        for rule in listed:
            if rule.check not in by:
                yield self._value(rule)

    def _by_sex(self, some: list[Rule], join: str, key: str) -> Iterator[Outcome]:
        if not self.has("person", "person_id", "gender_concept_id"):
            yield from (Outcome(rule, 0, 0, applies=False) for rule in some)
            return
        counted: dict[int, dict[int, int]] = {}
        table, field = _name(some[0].table), _name(some[0].field)
        sql = f"SELECT {key}, p.gender_concept_id, count(*) FROM {table} t {join.format(field=field)} "
        for concept, sex, n in self.connection.execute(
            f"{sql} LEFT JOIN person p ON t.person_id = p.person_id GROUP BY ALL"
        ).fetchall():
            counted.setdefault(concept, {})[sex] = n
        for rule in some:
            found = [pair for one in rule.concepts for pair in counted.get(one, {}).items()]
            right = GENDERS[rule.value.lower()]
            wrong = sum(n for sex, n in found if sex is not None and sex != right)
            yield self._outcome(rule, wrong, sum(n for _, n in found))

    def _genders(self, some: list[Rule]) -> Iterator[Outcome]:
        return self._by_sex(some, "", f"t.{_name(some[0].field)}")

    def _genders_of_descendants(self, some: list[Rule]) -> Iterator[Outcome]:
        if not self.has("concept_ancestor", "ancestor_concept_id", "descendant_concept_id"):
            return (Outcome(rule, 0, 0, applies=False) for rule in some)
        asked = ", ".join(str(one) for rule in some for one in rule.concepts)
        join = "JOIN concept_ancestor a ON a.descendant_concept_id = t.{field} "
        return self._by_sex(some, join + f"AND a.ancestor_concept_id IN ({asked})", "a.ancestor_concept_id")

    def _units(self, some: list[Rule]) -> Iterator[Outcome]:
        table, field = some[0].table, _name(some[0].field)
        if not self.has(table, "unit_concept_id", "value_as_number"):
            yield from (Outcome(rule, 0, 0, applies=False) for rule in some)
            return
        counted: dict[int, dict[int, int]] = {}
        sql = f"SELECT {field}, coalesce(unit_concept_id, -1), count(*) FROM {_name(table)}"
        for concept, unit, n in self.connection.execute(
            f"{sql} WHERE value_as_number IS NOT NULL GROUP BY ALL"
        ).fetchall():
            counted.setdefault(concept, {})[unit] = n
        for rule in some:
            found = counted.get(rule.concepts[0], {})
            allowed = {int(one) for one in rule.value.split(",")}
            yield self._outcome(rule, sum(n for unit, n in found.items() if unit not in allowed), sum(found.values()))

    def _value(self, rule: Rule) -> Outcome:
        if not self.has(rule.table, "unit_concept_id", "value_as_number"):
            return Outcome(rule, 0, 0, applies=False)
        sign = "<" if rule.check == "plausibleValueLow" else ">"
        sql = (
            f"SELECT count(*) FILTER (value_as_number {sign} {float(rule.value)}), count(*) FROM {_name(rule.table)} "
            f"WHERE {_name(rule.field)} = {rule.concepts[0]} AND unit_concept_id = {rule.unit_concept_id} "
            "AND value_as_number IS NOT NULL"
        )
        return self._outcome(rule, *self._one(sql))


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
