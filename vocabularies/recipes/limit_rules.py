"""Rules of whom a code is possible for: patterns of codes and of titles to sex and age."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ANYBODY", "Limits", "Rule", "apply", "read_rules", "widest"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Whom a code is possible for: the only sex (empty for any), and ages in years with min_age <= age < max_age."""

    sex: str = ""
    min_age: float = 0.0
    max_age: float = math.inf

    def row(self) -> tuple[str | None, float | None, float | None]:
        """Return the three values as a table holds them: None where there is no limit."""
        return (
            self.sex or None,
            self.min_age if self.min_age > 0 else None,
            self.max_age if math.isfinite(self.max_age) else None,
        )


ANYBODY = Limits()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. Empty fields say nothing; ``any`` takes a limit of an earlier rule back."""

    codes: tuple[tuple[str, str], ...]
    title: re.Pattern[str] | None
    sex: str
    min_age: str
    max_age: str

    def matches(self, code: str, title: str) -> bool:
        """Whether the rule is about a code (dotted) with this title."""
        bare = code.replace(".", "")
        if self.codes and not any(low <= bare[: len(low)] and bare[: len(high)] <= high for low, high in self.codes):
            return False
        return self.title is None or self.title.search(title) is not None


def read_rules(path: Path) -> list[Rule]:
    """Return the rules of a table with the columns codes, title, sex, min_age, max_age, reason.

    ``codes`` are prefixes and ranges of prefixes, separated by spaces; ``title`` is a regular expression, case ignored.
    A rule with both asks for both. Later rules take precedence, field by field.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        return [
            Rule(
                codes=tuple(_range(text) for text in entry["codes"].split()),
                title=re.compile(entry["title"], re.IGNORECASE) if entry["title"] else None,
                sex=entry["sex"],
                min_age=entry["min_age"],
                max_age=entry["max_age"],
            )
            for entry in csv.DictReader(handle)
        ]


def _range(text: str) -> tuple[str, str]:
    low, _, high = text.replace(".", "").partition("-")
    return low, high or low


def apply(rules: list[Rule], code: str, title: str) -> Limits:
    """Return the limits that the rules give a code."""
    sex, low, high = "", 0.0, math.inf
    for rule in rules:
        if rule.matches(code, title):
            sex = {"": sex, "any": ""}.get(rule.sex, rule.sex)
            low = _bound(rule.min_age, low, 0.0)
            high = _bound(rule.max_age, high, math.inf)
    return Limits(sex=sex, min_age=low, max_age=high)


def _bound(stated: str, before: float, none: float) -> float:
    if stated == "any":
        return none
    return float(stated) if stated else before


def widest(limits: list[Limits]) -> Limits:
    """Return the limits that admit everybody whom one of these admits; all, if there are none."""
    if not limits:
        return ANYBODY
    sexes = {each.sex for each in limits}
    return Limits(
        sex=sexes.pop() if len(sexes) == 1 else "",
        min_age=min(each.min_age for each in limits),
        max_age=max(each.max_age for each in limits),
    )
