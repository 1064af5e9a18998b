"""Learning from parts of the patients that are elsewhere: each is read, encoded and counted where it is.

What comes back are sums over patients: the census of labels and codes, the counts of all bins and pairs, the expected
counts of EM, the tallies of times, levels and rows. In three places people are needed side by side, and a bounded
number of them is gathered, as numbers (`PartCohort.select_patients`): to choose the sizes, to start EM, and to learn
what codes say of each other and how numbers go together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.census import Census, added, without_dates
from ehrsynth.encoding.joining import joined, without_rows
from ehrsynth.encoding.timeline import chunk_bounds
from ehrsynth.encoding.union import unite
from ehrsynth.encoding.vocabulary import Vocabulary, rest_of, written_down
from ehrsynth.errors import LearningError
from ehrsynth.learning.attributes import COLUMNS
from ehrsynth.learning.binned import BinnedVisits
from ehrsynth.learning.expectation import expectation
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.person import person_counts
from ehrsynth.learning.posterior import Posteriors
from ehrsynth.learning.rows import Part, Parts
from ehrsynth.learning.trajectory import Problem, Total
from ehrsynth.probability.bayesnet import FamilyCounts
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

__all__ = ["PartCohort", "PartPosteriors", "PersonCounts", "Raw", "cohort_of", "in_chunks", "raw_part", "spread_over"]

T = TypeVar("T")
Ints = npt.NDArray[np.int64]

_NUMBERS = ("value_number", "value_unit", "panel_id")


@dataclass(frozen=True, kw_only=True, eq=False)
class Raw:
    """A part that was read and encoded with everything it has.

    Attributes
    ----------
    number : int
    census : Census
    timelines : Timelines or None
        None if nobody can be learned from.
    tables : mapping of table to pyarrow.Table
        The rows and columns that are learned from.
    provenance : Provenance
    """

    number: int
    census: Census
    timelines: Timelines | None
    tables: Mapping[str, pa.Table]
    provenance: Provenance


def raw_part(records: Records, number: int, max_visits: int) -> Raw:
    """Encode the records of a part."""
    try:
        timelines = encode(records, min_patients=1, max_visits=max_visits)
    except LearningError:
        # Nobody of these: the others may do.
        return Raw(
            number=number,
            census=Census.of(records, None),
            timelines=None,
            tables={},
            provenance=records.provenance,
        )
    census = Census.of(records, timelines)
    tables, families = {}, {}
    for name, family in timelines.families.items():
        columns = [column for group in COLUMNS[name] for column in group]
        columns += _NUMBERS if name == "observation" else ()
        rows, index = np.unique(family.row_index, return_inverse=True)
        tables[name] = records[name].select(columns).take(pa.array(rows))
        families[name] = replace(family, row_index=index.reshape(-1).astype(np.int64))
    return Raw(
        number=number,
        census=census,
        timelines=replace(timelines, families=families),
        tables=tables,
        provenance=records.provenance,
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    of: Mapping[str, int]

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(added(self.of, other.of))


def _census(raw: Raw, drop: bool) -> Census:
    return without_dates(raw.census) if drop and not raw.census.dated and raw.census.n_patients else raw.census


def _size(raw: Raw, drop: bool) -> tuple[int, int, int]:
    census = _census(raw, drop)
    return raw.number, census.n_patients, census.n_visits


def _rest(raw: Raw, drop: bool, vocabulary: Vocabulary) -> Any:
    if raw.timelines is None or not _census(raw, drop).n_patients:
        return None
    return _Sums(rest_of(raw.timelines, vocabulary))


def _part(
    raw: Raw, drop: bool, vocabulary: Vocabulary, rest: Mapping[str, int], first: Mapping[int, tuple[int, int]]
) -> Part | None:
    if raw.timelines is None or not _census(raw, drop).n_patients:
        return None
    patient, visit = first[raw.number]
    timelines = unite(written_down(raw.timelines, vocabulary, rest))
    return Part(timelines=replace(timelines, first_patient=patient, first_visit=visit), tables=raw.tables)


@dataclass(frozen=True, kw_only=True, eq=False)
class PartCohort:
    """Patients in parts, see `ehrsynth.encoding.Cohort`.

    Attributes
    ----------
    parts : Parts of Part
    vocabulary : Timelines
        Of nobody.
    n_patients, n_visits : int
    """

    parts: Parts[Part]
    vocabulary: Timelines
    n_patients: int
    n_visits: int

    def total(self, function: Callable[[Timelines], T]) -> T:
        """Return the sum of `function` over the parts."""
        return self.parts.total(partial(_of_timelines, function=function))

    def select_patients(self, patients: npt.NDArray[np.int64]) -> Timelines:
        """Gather the timelines of some patients, by number (ascending), without rows."""
        return joined([part.timelines for part in self._gather(patients, rows=False)])

    def select_rows(self, patients: npt.NDArray[np.int64], table: str) -> tuple[Timelines, pa.Table | None]:
        """Gather some patients with their rows of one table."""
        parts = list(self._gather(patients, rows=True, table=table))
        timelines = joined([part.timelines for part in parts])
        tables = [part.tables[table] for part in parts if table in part.tables]
        return timelines, pa.concat_tables(tables).unify_dictionaries() if tables else None

    def select_apart(self, patients: npt.NDArray[np.int64], chunk_visits: int) -> PartCohort:
        """Return some patients, by number (ascending), without rows; they stay where they are."""
        chosen = self.parts.map(partial(_selected, patients=patients, rows=False, table=""))
        return in_chunks(chosen, self.vocabulary, chunk_visits)

    def _gather(self, patients: Ints, *, rows: bool, table: str = "") -> Iterator[Part]:
        before = 0
        for part in self.parts.each(partial(_selected, patients=patients, rows=rows, table=table)):
            family = part.timelines.families.get(table)
            if rows and family is not None:
                moved = replace(family, row_index=family.row_index + before)
                families = {**part.timelines.families, table: moved}
                before += part.tables[table].num_rows if table in part.tables else 0
                part = replace(part, timelines=replace(part.timelines, families=families))
            yield part


def _of_timelines(part: Part, function: Callable[[Timelines], T]) -> T:
    return function(part.timelines)


def _selected(part: Part, patients: Ints, rows: bool, table: str) -> Any:
    first = part.timelines.first_patient
    mine = patients[(patients >= first) & (patients < first + part.timelines.n_patients)] - first
    if not len(mine):
        return None
    before = int(np.searchsorted(patients, first))
    some = replace(part.timelines.select_patients(mine), first_patient=before)
    if not rows:
        return Part(timelines=without_rows(some), tables={})
    family, tables = some.families.get(table), {}
    bare = without_rows(some)
    if family is not None and table in part.tables:
        index, inverse = np.unique(family.row_index, return_inverse=True)
        tables[table] = part.tables[table].take(pa.array(index))
        family = replace(family, row_index=inverse.reshape(-1).astype(np.int64))
        bare = replace(bare, families={**bare.families, table: family})
    return Part(timelines=bare, tables=tables)


def _lengths(part: Part) -> Ints:
    return np.diff(part.timelines.offsets)


def _cut(part: Part, bounds: Ints) -> list[tuple[int, Part]]:
    """Return the pieces of a part by the chunk that they belong to; `bounds` are first patients of chunks."""
    first, n = part.timelines.first_patient, part.timelines.n_patients
    pieces = []
    low = int(np.searchsorted(bounds, first, side="right")) - 1
    for number in range(low, int(np.searchsorted(bounds, first + n, side="left"))):
        start, stop = max(int(bounds[number]), first), min(int(bounds[number + 1]), first + n)
        timelines = part.timelines.slice_patients(start - first, stop - first)
        tables, families = {}, dict(timelines.families)
        for name, table in part.tables.items():
            family = families.get(name)
            if family is not None:
                rows, index = np.unique(family.row_index, return_inverse=True)
                tables[name] = table.take(pa.array(rows))
                families[name] = replace(family, row_index=index.reshape(-1).astype(np.int64))
        visit = part.timelines.first_visit + int(part.timelines.offsets[start - first])
        timelines = replace(timelines, families=families, first_patient=start, first_visit=visit)
        pieces.append((number, Part(timelines=timelines, tables=tables)))
    return pieces


def _joined(pieces: list[Part]) -> Part:
    """Return the pieces of a chunk as one part."""
    pieces = sorted(pieces, key=lambda piece: piece.timelines.first_patient)
    before: dict[str, int] = {}
    moved = []
    for piece in pieces:
        families = dict(piece.timelines.families)
        for name, table in piece.tables.items():
            families[name] = replace(families[name], row_index=families[name].row_index + before.get(name, 0))
            before[name] = before.get(name, 0) + table.num_rows
        moved.append(replace(piece.timelines, families=families))
    tables = {
        name: pa.concat_tables([piece.tables[name] for piece in pieces if name in piece.tables]).unify_dictionaries()
        for name in before
    }
    return Part(timelines=joined(moved), tables=tables)


def cohort_of(raw: Parts[Raw], min_patients: int, chunk_visits: int) -> tuple[PartCohort, Census, Provenance]:
    """Return the patients of all parts under the vocabulary of all, in parts of about `chunk_visits` visits.

    Raises
    ------
    LearningError
        There are fewer than `min_patients` patients.
    """
    census, drop = raw.total(partial(_census, drop=False)), False
    if 0 < census.dated < census.n_visits:
        drop = True
        census = raw.total(partial(_census, drop=True))
    census.require(min_patients)
    vocabulary = Vocabulary.of(census, min_patients)
    rest = raw.total(partial(_rest, drop=drop, vocabulary=vocabulary)).of
    first, patients, visits = {}, 0, 0
    for number, n, v in raw.each(partial(_size, drop=drop)):
        first[number] = (patients, visits)
        patients, visits = patients + n, visits + v
    parts: Parts[Any] = raw.map(partial(_part, drop=drop, vocabulary=vocabulary, rest=rest, first=first))
    cohort = in_chunks(parts, None, chunk_visits)
    provenance = next(iter(raw.each(_provenance)))
    raw.release()
    return cohort, census, provenance


def in_chunks(parts: Parts[Part], told: Timelines | None, chunk_visits: int) -> PartCohort:
    """Return the patients of `parts`, which are given up, in parts of about `chunk_visits` visits."""
    # Cut where one process cuts its chunks, sums are added in the same order: they are the same to the last digit.
    lengths = np.concatenate(list(parts.each(_lengths)))
    bounds = np.array(chunk_bounds(np.concatenate(([0], np.cumsum(lengths))), chunk_visits))
    chunks = parts.regroup(partial(_cut, bounds=bounds), _joined, len(bounds) - 1)
    told = told or next(iter(chunks.each(_nobody)))
    # Once they are all made, what they were made of can go.
    n_visits = sum(chunks.each(_n_visits))
    parts.release()
    return PartCohort(
        parts=chunks,
        vocabulary=replace(told, first_patient=0, first_visit=0),
        n_patients=len(lengths),
        n_visits=n_visits,
    )


def _n_visits(part: Part) -> int:
    return part.timelines.n_visits


def _nobody(part: Part) -> Timelines:
    return part.timelines.slice_patients(0, 0)


def _provenance(raw: Raw) -> Provenance:
    return raw.provenance


def binned_part(part: Part, problem: Problem, chunk_visits: int) -> list[BinnedVisits]:
    """Return the patients of a part in bins, chunk by chunk."""
    return problem.chunks(part.timelines, chunk_visits)


def _expected(chunks: list[Any], function: Callable[[Any], T]) -> T:
    return reduce(cast(Any, add), map(function, chunks))


def expectations(binned: Parts[list[BinnedVisits]], problem: Problem, tables: Any) -> Any:
    """Return the expected counts of all parts under `tables`."""
    return binned.total(partial(_expected, function=partial(expectation, weights=problem.weights(tables))))


def spread_over(binned: Parts[list[BinnedVisits]]) -> Any:
    """Return what `ehrsynth.learning.trajectory.em` takes its expectations by: where the chunks are."""

    @contextmanager
    def spread(chunks: object) -> Iterator[Total]:
        yield lambda function: binned.total(partial(_expected, function=function))

    return spread


@dataclass(frozen=True, kw_only=True, eq=False)
class Inferred:
    """A part with the posterior of its states."""

    timelines: Timelines
    chunks: list[StatePosterior]
    classes: npt.NDArray[np.float64]


def _inferred(part: Part, problem: Problem, tables: Any, chunk_visits: int) -> Inferred:
    posteriors = Posteriors(problem, tables, part.timelines, chunk_visits)
    chunks = list(posteriors)
    return Inferred(timelines=without_rows(part.timelines), chunks=chunks, classes=posteriors.classes)


@dataclass(frozen=True, eq=False)
class PersonCounts:
    """Joint counts of the variables of the person; additive."""

    counts: FamilyCounts

    def __add__(self, other: PersonCounts) -> PersonCounts:
        return PersonCounts(self.counts.merge(other.counts))


def _person(inferred: Inferred, edges: npt.NDArray[np.float64]) -> PersonCounts:
    return PersonCounts(person_counts(inferred.timelines, inferred.classes, edges)[1])


class PartPosteriors:
    """See `ehrsynth.learning.families.FarPosteriors`."""

    def __init__(self, parts: Parts[Part], problem: Problem, tables: Any, chunk_visits: int) -> None:
        self._inferred = parts.map(partial(_inferred, problem=problem, tables=tables, chunk_visits=chunk_visits))

    def map(self, function: Callable[[StatePosterior], T]) -> Iterator[T]:
        """Yield the function of each chunk, in order."""
        for results in self._inferred.each(partial(_mapped, function=function)):
            yield from results

    def total(self, function: Callable[[StatePosterior], T]) -> T:
        """Return the sum of the function over the chunks."""
        return self._inferred.total(partial(_summed, function=function))

    def person(self, edges: npt.NDArray[np.float64]) -> FamilyCounts:
        """Return the joint counts of the variables of the person."""
        return self._inferred.total(partial(_person, edges=edges)).counts

    def __iter__(self) -> Iterator[StatePosterior]:
        return self.map(_itself)

    def release(self) -> None:
        """Give up what was kept."""
        self._inferred.release()


def _itself(chunk: StatePosterior) -> StatePosterior:
    return chunk


def _mapped(inferred: Inferred, function: Callable[[StatePosterior], T]) -> list[T]:
    return [function(chunk) for chunk in inferred.chunks]


def _summed(inferred: Inferred, function: Callable[[StatePosterior], T]) -> T:
    return _expected(inferred.chunks, function)
