"""Cohorts in parts: of each a part is in memory at a time, the others lie wherever they were put."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any, Protocol

import numpy as np

from ehrsynth.evaluation.assembly import Labels, Places, groups_of
from ehrsynth.evaluation.cohort import Cohort, Ints, Vocabulary
from ehrsynth.evaluation.draft import Dates, Draft, draft
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["CohortInParts", "RecordParts", "Store", "cohorts_in_parts"]


class Store(Protocol):
    """Where parts lie meanwhile: mappings, tuples, arrays, tables and texts."""

    def put(self, thing: Any) -> Any:
        """Keep a thing; return its place."""
        ...

    def get(self, place: Any) -> Any:
        """Return the thing of a place."""
        ...


@dataclass(kw_only=True)
class RecordParts:
    """The records of a cohort in parts of consecutive patients.

    Attributes
    ----------
    store : Store
    places : list of Any
        Of the parts, in order.
    sizes : list of int
        Patients of each.
    dates : list of Dates
    """

    store: Store
    places: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    dates: list[Dates] = field(default_factory=list)

    def add(self, records: Records) -> None:
        """Put a part after the others."""
        self.put(len(self.places), records)

    def put(self, number: int, records: Records) -> None:
        """Put a part in its place; that after the last, or again one that was there."""
        self.places[number : number + 1] = [self.store.put((dict(records.tables), records.provenance))]
        self.sizes[number : number + 1] = [records.n_patients]
        self.dates[number : number + 1] = [Dates.of(records)]

    def records(self, number: int) -> Records:
        """Return a part."""
        return _records(self.store, self.places[number])

    def sampled(self, name: str, sample: int | None, seed: int) -> Iterator[tuple[Any, Records]]:
        """Yield (place, records) of each part with those of its patients that are of a random sample of all."""
        chosen, first = None, 0
        if sample is not None and sum(self.sizes) > sample:
            chosen = np.sort(stream(seed, f"evaluation.sample.{name}").permutation(sum(self.sizes))[:sample])
        for number, place in enumerate(self.places):
            records = self.records(number)
            if chosen is not None:
                mine = chosen[(chosen >= first) & (chosen < first + self.sizes[number])] - first
                records = records.select_patients(records["patient"]["patient_id"].take(mine).combine_chunks())
                place = self.store.put((dict(records.tables), records.provenance))
            first += self.sizes[number]
            yield place, records


def _records(store: Store, place: Any) -> Records:
    tables, provenance = store.get(place)
    return Records(tables=tables, provenance=provenance)


_APART = ("records", "vocabulary")
"""What all parts share, or has a place of its own."""


def _put(store: Store, thing: Draft | Cohort) -> Any:
    return store.put({one.name: getattr(thing, one.name) for one in fields(thing) if one.name not in _APART})


@dataclass(frozen=True, kw_only=True, eq=False)
class CohortInParts:
    """A cohort of which one part is in memory at a time; see `ehrsynth.evaluation.cohort.AnyCohort`.

    Attributes
    ----------
    store : Store
    places : tuple of (place, place)
        Of the numbers and the records of each part.
    """

    name: str
    vocabulary: Vocabulary
    group: Ints
    n_groups: int
    dated: bool
    recorded: tuple[str, ...]
    visits_per_patient: Ints
    n_without_visits: int
    store: Store
    places: tuple[tuple[Any, Any], ...]

    @property
    def n_patients(self) -> int:
        """Patients."""
        return len(self.group)

    @property
    def n_visits(self) -> int:
        """Visits."""
        return int(self.visits_per_patient.sum())

    @property
    def parts(self) -> Iterator[Cohort]:
        """The parts, one after the other."""
        for numbers, records in self.places:
            yield Cohort(**self.store.get(numbers), vocabulary=self.vocabulary, records=_records(self.store, records))


def cohorts_in_parts(
    sources: Mapping[str, RecordParts], *, seed: int, sample: int | None = None
) -> dict[str, CohortInParts]:
    """Return the cohorts of several records, by name, in one vocabulary: those of `assembly.assemble`.

    Parameters
    ----------
    sources : mapping of name to RecordParts
    seed : int
        Deals patients into the groups of the bootstrap.
    sample : int, optional
        At most so many patients of each, drawn at random.
    """
    labels = Labels()
    drafts: dict[str, list[tuple[Any, Any, int]]] = {}
    read: dict[str, int] = {}
    dates = {name: reduce(Dates.together, parts.dates) for name, parts in sources.items()}
    for name, parts in sources.items():
        drafts[name], read[name] = [], 0
        for place, records in parts.sampled(name, sample, seed):
            made = draft(name, records, dates[name])
            read[name] += records.n_patients
            labels.note(made)
            drafts[name].append((_put(parts.store, made), place, len(made.people)))
    vocabulary = labels.vocabulary()
    places = Places(vocabulary)
    return {
        name: _numbered(name, parts.store, drafts[name], read[name], dates[name], vocabulary, places, seed)
        for name, parts in sources.items()
    }


def _numbered(
    name: str,
    store: Store,
    drafts: Sequence[tuple[Any, Any, int]],
    n_read: int,
    dates: Dates,
    vocabulary: Vocabulary,
    places: Places,
    seed: int,
) -> CohortInParts:
    n = sum(people for *_, people in drafts)
    group, n_groups = groups_of(name, n, seed)
    found: list[tuple[Any, Any]] = []
    lengths = [np.zeros(0, dtype=np.int64)]
    recorded: set[str] = set()
    first = 0
    for numbers, place, people in drafts:
        if not people:
            continue
        made = Draft(**store.get(numbers), records=_records(store, place))
        part = places.cohort(made, group[first : first + people], n_groups)
        first += people
        lengths.append(part.visits_per_patient)
        recorded.update(part.recorded)
        found.append((_put(store, replace(part, dated=dates.known)), place))
    return CohortInParts(
        name=name,
        vocabulary=vocabulary,
        group=group,
        n_groups=n_groups,
        dated=dates.known,
        recorded=tuple(one for one in vocabulary.person if one in recorded),
        visits_per_patient=np.concatenate(lengths),
        n_without_visits=n_read - n,
        store=store,
        places=tuple(found),
    )
