"""What holds between tables: keys, lives, encounters, and whom a code can befall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth import terminology
from ehrsynth.schema import DatasetSchema, TableSchema
from ehrsynth.validation.findings import Findings
from ehrsynth.validation.table_files import Batch
from ehrsynth.validation.table_rules import Moment, Rule, rules_between
from ehrsynth.validation.table_store import Store, name_of, quoted

__all__ = ["LinkCheck", "Links"]

_NOBODY = "limits"


@dataclass
class Links:
    """The rows read so far, and how many of what the checks between them looked at."""

    schema: DatasetSchema
    store: Store
    present: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("foreign keys", "dates within lives", "dates within encounters", "codes by sex and age"), 0
        )
    )


class LinkCheck:
    """Puts the batches of one table away, and checks them at its end against the tables before it."""

    def __init__(self, table: TableSchema, links: Links, findings: Findings) -> None:
        self.table, self.links, self.findings = table, links, findings
        self._count = 0
        self._stretches: list[tuple[int, str, npt.NDArray[np.int64]]] = []
        self._limits: set[tuple[str, str]] = set()
        self._kept = _needed(table, links.schema)
        self._hashed = table.has_patient and table.name != "patient"

    # -- batch by batch ----------------------------------------------------------------------------------------------

    def check(self, values: Mapping[str, pa.Array], batch: Batch) -> None:
        """Put a batch in the schema's types away."""
        size = len(batch.rows)
        if not size:
            return
        straight = batch.rows[-1] - batch.rows[0] == size - 1
        # Of rows without a gap the first number says all: their numbers would grow with the table.
        self._stretches.append((self._count, batch.file, batch.rows[:1] if straight else batch.rows))
        columns = {name: values[name] for name in self._kept}
        columns["n"] = pa.array(np.arange(self._count, self._count + size, dtype=np.int64))
        columns["pk"] = values[self.table.primary_key]
        if self._hashed:
            columns["h"] = pa.array(_hash(values, self.table.primary_key))
        self.links.store.append(self.table.name, columns)
        if self.table.sex_age_limits:
            self._keep_limits(values)
        self._count += size

    def _keep_limits(self, values: Mapping[str, pa.Array]) -> None:
        pairs = pa.table({"system": values["code_system"], "code": values["code"]}).group_by(["system", "code"])
        by_system: dict[str, list[str]] = {}
        for pair in pairs.aggregate([]).to_pylist():
            key = (pair["system"], pair["code"])
            if None not in key and key not in self._limits:
                self._limits.add(key)
                by_system.setdefault(key[0], []).append(key[1])
        for system, codes in by_system.items():
            sex, youngest, oldest = terminology.limits(system, codes)
            columns = {
                "system": pa.array([system] * len(codes)),
                "code": pa.array(codes),
                "sex": pa.array(sex.astype(np.int64)),
                "youngest": pa.array(youngest.astype(np.float64)),
                "oldest": pa.array(oldest.astype(np.float64)),
            }
            self.links.store.append(f"{_NOBODY}_{self.table.name}", columns)

    # -- at the end --------------------------------------------------------------------------------------------------

    def finish(self) -> int:
        """Check what was put away; return how many rows there were."""
        if not self._count:
            # An empty table is there, but leads nowhere: what refers to it is an orphan.
            empty = {name: pa.nulls(0, pa.string()) for name in (*self._kept, "pk", *(["h"] if self._hashed else []))}
            empty |= {column.name: _none(column.type) for column in self.table.columns if column.name in self._kept}
            self.links.store.append(self.table.name, {**empty, "n": pa.array([], pa.int64())})
        self._check_unique("duplicate-key", "pk", self.table.primary_key)
        for column in self.table.columns:
            if column.unique and column.name != self.table.primary_key:
                self._check_unique("not-unique", quoted(column.name), column.name)
        self._make_target()
        if self._count:
            self._check_rules()
            if self.table.name == "encounter" and "patient" in self.links.present:
                self._check_sequence()
            if self._hashed:
                self._check_duplicates()
        self.links.present.append(self.table.name)
        return self._count

    def _check_unique(self, check: str, column: str, name: str) -> None:
        query = f"""
            SELECT sum(c - 1), arg_min(v, first), arg_min(second, first) FROM (
                SELECT {column} AS v, count(*) AS c, min(n) AS first, arg_min(n, n, 2)[2] AS second
                FROM {name_of(self.table.name)} WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*) > 1)
        """
        extra, value, at = self.links.store.ask(query)[0]
        if extra:
            self.findings.add(check, f"{self.table.name}.{name}", f"{self._place(at)}: {value!r}", count=int(extra))

    def _make_target(self) -> None:
        """What keys lead to: the first row of each key."""
        if not any(
            key.reference_table == self.table.name for other in self.links.schema.tables for key in other.foreign_keys
        ):
            return
        rows = name_of(self.table.name)
        twice = self.links.store.ask(f"SELECT count(pk) > count(DISTINCT pk) FROM {rows}")[0][0]
        first = " QUALIFY row_number() OVER (PARTITION BY pk ORDER BY n) = 1" if twice else ""
        kind = "TABLE" if twice else "VIEW"
        query = f"SELECT * FROM {rows} WHERE pk IS NOT NULL{first}"
        self.links.store.do(f"CREATE {kind} {_target(self.table.name)} AS {query}")

    def _check_rules(self) -> None:
        links, table = self.links, self.table
        schema = links.schema
        items = list(rules_between(table, links.present, _or(schema, "patient"), _or(schema, "encounter")))
        if not items:
            return
        joins = [
            f"LEFT JOIN {_target(key.reference_table)} AS k_{key.column} ON r.{quoted(key.column)} = k_{key.column}.pk"
            for key in table.foreign_keys
            if key.reference_table in links.present
        ]
        if any(key.column == "encounter_id" for key in table.foreign_keys) and {"patient", "encounter"} <= set(
            links.present
        ):
            joins.append(f"LEFT JOIN {_target('patient')} AS owner ON k_encounter_id.patient_id = owner.pk")
        if table.sex_age_limits and "patient" in links.present:
            if not self._limits:
                self.links.store.append(f"{_NOBODY}_{table.name}", _no_limits())
            limits = name_of(f"{_NOBODY}_{table.name}")
            joins.append(f"LEFT JOIN {limits} AS limits ON r.code_system = limits.system AND r.code = limits.code")
        conditions = [
            f"({item.wrong if isinstance(item, Rule) else item.seen}) AS c{i}" for i, item in enumerate(items)
        ]
        counts = [f"count_if(c{i}), min(n) FILTER (WHERE c{i})" for i in range(len(items))]
        answers = links.store.ask(
            f"SELECT {', '.join(counts)} FROM (SELECT r.n, {', '.join(conditions)} "
            f"FROM {name_of(table.name)} AS r {' '.join(joins)})"
        )[0]
        for item, count, at in zip(items, answers[::2], answers[1::2], strict=True):
            if not isinstance(item, Rule):
                links.checked[item.name] += int(count)
            elif count:
                key, value = links.store.ask(
                    f"SELECT pk, {quoted(item.value)}::VARCHAR FROM {name_of(table.name)} WHERE n = {at}"
                )[0]
                example = f"{self._place(at)} ({key}): {str(value)!r}"
                place = f"{table.name}.{item.column}"
                self.findings.add(item.check, place, example, count=int(count), detail=item.detail)

    def _check_sequence(self) -> None:
        """Within a patient no two encounters have one place, and later places have no earlier dates."""
        before, after = (Moment.of(self.table, "start_datetime", alias) for alias in ("b", "r"))
        columns = ", ".join(
            f"lag({quoted(name)}) OVER w AS {quoted('b_' + name)}" for name in ("start_datetime", "time_precision")
        )
        query = f"""
            WITH o AS (
                SELECT *, lag(n) OVER w AS b_n, lag(sequence) OVER w AS b_sequence, {columns}
                FROM {name_of("encounter")} WHERE patient_id IN (SELECT pk FROM {_target("patient")})
                WINDOW w AS (PARTITION BY patient_id ORDER BY sequence NULLS FIRST, n)),
            wrong AS (
                SELECT r.n FROM o AS r, LATERAL (
                    SELECT r.b_start_datetime AS start_datetime, r.b_time_precision AS time_precision) AS b
                WHERE r.b_n IS NOT NULL
                AND (coalesce(r.b_sequence = r.sequence, false) OR coalesce({before.later_than(after)}, false)))
            SELECT count(*), min(n) FROM wrong
        """
        count, at = self.links.store.ask(query)[0]
        if count:
            self.findings.add("sequence-against-dates", "encounter.sequence", self._place(at), count=count)

    def _check_duplicates(self) -> None:
        query = f"""
            SELECT sum(c - 1), min(second) FROM (
                SELECT count(*) AS c, arg_min(n, n, 2)[2] AS second FROM {name_of(self.table.name)}
                GROUP BY h HAVING count(*) > 1)
        """
        extra, at = self.links.store.ask(query)[0]
        if extra:
            self.findings.add("duplicate-row", self.table.name, self._place(at), count=int(extra))

    def _place(self, at: int) -> str:
        """File and row of the row at position `at` of the whole table."""
        for start, file, rows in reversed(self._stretches):
            if at >= start:
                row = rows[0] + at - start if len(rows) == 1 else rows[at - start]
                return f"{file} row {row}"
        return self.table.name


def _target(table: str) -> str:
    return quoted(f"k_{table}")


def _or(schema: DatasetSchema, name: str) -> TableSchema:
    from ehrsynth.schema import clinical

    return schema[name] if name in schema else clinical()[name]


def _needed(table: TableSchema, schema: DatasetSchema) -> list[str]:
    """The columns that some rule looks at."""
    wanted = {key.column for key in table.foreign_keys} | {name for pair in table.order for name in pair}
    wanted |= {*table.within_life, *table.within_encounter}
    wanted |= {column.name for column in table.columns if column.unique and column.name != table.primary_key}
    if table.sex_age_limits:
        wanted |= {"code_system", "code"}
    wanted |= {
        "patient": {"birth_date", "death_datetime", "sex"},
        "encounter": {"start_datetime", "end_datetime", "sequence", "time_precision"},
    }.get(table.name, set())
    wanted |= {table[name].precision_column for name in wanted if table[name].precision_column}
    return [name for name in table.names if name in wanted]


def _none(kind: str) -> pa.Array:
    from ehrsynth.schema import arrow_type

    return pa.array([], arrow_type(kind))


def _no_limits() -> dict[str, pa.Array]:
    text, number = pa.array([], pa.string()), pa.array([], pa.float64())
    return {"system": text, "code": text, "sex": pa.array([], pa.int64()), "youngest": number, "oldest": number}


def _hash(values: Mapping[str, pa.Array], key: str) -> npt.NDArray[np.uint64]:
    """A hash of every row without its key: equal rows have equal ones."""
    total = np.zeros(len(values[key]), dtype=np.uint64)
    for name, column in values.items():
        if name == key:
            continue
        if pa.types.is_string(column.type):
            distinct = column.dictionary_encode()
            marks = [hash(word) for word in distinct.dictionary.to_pylist()]  # compared within this process only
            spread = np.array([*marks, -1], dtype=np.int64)
            own = spread[pc.fill_null(distinct.indices, len(marks)).to_numpy(zero_copy_only=False)]
        elif pa.types.is_floating(column.type):
            own = pc.fill_null(column, np.inf).to_numpy(zero_copy_only=False).view(np.int64)
        else:
            whole = column.cast(pa.int64() if not pa.types.is_date(column.type) else pa.int32())
            own = pc.fill_null(whole, -(2**30)).to_numpy(zero_copy_only=False).astype(np.int64)
        total = (total ^ own.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total
