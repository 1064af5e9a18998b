"""Making and encoding blocks of patients, in the process itself or in a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ehrsynth.exporters import Exporter, Part, make_exporters
from ehrsynth.generation import Generator
from ehrsynth.model import PatientModel
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.records import Records

__all__ = ["Job", "Maker", "count_rows", "encode"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made, all that a worker needs to know."""

    model: PatientModel | LifeCourseModel
    seed: int
    reference_date: date | None
    formats: tuple[str, ...]
    options: Mapping[str, Any] | None = None
    scenario: Mapping[str, Any] | None = None

    def generator(self) -> Generator:
        """Return the generator of the patients."""
        return Generator(self.model, seed=self.seed, reference_date=self.reference_date, evidence=self.scenario)


class Maker:
    """Makes and encodes blocks; one per process."""

    def __init__(self, job: Job, generator: Generator | None = None) -> None:
        self.generator = generator or job.generator()
        self.shared = self.generator.shared()
        self.exporters = make_exporters(job.formats, job.options)

    def block(self, index: int, n: int) -> Records:
        """Return the first `n` patients of block `index`."""
        return self.generator.block(index, n)

    def encode(self, block: Records) -> Iterator[tuple[str, Part]]:
        """Yield the parts of `block`, each with its format."""
        return encode(block, self.shared, self.exporters)


def encode(block: Records, shared: Records, exporters: Mapping[str, Exporter]) -> Iterator[tuple[str, Part]]:
    """Yield the parts of `block`, each with its format, one at a time: a block need not fit into memory as text."""
    for name, exporter in exporters.items():
        for part in exporter.encode(block, shared):
            yield name, part


def count_rows(block: Records) -> dict[str, int]:
    """Return the rows of each table of patients."""
    return {table.name: block[table.name].num_rows for table in block.schema.tables if table.has_patient}
