"""Learning on one machine, part by part of the patients: memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from ehrsynth.engines.disk import DiskParts, said_if_full, shelf
from ehrsynth.engines.start import give_memory_back
from ehrsynth.errors import UsageError
from ehrsynth.learning import LearningProgress, LearningSettings
from ehrsynth.learning.apart import raw_part
from ehrsynth.learning.far_learner import learn_parts
from ehrsynth.model import PatientModel
from ehrsynth.readers.choice import reader_of
from ehrsynth.readers.fhir_parting import FhirCut
from ehrsynth.readers.part_keys import KeyFiles
from ehrsynth.readers.parting import Cut
from ehrsynth.readers.report import ReadReport
from ehrsynth.records import Records

__all__ = ["Division", "divided", "learn_divided", "read_divided"]

T = TypeVar("T")

_MANY_ROWS = 250_000
"""A source of more rows is read in parts: in memory it would take more than half a gigabyte."""

_PART_ROWS = 50_000
_MOST_PARTS = 800
"""Files that are open at a time while a table is cut; parts of a larger source are larger."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """A source that is read in parts: by which reader, how it is cut, and into how many."""

    reader: Any
    cut: Cut | FhirCut
    parts: int


def divided(
    source: str | Path,
    format: str | None,  # noqa: A002
    mapping: str | Path | None,
    parts: int | None,
) -> Division | None:
    """Return how a source is read in parts, None if it is read whole: if it is small, or its reader reads no parts.

    Parameters
    ----------
    source : path or URL of a database
    format, mapping
        As of `ehrsynth.read`.
    parts : int, optional
        Into how many; 1 is whole. Default: by the rows of the source.

    Raises
    ------
    UsageError
        Parts were asked for, and the source does not fall into any.
    SourceError
        There is nothing to read.
    """
    if parts is not None and parts < 1:
        raise UsageError(f"Of parts there can be 1 or more, not {parts}.")
    if parts == 1:
        return None
    reader: Any = reader_of(source, format, mapping)
    cut: Cut | FhirCut | None = reader.cut(source) if hasattr(reader, "cut") else None
    if cut is None:
        if parts is not None:
            raise UsageError(
                f"What the reader {reader.name} makes of this source does not fall into parts of patients.",
                hint="Leave --parts out: it is then read whole.",
            )
        return None
    if parts is None:
        rows = cut.about()
        if rows <= _MANY_ROWS:
            return None
        parts = min(-(-rows // _PART_ROWS), _MOST_PARTS)
    return Division(reader=reader, cut=cut, parts=parts)


def read_divided(
    division: Division,
    folder: Path,
    make: Callable[[Records, int], T],
    *,
    strict: bool,
    tell: Callable[[int, str], None],
) -> tuple[list[T], ReadReport]:
    """Return what is made of the records of each part, and the account of all.

    Parameters
    ----------
    division : Division
    folder : Path
        Where the rows lie meanwhile.
    make : callable
        (records, number of the part). Of a part that is read again the last counts.
    strict : bool
    tell : callable
        Told (step, what is done), the steps being 0 and one for each part.
    """

    def read(part: Any) -> tuple[T, ReadReport]:
        records, report = division.reader.read(part, strict=strict)
        made = make(records, part.number)
        del records
        give_memory_back()
        return made, report

    tell(0, "sorting rows by patient")
    keys = KeyFiles(folder)
    parts: list[Any] = division.cut.split(folder, division.parts, keys, strict=strict)
    give_memory_back()
    found = []
    for part in parts:
        tell(part.number + 1, f"part {part.number + 1} of {division.parts}")
        found.append(read(part))
        if strict:
            part.forget()
    for number in keys.find(strict=strict):
        # Rows whose key another part has before them are set aside now that they are known.
        found[number] = read(parts[number])
    keys.forget()
    for part in parts:
        part.forget()
    report = reduce(lambda left, right: left.together(right, division.cut.once), [one for _, one in found])
    return [made for made, _ in found], report


def learn_divided(
    division: Division,
    *,
    strict: bool = True,
    settings: LearningSettings | None = None,
    seed: int = 0,
    progress: Callable[[LearningProgress], None] | None = None,
) -> tuple[PatientModel, ReadReport]:
    """Learn from a source in parts, one of them in memory at a time; parameters as `ehrsynth.learn_from`.

    The tables of the person's network are summed up by numpy, whatever the settings say.

    The rows of the source, and what they are encoded to, lie in a folder of the temporary directory (mode 0700) that
    goes when the work ends, fails or is interrupted.

    Raises
    ------
    OutputError
        The disk of the temporary directory is full.
    """
    # The two agree; pomegranate's libraries alone take more memory than a part.
    settings = replace(settings or LearningSettings(), estimator="numpy")
    with shelf() as place, said_if_full(place.folder):

        def tell(step: int, message: str) -> None:
            if progress is not None:
                progress(LearningProgress(stage="reading", step=step, steps=division.parts, message=message))

        def make(records: Records, number: int) -> Path | None:
            return place.put(raw_part(records, number, settings.max_visits))

        made, report = read_divided(division, place.folder, make, strict=strict, tell=tell)
        return learn_parts(DiskParts(place, made), settings=settings, seed=seed, progress=progress), report
