"""Lines of a mapping file: values as TOML, a comment behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Line", "Proposed", "choice", "constant", "quoted", "table_of"]


@dataclass(frozen=True)
class Line:
    """A key of a rule, its value as TOML, and what was seen."""

    key: str
    value: str
    comment: str = ""

    def __str__(self) -> str:
        # Words of the source may hold what ends a comment or is not allowed in one.
        comment = "".join(mark for mark in " ".join(self.comment.split()) if mark.isprintable())
        return f"{self.key} = {self.value}" + (f"  # {comment}" if comment else "")


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A rule; `timed` says whether its rows have a day."""

    table: str
    lines: Sequence[Line]
    notes: Sequence[str] = field(default_factory=tuple)
    timed: bool = False


def quoted(text: str) -> str:
    """Return text as a TOML string."""
    # JSON's escapes are among TOML's; what is left is the character DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def constant(value: str) -> str:
    """Return a recipe that is the same in every row."""
    return f"{{ value = {quoted(value)} }}"


def choice(column: str, **keys: str) -> str:
    """Return a recipe of a column with further keys."""
    return table_of({"column": column, **keys})


def table_of(entries: Mapping[str, Any]) -> str:
    """Return an inline table."""
    return "{ " + ", ".join(f"{key} = {quoted(str(value))}" for key, value in entries.items()) + " }"
