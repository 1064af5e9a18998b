"""One generator for every kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from ehrsynth.generation.block_maker import BlockMaker
from ehrsynth.model import PatientModel
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.provenance import Provenance
from ehrsynth.randomness import BLOCK_SIZE
from ehrsynth.records import Records

__all__ = ["Generator"]


class Generator:
    """Makes patients of a model, in blocks of `BLOCK_SIZE`.

    Parameters
    ----------
    model : PatientModel or LifeCourseModel
        Learned from records, or built from rates.
    seed : int
        Same model, seed, reference date and evidence: same patients, byte for byte.
    reference_date : date, optional
        Nothing happens after it; default: the model's, never today.
    evidence : mapping, optional
        What is known of every person: see `ehrsynth.generation.population.Population` for a learned model and
        `ehrsynth.generation.life_course.evidence` for a life course.

    Raises
    ------
    ModelError
        The parts of the model do not fit each other.
    UsageError
        The evidence cannot be.

    Examples
    --------
    >>> records = Generator(model, seed=7).block(0, 100)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PatientModel | LifeCourseModel,
        *,
        seed: int,
        reference_date: date | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        self._made_by: BlockMaker
        # Either brings its samplers: the first patient waits for those of its own model only.
        if isinstance(model, LifeCourseModel):
            from ehrsynth.generation.life_course import LifeCourseGenerator

            self._made_by = LifeCourseGenerator(model, seed=seed, reference_date=reference_date, evidence=evidence)
        else:
            from ehrsynth.generation.generator import Generator as TrajectoryGenerator

            self._made_by = TrajectoryGenerator(model, seed=seed, reference_date=reference_date, evidence=evidence)
        self.model, self.seed = model, seed
        self.reference_date = self._made_by.reference_date

    @property
    def provenance(self) -> Provenance:
        """Where the generated records come from."""
        return self._made_by.provenance

    def shared(self) -> Records:
        """Return the tables that belong to no patient; they depend on model and seed only."""
        return self._made_by.shared()

    def block(self, index: int, n: int = BLOCK_SIZE) -> Records:
        """Return the first `n` patients of block `index` and their rows; shared tables are empty.

        Patients are always drawn many at a time, so the first k of them are the same for every n >= k.

        Raises
        ------
        UsageError
            `index` is negative or `n` is not between 1 and `BLOCK_SIZE`.
        """
        return self._made_by.block(index, n)

    @property
    def part_size(self) -> int:
        """How many patients are drawn together: `parts` begins at multiples of it."""
        return self._made_by.part_size

    def parts(self, index: int, n: int = BLOCK_SIZE, start: int = 0) -> Iterator[Records]:
        """Yield the patients of `block`, in the same order, as many at a time as fit well into memory.

        Raises
        ------
        UsageError
            `index` is negative, `n` is not between 1 and `BLOCK_SIZE`, or `start` no multiple of `part_size`.
        """
        return self._made_by.parts(index, n, start)

    def blocks(self, n_patients: int) -> Iterator[Records]:
        """Yield the blocks of the first `n_patients` patients, the last one cut."""
        return self._made_by.blocks(n_patients)
