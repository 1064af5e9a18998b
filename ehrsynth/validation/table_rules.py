"""What holds between columns and between tables, as conditions in SQL over the rows of a `Store`.

A rule is a condition that is true where something is wrong. All rules of a table are asked in one query, with each
table that it leads to joined once: rows pass by once, and DuckDB keeps no more of them than the joins need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ehrsynth.schema import TableSchema
from ehrsynth.validation.table_store import quoted

__all__ = ["OLDEST_YEARS", "Moment", "Rule", "Tally", "rules_between"]

OLDEST_YEARS = 120
_YEAR_DAYS = 365.2425


@dataclass(frozen=True)
class Rule:
    """`wrong` is true where the check `check` finds something in `column`; `value` is the column shown."""

    check: str
    column: str
    wrong: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Tally:
    """`seen` is true where a rule of the kind `name` had something to look at."""

    name: str
    seen: str


@dataclass(frozen=True)
class Moment:
    """A date or time of a row of `alias`: the first and last day that it may mean, and its instant if that is known.

    A date that is exact to the year or month only means any of its days; a time that is exact to the day has no clock.
    """

    alias: str
    column: str
    is_date: bool
    precision: str = ""
    coarse: tuple[str, ...] = ()

    @staticmethod
    def of(table: TableSchema, name: str, alias: str) -> Moment:
        """Return the moment of a column of `table`, joined as `alias`."""
        column = table[name]
        precision = column.precision_column
        known = table[precision].enum if precision else ()
        return Moment(
            alias,
            name,
            column.type == "date",
            precision,
            tuple(u for u in ("year", "month") if u in known or not known),
        )

    @property
    def raw(self) -> str:
        """The column."""
        return f"{self.alias}.{quoted(self.column)}"

    @property
    def known(self) -> str:
        """Whether there is a value."""
        return f"{self.raw} IS NOT NULL"

    @property
    def first(self) -> str:
        """The first day that it may be."""
        return self._day("date_trunc('{unit}', {day})::DATE")

    @property
    def last(self) -> str:
        """The last day that it may be."""
        return self._day("(date_trunc('{unit}', {day}) + INTERVAL 1 {unit} - INTERVAL 1 DAY)::DATE")

    @property
    def clock(self) -> str:
        """The instant, nothing where only the day is known."""
        if self.is_date:
            return "NULL::TIMESTAMP"
        if not self.precision:
            return self.raw
        coarse = f"coalesce({self.alias}.{quoted(self.precision)}, '') IN ('year', 'month', 'day')"
        return f"CASE WHEN {coarse} THEN NULL ELSE {self.raw} END"

    def later_than(self, other: Moment) -> str:
        """Return the condition that this is surely later: by the clock if both know it, else by days."""
        by_day = f"{self.first} > {other.last}"
        if self.is_date or other.is_date:
            return by_day
        return f"coalesce({self.clock} > {other.clock}, {by_day})"

    def _day(self, coarse: str) -> str:
        day = self.raw if self.is_date else f"{self.raw}::DATE"
        if not self.precision or not self.coarse:
            return day
        exact = f"{self.alias}.{quoted(self.precision)}"
        cases = " ".join(f"WHEN '{unit}' THEN {coarse.format(unit=unit, day=day)}" for unit in self.coarse)
        return f"(CASE {exact} {cases} ELSE {day} END)"


def rules_between(
    table: TableSchema, present: Sequence[str], patients: TableSchema, encounters: TableSchema
) -> Iterator[Rule | Tally]:
    """Yield the rules of a table whose rows are ``r``; ``k_<column>`` is the row that a key leads to.

    `present` are the tables that are there; where an encounter is asked for, ``owner`` is its patient's row, and
    ``limits`` says whom the row's code can befall.
    """
    for key in table.foreign_keys:
        if key.reference_table in present:
            here, there = f"r.{quoted(key.column)} IS NOT NULL", f"k_{key.column}.pk IS NULL"
            yield Tally("foreign keys", here)
            yield Rule("orphan", key.column, f"{here} AND {there}", key.column, f"Table: {key.reference_table}.")
    for first, second in table.order:
        if table[first].type in ("date", "datetime"):
            wrong = Moment.of(table, first, "r").later_than(Moment.of(table, second, "r"))
        else:
            wrong = f"r.{quoted(first)} > r.{quoted(second)}"
        yield Rule("reversed-order", first, wrong, first, f"Second: {second}.")
    leads = {key.column: key.reference_table for key in table.foreign_keys}
    if "patient_id" in leads and "patient" in present:
        yield from _life(table, patients)
        if table.sex_age_limits:
            yield from _limits(table, patients)
    if "encounter_id" in leads and "encounter" in present:
        if "patient" in present:
            other = "owner.n IS NOT NULL AND k_patient_id.n IS NOT NULL AND owner.n <> k_patient_id.n"
            yield Rule("other-patients-encounter", "encounter_id", other, "encounter_id")
        yield from _encounter(table, encounters)


def _life(table: TableSchema, patients: TableSchema) -> Iterator[Rule | Tally]:
    birth, death = (Moment.of(patients, name, "k_patient_id") for name in ("birth_date", "death_datetime"))
    for name in table.within_life:
        here = Moment.of(table, name, "r")
        yield Tally("dates within lives", f"{here.known} AND k_patient_id.pk IS NOT NULL")
        yield Rule("before-birth", name, birth.later_than(here), name)
        yield Rule("after-death", name, here.later_than(death), name)
        yield Rule("implausible-age", name, f"{here.last} - {birth.first} > {OLDEST_YEARS * _YEAR_DAYS}", name)


def _limits(table: TableSchema, patients: TableSchema) -> Iterator[Rule | Tally]:
    yield Tally("codes by sex and age", "r.code IS NOT NULL AND k_patient_id.pk IS NOT NULL")
    sex = "CASE k_patient_id.sex WHEN 'female' THEN 1 WHEN 'male' THEN 2 END"
    yield Rule("impossible-for-sex", "code", f"limits.sex > 0 AND limits.sex <> {sex}", "code")
    birth = Moment.of(patients, "birth_date", "k_patient_id")
    # The first date says when it began.
    for name in table.within_life[:1]:
        here = Moment.of(table, name, "r")
        at_most = f"({here.last} - {birth.first} + 1) / {_YEAR_DAYS}"
        at_least = f"({here.first} - {birth.last} - 1) / {_YEAR_DAYS}"
        # What happened before birth is a finding of its own.
        wrong = f"{at_most} >= 0 AND ({at_most} < limits.youngest OR {at_least} >= limits.oldest)"
        yield Rule("impossible-for-age", "code", wrong, "code", f"By {name}.")


def _encounter(table: TableSchema, encounters: TableSchema) -> Iterator[Rule | Tally]:
    start, end = (Moment.of(encounters, name, "k_encounter_id") for name in ("start_datetime", "end_datetime"))
    for name in table.within_encounter:
        here = Moment.of(table, name, "r")
        yield Tally("dates within encounters", f"{here.known} AND k_encounter_id.pk IS NOT NULL")
        # At the grain of a day; an encounter whose end is not known may go on.
        early, late = f"{here.last} < {start.first}", f"{here.first} > {end.last}"
        yield Rule("outside-encounter", name, f"coalesce({early}, false) OR coalesce({late}, false)", name)
