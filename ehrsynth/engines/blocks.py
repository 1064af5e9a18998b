"""Making and encoding blocks of patients, in the process itself or in a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from ehrsynth import plugins
from ehrsynth.engines.start import give_memory_back
from ehrsynth.errors import UsageError
from ehrsynth.exporters import Exporter, Part, make_exporters
from ehrsynth.generation import Generator
from ehrsynth.model import PatientModel
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.package import model_hash
from ehrsynth.records import Records

__all__ = ["Job", "Maker", "Shard", "Task", "count_rows", "encode", "without_rows"]

_MANY_ROWS = 1_000_000
"""After so many rows, some seconds of work, free memory is given back."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made, all that a worker needs to know and all that decides the bytes.

    Raises
    ------
    UsageError
        A population below 1, or no format.
    """

    model: PatientModel | LifeCourseModel
    population: int
    seed: int
    formats: tuple[str, ...]
    reference_date: date | None = None
    options: Mapping[str, Any] | None = None
    scenario: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.population < 1:
            raise UsageError(f"The population is {self.population}; it must be at least 1.", hint="Use -p 1000.")
        if not self.formats:
            choices = plugins.nearest("", plugins.names("ehrsynth.exporters"))
            raise UsageError("No output format was named.", hint=choices)
        object.__setattr__(self, "formats", tuple(dict.fromkeys(self.formats)))

    def generator(self) -> Generator:
        """Return the generator of the patients."""
        return Generator(self.model, seed=self.seed, reference_date=self.reference_date, evidence=self.scenario)

    def manifest(self) -> dict[str, Any]:
        """Return what decides the bytes of a run, but for formats and versions."""
        reference = self.reference_date or date.fromisoformat(self.model.latest_date)
        return {
            "model": {"name": self.model.name, "title": self.model.title, "sha256": model_hash(self.model)},
            "seed": self.seed,
            "population": self.population,
            "reference_date": reference.isoformat(),
            **({"options": dict(self.options)} if self.options else {}),
            **({"scenario": dict(self.scenario)} if self.scenario else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Shard `number` of `of`: consecutive blocks, each with how many of its patients."""

    number: int
    of: int
    tasks: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"shard-{self.number:05d}"

    @property
    def patients(self) -> int:
        """How many patients it holds."""
        return sum(n for _, n in self.tasks)


@dataclass(frozen=True, slots=True)
class Task:
    """Patients `start` to `stop` (excluded) of a block; `last`: no more of the block are wanted."""

    block: int
    start: int
    stop: int
    last: bool = True

    @property
    def patients(self) -> int:
        """How many patients it holds."""
        return self.stop - self.start


class Maker:
    """Makes and encodes blocks; one per process."""

    def __init__(self, job: Job, generator: Generator | None = None) -> None:
        self.generator = generator or job.generator()
        self.shared = self.generator.shared()
        self.exporters = make_exporters(job.formats, job.options)
        self._rows = 0

    def tasks(self, blocks: Iterable[tuple[int, int]]) -> list[Task]:
        """Cut blocks (index, patients) into the smallest pieces that can be made by themselves."""
        size = self.generator.part_size
        return [
            Task(block=index, start=start, stop=min(start + size, n), last=start + size >= n)
            for index, n in blocks
            for start in range(0, n, size)
        ]

    def encode(self, task: Task, counts: dict[str, int]) -> Iterator[tuple[str, Part]]:
        """Yield what is written of the patients of `task`, each part with its format.

        When all is yielded, `counts` has the rows of each table. A long block is made and encoded some patients at a
        time, and nothing is kept of them.
        """
        for block in self.generator.parts(task.block, task.stop, task.start):
            yield from encode(block, self.shared, self.exporters)
            for name, rows in count_rows(block).items():
                counts[name] = counts.get(name, 0) + rows
                self._rows += rows
            # Gone before the next one is made.
            del block
        if self._rows > _MANY_ROWS:
            self._rows = 0
            give_memory_back()


def encode(block: Records, shared: Records, exporters: Mapping[str, Exporter]) -> Iterator[tuple[str, Part]]:
    """Yield the parts of `block`, each with its format, one at a time: a block need not fit into memory as text."""
    for name, exporter in exporters.items():
        for part in exporter.encode(block, shared):
            yield name, part


def without_rows(records: Records) -> Records:
    """Return the tables of `records` without their rows: what all but the first shard begin with."""
    return replace(records, tables={name: rows.slice(0, 0) for name, rows in records.tables.items()})


def count_rows(block: Records) -> dict[str, int]:
    """Return the rows of each table of patients."""
    return {table.name: block[table.name].num_rows for table in block.schema.tables if table.has_patient}
