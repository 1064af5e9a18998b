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
from ehrsynth.validation.table_values import Dates, dates_of

__all__ = ["LinkCheck", "Links"]

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
OLDEST_YEARS = 120.0
_YEAR_DAYS = 365.2425


@dataclass
class Links:
    """What other tables need to know of those read before: keys, lives of patients, times of encounters."""

    schema: DatasetSchema
    keys: dict[str, pa.Array] = field(default_factory=dict)
    lives: dict[str, Dates] = field(default_factory=dict)
    sexes: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    stays: dict[str, Dates] = field(default_factory=dict)
    stay_patients: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    checked: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("foreign keys", "dates within lives", "dates within encounters", "codes by sex and age"), 0
        )
    )

    def referenced(self, table: str) -> bool:
        """Whether some table refers to `table`."""
        return any(key.reference_table == table for other in self.schema.tables for key in other.foreign_keys)


class LinkCheck:
    """Checks the batches of one table against the tables before it, and leaves what the tables after it need."""

    def __init__(self, table: TableSchema, links: Links, findings: Findings) -> None:
        self.table, self.links, self.findings = table, links, findings
        self._keys: list[pa.Array] = []
        self._uniques: dict[str, list[pa.Array]] = {
            column.name: [] for column in table.columns if column.unique and column.name != table.primary_key
        }
        self._files: list[tuple[str, Rows]] = []
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._kept: dict[str, list[Dates]] = {}
        self._sexes: list[npt.NDArray[np.int8]] = []
        self._patients: list[Rows] = []
        self._sequences: list[Rows] = []

    # -- batch by batch ----------------------------------------------------------------------------------------------

    def check(self, values: Mapping[str, pa.Array], batch: Batch) -> None:
        """Check a batch in the schema's types."""
        if not len(batch.rows):
            return
        self._files.append((batch.file, batch.rows))
        self._keys.append(values[self.table.primary_key])
        for name, parts in self._uniques.items():
            parts.append(values[name])
        found = {
            key.column: self._check_key(key.column, key.reference_table, values, batch)
            for key in self.table.foreign_keys
        }
        dates = self._dates(values)
        self._check_order(dates, values, batch)
        patient = found.get("patient_id", np.full(len(batch.rows), -1))
        if self.table.name == "patient":
            self._keep_patients(values, dates)
        elif self.table.name == "encounter":
            self._keep_encounters(values, dates, patient)
        if self.table.within_life and "patient" in self.links.lives | self.links.keys:
            self._check_life(dates, patient, values, batch)
        if "encounter_id" in found and "encounter" in self.links.keys:
            self._check_encounter(dates, patient, found["encounter_id"], values, batch)
        if self.table.sex_age_limits:
            self._check_limits(dates, patient, values, batch)
        if self.table.has_patient and self.table.name != "patient":
            self._hashes.append(self._hash(values))

    def _check_key(self, column: str, target: str, values: Mapping[str, pa.Array], batch: Batch) -> Rows:
        """Return which row of `target` each row's key leads to, -1 for none."""
        keys = self.links.keys.get(target)
        if keys is None:
            return np.full(len(batch.rows), -1)
        here = values[column]
        rows: Rows = pc.fill_null(pc.index_in(here, value_set=keys), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        present = _mask(pc.is_valid(here))
        self.links.checked["foreign keys"] += int(present.sum())
        self._add("orphan", column, present & (rows < 0), values, batch, detail=f"Table: {target}.", value=column)
        return rows

    def _dates(self, values: Mapping[str, pa.Array]) -> dict[str, Dates]:
        found = {}
        for column in self.table.columns:
            if column.type in ("date", "datetime"):
                precision = values.get(column.precision_column) if column.precision_column else None
                found[column.name] = dates_of(values[column.name], precision)
        return found

    def _check_order(self, dates: Mapping[str, Dates], values: Mapping[str, pa.Array], batch: Batch) -> None:
        for first, second in self.table.order:
            if first in dates and second in dates:
                wrong = dates[first].later_than(dates[second])
            else:
                wrong = _mask(pc.greater(values[first], values[second]))
            self._add("reversed-order", first, wrong, values, batch, detail=f"Second: {second}.", value=first)

    def _check_life(
        self, dates: Mapping[str, Dates], patient: Rows, values: Mapping[str, pa.Array], batch: Batch
    ) -> None:
        known = patient >= 0
        if not len(self.links.lives["birth"].first):
            return
        rows = np.where(known, patient, 0)
        birth, death = (self.links.lives[name].take(rows, known) for name in ("birth", "death"))
        for name in self.table.within_life:
            here = dates[name]
            self.links.checked["dates within lives"] += int((here.known & known).sum())
            self._add("before-birth", name, birth.later_than(here), values, batch, value=name)
            self._add("after-death", name, here.later_than(death), values, batch, value=name)
            old = here.known & birth.known & (here.last - birth.first > OLDEST_YEARS * _YEAR_DAYS)
            self._add("implausible-age", name, old, values, batch, value=name)

    def _check_encounter(
        self, dates: Mapping[str, Dates], patient: Rows, encounter: Rows, values: Mapping[str, pa.Array], batch: Batch
    ) -> None:
        known = encounter >= 0
        if not len(self.links.stay_patients):
            return
        rows = np.where(known, encounter, 0)
        owner = np.where(known, self.links.stay_patients[rows], -1)
        self._add(
            "other-patients-encounter",
            "encounter_id",
            (owner >= 0) & (patient >= 0) & (owner != patient),
            values,
            batch,
            value="encounter_id",
        )
        start, end = (self.links.stays[name].take(rows, known) for name in ("start", "end"))
        for name in self.table.within_encounter:
            here = dates[name]
            self.links.checked["dates within encounters"] += int((here.known & known).sum())
            # At the grain of a day; an encounter whose end is not known may go on.
            outside = here.known & ((here.last < start.first) & start.known | (here.first > end.last) & end.known)
            self._add("outside-encounter", name, outside, values, batch, value=name)

    def _check_limits(
        self, dates: Mapping[str, Dates], patient: Rows, values: Mapping[str, pa.Array], batch: Batch
    ) -> None:
        if not len(self.links.sexes):
            return
        known = patient >= 0
        rows = np.where(known, patient, 0)
        sex, youngest, oldest = _limits(values["code_system"], values["code"])
        self.links.checked["codes by sex and age"] += int((known & _mask(pc.is_valid(values["code"]))).sum())
        own = np.where(known, self.links.sexes[rows], 0)
        self._add("impossible-for-sex", "code", (sex > 0) & (own > 0) & (sex != own), values, batch, value="code")
        birth = self.links.lives["birth"].take(rows, known)
        for name in self.table.within_life:
            here = dates[name]
            at_most = (here.last - birth.first + 1) / _YEAR_DAYS
            at_least = (here.first - birth.last - 1) / _YEAR_DAYS
            # What happened before birth is a finding of its own.
            judged = here.known & birth.known & (at_most >= 0)
            wrong = judged & ((at_most < youngest) | (at_least >= oldest))
            self._add("impossible-for-age", "code", wrong, values, batch, detail=f"By {name}.", value="code")
            break  # the first date says when it began

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _keep_patients(self, values: Mapping[str, pa.Array], dates: Mapping[str, Dates]) -> None:
        self._kept.setdefault("birth", []).append(dates["birth_date"])
        self._kept.setdefault("death", []).append(dates["death_datetime"])
        at = pc.index_in(values["sex"], value_set=pa.array(["female", "male"]))
        self._sexes.append((pc.fill_null(at, -1).to_numpy(zero_copy_only=False) + 1).astype(np.int8))

    def _keep_encounters(self, values: Mapping[str, pa.Array], dates: Mapping[str, Dates], patient: Rows) -> None:
        self._kept.setdefault("start", []).append(dates["start_datetime"])
        self._kept.setdefault("end", []).append(dates["end_datetime"])
        self._patients.append(patient)
        self._sequences.append(pc.fill_null(values["sequence"], -1).to_numpy(zero_copy_only=False))

    def _hash(self, values: Mapping[str, pa.Array]) -> npt.NDArray[np.uint64]:
        """A hash of every row without its key: equal rows have equal ones."""
        total = np.zeros(len(values[self.table.primary_key]), dtype=np.uint64)
        for name, column in values.items():
            if name == self.table.primary_key:
                continue
            if pa.types.is_string(column.type):
                distinct = column.dictionary_encode()
                marks = [hash(word) for word in distinct.dictionary.to_pylist()]  # compared within this process only
                spread = np.array([*marks, -1], dtype=np.int64)
                own = spread[pc.fill_null(distinct.indices, len(marks)).to_numpy(zero_copy_only=False)]
            elif pa.types.is_floating(column.type):
                own = pc.fill_null(column, np.inf).to_numpy(zero_copy_only=False).view(np.int64)
            else:
                own = (
                    pc.fill_null(column.cast(pa.int64() if not pa.types.is_date(column.type) else pa.int32()), -(2**30))
                    .to_numpy(zero_copy_only=False)
                    .astype(np.int64)
                )
            total = (total ^ own.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            total ^= total >> np.uint64(29)
        return total

    # -- at the end --------------------------------------------------------------------------------------------------

    def finish(self) -> int:
        """Check what needs all rows; return how many there were."""
        links, name = self.links, self.table.name
        keys = pa.chunked_array(self._keys, type=pa.string()) if self._keys else pa.chunked_array([], type=pa.string())
        self._check_unique("duplicate-key", self.table.primary_key, keys)
        for column, parts in self._uniques.items():
            if parts:
                self._check_unique("not-unique", column, pa.chunked_array(parts))
        if links.referenced(name):
            links.keys[name] = pa.concat_arrays(self._keys) if self._keys else pa.nulls(0, pa.string())
        if name == "patient":
            for part in ("birth", "death"):
                links.lives[part] = Dates.concatenated(self._kept.get(part, []))
            links.sexes = np.concatenate(self._sexes) if self._sexes else np.zeros(0, np.int8)
        elif name == "encounter" and self._patients:
            for part in ("start", "end"):
                links.stays[part] = Dates.concatenated(self._kept[part])
            links.stay_patients = np.concatenate(self._patients)
            self._check_sequence(np.concatenate(self._sequences))
        if self._hashes:
            self._check_duplicates(np.concatenate(self._hashes))
        return len(keys)

    def _check_unique(self, check: str, column: str, values: pa.ChunkedArray) -> None:
        counts = pc.value_counts(values.drop_null())
        often = pc.greater(counts.field("counts"), 1)
        repeated = counts.field("values").filter(often)
        if len(repeated):
            extra = pc.sum(pc.subtract(counts.field("counts").filter(often), 1)).as_py()
            at = pc.indices_nonzero(pc.equal(values, repeated[0]))[1].as_py()
            place = f"{self.table.name}.{column}"
            self.findings.add(check, place, f"{self._place(at)}: {repeated[0].as_py()!r}", count=extra)

    def _check_sequence(self, sequence: Rows) -> None:
        """Within a patient no two encounters have one place, and later places have no earlier dates."""
        patient, start = self.links.stay_patients, self.links.stays["start"]
        order = np.lexsort((sequence, patient))
        same = (patient[order][1:] == patient[order][:-1]) & (patient[order][1:] >= 0)
        tie = same & (sequence[order][1:] == sequence[order][:-1]) & (sequence[order][1:] >= 0)
        before, after = (_rows(start, order[:-1]), _rows(start, order[1:]))
        # Start times of a day's encounters may be known to the day only: later_than looks at what both know.
        wrong = tie | (same & before.later_than(after))
        if wrong.any():
            at = int(order[1:][int(np.argmax(wrong))])
            count = int(np.count_nonzero(wrong))
            self.findings.add("sequence-against-dates", "encounter.sequence", self._place(at), count=count)

    def _check_duplicates(self, hashes: npt.NDArray[np.uint64]) -> None:
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        extra = int((counts - 1).sum())
        if extra:
            mark = hashes[first[int(np.argmax(counts > 1))]]
            at = int(np.flatnonzero(hashes == mark)[1])
            self.findings.add("duplicate-row", self.table.name, self._place(at), count=extra)

    def _place(self, at: int) -> str:
        """File and row of the row at position `at` of the whole table."""
        for file, rows in self._files:
            if at < len(rows):
                return f"{file} row {rows[at]}"
            at -= len(rows)
        return self.table.name

    def _add(
        self,
        check: str,
        column: str,
        wrong: Mask,
        values: Mapping[str, pa.Array],
        batch: Batch,
        *,
        value: str,
        detail: str = "",
    ) -> None:
        count = int(np.count_nonzero(wrong))
        if count:
            at = int(np.argmax(wrong))
            key = values[self.table.primary_key][at].as_py()
            example = f"{batch.file} row {batch.rows[at]} ({key}): {str(values[value][at].as_py())!r}"
            self.findings.add(check, f"{self.table.name}.{column}", example, count=count, detail=detail)


def _limits(
    systems: pa.Array, codes: pa.Array
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sex and ages that each row's code is possible for."""
    sex, youngest, oldest = np.zeros(len(codes), np.int8), np.zeros(len(codes)), np.full(len(codes), np.inf)
    distinct = systems.dictionary_encode()
    for at, system in enumerate(distinct.dictionary.to_pylist()):
        rows = _mask(pc.equal(distinct.indices, at)) & _mask(pc.is_valid(codes))
        own = codes.filter(pa.array(rows)).dictionary_encode()
        if len(own):
            where = own.indices.to_numpy(zero_copy_only=False)
            own_sex, own_youngest, own_oldest = terminology.limits(system, own.dictionary.to_pylist())
            sex[rows], youngest[rows], oldest[rows] = own_sex[where], own_youngest[where], own_oldest[where]
    return sex, youngest, oldest


def _rows(dates: Dates, rows: Rows) -> Dates:
    return dates.take(rows, np.ones(len(rows), dtype=bool))


def _mask(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask.astype(bool)
