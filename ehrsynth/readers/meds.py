"""MEDS, the Medical Event Data Standard: one stream of events, sorted by what their codes say, as Records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrsynth.errors import SourceError
from ehrsynth.readers.account import Account, is_true
from ehrsynth.readers.mapping import MappingReader
from ehrsynth.readers.mapping_file import read_packaged
from ehrsynth.readers.meds_codes import Meaning, meaning
from ehrsynth.readers.parting import Cut
from ehrsynth.readers.report import ReadReport, SetAside
from ehrsynth.readers.source import MemoryFolder, SourceFolder, SourceTable, parquet_errors, plain_column
from ehrsynth.readers.streaming import Pieces
from ehrsynth.records import Records

__all__ = ["MedsReader"]

_NEEDED = frozenset({"subject_id", "time", "code"})
_COLUMNS = ("subject_id", "time", "code", "numeric_value", "text_value", "end")
_PIECE_ROWS = 500_000
_NUMBER, _TEXT = ("numeric_value", "value"), ("text_value",)
_PEOPLE = ("sex", "race", "ethnicity", "marital")
_SHIFTED_YEAR = 2100
_VALUELESS = "valueless"
_ASIDE = {
    "not given": "a drug that was stopped, held or not given",
    "ended": "the end of a drug or procedure, whose beginning is read",
    _VALUELESS: "an observation without a value",
}
"""Kinds of events that are not read, and why."""


class MedsReader:
    """Reads a MEDS data set: ``data/**/*.parquet`` with subject_id, time, code, numeric_value, text_value.

    Parquet files of events in the folder itself are read too. ``metadata/codes.parquet`` (description, parent_codes)
    is used where it is there: a parent of a public code system takes the place of the source's own code.

    Choices made:

    - Codes are sorted by their first part: a code system (``ICD10CM/I10``), or a word such as ``LAB`` or ``DIAGNOSIS``;
      of an unknown word those with numbers are observations, all others are set aside and counted by word.
    - A stay lasts from an admission to the subject's next discharge; an event outside all of them makes its day an
      encounter.
    - Births that are all on the first of January are known to the year only.
    """

    name = "meds"

    def recognises(self, source: Path) -> bool:
        """Whether a Parquet file in it has the columns of MEDS."""
        files = _shards(source)
        try:
            return bool(files) and set(pq.read_schema(files[0]).names) >= _NEEDED
        except (OSError, pa.ArrowException):
            return False

    def cut(self, source: Path | str) -> Cut:
        """Say how the events fall into parts of subjects."""
        place = Path(source)
        return Cut(
            folder=MemoryFolder(place, {}),
            patients=lambda: (batch["subject_id"].unique() for batch in _batches(place)),
            keys={"events": "subject_id"},
            streams=lambda table: _pieces(place),
            rows=lambda: sum(pq.read_metadata(path).num_rows for path in _shards(place)),
            facts=lambda: _facts(_batches(place)),
        )

    def read(self, source: Path | str | SourceFolder, *, strict: bool = True) -> tuple[Records, ReadReport]:
        """Read a data set.

        Raises
        ------
        SourceError
            See `Reader.read`.
        """
        if isinstance(source, SourceFolder):
            place, rows, facts = Path(source.path), source.read("events"), source.facts
            events, numbers, keys = rows.columns, rows.rows, rows.keys
        else:
            place = Path(source)
            events = pa.concat_tables(_batches(place))
            numbers = np.arange(1, len(events) + 1, dtype=np.int64)
            facts, keys = _facts([events]), None
        account = Account(place, self.name, strict=strict)
        meanings = _meanings(events, _metadata(place), facts["numeric"])
        tables = {
            name: replace(table, keys=keys)
            for name, table in _sorted(events, numbers, meanings, account, yearly=facts["yearly"]).items()
        }
        mapping = replace(read_packaged("output_schemas/ehrsynth/meds.toml"), name="meds")
        times = pc.min_max(pc.year(events["time"])).as_py()
        basis = "shifted" if (times["max"] or 0) >= _SHIFTED_YEAR else "calendar"
        mapping = replace(mapping, time_basis=basis, source=f"MEDS data set {place.name}")
        reader = MappingReader(mapping.name)
        reader.name = self.name
        return reader.read_tables(MemoryFolder(place, tables), mapping, account)


def _shards(source: Path) -> list[Path]:
    """Return the files of events: below data/, or in the folder itself."""
    data = source / "data"
    if data.is_dir():
        return sorted(data.rglob("*.parquet"))
    return sorted(source.glob("*.parquet")) if source.is_dir() else []


def _batches(source: Path) -> Iterator[pa.Table]:
    """Yield the events, in pieces and in order, in their own types."""
    found = False
    for path in _shards(source):
        with parquet_errors(path):
            names = pq.read_schema(path).names
            if not set(names) >= _NEEDED:
                if path.parent == source:
                    # Labels, splits: other tables of MEDS beside the events.
                    continue
                missing = min(_NEEDED - set(names))
                raise SourceError(
                    f"The file has no column {missing!r}.",
                    file=path,
                    column=missing,
                    hint=f"It has: {', '.join(names)}.",
                )
            wanted = [name for name in (*_NEEDED, *_NUMBER, *_TEXT, "end") if name in names]
            found = True
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_PIECE_ROWS, columns=wanted):
                    events = _typed(pa.Table.from_batches([batch]), path)
                    empty = events["subject_id"].null_count
                    if empty:
                        raise SourceError(
                            f"{empty:,} events have no subject_id.",
                            file=path,
                            column="subject_id",
                            hint="Every event needs one.",
                        )
                    yield events
    if not found:
        raise SourceError(
            "There is no file of MEDS events.",
            file=source,
            hint="data/**/*.parquet must have the columns subject_id, time and code.",
        )


def _pieces(source: Path) -> Pieces:
    def numbered() -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        at = 0
        for batch in _batches(source):
            yield batch, np.arange(at + 1, at + len(batch) + 1, dtype=np.int64)
            at += len(batch)

    return Pieces(file=str(source), header=_COLUMNS, pieces=numbered())


def _facts(batches: Iterable[pa.Table]) -> dict[str, Any]:
    """Return the codes that have numbers, and whether all births are on the first of January."""
    numeric: set[str] = set()
    yearly: set[bool] = set()
    for events in batches:
        codes = events["code"]
        numeric |= set(pc.unique(codes.filter(pc.is_valid(events["numeric_value"]))).to_pylist()) - {None}
        of_births = [code for code in pc.unique(codes).to_pylist() if code and _is_birth(code)]
        births = events["time"].filter(pc.is_in(codes, value_set=pa.array(of_births, pa.string()))).drop_null()
        if len(births):
            yearly.add(pc.all(pc.equal(pc.day_of_year(births), 1)).as_py())
    return {"numeric": numeric, "yearly": yearly == {True}}


def _is_birth(code: str) -> bool:
    return meaning(code, numeric=False, description="", parents=()).kind == "birth"


def _typed(part: pa.Table, path: Path) -> pa.Table:
    def column(names: tuple[str, ...], kind: pa.DataType) -> pa.ChunkedArray:
        name = next((name for name in names if name in part.column_names), None)
        if name is None:
            return pa.chunked_array([pa.nulls(len(part), kind)])
        values = part[name]
        try:
            return (plain_column(values) if kind == pa.string() else values).cast(kind, safe=False)
        except pa.ArrowInvalid as error:
            raise SourceError(
                f"The column cannot be read as {kind}: {error}.", file=path, column=name, hint="See the MEDS schema."
            ) from None

    return pa.table(
        {
            "subject_id": column(("subject_id",), pa.string()),
            "time": column(("time",), pa.timestamp("s")),
            "code": column(("code",), pa.string()),
            "numeric_value": column(_NUMBER, pa.float64()),
            "text_value": column(_TEXT, pa.string()),
            "end": column(("end",), pa.timestamp("s")),
        }
    )


def _metadata(source: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return description and parents of the codes, as far as the data set says them."""
    path = source / "metadata" / "codes.parquet"
    if not path.is_file():
        return {}
    with parquet_errors(path):
        table = pq.read_table(path)
    if "code" not in table.column_names:
        return {}
    rows = table.select([name for name in ("code", "description", "parent_codes") if name in table.column_names])
    return {
        row["code"]: (row.get("description") or "", tuple(row.get("parent_codes") or ()))
        for row in rows.to_pylist()
        if row["code"]
    }


def _meanings(
    events: pa.Table, metadata: dict[str, tuple[str, tuple[str, ...]]], numbers: set[str]
) -> dict[str, Meaning]:
    found = {}
    for code in pc.unique(events["code"]).to_pylist():
        if code:
            description, parents = metadata.get(code, ("", ()))
            found[code] = meaning(code, numeric=code in numbers, description=description, parents=parents)
    return found


def _sorted(
    events: pa.Table, numbers: npt.NDArray[np.int64], meanings: dict[str, Meaning], account: Account, *, yearly: bool
) -> dict[str, SourceTable]:
    """Return the events as tables by kind; those of no kind are counted in the account."""
    codes = list(meanings)
    at = pc.fill_null(pc.index_in(events["code"], value_set=pa.array(codes, pa.string())), -1).to_numpy()
    kinds = np.array([meanings[code].kind for code in codes] + [""])
    tables = {}
    of_kind = kinds[at]
    valued = is_true(pc.or_(pc.is_valid(events["numeric_value"]), pc.is_valid(events["text_value"])))
    of_kind[(of_kind == "observation") & ~valued] = _VALUELESS
    for kind in sorted(set(kinds) - {"", "birth", "death", *_ASIDE, *_PEOPLE}):
        chosen = np.flatnonzero(of_kind == kind)
        if not len(chosen):
            continue
        rows = events.take(pa.array(chosen))
        said = pa.array(at[chosen])
        for name in ("system", "code", "display", "unit", *(("category",) if kind == "observation" else ())):
            words = pa.array([getattr(meanings[code], name) or None for code in codes], pa.string()).take(said)
            place = rows.column_names.index(name) if name in rows.column_names else None
            rows = rows.append_column(name, words) if place is None else rows.set_column(place, name, words)
        tables[kind] = _as_source(kind, account, rows, numbers[chosen])
    tables["subject"] = _subjects(events, at, codes, meanings, account, yearly=yearly)
    reasons: Counter[str] = Counter()
    for code, count in zip(*_counts(at, codes, kinds, ""), strict=True):
        reasons[f"the kind of its code is not known: {code.split('//')[0]}"] += int(count)
    reasons |= Counter({why: int((of_kind == kind).sum()) for kind, why in _ASIDE.items()})
    nameless = int((at < 0).sum())
    if nameless:
        reasons["no code"] += nameless
    of_people = int(np.isin(kinds[at], ["birth", "death", "leave", "emergency_leave", *_PEOPLE]).sum())
    account.report.rows_read["events"] = sum(reasons.values()) + of_people
    account.report.rows_taken["events"] = of_people
    account.report.set_aside += [
        SetAside(table="events", reason=reason, count=count, column="code")
        for reason, count in reasons.most_common()
        if count
    ]
    return tables


def _counts(
    at: npt.NDArray[Any], codes: list[str], kinds: npt.NDArray[Any], kind: str
) -> tuple[list[str], npt.NDArray[np.int64]]:
    chosen = np.flatnonzero(kinds[:-1] == kind)
    counts = np.bincount(at[at >= 0], minlength=len(codes))[chosen]
    return [codes[one] for one in chosen], counts


def _subjects(
    events: pa.Table,
    at: npt.NDArray[Any],
    codes: list[str],
    meanings: dict[str, Meaning],
    account: Account,
    *,
    yearly: bool,
) -> SourceTable:
    """Return one row a subject with what its events say of the person; of several the first word holds."""
    subjects = pc.unique(events["subject_id"])
    columns: dict[str, pa.Array] = {"subject_id": subjects}
    kinds = np.array([meanings[code].kind for code in codes] + [""])[at]
    for kind in ("birth", "death", *_PEOPLE):
        mine = np.flatnonzero(kinds == kind)
        rows = events.take(pa.array(mine))
        # The last is written first, so that the first stands.
        place = pc.index_in(rows["subject_id"], value_set=subjects).to_numpy()[::-1]
        value: npt.NDArray[np.int64] = np.full(len(subjects), -1)
        value[place] = np.arange(len(mine))[::-1]
        if kind in ("birth", "death"):
            source = rows["time"]
        else:
            words = pa.array([meanings[code].code or None for code in codes], pa.string())
            source = words.take(pa.array(at[mine]))
        columns[kind] = source.take(pa.array(value, mask=value < 0))
    precision = pa.array(["year" if yearly else "day"]).take(pa.array(np.zeros(len(subjects), np.int64)))
    columns["birth_precision"] = precision
    table = pa.table(columns)
    return _as_source("subject", account, table, np.arange(1, len(subjects) + 1))


def _as_source(name: str, account: Account, rows: pa.Table, numbers: npt.NDArray[np.int64]) -> SourceTable:
    header = tuple(rows.column_names)
    return SourceTable(name=name, file=account.report.source, columns=rows, rows=numbers, header=header)
