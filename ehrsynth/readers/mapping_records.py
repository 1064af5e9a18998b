"""Canonical tables out of the rows of a mapping's rules: keys, references, encounters, order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import SourceError
from ehrsynth.readers import assembly
from ehrsynth.readers.account import Account, Known, is_true, positions
from ehrsynth.readers.mapping_events import MAIN_TIME, PATIENT, Stays, day_of, fit_into_lives, link, put_in_order
from ehrsynth.readers.mapping_grammar import Recipe, Rule, SourceMapping
from ehrsynth.readers.mapping_source import NUMBER, Sources, ordering
from ehrsynth.readers.mapping_values import OUT, carry_out
from ehrsynth.readers.omop_time import ABSENT, DAY, Lives, as_times, seconds
from ehrsynth.readers.source import SourceTable
from ehrsynth.schema import TableSchema, clinical

__all__ = ["Building"]

_NEVER = np.iinfo(np.int64).max

DEFAULTS = {
    "patient": {"sex": "unknown"},
    "encounter": {"status": "finished"},
    "condition": {"category": "encounter-diagnosis"},
    "observation": {"status": "final"},
    "medication_request": {"status": "unknown", "intent": "order"},
    "procedure": {"status": "completed"},
    "immunization": {"status": "completed"},
    "device": {"status": "unknown"},
    "coverage": {"status": "active"},
}
"""What required columns are where the mapping says nothing."""

_HEAVIEST = ("IMP", "ACUTE", "NONAC", "OBSENC", "SS", "EMER", "HH", "PRENC", "FLD", "VR", "AMB")
"""Of the classes that the rows of a day ask for, the encounter has the first of these."""


class Building:
    """The canonical tables of a source while they are built.

    Parameters
    ----------
    mapping : SourceMapping
    sources : Sources
    account : Account
    """

    def __init__(self, mapping: SourceMapping, sources: Sources, account: Account) -> None:
        self.mapping, self.sources, self.account = mapping, sources, account
        self.known: dict[str, Known] = {}
        self.tables: dict[str, pa.Table] = {}
        self.lives = Lives(birth_day=np.zeros(0, np.int64), death=np.zeros(0, np.int64))

    def run(self) -> dict[str, pa.Table]:
        """Return every table that the mapping has rules for."""
        schema = clinical()
        events: list[tuple[Rule, TableSchema, SourceTable]] = []
        own: list[tuple[Rule, SourceTable]] = []
        for table in schema.tables:
            rules = [rule for rule in self.mapping.of(table.name) if not rule.sources]
            self._check_required(table)
            parts = [(rule, self._rows(rule, table)) for rule in rules]
            if table.name == "patient":
                parts = [(rule, self._people(rule, table, rows)) for rule, rows in parts]
                self._keep_lives(table, parts)
            elif table.has_patient:
                parts = [(rule, self._of_patients(rule, table, rows)) for rule, rows in parts]
            if "encounter_id" in table and table.name != "encounter":
                events += [(rule, table, rows) for rule, rows in parts]
            elif table.name == "encounter":
                own = parts
                self._keep_encounters(own)
            elif parts:
                self._finish(table, parts)
        stays = self._encounters(schema["encounter"], own, [(table, rows) for _, table, rows in events])
        linked: dict[str, list[tuple[Rule, SourceTable]]] = {}
        for rule, table, rows in events:
            rows = link(rows, table, stays, self.account, _columns(rule))
            loose = int(rows[f"{OUT}encounter_id"].null_count)
            if loose:
                self.account.note(f"{loose:,} rows of {rows.name} lie in no encounter.")
            linked.setdefault(table.name, []).append((rule, rows))
        for name, parts in linked.items():
            self._finish(schema[name], parts)
        return self.tables

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self, rule: Rule, table: TableSchema) -> SourceTable:
        rows = carry_out(rule, table, self.sources, self.mapping, self.account)
        for name, word in DEFAULTS.get(table.name, {}).items():
            values = rows.get(OUT + name)
            rows = rows.with_column(OUT + name, pc.coalesce(values.cast(pa.string()), word))
        key = table.primary_key
        if OUT + key not in rows:
            rows = rows.with_column(OUT + key, _counted_keys(rows, rule))
        for column in table.columns:
            if not column.required or column.name in (key, "patient_id", "sequence") or OUT + column.name not in rows:
                continue
            source = _columns(rule).get(column.name, "")
            rows = self.account.refuse(
                rows,
                is_true(pc.is_null(rows[OUT + column.name])),
                problem=f"There is no value for {column.name}.",
                reason=f"{column.name} is empty",
                column=source or column.name,
                hint="The column is required.",
            )
        return self._keys(rule, table, rows)

    def _keys(self, rule: Rule, table: TableSchema, rows: SourceTable) -> SourceTable:
        key, column = table.primary_key, _columns(rule).get(table.primary_key) or table.primary_key
        source = rows[OUT + key]
        if key in rule.columns and _is_plain(rule.columns[key]):
            raw = self.sources.table(self.sources.stem(rule.file, rule)).get(column)
            source = raw.cast(pa.string())
        rows = rows.with_column(column, rows[OUT + key])
        rows = self.account.keys(rows, column, of=table.name)
        before = self.known.get(table.name)
        if before is not None:
            rows = self.account.refuse(
                rows,
                is_true(pc.is_in(rows[column], value_set=before.taken)),
                problem="The key {value!r} is there twice.",
                reason=f"{column} is there twice",
                column=column,
                hint="Another rule made it already.",
            )
            taken = pa.chunked_array([before.taken, *rows[OUT + key].chunks])
            source = pa.chunked_array([before.source, *source.chunks])
        else:
            taken = rows[OUT + key]
        self.known[table.name] = Known(table.name, taken, source)
        return self._references(rule, table, rows)

    def _references(self, rule: Rule, table: TableSchema, rows: SourceTable) -> SourceTable:
        for reference in table.foreign_keys:
            name, target = reference.column, self.known.get(reference.reference_table)
            if OUT + name not in rows or reference.reference_table in ("patient", "encounter"):
                continue
            column = _columns(rule).get(name) or name
            if target is None:
                there = is_true(pc.is_valid(rows[OUT + name]))
                what = f"there is no rule for {reference.reference_table}: reference left out"
                self.account.adjust(rows, there, what=what, column=column)
                rows = rows.with_column(OUT + name, pa.nulls(len(rows), pa.string()))
                continue
            rows = rows.with_column(column, rows[OUT + name])
            rows = self.account.references(rows, column, target, required=table[name].required)
        return rows

    def _of_patients(self, rule: Rule, table: TableSchema, rows: SourceTable) -> SourceTable:
        column = _columns(rule).get("patient_id") or "patient_id"
        rows = rows.with_column(column, rows[f"{OUT}patient_id"])
        rows = self.account.references(rows, column, self.known["patient"], required=True)
        at = positions(rows[f"{OUT}patient_id"], self.known["patient"].taken)
        rows = rows.with_column(PATIENT, pa.array(at))
        rows = fit_into_lives(rows, table, self.lives, self.account, _columns(rule))
        rows = put_in_order(rows, table, self.account, _columns(rule))
        start = f"{OUT}start_datetime"
        if table.name == "encounter" and start in rows and not rule.order_by and "sequence" not in rule.columns:
            rows = self.account.refuse(
                rows,
                is_true(pc.is_null(rows[start])),
                problem="The encounter has no start.",
                reason="no start",
                column=_columns(rule)["start_datetime"] or "start_datetime",
                hint="Fill it in, or add order_by to the rule.",
            )
        if table.name != "encounter" and f"{OUT}encounter_id" in rows and "encounter" in self.known:
            column = _columns(rule).get("encounter_id") or "encounter_id"
            rows = rows.with_column(column, rows[f"{OUT}encounter_id"])
            rows = self.account.references(rows, column, self.known["encounter"], required=False)
        return rows

    def _people(self, rule: Rule, table: TableSchema, rows: SourceTable) -> SourceTable:
        column = _columns(rule).get("death_datetime") or "death_datetime"
        if f"{OUT}death_datetime" in rows:
            death, birth = seconds(rows[f"{OUT}death_datetime"]), seconds(rows[f"{OUT}birth_date"])
            bad = (death != ABSENT) & (death // DAY < birth // DAY)
            rows = self.account.refuse(
                rows,
                bad,
                problem="The patient died before birth.",
                reason="died before birth",
                column=column,
                hint="Correct one of the two.",
            )
        if self.mapping.time_basis == "order" and f"{OUT}record_start_date" not in rows:
            # Without dates the ages of the patients hold on the nominal day.
            origin = int(np.datetime64(self.mapping.origin, "D").astype(np.int64)) * DAY
            rows = rows.with_column(f"{OUT}record_start_date", as_times(np.full(len(rows), origin)))
        return put_in_order(rows, table, self.account, _columns(rule))

    def _keep_lives(self, table: TableSchema, parts: list[tuple[Rule, SourceTable]]) -> None:
        births, deaths = [], []
        for _, rows in parts:
            births.append(seconds(rows[f"{OUT}birth_date"]) // DAY)
            death = seconds(rows.get(f"{OUT}death_datetime", pa.timestamp("s")))
            exact = rows.get(f"{OUT}death_precision")
            last = np.where(is_true(pc.equal(exact, "day")), death // DAY * DAY + DAY - 1, death)
            deaths.append(np.where(death == ABSENT, _NEVER, last))
        keys = pa.chunked_array([chunk for _, rows in parts for chunk in rows[f"{OUT}patient_id"].chunks], pa.string())
        self.known["patient"] = Known("patient", keys, pa.chunked_array([self.known["patient"].source]))
        self.lives = Lives(birth_day=np.concatenate(births), death=np.concatenate(deaths))

    def _keep_encounters(self, parts: list[tuple[Rule, SourceTable]]) -> None:
        """Forget the keys of encounters that were set aside after their keys were read."""
        if parts:
            keys = [chunk for _, rows in parts for chunk in rows[f"{OUT}encounter_id"].chunks]
            source = pa.chunked_array([self.known["encounter"].source])
            self.known["encounter"] = Known("encounter", pa.chunked_array(keys, pa.string()), source)

    # -- encounters ----------------------------------------------------------------------------------------------------

    def _encounters(
        self,
        table: TableSchema,
        own: list[tuple[Rule, SourceTable]],
        events: list[tuple[TableSchema, SourceTable]],
    ) -> Stays:
        """Build the encounter table: the source's own, and one for each further day of the tables a rule names."""
        parts = [_canonical(rows, table, self.account) for _, rows in own]
        orders = [ordering(rows, rule.order_by) if rule.order_by else None for rule, rows in own]
        patients = [rows[PATIENT].to_numpy() for _, rows in own]
        stays = _stays(parts, patients)
        for rule in self.mapping.of("encounter"):
            if rule.sources:
                made, of = self._made(rule, stays, [pair for pair in events if pair[0].name in rule.sources])
                parts.append(made)
                patients.append(of)
                orders.append(None)
                stays = _stays(parts, patients)
        if not parts:
            return stays
        whole = pa.concat_tables(parts, promote_options="default")
        patient = np.concatenate(patients)
        if "sequence" not in whole.column_names:
            whole = whole.append_column("sequence", self._sequence(whole, patient, orders))
        order = assembly.patient_order(patient, pc.fill_null(whole["sequence"], _NEVER).to_numpy())
        self.tables["encounter"] = whole.take(pa.array(order))
        return stays

    def _sequence(
        self, whole: pa.Table, patient: npt.NDArray[np.int64], orders: list[npt.NDArray[Any] | None]
    ) -> pa.Array:
        start, end = (
            whole[name] if name in whole.column_names else pa.chunked_array([pa.nulls(len(whole), pa.timestamp("s"))])
            for name in ("start_datetime", "end_datetime")
        )
        if start.null_count == 0:
            return pa.array(assembly.encounter_sequence(patient, start, end))
        if any(order is None for order in orders):
            place = ".".join(map(str, self.mapping.of("encounter")[0].place))
            raise SourceError(
                "The order of encounters without a start is not known.",
                file=self.mapping.file,
                table="encounter",
                hint=f'Add order_by = "name of the column" to {place}, or start_datetime.',
            )
        rank = np.unique(np.concatenate([order for order in orders if order is not None]), return_inverse=True)[1]
        ranks = pa.chunked_array([pa.array(rank.astype(np.int64))]).cast(pa.timestamp("s"))
        return pa.array(assembly.encounter_sequence(patient, ranks, ranks))

    def _made(
        self, rule: Rule, stays: Stays, events: list[tuple[TableSchema, SourceTable]]
    ) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        recipe = rule.columns.get("encounter_class")
        usual = str(recipe.value) if recipe else "AMB"
        patients, days, weights = [], [], []
        rank = {name: at for at, name in enumerate(_HEAVIEST)}
        for table, rows in events:
            patient, day = rows[PATIENT].to_numpy(), day_of(rows, table)
            named = is_true(pc.is_valid(rows.get(f"{OUT}encounter_id")))
            loose = (day != ABSENT) & ~named
            loose[loose] = stays.on(patient[loose], day[loose]) < 0
            asked = rows.get(f"{OUT}encounter_class").to_pylist() if f"{OUT}encounter_class" in rows else []
            weight = np.array([rank.get(name, rank[usual]) for name in asked] or [rank[usual]] * len(rows))
            patients.append(patient[loose])
            days.append(day[loose])
            weights.append(np.minimum(weight, rank[usual])[loose])
        patient, day, weight = (
            np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64) for parts in (patients, days, weights)
        )
        order = np.lexsort((weight, day, patient))
        patient, day, weight = patient[order], day[order], weight[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (patient[1:] != patient[:-1]) | (day[1:] != day[:-1])
        patient, day, weight = patient[first], day[first], weight[first]
        self.account.note(
            f"{len(day):,} encounters were made, one for each patient and day of {', '.join(rule.sources)}."
        )
        owner = self.known["patient"].taken.take(pa.array(patient))
        dates = pa.array(day.astype(np.int32)).cast(pa.date32()).cast(pa.string())
        n = len(day)
        death = self.lives.death[patient]
        return (
            pa.table(
                {
                    "encounter_id": pc.binary_join_element_wise(owner, dates, ":"),
                    "patient_id": owner,
                    "start_datetime": as_times(np.minimum(day * DAY, death)),
                    "time_precision": pa.array(["day"] * n, pa.string()),
                    "status": pa.array(["finished"] * n, pa.string()),
                    "encounter_class": pa.array(_HEAVIEST).take(pa.array(weight)),
                }
            ),
            patient,
        )

    # -- tables --------------------------------------------------------------------------------------------------------

    def _check_required(self, table: TableSchema) -> None:
        for rule in self.mapping.of(table.name):
            if rule.sources:
                continue
            looked_up = {key for entry in (rule.lookup.entries.values() if rule.lookup else ()) for key in entry}
            made = {*rule.columns, *looked_up, *DEFAULTS.get(table.name, {}), table.primary_key, "sequence"}
            missing = [column.name for column in table.columns if column.required and column.name not in made]
            if missing:
                raise SourceError(
                    f"The rule {'.'.join(map(str, rule.place))} does not say {missing[0]}.",
                    file=self.mapping.file,
                    table=table.name,
                    column=missing[0],
                    hint=f"The column is required: add {missing[0]} = ... to the rule.",
                )

    def _finish(self, table: TableSchema, parts: list[tuple[Rule, SourceTable]]) -> None:
        whole = pa.concat_tables(
            [_canonical(rows, table, self.account) for _, rows in parts], promote_options="default"
        )
        if table.has_patient and table.name != "patient":
            patient = positions(whole["patient_id"], self.known["patient"].taken)
            main = MAIN_TIME.get(table.name, "")
            times = [assembly.seconds(whole[main])] if main in whole.column_names else []
            whole = whole.take(pa.array(assembly.patient_order(patient, *times)))
        self.tables[table.name] = whole


def _canonical(rows: SourceTable, table: TableSchema, account: Account) -> pa.Table:
    """Return the canonical columns of rows in the schema's plain types; the rows are counted as taken."""
    account.close(rows)
    found = {}
    for column in table.columns:
        if OUT + column.name not in rows:
            continue
        values = rows[OUT + column.name]
        kind = pa.string() if column.type == "string" else column.arrow_type
        found[column.name] = values.cast(kind, safe=False) if values.type != kind else values
    return pa.table(found)


def _counted_keys(rows: SourceTable, rule: Rule) -> pa.ChunkedArray:
    number = pa.chunked_array([pa.array(rows.rows).cast(pa.string())])
    parts = [pa.scalar(f"{rule.table}-{rule.number}"), number]
    if rule.each:
        parts.append(rows[NUMBER].cast(pa.string()))
    return pc.binary_join_element_wise(*parts, "-")


def _is_plain(recipe: Recipe) -> bool:
    return bool(recipe.column) and not (recipe.picks or recipe.map or recipe.part or recipe.column.startswith("@"))


def _columns(rule: Rule) -> dict[str, str]:
    return {name: recipe.column for name, recipe in rule.columns.items()}


def _stays(parts: list[pa.Table], patients: list[npt.NDArray[np.int64]]) -> Stays:
    keys = [chunk for part in parts for chunk in part["encounter_id"].chunks]
    times = []
    for name in ("start_datetime", "end_datetime"):
        moments = [seconds(part[name]) if name in part.column_names else np.full(len(part), ABSENT) for part in parts]
        times.append(np.concatenate([*moments, np.zeros(0, np.int64)]).astype(np.int64))
    start, end = times
    first = np.where(start == ABSENT, ABSENT, start // DAY)
    return Stays(
        keys=pa.chunked_array(keys, pa.string()).combine_chunks(),
        patient=np.concatenate([*patients, np.zeros(0, np.int64)]).astype(np.int64),
        first_day=first,
        last_day=np.where(end == ABSENT, first, end // DAY),
    )
