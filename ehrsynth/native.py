"""The compiled inner loops, where the package was built with a compiler; without it callers do the same with numpy.

Both give the same bytes (``tests/unit/test_native.py``). The module is small on purpose: a loop is in it because a
profile asked for it and columns could not do it.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

__all__ = ["Native", "compiled"]


_INTERFACE = 5
"""Counts the changes of what `compiled/_native.c` has."""


class Native(Protocol):
    """What ``ehrsynth._native`` (``compiled/_native.c``) has."""

    def join(self, slots: list[Any], start: int, n: int, ends: Any, allocate: Any) -> Any:
        """Return the buffer of `n` rows from `start` on of those that `slots` describe, joined.

        See `ehrsynth.exporters.fragments`.

        A slot is (offsets, first, count, data, index, foldable): `count` texts from number `first` on of an Arrow array
        of 64-bit offsets, which of them stands in each row (int32, -1 for none; an int if it is always the same), and
        whether few combinations with its neighbours are to be expected.
        Where each row ends is written to `ends` (int64, n + 1 of them); `allocate` is asked for a buffer of so many
        bytes.
        """
        ...

    def csv(
        self, columns: list[Any], commas: int, n: int, dates: Any, day: int, allocate: Any
    ) -> tuple[Any, int] | int | None:
        """Return the lines of `n` rows (see `ehrsynth.exporters.lines`): their buffer, and how much of it they take.

        A column is (kind, commas before it, first row, validity, values, ends of texts, first text, texts, letters),
        the buffers as Arrow has them; `commas` end each line. `dates` are texts of ten letters from `day` (since 1970)
        on: None is returned if there are others, and the number of a column in which a number needs more than six
        decimals or nine digits before them.
        """
        ...

    def seeded(self, digest: bytes) -> bytes:
        """Return what numpy's SeedSequence of 32 bytes gives for four words of 64 bits."""
        ...

    def uuids(self, k0: int, k1: int, block: int, count: int) -> bytearray:
        """Return the texts of `ehrsynth.randomness.identifier_bytes`."""
        ...

    def gathered(self, ids: Any, rows: Any, ends: Any, known: Any) -> bytearray:
        """Return the identifiers (36 bytes each) of `rows` (int64), one after the other; nothing of negative ones.

        Fills Arrow's offsets (int32, n + 1 of them) and validity (a bit for each row).
        """
        ...

    def are_uuids(self, texts: Any) -> bool:
        """Return whether every 36 bytes are a UUID in lower case."""
        ...

    def turned(self, texts: Any, by: Any) -> bytearray:
        """Return UUIDs with their digits combined with those of `by` (36 numbers below 16) by exclusive or."""
        ...

    def base64(self, data: Any, ends: Any, bounds: Any) -> bytes:
        """Return texts in Base64, each with line feeds at its end up to whole threes of bytes.

        They lie in `data` between `ends`, and in what is returned between `bounds` (both int64), which are filled.
        """
        ...

    # Values of an Arrow array are (offsets, data, validity, first, count, kind), the buffers None where there are none;
    # the kind is 4 or 8 for texts between offsets of so many bytes, -4 or -8 for numbers of so many.

    def places(self, keys: tuple[Any, ...], others: tuple[Any, ...], out: Any) -> None:
        """Fill `out` (int32) with the first place of each of `keys` among `others`, -1 where there is none."""
        ...

    def distinct(self, values: tuple[Any, ...], out: Any, first: Any) -> int:
        """Fill `out` (int32) with numbers of `values` by first appearance, -1 for none; return how many there are.

        The row where each first appears is written to `first` (int64, as long as `values`).
        """
        ...

    def least(self, groups: Any, values: tuple[Any, ...], out: Any) -> None:
        """Fill `out` (int64) with the first row that has the least of the `values`, texts, of each group (int64)."""
        ...

    def combined(self, columns: list[Any], n: int, out: Any, first: Any) -> int:
        """Do what `distinct` does of the combinations of some columns.

        A column is (indices, first, validity, size): int32 below `size`, -1 or not valid where there is no value.
        """
        ...

    def sets(self, arrays: tuple[Any, ...], settings: tuple[int, int, bool, int, int], generator: Any) -> None:
        """Draw sets as `ehrsynth.probability.sets` does, which says what the arrays are; fills the last four.

        `settings` are things, company that sets begin with, whether company lowers, tries, and how many weights are
        few; `generator` is the capsule of a numpy bit generator.
        """
        ...

    # The rest fill their last arrays (contiguous; int64, float64, int32 or bytes, as `_draw.c`, `_course.c` and
    # `_order.c` say) and refuse numbers that lie outside of the others.

    def sampled(self, *arrays: Any) -> None:
        """Do `ehrsynth.probability.categorical.sample_rows`."""
        ...

    def ancestral(self, *arrays: Any) -> None:
        """Do `ehrsynth.probability.bayesnet.Sampler.draw`."""
        ...

    def ragged(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.places.Ragged.draw`."""
        ...

    def reached(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.questions.reached`."""
        ...

    def due(self, *arrays: Any) -> int:
        """Do `ehrsynth.generation.life_course.measured.PanelSampler`'s choice of encounters; return how many."""
        ...

    def within(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.tables.within`."""
        ...

    def fitting(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.requirements.Requirements.fits`."""
        ...

    def general(self, *arrays: Any) -> int:
        """Do `ehrsynth.generation.life_course.laboratory.GeneralSampler`, but for the logarithms of skewed values."""
        ...

    def rounded(self, *arrays: Any) -> None:
        """Bring values into their range and round them, as `ehrsynth.generation.life_course.observations` does."""
        ...

    def quantiles(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.quantiles.CoreQuantiles.value`."""
        ...

    def mixed(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.numbers.mixed`."""
        ...

    def observed(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.observed.ObservedColumns`' values, ranges and readings."""
        ...

    def expanded(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.segments.expand`, counting from a first number of each item."""
        ...

    def following(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.life_course.diagnoses.Agenda.first_after`."""
        ...

    def vaccinated(self, *arrays: Any) -> None:
        """Find the encounters of the doses of `ehrsynth.generation.life_course.vaccinations.VaccineSampler`."""
        ...

    def years(self, *arrays: Any) -> None:
        """Do `ehrsynth.generation.encounters.completed_years`."""
        ...

    def ordered(self, *arrays: Any) -> bool:
        """Do `ehrsynth.generation.life_course.segments.order_of` of one key; return False where its values are many."""
        ...

    def firsts(self, *arrays: Any) -> bool:
        """Fill whether rows are the first of their group with an item; return False where it cannot (`_order.c`)."""
        ...

    def labelled(self, *arrays: Any) -> int:
        """Fill codes and validity of `ehrsynth.generation.columns.labels`; return how many are empty."""
        ...


def _found() -> Native | None:
    try:
        found = importlib.import_module("ehrsynth._native")
    except ImportError:
        return None
    # A build of older sources, as a checkout can have, lacks some of the loops.
    return cast(Native, found) if getattr(found, "INTERFACE", None) == _INTERFACE else None


_NATIVE = _found()


def compiled() -> Native | None:
    """Return the compiled loops, or None where there are none."""
    return _NATIVE
