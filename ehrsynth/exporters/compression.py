"""Parts packed where they are made: each is a member of a gzip file, and members appended are one (RFC 1952)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ehrsynth.errors import UsageError
from ehrsynth.exporters.part import Part

__all__ = ["METHODS", "check_method", "packed", "suffix"]

METHODS = ("gzip",)

# Level 1 of ISA-L is as small as level 2 within 2 % on NDJSON, and faster than a disk.
_LEVEL = 1


def check_method(method: str | None) -> None:
    """Raise UsageError if `method` is no way of packing."""
    if method is not None and method not in METHODS:
        raise UsageError(f"Files cannot be packed with {method!r}.", hint=f"Known: {', '.join(METHODS)}.")


def suffix(method: str | None) -> str:
    """Return what `method` adds to the name of a file."""
    return "" if method is None else ".gz"


def packed(parts: Iterator[Part], method: str | None) -> Iterator[Part]:
    """Yield `parts` packed by `method`, under their names and its suffix; as they are without one.

    No time and no name is in a member's header: same data, same bytes.
    """
    if method is None:
        yield from parts
        return
    from isal import igzip

    for part in parts:
        data = igzip.compress(part.data, _LEVEL, mtime=0)
        yield replace(part, path=part.path + suffix(method), data=data)
