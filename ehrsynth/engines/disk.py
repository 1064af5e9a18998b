"""Parts of the patients on the disk of one machine: one at a time is in memory, however many there are."""

from __future__ import annotations

import errno
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import iadd
from pathlib import Path
from typing import Any, TypeVar

from ehrsynth.engines.frozen import freeze, thaw
from ehrsynth.engines.start import give_memory_back
from ehrsynth.errors import OutputError

__all__ = ["DiskParts", "Shelf", "said_if_full", "shelf"]

T = TypeVar("T")

_PREFIX = "ehrsynth-learn-"


class Shelf:
    """A folder for parts, numbered as they come; see `shelf`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def put(self, part: Any) -> Path | None:
        """Write a part; None is nobody's and takes no file."""
        if part is None:
            return None
        path = self.folder / f"{next(self._numbers)}.part"
        with said_if_full(self.folder):
            freeze(part, path)
        return path

    def get(self, path: Path) -> Any:
        """Return the part of a file, mapped into memory."""
        return thaw(path)


@contextmanager
def shelf() -> Iterator[Shelf]:
    """Give a new folder of the temporary directory that only its owner opens; what is in it goes when the work ends."""
    # Its mode is 0700: these are real patients.
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        yield Shelf(Path(name))


@contextmanager
def said_if_full(folder: Path) -> Iterator[None]:
    """Say in a sentence that the disk of `folder` is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            "There is no room left for the parts of the patients.",
            file=folder,
            hint="Make room, or set TMPDIR to a folder that has more and that nobody else reads.",
        ) from None


class DiskParts:
    """Parts in files of a `Shelf`; see `ehrsynth.learning.rows.Parts`.

    Parameters
    ----------
    place : Shelf
    paths : sequence of Path or None
        None: nobody's.
    """

    def __init__(self, place: Shelf, paths: Sequence[Path | None]) -> None:
        self._shelf = place
        self._paths = paths

    @classmethod
    def of(cls, place: Shelf, parts: Iterable[Any]) -> DiskParts:
        """Write parts as they come."""
        return cls(place, [place.put(part) for part in parts])

    def map(self, function: Callable[[Any], Any]) -> DiskParts:
        """Make a part of each part."""
        made = []
        for path in self._paths:
            made.append(None if path is None else self._shelf.put(function(thaw(path))))
            give_memory_back()
        return DiskParts(self._shelf, made)

    def each(self, function: Callable[[Any], T]) -> Iterator[T]:
        """Yield the function of each part, in order."""
        for path in self._paths:
            if path is not None and (made := function(thaw(path))) is not None:
                yield made

    def total(self, function: Callable[[Any], T]) -> T:
        """Return the sum of the function over the parts, added in their order."""
        # What was made of a file is nobody else's: large counts grow where they are.
        result: T = reduce(iadd, self.each(function))
        give_memory_back()
        return result

    def scatter(self, parts: Sequence[Any]) -> DiskParts:
        """Write parts that are in memory."""
        return DiskParts.of(self._shelf, parts)

    def beside(self, parts: Sequence[Any]) -> DiskParts:
        """Write parts that are in memory."""
        return self.scatter(parts)

    def regroup(
        self, split: Callable[[Any], list[tuple[int, Any]]], join: Callable[[list[Any]], Any], n: int
    ) -> DiskParts:
        """Make `n` parts of the pieces of all; a piece is read again when its part is made."""
        pieces: list[list[Path | None]] = [[] for _ in range(n)]
        for made in self.each(split):
            for number, piece in made:
                pieces[number].append(self._shelf.put(piece))
        joined = []
        for some in pieces:
            joined.append(self._shelf.put(join([thaw(path) for path in some if path is not None])))
            _remove(some)
        return DiskParts(self._shelf, joined)

    def release(self) -> None:
        """Remove the files."""
        _remove(self._paths)


def _remove(paths: Iterable[Path | None]) -> None:
    for path in paths:
        if path is not None:
            path.unlink(missing_ok=True)
