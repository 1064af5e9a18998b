"""Where a finding is: the file, the line or the entry of a Bundle, and the resource."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Where"]


class Where(NamedTuple):
    """A resource in a file: `number` is its line, or its entry in a Bundle from 1; 0 is the file itself."""

    file: str
    number: int
    name: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.number}" if self.number else self.file
        return f"{place} {self.name}".rstrip()
